//! The examples, run as a newcomer runs them: the real binary, no key, a fresh home. What is asserted is what a person sees.

#![expect(clippy::disallowed_methods, reason = "a user's own processes: the binary under test, and cargo")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Away from the repository, so that what runs is what the binary holds.
fn brigade(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brigade"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BRIGADE_") || name.starts_with("OPENAI_")) {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(home).env("BRIGADE_HOME", home.join("brigade")).env("TMPDIR", home);
    command.stdin(Stdio::null()).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asserts that each part occurs, after the one before.
fn in_order(screen: &str, parts: &[&str]) {
    let mut rest = screen;
    for part in parts {
        let Some(at) = rest.find(part) else { panic!("{part:?} is missing, or too early, in\n{screen}") };
        rest = &rest[at + part.len()..];
    }
}

/// Cost and all-flagship cost of the closing lines, in dollars.
fn costs(screen: &str) -> (f64, f64) {
    let amount = |after: &str| -> f64 {
        let from = screen.rfind(after).map(|at| &screen[at + after.len()..]).unwrap_or_else(|| panic!("{after:?} is missing in\n{screen}"));
        let digits: String = from.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        digits.parse().unwrap_or_else(|_| panic!("no amount after {after:?} in\n{screen}"))
    };
    (amount("spent $"), amount("all on the flagship $"))
}

/// The README's screen is what the command prints, line for line, but for ids, folders and times.
fn shown_in_the_readme(screen: &str) {
    let changing = regex::Regex::new(r"r[0-9a-z]{19}|/\S*brigade-example-\w+|\(\d of \d\)|[\d.]+ a minute|, [\d.]+ s$|in [\d.]+s$")
        .expect("a pattern");
    let lasting = |line: &str| changing.replace_all(line, "#").into_owned();
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).expect("the README");
    let block = readme.split("in about 15 seconds:\n\n```\n").nth(1).and_then(|rest| rest.split("\n```").next()).expect("its screen");
    let (mut wanted, mut printed): (Vec<_>, Vec<_>) = (block.lines().map(lasting).collect(), screen.lines().map(lasting).collect());
    // On a terminal the result stands between the lines of two streams.
    wanted.sort_unstable();
    printed.sort_unstable();
    assert_eq!(wanted, printed, "put what it prints now into the README");
}

#[test]
fn a_failing_test_is_fixed_offline_and_the_patch_lands() {
    let home = tempfile::tempdir().expect("a folder");
    let ran = brigade(home.path(), &["run", "--offline", "fix-failing-test"]);
    let screen = text(&ran.stderr);
    if ran.status.code() == Some(2) && screen.contains("sandbox") {
        // Where no sandbox can be built the refusal is the right answer, and it comes before a token is spent.
        assert!(!screen.contains("planned"), "{screen}");
        return;
    }
    assert_eq!(ran.status.code(), Some(0), "{screen}");
    shown_in_the_readme(&format!("{screen}{}", text(&ran.stdout)));
    in_order(
        &screen,
        &[
            "scripted",
            "planned find-split",
            "start find-split on mini",
            "plan 4 subtasks",
            "start fix-split on nano",
            "failed fix-split",
            "start fix-split on nano, attempt 2",
            "failed fix-split",
            "escalate fix-split: nano → mini",
            "start fix-split on mini",
            "passed fix-split",
            "done explain",
            "review approve",
            "applied",
            "flagship",
            "spent $",
        ],
    );
    let (spent, flagship) = costs(&screen);
    assert!(spent < flagship, "{screen}");
    let result = text(&ran.stdout);
    in_order(&result, &["apostrophe", "`cargo test` passes"]);
    assert!(!result.contains("{{"), "{result}");

    let entries = std::fs::read_dir(home.path()).expect("readable").flatten();
    let workspace = entries.map(|e| e.path()).find(|p| p.join("Cargo.toml").is_file()).expect("the workspace is kept");
    let fixed = std::fs::read_to_string(workspace.join("src/lib.rs")).expect("readable");
    assert!(fixed.contains("trim_matches"), "{fixed}");
    let tests = |from: &Path| std::fs::read_to_string(from.join("tests/word-count.rs")).expect("readable");
    let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/fix-failing-test/workspace");
    assert_eq!(tests(&workspace), tests(&original), "no test was touched");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(cargo);
    cargo.args(["test", "--offline", "-q"]).current_dir(&workspace).env("CARGO_TARGET_DIR", home.path().join("built"));
    let tested = cargo.output().expect("cargo runs");
    assert!(tested.status.success(), "{}{}", text(&tested.stdout), text(&tested.stderr));
}

#[test]
fn a_mailbox_is_triaged_offline_row_by_row_in_order() {
    let home = tempfile::tempdir().expect("a folder");
    let results = home.path().join("results.jsonl");
    let ran = brigade(home.path(), &["run", "--offline", "triage", "-o", &results.display().to_string()]);
    let screen = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(0), "{screen}");
    in_order(&screen, &["scripted", "planned classify", "planned draft", "plan 2 subtasks", "review approve", "nano", "spent $"]);
    let (spent, flagship) = costs(&screen);
    assert!(spent < flagship / 2.0, "{screen}");

    let messages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/triage/messages.jsonl");
    let messages = std::fs::read_to_string(messages).expect("readable");
    let messages: Vec<Option<Value>> = messages.lines().map(|line| serde_json::from_str(line).ok()).collect();
    let lines = std::fs::read_to_string(&results).expect("written");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let places: Vec<(u64, &str)> = lines.iter().map(|l| (l["row"].as_u64().expect("a row"), l["id"].as_str().expect("an id"))).collect();
    let expected: Vec<(u64, &str)> = (0..messages.len() as u64).flat_map(|row| [(row, "classify"), (row, "draft")]).collect();
    assert_eq!(places, expected, "a line per row and subtask, in the order of the input");

    let (mut right, mut labelled, mut tiers) = (0_u32, 0_u32, std::collections::BTreeSet::new());
    for pair in lines.chunks(2) {
        let (label, draft) = (&pair[0], &pair[1]);
        let message = &messages[usize::try_from(label["row"].as_u64().expect("a row")).expect("small")];
        match label["status"].as_str() {
            Some("done") => {
                let message = message.as_ref().expect("a broken line has no label");
                labelled += 1;
                right += u32::from(label["output"]["label"] == message["label"]);
                tiers.insert(label["tier"].as_str().expect("a tier").to_owned());
                let urgent = matches!(label["output"]["label"].as_str(), Some("lost_or_stolen_phone" | "pin_blocked"));
                assert_eq!(draft["status"], if urgent { "done" } else { "skipped" }, "{draft}");
            }
            Some("failed") => {
                let why = label["error"].as_str().expect("a reason");
                let wanted = if message.is_some() { "schema" } else { "is not JSON" };
                assert!(why.contains(wanted), "{why}");
                assert_ne!(draft["status"], "done", "{draft}");
            }
            other => panic!("status {other:?} of {label}"),
        }
    }
    assert!(labelled >= 280 && f64::from(right) / f64::from(labelled) > 0.9, "{right} of {labelled} are right");
    assert_eq!(tiers.into_iter().collect::<Vec<_>>(), ["flagship", "mini", "nano"], "what the schema caught went up");
}

#[test]
fn an_unknown_example_is_refused_with_the_known_ones() {
    let home = tempfile::tempdir().expect("a folder");
    let ran = brigade(home.path(), &["run", "--offline", "no-such-thing"]);
    assert_eq!(ran.status.code(), Some(2));
    in_order(&text(&ran.stderr), &["no-such-thing", "fix-failing-test", "triage"]);
}

#[test]
fn a_killed_example_goes_on_with_the_same_answers_in_the_same_workspace() {
    let home = tempfile::tempdir().expect("a folder");
    let example = home.path().join("twice");
    std::fs::create_dir_all(&example).expect("made");
    std::fs::write(example.join("example.toml"), "plan = \"plan.toml\"\n").expect("written");
    let plan = "[[subtasks]]\nid = \"one\"\ntype = \"summarize\"\ndescription = \"say one\"\n\n\
                [[subtasks]]\nid = \"two\"\ntype = \"summarize\"\ndescription = \"say two\"\ndepends_on = [\"one\"]\n";
    std::fs::write(example.join("plan.toml"), plan).expect("written");
    // The first answer comes at once and only once; whoever asks for it again gets an error.
    let scenario = "[[rule]]\nmatch = { contains = \"say one\", nth = 1 }\nreply = { text = \"ONE\" }\n\
                    [[rule]]\nmatch = { contains = \"say two\", nth = 1 }\nreply = { text = \"never heard\" }\ndelay_ms = 600000\n\
                    [[rule]]\nmatch = { contains = \"say two\", nth = 2 }\nreply = { text = \"TWO\" }\n\
                    [[rule]]\nmatch = { format = \"brigade_review\" }\n\
                    reply = { json = { summary = \"fine\", verdict = \"approve\", revisions = [], add = [], final_output = \"{{one.output}} {{two.output}}\" } }\n";
    std::fs::write(example.join("scenario.toml"), scenario).expect("written");
    let mut first = Command::new(env!("CARGO_BIN_EXE_brigade"))
        .args(["run", "--json", "--offline", "twice"])
        .current_dir(home.path())
        .env("BRIGADE_HOME", home.path().join("brigade"))
        .env("TMPDIR", home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(first.stdout.take().expect("piped")));
    let started = lines.find_map(|line| {
        let event: Value = serde_json::from_str(&line.expect("readable")).expect("JSON");
        (event["type"] == "attempt.started" && event["subtask"] == "two").then_some(event)
    });
    assert!(started.is_some(), "the second subtask starts");
    // Until its call is on the script's record.
    let ledger = || {
        let runs = std::fs::read_dir(home.path().join("brigade/offline")).expect("readable").flatten();
        runs.filter_map(|run| std::fs::read_to_string(run.path().join("ledger.jsonl")).ok()).collect::<String>()
    };
    while ledger().matches("request_id").count() < 2 {
        std::thread::yield_now();
    }
    first.kill().expect("it runs");
    first.wait().expect("it is gone");
    // The folder it came from is not needed any more.
    std::fs::remove_dir_all(&example).expect("removed");
    let ran = brigade(home.path(), &["resume", "--last"]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    assert_eq!(text(&ran.stdout).trim(), "ONE TWO");
    let copies = std::fs::read_dir(home.path())
        .expect("readable")
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with("brigade-example-"));
    assert_eq!(copies.count(), 1, "the workspace is the first one's");
}
