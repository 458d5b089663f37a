//! Lines of any program that wants to be an agent (docs/agents.md):
//! `{"type":"result","text":…,"usage":{…},"model":…}`, and on the way `usage`, `quota`, `command`, `file`, `note`, `error`.

use brigade_kernel::usage::Usage;
use serde_json::Value;

use super::quota;
use super::report::{Report, text, tokens};

pub(super) fn line(report: &mut Report, line: &Value) {
    match text(line, "type") {
        "result" => {
            report.finished = true;
            if let Some(said) = line.get("text") {
                report.answer(&said.as_str().map_or_else(|| said.to_string(), str::to_owned));
            }
            report.usage = line.get("usage").and_then(usage).or(report.usage);
            report.model = line.get("model").and_then(Value::as_str).map(str::to_owned).or(report.model.take());
        }
        "usage" => report.usage = usage(line.get("usage").unwrap_or(line)).or(report.usage),
        "command" => {
            let ok = line.get("exit_code").and_then(Value::as_i64).map(|code| code == 0);
            report.did("command", text(line, "command"), ok);
        }
        "file" => report.did("file", text(line, "path"), None),
        "quota" => report.quota = line.get("windows").map(quota::listed).unwrap_or_default(),
        "note" => report.did("note", text(line, "text"), None),
        "error" => {
            report.failed = true;
            report.wait_s = line.get("retry_after_s").and_then(Value::as_u64);
            report.means = line.get("kind").and_then(|kind| serde_json::from_value(kind.clone()).ok());
            report.complain(text(line, "message"));
        }
        _ => {}
    }
}

fn usage(of: &Value) -> Option<Usage> {
    let (input_tokens, output_tokens) = (tokens(of, "input_tokens")?, tokens(of, "output_tokens")?);
    Some(Usage {
        input_tokens,
        cached_tokens: tokens(of, "cached_tokens").unwrap_or(0).min(input_tokens),
        cache_write_tokens: tokens(of, "cache_write_tokens").unwrap_or(0),
        output_tokens,
        reasoning_tokens: tokens(of, "reasoning_tokens").unwrap_or(0).min(output_tokens),
    })
}
