//! A world in miniature: performs the actions of a run on a virtual clock, with answers from a script.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::call::{Answer, Call, CallError, End, ErrorClass, Item, Service, Speaker};
use crate::catalog::Catalog;
use crate::ids::{ModelRef, RunId, SubtaskId, Tier};
use crate::image::{Image, MediaType};
use crate::plan::{self, Author, Format, Known, Subtask};
use crate::policy::Policy;
use crate::run::*;
use crate::schedule::{Class, Gate, Pass, Passed, Visitor};
use crate::time::{Millis, Timestamp};
use crate::tool::{Effect, ToolOutput, ToolSpec};
use crate::units::NanoUsd;
use crate::usage::Usage;
use crate::view::public;

/// The run, as its account sees it.
const ME: Visitor = Visitor { id: 1, process: (1, 1), class: Class::Interactive };

/// A day on which the catalog's models have prices.
pub const START: Timestamp = Timestamp(1_795_219_200_000);

/// One call as the script sees it.
pub struct Asked<'a> {
    pub caller: &'a Caller,
    pub call: &'a Call,
    /// How many calls were made before it for the same subtask, row or role.
    pub nth: u32,
}

impl Asked<'_> {
    pub fn subtask(&self) -> &str {
        match self.caller {
            Caller::Executor { unit, .. } => unit.subtask.as_str(),
            _ => "",
        }
    }
    pub fn row(&self) -> Option<u64> {
        match self.caller {
            Caller::Executor { unit, .. } => unit.row,
            _ => None,
        }
    }
    pub fn is(&self, subtask: &str) -> bool {
        self.subtask() == subtask
    }
    /// Everything the model is shown.
    pub fn text(&self) -> String {
        let mut text = self.call.instructions.clone();
        for item in &self.call.items {
            match item {
                Item::Message { text: t, .. } => text.push_str(t),
                Item::ToolOutput { output, .. } => text.push_str(output),
                _ => {}
            }
        }
        text
    }
}

/// What comes back, after how long.
pub struct Reply_ {
    pub answer: Result<Answer, CallError>,
    pub ms: u64,
    /// When its first content comes, where somebody waits for it.
    pub first: u64,
    /// Pieces of a planner's answer and when they arrive.
    pub stream: Vec<(u64, String)>,
}

pub fn say(text: impl Into<String>) -> Reply_ {
    let text = text.into();
    let items = vec![Item::message(Speaker::Assistant, text.clone())];
    let usage = Some(Usage { input_tokens: 300, output_tokens: 50, ..Usage::default() });
    Reply_ { answer: Ok(Answer { text, items, usage, ..Answer::default() }), ms: 100, first: 40, stream: Vec::new() }
}

pub fn call_tool(id: &str, name: &str, arguments: Value) -> Reply_ {
    let mut reply = say("");
    let item = Item::ToolCall { call_id: id.to_owned(), name: name.to_owned(), arguments: arguments.to_string() };
    if let Ok(answer) = &mut reply.answer {
        answer.items = vec![item];
    }
    reply
}

pub fn end(status: &str, reason: &str) -> Reply_ {
    call_tool("end-1", "end", json!({"status": status, "reason": reason}))
}

pub fn error(class: ErrorClass) -> Reply_ {
    let status = match class {
        ErrorClass::RateLimited | ErrorClass::QuotaExhausted => Some(429),
        ErrorClass::Refused => Some(401),
        ErrorClass::Server => Some(500),
        ErrorClass::UnsupportedField | ErrorClass::BadRequest | ErrorClass::ContextTooLong | ErrorClass::LostReference => Some(400),
        _ => None,
    };
    let error = CallError {
        class,
        message: "verbosity is not supported".to_owned(),
        status,
        code: None,
        param: None,
        retry_after: None,
        usage: None,
        sent: true,
        provider_request_id: None,
        limits: None,
    };
    Reply_ { answer: Err(error), ms: 50, first: 50, stream: Vec::new() }
}

impl Reply_ {
    pub fn after(mut self, ms: u64) -> Self {
        self.ms = ms;
        self
    }
    pub fn first(mut self, ms: u64) -> Self {
        self.first = ms;
        self
    }
    pub fn ends(mut self, end: End) -> Self {
        if let Ok(answer) = &mut self.answer {
            answer.end = end;
        }
        self
    }
    pub fn usage(mut self, usage: Option<Usage>) -> Self {
        if let Ok(answer) = &mut self.answer {
            answer.usage = usage;
        }
        self
    }
    /// Sent in pieces, so many ms apart.
    pub fn streamed(mut self, pieces: usize, every: u64) -> Self {
        let text = self.answer.as_ref().map(|a| a.text.clone()).unwrap_or_default();
        let size = text.len().div_ceil(pieces).max(1);
        let bytes: Vec<char> = text.chars().collect();
        self.stream = bytes.chunks(size).enumerate().map(|(n, c)| ((n as u64 + 1) * every, c.iter().collect())).collect();
        self.ms = (self.stream.len() as u64 + 1) * every;
        self
    }
}

pub fn review(verdict: &str) -> Value {
    json!({"summary": "looked at it", "verdict": verdict, "revisions": [], "add": [], "final_output": "the end"})
}

/// What each call of a batch brings.
pub type Lines = Vec<(CallNo, Result<Answer, CallError>)>;
pub type Script = Box<dyn FnMut(&Asked<'_>) -> Reply_>;
pub type ToolScript = Box<dyn FnMut(&str, &str, &str) -> (ToolOutput, bool)>;
/// A tree: what is in which file.
pub type Files = BTreeMap<String, String>;
/// The tree without changes.
pub const BASE: &str = "t0";
pub type ComposedScript = Box<dyn FnMut(&Unit, &[String], &Files) -> (Verdict, String)>;
pub type ErrandScript = Box<dyn FnMut(&str, u32) -> Vec<(&'static str, String)>>;
pub type CheckScript = Box<dyn FnMut(&Unit, u32, &Check) -> (Verdict, String)>;

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Due(u64, u64);

pub struct World {
    pub run: Run,
    pub now: Timestamp,
    pub catalog: Arc<Catalog>,
    pub tools: Arc<[ToolSpec]>,
    pub durable: Vec<Stamped>,
    pub script: Script,
    pub on_tool: ToolScript,
    pub on_check: CheckScript,
    /// What an agent writes in an attempt: path and text.
    pub on_errand: ErrandScript,
    /// What an agent's account tells after each errand.
    pub on_report: Box<dyn FnMut(Timestamp) -> Vec<ReportedWindow>>,
    /// Tools that do their work and never answer.
    pub mute: Vec<&'static str>,
    /// Calls are not cut in time: what they bring still comes.
    pub late: bool,
    pub rows: Vec<Value>,
    pub slots: Option<u32>,
    /// The account all models are on, when all errors are its refusals.
    pub account: Option<Gate>,
    /// Passes of its calls in flight.
    passes: HashMap<CallNo, Pass>,
    /// Providers whose account is closed.
    pub closed: BTreeSet<String>,
    pub most_in_flight: u32,
    in_flight: u32,
    queue: BinaryHeap<Reverse<(Due, usize)>>,
    facts: Vec<Option<Fact>>,
    seq: u64,
    asked: HashMap<String, u32>,
    /// Every call made: number, caller, tier, what was shown.
    pub calls: Vec<(CallNo, Caller, Tier, Call)>,
    pub trees: BTreeMap<String, Files>,
    /// A view for each unit that works in one.
    pub views: BTreeMap<Unit, Files>,
    /// What each attempt of a unit started from, and what it hung on then.
    pub started: Vec<(Unit, String, std::collections::BTreeSet<Key>)>,
    pub stored: Vec<Files>,
    pub on_composed: ComposedScript,
    pub turns: u32,
    /// In this turn nothing is performed any more: the process dies behind the journal's answer.
    pub dies_at: Option<u32>,
    /// Calls that are gathered here and not sent.
    lines: BTreeMap<CallNo, Prepared>,
    /// Batches at the provider by our name: what each call brings. They outlive this process.
    pub provider: BTreeMap<String, Lines>,
    /// Refuses every batch.
    pub no_batches: Option<ErrorClass>,
    /// How long a batch takes.
    pub batch_ms: u64,
    /// Something was said since the last turn.
    fresh: bool,
    /// Looked at after every turn.
    pub watch: fn(&World),
    /// What a plan is expected to cost.
    pub price: NanoUsd,
}

pub fn tools() -> Arc<[ToolSpec]> {
    let tool = |name: &str, effect| ToolSpec {
        name: name.to_owned(),
        description: "a tool".to_owned(),
        parameters: json!({"type": "object"}).into(),
        effect,
        images: false,
    };
    vec![
        tool("search", Effect::Repeatable),
        tool("read_file", Effect::Repeatable),
        tool("write_file", Effect::Keyed),
        tool("run_command", Effect::Keyed),
        tool("send_mail", Effect::Unkeyed),
        tool("ask", Effect::Repeatable),
        tool("mcp__docs__find", Effect::Unkeyed),
        tool("mcp__docs__note", Effect::Keyed),
        tool("mcp__mail__send", Effect::Unkeyed),
        tool("open_output", Effect::Repeatable),
        ToolSpec { images: true, ..tool("view_image", Effect::Repeatable) },
        ToolSpec { images: true, ..tool("mcp__eyes__shot", Effect::Unkeyed) },
    ]
    .into()
}

pub fn image(width: u32, height: u32) -> Image {
    Image { blob: "b".repeat(64), media_type: MediaType::Png, width, height, bytes: 1_000 }
}

pub fn policy() -> Policy {
    let rung = |tier: &str, model: &str| (Tier::new(tier).unwrap(), ModelRef::new(model).unwrap());
    Policy::standard([rung("nano", "openai/gpt-5.4-nano"), rung("mini", "openai/gpt-5.4-mini"), rung("flagship", "openai/gpt-5.4")])
}

pub fn subtasks(value: Value) -> Vec<Subtask> {
    let text = json!({ "subtasks": value }).to_string();
    let known = Known::new(tools().iter());
    let checked = plan::check(&plan::parse(&text, Format::Json, Author::Person), &known);
    checked.plan.unwrap_or_else(|| panic!("{:?}", checked.faults)).subtasks
}

pub fn id(name: &str) -> SubtaskId {
    SubtaskId::new(name).unwrap()
}

impl World {
    pub fn new(policy: Policy, planned: bool) -> Self {
        Self::started_with(policy, planned, |_| {})
    }

    /// A run that starts with something more.
    pub fn started_with(policy: Policy, planned: bool, alter: impl FnOnce(&mut RunStarted)) -> Self {
        let catalog = Arc::new(Catalog::built_in().with_vendor("other", "openai"));
        let tools = tools();
        let mut run = Run::new(catalog.clone(), tools.clone());
        let mut start = RunStarted {
            run: RunId::new("r0000000000000000001").unwrap(),
            request: "Do the {{work}}, please".to_owned(),
            images: Vec::new(),
            planned,
            workspace: "/nowhere".to_owned(),
            listing: String::new(),
            instructions: Arc::default(),
            roles: String::new(),
            pipeline: None,
            policy: Arc::new(policy),
            input: None,
            apply: true,
            branch: false,
            continues: None,
            offline: None,
            reuse: false,
            wait: false,
        };
        alter(&mut start);
        run.start(start, START);
        Self {
            run,
            now: START,
            catalog,
            tools,
            durable: Vec::new(),
            script: Box::new(usual),
            mute: Vec::new(),
            late: false,
            on_errand: Box::new(|_, _| Vec::new()),
            on_report: Box::new(|_| Vec::new()),
            on_tool: Box::new(|_, name, _| {
                (ToolOutput { ok: true, output: "found".to_owned(), ..ToolOutput::default() }, name.starts_with("write"))
            }),
            on_check: Box::new(|_, _, _| (Verdict::Pass, String::new())),
            rows: Vec::new(),
            slots: None,
            account: None,
            passes: HashMap::new(),
            closed: BTreeSet::new(),
            most_in_flight: 0,
            in_flight: 0,
            queue: BinaryHeap::new(),
            facts: Vec::new(),
            seq: 0,
            asked: HashMap::new(),
            calls: Vec::new(),
            trees: BTreeMap::from([(BASE.to_owned(), Files::new())]),
            views: BTreeMap::new(),
            started: Vec::new(),
            stored: Vec::new(),
            on_composed: Box::new(|_, _, _| (Verdict::Pass, String::new())),
            turns: 0,
            dies_at: None,
            lines: BTreeMap::new(),
            provider: BTreeMap::new(),
            no_batches: None,
            batch_ms: 60_000,
            fresh: true,
            watch: |_| {},
            price: NanoUsd::ZERO,
        }
    }

    /// A run of a hand-written plan under the standard policy.
    pub fn given(plan: Value) -> Self {
        Self::given_under(policy(), plan)
    }

    pub fn given_under(policy: Policy, plan: Value) -> Self {
        let mut world = Self::new(policy, false);
        world.give(plan, BulkRules::default());
        world
    }

    pub fn give(&mut self, plan: Value, bulk: BulkRules) {
        let fact = Fact::PlanGiven { subtasks: subtasks(plan), notes: String::new(), bulk, warnings: Vec::new() };
        self.run.hear(fact, self.now);
    }

    /// A run whose plan the planner writes.
    pub fn planned() -> Self {
        Self::new(policy(), true)
    }

    pub fn script(mut self, script: impl FnMut(&Asked<'_>) -> Reply_ + 'static) -> Self {
        self.script = Box::new(script);
        self
    }

    pub fn hear(&mut self, fact: Fact) {
        self.fresh = true;
        self.run.hear(fact, self.now);
    }

    fn later(&mut self, ms: u64, fact: Fact) {
        self.seq += 1;
        self.facts.push(Some(fact));
        self.queue.push(Reverse((Due(self.now.0 + ms, self.seq), self.facts.len() - 1)));
    }

    fn tree_name(&mut self, files: &Files) -> String {
        // Equal contents have equal names.
        if let Some((name, _)) = self.trees.iter().find(|(_, there)| *there == files) {
            return name.clone();
        }
        let name = format!("t{}", self.trees.len());
        self.trees.insert(name.clone(), files.clone());
        name
    }

    /// Parts laid onto the base, three-way per file; a file holds one thing.
    pub fn compose(&self, parts: &[Part]) -> (Files, Vec<Conflict>) {
        let (mut files, mut by, mut conflicts) = (Files::new(), BTreeMap::<String, Unit>::new(), Vec::new());
        for part in parts {
            let (from, to) = (&self.trees[part.from.as_deref().unwrap_or(BASE)], &self.trees[&part.to]);
            let paths: std::collections::BTreeSet<&String> = from.keys().chain(to.keys()).collect();
            for path in paths.into_iter().filter(|path| from.get(*path) != to.get(*path)) {
                let now = files.get(path);
                if now == from.get(path) {
                    match to.get(path) {
                        Some(new) => drop(files.insert(path.clone(), new.clone())),
                        None => drop(files.remove(path)),
                    }
                } else if now != to.get(path) {
                    let both = format!("<<<{now:?}==={:?}>>>", to.get(path));
                    files.insert(path.clone(), both);
                    let first = by.get(path).cloned().unwrap_or_else(|| part.unit.clone());
                    conflicts.push(Conflict { path: path.clone(), first, second: part.unit.clone() });
                }
                by.insert(path.clone(), part.unit.clone());
            }
        }
        (files, conflicts)
    }

    fn sides(&self, conflicts: &[Conflict]) -> Vec<Side> {
        let units: std::collections::BTreeSet<&Unit> = conflicts.iter().flat_map(|c| [&c.first, &c.second]).collect();
        units.into_iter().map(|unit| Side { unit: unit.clone(), diff: format!("diff of {unit}") }).collect()
    }

    /// The view of a unit, put back to what is on record when another process made it.
    fn view(&mut self, unit: &Unit) -> &mut Files {
        let state = self.run.state();
        let attempt = state.key(unit).and_then(|key| state.work.get(&key)).and_then(|w| w.attempt.as_ref());
        let tree = attempt.and_then(|a| a.tree.clone()).unwrap_or_else(|| BASE.to_owned());
        let there = self.trees[&tree].clone();
        self.views.entry(unit.clone()).or_insert(there)
    }

    /// Writes into a view as far as the gate of the tools lets it.
    fn write(&mut self, unit: &Unit, attempt: u32, call_id: &str, name: &str, arguments: &str) {
        let state = self.run.state();
        let Some(spec) = state.key(unit).map(|key| state.task(key).spec.clone()) else { return };
        let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
        let scope = spec.writes.first().map(|glob| glob.replace("**", unit.subtask.as_str()));
        let Some(path) = arguments["path"].as_str().map(str::to_owned).or(scope) else { return };
        if name != "run_command" && !plan::outside(&spec.writes, std::slice::from_ref(&path)).is_empty() {
            return;
        }
        let content = arguments["content"].as_str().map_or_else(|| format!("{unit}:{attempt}:{call_id}"), str::to_owned);
        self.view(unit).insert(path, content);
    }

    /// Decides, makes it durable, performs it.
    pub fn turn(&mut self) {
        self.turns += 1;
        let mut jobs = Vec::new();
        for round in 0.. {
            assert!(round < 10_000, "step never rests");
            let (slots, mut in_flight, now) = (self.slots, self.in_flight, self.now);
            let (account, closed) = (&mut self.account, &self.closed);
            let mut passes = VecDeque::new();
            let actions = self.run.step(now, &mut |model| {
                if closed.contains(model.provider()) {
                    return Door::Closed;
                }
                if slots.is_some_and(|s| in_flight >= s) {
                    return Door::Wait;
                }
                if let Some(account) = account {
                    let Ok(pass) = account.enter(&ME, now) else { return Door::Closed };
                    passes.push_back(pass);
                }
                in_flight += 1;
                Door::Open
            });
            self.in_flight = in_flight;
            if actions.is_empty() {
                break;
            }
            for action in actions {
                let prepared = match &action {
                    Action::Call { caller } => self.run.prepare(caller, &Fetched::default()),
                    Action::Hedge { of, caller, model } => self.run.prepare_hedge(*of, caller, model, &Fetched::default()),
                    _ => {
                        jobs.push(Ok(action));
                        continue;
                    }
                };
                let pass = passes.pop_front();
                let prepared = match prepared {
                    Ok(prepared) => prepared,
                    Err(why) => {
                        self.in_flight -= 1;
                        self.leave(pass, Passed::Unsent);
                        self.run.cannot_call(why.to_string(), self.now);
                        continue;
                    }
                };
                if prepared.call.service == Service::Batch {
                    if let Some(no) = self.run.begin_call(&prepared, None, self.now) {
                        self.calls.push((no, prepared.caller.clone(), prepared.tier.clone(), prepared.call.clone()));
                        self.lines.insert(no, prepared);
                    }
                    continue;
                }
                match self.run.begin_call(&prepared, None, self.now) {
                    Some(no) => {
                        self.passes.extend(pass.map(|pass| (no, pass)));
                        jobs.push(Err((no, prepared)));
                    }
                    None => {
                        self.in_flight -= 1;
                        self.leave(pass, Passed::Unsent);
                    }
                }
            }
        }
        self.most_in_flight = self.most_in_flight.max(self.in_flight);
        let events = self.run.take_events();
        self.durable.extend(events);
        if self.dies_at == Some(self.turns) {
            return;
        }
        for job in jobs {
            match job {
                Ok(action) => self.act(action),
                Err((no, prepared)) => self.ask(no, &prepared),
            }
        }
        let outrun: Vec<CallNo> = self.run.outrun().collect();
        for call in if self.late { Vec::new() } else { outrun } {
            let of = |fact: &Option<Fact>| matches!(fact, Some(Fact::Answered { call: no, .. }) if *no == call);
            if let Some(n) = self.facts.iter().position(of) {
                self.facts[n] = None;
                let answer = error(ErrorClass::Cancelled).answer;
                self.later(1, Fact::Answered { call, answer, ms: Millis(1), first_ms: None, worked: None });
            }
        }
        (self.watch)(self);
    }

    /// The script's answer to a line.
    fn line(&mut self, prepared: &Prepared) -> Result<Answer, CallError> {
        let Caller::Executor { unit, .. } = &prepared.caller else { unreachable!("only rows travel") };
        let nth = self.asked.entry(unit.to_string()).or_default();
        let asked = Asked { caller: &prepared.caller, call: &prepared.call, nth: *nth };
        *nth += 1;
        let reply = (self.script)(&asked);
        reply.answer.map(|answer| Answer { service: Some(Service::Batch), ..answer })
    }

    /// What became of a batch comes in: at once what it is called, after a while its lines in another order.
    fn batch(&mut self, batch: u32, key: &str, calls: &[CallNo], fresh: bool) {
        if let Some(class) = self.no_batches.filter(|_| fresh) {
            let error = CallError { status: Some(400), ..CallError::new(class, "no batches here") };
            return self.later(5, Fact::BatchOver { batch, end: BatchEnd::NotTaken(error) });
        }
        if fresh {
            let lines: Vec<(CallNo, Prepared)> = calls.iter().map(|no| (*no, self.lines.remove(no).expect("gathered here"))).collect();
            let answers = lines.iter().map(|(no, prepared)| (*no, self.line(prepared))).collect();
            assert!(self.provider.insert(key.to_owned(), answers).is_none(), "{key} is sent twice");
        }
        let Some(answers) = self.provider.get(key).cloned() else {
            let error = CallError { sent: false, ..CallError::new(ErrorClass::Cancelled, "nobody knows it") };
            return self.later(5, Fact::BatchOver { batch, end: BatchEnd::NotTaken(error) });
        };
        self.later(10, Fact::BatchCreated { batch, id: format!("batch_{key}") });
        let ms = self.batch_ms;
        self.later(ms, Fact::BatchLands { batch });
        for (n, (call, answer)) in answers.into_iter().rev().enumerate() {
            let at = ms + n as u64 / 10;
            self.later(at, Fact::Answered { call, answer, ms: Millis(at), first_ms: None, worked: None });
        }
        self.later(ms + 10_000, Fact::BatchOver { batch, end: BatchEnd::Over { status: "completed".to_owned() } });
    }

    fn ask(&mut self, no: CallNo, prepared: &Prepared) {
        let who = match &prepared.caller {
            Caller::Executor { unit, .. } => unit.to_string(),
            other => format!("{other:?}"),
        };
        let nth = self.asked.entry(who).or_default();
        let asked = Asked { caller: &prepared.caller, call: &prepared.call, nth: *nth };
        *nth += 1;
        let reply = (self.script)(&asked);
        self.calls.push((no, prepared.caller.clone(), prepared.tier.clone(), prepared.call.clone()));
        for (at, text) in reply.stream {
            self.later(at, Fact::PlannerSaid { call: no, text });
        }
        if self.run.is_awaited(no) && reply.first < reply.ms {
            self.later(reply.first, Fact::FirstContent { call: no });
        }
        let worked = self.errand(prepared, reply.answer.is_ok());
        self.later(reply.ms, Fact::Answered { call: no, answer: reply.answer, ms: Millis(reply.ms), first_ms: None, worked });
    }

    /// As runtime does it: the view is set to the tree on record, and counts only with an answer.
    fn errand(&mut self, prepared: &Prepared, answered: bool) -> Option<Box<Handiwork>> {
        self.run.state().start().policy.agent(&prepared.call.model)?;
        let mut worked =
            Handiwork { deeds: vec![Deed { kind: "command".to_owned(), what: "make".to_owned(), ok: None }], ..Handiwork::default() };
        worked.quota = (self.on_report)(self.now);
        let Caller::Executor { unit, attempt } = &prepared.caller else { return Some(Box::new(worked)) };
        self.views.remove(unit);
        for (path, text) in (self.on_errand)(unit.subtask.as_str(), *attempt) {
            self.view(unit).insert(path.to_owned(), text);
        }
        let spec = self.run.state().key(unit).map(|key| self.run.state().task(key).spec.clone());
        if answered && spec.is_some_and(|spec| may_write(&spec)) {
            (worked.tree, worked.changed) = self.measured(unit);
        }
        Some(Box::new(worked))
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Gather { unit, view, start, onto, images, .. } => {
                let (files, conflicts) = match &onto {
                    Some(tree) => (self.trees[tree].clone(), Vec::new()),
                    None => self.compose(&start),
                };
                let tree = self.tree_name(&files);
                if view {
                    self.views.insert(unit.clone(), files);
                }
                if onto.is_none() {
                    let state = self.run.state();
                    let before = state.key(&unit).map(|key| state.before(key)).unwrap_or_default();
                    self.started.push((unit.clone(), tree.clone(), before));
                }
                let sides = self.sides(&conflicts);
                let images = images.iter().map(|path| GatheredImage { path: path.clone(), image: image(1920, 1080) }).collect();
                self.later(1, Fact::Gathered { unit, parts: Vec::new(), images, tree: Some(tree), start, conflicts, sides });
            }
            Action::Tool { unit, attempt, call_id, name, arguments, writes, reset_to, opens } => {
                if let Some(to) = reset_to {
                    self.views.insert(unit.clone(), self.trees[&to].clone());
                }
                let (mut output, changes) = (self.on_tool)(unit.subtask.as_str(), &name, &arguments);
                // A cut output says how it is opened, as the real tools do.
                let saved = output.truncated.then(|| Saved { id: "out-1".to_owned(), blob: "a blob".to_owned() });
                if let Some(opens) = opens {
                    output.output = format!("{opens:?}");
                }
                if changes {
                    self.write(&unit, attempt, &call_id, &name, &arguments);
                }
                if self.mute.contains(&name.as_str()) {
                    return self.later(5, Fact::ToolUnknown { unit, call_id, why: "no answer for 60 s".to_owned() });
                }
                let (tree, changed) = if writes { self.measured(&unit) } else { (None, None) };
                self.later(5, Fact::ToolDone { unit, attempt, call_id, output, saved, tree, changed, ms: Millis(5) });
            }
            Action::Check { unit, attempt, check } => {
                let (verdict, evidence) = match &check {
                    Check::Markers { files } => {
                        let view = self.view(&unit).clone();
                        let left: Vec<&String> = files.iter().filter(|path| view.get(*path).is_some_and(|t| t.contains("<<<"))).collect();
                        (if left.is_empty() { Verdict::Pass } else { Verdict::Fail }, format!("{left:?}"))
                    }
                    _ => (self.on_check)(&unit, attempt, &check),
                };
                self.later(10, Fact::Checked { unit, attempt, check: check.name(), verdict, evidence, ms: Millis(10) });
            }
            Action::ReadRows { source, from, count, list, with } => {
                let input = || {
                    let total = self.rows.len() as u64;
                    let row = |row| RowRead { row, item: Ok(Arc::new(self.rows[row as usize].clone())), kept: Vec::new() };
                    ((from..total.min(from + count)).map(row).collect(), (from + count >= total).then_some(total))
                };
                let (mut rows, total) = list.map_or_else(input, |rows| (rows, Some(count)));
                for row in &mut rows {
                    row.kept = with.iter().filter_map(|subtask| self.on_record(subtask, row.row)).collect();
                }
                self.later(1, Fact::RowsRead { source, rows, total });
            }
            Action::Compose { parts } => {
                let (files, conflicts) = self.compose(&parts);
                let tree = self.tree_name(&files);
                let sides = self.sides(&conflicts);
                self.later(1, Fact::Composed { parts, tree, conflicts, sides });
            }
            Action::CheckComposed { unit, argv, tree } => {
                let (verdict, evidence) = (self.on_composed)(&unit, &argv, &self.trees[&tree]);
                self.later(10, Fact::ComposedChecked { unit, check: argv.join(" "), verdict, evidence, ms: Millis(10) });
            }
            Action::Price => {
                let expected = Estimate { cost: self.price, ..Estimate::default() };
                self.later(5, Fact::Priced(Ok(Box::new(Preview { expected, ..Preview::default() }))));
            }
            Action::StorePatch { tree } => {
                let files = self.trees[&tree].clone();
                let names = files.keys().cloned().collect();
                self.stored.push(files);
                self.later(1, Fact::PatchStored { blob: "blob".to_owned(), files: names });
            }
            Action::ApplyPatch { .. } => self.later(1, Fact::PatchApplied { error: None }),
            Action::Batch { batch, key, calls, fresh, .. } => self.batch(batch, &key, &calls, fresh),
            Action::Call { .. } | Action::Hedge { .. } => unreachable!("calls are asked"),
        }
    }

    /// A unit's tree now, and all it changed in this attempt.
    fn measured(&mut self, unit: &Unit) -> (Option<String>, Option<Changed>) {
        let files = self.view(unit).clone();
        let state = self.run.state();
        let base = state.key(unit).and_then(|key| state.work.get(&key)).and_then(|w| w.base_tree.clone());
        let from = base.map(|tree| self.trees[&tree].clone()).unwrap_or_default();
        let paths: Vec<String> = files.iter().filter(|(path, text)| from.get(*path) != Some(*text)).map(|(path, _)| path.clone()).collect();
        let lines = paths.iter().map(|path| files[path].lines().count() as u64).sum();
        (Some(self.tree_name(&files)), Some(Changed { paths, lines }))
    }

    /// The last word on a row.
    fn on_record(&self, wanted: &SubtaskId, of: u64) -> Option<Kept> {
        self.durable.iter().rev().find_map(|stamped| match &stamped.event {
            Event::SubtaskEnded { unit: Unit { subtask, row: Some(row) }, status, output, .. } if subtask == wanted && *row == of => {
                Some(Kept { subtask: subtask.clone(), status: *status, output: output.as_str().into() })
            }
            _ => None,
        })
    }

    /// Delivers what is due next, all that is due at the same moment. `false`: nothing is.
    pub fn advance(&mut self) -> bool {
        let Some(Reverse((Due(at, _), _))) = self.queue.peek() else { return false };
        let at = *at;
        self.now = self.now.max(Timestamp(at));
        while let Some(Reverse((Due(next, _), n))) = self.queue.peek()
            && *next <= at
        {
            let n = *n;
            self.queue.pop();
            // Calls that were cut have said so already.
            let Some(fact) = self.facts[n].take() else { continue };
            if let Fact::Answered { answer, call, .. } = &fact
                && self.run.state().calls.get(call).is_some_and(|flight| flight.batch.is_none())
            {
                self.in_flight -= 1;
                let passed = match answer {
                    Ok(_) => Passed::Served { timing: None },
                    Err(e) => Passed::Refused { retry_after: e.retry_after },
                };
                let pass = self.passes.remove(call);
                self.leave(pass, passed);
            }
            self.run.hear(fact, self.now);
        }
        true
    }

    fn leave(&mut self, pass: Option<Pass>, passed: Passed) {
        if let Some((account, pass)) = self.account.as_mut().zip(pass) {
            account.leave(ME.id, pass, passed, None, Millis(0), self.now);
        }
    }

    /// Works until the run ends or pauses.
    pub fn go(&mut self) -> RunSummary {
        self.go_for(2_000_000).expect("the run neither ends nor pauses")
    }

    /// Works so many turns, or to the end.
    pub fn go_for(&mut self, turns: u32) -> Option<RunSummary> {
        for _ in 0..turns {
            if !std::mem::take(&mut self.fresh) {
                self.pass_time();
            }
            self.turn();
            if let Some(ended) = &self.run.state().ended {
                assert_eq!(ended.waited.calls, 0, "nobody is called for who waits");
                self.fresh = true;
                return Some(ended.clone());
            }
        }
        None
    }

    /// To the next moment at which anything happens.
    fn pass_time(&mut self) {
        let opens = self.account.as_ref().and_then(Gate::opens_at);
        let wakes = [self.run.wakes_at(), opens].into_iter().flatten().filter(|at| *at > self.now).min();
        let next = self.queue.peek().map(|Reverse((Due(at, _), _))| Timestamp(*at));
        match (next, wakes) {
            (Some(next), Some(wakes)) if wakes < next => self.now = wakes,
            (Some(_), _) => {
                self.advance();
            }
            (None, Some(wakes)) => self.now = wakes,
            (None, None) => {
                let from = self.durable.len().saturating_sub(25);
                let last: Vec<String> = self.durable[from..].iter().map(|s| format!("{:.400}", format!("{:?}", s.event))).collect();
                let s = self.run.state();
                panic!(
                    "stuck: phase {:?} desk {:?} inbox {:?} ready {:?} call {:?} calls {:?} room {} session {:?} status {:?} sources {:?} work {:?}\n{}",
                    s.phase,
                    (&s.desk.job, s.desk.stage),
                    s.inbox,
                    s.ready,
                    s.to_call,
                    s.calls,
                    self.run.room(),
                    self.run.session,
                    s.tasks.iter().map(|t| t.status).collect::<Vec<_>>(),
                    s.sources,
                    s.work,
                    last.join("\n")
                )
            }
        }
    }

    /// The process dies: what was not durable is gone, and another one takes the run up.
    pub fn crash(&mut self) {
        let mut run = Run::new(self.catalog.clone(), self.tools.clone());
        for stamped in &self.durable {
            run.replay(stamped);
        }
        self.run = run;
        self.queue.clear();
        self.facts.clear();
        self.in_flight = 0;
        self.views.clear();
        self.lines.clear();
        self.hear(Fact::Opened);
    }

    /// Takes a paused or ended run up again.
    pub fn reopen(&mut self) {
        self.hear(Fact::Opened);
    }

    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.durable.iter().map(|s| &s.event)
    }

    pub fn kinds(&self) -> Vec<String> {
        let run = self.run.state().run().clone();
        self.durable
            .iter()
            .enumerate()
            .filter_map(|(n, s)| public(&run, n as u64 + 1, s))
            .map(|v| v["type"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Tiers of the attempts of a subtask in order.
    pub fn tiers(&self, subtask: &str) -> Vec<String> {
        let attempts = self.events().filter_map(|e| match e {
            Event::AttemptStarted { unit, tier, .. } if unit.subtask.as_str() == subtask => Some(tier.to_string()),
            _ => None,
        });
        attempts.collect()
    }

    pub fn status(&self, subtask: &str) -> Option<SubtaskStatus> {
        let state = self.run.state();
        state.tasks[state.index[&id(subtask)] as usize].status
    }

    pub fn output(&self, subtask: &str) -> String {
        let state = self.run.state();
        state.tasks[state.index[&id(subtask)] as usize].output.to_string()
    }

    pub fn calls_of(&self, subtask: &str) -> Vec<&Call> {
        let of = |caller: &Caller| matches!(caller, Caller::Executor { unit, .. } if unit.subtask.as_str() == subtask);
        self.calls.iter().filter(|(_, caller, _, _)| of(caller)).map(|(_, _, _, call)| call).collect()
    }

    pub fn spent(&self) -> NanoUsd {
        self.run.state().spent()
    }
}

/// Good work: executors say `ok ID`, the reviewer approves.
pub fn usual(asked: &Asked<'_>) -> Reply_ {
    match asked.caller {
        Caller::Executor { unit, .. } => say(format!("ok {unit}")),
        Caller::Reviewer => say(review("approve").to_string()),
        Caller::Compactor { .. } => say("in short: all is well"),
        Caller::Replanner => say(json!({"add": [], "drop": [], "change": [], "coordination_notes": null}).to_string()),
        Caller::Planner => say(json!({"coordination_notes": null, "subtasks": [planned("only", &[])]}).to_string()),
    }
}

/// A subtask as a planner writes it.
pub fn planned(name: &str, depends_on: &[&str]) -> Value {
    json!({
        "id": name, "type": "classify", "title": name, "description": format!("do {name}"), "output_format": "text",
        "depends_on": depends_on, "files": [], "writes": [], "tools": [], "complexity": "low", "checks": []
    })
}
