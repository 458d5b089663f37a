//! Which rule answers a request: the first that matches, with counts for `nth` and `times`.

use std::sync::{Arc, Mutex, PoisonError};

use aho_corasick::AhoCorasick;
use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use memchr::memmem::Finder;
use serde_json::Value;

use crate::ask::Ask;
use crate::catalog::Pattern;
use crate::fault::Faults;
use crate::lookup::Lookup;
use crate::refusal::Refusal;
use crate::scenario::Pace;

/// Above this many different needles one automaton beats one search each.
const MANY_NEEDLES: usize = 12;

/// Text or JSON that a script holds.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    None,
    Text(Arc<str>),
    Json(Arc<Value>),
}

/// A scripted tool call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) custom: bool,
    pub(crate) arguments: Payload,
    pub(crate) call_id: Option<String>,
}

/// A scripted error; what is absent follows from the status.
#[derive(Debug, Default, Clone)]
pub(crate) struct Error {
    pub(crate) message: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) param: Option<String>,
}

impl Error {
    /// A lone word is a code, a sentence is a message.
    pub(crate) fn from_word(word: String) -> Self {
        let code = word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if code && !word.is_empty() {
            Self { code: Some(word), ..Self::default() }
        } else {
            Self { message: Some(word), ..Self::default() }
        }
    }
}

/// Token counts a script prescribes.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct UsageScript {
    pub(crate) missing: bool,
    pub(crate) input: Option<u64>,
    pub(crate) cached: Option<u64>,
    pub(crate) cache_write: Option<u64>,
    pub(crate) output: Option<u64>,
    pub(crate) reasoning: Option<u64>,
}

/// What a rule answers.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: Option<u16>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) error: Option<Error>,
    pub(crate) body: Option<Bytes>,
    pub(crate) payload: Payload,
    pub(crate) calls: Vec<Call>,
    pub(crate) refusal: Option<String>,
    pub(crate) reasoning: Option<String>,
    pub(crate) incomplete: Option<String>,
    pub(crate) usage: UsageScript,
    pub(crate) model: Option<String>,
    pub(crate) service_tier: Option<String>,
    pub(crate) template: bool,
    pub(crate) key: Option<regex::Regex>,
    pub(crate) lookup: Option<Lookup>,
    /// Whether it says something, and is not only an error or a body.
    pub(crate) talks: bool,
}

/// One `[[rule]]`, checked.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) number: usize,
    pub(crate) model: Option<Pattern>,
    pub(crate) contains: Vec<String>,
    /// Indexes of `contains` among all needles.
    pub(crate) needles: Vec<usize>,
    pub(crate) format: Option<String>,
    pub(crate) tool_result: Option<Vec<String>>,
    pub(crate) service_tier: Option<String>,
    pub(crate) image: Option<bool>,
    pub(crate) nth: Option<u64>,
    pub(crate) times: Option<u64>,
    pub(crate) pace: Pace,
    pub(crate) faults: Faults,
    pub(crate) disobey: bool,
    pub(crate) reply: Reply,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    /// Requests that met all conditions but `nth`.
    seen: u64,
    /// Requests it answered.
    used: u64,
}

#[derive(Debug)]
enum Needles {
    Few(Vec<Finder<'static>>),
    Many { finder: Box<AhoCorasick>, count: usize },
}

/// All rules and their counts.
#[derive(Debug)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    counted: Vec<usize>,
    needles: Needles,
    counts: Mutex<Vec<Count>>,
    pub(crate) pace: Pace,
}

/// The rule that answers a request.
#[derive(Debug)]
pub(crate) struct Pick<'r> {
    pub(crate) rule: &'r Rule,
    /// The row of a lookup.
    pub(crate) found: Option<Arc<str>>,
    pub(crate) captures: Vec<String>,
    /// Rules (from 1) with `nth` that this request counted for.
    pub(crate) counted: Vec<usize>,
}

impl Rules {
    pub(crate) fn new(mut rules: Vec<Rule>, pace: Pace) -> Self {
        let mut all: Vec<String> = Vec::new();
        let mut index = std::collections::HashMap::new();
        for rule in &mut rules {
            rule.needles = rule
                .contains
                .iter()
                .map(|needle| {
                    *index.entry(needle.clone()).or_insert_with(|| {
                        all.push(needle.clone());
                        all.len() - 1
                    })
                })
                .collect();
        }
        let count = all.len();
        let many = (count > MANY_NEEDLES).then(|| AhoCorasick::new(&all).ok()).flatten();
        let needles = match many {
            Some(finder) => Needles::Many { finder: Box::new(finder), count },
            None => Needles::Few(all.iter().map(|needle| Finder::new(needle).into_owned()).collect()),
        };
        let counted = (0..rules.len()).filter(|at| rules[*at].nth.is_some()).collect();
        let counts = Mutex::new(vec![Count::default(); rules.len()]);
        Self { rules, counted, needles, counts, pace }
    }

    /// Puts counts back that a ledger has kept.
    pub(crate) fn restore(&self, number: usize, answered: bool) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = number.checked_sub(1).and_then(|at| counts.get_mut(at)) {
            if answered {
                count.used += 1;
            } else {
                count.seen += 1;
            }
        }
    }

    /// The first rule that matches; every rule with `nth` counts what meets its other conditions,
    /// also when an earlier rule answers.
    pub(crate) fn pick(&self, ask: &Ask<'_>) -> Result<Pick<'_>, Refusal> {
        let mut found = Found { needles: &self.needles, ask, seen: None };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counted = Vec::new();
        let mut missed = None;
        for (at, rule) in self.rules.iter().enumerate() {
            if rule.times.is_some_and(|times| counts[at].used >= times) || !rule.meets(ask, &mut found) {
                continue;
            }
            if let Some(nth) = rule.nth {
                counts[at].seen += 1;
                counted.push(rule.number);
                if counts[at].seen != nth {
                    continue;
                }
            }
            let Some((row, captures)) = rule.reply.find(ask) else {
                missed = Some(rule.number);
                continue;
            };
            counts[at].used += 1;
            for later in self.counted.iter().copied().filter(|later| *later > at) {
                let rule = &self.rules[later];
                if rule.meets(ask, &mut found) {
                    counts[later].seen += 1;
                    counted.push(rule.number);
                }
            }
            return Ok(Pick { rule, found: row, captures, counted });
        }
        drop(counts);
        Err(unmatched(ask, missed))
    }
}

/// Names the request, so that its author can write the missing rule.
fn unmatched(ask: &Ask<'_>, missed: Option<usize>) -> Refusal {
    let cut = |text: &str| {
        let mut short: String = text.chars().take(300).collect();
        if short.len() < text.len() {
            short.push('…');
        }
        short
    };
    let mut message = format!("no rule of the scenario matches: {} model={:?}", ask.dialect.path(), ask.model);
    if let Some(format) = &ask.format {
        message.push_str(&format!(" format={:?}", format.name));
    }
    if let Some(output) = ask.last_output() {
        message.push_str(&format!(" last tool output={:?}", cut(output)));
    }
    if ask.images > 0 {
        message.push_str(&format!(" images={}", ask.images));
    }
    message.push_str(&format!(" last message={:?}", cut(ask.last_message())));
    if let Some(rule) = missed {
        message.push_str(&format!(" (rule {rule} matched, but its lookup has no row for this request)"));
    }
    Refusal::scenario(message).code("no_rule_matches")
}

/// Needles found in a request, looked for once at most.
struct Found<'f, 'a> {
    needles: &'f Needles,
    ask: &'f Ask<'a>,
    seen: Option<Vec<bool>>,
}

impl Found<'_, '_> {
    fn has(&mut self, needle: usize) -> bool {
        match self.needles {
            Needles::Few(finders) => self.ask.newest_first().any(|piece| finders[needle].find(piece.text.as_bytes()).is_some()),
            Needles::Many { finder, count } => {
                let ask = self.ask;
                let seen = self.seen.get_or_insert_with(|| {
                    let mut seen = vec![false; *count];
                    for piece in ask.newest_first() {
                        for hit in finder.find_overlapping_iter(piece.text.as_bytes()) {
                            seen[hit.pattern().as_usize()] = true;
                        }
                    }
                    seen
                });
                seen[needle]
            }
        }
    }
}

impl Rule {
    fn meets(&self, ask: &Ask<'_>, found: &mut Found<'_, '_>) -> bool {
        self.model.as_ref().is_none_or(|model| model.matches(&ask.model))
            && self.format.as_ref().is_none_or(|name| ask.format.as_ref().is_some_and(|format| format.name == *name))
            && self.service_tier.as_ref().is_none_or(|tier| *tier == ask.service_tier)
            && self.image.is_none_or(|shown| shown == (ask.images > 0))
            && self
                .tool_result
                .as_ref()
                .is_none_or(|parts| ask.last_output().is_some_and(|output| parts.iter().all(|part| output.contains(part.as_str()))))
            && self.needles.iter().all(|needle| found.has(*needle))
    }
}

impl Reply {
    /// The row of its lookup and the captures of its key; `None` = the row is missing.
    fn find(&self, ask: &Ask<'_>) -> Option<(Option<Arc<str>>, Vec<String>)> {
        let mut captures = Vec::new();
        if let Some(key) = &self.key
            && let Some(groups) = ask.newest_first().find_map(|piece| key.captures(&piece.text))
        {
            captures = groups.iter().map(|group| group.map_or("", |group| group.as_str()).to_owned()).collect();
        }
        let row = match (&self.lookup, &self.key) {
            (None, _) => None,
            (Some(lookup), Some(_)) => Some(lookup.by_key(captures.get(1).or(captures.first())?)?),
            (Some(lookup), None) => Some(ask.newest_first().find_map(|piece| lookup.by_content(&piece.text))?),
        };
        Some((row.cloned(), captures))
    }
}
