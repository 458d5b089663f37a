//! A run in the foreground: signals, what is shown while it works, what is printed when it stops.

mod price;

use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use brigade_journal::Journal;
use brigade_kernel::call::{Item, Speaker};
use brigade_kernel::ids::RunId;
use brigade_kernel::run::{Continued, Event, Phase, Run, RunStarted, RunStatus, RunSummary, State};
use brigade_kernel::view::cost::Bill;
use brigade_kernel::view::public;
use brigade_runtime::record::{self, Recorded};
use brigade_runtime::{Engine, Leave, Shared, StartError};
use brigade_tools::sandbox::{Profile, Sandbox};
use tokio::sync::{mpsc, watch};

use crate::config::Notify;
use crate::exit::{Exit, Failure, chain};
use crate::notify::Notifier;
use crate::screen::{Failures, Progress, Results};
use crate::standing::Standing;

/// How a run in the foreground shows itself.
#[derive(Debug, Default)]
pub struct Output {
    /// Events as JSON lines on standard output.
    pub json: bool,
    /// Only the result.
    pub quiet: bool,
    /// Every attempt and check.
    pub verbose: bool,
    /// Where the result goes instead of standard output.
    pub file: Option<PathBuf>,
    /// Ask whether the patch is to be applied.
    pub ask_to_apply: bool,
    /// What a person should know, one line each.
    pub notices: Vec<String>,
    /// Who is told when it pauses, goes on by itself, or ends.
    pub notify: Notify,
}

/// Opens the engine that is driven.
pub(crate) type Open<'a> = dyn FnOnce(Option<mpsc::UnboundedSender<Recorded>>) -> Result<Engine, StartError> + 'a;

/// Works a run in the foreground until it ends, pauses, or is interrupted.
///
/// # Errors
/// What to say, and the exit code.
pub fn drive(
    shared: &Shared,
    open: impl FnOnce(Option<mpsc::UnboundedSender<Recorded>>) -> Result<Engine, StartError>,
    output: &Output,
) -> Result<Exit, Failure> {
    // Raised limits and no core files; where the system refuses, the run works with what there is.
    let _ = brigade_tools::sandbox::harden_self();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let (show, shown) = mpsc::unbounded_channel();
        let engine = open(Some(show))?;
        let id = engine.run().state().run().clone();
        let (leave, left) = watch::channel(Leave::No);
        let signals = tokio::spawn(signals(leave));
        let (ended, interrupted, written) = {
            let mut screen = Screen::new(shared, engine.run().state(), output);
            let (ended, ()) = tokio::join!(engine.drive(left.clone()), screen.follow(shown));
            let written = screen.close();
            screen.notifier.close().await;
            (ended, *left.borrow() > Leave::No, written)
        };
        signals.abort();
        let exit = match ended {
            Ok(summary) if price::is_asked(shared, &id, &summary, output)? => return Ok(Ended::AtItsPrice(id, written)),
            Ok(summary) => finish(shared, &id, &summary, interrupted, output),
            Err(brigade_runtime::EngineError::Left) => {
                say(output, &format!("left at once; go on with: brigade resume {id}"));
                Ok(Exit::Interrupted)
            }
            Err(error) => Err(Failure::failed(format!("{}\ngo on with: brigade resume {id}", chain(&error)))),
        }?;
        written.map(|()| Ended::With(exit))
    });
    // A search or a copy that nobody waits for any more is not waited for here.
    runtime.shutdown_background();
    match ended? {
        Ended::With(exit) => Ok(exit),
        Ended::AtItsPrice(id, written) => {
            written?;
            price::ask(shared, &id, output)
        }
    }
}

/// How a session ended.
enum Ended {
    With(Exit),
    /// A person at this terminal is to say whether the plan may start at its price.
    AtItsPrice(RunId, Result<(), Failure>),
}

/// First signal: finish what is in flight. Second: go.
pub(crate) async fn signals(leave: watch::Sender<Leave>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else { return };
    for next in [Leave::Soon, Leave::Now] {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
        }
        // The engine may be gone already.
        let _ = leave.send(next);
    }
}

fn say(output: &Output, line: &str) {
    if !output.quiet {
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(std::io::stderr(), "{}", brigade_tools::escape_for_screen(line));
    }
}

/// What follows the events of a run: JSON lines, or progress, and rows as they get ready.
struct Screen<'a> {
    id: RunId,
    json: bool,
    progress: Progress,
    results: Option<Results<'a>>,
    notifier: Notifier,
}

impl<'a> Screen<'a> {
    fn new(shared: &Shared, state: &State, output: &'a Output) -> Self {
        let level = match (output.json || output.quiet, output.verbose) {
            (true, _) => crate::screen::Level::Silent,
            (_, true) => crate::screen::Level::Verbose,
            _ => crate::screen::Level::Normal,
        };
        let mut progress = Progress::new(level);
        progress.from_state(state);
        for notice in &output.notices {
            progress.note(notice);
        }
        let rows = !output.json || output.file.is_some();
        let results = rows.then(|| Results::new(shared.home.journal(), state, output.file.as_deref()));
        let notifier = Notifier::new(state.run(), &output.notify);
        Self { id: state.run().clone(), json: output.json, progress, results, notifier }
    }

    async fn follow(&mut self, mut shown: mpsc::UnboundedReceiver<Recorded>) {
        let mut page = Vec::new();
        while shown.recv_many(&mut page, 1_024).await > 0 {
            for recorded in page.drain(..) {
                if self.json {
                    print_public(&self.id, &recorded);
                }
                if let Some(results) = &mut self.results {
                    results.saw(&recorded.stamped.event);
                }
                self.notifier.saw(&recorded.stamped.event);
                self.progress.saw(&recorded);
            }
            if let Some(results) = &mut self.results {
                self.progress.aside(|| results.write_ready());
            }
        }
    }

    fn close(&mut self) -> Result<(), Failure> {
        self.progress.close();
        match &mut self.results {
            Some(results) => results.close(),
            None => Ok(()),
        }
    }
}

/// One event as a JSON line on standard output, if it is a public one.
pub fn print_public(id: &RunId, recorded: &Recorded) {
    if let Some(event) = public(id, recorded.seq, &recorded.stamped) {
        let mut out = std::io::stdout().lock();
        // A closed stdout: the reader has seen enough; the run goes on.
        let _ = out.write_all(crate::screen::json_line(&event).as_bytes());
    }
}

fn finish(shared: &Shared, id: &RunId, summary: &RunSummary, interrupted: bool, output: &Output) -> Result<Exit, Failure> {
    brigade_runtime::failpoint::hit("before-result");
    let exit = Exit::of(summary, interrupted);
    if summary.status == RunStatus::Completed {
        give(summary, shared, id, output)?;
        if start_of(&*shared.home.journal(), id)?.branch {
            let branch = crate::commands::apply::branch(shared, id)?;
            say(
                output,
                &branch.map_or("no file was changed: no branch was made".to_owned(), |name| format!("the patch is on the branch {name}")),
            );
        } else if output.ask_to_apply {
            crate::commands::apply::offer(shared, id)?;
        }
    }
    if output.quiet && !output.json && exit != Exit::Done {
        // Only the result was asked for, and there is none: why not is all there is to say.
        let _ = write!(std::io::stderr(), "{}", crate::screen::next(id, summary));
    }
    if !output.json && !output.quiet {
        let mut run = Run::new(shared.catalog.clone(), brigade_runtime::hands::specs().into());
        let (mut bill, mut failures) = (Bill::default(), Failures::default());
        record::events(&*shared.home.journal(), id, 1, |recorded| {
            run.replay(&recorded.stamped);
            bill.saw(&recorded.stamped.event);
            failures.saw(&recorded.stamped.event);
        })?;
        let closing = crate::screen::closing(&run, summary, &bill, &failures);
        let _ = write!(std::io::stderr(), "{closing}");
    }
    Ok(exit)
}

/// The result, where the user wants it. Rows have been written already: then the words go to stderr.
fn give(summary: &RunSummary, shared: &Shared, id: &RunId, output: &Output) -> Result<(), Failure> {
    if output.json {
        return Ok(());
    }
    let bulk = start_of(&*shared.home.journal(), id)?.input.is_some();
    let text = summary.output.trim_end();
    match (&output.file, bulk) {
        (Some(path), false) => {
            std::fs::write(path, format!("{text}\n")).map_err(|e| Failure::failed(format!("cannot write {}: {e}", path.display())))
        }
        (None, true) => {
            say(output, text);
            Ok(())
        }
        _ => {
            let mut out = std::io::stdout();
            let text = if out.is_terminal() { brigade_tools::escape_for_screen(text).into_owned() } else { text.to_owned() };
            // A closed stdout: the result is in the journal all the same.
            let _ = writeln!(out, "{text}");
            Ok(())
        }
    }
}

/// What a run started with.
///
/// # Errors
/// Exit 2 when there is no such run.
pub fn start_of(journal: &dyn Journal, id: &RunId) -> Result<RunStarted, Failure> {
    match record::first_event(journal, id)? {
        Some(Event::RunStarted(start)) => Ok(*start),
        _ => Err(Failure::usage(format!("there is no run {id}; `brigade ps` lists them"))),
    }
}

/// The run that was started last.
///
/// # Errors
/// The journal's.
pub fn last_run(journal: &dyn Journal) -> Result<Option<RunId>, Failure> {
    let streams = journal.streams("run/")?;
    let ids = streams.into_iter().filter_map(|(stream, _)| RunId::new(stream.as_str().strip_prefix("run/")?).ok());
    Ok(ids.max())
}

/// The planner's context of an earlier run, for `--continue`.
///
/// # Errors
/// Exit 2 when there is no such run, or it is not over: what is to be built on is not there yet.
pub fn continued(shared: &Shared, id: &RunId) -> Result<Continued, Failure> {
    let (run, _) = record::load(&*shared.home.journal(), id, shared.catalog.clone(), brigade_runtime::hands::specs().into())?;
    let standing = Standing::of_run(&shared.home, &run);
    let state = run.state();
    if let Some(pid) = standing.pid {
        return Err(Failure::usage(format!("run {id} is still at work (pid {pid}): wait for its end (brigade attach {id}), or cancel it")));
    }
    if state.phase != Phase::Ended {
        return Err(Failure::usage(format!("run {id} is not over ({standing}): brigade resume {id} first, or cancel it")));
    }
    let start = state.start();
    let said = |speaker, text: String| Item::message(speaker, text);
    let mut turns = start.continues.as_ref().map(|c| c.turns.clone()).unwrap_or_default();
    let images = match start.images.len() {
        0 => String::new(),
        n => format!("\n({n} image(s) came with it and are not shown again.)"),
    };
    turns.push(said(Speaker::User, format!("{}{images}", start.request)));
    turns.extend(state.desk.turns.iter().cloned());
    let outcome = state.ended.as_ref().map(|s| s.output.clone()).unwrap_or_default();
    turns.push(said(
        Speaker::User,
        format!("That was worked off. The reviewer's summary: {}\nThe result:\n{outcome}\n\nNow the next request.", state.desk.summary),
    ));
    Ok(Continued { run: id.clone(), turns })
}

/// Refuses a plan that runs commands where no sandbox can be built, before a token is spent. The finding is cached
/// for this machine and binary: probing costs as much as a few commands.
///
/// # Errors
/// Exit 2 with the remedy.
pub fn check_sandbox(home: &Path) -> Result<(), Failure> {
    let mark = home.join("sandbox-works");
    let stamp = sandbox_stamp();
    if std::fs::read_to_string(&mark).is_ok_and(|known| known == stamp) {
        return Ok(());
    }
    let sandbox = Sandbox::new(&Profile::from_env()).map_err(|e| Failure::usage(chain(&e)))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let probe = runtime.block_on(sandbox.probe()).map_err(|e| Failure::usage(chain(&e)))?;
    if let Some(fault) = probe.fault() {
        return Err(Failure::usage(format!("this plan runs commands, and they run in a sandbox only.\n{}", chain(&fault))));
    }
    // Not written: probed again next time.
    let _ = std::fs::create_dir_all(home).and_then(|()| std::fs::write(&mark, stamp));
    Ok(())
}

/// Changes whenever the finding may: another kernel, another user, another binary.
fn sandbox_stamp() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let exe = std::env::current_exe().and_then(std::fs::metadata);
    let binary = exe.map(|m| format!("{:?} {}", m.modified().ok(), m.len())).unwrap_or_default();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let user = status.lines().find(|l| l.starts_with("Uid:")).unwrap_or_default();
    format!("{kernel}{binary} {user}")
}
