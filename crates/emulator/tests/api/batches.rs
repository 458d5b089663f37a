//! Files and batches: JSONL in, unordered out, what is late as `batch_expired`, billed as a batch.

use serde_json::{Value, json};

use crate::stage::{HELLO, Reply, Stage, run, stage};

fn lines(ids: &[&str]) -> String {
    let line = |id: &&str| {
        let body = json!({"model": "gpt-5.4-mini", "input": format!("this is {id}")});
        format!("{}\n", json!({"custom_id": id, "method": "POST", "url": "/v1/responses", "body": body}))
    };
    ids.iter().map(line).collect()
}

impl Stage {
    async fn upload(&self, text: String) -> Value {
        let part = reqwest::multipart::Part::text(text).file_name("in.jsonl");
        let form = reqwest::multipart::Form::new().text("purpose", "batch").part("file", part);
        let sent = self.http.post(self.url("/files")).bearer_auth("k").multipart(form).send().await.unwrap();
        serde_json::from_str(&sent.text().await.unwrap()).unwrap()
    }

    async fn batch(&self, ids: &[&str]) -> Reply {
        let file = self.upload(lines(ids)).await;
        let body =
            json!({"input_file_id": file["id"], "endpoint": "/v1/responses", "completion_window": "24h", "metadata": {"mine": "b1"}});
        self.post_to("/batches", body).await
    }

    async fn rows(&self, file: &Value) -> Vec<Value> {
        let text = self.get(&format!("/files/{}/content", file.as_str().unwrap())).await.text;
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn lines_come_back_in_another_order_late_ones_as_expired_and_all_are_billed_as_a_batch() {
    // 54
    run(async {
        let late = "[[rule]]\nmatch = { contains = \"this is late\" }\nreply = { error = \"batch_expired\" }\n";
        let broken = "[[rule]]\nmatch = { contains = \"this is bad\" }\nreply = { status = 500 }\n";
        let batched = "[[rule]]\nmatch = { service_tier = \"batch\" }\nreply = { text = \"in a batch\" }\n";
        let stage = stage(&format!("{late}{broken}{batched}{HELLO}"));
        let ids = ["a", "b", "c", "d", "e", "late", "bad"];
        let made = stage.batch(&ids).await.body;
        assert_eq!((made["status"].as_str(), made["metadata"]["mine"].as_str()), (Some("in_progress"), Some("b1")));
        let over = stage.get(&format!("/batches/{}", made["id"].as_str().unwrap())).await.body;
        assert_eq!(over["status"], "expired", "not all were reached in time");
        assert_eq!(over["request_counts"], json!({"total": 7, "completed": 5, "failed": 2}));

        let rows = stage.rows(&over["output_file_id"]).await;
        let mut came: Vec<&str> = rows.iter().map(|row| row["custom_id"].as_str().unwrap()).collect();
        assert_ne!(came, ids[..5], "in no order");
        came.sort_unstable();
        assert_eq!(came, ids[..5]);
        assert!(rows.iter().all(|row| row["response"]["status_code"] == 200 && row["error"].is_null()));
        assert_eq!(rows[0]["response"]["body"]["output"][0]["content"][0]["text"], "in a batch");

        let errors = stage.rows(&over["error_file_id"]).await;
        let of = |id: &str| errors.iter().find(|row| row["custom_id"] == id).unwrap();
        assert_eq!((&of("late")["response"], of("late")["error"]["code"].as_str()), (&Value::Null, Some("batch_expired")));
        assert_eq!(of("bad")["response"]["status_code"], 500);

        let ledger = stage.running.ledger();
        let billed: Vec<&str> =
            ledger.calls.iter().filter(|call| call.usage.is_some()).filter_map(|call| call.service.as_deref()).collect();
        assert_eq!(billed, ["batch"; 5]);
        assert!(ledger.calls.iter().all(|call| call.request_id.is_some()));
    });
}

#[test]
fn a_batch_takes_its_time_is_found_in_the_list_and_can_be_stopped() {
    run(async {
        let stage = stage(&format!("[batches]\ndelay_ms = 3600000\n{HELLO}"));
        let (first, second) = (stage.batch(&["a"]).await.body, stage.batch(&["b"]).await.body);
        let list = stage.get("/batches?limit=1").await.body;
        assert_eq!((&list["data"][0]["id"], list["has_more"].as_bool()), (&second["id"], Some(true)), "the newest first");
        let rest = stage.get(&format!("/batches?limit=1&after={}", second["id"].as_str().unwrap())).await.body;
        assert_eq!((&rest["data"][0]["id"], rest["has_more"].as_bool()), (&first["id"], Some(false)));
        let path = format!("/batches/{}", first["id"].as_str().unwrap());
        assert_eq!(stage.get(&path).await.body["status"], "in_progress");
        let stopped = stage.post_to(&format!("{path}/cancel"), json!({})).await.body;
        assert_eq!(stopped["status"], "cancelled");
        assert_eq!(stage.rows(&stopped["error_file_id"]).await[0]["error"]["code"], "batch_cancelled");
        assert_eq!(stage.post_to(&format!("{path}/cancel"), json!({})).await.status, 409);
        assert!(stage.running.ledger().calls.is_empty());
    });
}

#[test]
fn what_no_batch_can_be_made_of_is_refused_or_failed_by_name() {
    run(async {
        let stage = stage(HELLO);
        let create = |more: Value| {
            let mut body = json!({"input_file_id": "file-1", "endpoint": "/v1/responses", "completion_window": "24h"});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        for (body, param) in [
            (create(json!({})), "input_file_id"),
            (create(json!({"completion_window": "1h"})), "completion_window"),
            (create(json!({"endpoint": "/v1/embeddings"})), "endpoint"),
        ] {
            let refused = stage.post_to("/batches", body).await;
            assert_eq!((refused.status, refused.body["error"]["param"].as_str()), (400, Some(param)));
        }
        let failed = stage.batch(&["a", "a"]).await.body;
        assert_eq!(
            (failed["status"].as_str(), failed["errors"]["data"][0]["code"].as_str()),
            (Some("failed"), Some("duplicate_custom_id"))
        );
        assert_eq!(stage.get("/batches/batch_none").await.status, 404);
        let none = super::stage::stage(&format!("[batches]\nnone = true\n{HELLO}"));
        assert_eq!(none.get("/batches").await.status, 404);
    });
}
