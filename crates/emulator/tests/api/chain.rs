use serde_json::{Value, json};

use crate::stage::{Stage, run, stage};

const ECHO: &str = r#"
[[rule]]
match = { contains = "call a tool", tool_result = "42" }
reply = { text = "it is 42" }
[[rule]]
match = { contains = "call a tool" }
reply = { calls = [{ name = "f", arguments = { a = 1 } }] }
[[rule]]
match = { contains = ["secret of the parent", "second"] }
reply = { text = "remembered" }
[[rule]]
match = { contains = "only instructions" }
reply = { text = "instructed" }
[[rule]]
reply = { text = "nothing known" }
"#;

fn said(body: &Value) -> &str {
    body["output"][0]["content"][0]["text"].as_str().unwrap_or("")
}

async fn first(stage: &Stage) -> Value {
    stage.post(json!({"input": "secret of the parent", "instructions": "only instructions"})).await.body
}

#[test]
fn a_chain_rebuilds_the_context_and_bills_it() {
    // 11, 15
    run(async {
        let stage = stage(ECHO);
        let parent = first(&stage).await;
        assert_eq!(said(&parent), "instructed");
        let child = stage.post(json!({"input": "second", "previous_response_id": parent["id"]})).await.body;
        assert_eq!(said(&child), "remembered");
        assert_eq!(child["previous_response_id"], parent["id"]);
        let alone = stage.post(json!({"input": "second"})).await.body;
        assert!(child["usage"]["input_tokens"].as_u64() > alone["usage"]["input_tokens"].as_u64());
        let third = stage.post(json!({"input": "third", "previous_response_id": alone["id"]})).await.body;
        assert_eq!(said(&third), "nothing known", "instructions are not inherited");
    });
}

#[test]
fn two_children_of_one_parent_are_independent() {
    // 16
    run(async {
        let stage = stage(ECHO);
        let parent = first(&stage).await;
        let ask = |text: &str| json!({"input": text, "previous_response_id": parent["id"]});
        let one = stage.post(ask("x")).await.body;
        let two = stage.post(ask("second")).await.body;
        assert_ne!(one["id"], two["id"]);
        let grandchild = stage.post(json!({"input": "y", "previous_response_id": one["id"]})).await.body;
        assert_eq!(said(&grandchild), "nothing known", "the other child's words are not in it");
    });
}

#[test]
fn an_unknown_unstored_or_deleted_parent_is_not_found() {
    // 12, 13, 17, 18, 51
    run(async {
        let stage = stage(ECHO);
        let unstored = stage.post(json!({"store": false})).await.body;
        let deleted = stage.post(json!({})).await.body;
        let id = deleted["id"].as_str().unwrap();
        assert_eq!(stage.get(&format!("/responses/{id}")).await.body, deleted);
        let gone = stage.delete(&format!("/responses/{id}")).await;
        assert_eq!(gone.body, json!({"id": id, "object": "response", "deleted": true}));
        for id in [unstored["id"].as_str().unwrap(), id, "resp_unknown"] {
            let reply = stage.post(json!({"previous_response_id": id})).await;
            assert_eq!(reply.status, 400);
            assert_eq!(reply.body["error"]["code"], "previous_response_not_found");
            assert_eq!(reply.body["error"]["param"], "previous_response_id");
            assert_eq!(stage.get(&format!("/responses/{id}")).await.status, 404);
        }
    });
}

#[test]
fn the_id_of_an_unstored_item_is_404() {
    // 19
    run(async {
        let stage = stage(ECHO);
        let unstored = stage.post(json!({"store": false})).await.body;
        let stored = stage.post(json!({})).await.body;
        let replay = |from: &Value| json!({"input": [from["output"][0], {"role": "user", "content": "go on"}]});
        let refused = stage.post(replay(&unstored)).await;
        assert_eq!((refused.status, &refused.body["error"]["param"]), (404, &json!("input")));
        assert!(refused.text.contains("Items are not persisted when `store` is set to false"));
        assert_eq!(stage.post(replay(&stored)).await.status, 200);
        let mut stripped = unstored.clone();
        stripped["output"][0].as_object_mut().unwrap().remove("id");
        assert_eq!(stage.post(replay(&stripped)).await.status, 200);
    });
}

#[test]
fn codex_sends_whole_items_back_under_their_ids() {
    run(async {
        let stage = stage(ECHO);
        let unstored = stage.post(json!({"store": false})).await.body;
        let items = |first: &Value| json!({"client_metadata": {}, "store": false, "input": [first, {"role": "user", "content": "go on"}]});
        assert_eq!(stage.post(items(&unstored["output"][0])).await.status, 200);
        let id = &unstored["output"][0]["id"];
        for part in [json!({"type": "item_reference", "id": id}), json!({"type": "reasoning", "id": "rs_1", "summary": []})] {
            assert_eq!(stage.post(items(&part)).await.status, 404, "{part}");
        }
        assert_eq!(stage.post(items(&json!({"type": "reasoning", "id": "rs_1", "encrypted_content": "x"}))).await.status, 200);
    });
}

#[test]
fn a_tool_round_trip_works_stateless_and_chained() {
    run(async {
        let stage = stage(ECHO);
        let tools = json!([{"type": "function", "name": "f", "parameters": {}, "strict": false}]);
        let call = stage.post(json!({"input": "call a tool", "tools": tools})).await.body;
        let item = &call["output"][0];
        assert_eq!((&item["type"], &item["arguments"]), (&json!("function_call"), &json!("{\"a\":1}")));
        let output = json!({"type": "function_call_output", "call_id": item["call_id"], "output": "the answer is 42"});
        let chained = stage.post(json!({"input": [output], "previous_response_id": call["id"]})).await.body;
        let mut replayed = item.clone();
        replayed.as_object_mut().unwrap().remove("id");
        let stateless = stage.post(json!({"input": [{"role": "user", "content": "call a tool"}, replayed, output]})).await.body;
        assert_eq!((said(&chained), said(&stateless)), ("it is 42", "it is 42"));
        let unanswered = stage.post(json!({"input": "x", "previous_response_id": call["id"]})).await;
        assert_eq!(unanswered.status, 400, "a chained call also needs its output");
    });
}
