//! What a tool brought besides words, kept in the journal: images as blobs, and the whole of what was shown in part.
//! `open_output` pages through the latter, and through the results that a subtask builds on.

use std::sync::Arc;

use brigade_journal::{Batch, Blob, BlobHash, Journal, Stream};
use brigade_kernel::call::Call;
use brigade_kernel::run::{Opened, Opening, Saved};
use brigade_kernel::tool::{Effect, OPEN_OUTPUT, ToolOutput, ToolSpec};
use brigade_tools::{Brought, output};

use crate::engine::World;

/// The tool that shows what was cut.
pub fn open_output() -> ToolSpec {
    ToolSpec {
        name: OPEN_OUTPUT.to_owned(),
        description: "Shows in full what was shown in part: the result of another subtask, or the output of a tool. \
                      Give the id that stands where something was left out."
            .to_owned(),
        parameters: serde_json::json!({
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "page": {"type": ["integer", "null"], "description": "counted from 1; null = the first"}
            },
            "required": ["id", "page"],
            "additionalProperties": false
        })
        .into(),
        effect: Effect::Repeatable,
        images: false,
    }
}

/// Stores what a tool brought, durable before anybody hears of it.
pub(crate) async fn keep(brought: Brought, world: &World, stream: &Stream) -> (ToolOutput, Option<Saved>) {
    let Brought { output, pictures, whole } = brought;
    if pictures.is_empty() && whole.is_none() {
        return (output, None);
    }
    let mut batch = Batch::new();
    for bytes in pictures.iter() {
        batch = batch.blob(stream, Blob::new(bytes.to_vec()));
    }
    let mut saved = None;
    if let Some(whole) = whole {
        let blob = Blob::new(whole.text.into_bytes());
        saved = Some(Saved { id: whole.id, blob: blob.hash().to_string() });
        batch = batch.blob(stream, blob);
    }
    match world.journal.append(batch).await {
        Ok(_) => (output, saved),
        Err(e) => (ToolOutput::refused(format!("what the tool brought could not be kept: {e}")), None),
    }
}

/// Puts the bytes of its images into a call that is about to be sent.
pub(crate) fn fill(call: &mut Call, journal: &dyn Journal) {
    let images: Vec<_> = call.images().cloned().collect();
    for image in images {
        let bytes = image.blob.parse::<BlobHash>().ok().and_then(|hash| journal.blob(&hash).ok()?);
        if let Some(bytes) = bytes {
            call.pictures.insert(&image, Arc::from(bytes));
        }
    }
}

/// Answers a call of `open_output` for what its id was found to name.
pub(crate) fn open(what: &Opened, arguments: &str, journal: &dyn Journal) -> ToolOutput {
    let text = match what {
        Opened::Text(text) => Some(text.to_string()),
        Opened::Blob(blob) => {
            let hash = blob.parse::<BlobHash>().ok();
            hash.and_then(|hash| journal.blob(&hash).ok()?).and_then(|bytes| String::from_utf8(bytes).ok())
        }
    };
    let Some(text) = text else { return ToolOutput::refused("that output is not on record any more; go on without it") };
    match Opening::parse(arguments) {
        Ok(opening) => output::page(&opening.id, &text, opening.page()),
        Err(why) => ToolOutput::refused(why),
    }
}
