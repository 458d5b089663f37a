//! Actions performed: each in its own task, each ending in exactly one fact.

use std::sync::Arc;
use std::time::{Duration, Instant};

use brigade_journal::{Batch, Blob, BlobHash, Journal, Stream};
use brigade_kernel::call::{Call, CallError, ErrorClass};
use brigade_kernel::context::Excerpt;
use brigade_kernel::json_schema::Schema;
use brigade_kernel::run::{Action, CallNo, Caller, Check, Fact, GatheredImage, GatheredPart, Handiwork, Part, Run, Unit, Work, uses_view};
use brigade_kernel::time::Millis;
use brigade_kernel::tool::{ToolOutput, mcp_parts};
use brigade_models::{Delta, Model};
use brigade_tools::Patch;
use brigade_tools::agent::Agent;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use crate::compose::Laid;
use crate::engine::World;
use crate::errand::Place;
use crate::failpoint::hit;
use crate::hands::{Hands, blocking};
use crate::land;
use crate::mcp::{self, McpCall};
use crate::outputs;
use crate::reuse;
use crate::schema;

/// Who answers a call.
#[derive(Debug, Clone)]
pub enum Answerer {
    /// A provider, over the wire.
    Model(Arc<dyn Model>),
    /// A program on this machine, in a view.
    Agent(Arc<Agent>, Place),
}

/// What is done once its intent is durable.
#[derive(Debug)]
pub enum Job {
    /// A model call.
    Call {
        /// Its number.
        no: CallNo,
        /// What is asked.
        call: Box<Call>,
        /// Who answers.
        answerer: Answerer,
        /// Ends it early.
        cancel: CancellationToken,
        /// In which way.
        how: Way,
    },
    /// Equal work is looked for that was done before.
    Look {
        /// On whose behalf.
        caller: Caller,
        /// The work.
        work: Work,
        /// What its result looks like.
        form: Option<Schema>,
        /// How long somebody else who does it is waited for.
        patience: Duration,
    },
    /// Anything else.
    Do(Action),
}

/// In which way a model is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The answer is wanted when it is whole.
    Whole,
    /// Its text is wanted while it arrives.
    Streamed,
    /// Siblings wait for its first content.
    Awaited,
    /// The provider condenses the conversation.
    Condensed,
}

fn since(start: Instant) -> Millis {
    Millis(start.elapsed().as_millis() as u64)
}

/// Starts a job. The fact it ends in comes back through `facts`; once `leaving` is cancelled, tools and checks end at once.
pub fn spawn(job: Job, run: &Run, world: &World, stream: &Stream, facts: UnboundedSender<Fact>, leaving: CancellationToken) {
    match job {
        Job::Call { no, mut call, answerer, cancel, how } => {
            let hands = world.hands.clone();
            let journal = world.journal.clone();
            tokio::spawn(async move {
                if call.images().next().is_some() {
                    call = blocking(move || {
                        outputs::fill(&mut call, &*journal);
                        call
                    })
                    .await;
                }
                let fact = match answerer {
                    Answerer::Model(model) => ask(no, &call, &*model, cancel, how, &facts).await,
                    Answerer::Agent(agent, place) => send(no, &call, &agent, &place, &hands, cancel).await,
                };
                let _ = facts.send(fact);
            });
        }
        Job::Look { caller, work, form, patience } => {
            let (world, id) = (world.clone(), run.state().run().clone());
            tokio::spawn(async move {
                let earlier = reuse::look(&world, &id, &caller, &work, form.as_ref(), patience).await;
                let _ = facts.send(Fact::LookedUp { caller, earlier });
            });
        }
        Job::Do(action) => {
            let key = unit_of(&action).and_then(|unit| run.state().key(unit));
            let spec = key.map(|key| run.state().task(key).spec.clone());
            let work = key.and_then(|key| run.state().work.get(&key));
            let tree = work.and_then(|work| work.attempt.as_ref()).and_then(|attempt| attempt.tree.clone());
            let base = work.and_then(|work| work.base_tree.clone());
            let workspace = run.state().start().workspace.clone();
            let (world, stream) = (world.clone(), stream.clone());
            // Dropping a command ends it. A patch on its way is never cut: it lands whole or not at all.
            let may_be_cut = matches!(action, Action::Tool { .. } | Action::Check { .. } | Action::CheckComposed { .. });
            tokio::spawn(async move {
                let fact = tokio::select! {
                    biased;
                    fact = act(action, spec, Trees { base, now: tree }, &workspace, &world, &stream) => fact,
                    () = leaving.cancelled(), if may_be_cut => Fact::Cut,
                };
                let _ = facts.send(fact);
            });
        }
    }
}

fn unit_of(action: &Action) -> Option<&Unit> {
    match action {
        Action::Tool { unit, .. } | Action::Check { unit, .. } => Some(unit),
        _ => None,
    }
}

async fn ask(no: CallNo, call: &Call, answerer: &dyn Model, cancel: CancellationToken, how: Way, facts: &UnboundedSender<Fact>) -> Fact {
    hit("before-send");
    let start = Instant::now();
    let mut first = None;
    let mut sink = |delta: Delta<'_>| {
        hit("at-first-delta");
        if first.is_none() {
            first = Some(since(start));
            if how == Way::Awaited {
                let _ = facts.send(Fact::FirstContent { call: no });
            }
        }
        if let (Way::Streamed, Delta::Text(text)) = (how, delta) {
            let _ = facts.send(Fact::PlannerSaid { call: no, text: text.to_owned() });
        }
    };
    let asked = match how {
        Way::Condensed => answerer.compact(call),
        Way::Whole | Way::Streamed | Way::Awaited => answerer.call(call, &mut sink),
    };
    let answer = tokio::select! {
        answer = asked => answer,
        () = cancel.cancelled() => Err(cancelled()),
    };
    hit("after-answer");
    Fact::Answered { call: no, answer, ms: since(start), first_ms: first, worked: None }
}

/// Sends an agent on an errand.
async fn send(no: CallNo, call: &Call, agent: &Agent, place: &Place, hands: &Hands, cancel: CancellationToken) -> Fact {
    hit("before-send");
    let start = Instant::now();
    let (answer, worked) = tokio::select! {
        came = hands.errand(agent, call, place) => came,
        () = cancel.cancelled() => (Err(cancelled()), Handiwork::default()),
    };
    hit("after-answer");
    Fact::Answered { call: no, answer, ms: since(start), first_ms: None, worked: Some(Box::new(worked)) }
}

fn cancelled() -> CallError {
    CallError::new(ErrorClass::Cancelled, "stopped by us")
}

/// Where an attempt started, and where it stands on record.
#[derive(Debug)]
struct Trees {
    base: Option<String>,
    now: Option<String>,
}

async fn act(
    action: Action,
    spec: Option<Arc<brigade_kernel::plan::Subtask>>,
    trees: Trees,
    workspace: &str,
    world: &World,
    stream: &Stream,
) -> Fact {
    let start = Instant::now();
    match action {
        Action::Gather { unit, files, limit_bytes, view, start, onto, images, .. } => {
            let wanted = Wanted { unit, files, limit_bytes, view, start, onto, images };
            gather(wanted, world, stream).await
        }
        Action::Tool { unit, attempt, call_id, name, arguments, .. } if mcp_parts(&name).is_some() => {
            let Some(spec) = spec else { unreachable!("a tool call belongs to a subtask of the plan") };
            let call = McpCall { unit, attempt, call_id, name: &name, arguments: &arguments };
            mcp::call(world, stream, &spec, call).await
        }
        Action::Tool { unit, attempt, call_id, arguments, opens: Some(opens), .. } => {
            let journal = world.journal.clone();
            let output = blocking(move || outputs::open(&opens, &arguments, &*journal)).await;
            Fact::ToolDone { unit, attempt, call_id, output, saved: None, tree: None, changed: None, ms: since(start) }
        }
        Action::Tool { unit, attempt, call_id, name, arguments, writes, reset_to, opens: None } => {
            let Some(spec) = spec else { unreachable!("a tool call belongs to a subtask of the plan") };
            if writes {
                hit("before-tool");
            }
            let back = match reset_to {
                Some(tree) => world.hands.set(&unit, &tree).await.map(drop),
                None => Ok(()),
            };
            let brought = match back {
                Ok(()) => world.hands.call(&unit, &spec, trees.now.as_deref(), &name, &arguments).await,
                Err(why) => ToolOutput::refused(why).into(),
            };
            let (output, saved) = outputs::keep(brought, world, stream).await;
            if writes {
                hit("after-tool");
            }
            // A tool that may write, of a subtask that has no view of its own, wrote nothing here.
            let written = writes && uses_view(&spec);
            let tree = if written { world.hands.snapshot(&unit).await.ok() } else { None };
            let changed = match trees.base.zip(tree.clone()) {
                Some((base, now)) => world.hands.changed(&base, &now).await.ok(),
                None => None,
            };
            if writes {
                hit("after-tool-snapshot");
            }
            Fact::ToolDone { unit, attempt, call_id, output, saved, tree, changed, ms: since(start) }
        }
        Action::Check { unit, attempt, check } => {
            let name = check.name();
            hit("before-check");
            let (verdict, evidence) = match check {
                Check::Schema { schema, answer } => schema::check(&schema, &answer),
                Check::Markers { files } => world.hands.markers(&unit, trees.now.as_deref(), files).await,
                Check::Command { argv } => world.hands.check(&unit, &argv, trees.now.as_deref()).await,
            };
            hit("after-check");
            Fact::Checked { unit, attempt, check: name, verdict, evidence, ms: since(start) }
        }
        Action::Compose { parts } => {
            hit("before-compose");
            let laid = world.hands.compose(&parts).await;
            hit("after-compose");
            match laid {
                Ok(laid) => Fact::Composed { parts, tree: laid.tree, conflicts: laid.conflicts, sides: laid.sides },
                Err(reason) => Fact::PatchLost { reason },
            }
        }
        Action::CheckComposed { unit, argv, tree } => {
            hit("before-check-composed");
            let (verdict, evidence) = world.hands.check_together(&argv, &tree).await;
            Fact::ComposedChecked { unit, check: argv.join(" "), verdict, evidence, ms: since(start) }
        }
        Action::StorePatch { tree } => store_patch(&tree, world, stream).await,
        Action::ApplyPatch { blob } => {
            hit("before-patch-applied");
            let error = match patch_on_record(&*world.journal, &blob) {
                Some(patch) => land::apply(&patch, workspace.as_ref()).err(),
                None => Some("the patch is not in the journal any more".to_owned()),
            };
            hit("after-patch-applied");
            Fact::PatchApplied { error }
        }
        Action::ReadRows { .. } | Action::Price | Action::Call { .. } | Action::Hedge { .. } => {
            unreachable!("the engine does these itself")
        }
    }
}

/// What an attempt is to be shown, and where it works.
#[derive(Debug)]
struct Wanted {
    unit: Unit,
    files: Vec<String>,
    limit_bytes: u64,
    view: bool,
    start: Vec<Part>,
    onto: Option<String>,
    images: Vec<String>,
}

/// The tree a unit starts from, its view set to it if it has one.
async fn start_tree(wanted: &Wanted, world: &World) -> Result<Option<Laid>, String> {
    let plain = |tree: String| Laid { tree, conflicts: Vec::new(), sides: Vec::new() };
    let laid = match &wanted.onto {
        Some(tree) => plain(tree.clone()),
        None if wanted.start.is_empty() && !wanted.view => return Ok(None),
        None => world.hands.compose(&wanted.start).await?,
    };
    if wanted.view {
        world.hands.set(&wanted.unit, &laid.tree).await?;
        hit("after-snapshot");
    }
    Ok(Some(laid))
}

async fn gather(wanted: Wanted, world: &World, stream: &Stream) -> Fact {
    let laid = match start_tree(&wanted, world).await {
        Ok(laid) => laid,
        Err(reason) => return Fact::GatherFailed { unit: wanted.unit, reason },
    };
    let Wanted { unit, files, limit_bytes, view, start, images, .. } = wanted;
    let tree = laid.as_ref().map(|laid| laid.tree.clone());
    let mut seen = Vec::new();
    if !images.is_empty() {
        let found = match world.hands.pictures(Some(&unit).filter(|_| view), tree.as_deref(), &files, images).await {
            Ok(found) => found,
            Err(why) => return Fact::NotShown { unit, reason: format!("images: {why}") },
        };
        let mut batch = Batch::new();
        for (path, (image, bytes)) in found {
            batch = batch.blob(stream, Blob::new(bytes.to_vec()));
            seen.push(GatheredImage { path, image });
        }
        if let Err(e) = world.journal.append(batch).await {
            return Fact::GatherFailed { unit, reason: e.to_string() };
        }
    }
    let mut parts = Vec::new();
    if !files.is_empty() {
        let found = world.hands.excerpts(Some(&unit).filter(|_| view), tree.as_deref(), files, limit_bytes).await;
        let mut batch = Batch::new();
        for (path, text) in found {
            let blob = Blob::new(text.into_bytes());
            parts.push(GatheredPart { path, blob: blob.hash().to_string(), bytes: blob.bytes().len() as u64 });
            batch = batch.blob(stream, blob);
        }
        if let Err(e) = world.journal.append(batch).await {
            return Fact::GatherFailed { unit, reason: e.to_string() };
        }
    }
    hit("after-gather");
    let (conflicts, sides) = laid.map(|laid| (laid.conflicts, laid.sides)).unwrap_or_default();
    Fact::Gathered { unit, parts, images: seen, tree, start, conflicts, sides }
}

async fn store_patch(tree: &str, world: &World, stream: &Stream) -> Fact {
    let patch = match world.hands.patch(tree).await {
        Ok(patch) => patch,
        Err(reason) => return Fact::PatchLost { reason },
    };
    hit("before-patch-stored");
    let files = patch.paths().unwrap_or_default();
    let bytes = serde_json::to_vec(&patch).expect("a patch is plain text");
    let blob = Blob::new(bytes);
    let hash = blob.hash().to_string();
    match world.journal.append(Batch::new().blob(stream, blob)).await {
        Ok(_) => {
            hit("after-patch-stored");
            Fact::PatchStored { blob: hash, files }
        }
        // The engine's own append fails next and says so.
        Err(_) => Fact::PatchStored { blob: hash, files: Vec::new() },
    }
}

/// A stored patch.
pub fn patch_on_record(journal: &dyn Journal, blob: &str) -> Option<Patch> {
    let hash: BlobHash = blob.parse().ok()?;
    serde_json::from_slice(&journal.blob(&hash).ok()??).ok()
}

/// Gathered excerpts, back from their blobs.
pub fn excerpts_on_record(journal: &dyn Journal, parts: &[GatheredPart]) -> Vec<Excerpt> {
    let text = |part: &GatheredPart| {
        let hash: BlobHash = part.blob.parse().ok()?;
        let bytes = journal.blob(&hash).ok()??;
        Some(Excerpt { path: part.path.clone(), start_line: 1, text: String::from_utf8(bytes).ok()? })
    };
    parts.iter().filter_map(text).collect()
}
