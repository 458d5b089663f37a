//! What headers and messages say about pace: how long to wait, how much is left.
//!
//! Tells no time: an HTTP date is read against the `now` it is given.

use std::time::{Duration, SystemTime};

use brigade_kernel::call::RateLimits;
use brigade_kernel::time::Millis;

/// Reads Go durations (`1s`, `6m0s`, `12ms`, `1h2m3.5s`); a bare number counts as seconds.
pub(crate) fn duration(text: &str) -> Option<Millis> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return millis(seconds * 1e3);
    }
    let (total, rest) = go_duration(text)?;
    rest.is_empty().then_some(total)
}

/// The Go duration at the start of a text, and what follows it.
fn go_duration(mut text: &str) -> Option<(Millis, &str)> {
    let mut total = None;
    loop {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        // A number that ends a sentence carries its full stop.
        let Ok(value) = text[..digits].parse::<f64>() else {
            break;
        };
        let tail = &text[digits..];
        let units = [("ms", 1.0), ("us", 1e-3), ("µs", 1e-3), ("μs", 1e-3), ("ns", 1e-6), ("h", 3.6e6), ("m", 6e4), ("s", 1e3)];
        let Some((unit, scale)) = units.into_iter().find(|(unit, _)| tail.starts_with(unit)) else {
            break;
        };
        total = Some(total.unwrap_or(0.0) + value * scale);
        text = &tail[unit.len()..];
    }
    Some((millis(total?)?, text))
}

/// Whole milliseconds, rounded up: to come early is to be refused again.
fn millis(value: f64) -> Option<Millis> {
    (0.0..1e15).contains(&value).then(|| Millis(value.ceil() as u64))
}

/// The wait in a message such as "Please try again in 6.2s."
pub(crate) fn said_wait(message: &str) -> Option<Millis> {
    let lower = message.to_ascii_lowercase();
    let at = ["try again in ", "retry after ", "retry in "].iter().find_map(|words| Some(lower.find(words)? + words.len()))?;
    let rest = lower.get(at..)?.trim_start();
    if let Some((wait, _)) = go_duration(rest) {
        // "6 m…" never reaches this: Go writes no spaces.
        return Some(wait);
    }
    let number: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let unit = rest[number.len()..].trim_start();
    let value: f64 = number.trim_end_matches('.').parse().ok()?;
    let scale = if unit.starts_with("milli") || unit.starts_with("ms") {
        1.0
    } else if unit.starts_with('s') {
        1e3
    } else if unit.starts_with("min") {
        6e4
    } else {
        return None;
    };
    millis(value * scale)
}

/// The wait that headers state: `retry-after-ms`, else `retry-after` in seconds or as an HTTP date.
pub(crate) fn header_wait<'a>(header: impl Fn(&str) -> Option<&'a str>, now: SystemTime) -> Option<Millis> {
    if let Some(wait) = header("retry-after-ms").and_then(|text| text.trim().parse().ok()).and_then(millis) {
        return Some(wait);
    }
    let text = header("retry-after")?.trim();
    if let Some(wait) = duration(text) {
        return Some(wait);
    }
    // The server's own clock, where it tells it, so that ours may be wrong.
    let now = header("date").and_then(|date| httpdate::parse_http_date(date.trim()).ok()).unwrap_or(now);
    let at = httpdate::parse_http_date(text).ok()?;
    let wait = at.duration_since(now).unwrap_or(Duration::ZERO);
    Some(Millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
}

/// The six `x-ratelimit-*` headers; `None` when none says anything.
pub(crate) fn limits<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<RateLimits> {
    let number = |name: &str| header(name).and_then(|text| text.trim().parse::<i64>().ok());
    // Azure sends -1 or 0 for a limit it does not know, and then the rest means nothing either.
    let limit = |name: &str| number(name).filter(|limit| *limit > 0).and_then(|limit| u64::try_from(limit).ok());
    let left = |name: &str, limit: Option<u64>| {
        let left = number(name).and_then(|left| u64::try_from(left).ok());
        left.filter(|left| *left > 0 || limit.is_some())
    };
    let (requests, tokens) = (limit("x-ratelimit-limit-requests"), limit("x-ratelimit-limit-tokens"));
    let reset = |name: &str| header(name).and_then(duration);
    let limits = RateLimits {
        limit_requests: requests,
        remaining_requests: left("x-ratelimit-remaining-requests", requests),
        reset_requests: reset("x-ratelimit-reset-requests"),
        limit_tokens: tokens,
        remaining_tokens: left("x-ratelimit-remaining-tokens", tokens),
        reset_tokens: reset("x-ratelimit-reset-tokens"),
    };
    (limits != RateLimits::default()).then_some(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go_and_bare_seconds_are_read() {
        let cases = [
            ("1s", Some(1_000)),
            ("6m0s", Some(360_000)),
            ("12ms", Some(12)),
            ("1h2m3.5s", Some(3_723_500)),
            ("7.66s", Some(7_660)),
            ("120µs", Some(1)),
            ("0s", Some(0)),
            ("0", Some(0)),
            ("2", Some(2_000)),
            ("-1", None),
            ("", None),
            ("soon", None),
            ("5s later", None),
        ];
        for (text, expected) in cases {
            assert_eq!(duration(text), expected.map(Millis), "{text:?}");
        }
    }

    #[test]
    fn waits_in_messages_are_read() {
        let cases = [
            ("Rate limit reached. Please try again in 6.2s. Visit", Some(6_200)),
            ("Please try again in 350ms.", Some(350)),
            ("try again in 1m30s", Some(90_000)),
            ("Try again in 3 seconds.", Some(3_000)),
            ("try again in 2 minutes", Some(120_000)),
            ("retry after 5s", Some(5_000)),
            ("try again in a while", None),
            ("try again in ", None),
            ("nothing", None),
        ];
        for (text, expected) in cases {
            assert_eq!(said_wait(text), expected.map(Millis), "{text:?}");
        }
    }

    #[test]
    fn headers_state_waits_in_three_forms() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let wait =
            |pairs: &[(&str, &'static str)]| header_wait(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value), now);
        assert_eq!(wait(&[("retry-after", "7")]), Some(Millis(7_000)));
        assert_eq!(wait(&[("retry-after", "7"), ("retry-after-ms", "1500.5")]), Some(Millis(1_501)));
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT")]), Some(Millis(3_000)));
        let ahead = [("retry-after", "Sun, 06 Nov 1994 09:00:10 GMT"), ("date", "Sun, 06 Nov 1994 09:00:00 GMT")];
        assert_eq!(wait(&ahead), Some(Millis(10_000)));
        assert_eq!(wait(&[("retry-after", "later")]), None);
        assert_eq!(wait(&[]), None);
    }

    #[test]
    fn unknown_limits_of_azure_are_ignored() {
        let read = |pairs: &[(&str, &'static str)]| limits(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value));
        let azure = [
            ("x-ratelimit-limit-requests", "-1"),
            ("x-ratelimit-remaining-requests", "-1"),
            ("x-ratelimit-limit-tokens", "0"),
            ("x-ratelimit-remaining-tokens", "0"),
        ];
        assert_eq!(read(&azure), None);
        let spent =
            [("x-ratelimit-limit-requests", "500"), ("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "6m0s")];
        let spent = read(&spent).unwrap();
        assert_eq!((spent.limit_requests, spent.remaining_requests), (Some(500), Some(0)));
        assert_eq!(spent.reset_requests, Some(Millis(360_000)));
    }
}
