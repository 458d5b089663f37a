//! The registry: which tools there are, and the one gate through which every call of one passes.
//!
//! Arguments are text from a model: their size, JSON, fields and types are checked here against the same schema that was offered,
//! and each refusal names the field, the value and the remedy. A tool that was not granted is refused whatever its arguments.

mod arguments;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use brigade_kernel::image::Pictures;
use brigade_kernel::tool::{Effect, OPEN_OUTPUT, ToolOutput, ToolSpec};
use serde_json::{Map, Value, json};

use crate::brought::Brought;
use crate::gate::{Globs, RelPath, Scope};
use crate::output::OUTPUT_CHARS;
use crate::patch::{self, Change, Rules};
use crate::picture::{self, Picture};
use crate::view::View;
use crate::{files, output, search};

/// Longest arguments taken, in bytes.
pub const MAX_ARGUMENT_BYTES: usize = 20 << 20;

/// What one caller may do: fixed from trusted input before the call, never widened by it (promises.md I21).
#[derive(Debug, Clone)]
pub struct Grant {
    /// Names of tools.
    pub tools: BTreeSet<String>,
    /// What may be read and written.
    pub scope: Scope,
}

impl Grant {
    /// The tools named, on the files that `files` and `writes` cover; an empty `files` grants reading everything,
    /// an empty `writes` grants writing nothing.
    ///
    /// # Errors
    /// A glob that is none.
    pub fn new<S: AsRef<str>>(tools: &[S], files: &[S], writes: &[S]) -> Result<Self, crate::Refusal> {
        let read = if files.is_empty() { Globs::all() } else { Globs::new(files)? };
        let tools = tools.iter().map(|name| name.as_ref().to_owned()).collect();
        Ok(Self { tools, scope: Scope { read, write: Globs::new(writes)? } })
    }

    /// Every built-in tool on the whole workspace: for a person's own `brigade tool call`.
    pub fn whole() -> Self {
        Self { tools: Builtin::ALL.iter().map(|tool| tool.name().to_owned()).collect(), scope: Scope::whole() }
    }
}

/// The built-in tools of this crate, with how much of a result they show.
#[derive(Debug, Clone)]
pub struct Toolbox {
    output_chars: usize,
}

impl Default for Toolbox {
    fn default() -> Self {
        Self { output_chars: OUTPUT_CHARS }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Builtin {
    Search,
    ListFiles,
    ReadFile,
    ApplyPatch,
    WriteFile,
    ViewImage,
}

impl Builtin {
    const ALL: [Self; 6] = [Self::Search, Self::ListFiles, Self::ReadFile, Self::ApplyPatch, Self::WriteFile, Self::ViewImage];

    fn name(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::ListFiles => "list_files",
            Self::ReadFile => "read_file",
            Self::ApplyPatch => "apply_patch",
            Self::WriteFile => "write_file",
            Self::ViewImage => "view_image",
        }
    }

    fn spec(self) -> ToolSpec {
        let text = |about: &str| json!({"type": "string", "description": about});
        let maybe = |kind: &str, about: &str| json!({"type": [kind, "null"], "description": about});
        let (description, properties, effect) = match self {
            Self::Search => (
                "Searches the workspace with ripgrep and returns what it prints. Example: {\"args\": [\"-n\", \"fn main\", \"src\"]}.",
                json!({"args": {"type": "array", "items": {"type": "string"}, "description": "ripgrep arguments: flags, then the pattern, then paths"}}),
                Effect::Repeatable,
            ),
            Self::ListFiles => (
                "Lists files, one path per line. Ignored files are left out.",
                json!({"path": maybe("string", "folder to list; null = the whole workspace"), "glob": maybe("string", "only files that match, like *.rs or src/**/*.ts; null = all")}),
                Effect::Repeatable,
            ),
            Self::ReadFile => (
                "Returns a file's text, or the lines from start_line to end_line (counted from 1, both included).",
                json!({"path": text("relative to the workspace"), "start_line": maybe("integer", "null = from the first"), "end_line": maybe("integer", "null = to the last")}),
                Effect::Repeatable,
            ),
            Self::ApplyPatch => (
                "Changes files, all or none. The patch begins with `*** Begin Patch` and ends with `*** End Patch`; between them `*** Update File: PATH` with hunks (`@@`, then lines that start with space, - or +), `*** Add File: PATH` with + lines, `*** Delete File: PATH`. Unified diffs are taken too.",
                json!({"patch": text("the whole patch")}),
                Effect::Keyed,
            ),
            Self::WriteFile => (
                "Writes a whole file, new or over the old one. To change part of a file use apply_patch.",
                json!({"path": text("relative to the workspace"), "content": text("the file's whole text")}),
                Effect::Keyed,
            ),
            Self::ViewImage => (
                "Shows an image of the workspace: PNG, JPEG, GIF or WebP.",
                json!({"path": text("relative to the workspace")}),
                Effect::Repeatable,
            ),
        };
        let required: Vec<&String> = properties.as_object().into_iter().flat_map(Map::keys).collect();
        let parameters = json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
        ToolSpec {
            name: self.name().to_owned(),
            description: description.to_owned(),
            parameters: parameters.into(),
            effect,
            images: self == Self::ViewImage,
        }
    }
}

impl Toolbox {
    /// A toolbox that shows at most `output_chars` characters of a result.
    pub fn with_output_chars(output_chars: usize) -> Self {
        Self { output_chars: output_chars.max(1_000) }
    }

    /// All tools of this crate's file side, in fixed order. `run_command` describes itself; what takes a run is its engine's.
    pub fn specs(&self) -> Vec<ToolSpec> {
        Builtin::ALL.iter().map(|tool| tool.spec()).collect()
    }

    /// Calls a tool. Never fails: what goes wrong is told to the model.
    pub async fn call(&self, view: &View, grant: &Grant, name: &str, arguments: &str) -> Brought {
        let (tool, fields) = match admit(grant, name, arguments) {
            Ok(admitted) => admitted,
            Err(refused) => return ToolOutput::refused(refused).into(),
        };
        let opens = grant.tools.contains(OPEN_OUTPUT);
        let (view, scope, limit) = (view.clone(), grant.scope.clone(), self.output_chars);
        let done = tokio::task::spawn_blocking(move || perform(tool, &view, &scope, &fields, limit)).await;
        let brought = done.unwrap_or_else(|_| ToolOutput::refused(format!("{name} broke down; try other arguments")).into());
        if opens { brought } else { brought.closed("search [\"-o\", PATTERN, PATH] shows parts of it") }
    }
}

/// Checks that the tool exists and is granted, and its arguments against its schema.
fn admit(grant: &Grant, name: &str, arguments: &str) -> Result<(Builtin, Map<String, Value>), String> {
    let granted = || grant.tools.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let shown: String = name.chars().take(64).collect();
    let Some(tool) = Builtin::ALL.into_iter().find(|tool| tool.name() == name) else {
        return Err(format!("there is no tool {shown:?}; yours are: {}", granted()));
    };
    if !grant.tools.contains(name) {
        return Err(format!("the tool {shown:?} is not granted to this subtask; yours are: {}", granted()));
    }
    Ok((tool, arguments::check(name, arguments, &tool.spec().parameters)?))
}

fn perform(tool: Builtin, view: &View, scope: &Scope, fields: &Map<String, Value>, limit: usize) -> Brought {
    let text = |field: &str| fields.get(field).and_then(Value::as_str);
    let must = |field: &str| text(field).unwrap_or_default();
    let number = |field: &str| fields.get(field).and_then(Value::as_u64);
    let mut kept = None;
    let result = match tool {
        Builtin::Search => searched(view, scope, fields, limit),
        Builtin::ListFiles => files::list(view, scope, text("path"), text("glob"), limit),
        Builtin::ReadFile => match files::read(view, scope, must("path"), number("start_line"), number("end_line"), limit) {
            Ok((text, whole)) => {
                kept = whole;
                Ok(text)
            }
            Err(why) => Err(why),
        },
        Builtin::ApplyPatch => patched(view, scope, must("patch")),
        Builtin::WriteFile => files::write(view, scope, must("path"), must("content")),
        Builtin::ViewImage => match picture::read(view, scope, must("path")) {
            Ok(seen) => return shown(must("path"), seen),
            Err(why) => Err(why),
        },
    };
    match result {
        Ok((output, truncated)) => {
            let output = ToolOutput { ok: true, output, truncated, ..ToolOutput::default() };
            Brought { output, whole: kept, ..Brought::default() }
        }
        Err(error) => ToolOutput::refused(output::cut(&error, 4_000, |_, _, _| "…".to_owned()).unwrap_or(error)).into(),
    }
}

fn shown(path: &str, (image, bytes): Picture) -> Brought {
    let mut pictures = Pictures::default();
    pictures.insert(&image, bytes);
    let output = ToolOutput { ok: true, output: format!("{path}: {image}\n"), images: vec![image], ..ToolOutput::default() };
    Brought { output, pictures, whole: None }
}

fn searched(view: &View, scope: &Scope, fields: &Map<String, Value>, limit: usize) -> Result<files::Shown, String> {
    let args: Vec<String> = fields["args"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let query = search::parse(&args).map_err(|e| e.to_string())?;
    let answer = search::run(view, scope, &query, limit).map_err(|e| e.to_string())?;
    let narrower = "give a narrower pattern, a path, -g GLOB, -l or -c";
    let mut out = answer.stdout;
    // The order of results says nothing of their worth, and the rest was never looked for: no tail to show.
    let end = out.char_indices().nth(limit).map(|(at, _)| out[..at].rfind('\n').map_or(at, |newline| newline + 1));
    if let Some(end) = end {
        out.truncate(end);
    }
    let truncated = end.is_some() || answer.stopped.is_some();
    if truncated {
        let why = if answer.stopped == Some("time") { "the search ran out of time" } else { "there is more" };
        let gap = if out.is_empty() || out.ends_with('\n') { "" } else { "\n" };
        out.push_str(&format!("{gap}[… {why}; {narrower} …]\n"));
    }
    if !answer.notes.is_empty() {
        let shown: Vec<&str> = answer.notes.iter().take(5).map(String::as_str).collect();
        let more = if answer.notes.len() > 5 { format!(" and {} more", answer.notes.len() - 5) } else { String::new() };
        out.push_str(&format!("[not searched: {}{more}]\n", shown.join("; ")));
    }
    Ok((out, truncated))
}

fn patched(view: &View, scope: &Scope, text: &str) -> Result<files::Shown, String> {
    let ops = patch::parse(text).map_err(|e| format!("{e}. Nothing was changed."))?;
    let read = |path: &RelPath| {
        scope.may_write(path)?;
        view.root().read(scope, path, crate::gate::MAX_WRITE_BYTES)
    };
    let (edits, changes) = patch::plan(&ops, Rules::default(), read).map_err(|e| match e {
        patch::PatchError::Gate(refused) => format!("{refused}. Nothing was changed."),
        other => other.to_string(),
    })?;
    view.commit(scope, &edits).map_err(|e| format!("{e}. Nothing was changed."))?;
    let mut out = String::new();
    for change in changes {
        out.push_str(&match change {
            Change::Added(path) => format!("A {path}\n"),
            Change::Changed(path) => format!("M {path}\n"),
            Change::Deleted(path) => format!("D {path}\n"),
            Change::Moved(from, to) => format!("R {from} -> {to}\n"),
        });
    }
    Ok((out, false))
}
