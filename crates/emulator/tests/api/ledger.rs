use std::path::Path;

use brigade_emulator::{Options, Outcome, Scenario};
use serde_json::{Value, json};

use crate::stage::{HELLO, ask, run, stage, stage_with};

#[test]
fn the_ledger_lists_every_call_with_its_usage() {
    run(async {
        let stage = stage(HELLO);
        let send = |id: &'static str, body: Value| {
            stage.http.post(stage.url("/responses")).bearer_auth("k").header("x-client-request-id", id).json(&body).send()
        };
        let first = send("one", ask(json!({}))).await.unwrap().json::<Value>().await.unwrap();
        send("two", ask(json!({}))).await.unwrap().bytes().await.unwrap();
        send("three", ask(json!({"model": "gpt-9"}))).await.unwrap().bytes().await.unwrap();
        let ledger = stage.get("/_ledger").await.body;
        let unversioned = stage.http.get(format!("http://{}/_ledger", stage.running.addr())).send().await.unwrap();
        assert_eq!(unversioned.json::<Value>().await.unwrap(), ledger);
        let calls = ledger["calls"].as_array().unwrap();
        let field = |name: &str| calls.iter().map(|call| call[name].clone()).collect::<Vec<_>>();
        assert_eq!(field("seq"), [1, 2, 3]);
        assert_eq!(field("request_id"), ["one", "two", "three"]);
        assert_eq!(field("outcome"), ["completed", "completed", "error"]);
        assert_eq!(field("status"), [200, 200, 400]);
        assert_eq!(field("rule"), [json!(1), json!(1), json!(null)]);
        assert_eq!(calls[0]["fingerprint"], calls[1]["fingerprint"]);
        assert_ne!(calls[0]["fingerprint"], calls[2]["fingerprint"]);
        assert_eq!(calls[0]["usage"]["input_tokens"], first["usage"]["input_tokens"]);
        assert!(calls[0]["at"].as_str().unwrap().ends_with('Z'));
        let totals = &ledger["totals"]["gpt-5.4-mini"];
        assert_eq!(totals["calls"], 2);
        assert_eq!(totals["output_tokens"], 2 * first["usage"]["output_tokens"].as_u64().unwrap());
        assert_eq!(ledger["in_flight"], 0);
    });
}

#[test]
fn a_durable_call_is_on_the_disk_before_its_first_byte() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.jsonl");
        let options = Options { ledger: Some(path.clone()), durable: true, ..Options::default() };
        let scenario =
            "[[rule]]\ntimes = 1\nstream_faults = [\"stall\"]\nreply = { text = \"never\" }\n[[rule]]\nreply = { text = \"second\" }\n";
        let parse = || Scenario::parse(scenario, Path::new(".")).unwrap();
        let stage = stage_with(parse(), &options);
        let response = stage.send("/responses", &ask(json!({"stream": true}))).await;
        let lines = std::fs::read_to_string(&path).unwrap();
        assert!(lines.contains("\"event\":\"arrival\",\"seq\":1"), "{lines}");
        assert!(!lines.contains("\"event\":\"end\""));
        drop(response);
        let last = stage.running.shutdown();
        assert_eq!(last.calls[0].outcome, Outcome::ClientGone);
        assert!(std::fs::read_to_string(&path).unwrap().contains("\"event\":\"end\",\"seq\":1,\"outcome\":\"client_gone\""));

        // a new emulator goes on where the old one stopped: the rule stays spent
        let stage = stage_with(parse(), &options);
        let body = stage.post(json!({})).await.body;
        assert_eq!(body["output"][0]["content"][0]["text"], "second");
        let calls = stage.running.ledger().calls;
        assert_eq!(calls.iter().map(|call| call.seq).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(calls[0].outcome, Outcome::ClientGone);
    });
}

#[test]
fn hundreds_of_slow_calls_run_side_by_side() {
    run(async {
        let stage = stage("[[rule]]\nfirst_token_ms = 200\nreply = { text = \"slow\" }\n");
        let count = 400;
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..count {
            let request = stage.http.post(stage.url("/responses")).bearer_auth("k").json(&ask(json!({"stream": true})));
            calls.spawn(async move { request.send().await.unwrap().bytes().await.unwrap().len() });
        }
        assert!(calls.join_all().await.iter().all(|length| *length > 100));
        let ledger = stage.running.ledger();
        assert!(ledger.max_in_flight > count / 4, "{}", ledger.max_in_flight);
        assert_eq!(ledger.totals["gpt-5.4-mini"].completed, count);
    });
}

#[test]
fn an_address_in_use_is_named() {
    let running = stage(HELLO).running;
    let scenario = Scenario::parse(HELLO, Path::new(".")).unwrap();
    let options = Options { bind: running.addr(), ..Options::default() };
    let error = brigade_emulator::Emulator::start(scenario, &options).unwrap_err().to_string();
    assert!(error.contains(&running.addr().to_string()), "{error}");
}
