//! Calls for tests.

use brigade_kernel::call::{Call, Deadlines, Item, Service, Speaker};
use brigade_kernel::ids::ModelRef;
use brigade_kernel::image::{Image, MediaType, Pictures};
use brigade_kernel::tool::{Effect, ToolSpec};
use serde_json::json;

pub(crate) fn call() -> Call {
    Call {
        model: ModelRef::new("p/m-1").unwrap(),
        instructions: "Rules.".to_owned(),
        items: vec![Item::message(Speaker::User, "Hello")],
        tools: Vec::new(),
        allowed_tools: Vec::new(),
        format: None,
        max_output_tokens: 4_096,
        effort: None,
        verbosity: None,
        cache_key: None,
        cache_retention: None,
        service: Service::Default,
        request_id: "r1-s1-a1".to_owned(),
        deadlines: Deadlines::default(),
        pictures: Pictures::default(),
    }
}

/// An image, its bytes put in.
pub(crate) fn shown(call: &mut Call, bytes: &'static [u8]) -> Image {
    let blob = format!("{:064x}", bytes.len());
    let image = Image { blob, media_type: MediaType::Png, width: 1, height: 1, bytes: bytes.len() as u64 };
    call.pictures.insert(&image, bytes.into());
    image
}

pub(crate) fn tool(name: &str, strict: bool) -> ToolSpec {
    let mut parameters =
        json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"], "additionalProperties": false});
    if !strict {
        parameters["required"] = json!([]);
    }
    ToolSpec {
        name: name.to_owned(),
        description: format!("Does {name}."),
        parameters: parameters.into(),
        effect: Effect::Repeatable,
        images: false,
    }
}
