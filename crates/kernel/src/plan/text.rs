//! Spans and amounts as people write them: `"90s"`, `0.25`.

use crate::time::Millis;
use crate::units::NanoUsd;

/// Reads `250ms`, `90s`, `15m`, `2h`, `1d`; whole numbers, one unit.
pub fn parse_span(text: &str) -> Option<Millis> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor).map(Millis)
}

/// The shortest text that [`parse_span`] reads back as `span`.
pub fn write_span(span: Millis) -> String {
    span.to_string()
}

/// An amount from a JSON number of dollars; rounded to nano-dollars.
pub fn usd_from_f64(dollars: f64) -> Option<NanoUsd> {
    if !(0.0..=1e9).contains(&dollars) {
        return None;
    }
    NanoUsd::parse_usd(&format!("{dollars:.9}"))
}

/// Serde form of an optional span: text with a unit.
pub(super) mod span {
    use super::{Millis, parse_span, write_span};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::ref_option, reason = "serde's `with` hands a reference to the field")]
    pub fn serialize<S: Serializer>(value: &Option<Millis>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(span) => to.serialize_str(&write_span(*span)),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Millis>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|t| parse_span(&t).ok_or_else(|| D::Error::custom("not a span such as 90s"))).transpose()
    }
}

/// Serde form of an optional amount: a JSON number of dollars.
pub(super) mod usd {
    use super::{NanoUsd, usd_from_f64};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::ref_option, reason = "serde's `with` hands a reference to the field")]
    pub fn serialize<S: Serializer>(value: &Option<NanoUsd>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(amount) => to.serialize_f64(amount.0 as f64 / 1e9),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<NanoUsd>, D::Error> {
        let number = Option::<f64>::deserialize(from)?;
        number.map(|n| usd_from_f64(n).ok_or_else(|| D::Error::custom("not an amount of dollars"))).transpose()
    }
}
