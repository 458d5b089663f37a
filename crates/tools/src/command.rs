//! `run_command`, the tool, and `check`, what a subtask's command checks are decided by: both are
//! a gate for the arguments, [`Sandbox::run`], and words for what came back. There is no shell:
//! a pipe or a redirection must be asked for as `["sh", "-c", …]`, and is bounded by the same sandbox.

use std::path::PathBuf;
use std::time::Duration;

use brigade_kernel::tool::{Effect, ToolOutput, ToolSpec};
use serde_json::{Value, json};

use crate::brought::{Brought, Whole};
use crate::sandbox::{Captured, Finished, MAX_TIMEOUT, Primitive, Sandbox, SandboxError, Spec, Status};
use crate::view::{Stage, View, ViewError};

/// Entries of one argv.
const MAX_ENTRIES: usize = 256;
/// Bytes of one argv, its separators included.
const MAX_BYTES: usize = 128 << 10;
/// Bytes of output a model is shown; half from each end when there is more.
const SHOWN: usize = 16 << 10;
/// Characters of output that a verdict keeps as evidence: the end, where test runners sum up.
const EVIDENCE: usize = 4000;

/// Where commands run.
#[derive(Debug, Clone)]
pub struct Place {
    /// The subtask's view of the workspace.
    pub view: View,
    /// Outside the view, kept between the commands of one attempt: build output.
    pub scratch_dir: Option<PathBuf>,
    pub writable: bool,
}

/// What a caller may have got wrong, or the machine lacks.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Words for the model: its arguments are at fault.
    #[error("{0}")]
    Refused(String),
    /// Not the model's fault and not to be told to it.
    #[error(transparent)]
    Infrastructure(#[from] SandboxError),
    /// The view could not be made ready for a command, or what the command did could not be kept.
    #[error(transparent)]
    View(#[from] ViewError),
}

/// A command that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    pub finished: Finished,
    /// The time it was given.
    pub timeout: Duration,
}

/// What a command check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Exit status 0.
    pub ok: bool,
    /// How it ended, then the end of its output.
    pub evidence: String,
    /// `None` when it did not exit by itself, or did not start.
    pub exit_code: Option<i32>,
}

/// The tool as offered to a model.
pub fn run_command_spec() -> ToolSpec {
    ToolSpec {
        name: "run_command".to_owned(),
        description: "Runs one program in the workspace, without network, and returns its exit status and output. \
                      argv is the program and its arguments, not a shell line."
            .to_owned(),
        parameters: json!({
            "type": "object",
            "properties": {
                "argv": {"type": "array", "items": {"type": "string"}, "description": "for example [\"cargo\", \"test\", \"-q\"]"},
                "timeout_s": {"type": ["integer", "null"], "description": "seconds, 1 to 600; null is 120"}
            },
            "required": ["argv", "timeout_s"],
            "additionalProperties": false
        })
        .into(),
        effect: Effect::Keyed,
        images: false,
    }
}

/// Runs what the model asked for.
///
/// # Errors
/// [`CommandError::Refused`] goes back to the model, [`CommandError::Infrastructure`] to the person.
pub async fn run_command(sandbox: &Sandbox, place: &Place, arguments: &Value) -> Result<Ran, CommandError> {
    let (argv, timeout) = parse(arguments).map_err(CommandError::Refused)?;
    let ran = run(sandbox, place, argv, timeout).await.map_err(|error| match error {
        // Its own doing, and it can act on it.
        ViewError::TooMuch { .. } => CommandError::Refused(error.to_string()),
        other => other.into(),
    })?;
    match ran {
        Ok(finished) => Ok(Ran { finished, timeout }),
        Err(SandboxError::CannotStart { program, reason }) => Err(CommandError::Refused(not_started(&program, &reason))),
        Err(error) => Err(error.into()),
    }
}

/// Runs a check's command; a program that is not there is a failed check, a missing sandbox is not.
///
/// # Errors
/// Whatever kept the command from being tried: the check has no verdict then.
pub async fn check(sandbox: &Sandbox, place: &Place, argv: &[String], timeout: Duration) -> Result<Checked, CommandError> {
    let finished = match run(sandbox, place, argv.to_vec(), timeout).await? {
        Ok(finished) => finished,
        Err(SandboxError::CannotStart { program, reason }) => {
            return Ok(Checked { ok: false, evidence: not_started(&program, &reason), exit_code: None });
        }
        Err(error) => return Err(error.into()),
    };
    let text = finished.stdout.text();
    let cut = text.char_indices().rev().nth(EVIDENCE - 1).map_or(0, |(at, _)| at);
    let exit_code = match finished.status {
        Status::Exit(code) => Some(code),
        Status::Signal(_) | Status::TimedOut | Status::Killed(_) => None,
    };
    Ok(Checked { ok: finished.status.success(), evidence: format!("{}\n{}", ending(finished.status, timeout), &text[cut..]), exit_code })
}

/// Makes the view ready, runs the command in it, and makes what it did the view's own.
async fn run(sandbox: &Sandbox, place: &Place, argv: Vec<String>, timeout: Duration) -> Result<Result<Finished, SandboxError>, ViewError> {
    let mut spec = Spec { writable: place.writable, scratch_dir: place.scratch_dir.clone(), timeout, ..Spec::new("", argv) };
    let view = place.view.clone();
    let mut stage = blocking(move || view.stage()).await?;
    stage.set(&mut spec);
    let mut ran = sandbox.run(spec.clone()).await;
    if let Err(SandboxError::Unavailable { primitive: Primitive::Layers, why, .. }) = &ran {
        let why = why.clone();
        stage = blocking(move || Stage::without_layers(stage, why)).await?;
        spec.layers = None;
        stage.set(&mut spec);
        ran = sandbox.run(spec).await;
    }
    blocking(move || stage.finish()).await?;
    Ok(ran)
}

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(act).await.expect("work on files does not panic and is not cancelled")
}

fn not_started(program: &str, reason: &str) -> String {
    format!("cannot start {program:?}: {reason}; use a program installed on this machine, or a path inside the workspace")
}

/// The gate: what a model wrote, or the fault in words that it can act on.
fn parse(arguments: &Value) -> Result<(Vec<String>, Duration), String> {
    let Value::Object(fields) = arguments else {
        return Err("the arguments must be an object like {\"argv\": [\"cargo\", \"test\"]}".to_owned());
    };
    if let Some(unknown) = fields.keys().find(|name| !matches!(name.as_str(), "argv" | "timeout_s")) {
        return Err(format!("unknown argument {unknown:?}: run_command takes argv and timeout_s"));
    }
    let argv = match fields.get("argv") {
        Some(Value::Array(parts)) => parts
            .iter()
            .map(|part| part.as_str().map(str::to_owned))
            .collect::<Option<Vec<String>>>()
            .ok_or("argv must hold strings only")?,
        Some(Value::String(line)) => {
            let line: String = line.chars().take(80).collect();
            return Err(format!("argv must be an array of strings, not the shell line {line:?}: split it into program and arguments"));
        }
        _ => {
            return Err("argv is missing: give the program and its arguments as an array of strings".to_owned());
        }
    };
    if argv.first().is_none_or(String::is_empty) {
        return Err("argv is empty: its first entry is the program to run".to_owned());
    }
    if argv.len() > MAX_ENTRIES {
        return Err(format!("argv has {} entries, at most {MAX_ENTRIES} are allowed: name a directory or a pattern instead", argv.len()));
    }
    let bytes: usize = argv.iter().map(|part| part.len() + 1).sum();
    if bytes > MAX_BYTES {
        return Err(format!("argv has {bytes} bytes, at most {MAX_BYTES} are allowed: write long text to a file first"));
    }
    if argv.iter().any(|part| part.contains('\0')) {
        return Err("argv holds a NUL character: remove it".to_owned());
    }
    let longest = MAX_TIMEOUT.as_secs();
    let seconds = match fields.get("timeout_s") {
        None | Some(Value::Null) => 120,
        Some(value) => value
            .as_u64()
            .filter(|seconds| (1..=longest).contains(seconds))
            .ok_or_else(|| format!("timeout_s {value} is not accepted: give whole seconds from 1 to {longest}"))?,
    };
    Ok((argv, Duration::from_secs(seconds)))
}

fn ending(status: Status, timeout: Duration) -> String {
    match status {
        Status::Exit(code) => format!("exit status {code}"),
        Status::Signal(signal) => format!("ended by signal {signal}{}", signal_name(signal)),
        Status::TimedOut => format!("stopped: still running after {} s", timeout.as_secs()),
        Status::Killed(reason) => format!("stopped: {reason}"),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        2 => " (interrupt)",
        4 => " (illegal instruction)",
        6 => " (abort)",
        8 => " (arithmetic fault)",
        9 => " (kill)",
        11 => " (segmentation fault)",
        13 => " (broken pipe)",
        15 => " (terminate)",
        24 => " (processor time)",
        25 => " (file size limit)",
        31 => " (forbidden system call)",
        _ => "",
    }
}

impl Ran {
    /// All that was kept of the output.
    fn full_text(&self) -> String {
        self.finished.stdout.text()
    }

    /// What a model is shown, and the whole of the text it is cut from.
    pub fn brought(&self) -> Brought {
        let whole = Some(Whole::new(self.full_text())).filter(|whole| whole.text.len() > SHOWN);
        Brought { output: self.output(whole.as_ref()), whole, ..Brought::default() }
    }

    fn output(&self, whole: Option<&Whole>) -> ToolOutput {
        let out: &Captured = &self.finished.stdout;
        let full = self.full_text();
        let mut text = if let Some(whole) = whole {
            let way = whole.way();
            let head = &full[..floor(&full, SHOWN / 2)];
            let tail = &full[floor(&full, full.len() - SHOWN / 2)..];
            let cut = full.len() - head.len() - tail.len();
            format!("{head}\n[... {cut} bytes cut here; {way} ...]\n{tail}")
        } else {
            full
        };
        if out.dropped() > 0 {
            let bytes = out.dropped();
            text.push_str(&format!(
                "\n[{bytes} bytes in the middle were not kept: have the command write to a file, and read parts of that]"
            ));
        }
        if !out.is_utf8() {
            text.push_str("\n[the output is not UTF-8: bytes that are not are shown as \u{fffd}]");
        }
        if out.is_empty() {
            text.push_str("(no output)");
        }
        let ending = ending(self.finished.status, self.timeout);
        let truncated = whole.is_some() || out.dropped() > 0;
        if self.finished.status.success() {
            return ToolOutput { ok: true, output: format!("{ending}\n{text}"), truncated, ..ToolOutput::default() };
        }
        ToolOutput { ok: false, output: text, error: Some(ending), truncated, ..ToolOutput::default() }
    }
}

/// The last character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(status: Status, output: &[u8]) -> Ran {
        let mut stdout = Captured::new(1 << 20);
        stdout.push(output);
        Ran { finished: Finished { status, stdout, stderr: Captured::new(2), duration: Duration::ZERO }, timeout: Duration::from_secs(5) }
    }

    #[test]
    fn arguments_are_refused_by_name_with_a_remedy() {
        let refused = [
            (json!("ls"), "must be an object"),
            (json!({}), "argv is missing"),
            (json!({"argv": "ls -l"}), "not the shell line \"ls -l\""),
            (json!({"argv": []}), "argv is empty"),
            (json!({"argv": [""]}), "argv is empty"),
            (json!({"argv": ["a", 1]}), "strings only"),
            (json!({"argv": ["a\u{0}b"]}), "NUL"),
            (json!({"argv": vec!["x"; 257]}), "257 entries"),
            (json!({"argv": ["x".repeat(128 << 10)]}), "131073 bytes"),
            (json!({"argv": ["ls"], "timeout_s": 0}), "timeout_s 0"),
            (json!({"argv": ["ls"], "timeout_s": 601}), "timeout_s 601"),
            (json!({"argv": ["ls"], "timeout_s": "9"}), "whole seconds"),
            (json!({"argv": ["ls"], "cwd": "/"}), "unknown argument \"cwd\""),
        ];
        for (arguments, words) in refused {
            let error = parse(&arguments).unwrap_err();
            assert!(error.contains(words), "{arguments}: {error}");
        }
        assert_eq!(parse(&json!({"argv": ["ls"], "timeout_s": null})).unwrap().1, Duration::from_secs(120));
        assert_eq!(parse(&json!({"argv": vec!["x"; 256]})).unwrap().0.len(), 256);
    }

    #[test]
    fn the_exit_status_comes_first() {
        assert_eq!(ran(Status::Exit(0), b"fine\n").brought().output.for_model(), "exit status 0\nfine\n");
        assert_eq!(ran(Status::Exit(101), b"").brought().output.for_model(), "error: exit status 101\n(no output)");
        let killed = ran(Status::Signal(11), b"x").brought().output;
        assert_eq!(killed.error.as_deref(), Some("ended by signal 11 (segmentation fault)"));
        assert!(ran(Status::TimedOut, b"x").brought().output.for_model().contains("still running after 5 s"));
    }

    #[test]
    fn long_output_says_what_was_cut_and_how_to_get_it() {
        let long = "ä".repeat(SHOWN);
        let brought = ran(Status::Exit(0), long.as_bytes()).brought();
        let (shown, whole) = (&brought.output, brought.whole.clone().expect("it was cut"));
        assert!(shown.truncated && shown.output.len() < SHOWN + 200 && whole.text == long);
        let way = format!("bytes cut here; open_output {{\"id\": {:?}}} shows all of it", whole.id);
        assert!(shown.output.contains(&way), "{}", &shown.output[8000..8300]);
        let closed = brought.closed("run it again with less output");
        assert!(closed.whole.is_none() && closed.output.output.contains("bytes cut here; run it again with less output ..."));
        let binary = ran(Status::Exit(0), b"\xff").brought().output;
        assert!(binary.output.contains("not UTF-8"));
    }
}
