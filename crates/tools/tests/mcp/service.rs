//! Services over HTTP: a socket of this process, answering by hand.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::stage::{Stage, answer, block_on, unknown};

pub const ALL: &[(&str, fn())] = &[
    ("a_service_gets_its_token_and_no_one_else_does", token),
    ("a_redirect_is_not_followed", redirect),
    ("a_service_that_wants_a_login_is_refused_by_name", login),
    ("a_lost_session_is_no_reason_to_call_twice", session),
];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Honest,
    Redirect,
    Login,
    /// Forgets its session at the first call, after doing the work.
    Forgetful,
}

/// What was asked, headers included.
type Heard = Arc<Mutex<Vec<String>>>;

fn serve(kind: Kind) -> (String, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let heard = Heard::default();
    let log = heard.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let log = log.clone();
            std::thread::spawn(move || one(kind, stream, &log));
        }
    });
    (url, heard)
}

fn one(kind: Kind, mut stream: TcpStream, heard: &Heard) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 || line == "\r\n" {
            break;
        }
        if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = n.trim().parse().ok()?;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    heard.lock().unwrap().push(format!("{head}{message}"));
    let id = &message["id"];
    let reply = |status: &str, headers: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let result =
        |value: Value| reply("200 OK", "Mcp-Session-Id: s1\r\n", &json!({"jsonrpc": "2.0", "id": id, "result": value}).to_string());
    let text = match (kind, message["method"].as_str().unwrap_or_default()) {
        (Kind::Redirect, _) => reply("307 Temporary Redirect", "Location: http://127.0.0.1:1/elsewhere\r\n", ""),
        (Kind::Login, _) => {
            reply("401 Unauthorized", "WWW-Authenticate: Bearer resource_metadata=\"http://169.254.169.254/latest\"\r\n", "")
        }
        (_, "initialize") => result(json!({
            "protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}
        })),
        (_, "tools/list") => result(json!({"tools": [{"name": "echo", "description": "Repeats.", "inputSchema": {"type": "object"}}]})),
        (Kind::Forgetful, "tools/call") => reply("404 Not Found", "", ""),
        (_, "tools/call") => result(json!({"content": [{"type": "text", "text": message["params"]["arguments"]["text"]}]})),
        _ if id.is_null() && message.is_object() => reply("202 Accepted", "", ""),
        _ => reply("405 Method Not Allowed", "", ""),
    };
    stream.write_all(text.as_bytes()).ok()
}

fn stage(url: &str) -> Stage {
    Stage::bare().with("url", url.into())
}

fn token() {
    block_on(async {
        let (url, heard) = serve(Kind::Honest);
        let mut stage = stage(&url).with("bearer_env", "T_TOKEN".into());
        let why = stage.try_trust().await.unwrap_err().to_string();
        assert!(why.contains("T_TOKEN is not set"), "{why}");
        stage.env.insert("T_TOKEN".to_owned(), "canary-token-1".to_owned());
        let stage = stage.trusted().await;
        let servers = stage.servers();
        assert_eq!(answer(&servers, "echo", "over HTTP").await.output, "over HTTP");
        assert_eq!(answer(&servers, "echo", "it is canary-token-1").await.output, "it is [redacted]");
        let heard = heard.lock().unwrap();
        assert!(heard.iter().all(|request| request.to_lowercase().contains("authorization: bearer canary-token-1")), "{heard:?}");
        assert!(!format!("{servers:?}").contains("canary"));
    });
}

fn redirect() {
    block_on(async {
        let (url, heard) = serve(Kind::Redirect);
        let why = stage(&url).try_trust().await.unwrap_err().to_string();
        assert!(why.contains("307"), "{why}");
        assert_eq!(heard.lock().unwrap().len(), 1);
    });
}

fn login() {
    block_on(async {
        let (url, heard) = serve(Kind::Login);
        let why = stage(&url).try_trust().await.unwrap_err().to_string();
        assert!(why.contains("bearer_env") && why.contains("not supported yet"), "{why}");
        assert_eq!(heard.lock().unwrap().len(), 1, "its metadata are not looked for");
    });
}

fn session() {
    block_on(async {
        let (url, heard) = serve(Kind::Forgetful);
        let stage = stage(&url).trusted().await;
        let servers = stage.servers();
        unknown(&servers, "echo").await;
        let calls = heard.lock().unwrap().iter().filter(|request| request.contains("tools/call")).count();
        assert_eq!(calls, 1);
    });
}
