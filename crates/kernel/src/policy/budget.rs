//! Caps in money and tokens as configuration gives them, by the names of their keys.

use serde::{Deserialize, Serialize};

use crate::units::NanoUsd;

/// What bounds spending. The ledgers keep settled + leased ≤ cap for each; `None` = not limited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BudgetPolicy {
    /// Money of the run; $5 unless configured (said on screen).
    pub run_usd: NanoUsd,
    /// Ask a person before a plan estimated above this starts. `None` = never.
    pub confirm_above_usd: Option<NanoUsd>,
    /// Money of one call.
    pub call_usd: Option<NanoUsd>,
    /// Money of one attempt.
    pub attempt_usd: Option<NanoUsd>,
    /// Money of one subtask, over all its rows.
    pub subtask_usd: Option<NanoUsd>,
    /// Tokens of the run, input and output.
    pub run_tokens: Option<u64>,
    /// Money of all planner calls of the run.
    pub planner_usd: Option<NanoUsd>,
    /// Tokens of all planner calls of the run.
    pub planner_tokens: Option<u64>,
    /// Money of all executor calls of the run.
    pub executor_usd: Option<NanoUsd>,
    /// Tokens of all executor calls of the run.
    pub executor_tokens: Option<u64>,
    /// Money of all reviews of the run.
    pub reviewer_usd: Option<NanoUsd>,
    /// Tokens of all reviews of the run.
    pub reviewer_tokens: Option<u64>,
    /// Money of all runs of the home on one UTC day.
    pub day_usd: Option<NanoUsd>,
    /// Tokens of all runs of the home on one UTC day.
    pub day_tokens: Option<u64>,
    /// Money of all runs of the home, ever.
    pub home_usd: Option<NanoUsd>,
    /// Caps that come together, where none of their own is set.
    pub preset: Preset,
    /// What happens when a cap of a role, the run or the home has no room.
    pub on_exhausted: OnExhausted,
}

/// Caps that come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// No caps but those that are set.
    #[default]
    None,
    /// For a request that one person makes: 100,000 tokens for the planner, 50,000 for the executors.
    Small,
}

/// What happens when a cap has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExhausted {
    /// The run pauses.
    #[default]
    Pause,
    /// Attempts go to a cheaper tier that has room, while there is one.
    Cheaper,
    /// The run pauses and gives what is done, naming what is missing.
    FinishPartial,
}

/// Planner and executor tokens of [`Preset::Small`].
const SMALL: [(&str, u64); 2] = [("planner_tokens", 100_000), ("executor_tokens", 50_000)];

impl Default for BudgetPolicy {
    fn default() -> Self {
        Self {
            run_usd: NanoUsd(5 * NanoUsd::DOLLAR.0),
            confirm_above_usd: None,
            call_usd: None,
            attempt_usd: None,
            subtask_usd: None,
            run_tokens: None,
            planner_usd: None,
            planner_tokens: None,
            executor_usd: None,
            executor_tokens: None,
            reviewer_usd: None,
            reviewer_tokens: None,
            day_usd: None,
            day_tokens: None,
            home_usd: None,
            preset: Preset::None,
            on_exhausted: OnExhausted::Pause,
        }
    }
}

/// One optional cap, in its measure.
#[derive(Debug)]
pub enum Cap<'a> {
    /// In dollars.
    Usd(&'a mut Option<NanoUsd>),
    /// In tokens.
    Tokens(&'a mut Option<u64>),
}

impl BudgetPolicy {
    /// Every optional cap by the name of its key below `budget`.
    pub fn caps(&mut self) -> [(&'static str, Cap<'_>); 14] {
        use Cap::{Tokens, Usd};
        [
            ("confirm_above_usd", Usd(&mut self.confirm_above_usd)),
            ("call_usd", Usd(&mut self.call_usd)),
            ("attempt_usd", Usd(&mut self.attempt_usd)),
            ("subtask_usd", Usd(&mut self.subtask_usd)),
            ("run_tokens", Tokens(&mut self.run_tokens)),
            ("planner_usd", Usd(&mut self.planner_usd)),
            ("planner_tokens", Tokens(&mut self.planner_tokens)),
            ("executor_usd", Usd(&mut self.executor_usd)),
            ("executor_tokens", Tokens(&mut self.executor_tokens)),
            ("reviewer_usd", Usd(&mut self.reviewer_usd)),
            ("reviewer_tokens", Tokens(&mut self.reviewer_tokens)),
            ("day_usd", Usd(&mut self.day_usd)),
            ("day_tokens", Tokens(&mut self.day_tokens)),
            ("home_usd", Usd(&mut self.home_usd)),
        ]
    }

    /// Sets the caps of the preset, but for those that have a setting of their own.
    pub fn complete(&mut self, is_set: impl Fn(&str) -> bool) {
        let preset = match self.preset {
            Preset::None => &[][..],
            Preset::Small => &SMALL,
        };
        for (field, tokens) in preset.iter().filter(|(field, _)| !is_set(field)) {
            if let Some((_, Cap::Tokens(cap))) = self.caps().into_iter().find(|(name, _)| name == field) {
                *cap = Some(*tokens);
            }
        }
    }

    /// A cap as a plain number; `None` where there is none of that name, or it is not set.
    pub fn cap(&self, field: &str) -> Option<u64> {
        let mut own = self.clone();
        let (_, cap) = own.caps().into_iter().find(|(name, _)| *name == field)?;
        match cap {
            Cap::Usd(usd) => usd.map(|usd| usd.0),
            Cap::Tokens(tokens) => *tokens,
        }
    }
}
