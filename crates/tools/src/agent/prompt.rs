//! A call as one text: what an agent reads from its standard input.

use brigade_kernel::call::{Call, Item, Speaker};

/// Rules, then the conversation. `form`: the schema stands in the text, for an agent that takes it no other way.
pub(super) fn prompt(call: &Call, form: bool) -> String {
    let mut text = call.instructions.trim_end().to_owned();
    let alone = call.items.len() == 1;
    for item in &call.items {
        let (heading, words) = match item {
            Item::Message { speaker: Speaker::User | Speaker::Developer, text, .. } => ("# Message", text.as_str()),
            Item::Message { speaker: Speaker::Assistant, text, .. } => ("# What you answered", text.as_str()),
            // Tools of ours and the private items of a model have no place in an errand.
            Item::ToolCall { .. } | Item::ToolOutput { .. } | Item::Opaque { .. } => continue,
        };
        text.push_str("\n\n");
        if !alone {
            text.push_str(heading);
            text.push('\n');
        }
        text.push_str(words);
    }
    if let Some(format) = call.format.as_ref().filter(|_| form) {
        text.push_str("\n\n# The form of your final answer\nOne JSON value that matches this JSON Schema, and nothing else:\n");
        text.push_str(format.schema.text().get());
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_kernel::call::Format;
    use brigade_kernel::ids::ModelRef;
    use serde_json::json;

    #[test]
    fn one_message_stands_alone_and_a_conversation_says_who_spoke() {
        let mut call = Call {
            model: ModelRef::new("a/m").expect("a name"),
            instructions: "Rules.\n".to_owned(),
            items: vec![Item::message(Speaker::User, "Do it.")],
            tools: Vec::new(),
            allowed_tools: Vec::new(),
            format: Some(Format { name: "f".to_owned(), schema: json!({"type": "object"}).into(), strict: true }),
            max_output_tokens: 1,
            effort: None,
            verbosity: None,
            cache_key: None,
            cache_retention: None,
            service: Default::default(),
            request_id: String::new(),
            deadlines: Default::default(),
            pictures: Default::default(),
        };
        assert_eq!(prompt(&call, false), "Rules.\n\nDo it.\n");
        assert!(prompt(&call, true).ends_with("and nothing else:\n{\"type\":\"object\"}\n"));
        call.items.push(Item::message(Speaker::Assistant, "Done."));
        call.items.push(Item::message(Speaker::User, "Again."));
        assert_eq!(prompt(&call, false), "Rules.\n\n# Message\nDo it.\n\n# What you answered\nDone.\n\n# Message\nAgain.\n");
    }
}
