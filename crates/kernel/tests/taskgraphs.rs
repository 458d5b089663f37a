//! Plans that small models really wrote, and graphs of recorded calls (data/taskgraphs, MIT, see its SOURCE.md).
//! Both are skipped with a note where the data are not at hand.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic, and says what it skips")]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use brigade_kernel::catalog::Catalog;
use brigade_kernel::ids::{ModelRef, Tier};
use brigade_kernel::plan::{Author, Checked, Code, Format, Known, check, parse, parse_tools};
use brigade_kernel::policy::{Policy, Slots};
use brigade_kernel::run::simulate;
use brigade_kernel::time::Timestamp;
use serde_json::{Value, json};

fn data(name: &str) -> Option<String> {
    let root = std::env::var_os("BRIGADE_DATA").map(PathBuf::from);
    let root = root.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"));
    let path = root.join("taskgraphs").join(name);
    let Ok(bytes) = std::fs::read(&path) else {
        eprintln!("skipped: {} is not there (set BRIGADE_DATA)", path.display());
        return None;
    };
    if !name.ends_with(".gz") {
        return Some(String::from_utf8(bytes).unwrap());
    }
    let mut text = String::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    Some(text)
}

/// How somebody might write a recorded plan in our format.
#[derive(Clone, Copy, Debug)]
enum Naming {
    /// Ids and links are slugs of the tool's name.
    Slugs,
    /// Ids and links are the tool's name as it stands.
    Names,
}

fn named(naming: Naming, name: &Value) -> Value {
    match (naming, name) {
        (Naming::Slugs, Value::String(s)) => {
            let slug: String = s.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
            Value::String(slug)
        }
        (_, other) => other.clone(),
    }
}

fn converted(naming: Naming, record: &Value) -> Value {
    let nodes = record["task_nodes"].as_array().unwrap();
    let mut links: BTreeMap<usize, Vec<Value>> = BTreeMap::new();
    for link in record["task_links"].as_array().unwrap() {
        let (source, target) = (&link["source"], &link["target"]);
        // A link belongs to its target; one whose target is no node is noted where it starts, or at the first.
        let of = |name: &Value| nodes.iter().position(|n| &n["task"] == name);
        let (at, to) = match (of(target), of(source)) {
            (Some(at), _) => (at, source),
            (None, Some(at)) => (at, target),
            (None, None) => (0, source),
        };
        links.entry(at).or_default().push(named(naming, to));
    }
    let subtask = |(n, node): (usize, &Value)| {
        json!({
            "id": named(naming, &node["task"]), "type": "general", "title": node["task"],
            "description": node["arguments"].to_string(), "output_format": "text", "tools": [node["task"]],
            "depends_on": links.get(&n).cloned().unwrap_or_default(),
        })
    };
    json!({"subtasks": nodes.iter().enumerate().map(subtask).collect::<Vec<_>>()})
}

fn has(checked: &Checked, code: Code) -> bool {
    checked.faults.iter().any(|f| f.code == code)
}

#[test]
fn six_verdicts_on_recorded_plans_are_all_right() {
    let Some(plans) = data("predicted_plans.jsonl.gz") else { return };
    let known: BTreeMap<&str, Known> = ["huggingface", "multimedia", "dailylifeapis"]
        .into_iter()
        .map(|d| (d, Known::names(parse_tools(&data(&format!("tools_{d}.json")).unwrap()).unwrap())))
        .collect();
    const CODES: [(&str, Code); 6] = [
        ("unknown_tool", Code::UnknownTool),
        ("duplicate_node", Code::DuplicateNode),
        ("dangling_link", Code::DanglingLink),
        ("self_link", Code::SelfLink),
        ("malformed_link", Code::MalformedLink),
        ("cycle", Code::Cycle),
    ];
    for naming in [Naming::Slugs, Naming::Names] {
        let mut count = 0;
        for line in plans.lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            let text = converted(naming, &record).to_string();
            let checked = check(&parse(&text, Format::Json, Author::Person), &known[record["domain"].as_str().unwrap()]);
            for (name, code) in CODES {
                let expected = record["verdict"][name].as_bool().unwrap();
                assert_eq!(has(&checked, code), expected, "{naming:?} {name} of {record}\n{:?}", checked.faults);
            }
            if matches!(naming, Naming::Slugs) {
                let sound = CODES.iter().all(|(name, _)| record["verdict"][*name] == false);
                assert_eq!(checked.plan.is_some(), sound, "{record}\n{:?}", checked.faults);
            }
            count += 1;
        }
        assert_eq!(count, 1_024);
    }
}

fn policy() -> Policy {
    let rung = |tier: &str, model: &str| (Tier::new(tier).unwrap(), ModelRef::new(model).unwrap());
    Policy::standard([rung("nano", "openai/gpt-5.4-nano"), rung("mini", "openai/gpt-5.4-mini"), rung("flagship", "openai/gpt-5.4")])
}

#[test]
fn recorded_graphs_finish_within_the_bars_and_never_later_than_waves() {
    let Some(graphs) = data("schedules.jsonl.gz") else { return };
    let (mut policy, catalog) = (policy(), Arc::new(Catalog::built_in()));
    for (workers, bar) in [(1, 1.0), (2, 1.03), (4, 1.005), (8, 1.001), (16, 1.0)] {
        let (mut makespan, mut bound) = (0, 0);
        policy.limits.max_concurrent_subagents = Slots::At(workers);
        for line in graphs.lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            let subtask = |node: &Value| {
                let deps: Vec<String> = node["deps"].as_array().unwrap().iter().map(|d| format!("n{d}")).collect();
                json!({"id": format!("n{}", node["id"]), "depends_on": deps, "simulate_ms": node["ms"], "tier": node["tier"], "output_format": "text"})
            };
            let subtasks: Vec<Value> = record["nodes"].as_array().unwrap().iter().map(subtask).collect();
            let text = json!({"subtasks": subtasks}).to_string();
            let plan = check(&parse(&text, Format::Json, Author::Person), &Known::names([])).plan.unwrap();
            let report = simulate(&plan, &policy, catalog.clone(), Vec::new().into(), Timestamp(1_800_000_000_000)).unwrap();
            let reference = &record["reference"][workers.to_string()];
            assert_eq!(report.lower_bound_ms.0, reference["lower_bound"].as_u64().unwrap());
            assert_eq!(report.work_ms.0, record["work_ms"].as_u64().unwrap());
            assert_eq!(report.critical_path_ms.0, record["critical_path_ms"].as_u64().unwrap());
            assert!(report.makespan_ms.0 <= reference["waves"].as_u64().unwrap(), "{} with {workers}: {report:?}", record["id"]);
            makespan += report.makespan_ms.0;
            bound += report.lower_bound_ms.0;
            assert_eq!(report.calls_per_tier.iter().map(|(_, n)| n).sum::<u64>(), record["n"].as_u64().unwrap());
        }
        let ratio = makespan as f64 / bound as f64;
        println!("{workers} workers: {ratio:.5} of the lower bound");
        assert!(ratio <= bar, "{workers} workers: {ratio}");
    }
}
