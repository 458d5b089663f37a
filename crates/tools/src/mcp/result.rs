//! What a server answered, as a model is shown it: text and images within bounds, notes for the rest.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use brigade_kernel::image::{Image, MAX_IMAGE_BYTES, Pictures};
use brigade_kernel::tool::ToolOutput;
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::Value;

use crate::brought::{Brought, Whole};
use crate::output::{OUTPUT_CHARS, cut};
use crate::picture;

/// Pieces of one answer that are looked at.
const MOST_BLOCKS: usize = 256;
/// Images of one answer that are shown.
const MOST_IMAGES: usize = 8;
/// Faults of a structured result that are named.
const MOST_FAULTS: usize = 4;

/// Levels of a schema, references followed.
const DEEPEST: usize = 128;

/// Takes in an answer; `schema` is what the tool's structured results were pinned to, `blot` takes secrets out of texts.
pub(super) fn brought(result: &CallToolResult, schema: Option<&Value>, blot: impl Fn(String) -> String) -> Brought {
    let mut seen = Seen::default();
    let mut parts: Vec<String> = result.content.iter().take(MOST_BLOCKS).map(|piece| block(piece, &mut seen)).collect();
    if result.content.len() > MOST_BLOCKS {
        parts.push(format!("[… {} more pieces left out; ask for less …]", result.content.len() - MOST_BLOCKS));
    }
    let failed = result.is_error == Some(true);
    let mut fault = None;
    if let Some(structured) = &result.structured_content {
        // Servers are told to say it twice, for clients that know only text.
        let said = parts.iter().any(|part| serde_json::from_str::<Value>(part).is_ok_and(|value| value == *structured));
        if !said {
            parts.push(structured.to_string());
        }
        fault = schema.filter(|_| !failed).and_then(|schema| mismatch(schema, structured));
    }
    let whole = Whole::new(blot(parts.join("\n")));
    let shown = cut(&whole.text, OUTPUT_CHARS, |_, _, _| whole.way());
    let truncated = shown.is_some() || result.content.len() > MOST_BLOCKS;
    let (text, whole) = match shown {
        Some(shown) => (shown, Some(whole)),
        None => (whole.text, None),
    };
    let error = match fault {
        _ if failed => Some("the tool reports an error".to_owned()),
        Some(fault) => Some(format!("the result does not match the tool's own schema: {fault}")),
        None => None,
    };
    let output = ToolOutput { ok: error.is_none(), output: text, error: error.map(blot), truncated, images: seen.images };
    Brought { output, pictures: seen.pictures, whole }
}

/// An answer's bytes as a model is shown them; `None` where they are none.
pub fn shown(answer: &[u8], schema: Option<&Value>) -> Option<ToolOutput> {
    Some(brought(&serde_json::from_slice(answer).ok()?, schema, |text| text).output)
}

/// What is wrong with `value`, by a schema; `None` where it fits.
pub(super) fn mismatch(schema: &Value, value: &Value) -> Option<String> {
    // Nor one whose cost nobody can tell; the server checks as well.
    if !ends(schema, schema, 0, &mut BTreeMap::new()) {
        return None;
    }
    let validator = match jsonschema::validator_for(schema) {
        Ok(validator) => validator,
        // A schema that cannot be used checks nothing; the server still does.
        Err(_) => return None,
    };
    let place = |pointer: String| if pointer.is_empty() { "the root".to_owned() } else { pointer };
    let say = |e: jsonschema::ValidationError<'_>| {
        let words: String = e.to_string().chars().take(300).collect();
        format!("at {}: {words}", place(e.instance_path().to_string()))
    };
    let faults: Vec<String> = validator.iter_errors(value).take(MOST_FAULTS).map(say).collect();
    (!faults.is_empty()).then(|| faults.join("; "))
}

/// Whether a schema's references stay inside it, and lead neither in circles nor too deep: else checking a nested value could
/// take for ever. (References that double at each level are the validator's to remember, and a test's to watch.)
fn ends<'a>(root: &'a Value, node: &'a Value, depth: usize, seen: &mut BTreeMap<&'a str, bool>) -> bool {
    match node {
        _ if depth > DEEPEST => false,
        Value::Array(list) => list.iter().all(|inner| ends(root, inner, depth + 1, seen)),
        Value::Object(map) => map.iter().all(|(name, inner)| match (name.as_str(), inner) {
            ("$dynamicRef" | "$recursiveRef" | "$anchor" | "$dynamicAnchor" | "$id", _) => false,
            ("$ref", Value::String(to)) => {
                let Some(target) = to.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) else { return false };
                if let Some(ended) = seen.get(to.as_str()) {
                    return *ended;
                }
                // Met again before it has ended, it is a circle.
                seen.insert(to, false);
                let ended = ends(root, target, depth + 1, seen);
                seen.insert(to, ended);
                ended
            }
            _ => ends(root, inner, depth + 1, seen),
        }),
        _ => true,
    }
}

/// Images taken in so far.
#[derive(Default)]
struct Seen {
    images: Vec<Image>,
    pictures: Pictures,
}

impl Seen {
    /// Takes an image in; the word that stands for it in the text.
    fn take(&mut self, data: &str, claimed: &str) -> String {
        let refuse = |why: &str| format!("[an image, {}: not shown, it {why}]", name(claimed));
        if self.images.len() == MOST_IMAGES {
            return refuse(&format!("comes after {MOST_IMAGES} others; ask for fewer at once"));
        }
        // Four characters of base64 are three bytes.
        if data.len() as u64 / 4 * 3 > MAX_IMAGE_BYTES + 3 {
            return refuse(&format!("has about {} bytes, an image may have {MAX_IMAGE_BYTES}; ask for a smaller one", data.len() / 4 * 3));
        }
        let Ok(bytes) = STANDARD.decode(data) else { return refuse("is no base64") };
        match picture::judge(bytes) {
            Ok((image, bytes)) => {
                let word = format!("[image {}: {image}]", self.images.len() + 1);
                self.pictures.insert(&image, bytes);
                self.images.push(image);
                word
            }
            Err(why) => refuse(&why),
        }
    }
}

fn block(block: &ContentBlock, seen: &mut Seen) -> String {
    // Four characters of base64 are three bytes.
    let bytes = |data: &str| data.len() / 4 * 3;
    match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => seen.take(&image.data, &image.mime_type),
        ContentBlock::Audio(audio) => note("a sound", &audio.mime_type, bytes(&audio.data)),
        ContentBlock::Resource(resource) => match &resource.resource {
            ResourceContents::TextResourceContents { uri, text, .. } => format!("[{}]\n{text}", name(uri)),
            ResourceContents::BlobResourceContents { uri, mime_type: Some(kind), blob, .. } if kind.starts_with("image/") => {
                format!("{} {}", seen.take(blob, kind), name(uri))
            }
            ResourceContents::BlobResourceContents { uri, mime_type, blob, .. } => {
                format!("{} {}", note("a file", mime_type.as_deref().unwrap_or("of unknown type"), bytes(blob)), name(uri))
            }
            _ => "[a resource of an unknown kind]".to_owned(),
        },
        ContentBlock::ResourceLink(link) => format!("[a link to {}: {}]", name(&link.name), name(&link.uri)),
        _ => "[content of an unknown kind: not shown]".to_owned(),
    }
}

fn note(what: &str, kind: &str, bytes: usize) -> String {
    format!("[{what}, {}, about {bytes} bytes: not shown, tools answer in text and images here]", name(kind))
}

fn name(text: &str) -> String {
    crate::escape_for_screen(text).chars().filter(|c| *c != '\n').take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(value: Value, schema: Option<&Value>) -> ToolOutput {
        super::shown(value.to_string().as_bytes(), schema).expect("a result")
    }

    #[test]
    fn every_kind_of_content_becomes_text_or_a_note() {
        let answer = shown(
            json!({"content": [
                {"type": "text", "text": "hello"},
                {"type": "image", "data": "AAAABBBB", "mimeType": "image/png\u{202e}"},
                {"type": "audio", "data": "AAAA", "mimeType": "audio/wav"},
                {"type": "resource", "resource": {"uri": "file:///a", "text": "inside"}},
                {"type": "resource", "resource": {"uri": "file:///b", "blob": "AAAA"}},
                {"type": "resource_link", "uri": "file:///c", "name": "c"}
            ]}),
            None,
        );
        assert!(answer.ok);
        for words in [
            "hello",
            "[an image, image/png\\u{202e}: not shown, it is no image by its content",
            "[a sound",
            "[file:///a]\ninside",
            "[a file",
            "[a link to c: file:///c]",
        ] {
            assert!(answer.output.contains(words), "{}", answer.output);
        }
    }

    #[test]
    fn structured_content_is_shown_once_and_checked() {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
        let twice = json!({"content": [{"type": "text", "text": "{\"n\": 1}"}], "structuredContent": {"n": 1}});
        assert_eq!(shown(twice, Some(&schema)).output, "{\"n\": 1}");
        assert_eq!(shown(json!({"structuredContent": {"n": 1}}), Some(&schema)).output, "{\"n\":1}");
        let wrong = shown(json!({"structuredContent": {"n": "one"}}), Some(&schema));
        assert!(!wrong.ok && wrong.error.as_deref().is_some_and(|e| e.contains("at /n")), "{wrong:?}");
    }

    #[test]
    fn schemas_that_go_in_circles_or_elsewhere_or_explode_harm_nothing() {
        // Each level says the next one twice: 2^60 schemas in a few kilobytes.
        let twice = |n: usize| json!({"anyOf": [{"$ref": format!("#/$defs/d{n}")}, {"$ref": format!("#/$defs/d{n}")}]});
        let mut defs: serde_json::Map<String, Value> = (0..60).map(|n| (format!("d{n}"), twice(n + 1))).collect();
        defs.insert("d60".to_owned(), json!({"type": "integer"}));
        let bomb = json!({"$defs": defs, "$ref": "#/$defs/d0"});
        let both = json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]});
        let circle = json!({"type": "object", "properties": {"x": both}});
        let deep = (0..100).fold(json!({"x": 7}), |inner, _| json!({ "x": inner }));
        assert_eq!((mismatch(&bomb, &json!("a")), mismatch(&circle, &deep)), (None, None));
        let shared = json!({"$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"$ref": "#/$defs/n"}}});
        assert!(mismatch(&shared, &json!({"a": 1, "b": "x"})).is_some(), "an ordinary reference is followed");
        for schema in [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}]}),
            json!({"not": {"$ref": "#"}}),
            json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}),
            json!({"$ref": "http://127.0.0.1:1/schema"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"type": 7}),
            json!({"properties": {"a": {"pattern": "^(a+)+$"}}}),
            json!({"properties": {"a": {"pattern": "(?=(a+)+$)b"}}}),
        ] {
            let _ = mismatch(&schema, &json!({"a": "a".repeat(60) + "!"}));
        }
    }

    #[test]
    fn a_long_answer_keeps_its_head_and_tail_and_an_error_is_one() {
        let long: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
        let answer = shown(json!({"content": [{"type": "text", "text": long}], "isError": true}), None);
        assert!(answer.truncated && !answer.ok && answer.output.len() < 45_000);
        assert!(answer.output.starts_with("line 0\n") && answer.output.ends_with("line 19999\n") && answer.output.contains("left out"));
    }
}
