//! `brigade emulate`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use serde_json::Value;

use super::Place;

/// An emulator process that answers.
pub struct Served {
    child: Child,
    pub url: String,
}

impl Served {
    pub fn start(place: &Place, args: &[&str]) -> Self {
        let mut command = place.command(&[&["emulate"], args].concat());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, url: line.trim_end().to_owned() }
    }

    fn exchange(&self, request: &str) -> String {
        let mut socket = TcpStream::connect(self.url.strip_prefix("http://").unwrap().strip_suffix("/v1").unwrap()).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    fn ask(&self) -> String {
        let body = r#"{"model":"gpt-5.4-nano","input":"hello"}"#;
        let head =
            "POST /v1/responses HTTP/1.1\r\nhost: here\r\nauthorization: Bearer any\r\ncontent-type: application/json\r\nconnection: close";
        self.exchange(&format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    }

    /// The models asked so far, in order.
    pub fn models_called(&self) -> Vec<String> {
        let answer = self.exchange("GET /_ledger HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n");
        let ledger: Value = serde_json::from_str(&answer[answer.find("\r\n\r\n").unwrap()..]).unwrap();
        ledger["calls"].as_array().unwrap().iter().map(|call| call["model"].as_str().unwrap().to_owned()).collect()
    }

    /// Ends it as Ctrl-C would.
    fn interrupt(mut self) -> i32 {
        let pid = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_serves_at_the_url_it_prints_until_it_is_interrupted() {
    let place = Place::new();
    place.write("s.toml", "[[rule]]\nreply = { text = \"scripted\" }\n");
    let served = Served::start(&place, &["s.toml"]);
    assert!(served.url.starts_with("http://127.0.0.1:") && served.url.ends_with("/v1"), "{}", served.url);
    assert!(served.ask().contains("scripted"));
    assert_eq!(served.interrupt(), 0);
}

#[test]
fn a_ledger_file_goes_on_where_the_emulator_before_it_ended() {
    let place = Place::new();
    place.write("s.toml", "[[rule]]\ntimes = 1\nreply = { text = \"first\" }\n[[rule]]\nreply = { text = \"later\" }\n");
    let served = Served::start(&place, &["s.toml", "--ledger", "calls.jsonl"]);
    assert!(served.ask().contains("first"));
    // No chance to tidy up: what was answered is on record all the same.
    drop(served);
    let served = Served::start(&place, &["s.toml", "--ledger", "calls.jsonl"]);
    assert!(served.ask().contains("later"));
    assert_eq!(served.models_called().len(), 2);
}

#[test]
fn a_scenario_at_fault_is_exit_2_with_its_line() {
    let place = Place::new();
    place.write("s.toml", "[[rule]]\nreply = { txt = \"x\" }\n");
    let ran = place.run(&["emulate", "s.toml"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("txt"), "{ran:?}");
}
