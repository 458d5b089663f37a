use serde_json::{Value, json};

use crate::stage::{HELLO, stage};

fn conversation() -> Value {
    json!([
        {"role": "user", "content": "do it"},
        {"role": "assistant", "content": "a long plan"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "and now?"}]},
    ])
}

#[tokio::test]
async fn compact_returns_user_messages_and_one_item_that_is_accepted_as_input_later() {
    let stage = stage(HELLO);
    let reply = stage.post_to("/responses/compact", json!({"model": "gpt-5.4", "input": conversation(), "instructions": "plan"})).await;
    assert_eq!((reply.status, &reply.body["object"]), (200, &json!("response.compaction")));
    let output = reply.body["output"].as_array().unwrap();
    let kinds: Vec<&str> = output.iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["message", "message", "compaction"]);
    assert_eq!((&output[0]["content"][0]["text"], &output[1]["content"][0]["text"]), (&json!("do it"), &json!("and now?")));
    let (input, total) = (reply.body["usage"]["input_tokens"].as_u64().unwrap(), reply.body["usage"]["total_tokens"].as_u64().unwrap());
    let ledger = stage.running.ledger();
    assert_eq!((ledger.calls[0].path, ledger.calls[0].usage.unwrap().input_tokens), ("/v1/responses/compact", input));
    assert!(total > input);
    let mut later = output.clone();
    for item in &mut later {
        item.as_object_mut().unwrap().remove("id");
    }
    assert_eq!(stage.post(json!({ "input": later, "store": false })).await.status, 200);
    let forged = json!([{"type": "compaction", "encrypted_content": "who knows"}]);
    assert_eq!(stage.post(json!({ "input": forged })).await.status, 400);
}

#[tokio::test]
async fn compact_refuses_what_it_cannot_condense_and_can_be_missing_altogether() {
    let here = stage(HELLO);
    for (body, param) in [
        (json!({"input": "hi"}), "model"),
        (json!({"model": "gpt-5.4"}), "input"),
        (json!({"model": "gpt-9", "input": "hi"}), "model"),
        (json!({"model": "gpt-5.4", "input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]}), "input"),
    ] {
        let reply = here.post_to("/responses/compact", body).await;
        assert_eq!((reply.status, reply.body["error"]["param"].as_str()), (400, Some(param)), "{}", reply.text);
    }
    let without = stage(&format!("[server]\nno_compaction = true\n{HELLO}"));
    assert_eq!(without.post_to("/responses/compact", json!({"model": "gpt-5.4", "input": "hi"})).await.status, 404);
}
