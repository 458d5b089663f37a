//! Answers of MCP servers: shown within bounds, whatever their JSON and whatever schema they were pinned to.
//!
//! The bytes are the tool's answer, a NUL, and the schema of its structured results; the schema may be absent.

use brigade_tools::mcp::shown;
use brigade_tools::output::OUTPUT_CHARS;

/// What notes and the line about the cut may add to a full output.
const NOTES_CHARS: usize = 2_000;

pub fn law(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (answer, schema) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let schema = serde_json::from_slice(schema).ok();
    let Some(output) = shown(answer, schema.as_ref()) else { return };
    assert!(output.output.chars().count() <= OUTPUT_CHARS + NOTES_CHARS, "{} characters are shown", output.output.chars().count());
    assert_eq!(output.ok, output.error.is_none(), "an error is said if and only if there is one");
    if let Some(error) = &output.error {
        crate::said(error);
    }
}
