use super::*;

fn heard(dialect: Dialect, lines: &str) -> Report {
    let mut report = Report::default();
    lines.lines().for_each(|line| report.line(dialect, line.as_bytes()));
    report
}

fn complaints(agent: &str) -> &'static [(String, Complaint)] {
    &super::super::preset::preset(agent).expect("it is known").complaints
}

/// As codex 0.169.0 printed them against the emulator, shortened.
const CODEX: &str = r#"
{"type":"thread.started","thread_id":"01a1"}
{"type":"item.completed","item":{"id":"item_0","type":"error","message":"Model metadata not found."}}
{"type":"turn.started"}
{"type":"item.started","item":{"id":"item_1","type":"command_execution","command":"/bin/bash -lc 'cat a.txt'","aggregated_output":"","exit_code":null,"status":"in_progress"}}
{"type":"item.completed","item":{"id":"item_1","type":"command_execution","command":"/bin/bash -lc 'cat a.txt'","aggregated_output":"x\n","exit_code":0,"status":"completed"}}
{"type":"item.completed","item":{"id":"item_2","type":"file_change","changes":[{"path":"a.txt","kind":"update"}],"status":"completed"}}
{"type":"item.completed","item":{"id":"item_3","type":"agent_message","text":"I look."}}
{"type":"item.completed","item":{"id":"item_4","type":"agent_message","text":"Changed."}}
{"type":"turn.completed","usage":{"input_tokens":90,"cached_input_tokens":40,"output_tokens":7,"reasoning_output_tokens":2}}"#;

#[test]
fn the_last_message_is_the_answer_and_usage_is_the_turns() {
    let mut report = heard(Dialect::Codex, CODEX);
    let kinds: Vec<&str> = report.deeds.iter().map(|deed| deed.kind.as_str()).collect();
    assert_eq!(kinds, ["note", "command", "file"]);
    assert_eq!(report.deeds[1].ok, Some(true));
    let answer = report.outcome(true, "", "", complaints("codex")).expect("it answered");
    assert_eq!(answer.text, "Changed.");
    let usage = Usage { input_tokens: 90, cached_tokens: 40, output_tokens: 7, reasoning_tokens: 2, cache_write_tokens: 0 };
    assert_eq!(answer.usage, Some(usage));
}

#[test]
fn claude_counts_its_cache_beside_its_input_and_we_count_it_within() {
    let lines = r#"
{"type":"system","subtype":"init","model":"m-1"}
{"type":"assistant","message":{"content":[{"type":"tool_use","name":"Bash","input":{"command":"ls"}}]}}
{"type":"result","subtype":"success","is_error":false,"result":"ok","structured_output":{"a":1},"usage":{"input_tokens":5,"cache_read_input_tokens":20,"cache_creation_input_tokens":3,"output_tokens":4}}"#;
    let answer = heard(Dialect::Claude, lines).outcome(true, "", "", complaints("claude")).expect("it answered");
    assert_eq!((answer.text.as_str(), answer.model.as_deref()), (r#"{"a":1}"#, Some("m-1")));
    let usage = answer.usage.expect("it is told");
    assert_eq!((usage.input_tokens, usage.cached_tokens, usage.cache_write_tokens, usage.output_tokens), (28, 20, 3, 4));
}

#[test]
fn what_an_agent_complains_of_decides_what_may_be_done() {
    let codex = |words: &str| format!(r#"{{"type":"turn.failed","error":{{"message":"{words}"}}}}"#);
    for (dialect, agent, lines, class) in [
        (Dialect::Codex, "codex", codex("You've hit your usage limit. Try again at 3:00 PM."), ErrorClass::QuotaExhausted),
        (Dialect::Codex, "codex", codex("unexpected status 401 Unauthorized: no key, url: x"), ErrorClass::Refused),
        (Dialect::Codex, "codex", codex("exceeded retry limit, last status: 429 Too Many Requests"), ErrorClass::RateLimited),
        (Dialect::Codex, "codex", codex("stream disconnected before completion: error sending request"), ErrorClass::Unreachable),
        (Dialect::Codex, "codex", codex("something else"), ErrorClass::Garbage),
        (
            Dialect::Claude,
            "claude",
            r#"{"type":"result","subtype":"success","is_error":true,"result":"Invalid API key · Please run /login"}"#.to_owned(),
            ErrorClass::Refused,
        ),
        (
            Dialect::Plain,
            "codex",
            r#"{"type":"error","kind":"rate","message":"later","retry_after_s":7}"#.to_owned(),
            ErrorClass::RateLimited,
        ),
    ] {
        let mut report = heard(dialect, &lines);
        let error = report.outcome(false, "it ended with exit status 1", "", complaints(agent)).expect_err("it failed");
        assert_eq!(error.class, class, "{lines}: {}", error.message);
        assert!(error.message.starts_with("it ended with exit status 1; "), "{}", error.message);
        if dialect == Dialect::Plain {
            assert_eq!(error.retry_after.map(|wait| wait.0), Some(7_000));
        }
    }
}

#[test]
fn only_one_turned_away_at_the_door_has_used_nothing() {
    let limit = r#"{"type":"turn.failed","error":{"message":"usage limit"}}"#;
    let error = |lines: &str| heard(Dialect::Codex, lines).outcome(false, "", "", complaints("codex")).expect_err("it failed");
    assert_eq!(error(limit).usage, Some(Usage::default()));
    let worked = r#"{"type":"item.completed","item":{"type":"command_execution","command":"ls","exit_code":0}}"#;
    assert_eq!(error(&format!("{worked}\n{limit}")).usage, None, "what it used is not known");
}

#[test]
fn an_answer_of_one_that_ended_badly_is_none() {
    let lines = r#"{"type":"result","text":"done"}"#;
    assert!(heard(Dialect::Plain, lines).outcome(false, "it was ended by signal 9", "", &[]).is_err());
    assert!(heard(Dialect::Plain, lines).outcome(true, "", "", &[]).is_ok());
    let error = heard(Dialect::Plain, "no json\n[1]\n\"x\"").outcome(true, "", "boom\n", &[]).expect_err("it said nothing");
    assert_eq!(error.message, "no answer among its lines; boom");
}

#[test]
fn a_chatterbox_is_kept_within_bounds() {
    let mut report = Report::default();
    for n in 0..1_000 {
        report.did("command", &"é".repeat(900), None);
        report.complain(&n.to_string());
    }
    assert_eq!((report.deeds.len(), report.complaints.len()), (MOST_DEEDS, MOST_COMPLAINTS));
    assert!(report.deeds[0].what.len() < DEED_BYTES + 8);
}
