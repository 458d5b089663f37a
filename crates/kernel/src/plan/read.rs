//! One subtask from outside: its own faults, and its links, which the whole plan judges.

use serde_json::Value;

use super::check::Known;
use super::fault::{Code, Fault, label, shown};
use super::fields::{Fields, kind_and_value};
use super::gate::{Author, json};
use super::reference::{Reference, references};
use super::text::{parse_span, usd_from_f64};
use super::when::When;
use super::{Complexity, ForEach, Stops, Subtask, TaskType};
use crate::call::{Effort, Verbosity};
use crate::ids::{ModelRef, SUBTASK_ID_PATTERN, SubtaskId, Tier};
use crate::image::MAX_CALL_IMAGES;
use crate::json_schema::Schema;
use crate::time::Millis;
use crate::tool::mcp_parts;
use crate::units::NanoUsd;

/// What a planner may set, in the order of its schema.
pub(super) const PLANNER_FIELDS: [&str; 11] =
    ["id", "type", "title", "description", "output_format", "depends_on", "files", "writes", "tools", "complexity", "checks"];

/// What only a person may set.
pub(super) const PERSON_FIELDS: [&str; 23] = [
    "tier",
    "ladder",
    "model",
    "effort",
    "verbosity",
    "output_schema",
    "for_each",
    "when",
    "quality_bar",
    "judge",
    "vote",
    "images",
    "mcp_servers",
    "approve",
    "checkpoint",
    "max_attempts",
    "deadline",
    "max_cost_usd",
    "flex",
    "simulate_ms",
    "canary",
    "max_failure_rate",
    "max_escalation_rate",
];

// Fields that are read but not yet acted upon, and whether a subtask sets them: one line goes with each machinery that comes.
type IsSet = fn(&Subtask) -> bool;
const NOT_YET: [(&str, IsSet); 3] =
    [("quality_bar", |s| s.quality_bar.is_some()), ("judge", |s| s.judge.is_some()), ("vote", |s| s.vote.is_some())];

/// A fault for every field that this version cannot honour.
pub fn unsupported(subtask: &Subtask) -> Vec<Fault> {
    let refuse = |(name, _): &(&str, _)| Fault {
        code: Code::BadValue,
        subtask: Some(subtask.id.to_string()),
        field: Some((*name).to_owned()),
        message: format!("not supported yet: {name}"),
    };
    NOT_YET.iter().filter(|(_, is_set)| is_set(subtask)).map(refuse).collect()
}

/// A dependency as written, and the field that made it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Link {
    pub to: String,
    pub field: &'static str,
}

/// A subtask as read: enough of it for the graph's verdicts even when it is faulty itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// The id as written; `None` when there was none to tell it by.
    pub key: Option<String>,
    /// What faults call it.
    pub label: String,
    pub links: Vec<Link>,
    /// `None` when it has faults of its own.
    pub subtask: Option<Subtask>,
    pub faults: Vec<Fault>,
}

impl Entry {
    /// An entry for a subtask that was checked before.
    pub fn of(subtask: Subtask) -> Self {
        let link = |id: &SubtaskId| Link { to: id.to_string(), field: "depends_on" };
        Self {
            key: Some(subtask.id.to_string()),
            label: subtask.id.to_string(),
            links: subtask.depends_on.iter().map(link).collect(),
            subtask: Some(subtask),
            faults: Vec::new(),
        }
    }
}

/// Reads the `index`-th subtask of a list.
pub(super) fn read(value: &Value, index: usize, author: Author, known: &Known) -> Entry {
    let nameless = format!("#{}", index + 1);
    let Value::Object(map) = value else {
        let message = format!("is {}; write an object with id, type and description", kind_and_value(value));
        let fault = Fault { code: Code::BadValue, subtask: Some(nameless.clone()), field: None, message };
        return Entry { key: None, label: nameless, links: Vec::new(), subtask: None, faults: vec![fault] };
    };
    let key = match map.get("id") {
        Some(Value::String(id)) if !id.is_empty() => Some(id.clone()),
        Some(Value::Number(n)) => Some(n.to_string()),
        _ => None,
    };
    let label = key.as_deref().map_or(nameless, label);
    let mut fields = Fields::new(map, Some(label.clone()));
    match author {
        Author::Person => fields.only(&[&PLANNER_FIELDS, &PERSON_FIELDS], &[]),
        Author::Planner => fields.only(&[&PLANNER_FIELDS], &PERSON_FIELDS),
    }
    let id = read_id(&mut fields);
    let mut links = Vec::new();
    let mut subtask = Subtask::new(id.clone().unwrap_or_else(stand_in));
    read_planned(&mut fields, &mut subtask, &mut links, known);
    if author == Author::Person {
        read_hand_written(&mut fields, &mut subtask, &mut links, known);
    }
    check_joined(&mut fields, &subtask, author, known);
    read_references(&mut fields, &subtask, &mut links);
    let mut seen = std::collections::HashSet::new();
    links.retain(|link| seen.insert(link.to.clone()));
    // Ids that do not parse name no subtask either; the graph's check says so.
    subtask.depends_on = links.iter().filter_map(|link| SubtaskId::new(&link.to).ok()).collect();
    let mut faults = fields.faults;
    if id.is_some() {
        faults.extend(unsupported(&subtask));
    }
    let subtask = faults.is_empty().then_some(subtask);
    Entry { key, label, links, subtask, faults }
}

fn stand_in() -> SubtaskId {
    SubtaskId::new("x").expect("one lower-case letter is an id")
}

fn read_id(fields: &mut Fields<'_>) -> Option<SubtaskId> {
    match fields.get("id") {
        None => {
            fields.fault(Code::BadId, "id", format!("there is no id; write one that matches {SUBTASK_ID_PATTERN}"));
            None
        }
        Some(Value::String(text)) => match SubtaskId::new(text) {
            Ok(id) => Some(id),
            Err(_) => {
                let message = format!("the id {} does not match {SUBTASK_ID_PATTERN}; rename it", shown(text));
                fields.fault(Code::BadId, "id", message);
                None
            }
        },
        Some(other) => {
            let message = format!("the id is {}; write text that matches {SUBTASK_ID_PATTERN}", kind_and_value(other));
            fields.fault(Code::BadId, "id", message);
            None
        }
    }
}

fn read_planned(fields: &mut Fields<'_>, subtask: &mut Subtask, links: &mut Vec<Link>, known: &Known) {
    match fields.get("type") {
        None => {}
        Some(Value::String(name)) if TaskType::parse(name).is_some() => {
            subtask.kind = TaskType::parse(name).unwrap_or_default();
        }
        Some(other) => {
            let types: Vec<&str> = TaskType::ALL.iter().map(|t| t.as_str()).collect();
            let message = format!("the type is {}; use one of {}", kind_and_value(other), types.join(", "));
            fields.fault(Code::UnknownType, "type", message);
        }
    }
    let text = |fields: &mut Fields<'_>, name| fields.text(name).unwrap_or_default().to_owned();
    subtask.title = text(fields, "title");
    subtask.description = text(fields, "description");
    subtask.output_format = text(fields, "output_format");
    subtask.files = fields.scopes("files");
    subtask.writes = fields.scopes("writes");
    let mut offered = std::collections::HashSet::new();
    subtask.tools = fields.list("tools", |fields, tool| {
        if known.tools.contains_key(tool) {
            return offered.insert(tool);
        }
        let message = format!("the tool {} is not known; {}", shown(tool), known.tool_names());
        fields.fault(Code::UnknownTool, "tools", message);
        false
    });
    let levels = |text: &str| match text {
        "low" => Some(Complexity::Low),
        "medium" => Some(Complexity::Medium),
        "high" => Some(Complexity::High),
        _ => None,
    };
    subtask.complexity = fields.parsed("complexity", "use low, medium or high", levels).unwrap_or_default();
    read_checks(fields, subtask);
    match fields.get("depends_on") {
        None => {}
        Some(Value::Array(list)) => {
            for value in list {
                read_link(fields, value, links);
            }
        }
        Some(other) => {
            let message = format!("depends_on is {}; write a list of ids, e.g. [\"a\"]", kind_and_value(other));
            fields.fault(Code::MalformedLink, "depends_on", message);
        }
    }
}

fn read_link(fields: &mut Fields<'_>, value: &Value, links: &mut Vec<Link>) {
    match value {
        // Any name is a link that may dangle; what holds no letter or digit names nothing at all.
        Value::String(to) if to.chars().any(char::is_alphanumeric) => {
            links.push(Link { to: to.clone(), field: "depends_on" });
        }
        other => {
            let message = format!("a dependency is {}; write the id of a subtask", kind_and_value(other));
            fields.fault(Code::MalformedLink, "depends_on", message);
        }
    }
}

fn read_checks(fields: &mut Fields<'_>, subtask: &mut Subtask) {
    const SHAPE: &str = "write each check as a list of program and arguments, e.g. [\"cargo\", \"test\"]; no shell";
    for value in fields.entries("checks") {
        let argv: Option<Vec<String>> = value.as_array().filter(|list| (1..=1_000).contains(&list.len())).and_then(|list| {
            let word = |v: &Value| v.as_str().filter(|s| s.len() <= 4096 && !s.contains('\0')).map(str::to_owned);
            list.iter().map(word).collect()
        });
        match argv {
            Some(argv) if !argv[0].trim().is_empty() => subtask.checks.push(argv),
            _ => fields.bad("checks", value, SHAPE),
        }
    }
}

fn read_hand_written(fields: &mut Fields<'_>, subtask: &mut Subtask, links: &mut Vec<Link>, known: &Known) {
    let tier_remedy = known.tier_names();
    let tier = |text: &str| Tier::new(text).ok().filter(|t| known.tiers.is_empty() || known.tiers.contains(t));
    subtask.tier = fields.parsed("tier", &tier_remedy, tier);
    for name in fields.list("ladder", |_, _| true) {
        match tier(&name) {
            Some(t) if !subtask.ladder.contains(&t) => subtask.ladder.push(t),
            Some(_) => fields.fault(Code::BadValue, "ladder", format!("ladder names {} twice; keep one", shown(&name))),
            None => fields.fault(Code::BadValue, "ladder", format!("ladder names {}; {tier_remedy}", shown(&name))),
        }
    }
    subtask.model = fields.parsed("model", "write PROVIDER/MODEL", |text| ModelRef::new(text).ok());
    let efforts = "use none, minimal, low, medium, high, xhigh or max";
    subtask.effort = fields.parsed("effort", efforts, word::<Effort>);
    subtask.verbosity = fields.parsed("verbosity", "use low, medium or high", word::<Verbosity>);
    subtask.output_schema = read_schema(fields);
    let each = |text: &str| ForEach::try_from(text.to_owned()).ok();
    subtask.for_each = fields.parsed("for_each", "write \"input\" or the id of a subtask", each);
    if let Some(ForEach::Subtask(id)) = &subtask.for_each {
        links.push(Link { to: id.to_string(), field: "for_each" });
    }
    if let Some(text) = fields.text("when") {
        match When::parse(text) {
            Ok(when) => {
                for reference in when.references() {
                    match reference {
                        Reference::Output { id, .. } => links.push(Link { to: id.to_string(), field: "when" }),
                        Reference::Item { .. } if subtask.for_each.is_none() => no_rows(fields, "when"),
                        Reference::Item { .. } => {}
                    }
                }
                subtask.when = Some(when);
            }
            Err(error) => fields.fault(Code::BadValue, "when", format!("when cannot be read: {error}")),
        }
    }
    subtask.quality_bar = fields.share("quality_bar");
    subtask.judge = fields.text("judge").map(str::to_owned);
    subtask.vote = fields.whole("vote", 1..=99).and_then(|n| u32::try_from(n).ok());
    subtask.images = fields.scopes("images");
    if subtask.images.len() > MAX_CALL_IMAGES {
        let message = format!("images has {} entries, a call shows at most {MAX_CALL_IMAGES}; split the subtask", subtask.images.len());
        fields.fault(Code::TooMany, "images", message);
    }
    read_servers(fields, subtask, known);
    subtask.approve = fields.flag("approve");
    subtask.checkpoint = fields.flag("checkpoint");
    subtask.max_attempts = fields.whole("max_attempts", 1..=100).and_then(|n| u32::try_from(n).ok());
    let positive = |text: &str| parse_span(text).filter(|span| span.0 > 0);
    subtask.deadline = fields.parsed("deadline", "write a span such as \"90s\", \"15m\" or \"2h\"", positive);
    subtask.max_cost_usd = read_usd(fields);
    subtask.flex = fields.flag("flex");
    subtask.simulate_ms = fields.whole("simulate_ms", 0..=1_000_000_000_000).map(Millis);
    subtask.stops = read_stops(fields);
}

fn read_servers(fields: &mut Fields<'_>, subtask: &mut Subtask, known: &Known) {
    if fields.get("mcp_servers").is_none() {
        return;
    }
    let servers = known.servers();
    let mut joined = std::collections::HashSet::new();
    subtask.mcp_servers = fields.list("mcp_servers", |fields, name| {
        if servers.contains(name) {
            return joined.insert(name);
        }
        let names: Vec<&str> = servers.iter().copied().collect();
        let others = if names.is_empty() { "none is".to_owned() } else { format!("those that are: {}", names.join(", ")) };
        let message = format!("the MCP server {} is not configured and trusted ({others}); see `brigade mcp list`", shown(name));
        fields.fault(Code::BadValue, "mcp_servers", message);
        false
    });
}

/// A tool of a server that the subtask did not join is not its to call.
fn check_joined(fields: &mut Fields<'_>, subtask: &Subtask, author: Author, known: &Known) {
    let strangers: Vec<(String, String)> = subtask
        .tools
        .iter()
        .filter(|tool| matches!(known.tools.get(*tool), Some(Some(_))))
        .filter_map(|tool| mcp_parts(tool).map(|(server, _)| (tool.clone(), server.to_owned())))
        .filter(|(_, server)| !subtask.mcp_servers.contains(server))
        .collect();
    for (tool, server) in strangers {
        let message = match author {
            Author::Person => format!("the tool {} is of an MCP server; add {server:?} to mcp_servers", shown(&tool)),
            Author::Planner => format!("the tool {} is not known; {}", shown(&tool), known.tool_names()),
        };
        fields.fault(Code::UnknownTool, "tools", message);
    }
}

/// The stops of bulk work, at the top of a plan or in a subtask.
pub(super) fn read_stops(fields: &mut Fields<'_>) -> Stops {
    Stops {
        canary: fields.whole("canary", 1..=1_000_000_000),
        max_failure_rate: fields.share("max_failure_rate"),
        max_escalation_rate: fields.share("max_escalation_rate"),
    }
}

fn word<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(Value::String(text.to_owned())).ok()
}

fn read_usd(fields: &mut Fields<'_>) -> Option<NanoUsd> {
    let value = fields.get("max_cost_usd")?;
    let amount = match value {
        Value::String(text) => NanoUsd::parse_usd(text),
        other => other.as_f64().and_then(usd_from_f64),
    };
    if amount.is_none() {
        fields.bad("max_cost_usd", value, "write dollars, e.g. 0.25");
    }
    amount
}

/// A schema as an object, or as text that holds one.
fn read_schema(fields: &mut Fields<'_>) -> Option<Schema> {
    let value = fields.get("output_schema")?;
    let schema = match value {
        Value::String(text) => json(text, &mut Vec::new()).ok(),
        other => Some(other.clone()),
    };
    let schema = schema.filter(Value::is_object).map(Schema::from).filter(|s| s.text().get().len() <= super::MAX_TEXT_BYTES);
    if schema.is_none() {
        fields.bad("output_schema", value, "write a JSON Schema object of at most 64 KiB");
    }
    schema
}

fn no_rows(fields: &mut Fields<'_>, field: &str) {
    let message = format!("{field} refers to {{{{item.…}}}}, but there are no rows; add for_each or remove it");
    fields.fault(Code::BadValue, field, message);
}

fn read_references(fields: &mut Fields<'_>, subtask: &Subtask, links: &mut Vec<Link>) {
    let mut rows = false;
    for (_, reference) in references(&subtask.description) {
        match reference {
            Reference::Output { id, .. } => links.push(Link { to: id.to_string(), field: "description" }),
            Reference::Item { .. } => rows = true,
        }
    }
    if rows && subtask.for_each.is_none() {
        no_rows(fields, "description");
    }
}
