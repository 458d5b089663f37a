//! Role files of a workspace: markdown with front matter, or TOML. One named like a role or a type adds to its prompt,
//! and binds its model and effort; any other is told to the planner as material, and announced.

use brigade_kernel::policy::Who;
use brigade_tools::instructions::Read;

use super::agents::{Effect, Ground, Line, bind_model, unknown, who};

/// What a role's text adds to a prompt at most.
const MOST_TEXT: usize = 16 * 1024;
/// Lines of front matter.
const MOST_FIELDS: usize = 200;

/// What one role file asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleFile {
    /// Its name: from within, else the file's.
    pub name: String,
    /// What it says of itself, one line.
    pub description: String,
    /// Whom it is bound to.
    pub who: Option<Who>,
    /// What each of its lines does.
    pub lines: Vec<Line>,
}

/// A field and its line.
type Field = (usize, String, String);

/// Reads a role file; the error is a line for people.
pub fn read(file: &Read, ground: &Ground<'_>) -> Result<RoleFile, String> {
    let (fields, body) = match file.path.ends_with(".toml") {
        true => toml_fields(&file.text)?,
        false => front_matter(&file.text)?,
    };
    let get = |names: &[&str]| fields.iter().find(|(_, key, _)| names.contains(&key.as_str()));
    let stem = file.path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(stem, _)| stem);
    let name = get(&["name"]).map_or(stem, |(_, _, name)| name.as_str()).to_owned();
    let description = get(&["description"]).map_or("", |(_, _, text)| text.as_str()).split_whitespace().collect::<Vec<_>>().join(" ");
    let who = who(&name);
    let mut lines = Vec::new();
    let mut line = |line: usize, says: String, effects: Vec<Effect>| {
        let says = says.trim().chars().take(200).collect();
        lines.push(Line { path: file.path.clone(), line, says, effects });
    };
    match who {
        None => {
            let why =
                format!("not bound to a type: {name:?} is the name of none, so the planner reads what it says of itself, as material");
            line(1, format!("name: {name}"), vec![Effect::NotUnderstood(why)]);
        }
        Some(who) => {
            let at = if who == Who::PlannerPatch { Who::Planner } else { who };
            for (n, key, value) in &fields {
                let effects = match key.as_str() {
                    "name" | "description" => continue,
                    "model" if value == "inherit" => vec![Effect::Always("its tier's own model".to_owned())],
                    "model" => bind_model(at, value, ground),
                    "effort" | "reasoning_effort" | "model_reasoning_effort" => {
                        vec![Effect::sets(format!("effort.{}", at.as_str()), value.to_lowercase())]
                    }
                    "verbosity" | "model_verbosity" => vec![Effect::sets(format!("verbosity.{}", at.as_str()), value.to_lowercase())],
                    "tools" | "disallowedtools" | "allowed_tools" | "allowed-tools" | "mcp_servers" | "mcpservers" | "sandbox_mode"
                    | "permissionmode" => {
                        vec![Effect::Refused("a plan grants tools, subtask by subtask; a role file grants and takes none".to_owned())]
                    }
                    "color" | "nickname_candidates" | "icon" => vec![Effect::Always("nothing here shows it".to_owned())],
                    _ => vec![unknown("no setting does this")],
                };
                line(*n, format!("{key}: {value}"), effects);
            }
            let (at_line, text) = body;
            let text = text.trim();
            if text.len() > MOST_TEXT {
                line(
                    at_line,
                    text.to_owned(),
                    vec![Effect::Refused(format!("its text has {} bytes, at most {MOST_TEXT} are taken", text.len()))],
                );
            } else if !text.is_empty() {
                line(
                    at_line,
                    text.lines().next().unwrap_or_default().to_owned(),
                    vec![Effect::sets(format!("additions.{}", at.as_str()), text)],
                );
            }
        }
    }
    Ok(RoleFile { name, description: description.chars().take(300).collect(), who, lines })
}

/// `---`, `key: value` lines, `---`, and the text behind them.
fn front_matter(text: &str) -> Result<(Vec<Field>, (usize, String)), String> {
    let mut lines = text.lines().enumerate();
    let first = lines.next().map(|(_, line)| line.trim_end());
    if first != Some("---") {
        return Ok((Vec::new(), (1, text.to_owned())));
    }
    let mut fields: Vec<Field> = Vec::new();
    for (n, line) in lines {
        if line.trim_end() == "---" {
            let rest: Vec<&str> = text.lines().skip(n + 1).collect();
            let blank = rest.iter().take_while(|line| line.trim().is_empty()).count();
            return Ok((fields, (n + 2 + blank, rest.join("\n"))));
        }
        if fields.len() > MOST_FIELDS {
            return Err(format!("its front matter has more than {MOST_FIELDS} fields"));
        }
        let plain = line.trim();
        if plain.is_empty() || plain.starts_with('#') {
            continue;
        }
        let inner = line.starts_with([' ', '\t']) || plain.starts_with("- ");
        match (inner, fields.last_mut(), plain.split_once(':')) {
            // A list, or a text over several lines.
            (true, Some((_, _, value)), _) => {
                let more = plain.trim_start_matches("- ");
                if !value.is_empty() {
                    value.push(' ');
                }
                value.push_str(more);
            }
            (false, _, Some((key, value))) => {
                let value = value.trim().trim_matches(['"', '\'']);
                let folded = matches!(value, "|" | ">" | "|-" | ">-");
                fields.push((n + 1, key.trim().to_lowercase(), if folded { String::new() } else { value.to_owned() }));
            }
            _ => return Err(format!("line {}: {:?} is no field", n + 1, plain.chars().take(60).collect::<String>())),
        }
    }
    Err("its front matter is not closed by a line ---".to_owned())
}

fn toml_fields(text: &str) -> Result<(Vec<Field>, (usize, String)), String> {
    let table: toml::Table = toml::from_str(text).map_err(|e| format!("is no TOML: {}", e.message()))?;
    let line_of = |key: &str| {
        let starts = |line: &str| {
            line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('=')) || line.trim() == format!("[{key}]")
        };
        text.lines().position(starts).map_or(1, |n| n + 1)
    };
    let mut fields = Vec::new();
    let mut body = (1, String::new());
    for (key, value) in &table {
        let line = line_of(key);
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match key.as_str() {
            "developer_instructions" | "instructions" | "prompt" => body = (line, shown),
            _ => fields.push((line, key.to_lowercase(), shown)),
        }
    }
    Ok((fields, body))
}
