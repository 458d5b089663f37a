//! What passes between brigade and its provider, and when: a plain relay that notes each request's first byte and
//! each piece of an answer's text.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use serde_json::Value;

/// What was seen on the wire, oldest first.
#[derive(Debug, Default)]
pub struct Seen {
    /// When each request began to arrive.
    pub requests: Vec<Instant>,
    /// The text of the first streamed answer so far, with the moment each piece went on to brigade.
    pub said: Vec<(Instant, String)>,
}

/// A relay in front of a provider. It ends with the process.
#[derive(Debug)]
pub struct Relay {
    pub base_url: String,
    seen: Arc<Mutex<Seen>>,
}

impl Relay {
    /// Relays to the provider at `base_url` (`http://HOST:PORT/PATH`).
    pub fn before(base_url: &str) -> Result<Self, String> {
        let rest = base_url.strip_prefix("http://").ok_or_else(|| format!("{base_url} is no plain HTTP address"))?;
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
        let here = listener.local_addr().map_err(|e| e.to_string())?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (kept, place) = (seen.clone(), place.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(server) = TcpStream::connect(&place) {
                    join(client, server, &kept);
                }
            }
        });
        Ok(Self { base_url: format!("http://{here}/{path}"), seen })
    }

    /// What was seen since the last call.
    pub fn take(&self) -> Seen {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Carries bytes both ways until either side is done.
fn join(client: TcpStream, server: TcpStream, seen: &Arc<Mutex<Seen>>) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else { return };
    let up = seen.clone();
    thread::spawn(move || {
        carry(from_client, server, |piece| {
            if piece.starts_with(b"POST ") {
                up.lock().unwrap_or_else(PoisonError::into_inner).requests.push(Instant::now());
            }
        });
    });
    let down = seen.clone();
    let mut rest = Vec::new();
    thread::spawn(move || {
        carry(from_server, client, |piece| {
            rest.extend_from_slice(piece);
            while let Some(end) = rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let delta = line.strip_prefix(b"data: ").and_then(|data| serde_json::from_slice::<Value>(data).ok());
                let Some(delta) = delta.filter(|d| d["type"] == "response.output_text.delta") else { continue };
                let text = delta["delta"].as_str().unwrap_or_default().to_owned();
                down.lock().unwrap_or_else(PoisonError::into_inner).said.push((Instant::now(), text));
            }
        });
    });
}

fn carry(mut from: TcpStream, mut to: TcpStream, mut note: impl FnMut(&[u8])) {
    let mut buffer = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        note(&buffer[..read]);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
