//! What a provider says instead of an answer (faults 1-4, 6-10, 15, 17, 26).

use brigade_kernel::run::{CallResult, Event};

use crate::bench::{ANSWER, MINI, NANO, code, events, lab, many, resume, run, sends_to, sound};

#[test]
fn after_a_429_one_probe_goes_ahead_and_nothing_is_lost() {
    let lab = lab("[[rule]]\nmatch = { model = \"gpt-5.4-nano\" }\ntimes = 50\nreply = { status = 429, headers = { retry-after = 1 } }\n");
    let ended = run(&lab, &many(200));
    code(&ended, 0);
    let calls = lab.calls();
    let refused: Vec<_> = calls.iter().filter(|c| c.status == 429).collect();
    let (first, wait) = (refused[0].at, 1_000);
    // The whole line waits from the first refusal on; what was on the wire then may still arrive.
    let burst = calls.iter().take_while(|c| c.at < first + wait - 100).count();
    let next = &calls[burst];
    assert!(next.at >= refused.iter().take(burst).map(|c| c.at).max().unwrap_or(first) + wait - 100, "the line did not wait");
    assert_eq!(next.in_flight, 1, "more than one probe");
    let found = sound(&lab);
    let done = events(&lab).iter().filter(|e| matches!(e, Event::SubtaskEnded { .. })).count();
    assert_eq!(done, 200);
    assert_eq!(found.calls, calls.len());
}

#[test]
fn a_storm_of_429_without_a_word_parks_the_run_and_resume_finishes_it() {
    let mut lab = lab("[[rule]]\nmatch = { model = \"gpt-5.4-nano\" }\ntimes = 2\nreply = { status = 429 }\n");
    lab.set("limits.max_tries", "2");
    let parked = run(&lab, &many(1));
    code(&parked, 5);
    assert_eq!(lab.calls().len(), 2);
    code(&resume(&lab, &[]), 0);
    sound(&lab);
}

#[test]
fn a_hundred_tasks_in_a_storm_do_not_make_it_worse() {
    let mut lab = lab("[[rule]]\nmatch = { model = \"gpt-5.4-nano\" }\nreply = { status = 429 }\n");
    lab.set("limits.max_tries", "3");
    code(&run(&lab, &many(100)), 5);
    let sends = lab.calls().len();
    assert!(sends <= 100 + 10, "{sends} sends for a line that never opened");
    sound(&lab);
}

#[test]
fn without_quota_one_attempt_is_made_and_a_person_is_asked() {
    let lab = lab("[[rule]]\nmatch = { model = \"gpt-5.4-nano\" }\nreply = { status = 429, error = \"insufficient_quota\" }\n");
    code(&run(&lab, &many(1)), 3);
    assert_eq!(lab.calls().len(), 1);
    sound(&lab);
}

#[test]
fn a_refused_key_stops_all_calls_and_is_never_printed() {
    let lab = lab(
        "[[rule]]\nmatch = { model = \"gpt-5.4-nano\" }\nreply = { status = 401, error = { message = \"Incorrect API key provided: sk-canary-of-the-lab\", code = \"invalid_api_key\" } }\n",
    );
    let ended = run(&lab, &many(50));
    code(&ended, 6);
    let sends = lab.calls().len();
    assert!(sends <= 50, "{sends} sends with a key that is refused");
    sound(&lab);
    assert!(!ended.err.contains("sk-canary") && !ended.out.contains("sk-canary"), "{}", ended.err);
    for name in ["journal.sqlite", "journal.sqlite-wal"] {
        let bytes = std::fs::read(lab.home().join(name)).unwrap_or_default();
        assert!(!bytes.windows(9).any(|w| w == b"sk-canary"), "the key stands in {name}");
    }
    // The next try is as careful.
    code(&resume(&lab, &[]), 6);
    assert!(lab.calls().len() <= sends + 50);
}

#[test]
fn servers_that_stumble_are_asked_again() {
    for status in [500, 502, 503, 529] {
        let lab = lab(&format!("[[rule]]\nmatch = {{ model = \"gpt-5.4-nano\" }}\ntimes = 1\nreply = {{ status = {status} }}\n"));
        code(&run(&lab, &many(1)), 0);
        assert_eq!(sends_to(&lab, NANO), 2, "after {status}");
        let failed = events(&lab).iter().filter(|e| matches!(e, Event::CallEnded { result: CallResult::Failed { .. }, .. })).count();
        assert_eq!(failed, 1, "the failed try is on record");
        sound(&lab);
    }
}

#[test]
fn a_context_too_long_goes_a_tier_up_once() {
    let lab = lab(
        "[[rule]]\nmatch = { model = \"gpt-5.4-nano\" }\nreply = { status = 400, error = { message = \"too long\", type = \"invalid_request_error\", code = \"context_length_exceeded\" } }\n",
    );
    code(&run(&lab, &many(1)), 0);
    assert_eq!((sends_to(&lab, NANO), sends_to(&lab, MINI)), (1, 1));
    sound(&lab);
}

#[test]
fn a_withdrawn_model_is_named_or_replaced_by_its_alternate_only() {
    let rule = "[[rule]]\nmatch = { model = \"gpt-5.4-nano\" }\nreply = { status = 404, error = { message = \"The model does not exist\", code = \"model_not_found\" } }\n";
    let alone = lab(rule);
    let ended = run(&alone, &many(1));
    code(&ended, 6);
    assert_eq!(alone.calls().len(), 1, "no silent upgrade");
    let mut replaced = lab(rule);
    replaced.set("tiers.nano.alternates", "openai/gpt-5.4-mini");
    code(&run(&replaced, &many(1)), 0);
    assert_eq!((sends_to(&replaced, NANO), sends_to(&replaced, MINI)), (1, 1));
    sound(&replaced);
}

#[test]
fn a_refusal_goes_up_the_ladder_and_ends_with_a_person() {
    let mild = lab("[[rule]]\nmatch = { model = \"gpt-5.4-nano\" }\nreply = { refusal = \"I cannot do that\" }\n");
    code(&run(&mild, &many(1)), 0);
    sound(&mild);
    let stern = lab(
        "[[rule]]\nmatch = { contains = \"WORK-0\", model = \"gpt-5.4-nano\" }\nreply = { refusal = \"no\" }\n[[rule]]\nmatch = { contains = \"WORK-0\", model = \"gpt-5.4-mini\" }\nreply = { refusal = \"no\" }\n[[rule]]\nmatch = { contains = \"WORK-0\", model = \"gpt-5.4\" }\nreply = { refusal = \"no\" }\n",
    );
    code(&run(&stern, &many(1)), 3);
    let sends = stern.calls().len();
    assert!(sends <= 12, "{sends} sends for work that every model declines");
    sound(&stern);
}

#[test]
fn usage_that_is_missing_is_charged_as_leased() {
    let lab = lab("[[rule]]\nmatch = { model = \"gpt-5.4-nano\" }\nreply = { text = \"x\", usage = false }\n");
    code(&run(&lab, &many(1)), 0);
    let events = events(&lab);
    let lease = events.iter().find_map(|e| if let Event::CallStarted { lease_usd, .. } = e { Some(*lease_usd) } else { None });
    let cost = events.iter().find_map(|e| if let Event::CallEnded { cost_usd, .. } = e { Some(*cost_usd) } else { None });
    assert_eq!(lease, cost);
    sound(&lab);
}

#[test]
fn usage_above_the_lease_raises_the_alarm_and_stops_new_calls() {
    let rules =
        "[[rule]]\nmatch = { contains = \"WORK-0\" }\nreply = { text = \"x\", usage = { input_tokens = 100, output_tokens = 9000000 } }\n";
    let lab = lab(rules);
    let plan = "[[subtasks]]\nid = \"s0\"\ntype = \"classify\"\ndescription = \"WORK-0\"\noutput_format = \"text\"\n[[subtasks]]\nid = \"s1\"\ntype = \"classify\"\ndescription = \"WORK-1\"\noutput_format = \"text\"\ndepends_on = [\"s0\"]\n";
    let ended = run(&lab, plan);
    code(&ended, 4);
    assert_eq!(lab.calls().len(), 1, "a call left after the alarm");
    assert!(events(&lab).iter().any(|e| matches!(e, Event::BudgetAlarm { .. })));
}

#[test]
fn another_model_than_asked_for_is_on_record() {
    let lab = lab("[[rule]]\nmatch = { model = \"gpt-5.4-nano\" }\nreply = { text = \"x\", model = \"gpt-5.4-pico\" }\n");
    code(&run(&lab, &many(1)), 0);
    let named = |e: &Event| matches!(e, Event::CallEnded { result: CallResult::Answered { model: Some(model), .. }, .. } if model == "gpt-5.4-pico");
    assert!(events(&lab).iter().any(named));
    sound(&lab);
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = lab(ANSWER);
    let rules = format!(
        "[[rule]]\nmatch = {{ model = \"gpt-5.4-nano\" }}\nreply = {{ status = 307, headers = {{ location = \"{}/responses\" }} }}\n",
        elsewhere.api().base_url()
    );
    let mut lab = lab(&rules);
    lab.set("limits.max_tries", "2");
    let ended = run(&lab, &many(1));
    assert_ne!(ended.code, Some(0), "{}", ended.err);
    assert!(elsewhere.calls().is_empty(), "the key went to another host");
}

#[test]
fn a_cap_that_allows_nothing_pauses_before_the_first_call_and_a_higher_one_goes_on() {
    let mut lab = lab("");
    lab.set("budget.run_usd", "0.0001");
    code(&run(&lab, &many(3)), 4);
    assert!(lab.calls().is_empty());
    code(&resume(&lab, &["--max-budget-usd", "1"]), 0);
    sound(&lab);
}
