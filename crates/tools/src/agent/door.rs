//! The only way out of an errand's sandbox: a proxy that connects to the hosts its provider is at, and to no other.
//!
//! Programs find it by the usual variables. It reads the first line of what they ask, decides by name and port, and then
//! passes bytes on; what is encrypted stays so. Whoever goes past it finds no network.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// The head of a request.
const HEAD_BYTES: usize = 64 << 10;
/// For the head to arrive, and for the host to be reached.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections at once.
const MOST: usize = 256;
/// Refused hosts remembered.
const MOST_REFUSED: usize = 32;

/// A host that may be reached: `name` or `*.name`, and the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    name: String,
    port: u16,
}

impl Host {
    /// Reads `NAME`, `*.NAME`, either with `:PORT`; without, 443.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fault = || format!("{text:?} is no host: write a name such as \"api.example.com\", \"*.example.com\" or \"localhost:8080\"");
        let (name, port) = split(text, 443).ok_or_else(fault)?;
        let plain = name.strip_prefix("*.").unwrap_or(&name);
        let odd = |c: char| !(c.is_ascii_alphanumeric() || ".-_:".contains(c));
        if plain.is_empty() || plain.len() > 253 || plain.contains(odd) || (name.starts_with("*.") && !plain.contains('.')) {
            return Err(fault());
        }
        Ok(Self { name, port })
    }

    /// Where an address such as `https://host:8443/v1` leads.
    pub fn of_url(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let usual = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let authority = rest.split(['/', '?', '#']).next()?;
        let (name, port) = split(authority, usual)?;
        (!authority.contains('@')).then_some(Self { name, port })
    }

    fn lets(&self, name: &str, port: u16) -> bool {
        let named = match self.name.strip_prefix('*') {
            Some(end) => name.len() > end.len() && name.ends_with(end),
            None => name == self.name,
        };
        named && port == self.port
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.name, self.port)
    }
}

/// `name:port` or `[v6]:port`, in small letters.
fn split(text: &str, usual: u16) -> Option<(String, u16)> {
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, "")) => (name, None),
        Some((name, port)) => (name, Some(port.strip_prefix(':')?)),
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    let port = port.map_or(Some(usual), |port| port.parse().ok().filter(|port| *port != 0))?;
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    (!name.is_empty()).then_some((name, port))
}

/// The engine's side of the door; closed when dropped.
#[derive(Debug)]
pub(super) struct Door {
    keeper: JoinHandle<()>,
    refused: Arc<Mutex<BTreeSet<String>>>,
}

impl Door {
    /// Lets through to these hosts what comes in at the listener.
    pub fn open(listener: OwnedFd, hosts: Vec<Host>) -> io::Result<Self> {
        let listener = std::net::TcpListener::from(listener);
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let refused = Arc::new(Mutex::new(BTreeSet::new()));
        let keeper = tokio::spawn(keep(listener, hosts.into(), refused.clone()));
        Ok(Self { keeper, refused })
    }

    /// Hosts that were asked for and not let through.
    pub fn refused(&self) -> Vec<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

async fn keep(listener: TcpListener, hosts: Arc<[Host]>, refused: Arc<Mutex<BTreeSet<String>>>) {
    // Dropped with this task, and every connection with it.
    let mut guests = JoinSet::new();
    loop {
        while guests.len() >= MOST {
            guests.join_next().await;
        }
        tokio::select! {
            Ok((guest, _)) = listener.accept() => {
                let (hosts, refused) = (hosts.clone(), refused.clone());
                guests.spawn(async move {
                    // A broken connection is between the two who had it.
                    let _ = receive(guest, &hosts, &refused).await;
                });
            }
            Some(_) = guests.join_next() => {}
        }
    }
}

/// What a guest asks for.
struct Wish {
    name: String,
    port: u16,
    /// What the host is sent first; `None`: a tunnel.
    head: Option<Vec<u8>>,
}

async fn receive(mut guest: TcpStream, hosts: &[Host], refused: &Mutex<BTreeSet<String>>) -> io::Result<()> {
    let Ok(Some((head, rest))) = timeout(PATIENCE, head_of(&mut guest)).await.unwrap_or(Ok(None)) else { return Ok(()) };
    let Some(wish) = wish(&head) else {
        return turn_away(&mut guest, "400 Bad Request", "this proxy takes CONNECT and http:// only").await;
    };
    if !hosts.iter().any(|host| host.lets(&wish.name, wish.port)) {
        let asked: String = format!("{}:{}", wish.name, wish.port).chars().take(200).collect();
        note(refused, &asked);
        return turn_away(&mut guest, "403 Forbidden", &format!("{asked} is not among the hosts of this agent")).await;
    }
    let Ok(Ok(mut host)) = timeout(PATIENCE, TcpStream::connect((wish.name.as_str(), wish.port))).await else {
        return turn_away(&mut guest, "502 Bad Gateway", &format!("{}:{} cannot be reached", wish.name, wish.port)).await;
    };
    match &wish.head {
        Some(head) => host.write_all(head).await?,
        None => guest.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?,
    }
    host.write_all(&rest).await?;
    copy_bidirectional(&mut guest, &mut host).await.map(drop)
}

fn note(refused: &Mutex<BTreeSet<String>>, asked: &str) {
    let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
    if refused.len() < MOST_REFUSED {
        refused.insert(asked.to_owned());
    }
}

/// The head of a request, and what came behind it.
async fn head_of(guest: &mut TcpStream) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            return Ok(Some((bytes, rest)));
        }
        if bytes.len() > HEAD_BYTES || guest.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

fn wish(head: &[u8]) -> Option<Wish> {
    let head = std::str::from_utf8(head).ok().filter(|head| !head.contains('\0'))?;
    let (first, lines) = head.split_once("\r\n")?;
    let mut words = first.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || !version.starts_with("HTTP/1.") {
        return None;
    }
    if method == "CONNECT" {
        let (name, port) = split(target, 443)?;
        return Some(Wish { name, port, head: None });
    }
    let host = Host::of_url(target).filter(|_| target.starts_with("http://"))?;
    let path = target.get("http://".len()..)?.find('/').map_or("/", |at| &target["http://".len() + at..]);
    let mut sent = format!("{method} {path} {version}\r\n");
    // One request for each connection: the next one may be for somebody else.
    for line in lines.split("\r\n").filter(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        if !matches!(name.as_str(), "connection" | "proxy-connection" | "proxy-authorization" | "keep-alive") {
            sent.push_str(line);
            sent.push_str("\r\n");
        }
    }
    sent.push_str("Connection: close\r\n\r\n");
    Some(Wish { name: host.name, port: host.port, head: Some(sent.into_bytes()) })
}

async fn turn_away(guest: &mut TcpStream, status: &str, why: &str) -> io::Result<()> {
    let answer =
        format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{why}", why.len());
    guest.write_all(answer.as_bytes()).await?;
    guest.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_lets_through_its_name_and_port_and_nothing_that_resembles_them() {
        let host = |text: &str| Host::parse(text).expect("a host");
        for (allowed, asked, port, through) in [
            ("api.example.com", "api.example.com", 443, true),
            ("API.example.com.", "api.example.com", 443, true),
            ("api.example.com", "api.example.com", 80, false),
            ("api.example.com", "evil-api.example.com", 443, false),
            ("api.example.com", "api.example.com.evil.net", 443, false),
            ("*.example.com", "a.example.com", 443, true),
            ("*.example.com", "example.com", 443, false),
            ("*.example.com", "evilexample.com", 443, false),
            ("localhost:8080", "localhost", 8080, true),
            ("[::1]:8080", "::1", 8080, true),
        ] {
            assert_eq!(host(allowed).lets(asked, port), through, "{allowed} {asked}:{port}");
        }
        for bad in ["", "*", "*.com", "a b", "http://x", "x:0", "x:99999", "a/b", "user@x"] {
            assert!(Host::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_is_read_once_and_sent_on_without_what_was_for_the_proxy() {
        let plain = wish(b"POST http://localhost:81/v1/x?y HTTP/1.1\r\nHost: localhost:81\r\nProxy-Authorization: secret\r\nConnection: keep-alive\r\n\r\n");
        let plain = plain.expect("a wish");
        assert_eq!((plain.name.as_str(), plain.port), ("localhost", 81));
        let sent = String::from_utf8(plain.head.expect("a head")).expect("UTF-8");
        assert_eq!(sent, "POST /v1/x?y HTTP/1.1\r\nHost: localhost:81\r\nConnection: close\r\n\r\n");
        let tunnel = wish(b"CONNECT Api.Example.com:443 HTTP/1.1\r\nHost: other\r\n\r\n").expect("a wish");
        assert_eq!((tunnel.name.as_str(), tunnel.port, tunnel.head), ("api.example.com", 443, None));
        for bad in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET https://x/ HTTP/1.1\r\n\r\n",
            "GET http://a@b/ HTTP/1.1\r\n\r\n",
            "CONNECT x:443\r\n\r\n",
            "GET http://x/ a HTTP/1.1\r\n\r\n",
        ] {
            assert!(wish(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
