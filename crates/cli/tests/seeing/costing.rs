//! What instructions and MCP servers cost, as `doctor` says it, and the leaner version that `doctor --fix` proposes.

use std::process::{Command, Stdio};

use crate::stage::{Ended, Stage};

/// Tokens of four bytes, of a file of the workspace.
fn tokens(stage: &Stage, path: &str) -> usize {
    std::fs::read_to_string(stage.dir.path().join("workspace").join(path)).unwrap().len() / 4
}

fn in_workspace(stage: &Stage, arguments: &[&str]) -> Ended {
    let mut command = stage.command(arguments);
    Ended::of(arguments, command.current_dir(stage.dir.path().join("workspace")).output().unwrap())
}

/// What a person would pipe the diff into.
#[expect(clippy::disallowed_methods, reason = "the test does what the message says")]
fn pipe(diff: &str, program: &str, arguments: &[&str], dir: &std::path::Path) {
    let mut child = Command::new(program).args(arguments).current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), diff.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{program} {arguments:?}\n{diff}");
}

const LONG: &str = "# Shop\n\nRun the linter before you say that you are done.\n\n\n\n## Layout\n\n```\n.\n├── web\n│   ├── app.ts\n│   ├── form.ts\n│   └── style.css\n└── src\n```\n\n\
                    ## Forms\n\nForms are in `web/form.ts` and are started by `web/app.ts`. Each field has a label, a hint and an error text. No form is sent twice, and none without the token of the page.\n\n\
                    ## Agent Configuration\n### Cost Optimization\n- Default to mini\n\n## Last\n\nRun the linter before you say that you are done.\n\nUse tabs.";

fn shop() -> Stage {
    let stage = Stage::new("");
    std::fs::create_dir_all(stage.dir.path().join("workspace/web")).unwrap();
    std::fs::create_dir_all(stage.dir.path().join("workspace/src")).unwrap();
    for file in ["web/app.ts", "web/form.ts", "web/style.css"] {
        stage.file(&format!("workspace/{file}"), "x\n");
    }
    stage.file("workspace/AGENTS.md", LONG);
    stage
}

#[test]
fn the_leaner_version_is_a_diff_that_applies_and_costs_less() {
    let stage = shop();
    let before = tokens(&stage, "AGENTS.md");
    let proposed = in_workspace(&stage, &["doctor", "--fix"]).exits(0).says(&["nothing was written", "git apply", "brigade trust"]);
    assert_eq!(std::fs::read_to_string(stage.dir.path().join("workspace/AGENTS.md")).unwrap(), LONG);
    for words in ["saves about", "a listing of files", "moved to web/AGENTS.md", "says again what AGENTS.md:3 says", "new file mode"] {
        assert!(proposed.out.contains(words), "{words}\n{}", proposed.out);
    }
    let workspace = stage.dir.path().join("workspace");
    pipe(&proposed.out, "git", &["apply", "--check", "-"], &workspace);
    pipe(&proposed.out, "git", &["apply", "-"], &workspace);
    let lean = std::fs::read_to_string(workspace.join("AGENTS.md")).unwrap();
    assert_eq!(
        lean,
        "# Shop\n\nRun the linter before you say that you are done.\n\n## Agent Configuration\n### Cost Optimization\n- Default to mini\n\n## Last\n\nUse tabs."
    );
    assert!(tokens(&stage, "AGENTS.md") < before / 2);
    assert!(std::fs::read_to_string(workspace.join("web/AGENTS.md")).unwrap().starts_with("## Forms\n\nForms are in"));
    in_workspace(&stage, &["doctor", "--fix"]).exits(0).says(&["nothing to propose"]);
}

#[test]
fn doctor_says_what_instructions_cost_and_warns_of_long_ones() {
    let stage = shop();
    let check = |stage: &Stage| in_workspace(stage, &["doctor", "--json"]).lines()[0]["checks"].as_array().unwrap().clone();
    let instructions = |stage: &Stage| {
        let of = |c: &serde_json::Value| c["name"] == "instructions";
        check(stage)
            .iter()
            .filter(|c| of(c))
            .map(|c| format!("{} {}", c["state"].as_str().unwrap(), c["found"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    let said = instructions(&stage).join("\n");
    assert!(said.starts_with("ok AGENTS.md of the root: about ") && said.contains(" a call on openai/"), "{said}");
    stage.file("workspace/AGENTS.md", &"Be kind.\n".repeat(600));
    stage.file("workspace/web/AGENTS.md", &"Be kind to the web, which is made of many small forms.\n".repeat(150));
    let said = instructions(&stage).join("\n");
    for words in ["warning AGENTS.md has 600 lines", "ok AGENTS.md of the root", "warning for files in web: about ", "above 2000 tokens"] {
        assert!(said.contains(words), "{words}\n{said}");
    }
}

/// A server with one tool, which nobody calls unless told to.
const SERVER: &str = r#"#!/bin/sh
while IFS= read -r line; do
  id=${line#*\"id\":}; id=${id%%[,\}]*}
  case $line in
    *'"method":"initialize"'*)
      printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"docs","version":"1"}}}\n' "$id" ;;
    *'"method":"tools/list"'*)
      printf '{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"find","description":"Finds a page.","inputSchema":{"type":"object"}}]}}\n' "$id" ;;
    *'"method":"tools/call"'*)
      printf '{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"page 7"}]}}\n' "$id" ;;
  esac
done
"#;

#[test]
fn a_server_that_twenty_runs_did_not_use_is_told_and_left_out_by_a_diff() {
    let rules = "[[rule]]\nmatch = { contains = \"the whale\", tool_result = \"page\" }\nreply = { text = \"there\" }\n\
                 [[rule]]\nmatch = { contains = \"the whale\" }\nreply = { calls = [{ name = \"mcp__used__find\", arguments = {} }] }\n\
                 [[rule]]\nmatch = { contains = \"say it\" }\nreply = { text = \"said\" }\n";
    let stage = Stage::new(rules);
    std::fs::create_dir_all(stage.dir.path().join("workspace/place")).unwrap();
    stage.file("workspace/place/server.sh", SERVER);
    std::fs::create_dir_all(stage.home()).unwrap();
    let entry = |name: &str| format!("[mcp_servers.{name}]\ncommand = \"sh\"\nargs = [\"server.sh\"]\ncwd = \"place\"\n");
    let config = format!("{}\n# kept\n{}", entry("used"), entry("idle"));
    std::fs::write(stage.home().join("config.toml"), &config).unwrap();
    for name in ["used", "idle"] {
        stage.brigade(&["mcp", "trust", name, "-C", "workspace"]).exits(0);
    }
    let doctor = |stage: &Stage| in_workspace(stage, &["doctor"]);
    let one = "[[subtasks]]\nid = \"c\"\ntype = \"extract\"\ndescription = \"say it\"\n";
    stage.run(one, &["-q"]).exits(0);
    doctor(&stage).says(&["mcp idle", "used in 0 of the last 1 run"]);
    in_workspace(&stage, &["doctor", "--fix=config"]).exits(0).says(&["nothing to propose"]);
    for _ in 0..18 {
        stage.run(one, &["-q", "--no-cache"]).exits(0);
    }
    stage
        .run("[[subtasks]]\nid = \"c\"\ntype = \"search\"\ndescription = \"where is the whale\"\nmcp_servers = [\"used\"]\n", &["-q"])
        .exits(0);
    let said = doctor(&stage).says(&[
        "not used in the last 20 runs",
        "used in 1 of the last 20 runs",
        "tokens in every call of a subtask that joins it",
    ]);
    assert_eq!(said.out.matches("not used in the last 20 runs").count(), 1, "{}", said.out);

    let proposed = in_workspace(&stage, &["doctor", "--fix=config"]).exits(0).says(&["1 left out", "patch -p1 -d"]);
    pipe(&proposed.out, "git", &["apply", "--unsafe-paths", "-"], &stage.home());
    let now = std::fs::read_to_string(stage.home().join("config.toml")).unwrap();
    assert_eq!(now, config.replace("[mcp_servers.idle]\n", "[mcp_servers.idle]\nenabled = false\n"));
    in_workspace(&stage, &["doctor", "--fix"]).exits(0).says(&["there is no AGENTS.md here"]);
}
