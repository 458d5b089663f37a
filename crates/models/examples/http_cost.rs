//! CPU per call on the client's side: a 1 KB request and a small streamed answer over loopback.
//!
//! `cargo run --release -p brigade-models --example http_cost [CALLS] [IN_FLIGHT]`. The server runs in
//! a process of its own, so that only the client is measured.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use brigade_kernel::call::{Call, Deadlines, Item, Service, Speaker};
use brigade_kernel::ids::ModelRef;
use brigade_models::{Dialect, Endpoint, Http, Model};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[expect(clippy::print_stdout, reason = "an example is its output")]
fn report(line: &str) {
    println!("{line}");
}

fn answer() -> Vec<u8> {
    let mut events = vec![r#"{"type":"response.created","response":{"id":"resp_1","model":"m","status":"in_progress"}}"#.to_owned()];
    events.push(r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"msg_1"}}"#.to_owned());
    for word in ["Hello", ", ", "world", "!"] {
        events.push(format!(
            r#"{{"type":"response.output_text.delta","output_index":0,"item_id":"msg_1","content_index":0,"delta":"{word}"}}"#
        ));
    }
    events.push(r#"{"type":"response.completed","response":{"id":"resp_1","model":"m","status":"completed","output":[{"type":"message","id":"msg_1","content":[{"type":"output_text","text":"Hello, world!"}]}],"usage":{"input_tokens":250,"output_tokens":4}}}"#.to_owned());
    let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Answers every request the same, for ever.
async fn serve() -> Result<(), Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    report(&listener.local_addr()?.to_string());
    let answer = Arc::new(answer());
    loop {
        let (mut socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let answer = Arc::clone(&answer);
        tokio::spawn(async move {
            let (mut seen, mut piece) = (Vec::new(), vec![0; 16 << 10]);
            while let Ok(n @ 1..) = socket.read(&mut piece).await {
                seen.extend_from_slice(&piece[..n]);
                // The measured request ends in the only `}]}` of its bytes.
                if seen.ends_with(b"}]}") {
                    seen.clear();
                    if socket.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}

fn call() -> Result<Call, Failure> {
    Ok(Call {
        model: ModelRef::new("p/m")?,
        instructions: "Answer briefly.".to_owned(),
        items: vec![Item::message(Speaker::User, "x".repeat(850))],
        tools: Vec::new(),
        allowed_tools: Vec::new(),
        format: None,
        max_output_tokens: 64,
        effort: None,
        verbosity: None,
        cache_key: None,
        cache_retention: None,
        service: Service::Default,
        request_id: "r1".to_owned(),
        deadlines: Deadlines::default(),
        pictures: Default::default(),
    })
}

/// User and system time of this process in microseconds (in ticks of 10 ms).
fn cpu_micros() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: f64 = fields.get(11).ok_or("utime")?.parse::<f64>()? + fields.get(12).ok_or("stime")?.parse::<f64>()?;
    Ok(ticks * 10_000.0)
}

async fn measure(address: &str, calls: usize, in_flight: usize) -> Result<(), Failure> {
    let start = Instant::now();
    let model = Arc::new(Http::new(Endpoint::new("p", Dialect::Responses, format!("http://{address}/v1"), None))?);
    let made = start.elapsed();
    let call = Arc::new(call()?);
    model.call(&call, &mut |_| ()).await?;
    let first = start.elapsed();
    let left = Arc::new(AtomicUsize::new(calls));
    let (cpu, start) = (cpu_micros()?, Instant::now());
    let workers: Vec<_> = (0..in_flight)
        .map(|_| {
            let (model, call, left) = (Arc::clone(&model), Arc::clone(&call), Arc::clone(&left));
            tokio::spawn(async move {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    model.call(&call, &mut |_| ()).await?;
                }
                Ok::<_, Failure>(())
            })
        })
        .collect();
    for worker in workers {
        worker.await??;
    }
    let micros = (cpu_micros()? - cpu) / calls as f64;
    let rate = calls as f64 / start.elapsed().as_secs_f64();
    report(&format!(
        "{in_flight} in flight: {micros:.1} µs CPU a call, {rate:.0} calls/s; construction {made:?}, with the first call {first:?}"
    ));
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the measured client needs its server in another process, and no tool is run")]
fn server() -> Result<(std::process::Child, String), Failure> {
    let mut child = std::process::Command::new(std::env::current_exe()?).arg("serve").stdout(Stdio::piped()).spawn()?;
    let mut address = String::new();
    BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut address)?;
    Ok((child, address.trim().to_owned()))
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if arguments.first().is_some_and(|word| word == "serve") {
        return runtime.block_on(serve());
    }
    let number = |at: usize, default: usize| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let (calls, in_flight) = (number(0, 20_000)?, number(1, 64)?);
    let (mut child, address) = server()?;
    let outcome = runtime.block_on(async {
        measure(&address, calls, 1).await?;
        measure(&address, calls, in_flight).await
    });
    child.kill()?;
    child.wait()?;
    outcome
}
