//! Addresses of services: TLS, or this very machine; found once, and then always the same.
//!
//! A redirect is not followed, and a name that later points elsewhere is not asked again: the token goes to one place.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::OnceCell;

/// Checks an address as configured.
pub(super) fn check(text: &str) -> Result<String, String> {
    let remedy = "write an address such as https://host/mcp; http is for this machine only (http://127.0.0.1:PORT/mcp)";
    let shown = || crate::escape_for_screen(text).chars().take(80).collect::<String>();
    let url = Url::parse(text).ok().filter(|url| text.len() <= 2_000 && url.has_host());
    let Some(url) = url else { return Err(format!("{:?} is no address: {remedy}", shown())) };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("no user or password in an address; name the token's variable in bearer_env".to_owned());
    }
    let literal = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
    if let Some(why) = literal.and_then(forbidden) {
        return Err(format!("{:?} is {why}: {remedy}", shown()));
    }
    match url.scheme() {
        "https" => Ok(url.to_string()),
        "http" if is_local(&url) => Ok(url.to_string()),
        _ => Err(format!("{:?} would travel in clear: {remedy}", shown())),
    }
}

/// Whether it names this machine.
pub(super) fn is_local(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Addresses no service stands at, and clouds hand out keys from.
fn forbidden(ip: IpAddr) -> Option<&'static str> {
    let ip = ip.to_canonical();
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    match ip {
        _ if link_local => Some("a link-local address"),
        ip if ip.is_unspecified() || ip.is_multicast() => Some("no host's address"),
        _ => None,
    }
}

/// The first answer of the name service, for as long as the connection lives.
#[derive(Debug, Clone)]
pub(super) struct Pinned {
    local: bool,
    found: Arc<OnceCell<Vec<SocketAddr>>>,
}

impl Pinned {
    pub(super) fn new(url: &Url) -> Self {
        Self { local: is_local(url), found: Arc::default() }
    }

    async fn find(self, name: String) -> Result<Addrs, Box<dyn std::error::Error + Send + Sync>> {
        let local = self.local;
        let look = || async {
            let host = name.clone();
            let found = tokio::task::spawn_blocking(move || (host.as_str(), 0).to_socket_addrs().map(Vec::from_iter)).await??;
            judge(&name, local, found).map_err(std::io::Error::other)
        };
        let found = self.found.get_or_try_init(look).await?;
        Ok(Box::new(found.clone().into_iter()))
    }
}

fn judge(name: &str, local: bool, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, String> {
    for address in &found {
        if let Some(why) = forbidden(address.ip()) {
            return Err(format!("{name} points at {}, {why}", address.ip()));
        }
        // Nor may a name of the outside lead to what listens here.
        if address.ip().to_canonical().is_loopback() != local {
            return Err(format!("{name} points at {}, which is not where its address says", address.ip()));
        }
    }
    Ok(found)
}

impl Resolve for Pinned {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(self.clone().find(name.as_str().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_or_this_machine_is_called() {
        for fine in ["https://docs.example/mcp", "http://127.0.0.1:8000/mcp", "http://localhost/", "http://[::1]:1/x"] {
            assert!(check(fine).is_ok(), "{fine}");
        }
        for (bad, words) in [
            ("http://docs.example/mcp", "in clear"),
            ("http://localhost.example/", "in clear"),
            ("javascript:alert(1)", "no address"),
            ("file:///etc/passwd", "no address"),
            ("https://u:p@docs.example/", "no user or password"),
            ("https://169.254.169.254/latest", "link-local"),
            ("https://[fe80::1]/", "link-local"),
            ("https://[::ffff:169.254.169.254]/", "link-local"),
            ("https://0.0.0.0/", "no host's"),
        ] {
            let error = check(bad).expect_err(bad);
            assert!(error.contains(words), "{bad}: {error}");
        }
    }

    #[test]
    fn a_name_that_points_inside_is_refused() {
        let at = |ip: &str| vec![SocketAddr::new(ip.parse().expect("an address"), 0)];
        assert!(judge("docs.example", false, at("127.0.0.1")).is_err());
        assert!(judge("docs.example", false, at("169.254.169.254")).is_err());
        assert!(judge("localhost", true, at("192.0.2.1")).is_err());
        assert!(judge("docs.example", false, at("192.0.2.1")).is_ok());
    }
}
