//! Providers that are agents: programs with hands of their own, asked once per attempt. What a run must know of them
//! to lease, price and bound an errand; how they are started is `tools`' matter.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::ModelRef;
use crate::time::Millis;
use crate::units::QuotaUnits;

/// Input of one errand, all its requests together; below every known surcharge for long input.
const INPUT_TOKENS: u64 = 250_000;
/// Output of one errand, reasoning included.
const OUTPUT_TOKENS: u32 = 32_000;
/// From an errand's start to its answer.
const TIMEOUT: Millis = Millis(600_000);

/// How an agent's work is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Billing {
    /// By its tokens, at the prices of the catalog.
    #[default]
    Tokens,
    /// Out of a subscription's quota: no money, but units.
    Quota,
}

/// What bounds an agent's errands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentPolicy {
    /// How it is paid.
    pub billing: Billing,
    /// Input of one errand at most: its lease. One that reports more is stopped.
    pub max_input_tokens: u64,
    /// Output of one errand at most, likewise.
    pub max_output_tokens: u32,
    /// An errand that takes longer is stopped.
    pub timeout: Millis,
    /// Units of one errand by model; a model that is not listed counts as 1 where a quota pays, else as nothing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub units: BTreeMap<String, QuotaUnits>,
}

impl Default for AgentPolicy {
    fn default() -> Self {
        Self {
            billing: Billing::Tokens,
            max_input_tokens: INPUT_TOKENS,
            max_output_tokens: OUTPUT_TOKENS,
            timeout: TIMEOUT,
            units: BTreeMap::new(),
        }
    }
}

impl AgentPolicy {
    /// What one errand of this model counts against the quota.
    pub fn units_of(&self, model: &ModelRef) -> QuotaUnits {
        let usual = match self.billing {
            Billing::Quota => QuotaUnits::ONE,
            Billing::Tokens => QuotaUnits::default(),
        };
        self.units.get(model.model()).copied().unwrap_or(usual)
    }
}

impl super::Policy {
    /// What bounds a model's errands, if an agent runs it.
    pub fn agent(&self, model: &ModelRef) -> Option<&AgentPolicy> {
        self.agents.get(model.provider())
    }
}
