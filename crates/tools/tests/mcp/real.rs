//! The servers everybody has, from the npm registry, through the same door. Without npm there are none: said loudly, not passed over.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use brigade_tools::mcp::Called;
use serde_json::{Value, json};

use crate::stage::{Stage, block_on, list};

pub const ALL: &[(&str, fn())] = &[
    ("the_filesystem_server_reads_and_writes_only_its_directory", filesystem),
    ("the_everything_server_answers_in_every_kind_of_content", everything),
    ("a_browser_opens_a_page_clicks_and_shows_what_it_sees", browser),
];

const PACKAGES: [&str; 3] =
    ["@modelcontextprotocol/server-filesystem@2026.8.31", "@modelcontextprotocol/server-everything@2026.8.31", "@playwright/mcp@0.0.83"];
/// Of Debian's package of that name; its script in /usr/bin reads configuration that the sandbox does not show.
const CHROMIUM: &str = "/usr/lib/chromium/chromium";

/// Where they are installed, once per run of the tests; `None` without npm.
fn installed() -> Option<&'static PathBuf> {
    static PLACE: OnceLock<Option<(tempfile::TempDir, PathBuf)>> = OnceLock::new();
    let place = PLACE.get_or_init(|| {
        if Command::new("npm").arg("--version").output().is_err() {
            eprintln!("\nSKIPPED: npm is not installed, so the real MCP servers were NOT tried. Install nodejs and npm.\n");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let done = Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
            .arg(dir.path())
            .args(PACKAGES)
            .output()
            .unwrap();
        assert!(done.status.success(), "npm install: {}", String::from_utf8_lossy(&done.stderr));
        let modules = dir.path().join("node_modules");
        Some((dir, modules))
    });
    place.as_ref().map(|(_, modules)| modules)
}

fn node(script: &str, rest: &[&str]) -> Option<Stage> {
    let modules = installed()?;
    let script = modules.join(script);
    let script = script.to_str().unwrap().to_owned();
    let args: Vec<&str> = std::iter::once(script.as_str()).chain(rest.iter().copied()).collect();
    let read_only = list(&[modules.to_str().unwrap()]);
    Some(Stage::bare().with("command", "node".into()).with("args", list(&args)).with("read_only", read_only).with("cwd", ".".into()))
}

async fn call(servers: &brigade_tools::mcp::Servers, tool: &str, arguments: Value) -> brigade_kernel::tool::ToolOutput {
    match servers.call(&format!("mcp__t__{tool}"), &arguments.to_string(), "k", Duration::from_secs(60)).await {
        Called::Answered(brought) => brought.output,
        Called::Unknown(why) => panic!("{tool}: {why}"),
    }
}

/// A page with a button, on a port of its own, until the tests end.
fn page() -> u16 {
    const PAGE: &str = "<!doctype html><title>Invoice</title><h1 id=state>open</h1><button onclick=\"document.getElementById('state').textContent='paid'\">Pay</button>";
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut caller in listener.incoming().flatten() {
            let _ = caller.read(&mut [0; 4096]);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", PAGE.len());
            let _ = caller.write_all((head + PAGE).as_bytes());
        }
    });
    port
}

fn filesystem() {
    let Some(stage) = node("@modelcontextprotocol/server-filesystem/dist/index.js", &["/workspace"]) else { return };
    block_on(async {
        std::fs::write(stage.workspace().join("note.txt"), "from the workspace").unwrap();
        let stage = stage.trusted().await;
        let servers = stage.servers();
        let read = call(&servers, "read_text_file", json!({"path": "/workspace/note.txt"})).await;
        assert!(read.ok && read.output.contains("from the workspace"), "{read:?}");
        let outside = call(&servers, "read_text_file", json!({"path": "/etc/hosts"})).await;
        assert!(!outside.ok, "{outside:?}");
        let write = json!({"path": "/workspace/new.txt", "content": "x"});
        assert!(!call(&servers, "write_file", write.clone()).await.ok, "its directory is read-only unless the user says otherwise");
        servers.close().await;
        let stage = stage.with("writable", "true".into());
        assert!(call(&stage.servers(), "write_file", write.clone()).await.error.unwrap().contains("not what was trusted"));
        let stage = stage.trusted().await;
        let wrote = call(&stage.servers(), "write_file", write).await;
        assert!(wrote.ok, "{wrote:?}");
        assert_eq!(std::fs::read_to_string(stage.workspace().join("new.txt")).unwrap(), "x");
    });
}

fn everything() {
    let Some(stage) = node("@modelcontextprotocol/server-everything/dist/index.js", &[]) else { return };
    block_on(async {
        let stage = stage.trusted().await;
        let servers = stage.servers();
        assert!(servers.specs().len() > 5);
        let echo = call(&servers, "echo", json!({"message": "hello"})).await;
        assert!(echo.ok && echo.output.contains("hello"), "{echo:?}");
        let image = call(&servers, "get-tiny-image", json!({})).await;
        assert!(image.ok && image.output.contains("[image 1: image/png, ") && image.images.len() == 1, "{image:?}");
        let structured = call(&servers, "get-structured-content", json!({"location": "Chicago"})).await;
        assert!(structured.ok && structured.output.contains("temperature"), "{structured:?}");
        let wrong = call(&servers, "echo", json!({"message": 7})).await;
        assert!(wrong.error.is_some_and(|e| e.contains("nothing was done")));
    });
}

fn browser() {
    if !std::path::Path::new(CHROMIUM).exists() {
        eprintln!("\nSKIPPED: {CHROMIUM} is not there, so no browser was tried. Install Debian's package chromium.\n");
        return;
    }
    let flags = ["--headless", "--no-sandbox", "--isolated", "--executable-path", CHROMIUM, "--output-dir", "/tmp/shots"];
    let Some(stage) = node("@playwright/mcp/cli.js", &flags) else { return };
    let stage = stage.with("network", "true".into()).with("images", list(&["browser_take_screenshot"]));
    block_on(async {
        let stage = stage.trusted().await;
        let servers = stage.servers();
        let shows = |spec: &brigade_kernel::tool::ToolSpec| spec.images;
        let seeing: Vec<String> = servers.specs().into_iter().filter(shows).map(|spec| spec.name).collect();
        assert_eq!(seeing, ["mcp__t__browser_take_screenshot"]);
        let opened = call(&servers, "browser_navigate", json!({"url": format!("http://127.0.0.1:{}/", page())})).await;
        assert!(opened.ok, "{opened:?}");
        let before = call(&servers, "browser_take_screenshot", json!({"type": "png", "scale": "css"})).await;
        assert!(before.ok && before.images.len() == 1, "{before:?}");
        let snapshot = call(&servers, "browser_snapshot", json!({})).await.output;
        let button = snapshot.lines().find(|line| line.contains("button \"Pay\"")).expect(&snapshot);
        let target = button.split("[ref=").nth(1).unwrap().split(']').next().unwrap();
        let clicked = call(&servers, "browser_click", json!({"element": "Pay", "target": target})).await;
        assert!(clicked.ok, "{clicked:?}");
        let after = call(&servers, "browser_take_screenshot", json!({"type": "png", "scale": "css"})).await;
        assert!(after.ok && after.images.len() == 1 && after.output.contains("image/png, "), "{after:?}");
        assert_ne!(after.images[0].blob, before.images[0].blob, "the click is to be seen");
        assert!(call(&servers, "browser_snapshot", json!({})).await.output.contains("paid"));
        servers.close().await;
    });
}
