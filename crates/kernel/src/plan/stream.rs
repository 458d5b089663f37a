//! A plan while it still arrives: every subtask is handed out the moment its object closes.
//!
//! Each byte is looked at once: a scanner follows depth and quotes, hands closed subtasks to the reader, and keeps what
//! stands around them (the *frame*) for the verdict at the end. Prose or a fence before and after the object is skipped.

use std::collections::HashSet;

use serde_json::Value;

use super::check::{Checked, Known, read_top, whole};
use super::fault::{Code, Fault};
use super::gate::{Author, MAX_PLAN_BYTES, fault, json};
use super::read::{Entry, read};
use super::{MAX_TEXT_BYTES, Subtask};
use crate::ids::SubtaskId;
use crate::tool::Effect;

/// Largest object of one subtask: three full texts and change.
const MAX_OBJECT_BYTES: usize = 4 * MAX_TEXT_BYTES;
/// As deep as `serde_json` reads.
const MAX_DEPTH: usize = 127;

/// What a push brought to light.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "almost every one is a subtask")]
pub enum Streamed {
    /// A subtask valid by itself; its links may still point at what has not come yet.
    Subtask(Subtask),
    /// A subtask that cannot be used; its faults come again, in the whole plan's words, from [`PlanStream::finish`].
    Faulty(Vec<Fault>),
}

/// Reads a planner's answer in whatever pieces it comes.
#[derive(Debug)]
pub struct PlanStream {
    known: Known,
    frozen: Vec<Subtask>,
    frozen_names: HashSet<String>,
    names: HashSet<String>,
    entries: Vec<Entry>,
    faults: Vec<Fault>,
    scan: Scan,
}

#[derive(Debug, Default)]
struct Scan {
    state: State,
    depth: usize,
    quoted: bool,
    escaped: bool,
    /// The plan's text with `0` in place of every subtask.
    frame: Vec<u8>,
    /// The subtask being read.
    object: Vec<u8>,
    /// The last text at depth 1, which is a key when a colon follows.
    key: Vec<u8>,
    key_open: bool,
    seen: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the object.
    #[default]
    Prose,
    /// After a `{` that may open the object.
    Maybe,
    /// Inside the object, outside the list of subtasks.
    Frame,
    /// In the list, between subtasks.
    Between,
    /// In a subtask (or whatever stands in its place).
    Object,
    /// After the object, or after a fault that ends the reading.
    Over,
}

impl PlanStream {
    /// A fresh plan.
    pub fn new(known: Known) -> Self {
        Self::after(known, Vec::new())
    }

    /// A mend or the rest of a plan whose `frozen` subtasks were accepted before: they stay as they are, and an object of
    /// the same id that comes again is passed over.
    pub fn after(known: Known, frozen: Vec<Subtask>) -> Self {
        let names: HashSet<String> = frozen.iter().map(|s| s.id.to_string()).collect();
        Self { known, frozen, frozen_names: names.clone(), names, entries: Vec::new(), faults: Vec::new(), scan: Scan::default() }
    }

    /// Takes the next piece of the answer's text.
    pub fn push(&mut self, piece: &str) -> Vec<Streamed> {
        let mut found = Vec::new();
        for &byte in piece.as_bytes() {
            if self.scan.state == State::Over {
                break;
            }
            match self.scan.byte(byte) {
                Ok(false) => {}
                Ok(true) => self.object_closed(&mut found),
                Err(fault) => {
                    self.faults.push(fault);
                    self.scan.state = State::Over;
                }
            }
        }
        found
    }

    fn object_closed(&mut self, found: &mut Vec<Streamed>) {
        let bytes = std::mem::take(&mut self.scan.object);
        let text = String::from_utf8_lossy(&bytes);
        let mut faults = Vec::new();
        let value = json(&text, &mut faults);
        let index = self.frozen.len() + self.entries.len();
        let mut entry = match value {
            Ok(value) => {
                if self.is_frozen(&value) {
                    return;
                }
                read(&value, index, Author::Planner, &self.known)
            }
            Err(fault) => {
                faults.push(fault);
                let label = format!("#{}", index + 1);
                Entry { key: None, label, links: Vec::new(), subtask: None, faults: Vec::new() }
            }
        };
        for fault in &mut faults {
            fault.subtask = Some(entry.label.clone());
        }
        if !faults.is_empty() {
            entry.subtask = None;
        }
        faults.append(&mut entry.faults);
        entry.faults = faults;
        let mut faults = entry.faults.clone();
        let mut refuse = |code, field: &str, message: &str| {
            let (subtask, field) = (Some(entry.label.clone()), Some(field.to_owned()));
            faults.push(Fault { code, subtask, field, message: message.to_owned() });
        };
        if entry.key.as_ref().is_some_and(|key| !self.names.insert(key.clone())) {
            refuse(Code::DuplicateNode, "id", "an earlier subtask has the same id; rename one");
        }
        if entry.links.iter().any(|link| Some(&link.to) == entry.key.as_ref()) {
            refuse(Code::SelfLink, "depends_on", "it depends on itself; remove the link");
        }
        if index >= self.known.max_subtasks {
            refuse(Code::TooMany, "id", "it is one subtask too many");
        }
        found.push(match &entry.subtask {
            Some(subtask) if faults.is_empty() => Streamed::Subtask(subtask.clone()),
            _ => Streamed::Faulty(faults),
        });
        if index >= self.known.max_subtasks {
            let message = format!("the plan has more than {} subtasks; split it or use for_each", self.known.max_subtasks);
            self.faults.push(Fault { field: Some("subtasks".to_owned()), ..fault(Code::TooMany, message) });
            self.scan.state = State::Over;
            return;
        }
        self.entries.push(entry);
    }

    fn is_frozen(&self, value: &Value) -> bool {
        let id = value.get("id").and_then(Value::as_str);
        id.is_some_and(|id| self.frozen_names.contains(id))
    }

    /// The answer has ended: the whole plan's verdict, frozen subtasks first.
    pub fn finish(mut self) -> Checked {
        let open = self.scan.state != State::Over;
        let mut faults = std::mem::take(&mut self.faults);
        if open {
            let what = match self.scan.state {
                State::Prose | State::Maybe => "the answer holds no JSON object",
                _ => "the answer ends before the plan is closed",
            };
            faults.push(fault(Code::BadValue, format!("{what}; answer with one object and nothing else")));
        }
        let mut top = super::check::Top::default();
        // A frame that was cut has its fault already.
        if faults.is_empty() {
            let frame = String::from_utf8_lossy(&self.scan.frame);
            match json(&frame, &mut faults) {
                Ok(value) => {
                    top = read_top(&value, Author::Planner, &mut faults).unwrap_or_default();
                    if let Some(other) = value.get("subtasks").filter(|v| !v.is_array() && !v.is_null()) {
                        let message = format!("subtasks is {}; write a list", super::fields::kind_and_value(other));
                        faults.push(Fault { field: Some("subtasks".to_owned()), ..fault(Code::BadValue, message) });
                    }
                }
                Err(fault) => faults.push(fault),
            }
        }
        let mut entries: Vec<Entry> = self.frozen.into_iter().map(Entry::of).collect();
        entries.append(&mut self.entries);
        whole(top, entries, faults, &self.known)
    }

    /// Whether a subtask may start before the plan has ended: it changes nothing, repeats at no cost, and everything it
    /// waits for has been `accepted`. (That its dependencies are done is the run's matter.)
    pub fn startable_while_streaming(&self, subtask: &Subtask, accepted: impl Fn(&SubtaskId) -> bool) -> bool {
        startable_while_streaming(subtask, &self.known, accepted)
    }
}

/// See [`PlanStream::startable_while_streaming`].
pub fn startable_while_streaming(subtask: &Subtask, known: &Known, accepted: impl Fn(&SubtaskId) -> bool) -> bool {
    let harmless = |tool: &String| match known.tools.get(tool) {
        Some(Some(Effect::Repeatable | Effect::Keyed)) => true,
        Some(Some(Effect::Unkeyed) | None) | None => false,
    };
    subtask.writes.is_empty()
        && subtask.mcp_servers.is_empty()
        && subtask.tools.iter().all(harmless)
        && subtask.depends_on.iter().all(accepted)
}

impl Scan {
    /// Takes one byte; true when `object` holds a closed subtask.
    fn byte(&mut self, byte: u8) -> Result<bool, Fault> {
        match self.state {
            State::Prose if byte == b'{' => self.state = State::Maybe,
            State::Prose | State::Over => {}
            State::Maybe if byte.is_ascii_whitespace() => {}
            State::Maybe if matches!(byte, b'"' | b'}') => {
                self.state = State::Frame;
                self.depth = 1;
                self.frame.push(b'{');
                return self.byte(byte);
            }
            State::Maybe if byte == b'{' => {}
            State::Maybe => self.state = State::Prose,
            State::Frame => {
                self.bounded()?;
                self.frame_byte(byte)?;
            }
            State::Between => {
                self.bounded()?;
                match byte {
                    b']' => {
                        self.frame.push(byte);
                        self.depth -= 1;
                        self.state = State::Frame;
                    }
                    b',' => self.frame.push(byte),
                    _ if byte.is_ascii_whitespace() => {}
                    _ => {
                        self.frame.push(b'0');
                        self.state = State::Object;
                        return self.object_byte(byte);
                    }
                }
            }
            State::Object => {
                self.bounded()?;
                return self.object_byte(byte);
            }
        }
        Ok(false)
    }

    fn bounded(&mut self) -> Result<(), Fault> {
        self.seen += 1;
        if self.seen > MAX_PLAN_BYTES {
            return Err(fault(Code::TooMany, format!("the plan has more than {MAX_PLAN_BYTES} bytes; make it shorter")));
        }
        Ok(())
    }

    fn frame_byte(&mut self, byte: u8) -> Result<(), Fault> {
        self.frame.push(byte);
        if self.quoted {
            let was_escaped = self.escaped;
            self.string_byte(byte);
            if self.depth == 1 && self.key_open {
                if self.quoted {
                    self.key.push(byte);
                } else if !was_escaped {
                    self.key_open = false;
                }
            }
            return Ok(());
        }
        match byte {
            b'"' => {
                self.quoted = true;
                self.key.clear();
                self.key_open = true;
            }
            b'{' | b'[' => {
                self.deeper()?;
                // Only a list straight after the key is the list; `key` is emptied by every comma.
                if byte == b'[' && self.depth == 2 && self.key == b"subtasks" {
                    self.state = State::Between;
                }
            }
            b'}' | b']' => {
                self.depth -= 1;
                if self.depth == 0 {
                    self.state = State::Over;
                }
            }
            b',' if self.depth == 1 => self.key.clear(),
            _ => {}
        }
        Ok(())
    }

    fn object_byte(&mut self, byte: u8) -> Result<bool, Fault> {
        if self.object.len() >= MAX_OBJECT_BYTES {
            return Err(fault(Code::BadValue, format!("a subtask has more than {MAX_OBJECT_BYTES} bytes; make it shorter")));
        }
        if self.quoted {
            self.object.push(byte);
            self.string_byte(byte);
            return Ok(false);
        }
        match byte {
            // Whatever is no object ends before the next comma or the list's end.
            b',' | b']' if self.depth == 2 => {
                self.frame.push(byte);
                self.state = State::Between;
                if byte == b']' {
                    self.depth -= 1;
                    self.state = State::Frame;
                }
                return Ok(true);
            }
            b'}' if self.depth == 2 => {
                return Err(fault(Code::BadValue, "a } among the subtasks closes nothing; answer with one JSON object".to_owned()));
            }
            b'"' => self.quoted = true,
            b'{' | b'[' => self.deeper()?,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        self.object.push(byte);
        if self.depth == 2 && matches!(byte, b'}' | b']') {
            self.state = State::Between;
            return Ok(true);
        }
        Ok(false)
    }

    fn string_byte(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => self.quoted = false,
            _ => {}
        }
    }

    fn deeper(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(fault(Code::BadValue, format!("the plan is nested deeper than {MAX_DEPTH} levels; make it flat")));
        }
        Ok(())
    }
}
