//! What a call costs, to the nano-dollar, and the most it can cost.
//!
//! A [`Price`] is complete: every service and both lengths have four rates, so pricing a call
//! is four multiplications and no decision. Whatever the vendor does not list is filled in
//! where the price is read ([`Listed::complete`]), never in favour of a smaller bill.

use serde::{Deserialize, Serialize};

use crate::call::Service;
use crate::units::{NanoUsd, Rate, round_up};
use crate::usage::Usage;

/// Rates of one service at one length, in micro-dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rates {
    /// Input that was neither read from nor written to the prompt cache.
    pub input: Rate,
    /// Input read from the prompt cache.
    pub cached: Rate,
    /// Input written to the prompt cache.
    pub write: Rate,
    /// Output, reasoning included.
    pub output: Rate,
}

impl Rates {
    /// The dearer of both, rate by rate.
    fn dearer(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            cached: self.cached.max(other.cached),
            write: self.write.max(other.write),
            output: self.output.max(other.output),
        }
    }

    /// What these tokens cost, in pico-dollars (10⁻¹² USD), exactly.
    pub fn pico(&self, usage: &Usage) -> u128 {
        let special = usage.cached_tokens.saturating_add(usage.cache_write_tokens);
        self.input.pico(usage.input_tokens.saturating_sub(special))
            + self.cached.pico(usage.cached_tokens)
            + self.write.pico(usage.cache_write_tokens)
            + self.output.pico(usage.output_tokens)
    }

    /// What a token of input costs at the worst.
    fn worst_input(self) -> Rate {
        self.input.max(self.cached).max(self.write)
    }
}

/// All rates of one model from one day on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// By service: default, flex, priority, batch.
    short: [Rates; 4],
    /// Rates of the whole call once its input passes `long_over`.
    long: [Rates; 4],
    /// Input tokens above which `long` applies; `None`: there is no surcharge.
    long_over: Option<u64>,
    /// Services the vendor lists a price for.
    listed: [bool; 4],
}

/// Input of a call that has not been sent, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputSize {
    /// Counted with the model's own tokenizer, framing included.
    Exact(u64),
    /// Bytes of the serialised request (UTF-8), framing included: no token is shorter than a byte.
    Bytes(u64),
}

impl InputSize {
    /// No more tokens than this.
    pub fn tokens(self) -> u64 {
        match self {
            Self::Exact(n) | Self::Bytes(n) => n,
        }
    }
}

fn at(service: Service) -> usize {
    match service {
        Service::Default => 0,
        Service::Flex => 1,
        Service::Priority => 2,
        Service::Batch => 3,
    }
}

impl Price {
    /// The price of a model that costs nothing, such as one on this machine.
    pub const FREE: Self = {
        let free = [Rates { input: Rate(0), cached: Rate(0), write: Rate(0), output: Rate(0) }; 4];
        Self { short: free, long: free, long_over: None, listed: [true; 4] }
    };

    /// Whether the vendor lists a price for this service. Where not, the default price is charged.
    pub fn offers(&self, service: Service) -> bool {
        self.listed[at(service)]
    }

    /// Input tokens above which the whole call costs more.
    pub fn long_over(&self) -> Option<u64> {
        self.long_over
    }

    /// Rates of a call with this many input tokens.
    pub fn rates(&self, service: Service, input_tokens: u64) -> Rates {
        match self.long_over {
            Some(over) if input_tokens > over => self.long[at(service)],
            _ => self.short[at(service)],
        }
    }
}

/// What a call cost: (input − cached − write)·in + cached·cached_in + write·write_in + output·out
/// (responses-api.md §2), at the service really given, rounded up once.
pub fn cost(price: &Price, usage: &Usage, service: Service) -> NanoUsd {
    round_up(price.rates(service, usage.input_tokens).pico(usage))
}

/// What several calls cost together, none of which was long enough for a surcharge: an agent's errand.
pub fn cost_of_many(price: &Price, usage: &Usage) -> NanoUsd {
    round_up(price.rates(Service::Default, 0).pico(usage))
}

/// The most several calls can cost together, none of them long enough for a surcharge.
pub fn worst_case_of_many(price: &Price, input_tokens: u64, output_tokens: u32) -> NanoUsd {
    let rates = price.rates(Service::Default, 0);
    round_up(rates.worst_input().pico(input_tokens) + rates.output.pico(u64::from(output_tokens)))
}

/// The most a call can cost: what its lease holds.
///
/// Input uncached (or written to the cache where that is dearer), output to the limit, at the
/// surcharge for long input if the input can reach it. A call that asks for flex or priority
/// may be served as default, so it is leased at the dearer of both.
pub fn worst_case(price: &Price, input: InputSize, max_output_tokens: u32, service: Service) -> NanoUsd {
    let tokens = input.tokens();
    let rates = |input_tokens| match service {
        Service::Default | Service::Batch => price.rates(service, input_tokens),
        Service::Flex | Service::Priority => price.rates(service, input_tokens).dearer(price.rates(Service::Default, input_tokens)),
    };
    // A bound in bytes may pass the threshold while the tokens stay below it: take the dearer.
    let rates = rates(0).dearer(rates(tokens));
    round_up(rates.worst_input().pico(tokens) + rates.output.pico(u64::from(max_output_tokens)))
}

/// Rates as a vendor lists them, holes included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ListedRates {
    pub input: Rate,
    pub cached: Option<Rate>,
    pub write: Option<Rate>,
    pub output: Rate,
}

impl ListedRates {
    /// No cached price: cached input costs as input. No write price: a write costs as much more
    /// than input as it does in `base` (1.25 times for GPT-5.6), or as input.
    fn complete(self, base: Option<&Self>) -> Rates {
        let write = self.write.unwrap_or_else(|| match base {
            Some(Self { write: Some(write), input, .. }) if input.0 > 0 => {
                let scaled = (u128::from(write.0) * u128::from(self.input.0)).div_ceil(u128::from(input.0));
                Rate(u64::try_from(scaled).unwrap_or(u64::MAX))
            }
            _ => self.input,
        });
        Rates { input: self.input, cached: self.cached.unwrap_or(self.input), write, output: self.output }
    }
}

/// One dated price as listed: the default service, the others by [`at`], each short and long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listed {
    pub base: ListedRates,
    pub long_over: Option<u64>,
    pub long: Option<ListedRates>,
    pub flex: Option<ListedRates>,
    pub flex_long: Option<ListedRates>,
    pub priority: Option<ListedRates>,
    pub priority_long: Option<ListedRates>,
    pub batch: Option<ListedRates>,
    pub batch_long: Option<ListedRates>,
}

impl Listed {
    /// Fills the holes. A service without a price costs as default; a service without a price for
    /// long input costs the dearer of its own price and the default one for long input.
    pub fn complete(&self) -> Price {
        let base = self.base.complete(None);
        let base_long = self.long.map_or(base, |l| l.complete(Some(&self.base)));
        let short = |own: Option<ListedRates>| own.map_or(base, |l| l.complete(Some(&self.base)));
        let long = |own: Option<ListedRates>, own_long: Option<ListedRates>| match (own, own_long) {
            (_, Some(listed)) => listed.complete(Some(&self.base)),
            (Some(_), None) => short(own).dearer(base_long),
            (None, None) => base_long,
        };
        Price {
            short: [base, short(self.flex), short(self.priority), short(self.batch)],
            long: [base_long, long(self.flex, self.flex_long), long(self.priority, self.priority_long), long(self.batch, self.batch_long)],
            long_over: self.long_over,
            listed: [true, self.flex.is_some(), self.priority.is_some(), self.batch.is_some()],
        }
    }
}
