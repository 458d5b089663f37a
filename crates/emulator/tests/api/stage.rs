//! A running emulator and a client that checks what every answer must have.

use std::path::Path;

use brigade_emulator::{Emulator, Options, Running, Scenario};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

pub struct Stage {
    pub running: Running,
    pub http: reqwest::Client,
}

pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
    pub text: String,
}

/// Plays a scenario.
pub fn stage(scenario: &str) -> Stage {
    stage_with(Scenario::parse(scenario, Path::new(".")).unwrap(), &Options::default())
}

pub fn stage_with(scenario: Scenario, options: &Options) -> Stage {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Stage { running: Emulator::start(scenario, options).unwrap(), http: reqwest::Client::builder().no_proxy().build().unwrap() }
}

/// One rule that answers everything with a text.
pub const HELLO: &str = "[[rule]]\nreply = { text = \"hello world\" }\n";

/// A request with the model filled in.
pub fn ask(more: Value) -> Value {
    let mut body = json!({"model": "gpt-5.4-mini", "input": "hi"});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

impl Stage {
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.base_url())
    }

    pub async fn send(&self, path: &str, body: &Value) -> reqwest::Response {
        self.http.post(self.url(path)).bearer_auth("k").json(body).send().await.unwrap()
    }

    pub async fn post_to(&self, path: &str, body: Value) -> Reply {
        read(self.send(path, &body).await).await
    }

    /// Posts to `/responses`, with the model filled in.
    pub async fn post(&self, more: Value) -> Reply {
        let body = ask(more);
        let reply = self.post_to("/responses", body).await;
        if reply.status == 200 && reply.body["object"] == "response" {
            crate::schema::valid("Response", &reply.body);
        } else if reply.status >= 400 && reply.body.is_object() {
            crate::schema::valid("ErrorResponse", &reply.body);
        }
        reply
    }

    pub async fn get(&self, path: &str) -> Reply {
        read(self.http.get(self.url(path)).bearer_auth("k").send().await.unwrap()).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        read(self.http.delete(self.url(path)).bearer_auth("k").send().await.unwrap()).await
    }

    /// All bytes of a stream, and whether it ended in good order.
    pub async fn bytes(&self, path: &str, body: &Value) -> (Vec<u8>, bool) {
        let mut response = self.send(path, body).await;
        assert_eq!(response.status(), 200);
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => return (bytes, true),
                Err(_) => return (bytes, false),
            }
        }
    }

    /// The events of a stream that must be well-formed.
    pub async fn events(&self, more: Value) -> Vec<Value> {
        let mut body = ask(more);
        body["stream"] = true.into();
        let (bytes, whole) = self.bytes("/responses", &body).await;
        assert!(whole, "the stream was cut");
        let events = events(&String::from_utf8(bytes).unwrap());
        crate::schema::valid_events(&events);
        events
    }
}

async fn read(response: reqwest::Response) -> Reply {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    Reply { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::Null), text }
}

/// A small reader of server-sent events; comments are dropped.
pub fn events(text: &str) -> Vec<Value> {
    let mut out = Vec::new();
    for block in text.replace("\r\n", "\n").split("\n\n").filter(|block| !block.trim().is_empty()) {
        let data: Vec<&str> = block.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        if data.is_empty() {
            continue;
        }
        let value: Value = serde_json::from_str(&data.join("\n")).unwrap_or_else(|_| Value::String(data.join("\n")));
        if let Some(kind) = block.lines().find_map(|line| line.strip_prefix("event: ")) {
            assert_eq!(value["type"], kind);
        }
        out.push(value);
    }
    out
}

/// Events of one kind.
pub fn of<'e>(events: &'e [Value], kind: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["type"] == kind).collect()
}

/// Runs a test's future.
pub fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
