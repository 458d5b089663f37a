//! The real Codex CLI, from the npm registry, against a scripted API: planner on one model, executors on others, no key of ours.
//! Without npm it cannot be tried: said loudly, not passed over.

use std::path::PathBuf;
use std::process::Command;

use crate::stage::Stage;

const PACKAGE: &str = "@openai/codex@0.169.0";

/// The folder with its program, installed beside the stage; `None` without npm.
#[expect(clippy::disallowed_methods, clippy::print_stderr, reason = "the test installs what it is about, and says so when it cannot")]
fn installed(stage: &Stage) -> Option<PathBuf> {
    if Command::new("npm").arg("--version").output().is_err() {
        eprintln!("\nSKIPPED: npm is not installed, so the real Codex CLI was NOT tried. Install nodejs and npm.\n");
        return None;
    }
    let place = stage.dir.path().join("packages");
    let mut command = Command::new("npm");
    let done =
        command.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(&place).arg(PACKAGE).output().unwrap();
    assert!(done.status.success(), "npm install: {}", String::from_utf8_lossy(&done.stderr));
    Some(place.join("node_modules/.bin"))
}

/// What each model says. Which request it is shows by the words of our own prompts; the commands are Codex's own tool.
const RULES: &str = r#"
[server]
enforce_schema = true
[[rule]]
match = { model = "gpt-5.4", contains = "You are the planner" }
[rule.reply.json]
coordination_notes = "two files, one word each"
[[rule.reply.json.subtasks]]
id = "find"
type = "search"
title = "Find the greeting"
description = "Say in which file the greeting stands."
output_format = "a path"
files = ["src/**"]
tools = ["search"]
[[rule.reply.json.subtasks]]
id = "fix"
type = "generate"
title = "Mend the greeting"
description = "Write hello instead of helo in {{find.output}}."
output_format = "one line"
files = ["src/**"]
writes = ["src/greeting.txt"]
tools = ["apply_patch"]
checks = [["grep", "-q", "hello", "src/greeting.txt"]]
[[rule]]
match = { model = "gpt-5.4", contains = ["You are the reviewer", "+hello"] }
reply = { json = { summary = "mended", verdict = "approve", revisions = [], add = [], final_output = "Mended: {{fix.output}}" } }

[[rule]]
match = { model = "gpt-5.4-mini", contains = "Say in which file", tool_result = "src/greeting.txt" }
reply = { text = "src/greeting.txt" }
[[rule]]
match = { model = "gpt-5.4-mini", contains = "Say in which file" }
reply = { calls = [{ name = "exec_command", arguments = { cmd = "grep -rl helo src; touch src/mine 2>&1; ls $CODEX_HOME" } }] }

[[rule]]
match = { model = "gpt-5.4-mini", contains = ["Write hello", "result of find", "src/greeting.txt"], tool_result = "exited with code 0" }
reply = { text = "helo is hello", headers = { x-codex-primary-used-percent = "7", x-codex-primary-window-minutes = "10080", x-codex-primary-reset-at = "4000000000", x-codex-secondary-used-percent = "42.5", x-codex-secondary-window-minutes = "300", x-codex-secondary-reset-at = "3999999000" } }
[[rule]]
match = { model = "gpt-5.4-mini", contains = ["Write hello", "result of find", "src/greeting.txt"] }
reply = { calls = [{ name = "exec_command", arguments = { cmd = "sed -i s/helo/hello/ src/greeting.txt" } }] }
"#;

#[test]
fn a_person_with_codex_alone_gets_the_whole_product() {
    let stage = Stage::new(&format!("{RULES}\n# brigade_review: ours is above\n"));
    let Some(bin) = installed(&stage) else { return };
    std::fs::create_dir_all(stage.dir.path().join("workspace/src")).unwrap();
    let greeting = stage.dir.path().join("workspace/src/greeting.txt");
    std::fs::write(&greeting, "helo\n").unwrap();
    std::fs::create_dir_all(stage.home()).unwrap();
    let config = format!(
        "[providers.codex]\ndialect = \"agent\"\nagent = \"codex\"\nbase_url = \"{}\"\nenv_key = \"EMULATOR_KEY\"\n\
         [tiers.nano]\nmodel = \"codex/gpt-5.4-nano\"\n[tiers.mini]\nmodel = \"codex/gpt-5.4-mini\"\n[tiers.flagship]\nmodel = \"codex/gpt-5.4\"\n",
        stage.api.base_url()
    );
    std::fs::write(stage.home().join("config.toml"), config).unwrap();
    let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap()))).unwrap();
    let mut command = stage.command(&["run", "Mend the greeting", "-C", "workspace", "--apply", "auto", "--json"]);
    command.env("PATH", path).env("EMULATOR_KEY", "emulator-key-canary").env_remove("OPENAI_API_KEY").env_remove("OPENAI_BASE_URL");
    let ended = crate::stage::Ended::of(&["run"], command.output().unwrap()).exits(0);
    let lines = ended.lines();
    let last = lines.last().unwrap();
    assert_eq!(last["output"], "Mended: helo is hello");
    assert_eq!(std::fs::read_to_string(&greeting).unwrap(), "hello\n");
    assert!(!greeting.with_file_name("mine").exists(), "one that only looks cannot write");

    // What its backend tells of the quota in headers reaches us by the record it keeps; each window says its own length.
    let reported = lines.iter().find(|line| line["type"] == "quota.reported").unwrap();
    let windows: Vec<_> =
        reported["windows"].as_array().unwrap().iter().map(|w| (w["minutes"].as_u64(), w["used_percent"].as_f64())).collect();
    assert!(windows.contains(&(Some(300), Some(42.5))) && windows.contains(&(Some(10_080), Some(7.0))), "{reported}");
    stage.brigade(&["quota"]).exits(0).says(&["codex", "5h", "42.5 %", "7d"]);

    // Its usage is the provider's, model by model: each errand of an executor was two requests.
    let ledger = stage.ledger();
    for (tier, model, calls, requests) in [("flagship", "gpt-5.4", 2, 2), ("mini", "gpt-5.4-mini", 2, 4)] {
        let (ours, theirs) = (&last["usage"][tier], &ledger.totals[model]);
        assert_eq!((ours["calls"].as_u64(), theirs.completed), (Some(calls), requests), "{tier}");
        assert_eq!(ours["input_tokens"].as_u64(), Some(theirs.usage.input_tokens), "{tier}");
        assert_eq!(ours["output_tokens"].as_u64(), Some(theirs.usage.output_tokens), "{tier}");
    }
    assert!(last["cost_usd"].as_f64().unwrap() > 0.0, "priced as the vendor's own models");
    let id = last["run_id"].as_str().unwrap();
    let record = std::fs::read(stage.home().join("journal.sqlite")).unwrap();
    assert!(!String::from_utf8_lossy(&record).contains("emulator-key-canary"));
    stage.brigade(&["show", id]).exits(0);
}
