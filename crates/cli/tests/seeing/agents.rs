//! Agents as a user meets them: a program on this machine does the subtasks, beside models over the wire.

use rustix::process::Signal;
use serde_json::Value;

use crate::stage::{Stage, until};

/// What every script begins with: the prompt in `$P`, and a way to answer.
const HANDS: &str = r#"P=$(cat); say() { printf '{"type":"result","text":"%s","usage":{"input_tokens":1000,"cached_tokens":400,"output_tokens":50}}\n' "$1"; }; "#;

const MODELS: &str = r#"
[models."mine/small"]
input = 1
output = 10
[models."mine/large"]
input = 2
output = 20
[tiers.nano]
model = "mine/small"
[tiers.mini]
model = "mine/large"
[limits]
max_replans = 0
"#;

const PLAN: &str = r#"
[[subtasks]]
id = "c"
type = "simple_edit"
description = "put b into a.txt"
files = ["a.txt"]
writes = ["a.txt"]
checks = [["grep", "-q", "b", "a.txt"]]
"#;

/// A stage whose agent is this script; `more` are further fields of it.
fn stage(script: &str, more: &str) -> Stage {
    let stage = Stage::new("");
    std::fs::write(stage.dir.path().join("workspace/a.txt"), "a\n").unwrap();
    std::fs::create_dir_all(stage.home()).unwrap();
    let config = format!("[providers.mine]\ndialect = \"agent\"\ncommand = [\"sh\", \"-c\", '''{HANDS}{script}''']\n{more}\n{MODELS}");
    std::fs::write(stage.home().join("config.toml"), config).unwrap();
    stage
}

fn in_workspace(stage: &Stage) -> String {
    std::fs::read_to_string(stage.dir.path().join("workspace/a.txt")).unwrap()
}

fn events(stage: &Stage, id: &str) -> Vec<Value> {
    stage.brigade(&["show", id, "--events", "--json"]).exits(0).lines()
}

#[test]
fn an_agents_work_is_checked_escalated_reviewed_and_paid_like_any_other() {
    // The small one writes the wrong letter, twice; the large one is told so and writes the right one.
    let script = r#"case "$BRIGADE_AGENT_MODEL:$P" in
        large:*"Attempt 2 failed"*grep*) echo b >> a.txt; say right;;
        *) echo x >> a.txt; say wrong;;
        esac"#;
    let stage = stage(script, "");
    let lines = stage.run(PLAN, &["--json", "--apply", "auto"]).exits(0).lines();
    assert_eq!(in_workspace(&stage), "a\nb\n", "each attempt began from the same files");
    let attempts: Vec<(&str, bool)> = lines
        .iter()
        .filter(|l| l["type"] == "attempt.completed")
        .map(|l| (l["model"].as_str().unwrap(), l["accepted"].as_bool().unwrap()))
        .collect();
    assert_eq!(attempts, [("mine/small", false), ("mine/small", false), ("mine/large", true)]);
    let last = lines.last().unwrap();
    let (nano, mini) = (&last["usage"]["nano"], &last["usage"]["mini"]);
    assert_eq!((nano["calls"].as_u64(), nano["input_tokens"].as_u64(), mini["output_tokens"].as_u64()), (Some(2), Some(2_000), Some(50)));
    assert!(nano.get("quota_units").is_none());
    // 1,000 in and 50 out, cached input at the price of input: $1 and $10, then $2 and $20 the million.
    let cost = |tier: &str| {
        let ended = lines.iter().filter(|l| l["type"] == "attempt.completed" && l["tier"] == tier);
        ended.map(|l| l["cost_usd"].as_f64().unwrap()).sum::<f64>()
    };
    assert!((cost("nano") - 0.003).abs() < 1e-9 && (cost("mini") - 0.003).abs() < 1e-9, "{} {}", cost("nano"), cost("mini"));
}

#[test]
fn an_agent_starts_from_what_its_subtask_hangs_on_and_a_reader_sees_it_too() {
    let script = r#"case "$P" in
        *"look at a.txt"*) touch mine 2>/dev/null && say wrote || say "$(tr '\n' ' ' <a.txt)";;
        *"put c"*) grep -q b a.txt && echo c >> a.txt; say done;;
        *) echo b >> a.txt; say done;;
        esac"#;
    let stage = stage(script, "");
    let more = r#"
[[subtasks]]
id = "d"
type = "simple_edit"
description = "put c behind it"
writes = ["a.txt"]
depends_on = ["c"]
[[subtasks]]
id = "e"
type = "extract"
description = "look at a.txt"
files = ["a.txt"]
depends_on = ["d"]
"#;
    let lines = stage.run(&format!("{PLAN}{more}"), &["--json", "--apply", "auto"]).exits(0).lines();
    assert_eq!(in_workspace(&stage), "a\nb\nc\n");
    let read = lines.iter().find(|l| l["type"] == "subtask.completed" && l["subtask"] == "e").unwrap();
    assert_eq!(read["output"], "a b c ");
}

#[test]
fn what_an_agent_writes_elsewhere_fails_the_attempt_by_name() {
    let stage = stage("echo b >> a.txt; echo x > other.txt; say done", "");
    let plan = format!("{PLAN}ladder = [\"nano\"]\n");
    let lines = stage.run(&plan, &["--json", "--apply", "auto"]).exits(3).lines();
    let scope = lines.iter().find(|l| l["check"] == "scope").unwrap();
    assert!(scope["evidence"].as_str().unwrap().contains("other.txt"), "{scope}");
    assert_eq!(in_workspace(&stage), "a\n");
}

#[test]
fn an_agent_that_says_it_cannot_is_believed() {
    let stage = stage(r#"printf '%s\n' '{"type":"result","text":"{\"status\": \"needs_context\", \"reason\": \"which b\"}"}'"#, "");
    let lines = stage.run(PLAN, &["--json"]).exits(3).lines();
    let ended = lines.iter().find(|l| l["type"] == "attempt.completed").unwrap();
    assert_eq!((ended["ending"].as_str(), ended["reason"].as_str()), (Some("needs_context"), Some("which b")));
}

#[test]
fn a_subscription_is_counted_in_units_and_costs_no_money() {
    let stage = stage("echo b >> a.txt; say done", "billing = \"quota\"\nunits = { small = 0.3 }");
    let last = stage.run(PLAN, &["--json", "--apply", "auto"]).exits(0).lines().pop().unwrap();
    let nano = &last["usage"]["nano"];
    assert_eq!((nano["quota_units"].as_f64(), nano["input_tokens"].as_u64()), (Some(0.3), Some(1_000)));
    let lines = events(&stage, &stage.ids()[0]);
    let attempt = lines.iter().find(|l| l["type"] == "attempt.completed").unwrap();
    assert_eq!(attempt["cost_usd"].as_f64(), Some(0.0));
}

#[test]
fn an_agent_without_its_program_or_a_price_is_refused_before_anything_is_spent() {
    let stage = stage("say done", "");
    let config = stage.home().join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("[\"sh\", \"-c\",", "[\"no-such-agent\",")).unwrap();
    stage.run(PLAN, &[]).exits(2).says(&["providers.mine", "\"no-such-agent\" is not on PATH"]);
    std::fs::write(&config, text.replace("mine/large", "mine/other").replace("[models.\"mine/other\"]", "[models.\"mine/large\"]"))
        .unwrap();
    stage.run(PLAN, &[]).exits(2).says(&["model mine/other has no price"]);
    std::fs::write(&config, text.replace("dialect = \"agent\"", "dialect = \"agent\"\nagnet = \"codex\"")).unwrap();
    stage.run(PLAN, &[]).exits(2).says(&["unknown key providers.mine.agnet; did you mean agent?"]);
    assert!(stage.ids().is_empty());
}

#[test]
fn a_workspace_cannot_bring_an_agent_of_its_own() {
    let stage = stage("echo b >> a.txt; say done", "");
    let own = stage.dir.path().join("workspace/.brigade");
    std::fs::create_dir(&own).unwrap();
    let text = "[providers.mine]\ndialect = \"agent\"\ncommand = [\"sh\", \"-c\", \"touch /tmp/own\"]\n";
    std::fs::write(own.join("config.toml"), text).unwrap();
    stage.run(PLAN, &["-q"]).exits(0);
    stage.brigade(&["trust", "-C", "workspace", "--yes"]).exits(0);
    stage.run(PLAN, &[]).exits(2).says(&["a workspace may not set providers"]);
}

#[test]
fn an_errand_cut_short_by_a_death_is_charged_in_full_and_done_again_from_the_start() {
    let script =
        r#"echo b >> a.txt; if [ -e "$FLAG" ]; then say done; else echo '{"type":"note","text":"busy"}'; sh -c "sleep 600; : $FLAG"; fi"#;
    let stage = stage(script, "env = [\"FLAG\"]\nread_only = [\"FOLDER\"]");
    let config = stage.home().join("config.toml");
    let folder = stage.dir.path().join("flags");
    std::fs::create_dir(&folder).unwrap();
    let text = std::fs::read_to_string(&config).unwrap().replace("FOLDER", folder.to_str().unwrap());
    std::fs::write(&config, text).unwrap();
    stage.file("plan.toml", PLAN);
    let flag = folder.join("go");
    let command = |arguments: &[&str]| {
        let mut command = stage.command(arguments);
        command.env("FLAG", &flag);
        command
    };
    let mut child = command(&["run", "--plan", "plan.toml", "-C", "workspace", "--apply", "auto", "-q"]).spawn().unwrap();
    let mark = flag.to_str().unwrap();
    let asleep = || std::fs::read_dir("/proc").unwrap().flatten().any(|entry| sleeps(&entry.path(), mark));
    until("the agent is at work", asleep);
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    until("nothing of it is left", || !asleep());
    std::fs::write(&flag, "").unwrap();
    let id = stage.ids().remove(0);
    let ended = crate::stage::Ended::of(&["resume"], command(&["resume", &id, "--json"]).output().unwrap()).exits(0);
    assert_eq!(in_workspace(&stage), "a\nb\n", "what the first errand wrote is gone");
    let nano = &ended.lines().pop().unwrap()["usage"]["nano"];
    assert_eq!((nano["calls"].as_u64(), nano["input_tokens"].as_u64()), (Some(2), Some(1_000)));
}

/// Whether these words stand in the command line of a process that sleeps.
fn sleeps(process: &std::path::Path, words: &str) -> bool {
    let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
    line.starts_with(b"sh\0-c\0sleep 600") && String::from_utf8_lossy(&line).contains(words)
}

#[test]
fn an_account_that_reports_its_window_nearly_used_up_gets_no_further_errand() {
    let script = r#"printf '{"type":"quota","windows":[{"minutes":10080,"used_percent":12,"resets_at":4000000000},{"minutes":300,"used_percent":99.6,"resets_at":3999999000}]}\n'; say fine"#;
    let stage = stage(script, "");
    let two = "[[subtasks]]\nid = \"one\"\ntype = \"extract\"\ndescription = \"say it\"\n[[subtasks]]\nid = \"two\"\ntype = \"extract\"\ndescription = \"say it after {{one.output}}\"\n";
    let lines = stage.run(two, &["--json"]).exits(5).lines();
    let reported = lines.iter().find(|line| line["type"] == "quota.reported").unwrap();
    assert_eq!((&reported["provider"], &reported["windows"][1]["minutes"]), (&"mine".into(), &300.into()));
    let parked = lines.iter().find(|line| line["type"] == "quota.parked").unwrap();
    assert_eq!((&parked["window"], &parked["until"]), (&"mine 5h".into(), &"2096-10-02T06:50:00.000Z".into()));
    // Another run of the home knows it before its first errand.
    let lines = stage.run(two, &["--json", "--no-cache"]).exits(5).lines();
    assert!(!lines.iter().any(|line| line["type"] == "attempt.started"), "{lines:?}");
    let quota = stage.brigade(&["quota", "--json"]).exits(0).lines().remove(0);
    assert_eq!((&quota["windows"], &quota["accounts"][0]["provider"]), (&serde_json::json!([]), &"mine".into()));
    assert_eq!(quota["accounts"][0]["windows"][1]["used_percent"], 99.6);
    stage.brigade(&["quota"]).exits(0).says(&["mine", "5h", "99.6 %", "7d", "ago"]);
}
