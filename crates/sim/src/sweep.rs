//! The kill sweep: one run of the lab's work, its engine killed one to three times, taken up again until it is over.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use brigade_kernel::run::RunStatus;

use crate::audit::{self, Findings};
use crate::chance::Chance;
use crate::lab::Lab;
use crate::work::Work;

/// Engines started for one run before the lab calls it stuck.
const MOST_ENGINES: usize = 12;
/// Longest wait before a kill by the clock, in milliseconds; about what the work takes.
const LONGEST_LIFE: u64 = 900;

/// How one engine dies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Death {
    /// At the Nth hit of a failpoint, by its own hand.
    At(&'static str, u64),
    /// After so many milliseconds, by ours.
    After(u64),
}

/// Everything that is killed at: the engine's points and the journal's.
pub fn points() -> impl Iterator<Item = &'static str> {
    brigade_runtime::failpoint::NAMES.into_iter().chain(brigade_journal::failpoint::NAMES)
}

/// The deaths of a seed: one to three, half at points, half by the clock.
pub fn deaths(seed: u64) -> Vec<Death> {
    let mut chance = Chance::new(seed);
    let points: Vec<_> = points().collect();
    (0..=chance.below(3))
        .map(|_| match chance.below(2) {
            0 => Death::After(chance.below(LONGEST_LIFE)),
            _ => Death::At(points[chance.below(points.len() as u64) as usize], 1 + chance.below(12)),
        })
        .collect()
}

/// What came of one run.
#[derive(Debug)]
pub struct Survived {
    /// Kills that really happened.
    pub kills: usize,
    /// The audit.
    pub findings: Findings,
}

/// The fingerprints that an unkilled run pays for, from a run without deaths.
pub type Bill = BTreeMap<(usize, u64), usize>;

/// Runs the work, dies as told, goes on, and judges. `Err` names every broken law.
///
/// # Errors
/// All that was found, one line each.
pub fn survive(engine: &Path, work: &Work, deaths: &[Death], unkilled: Option<&Bill>) -> Result<Survived, String> {
    let lab = Lab::new(engine, work.scenario, work.files).map_err(|e| e.to_string())?;
    let plan = lab.write("plan.toml", work.plan.unwrap_or_default()).map_err(|e| e.to_string())?;
    let (plan, home) = (plan.display().to_string(), lab.home());
    let (mut kills, mut engines) = (0, Vec::new());
    let run = loop {
        let begun = audit::runs(&home)?;
        if begun.len() > 1 {
            return Err(format!("{} runs were begun", begun.len()));
        }
        if let Some(run) = begun.first()
            && audit::is_over(&home, run)?
        {
            break run.clone();
        }
        if engines.len() == MOST_ENGINES {
            return Err(format!("still not over after {MOST_ENGINES} engines:\n{}", engines.join("\n")));
        }
        let arguments: Vec<&str> = match begun.first() {
            Some(run) => vec!["resume", run.as_str()],
            None if work.plan.is_some() => vec!["run", "--plan", &plan, "--apply", "auto"],
            None => vec!["run", "do the work of the lab", "--apply", "auto"],
        };
        let death = deaths.get(engines.len());
        let ended = match death {
            Some(Death::At(name, nth)) => lab.start(&arguments, &[("BRIGADE_KILL", &format!("{name}:{nth}"))]).and_then(|e| e.wait()),
            Some(Death::After(ms)) => lab
                .start(&arguments, &[])
                .and_then(|mut engine| if engine.ended_within(Duration::from_millis(*ms))? { engine.wait() } else { engine.kill() }),
            None => lab.run(&arguments),
        };
        let ended = ended.map_err(|e| format!("{death:?}: {e}\n{}", engines.join("\n")))?;
        kills += usize::from(ended.signal == Some(9));
        engines.push(format!("{arguments:?} {death:?}: code {:?}, signal {:?}\n{}{}", ended.code, ended.signal, ended.out, ended.err));
        if ended.signal.is_none() && !matches!(ended.code, Some(0)) {
            return Err(format!("an engine that was not killed ended badly:\n{}", engines.join("\n")));
        }
    };
    let mut findings = audit::audit(&home, &run, &lab.calls())?;
    judge(&lab, work, &mut findings, unkilled);
    if findings.broken.is_empty() {
        Ok(Survived { kills, findings })
    } else {
        Err(format!("{}\n{}", findings.broken.join("\n"), engines.join("\n")))
    }
}

fn judge(lab: &Lab, work: &Work, findings: &mut Findings, unkilled: Option<&Bill>) {
    let mut broken = Vec::new();
    if findings.status != Some(RunStatus::Completed) {
        broken.push(format!("the run ended {:?}", findings.status));
    }
    if findings.output != work.output {
        broken.push(format!("the output is {:?}, not {:?}", findings.output, work.output));
    }
    let expected: BTreeMap<String, String> = work.expected.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    match lab.tree() {
        Ok(tree) if tree == expected => {}
        Ok(tree) => broken.push(format!("the tree is {tree:?}")),
        Err(e) => broken.push(format!("the tree cannot be read: {e}")),
    }
    // A call whose outcome is on record is never paid again: what was heard is what an unkilled run hears.
    if let Some(unkilled) = unkilled
        && findings.heard != *unkilled
    {
        let more = |a: &Bill, b: &Bill| {
            a.iter().filter(|(call, n)| b.get(call) != Some(n)).map(|(call, n)| format!("{call:x?} × {n}")).collect::<Vec<_>>()
        };
        broken.push(format!(
            "heard {:?} where an unkilled run hears {:?}",
            more(&findings.heard, unkilled),
            more(unkilled, &findings.heard)
        ));
    }
    findings.broken.append(&mut broken);
}
