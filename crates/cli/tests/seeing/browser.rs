//! A subtask that uses a computer: it opens a local page in Debian's Chromium, clicks, and reads the result from a screenshot.
//! Playwright's server comes from the npm registry; without npm or Chromium nothing is tried, and that is said.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;

use crate::stage::Stage;

const CHROMIUM: &str = "/usr/lib/chromium/chromium";

const PAGE: &str = "<!doctype html><title>Invoice</title><h1 id=state>open</h1>\
                    <button onclick=\"document.getElementById('state').textContent='paid'\">Pay</button>";

/// The page, on a port of its own, until the test ends.
fn serve() -> u16 {
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

/// Installs the server beside the home; `false` where it cannot be tried.
#[expect(clippy::disallowed_methods, clippy::print_stderr, reason = "the test installs what a user would, and says when it cannot")]
fn installed(dir: &Path) -> bool {
    let npm = || Command::new("npm");
    if !Path::new(CHROMIUM).exists() || npm().arg("--version").output().is_err() {
        eprintln!("\nSKIPPED: no browser was tried. Install npm and Debian's package chromium.\n");
        return false;
    }
    let install = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "@playwright/mcp@0.0.83", "--prefix"];
    let done = npm().args(install).arg(dir).output().unwrap();
    assert!(done.status.success(), "npm install: {}", String::from_utf8_lossy(&done.stderr));
    true
}

#[test]
fn a_subtask_opens_a_page_clicks_and_reads_the_result_from_a_screenshot() {
    let rules = r#"
[[rule]]
match = { contains = "is the invoice paid", image = true, tool_result = "[image 1: image/png, " }
reply = { text = "the invoice is paid" }
[[rule]]
match = { contains = "is the invoice paid", tool_result = "name: 'Pay' }).click()" }
reply = { calls = [{ name = "mcp__browser__browser_take_screenshot", arguments = { type = "png", scale = "css" } }] }
[[rule]]
match = { contains = "is the invoice paid", tool_result = 'button "Pay"' }
reply = { template = true, key = 'button "Pay".*\[ref=(\w+)\]', calls = [{ name = "mcp__browser__browser_click", arguments = { element = "Pay", target = "{{match.1}}" } }] }
[[rule]]
match = { contains = "is the invoice paid", tool_result = "Page Title: Invoice" }
reply = { calls = [{ name = "mcp__browser__browser_snapshot", arguments = {} }] }
[[rule]]
match = { contains = "is the invoice paid" }
reply = { calls = [{ name = "mcp__browser__browser_navigate", arguments = { url = "URL" } }] }
"#;
    let stage = Stage::new(&rules.replace("URL", &format!("http://127.0.0.1:{}/", serve())));
    if !installed(stage.dir.path()) {
        return;
    }
    let modules = stage.dir.path().join("node_modules");
    let config = format!(
        r#"
[mcp_servers.browser]
command = "node"
args = ["{script}", "--headless", "--no-sandbox", "--isolated", "--executable-path", "{CHROMIUM}", "--output-dir", "/tmp/shots"]
read_only = ["{modules}"]
network = true
images = ["browser_take_screenshot"]
"#,
        script = modules.join("@playwright/mcp/cli.js").display(),
        modules = modules.display()
    );
    std::fs::create_dir_all(stage.home()).unwrap();
    std::fs::write(stage.home().join("config.toml"), config).unwrap();
    stage.brigade(&["mcp", "trust", "browser", "-C", "workspace"]).exits(0).says(&["browser_take_screenshot"]);
    let plan = "[[subtasks]]\nid = \"c\"\ntype = \"screenshot\"\ndescription = \"Press Pay: is the invoice paid then?\"\nmcp_servers = [\"browser\"]\n";
    stage.run(plan, &["-q"]).exits(0).says(&["It says the invoice is paid."]);
    let images: Vec<u64> = stage.ledger().calls.iter().map(|call| call.images).filter(|images| *images > 0).collect();
    assert_eq!(images, [1], "the model saw the screenshot, once");
}
