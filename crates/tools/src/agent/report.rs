//! What an agent's lines say, whatever its dialect: its answer, its usage, what it did, what it complains of.

use brigade_kernel::call::{Answer, CallError, End, ErrorClass};
use brigade_kernel::run::{Deed, ReportedWindow};
use brigade_kernel::usage::Usage;
use serde_json::Value;

use super::preset::{Complaint, Dialect};
use super::{claude, codex, plain};

/// Deeds kept of one errand: the first of them.
const MOST_DEEDS: usize = 200;
/// Longest text kept of one.
const DEED_BYTES: usize = 500;
/// Longest answer.
const ANSWER_BYTES: usize = 4 << 20;
/// Complaints kept: the last of them.
const MOST_COMPLAINTS: usize = 5;

/// What was heard so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The final answer; a later one takes the place of an earlier one.
    pub text: Option<String>,
    /// All tokens up to here.
    pub usage: Option<Usage>,
    /// The model it names.
    pub model: Option<String>,
    /// It said that it is done.
    pub finished: bool,
    /// It said that it failed.
    pub failed: bool,
    pub deeds: Vec<Deed>,
    pub complaints: Vec<String>,
    /// What its complaint means, where it says so itself.
    pub means: Option<Complaint>,
    /// How long it asks to wait.
    pub wait_s: Option<u64>,
    /// What its account tells of its quota: the last report counts.
    pub quota: Vec<ReportedWindow>,
}

impl Report {
    /// Takes in one line; what is no JSON object is somebody's stray word.
    pub fn line(&mut self, dialect: Dialect, line: &[u8]) {
        let Ok(Value::Object(line)) = serde_json::from_slice::<Value>(line) else { return };
        let line = Value::Object(line);
        match dialect {
            Dialect::Codex => codex::line(self, &line),
            Dialect::Claude => claude::line(self, &line),
            Dialect::Plain => plain::line(self, &line),
        }
    }

    pub(super) fn did(&mut self, kind: &str, what: &str, ok: Option<bool>) {
        if self.deeds.len() < MOST_DEEDS {
            self.deeds.push(Deed { kind: cut(kind, 40), what: cut(what, DEED_BYTES), ok });
        }
    }

    pub(super) fn answer(&mut self, text: &str) {
        self.text = Some(cut(text, ANSWER_BYTES));
    }

    pub(super) fn complain(&mut self, words: &str) {
        let words = cut(words.trim(), 1_000);
        if words.is_empty() || self.complaints.last() == Some(&words) {
            return;
        }
        if self.complaints.len() == MOST_COMPLAINTS {
            self.complaints.remove(0);
        }
        self.complaints.push(words);
    }

    /// Whether it reports more than it was leased.
    pub fn is_over(&self, input_tokens: u64, output_tokens: u64) -> bool {
        self.usage.is_some_and(|usage| usage.input_tokens > input_tokens || usage.output_tokens > output_tokens)
    }

    /// What came of the errand. `ended_well`: the program exited with status 0; `how` says how it ended; `stderr` is the end of that.
    pub fn outcome(&mut self, ended_well: bool, how: &str, stderr: &str, meanings: &[(String, Complaint)]) -> Result<Answer, CallError> {
        if let Some(text) = self.text.take().filter(|_| ended_well && !self.failed) {
            return Ok(Answer { text, end: End::Completed, usage: self.usage, model: self.model.take(), ..Answer::default() });
        }
        let said = self.complaints.join("; ");
        // Its own last words count for more than what else stands in its log.
        let means = |text: &str| {
            let text = text.to_lowercase();
            meanings.iter().find(|(words, _)| text.contains(words.as_str())).map(|(_, complaint)| complaint.class())
        };
        let own = self.means.map(Complaint::class);
        let class = own.or_else(|| means(&said)).or_else(|| means(stderr)).unwrap_or(ErrorClass::Garbage);
        let tail: Vec<&str> = stderr.lines().filter(|line| !line.trim().is_empty()).collect();
        let tail = tail[tail.len().saturating_sub(3)..].join(" / ");
        let parts = [how, if said.is_empty() && !self.finished { "no answer among its lines" } else { &said }, tail.as_str()];
        let message = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
        let mut error = trouble(class, &message);
        error.retry_after = self.wait_s.map(|s| brigade_kernel::time::Millis(s.min(86_400) * 1_000));
        // Turned away at the door: nothing was done, and nothing was used.
        let at_the_door = matches!(class, ErrorClass::Refused | ErrorClass::QuotaExhausted) && self.deeds.is_empty();
        error.usage = self.usage.or_else(|| at_the_door.then(Usage::default));
        Err(error)
    }
}

/// An errand without an answer.
pub(super) fn trouble(class: ErrorClass, message: &str) -> CallError {
    CallError::new(class, cut(&crate::escape_for_screen(message), 2_000))
}

/// A field that holds tokens.
pub(super) fn tokens(of: &Value, field: &str) -> Option<u64> {
    of.get(field).and_then(Value::as_u64).filter(|tokens| *tokens <= 1_000_000_000_000)
}

pub(super) fn text<'a>(of: &'a Value, field: &str) -> &'a str {
    of.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// At most so many bytes, cut at a character.
pub(super) fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = (0..=bytes).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{} …", &text[..end])
}

#[cfg(test)]
mod tests;
