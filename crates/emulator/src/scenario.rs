//! The scenario file: the one gate through which a script comes in.
//!
//! Everything is checked here, once, with the line and the name of what is wrong; what comes out
//! is ready to match and to send. docs/emulator.md describes the format.

mod file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};

use crate::catalog::{Catalog, EFFORTS, Model, Pattern};
use crate::fault::Faults;
use crate::limits::Limits;
use crate::lookup::Lookup;
use crate::rules::{Call, Error, Payload, Pick, Reply, Rule, Rules, UsageScript};
use file::{OneOrMany, ReplyToml, RuleToml};

/// Longest pause a script may ask for.
const LONGEST_PAUSE_MS: u64 = 3_600_000;

/// Why a scenario was refused.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file, or one it names, cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Not TOML, or a field that no one knows; the message names line and field.
    #[error("scenario refused: {0}")]
    Toml(String),
    /// A value that makes no sense.
    #[error("scenario refused, line {line}: {message}")]
    Value {
        /// Line of the rule or table, from 1.
        line: usize,
        /// Field, value and remedy.
        message: String,
    },
    /// A row of a lookup file.
    #[error("{} refused, line {line}: {message}", path.display())]
    Lookup {
        /// Which file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Field, value and remedy.
        message: String,
    },
}

/// A checked script, ready to be played.
#[derive(Debug)]
pub struct Scenario {
    pub(crate) rules: Rules,
    pub(crate) catalog: Catalog,
    pub(crate) server: ServerSettings,
    pub(crate) batches: BatchSettings,
    pub(crate) limits: Limits,
    /// Of the file's text, so that a ledger knows whether its counts belong to this script.
    pub(crate) fingerprint: u64,
}

/// `[server]`, checked.
#[derive(Debug, Default)]
pub(crate) struct ServerSettings {
    pub(crate) api_key: Option<String>,
    pub(crate) strict: bool,
    pub(crate) enforce_schema: bool,
    /// Whether `/responses/compact` is there.
    pub(crate) compaction: bool,
}

/// `[batches]`, checked.
#[derive(Debug, Default)]
pub(crate) struct BatchSettings {
    /// Whether `/files` and `/batches` are there.
    pub(crate) there: bool,
    /// How long a whole batch takes; its lines are answered evenly over it.
    pub(crate) delay_ms: u64,
    /// How long the answer to an upload takes, once the file is kept.
    pub(crate) upload_ms: u64,
    /// How long the answer takes that a batch was made, once it is made.
    pub(crate) create_ms: u64,
}

/// When things happen; absent = the next wider table's, then at once.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Pace {
    pub(crate) delay_ms: Option<u64>,
    pub(crate) first_token_ms: Option<u64>,
    pub(crate) tokens_per_s: Option<f64>,
    pub(crate) delta_tokens: Option<u64>,
}

impl Pace {
    pub(crate) fn or(self, wider: Self) -> Self {
        Self {
            delay_ms: self.delay_ms.or(wider.delay_ms),
            first_token_ms: self.first_token_ms.or(wider.first_token_ms),
            tokens_per_s: self.tokens_per_s.or(wider.tokens_per_s),
            delta_tokens: self.delta_tokens.or(wider.delta_tokens),
        }
    }

    fn check(self) -> Result<Self, String> {
        for (name, value) in [("delay_ms", self.delay_ms), ("first_token_ms", self.first_token_ms)] {
            if value.is_some_and(|value| value > LONGEST_PAUSE_MS) {
                return Err(format!("{name} is over an hour: use at most {LONGEST_PAUSE_MS}"));
            }
        }
        if let Some(rate) = self.tokens_per_s
            && !(0.01..=1e9).contains(&rate)
        {
            return Err(format!("tokens_per_s = {rate}: use a number from 0.01 up, or leave it out for no pacing"));
        }
        if self.delta_tokens == Some(0) {
            return Err("delta_tokens = 0: use at least 1".into());
        }
        Ok(self)
    }
}

impl Scenario {
    /// Reads a scenario; files it names are beside it.
    ///
    /// # Errors
    /// [`ScenarioError`], naming line, field, value and remedy.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path).map_err(|source| ScenarioError::Read { path: path.into(), source })?;
        Self::parse(&text, path.parent().unwrap_or(Path::new(".")))
    }

    /// Reads a scenario from text; files it names are in `dir`.
    ///
    /// # Errors
    /// [`ScenarioError`], naming line, field, value and remedy.
    pub fn parse(text: &str, dir: &Path) -> Result<Self, ScenarioError> {
        let file: file::FileToml = toml::from_str(text).map_err(|error| ScenarioError::Toml(error.to_string()))?;
        let line_of = |offset: usize| text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1;

        let server = file.server.unwrap_or_default();
        let value = |line: usize| move |message: String| ScenarioError::Value { line, message };
        if server.api_key.as_deref() == Some("") {
            return Err(value(1)("server.api_key is empty: leave it out to take any key".into()));
        }
        let server_pace = Pace {
            delay_ms: server.delay_ms,
            first_token_ms: server.first_token_ms,
            tokens_per_s: server.tokens_per_s,
            delta_tokens: server.delta_tokens,
        }
        .check()
        .map_err(|message| value(1)(format!("server.{message}")))?;
        let server_faults = Faults::named(&server.stream_faults).map_err(|m| value(1)(format!("server.{m}")))?;

        let batches = file.batches.unwrap_or_default();
        for (name, ms) in [("delay_ms", batches.delay_ms), ("upload_ms", batches.upload_ms), ("create_ms", batches.create_ms)] {
            if ms > LONGEST_PAUSE_MS {
                return Err(value(1)(format!("batches.{name} is over an hour: use at most {LONGEST_PAUSE_MS}")));
            }
        }

        let limits = file.limits.unwrap_or_default().check().map_err(value(1))?;
        let mut models = BTreeMap::new();
        for (name, model) in file.models {
            let line = line_of(model.span().start);
            let model = model.into_inner();
            check_model(&name, &model).map_err(value(line))?;
            models.insert(name, model);
        }
        let mut rules = Vec::with_capacity(file.rule.len());
        let mut patterns: Vec<Pattern> = Vec::new();
        for (at, rule) in file.rule.into_iter().enumerate() {
            let line = line_of(rule.span().start);
            let rule = rule.into_inner();
            if let Some(model) = &rule.when.model {
                let pattern = Pattern::new(model);
                if model != "*" && !patterns.contains(&pattern) {
                    patterns.push(pattern);
                }
            }
            rules.push(build_rule(rule, at + 1, line, dir, &server_faults)?);
        }
        let catalog = Catalog::new(models, patterns, server.any_model);
        Ok(Self {
            rules: Rules::new(rules, server_pace),
            catalog,
            limits,
            server: ServerSettings {
                api_key: server.api_key,
                strict: server.strict,
                enforce_schema: server.enforce_schema,
                compaction: !server.no_compaction,
            },
            batches: BatchSettings {
                there: !batches.none,
                delay_ms: batches.delay_ms,
                upload_ms: batches.upload_ms,
                create_ms: batches.create_ms,
            },
            fingerprint: crate::ledger::fingerprint(text.as_bytes()),
        })
    }
}

fn check_model(name: &str, model: &Model) -> Result<(), String> {
    let efforts = model.efforts.iter().flatten().chain(&model.effort);
    for effort in efforts {
        if !EFFORTS.contains(&effort.as_str()) {
            return Err(format!("models.{name}: effort {effort:?} is not one of {}", EFFORTS.join(", ")));
        }
    }
    let pace =
        Pace { delay_ms: model.delay_ms, first_token_ms: model.first_token_ms, tokens_per_s: model.tokens_per_s, delta_tokens: None };
    pace.check().map(drop).map_err(|message| format!("models.{name}.{message}"))
}

fn build_rule(rule: RuleToml, number: usize, line: usize, dir: &Path, wide: &Faults) -> Result<Rule, ScenarioError> {
    let wrong = |message: String| ScenarioError::Value { line, message: format!("rule {number}: {message}") };
    let pace = Pace {
        delay_ms: rule.delay_ms,
        first_token_ms: rule.first_token_ms,
        tokens_per_s: rule.tokens_per_s,
        delta_tokens: rule.delta_tokens,
    }
    .check()
    .map_err(wrong)?;
    if rule.when.nth == Some(0) {
        return Err(wrong("match.nth = 0: requests are counted from 1".into()));
    }
    if rule.times == Some(0) {
        return Err(wrong("times = 0: the rule would never apply; remove it".into()));
    }
    let own = Faults::named(&rule.stream_faults).map_err(wrong)?;
    let mut faults = own.and(wide);
    if faults.has_stall() {
        faults.stall_ms = rule.stall_ms;
        faults.keepalive_ms = rule.keepalive_ms.unwrap_or(1_000).max(1);
    } else if rule.stall_ms.is_some() || rule.keepalive_ms.is_some() {
        return Err(wrong("stall_ms and keepalive_ms belong to stream_faults = [\"stall\"] or [\"stall_keepalive\"]".into()));
    }
    faults.cut_after_bytes = rule.cut_after_bytes;
    let reply = build_reply(rule.reply, dir, line, number)?;
    Ok(Rule {
        number,
        model: rule.when.model.as_deref().map(Pattern::new),
        contains: rule.when.contains.map(OneOrMany::into_vec).unwrap_or_default(),
        needles: Vec::new(),
        format: rule.when.format,
        tool_result: rule.when.tool_result.map(OneOrMany::into_vec),
        service_tier: rule.when.service_tier,
        image: rule.when.image,
        nth: rule.when.nth,
        times: rule.times,
        pace,
        faults,
        disobey: rule.disobey,
        reply,
    })
}

fn build_reply(reply: ReplyToml, dir: &Path, line: usize, number: usize) -> Result<Reply, ScenarioError> {
    let wrong = |message: String| ScenarioError::Value { line, message: format!("rule {number}: reply.{message}") };
    let says = [
        ("text", reply.text.is_some()),
        ("json", reply.json.is_some()),
        ("refusal", reply.refusal.is_some()),
        ("lookup", reply.lookup.is_some()),
        ("body", reply.body.is_some()),
    ];
    let given: Vec<&str> = says.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    if given.len() > 1 {
        return Err(wrong(format!("{} and {} cannot stand together: keep one", given[0], given[1])));
    }
    let talks = given.first().is_some_and(|name| *name != "body") || reply.calls.is_some() || reply.reasoning.is_some();
    if reply.body.is_some() && (talks || reply.calls.is_some() || reply.error.is_some()) {
        return Err(wrong("body is the whole answer: remove what stands beside it".into()));
    }
    let status = match (reply.status, &reply.error) {
        (Some(status), _) if !(200..=599).contains(&status) => {
            return Err(wrong(format!("status = {status}: use 200 to 599")));
        }
        (Some(status), _) => Some(status),
        (None, _) => None,
    };
    if status.is_some_and(|status| status >= 300) && talks {
        return Err(wrong(format!("status = {} with an answer: say it with error or body", status.unwrap_or_default())));
    }
    if given.is_empty() && !talks && reply.error.is_none() && status.is_none_or(|status| status < 300) {
        return Err(wrong("is empty: give text, json, calls, refusal, lookup, status, error or body".into()));
    }
    let template = reply.template;
    let payload = if let Some(text) = reply.text {
        Payload::Text(text.into())
    } else if let Some(json) = reply.json {
        match json {
            toml::Value::String(text) => match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(_) => Payload::Text(text.into()),
                Err(error) => {
                    return Err(wrong(format!("json is a string and so must be JSON text ({error}); use text for prose")));
                }
            },
            table => Payload::Json(Arc::new(to_json(table))),
        }
    } else {
        Payload::None
    };
    let key = match reply.key {
        Some(key) => Some(regex::Regex::new(&key).map_err(|error| wrong(format!("key: {error}")))?),
        None => None,
    };
    if key.is_some() && reply.lookup.is_none() && !template {
        return Err(wrong("key does nothing without lookup or template = true".into()));
    }
    let lookup = match reply.lookup {
        Some(file) => Some(Lookup::load(&dir.join(&file), key.is_some())?),
        None => None,
    };
    let mut headers = Vec::new();
    for (name, value) in reply.headers.unwrap_or_default() {
        let value = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            _ => return Err(wrong(format!("headers.{name}: use a string or a number"))),
        };
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong(format!("headers: {name:?} is no header name")))?;
        let value = HeaderValue::from_str(&value).map_err(|_| wrong(format!("headers.{name}: {value:?} cannot stand in a header")))?;
        headers.push((header, value));
    }
    let mut calls = Vec::new();
    for call in reply.calls.unwrap_or_default() {
        if call.input.is_some() && call.arguments.is_some() {
            return Err(wrong(format!("calls: {:?} has input (custom tools) and arguments (functions): keep one", call.name)));
        }
        calls.push(Call {
            name: call.name,
            custom: call.input.is_some(),
            arguments: match (call.input, call.arguments) {
                (Some(text), _) | (None, Some(toml::Value::String(text))) => Payload::Text(text.into()),
                (None, Some(value)) => Payload::Json(Arc::new(to_json(value))),
                (None, None) => Payload::Text("{}".into()),
            },
            call_id: call.call_id,
        });
    }
    let usage = match reply.usage {
        None => UsageScript::default(),
        Some(toml::Value::Boolean(false)) => UsageScript { missing: true, ..UsageScript::default() },
        Some(toml::Value::Table(table)) => {
            let counts: file::CountsToml = table.try_into().map_err(|error| wrong(format!("usage: {error}")))?;
            UsageScript {
                missing: false,
                input: counts.input_tokens,
                cached: counts.cached_tokens,
                cache_write: counts.cache_write_tokens,
                output: counts.output_tokens,
                reasoning: counts.reasoning_tokens,
            }
        }
        Some(other) => {
            return Err(wrong(format!("usage = {other}: give a table of counts, or false for none")));
        }
    };
    if let (Some(input), Some(cached)) = (usage.input, usage.cached)
        && cached > input
    {
        return Err(wrong(format!("usage: cached_tokens = {cached} is more than input_tokens = {input}, of which it is a part")));
    }
    if let (Some(output), Some(reasoning)) = (usage.output, usage.reasoning)
        && reasoning > output
    {
        return Err(wrong(format!("usage: reasoning_tokens = {reasoning} is more than output_tokens = {output}, of which it is a part")));
    }
    if let Some(reason) = &reply.incomplete
        && !["max_output_tokens", "content_filter"].contains(&reason.as_str())
    {
        return Err(wrong(format!("incomplete = {reason:?}: use max_output_tokens or content_filter")));
    }
    let error = match reply.error {
        None => None,
        Some(toml::Value::String(word)) => Some(Error::from_word(word)),
        Some(toml::Value::Table(table)) => {
            let table: file::ErrorTable = table.try_into().map_err(|error| wrong(format!("error: {error}")))?;
            Some(Error { message: table.message, kind: table.kind, code: table.code, param: table.param })
        }
        Some(other) => {
            return Err(wrong(format!("error = {other}: give a string, or a table of message, type, code, param")));
        }
    };
    Ok(Reply {
        status,
        headers,
        error,
        body: reply.body.map(Into::into),
        payload,
        calls,
        refusal: reply.refusal,
        reasoning: reply.reasoning,
        incomplete: reply.incomplete,
        usage,
        model: reply.model,
        service_tier: reply.service_tier,
        template,
        key,
        lookup,
        talks,
    })
}

/// TOML to JSON, in the order written; dates become strings.
fn to_json(value: toml::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => serde_json::Number::from_f64(number).map_or(Value::Null, Value::Number),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(date) => Value::String(date.to_string()),
        toml::Value::Array(values) => Value::Array(values.into_iter().map(to_json).collect()),
        toml::Value::Table(table) => Value::Object(table.into_iter().map(|(key, value)| (key, to_json(value))).collect()),
    }
}

impl Scenario {
    /// Chooses the rule for a request; the counts it changed are in the pick.
    pub(crate) fn pick(&self, ask: &crate::ask::Ask<'_>) -> Result<Pick<'_>, crate::refusal::Refusal> {
        self.rules.pick(ask)
    }
}
