//! Amounts as people write them: read once, exactly, or refused with the field's name.

use crate::units::NanoUsd;

/// The largest budget taken, in dollars, so that sums of budgets stay within 64 bits.
const MOST_DOLLARS: u64 = 1_000_000_000;

/// The largest token budget taken.
const MOST_TOKENS: u64 = 1_000_000_000_000_000;

/// An amount that is no budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value:?} is no budget: {why}")]
pub struct BadAmount {
    /// The flag or configuration key, e.g. `--max-budget-usd`.
    pub field: String,
    /// The value as given, cut to 80 characters.
    pub value: String,
    /// What is wrong with it.
    pub why: Why,
}

/// What is wrong with an amount, and what to write instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Nothing can run on nothing.
    #[error("it must be more than 0; leave it out for the default")]
    Zero,
    /// Below zero.
    #[error("it must not be negative")]
    Negative,
    /// No decimal number: words, NaN, infinity, currency signs.
    #[error("write a decimal number, such as 5 or 0.25")]
    NotANumber,
    /// An exponent: too easy to mistype.
    #[error("write the number out, without an exponent")]
    Exponent,
    /// Finer than a nano-dollar.
    #[error("write at most 9 decimal places")]
    TooFine,
    /// Past the largest amount taken.
    #[error("it must not be more than {limit}")]
    TooLarge {
        /// The largest amount taken.
        limit: u64,
    },
    /// A fraction of a token.
    #[error("write a whole number of tokens")]
    NotWhole,
}

/// Reads a budget in dollars from text; a value that came as a number is passed as it was written.
///
/// # Errors
/// [`BadAmount`] for anything but a positive decimal number of at most 9 places, up to a billion.
pub fn parse_usd_cap(field: &str, text: &str) -> Result<NanoUsd, BadAmount> {
    let read = || {
        let digits = plain_number(text)?;
        let places = digits.split_once('.').map_or(0, |(_, fraction)| fraction.trim_end_matches('0').len());
        if places > 9 {
            return Err(Why::TooFine);
        }
        let kept = if digits.contains('.') { digits.trim_end_matches('0') } else { digits };
        let most = NanoUsd(MOST_DOLLARS * NanoUsd::DOLLAR.0);
        let amount = NanoUsd::parse_usd(kept).filter(|amount| *amount <= most);
        let amount = amount.ok_or(Why::TooLarge { limit: MOST_DOLLARS })?;
        if amount == NanoUsd::ZERO { Err(Why::Zero) } else { Ok(amount) }
    };
    read().map_err(|why| bad(field, text, why))
}

/// Reads a token budget from text.
///
/// # Errors
/// [`BadAmount`] for anything but a positive whole number up to 10¹⁵.
pub fn parse_tokens_cap(field: &str, text: &str) -> Result<u64, BadAmount> {
    let read = || {
        let digits = plain_number(text)?;
        if digits.contains('.') {
            return Err(Why::NotWhole);
        }
        match digits.parse::<u64>() {
            Ok(0) => Err(Why::Zero),
            Ok(tokens) if tokens <= MOST_TOKENS => Ok(tokens),
            _ => Err(Why::TooLarge { limit: MOST_TOKENS }),
        }
    };
    read().map_err(|why| bad(field, text, why))
}

/// Digits with at most one point between or beside them.
fn plain_number(text: &str) -> Result<&str, Why> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix('-') {
        return Err(if plain_number(rest) == Err(Why::NotANumber) { Why::NotANumber } else { Why::Negative });
    }
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let is_number = |s: &str| {
        s.bytes().any(|b| b.is_ascii_digit())
            && s.bytes().all(|b| b.is_ascii_digit() || b == b'.')
            && s.bytes().filter(|b| *b == b'.').count() <= 1
    };
    if is_number(text) {
        Ok(text)
    } else if mantissa.len() < text.len() && is_number(mantissa) {
        Err(Why::Exponent)
    } else {
        Err(Why::NotANumber)
    }
}

fn bad(field: &str, text: &str, why: Why) -> BadAmount {
    BadAmount { field: field.to_owned(), value: text.chars().take(80).collect(), why }
}
