//! A call between its intent and its outcome.

use super::Key;
use crate::budget::HomeLease;
use crate::call::Service;
use crate::ids::{ModelRef, Tier};
use crate::run::event::{CallNo, Caller};
use crate::time::Timestamp;

/// A call in flight.
#[derive(Debug, Clone, PartialEq)]
pub struct InFlight {
    /// On whose behalf.
    pub caller: Caller,
    /// The unit, by position.
    pub key: Option<Key>,
    /// On which tier.
    pub tier: Tier,
    /// Which model.
    pub model: ModelRef,
    /// The service asked for.
    pub service: Service,
    /// The batch it is in.
    pub batch: Option<u32>,
    /// Since when.
    pub since: Timestamp,
    /// Its lease of the home, if it needed one.
    pub home: Option<HomeLease>,
    /// The other request for the same answer, while both are in flight.
    pub rival: Option<CallNo>,
    /// The other one answered first: what this one brings is paid for and not used.
    pub outrun: bool,
}
