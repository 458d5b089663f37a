//! After no answer: wait as told, or a little longer each time; then an alternate of the same tier; then give up.
//!
//! This is the one retry layer (promises.md I15). It never raises a tier.

use serde::{Deserialize, Serialize};

use crate::call::{CallError, ErrorClass};
use crate::time::{Millis, Timestamp};

/// First wait (SDK policy, responses-api.md §7).
const FIRST: u64 = 500;
/// Longest wait of our own choosing.
const LONGEST: u64 = 8_000;
/// A stated wait above this is not sat out but parks the run.
const PATIENCE: Millis = Millis(120_000);

/// One send of a call that failed, and what is left to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    /// What went wrong.
    pub class: ErrorClass,
    /// Sends of this call to this model so far; at least 1.
    pub tries: u32,
    /// How long the provider asked to wait.
    pub retry_after: Option<Millis>,
    /// Alternates of the tier that were not asked yet.
    pub alternates: usize,
    /// Most sends to one model ([`crate::policy::Limits::max_tries`]).
    pub max_tries: u32,
    /// Decides the jitter: a hash of ids, so that siblings spread and a replay does not.
    pub seed: u64,
}

impl Trouble {
    /// From an error as it came.
    pub fn of(error: &CallError, tries: u32, alternates: usize, max_tries: u32, seed: u64) -> Self {
        Self { class: error.class, tries, retry_after: error.retry_after, alternates, max_tries, seed }
    }
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// The step.
    pub repair: Repair,
    /// Why, in one line for people.
    pub why: String,
}

/// A step out of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repair {
    /// Send the same call again then.
    Wait(Timestamp),
    /// Ask the tier's next alternate now.
    Alternate,
    /// Drop the field that `param` names and send again, once.
    DropField,
    /// Rebuild the input from the journal and send again, once.
    Rebuild,
    /// No more of this call.
    GiveUp(GiveUp),
}

/// How a hopeless call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GiveUp {
    /// The run parks and may resume by itself, not before `until` where the provider said when.
    Park {
        /// Earliest resume.
        until: Option<Timestamp>,
    },
    /// The account is out of credit: a person must act, nothing else is spent.
    Quota,
    /// The provider refuses the key: stop using it (exit code 6).
    Refused,
    /// The provider cannot be reached or keeps failing (exit code 6, resumable).
    Unreachable,
    /// The model does not exist there.
    NoModel,
    /// The input is over the window: [`super::Failure::ContextTooLong`] decides.
    TooLong,
    /// The same request will never succeed: our fault or the plan's.
    BadRequest,
    /// We stopped it.
    Cancelled,
}

/// What follows a call without an answer.
pub fn after_trouble(trouble: &Trouble, now: Timestamp) -> Remedy {
    use ErrorClass as E;
    let class = trouble.class;
    let give_up = |how: GiveUp| Remedy { repair: Repair::GiveUp(how), why: format!("{class}: {}", words(how)) };
    let once = |repair: Repair, otherwise: GiveUp, why: &str| {
        if trouble.tries <= 1 { Remedy { repair, why: format!("{class}: {why}") } } else { give_up(otherwise) }
    };
    match class {
        E::QuotaExhausted => give_up(GiveUp::Quota),
        E::Refused => give_up(GiveUp::Refused),
        E::ContextTooLong => give_up(GiveUp::TooLong),
        E::BadRequest => give_up(GiveUp::BadRequest),
        E::Cancelled => give_up(GiveUp::Cancelled),
        E::ModelNotFound if trouble.alternates > 0 => alternate(class),
        E::ModelNotFound => give_up(GiveUp::NoModel),
        E::UnsupportedField => once(Repair::DropField, GiveUp::BadRequest, "once more without that field"),
        E::LostReference => once(Repair::Rebuild, GiveUp::BadRequest, "once more with the whole input"),
        E::RateLimited | E::Overloaded | E::Server | E::Unreachable | E::CutStream | E::TimedOut | E::Garbage => {
            let asked = trouble.retry_after.filter(|wait| wait.0 > 0);
            let too_long = asked.is_some_and(|wait| wait > PATIENCE);
            if !too_long && trouble.tries < trouble.max_tries {
                let wait = wait(trouble);
                let why = match asked {
                    Some(_) => format!("{class}: waits {} ms as the provider asked", wait.0),
                    None => format!("{class}: try {} of {} in {} ms", trouble.tries + 1, trouble.max_tries, wait.0),
                };
                return Remedy { repair: Repair::Wait(now + wait), why };
            }
            if trouble.alternates > 0 {
                return alternate(class);
            }
            match class {
                _ if too_long => give_up(GiveUp::Park { until: asked.map(|wait| now + wait) }),
                E::RateLimited | E::Overloaded => give_up(GiveUp::Park { until: None }),
                _ => give_up(GiveUp::Unreachable),
            }
        }
    }
}

fn alternate(class: ErrorClass) -> Remedy {
    Remedy { repair: Repair::Alternate, why: format!("{class}: the tier's next model is asked") }
}

fn words(how: GiveUp) -> &'static str {
    match how {
        GiveUp::Park { until: Some(_) } => "the provider asks for a longer wait than 120 s, the run parks",
        GiveUp::Park { until: None } => "still so after every try, the run parks",
        GiveUp::Quota => "the account needs a person",
        GiveUp::Refused => "the provider is not asked again",
        GiveUp::Unreachable => "still so after every try",
        GiveUp::NoModel => "and the tier has no other model",
        GiveUp::TooLong => "this tier cannot take it",
        GiveUp::BadRequest => "the same request would never succeed",
        GiveUp::Cancelled => "stopped by us",
    }
}

fn wait(trouble: &Trouble) -> Millis {
    match trouble.retry_after.filter(|wait| wait.0 > 0) {
        // Never earlier than told; a little later, so that siblings do not come back as one.
        Some(asked) => Millis(asked.0 + part(asked.0.min(LONGEST) / 4, trouble.seed, trouble.tries)),
        None => backoff(trouble.tries, trouble.seed),
    }
}

/// The wait before send `tries + 1`: min(0.5 · 2ⁿ, 8 s), less up to 25 % by `seed`; n counts from 0.
pub fn backoff(tries: u32, seed: u64) -> Millis {
    let whole = FIRST.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(LONGEST);
    Millis(whole - part(whole / 4, seed, tries))
}

/// Between 0 and `most`, the same for the same seed and try (splitmix64, Steele et al. 2014).
fn part(most: u64, seed: u64, tries: u32) -> u64 {
    let mut z = seed.wrapping_add(u64::from(tries).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % (most + 1)
}
