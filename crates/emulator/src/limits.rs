//! `[limits]`: an account that serves only so much, and says in its headers how much is left.
//!
//! Requests and tokens are buckets that refill by the millisecond, as the real service's do: a refused request takes
//! nothing, and the headers of every answer tell what is left after it. Slots are a server that works on so many calls
//! at once and keeps the others waiting.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::refusal::Refusal;

/// `[limits]` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsToml {
    requests_per_minute: Option<u64>,
    tokens_per_minute: Option<u64>,
    burst: Option<u64>,
    slots: Option<usize>,
    refuses_for_ms: Option<u64>,
}

/// What the account serves.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    requests: Option<Mutex<Bucket>>,
    tokens: Option<Mutex<Bucket>>,
    slots: Option<Arc<Semaphore>>,
    /// From the first request on, for so long, everything is refused.
    refuses_for: Option<Duration>,
    first: Mutex<Option<Instant>>,
}

/// What refills with time.
#[derive(Debug)]
struct Bucket {
    per_minute: u64,
    holds: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn new(per_minute: u64, holds: u64) -> Self {
        Self { per_minute, holds: holds as f64, level: holds as f64, at: Instant::now() }
    }

    fn per_second(&self) -> f64 {
        self.per_minute as f64 / 60.0
    }

    fn flow(&mut self) {
        let now = Instant::now();
        self.level = (self.level + (now - self.at).as_secs_f64() * self.per_second()).min(self.holds);
        self.at = now;
    }

    /// How long until `n` are there; zero: they are. What is more than it holds is there when it is full.
    fn wait(&self, n: u64) -> Duration {
        Duration::from_secs_f64(((n as f64).min(self.holds) - self.level).max(0.0) / self.per_second())
    }

    fn headers(&self, kind: &str) -> [(HeaderName, HeaderValue); 3] {
        let full = Duration::from_secs_f64((self.holds - self.level).max(0.0) / self.per_second());
        let pair = |name: &str, value: String| {
            let name = HeaderName::try_from(format!("x-ratelimit-{name}-{kind}")).expect("a plain name");
            (name, HeaderValue::try_from(value).expect("digits and units"))
        };
        [
            pair("limit", self.per_minute.to_string()),
            pair("remaining", (self.level.max(0.0) as u64).to_string()),
            pair("reset", go_duration(full)),
        ]
    }
}

/// As the service writes spans: `12ms`, `1.5s`, `6m0s`.
fn go_duration(span: Duration) -> String {
    let ms = span.as_millis();
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{}s", ms as f64 / 1_000.0),
        _ => format!("{}m{}s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

/// What a request meets.
pub(crate) struct Met {
    /// Of the answer, refused or not.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) refusal: Option<Refusal>,
}

impl LimitsToml {
    /// Checks what was written.
    pub(crate) fn check(self) -> Result<Limits, String> {
        for (name, value) in [
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
            ("burst", self.burst),
            ("slots", self.slots.map(|n| n as u64)),
        ] {
            if value.is_some_and(|n| !(1..=1_000_000_000).contains(&n)) {
                return Err(format!("limits.{name}: use 1 to 1000000000, or leave it out for no limit"));
            }
        }
        if self.burst.is_some() && self.requests_per_minute.is_none() {
            return Err("limits.burst is of requests_per_minute: give that too".to_owned());
        }
        if self.refuses_for_ms.is_some_and(|ms| ms > 3_600_000) {
            return Err("limits.refuses_for_ms is over an hour: use at most 3600000".to_owned());
        }
        Ok(Limits {
            requests: self.requests_per_minute.map(|n| Mutex::new(Bucket::new(n, self.burst.unwrap_or(n)))),
            tokens: self.tokens_per_minute.map(|n| Mutex::new(Bucket::new(n, n))),
            slots: self.slots.map(|n| Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS)))),
            refuses_for: self.refuses_for_ms.map(Duration::from_millis),
            first: Mutex::new(None),
        })
    }
}

impl Limits {
    /// Whether anything is limited by the minute, or refused for a while.
    pub(crate) fn meter(&self) -> bool {
        self.requests.is_some() || self.tokens.is_some() || self.refuses_for.is_some()
    }

    /// A request comes that may take so many tokens.
    pub(crate) fn meet(&self, model: &str, tokens: u64) -> Met {
        let mut headers = Vec::new();
        let mut waits: Vec<(&str, &str, Duration)> = Vec::new();
        if let Some(span) = self.refuses_for {
            let first = *self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
            if first.elapsed() < span {
                waits.push(("requests", "requests per min (RPM)", Duration::from_millis(1)));
            }
        }
        let mut held: Vec<_> =
            [("requests", "requests per min (RPM)", &self.requests, 1), ("tokens", "tokens per min (TPM)", &self.tokens, tokens)]
                .into_iter()
                .filter_map(|(kind, words, bucket, n)| {
                    Some((kind, words, bucket.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner), n))
                })
                .collect();
        for (kind, words, bucket, n) in &mut held {
            bucket.flow();
            let wait = bucket.wait(*n);
            if !wait.is_zero() {
                waits.push((kind, words, wait));
            }
        }
        for (kind, _, bucket, n) in &mut held {
            if waits.is_empty() {
                bucket.level -= *n as f64;
            }
            headers.extend(bucket.headers(kind));
        }
        let refusal = waits.into_iter().max_by_key(|(_, _, wait)| *wait).map(|(kind, words, wait)| {
            let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
            headers.push((HeaderName::from_static("retry-after"), HeaderValue::from(seconds)));
            Refusal {
                status: 429,
                message: format!("Rate limit reached for {model} on {words}. Please try again in {}.", go_duration(wait)),
                kind: kind.to_owned(),
                param: None,
                code: Some("rate_limit_exceeded".to_owned()),
            }
        });
        Met { headers, refusal }
    }

    /// Waits for a slot; it is free again when the answer has gone.
    pub(crate) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(self.slots.as_ref()?).acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(met: &Met, name: &str) -> String {
        let value = met.headers.iter().find(|(header, _)| header.as_str() == name).map(|(_, value)| value.to_str().unwrap());
        value.unwrap_or("(absent)").to_owned()
    }

    #[test]
    fn headers_count_down_and_a_refusal_takes_nothing() {
        let written = LimitsToml { requests_per_minute: Some(1), burst: Some(2), tokens_per_minute: Some(100), ..LimitsToml::default() };
        let limits = written.check().unwrap();
        let first = limits.meet("m", 60);
        assert!(first.refusal.is_none());
        assert_eq!((told(&first, "x-ratelimit-limit-requests"), told(&first, "x-ratelimit-remaining-requests")), ("1".into(), "1".into()));
        assert!(told(&first, "x-ratelimit-remaining-tokens").starts_with('4'));
        let second = limits.meet("m", 60);
        assert_eq!(second.refusal.as_ref().map(|refusal| (refusal.status, refusal.kind.as_str())), Some((429, "tokens")));
        assert_eq!(told(&second, "x-ratelimit-remaining-requests"), "1");
        assert!(told(&second, "retry-after").parse::<u64>().unwrap() >= 10);
        assert!(limits.meet("m", 10).refusal.is_none());
        assert_eq!(limits.meet("m", 1).refusal.unwrap().kind, "requests");
    }

    #[test]
    fn spans_are_written_as_the_service_writes_them() {
        for (ms, text) in [(0, "0ms"), (12, "12ms"), (1_500, "1.5s"), (360_000, "6m0s")] {
            assert_eq!(go_duration(Duration::from_millis(ms)), text);
        }
    }
}
