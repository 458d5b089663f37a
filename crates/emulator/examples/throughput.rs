//! CPU that the emulator spends on one small streamed request, over real HTTP on loopback.
//!
//! `cargo run --release -p brigade-emulator --example throughput -- [REQUESTS] [CONNECTIONS]`
//! The client is a bare socket, so that the emulator's own thread is what is measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Instant;

use brigade_emulator::{Emulator, Options, Scenario};

const SCENARIO: &str = r#"
[[rule]]
match = { contains = "never", format = "brigade_plan" }
reply = { text = "no" }
[[rule]]
match = { contains = "Classify" }
reply = { json = { label = "refund", confidence = 0.9 } }
"#;

fn main() {
    let mut args = std::env::args().skip(1).filter_map(|arg| arg.parse::<usize>().ok());
    let requests = args.next().unwrap_or(50_000);
    let connections = args.next().unwrap_or(32);
    for (name, ledger, durable) in [("memory", false, false), ("file", true, false), ("durable", true, true)] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let scenario = Scenario::parse(SCENARIO, Path::new(".")).expect("the scenario parses");
        let options = Options { ledger: ledger.then(|| dir.path().join("ledger.jsonl")), durable, ..Options::default() };
        let running = Emulator::start(scenario, &options).expect("a free port");
        let addr = running.addr();
        let started = Instant::now();
        let clients: Vec<_> = (0..connections).map(|_| std::thread::spawn(move || client(addr, requests / connections))).collect();
        clients.into_iter().for_each(|client| client.join().expect("no client fails"));
        let (wall, cpu_us) = (started.elapsed(), cpu_us("emulator"));
        let calls = running.shutdown().calls.len();
        let line = format!(
            "{name}: {calls} requests, {:.1} us CPU each, {:.0} requests/s",
            cpu_us / calls as f64,
            calls as f64 / wall.as_secs_f64()
        );
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

fn client(addr: SocketAddr, requests: usize) {
    let tool = r#"{"type":"function","name":"end","description":"ends","parameters":{"type":"object","properties":{"status":{"type":"string"},"reason":{"type":"string"}},"required":["status","reason"],"additionalProperties":false},"strict":true}"#;
    let body = format!(
        r#"{{"model":"gpt-5.4-nano","instructions":"{}","input":[{{"role":"user","content":"Classify: where is my refund?"}}],"tools":[{tool}],"max_output_tokens":4096,"stream":true,"store":false}}"#,
        "You are a careful classifier. ".repeat(20)
    );
    let request = format!(
        "POST /v1/responses HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(addr).expect("it listens");
    let mut buffer = vec![0; 64 << 10];
    for _ in 0..requests {
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut seen: Vec<u8> = Vec::new();
        while !seen.ends_with(b"0\r\n\r\n") {
            let read = stream.read(&mut buffer).expect("it answers");
            assert!(read > 0, "closed: {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&buffer[..read]);
        }
        assert!(seen.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&seen));
    }
}

/// CPU of the thread of that name, from the kernel's accounts.
fn cpu_us(name: &str) -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let of_name = tasks.filter(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name));
    let nanos = of_name.filter_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<f64>().ok()
    });
    nanos.sum::<f64>() / 1_000.0
}
