//! Lines of `claude --print --output-format stream-json --verbose` (@anthropic-ai/claude-code 2.1). Its input tokens leave out
//! what was read from or written to the cache; ours hold both.

use brigade_kernel::usage::Usage;
use serde_json::Value;

use super::report::{Report, text, tokens};

pub(super) fn line(report: &mut Report, line: &Value) {
    match text(line, "type") {
        "system" if text(line, "subtype") == "init" => report.model = Some(text(line, "model").to_owned()).filter(|m| !m.is_empty()),
        "assistant" => {
            let message = line.get("message").unwrap_or(&Value::Null);
            for part in message.get("content").and_then(Value::as_array).into_iter().flatten() {
                if text(part, "type") == "tool_use" {
                    did(report, part);
                }
            }
        }
        "result" => {
            report.finished = true;
            report.usage = line.get("usage").and_then(usage).or(report.usage);
            let structured = line.get("structured_output").filter(|value| !value.is_null()).map(Value::to_string);
            let said = structured.unwrap_or_else(|| text(line, "result").to_owned());
            report.failed = line.get("is_error").and_then(Value::as_bool).unwrap_or(false) || text(line, "subtype") != "success";
            if report.failed {
                report.complain(if said.is_empty() { text(line, "subtype") } else { &said });
            } else {
                report.answer(&said);
            }
        }
        _ => {}
    }
}

fn did(report: &mut Report, part: &Value) {
    let (name, input) = (text(part, "name"), part.get("input").unwrap_or(&Value::Null));
    match name {
        "Bash" => report.did("command", text(input, "command"), None),
        "Edit" | "Write" | "NotebookEdit" => report.did("file", text(input, "file_path"), None),
        _ => report.did("tool", &format!("{name} {}{}", text(input, "file_path"), text(input, "pattern")), None),
    }
}

fn usage(of: &Value) -> Option<Usage> {
    let cached = tokens(of, "cache_read_input_tokens").unwrap_or(0);
    let written = tokens(of, "cache_creation_input_tokens").unwrap_or(0);
    Some(Usage {
        input_tokens: tokens(of, "input_tokens")? + cached + written,
        cached_tokens: cached,
        cache_write_tokens: written,
        output_tokens: tokens(of, "output_tokens")?,
        reasoning_tokens: 0,
    })
}
