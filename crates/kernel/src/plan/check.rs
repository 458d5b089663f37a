//! The whole plan's verdict: every fault and every warning, or a [`Plan`].
//!
//! Linear in the plan's text. Repeated ids are merged (their links joined) before cycles are sought.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;
use serde_json::Value;

use super::fault::{Code, Fault, Warning, shown};
use super::fields::{Fields, kind_and_value};
use super::gate::{Author, Parsed, fault};
use super::read::{Entry, read, read_stops};
use super::{Plan, Stops, graph, warn};
use crate::ids::Tier;
use crate::tool::{Effect, ToolSpec, mcp_parts};

/// Most subtasks of a plan, unless configured lower (design.md "The plan").
pub const MAX_SUBTASKS: usize = 10_000;

/// What a plan may refer to.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Tools by name, with what repeating a call does where that is known.
    pub tools: BTreeMap<String, Option<Effect>>,
    /// Configured tiers; empty = any name passes.
    pub tiers: Vec<Tier>,
    /// At most [`MAX_SUBTASKS`] by default.
    pub max_subtasks: usize,
}

impl Known {
    /// These tools, any tier, ten thousand subtasks.
    pub fn new<'a>(tools: impl IntoIterator<Item = &'a ToolSpec>) -> Self {
        let tools = tools.into_iter().map(|t| (t.name.clone(), Some(t.effect))).collect();
        Self { tools, tiers: Vec::new(), max_subtasks: MAX_SUBTASKS }
    }

    /// Tools known by name only (`--tools FILE`): none of them starts while a plan is still streaming.
    pub fn names(tools: impl IntoIterator<Item = String>) -> Self {
        Self { tools: tools.into_iter().map(|t| (t, None)).collect(), tiers: Vec::new(), max_subtasks: MAX_SUBTASKS }
    }

    /// MCP servers that offer a tool here.
    pub(super) fn servers(&self) -> BTreeSet<&str> {
        self.tools.keys().filter_map(|name| mcp_parts(name)).map(|(server, _)| server).collect()
    }

    pub(super) fn tool_names(&self) -> String {
        let own: Vec<&String> = self.tools.keys().filter(|name| mcp_parts(name).is_none()).collect();
        match own.len() {
            0 => "no tool is".to_owned(),
            1..=20 => format!("use one of {}", own.iter().map(|t| super::fault::label(t)).collect::<Vec<_>>().join(", ")),
            n => format!("{n} others are, see `brigade tool list`"),
        }
    }

    pub(super) fn tier_names(&self) -> String {
        let names: Vec<&str> = self.tiers.iter().map(Tier::as_str).collect();
        if names.is_empty() { "write a tier's name, e.g. nano".to_owned() } else { format!("use one of {}", names.join(", ")) }
    }
}

/// What came of checking; serialises as `plan --check --json` prints it.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// There only without faults.
    pub plan: Option<Plan>,
    /// Everything that must be mended, in the order of the plan.
    pub faults: Vec<Fault>,
    /// What is sloppy but legal; complete only without faults.
    pub warnings: Vec<Warning>,
}

impl Serialize for Checked {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut form = to.serialize_struct("Checked", 3)?;
        form.serialize_field("ok", &self.faults.is_empty())?;
        form.serialize_field("faults", &self.faults)?;
        form.serialize_field("warnings", &self.warnings)?;
        form.end()
    }
}

/// Judges a plan that came through the gate.
pub fn check(parsed: &Parsed, known: &Known) -> Checked {
    let mut faults = parsed.faults.clone();
    let Some(value) = &parsed.value else {
        return Checked { plan: None, faults, warnings: Vec::new() };
    };
    let Some(top) = read_top(value, parsed.author, &mut faults) else {
        return Checked { plan: None, faults, warnings: Vec::new() };
    };
    let mut entries = Vec::new();
    match value.get("subtasks") {
        Some(Value::Array(list)) => {
            entries.extend(list.iter().enumerate().map(|(n, value)| read(value, n, parsed.author, known)));
        }
        None | Some(Value::Null) => {}
        Some(other) => {
            let message = format!("subtasks is {}; write a list of subtasks", kind_and_value(other));
            faults.push(Fault { field: Some("subtasks".to_owned()), ..fault(Code::BadValue, message) });
            return Checked { plan: None, faults, warnings: Vec::new() };
        }
    }
    whole(top, entries, faults, known)
}

/// The fields of a plan outside its subtasks.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Top {
    pub pipeline: Option<String>,
    pub coordination_notes: String,
    pub stops: Stops,
}

/// Reads the top of a plan; `None` when the value is no object.
pub(super) fn read_top(value: &Value, author: Author, faults: &mut Vec<Fault>) -> Option<Top> {
    const EVERYBODY: [&str; 2] = ["coordination_notes", "subtasks"];
    const PERSON: [&str; 4] = ["pipeline", "canary", "max_failure_rate", "max_escalation_rate"];
    let Value::Object(map) = value else {
        let message = format!("the plan is {}; write an object with a list `subtasks`", kind_and_value(value));
        faults.push(fault(Code::BadValue, message));
        return None;
    };
    let mut fields = Fields::new(map, None);
    match author {
        Author::Person => fields.only(&[&EVERYBODY, &PERSON], &[]),
        Author::Planner => fields.only(&[&EVERYBODY], &PERSON),
    }
    let mut top = Top { coordination_notes: fields.text("coordination_notes").unwrap_or_default().to_owned(), ..Top::default() };
    if author == Author::Person {
        let name = |text: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            ((1..=64).contains(&text.len()) && text.bytes().all(plain)).then(|| text.to_owned())
        };
        top.pipeline = fields.parsed("pipeline", "use 1 to 64 letters, digits, `.`, `_` or `-`", name);
        top.stops = read_stops(&mut fields);
    }
    faults.append(&mut fields.faults);
    Some(top)
}

/// Judges what only all subtasks together show.
pub(super) fn whole(top: Top, entries: Vec<Entry>, mut faults: Vec<Fault>, known: &Known) -> Checked {
    let about = |entry: &Entry, code, field: &str, message| Fault {
        code,
        subtask: Some(entry.label.clone()),
        field: Some(field.to_owned()),
        message,
    };
    if entries.is_empty() && faults.is_empty() {
        let message = "the plan has no subtasks; write at least one".to_owned();
        faults.push(Fault { field: Some("subtasks".to_owned()), ..fault(Code::BadValue, message) });
    }
    if entries.len() > known.max_subtasks {
        let message = format!("the plan has {} subtasks; the limit is {}, split it or use for_each", entries.len(), known.max_subtasks);
        faults.push(Fault { field: Some("subtasks".to_owned()), ..fault(Code::TooMany, message) });
    }
    // Nodes are distinct ids; an entry without one is a node that nothing can name.
    let mut node_of: HashMap<&str, usize> = HashMap::with_capacity(entries.len());
    let mut first_entry = Vec::with_capacity(entries.len());
    let mut nodes = Vec::with_capacity(entries.len());
    for (n, entry) in entries.iter().enumerate() {
        let fresh = first_entry.len();
        let node = match &entry.key {
            Some(key) => *node_of.entry(key).or_insert(fresh),
            None => fresh,
        };
        if node == fresh {
            first_entry.push(n);
        } else {
            let before = first_entry[node];
            let message = format!("the id {} stands at subtasks #{} and #{}; rename one", shown(&entry.label), before + 1, n + 1);
            faults.push(about(entry, Code::DuplicateNode, "id", message));
        }
        nodes.push(node);
    }
    let mut waits = vec![Vec::new(); first_entry.len()];
    for (n, entry) in entries.iter().enumerate() {
        faults.extend(entry.faults.iter().cloned());
        for link in &entry.links {
            match node_of.get(link.to.as_str()) {
                Some(&to) if to == nodes[n] => {
                    let message = format!("{} depends on itself; remove the link", shown(&entry.label));
                    faults.push(about(entry, Code::SelfLink, link.field, message));
                }
                Some(&to) => waits[nodes[n]].push(to),
                None => {
                    let message = format!("no subtask has the id {}; add it or remove the link", shown(&link.to));
                    faults.push(about(entry, Code::DanglingLink, link.field, message));
                }
            }
        }
    }
    for cycle in graph::cycles(&waits) {
        let entry = |node: usize| &entries[first_entry[node]];
        let mut names: Vec<&str> = cycle.iter().take(20).map(|&n| entry(n).label.as_str()).collect();
        if cycle.len() > names.len() {
            names.push("…");
        }
        names.push(&entry(cycle[0]).label);
        let message = format!("{} subtasks wait for each other: {}; remove one link", cycle.len(), names.join(" waits for "));
        faults.push(about(entry(cycle[0]), Code::Cycle, "depends_on", message));
    }
    if !faults.is_empty() {
        let warnings = entries.iter().filter_map(|e| e.subtask.as_ref()).flat_map(warn::alone).collect();
        return Checked { plan: None, faults, warnings };
    }
    let subtasks = entries.into_iter().filter_map(|entry| entry.subtask).collect();
    let plan = Plan { pipeline: top.pipeline, coordination_notes: top.coordination_notes, stops: top.stops, subtasks };
    let warnings = warn::all(&plan, &waits);
    Checked { plan: Some(plan), faults, warnings }
}
