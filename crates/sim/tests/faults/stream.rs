//! Streams that break, lie, hang or chatter (faults 5, 12-14, 16, 19-22, 24).

use std::time::{Duration, Instant};

use brigade_kernel::run::Event;

use crate::bench::{NANO, code, events, lab, many, run, sends_to, sound, writer};

fn once(fault: &str) -> String {
    format!(
        "[[rule]]\nmatch = {{ model = \"gpt-5.4-nano\" }}\ntimes = 1\nreply = {{ text = \"a rather long answer in a few words, with ümlauts and 漢字\" }}\n{fault}\n"
    )
}

#[test]
fn a_cut_stream_is_asked_again_from_nothing() {
    for bytes in [0, 1, 40, 333, 1_200] {
        let lab = lab(&once(&format!("cut_after_bytes = {bytes}")));
        code(&run(&lab, &many(1)), 0);
        assert_eq!(sends_to(&lab, NANO), 2, "cut after {bytes} bytes");
        sound(&lab);
    }
    for fault in ["eof_mid_event", "eof_no_terminal"] {
        let lab = lab(&once(&format!("stream_faults = [\"{fault}\"]")));
        code(&run(&lab, &many(1)), 0);
        assert_eq!(sends_to(&lab, NANO), 2, "{fault}");
        sound(&lab);
    }
}

#[test]
fn an_error_inside_a_stream_is_a_failed_try() {
    for fault in ["error_event", "error_nested", "error_bare", "failed"] {
        let lab = lab(&once(&format!("stream_faults = [\"{fault}\"]")));
        code(&run(&lab, &many(1)), 0);
        assert_eq!(sends_to(&lab, NANO), 2, "{fault}");
        sound(&lab);
    }
}

#[test]
fn what_nobody_knows_in_a_stream_fails_no_call() {
    let faults = [
        "keepalive",
        "unknown_event",
        "unknown_item",
        "split_utf8",
        "crlf",
        "no_event_line",
        "multi_line_data",
        "no_sequence",
        "done_marker",
        "double_terminal",
        "empty_terminal",
        "extra_usage",
    ];
    let each = faults.iter().enumerate().map(|(i, fault)| {
        format!("[[rule]]\nmatch = {{ contains = \"WORK-{i}\\\"\" }}\nreply = {{ text = \"ünchanged\" }}\nstream_faults = [\"{fault}\"]\n")
            .replace("\\\"", "-x")
    });
    let lab = lab(&each.collect::<String>());
    let plan: String = (0..faults.len())
        .map(|i| format!("[[subtasks]]\nid = \"s{i}\"\ntype = \"classify\"\ndescription = \"WORK-{i}-x\"\noutput_format = \"text\"\n"))
        .collect();
    code(&run(&lab, &plan), 0);
    assert_eq!(sends_to(&lab, NANO), faults.len());
    for event in events(&lab) {
        if let Event::SubtaskEnded { unit, output, .. } = event {
            assert_eq!(output, "ünchanged", "{unit}");
        }
    }
    sound(&lab);
}

#[test]
fn garbage_in_place_of_an_answer_is_a_failed_try_and_never_a_result() {
    for body in [
        "body = \"<html>Sign in to the hotel's network</html>\", headers = { content-type = \"text/html\" }",
        "body = \"\"",
        "body = \"{\\\"id\\\": \"",
        "body = \"[[[[\"",
    ] {
        let rule = format!("[[rule]]\nmatch = {{ model = \"gpt-5.4-nano\" }}\ntimes = 1\nreply = {{ status = 200, {body} }}\n");
        let lab = lab(&rule);
        code(&run(&lab, &many(1)), 0);
        assert_eq!(sends_to(&lab, NANO), 2, "{body}");
        sound(&lab);
    }
    let mut lab = lab(
        "[[rule]]\nmatch = { model = \"gpt-5.4-nano\" }\nreply = { status = 200, body = \"<html>no</html>\", headers = { content-type = \"text/html\" } }\n",
    );
    lab.set("limits.max_tries", "2");
    code(&run(&lab, &many(1)), 6);
    assert_eq!(sends_to(&lab, NANO), 2);
    sound(&lab);
}

#[test]
fn silence_and_comments_end_at_their_deadline() {
    let cases = [
        "stream_faults = [\"stall\"]",
        "stream_faults = [\"stall_keepalive\"]\nkeepalive_ms = 50",
        "delay_ms = 60000",
        "first_token_ms = 60000",
    ];
    for fault in cases {
        let mut lab = lab(&once(fault));
        lab.set("limits.idle_deadline", "400ms");
        lab.set("limits.first_token_deadline", "400ms");
        let start = Instant::now();
        code(&run(&lab, &many(1)), 0);
        assert!(start.elapsed() < Duration::from_secs(15), "{fault}: {:?}", start.elapsed());
        assert_eq!(sends_to(&lab, NANO), 2, "{fault}");
        sound(&lab);
    }
}

#[test]
fn a_call_cut_at_its_output_limit_runs_no_tool() {
    let rule = "[[rule]]\nmatch = { contains = \"WRITE\", format = \"brigade_review\" }\nreply = { json = { summary = \"s\", verdict = \"approve\", revisions = [], add = [], final_output = \"f\" } }\n[[rule]]\nmatch = { contains = \"WRITE\" }\nreply = { calls = [{ name = \"write_file\", arguments = \"{\\\"path\\\":\\\"a.txt\\\",\\\"content\\\":\\\"hal\" }], incomplete = \"max_output_tokens\" }\n";
    let lab = lab(rule);
    let ended = run(&lab, &writer("write_file"));
    assert_ne!(ended.code, Some(0), "{}", ended.err);
    assert!(!events(&lab).iter().any(|e| matches!(e, Event::ToolStarted { .. })), "a tool ran on half its arguments");
    assert!(lab.calls().len() <= 16, "{} sends", lab.calls().len());
    assert_eq!(lab.tree().expect("a tree")["a.txt"], "one\n");
    sound(&lab);
}
