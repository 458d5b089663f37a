//! A model that answers from a script, in memory: for tests and for simulation.
//!
//! Honest: it logs every call it got, streams its text in pieces like a real one, and answers a call
//! it has no line for with an error that says so. It does not imitate HTTP; the emulator does.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use brigade_kernel::call::{Answer, Call, CallError, ErrorClass, Item, Speaker};
use brigade_kernel::usage::Usage;

use crate::{BoxFuture, Delta, Model};

type Reply = Result<Answer, CallError>;
type Rule = Box<dyn Fn(&Call) -> Option<Reply> + Send + Sync>;

/// Answers from rules (first match) or, where none matches, from a queue of replies.
#[derive(Default)]
pub struct Scripted {
    rules: Vec<Rule>,
    queue: Mutex<VecDeque<Reply>>,
    calls: Mutex<Vec<Call>>,
    delay: Option<Duration>,
}

impl Scripted {
    /// A model with no lines yet: every call is an error.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule; the first that returns something answers, as often as it is asked.
    #[must_use]
    pub fn rule(mut self, rule: impl Fn(&Call) -> Option<Reply> + Send + Sync + 'static) -> Self {
        self.rules.push(Box::new(rule));
        self
    }

    /// Adds a reply that is given once, after those added before it.
    #[must_use]
    pub fn then(self, reply: Reply) -> Self {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(reply);
        self
    }

    /// Waits this long before each answer.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Every call so far, in the order they came.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A plain text answer with the usage given as input and output tokens.
    pub fn text(text: &str, input_tokens: u64, output_tokens: u64) -> Reply {
        Ok(Answer {
            text: text.to_owned(),
            items: vec![Item::message(Speaker::Assistant, text)],
            usage: Some(Usage { input_tokens, output_tokens, ..Usage::default() }),
            ..Answer::default()
        })
    }

    /// An answer that calls tools: `(call_id, name, arguments)`.
    pub fn tools(calls: &[(&str, &str, &str)], input_tokens: u64, output_tokens: u64) -> Reply {
        let call = |&(call_id, name, arguments): &(&str, &str, &str)| Item::ToolCall {
            call_id: call_id.to_owned(),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
        };
        Ok(Answer {
            items: calls.iter().map(call).collect(),
            usage: Some(Usage { input_tokens, output_tokens, ..Usage::default() }),
            ..Answer::default()
        })
    }

    fn reply(&self, call: &Call) -> Reply {
        let reply = self.rules.iter().find_map(|rule| rule(call));
        let reply = reply.or_else(|| self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front());
        let mut answer = reply.unwrap_or_else(|| {
            Err(CallError {
                status: Some(500),
                code: Some("no_line".to_owned()),
                ..CallError::new(ErrorClass::BadRequest, format!("the script has no line for call {}", call.request_id))
            })
        })?;
        answer.model.get_or_insert_with(|| call.model.model().to_owned());
        Ok(answer)
    }
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripted").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

impl Model for Scripted {
    fn call<'a>(&'a self, call: &'a Call, sink: &'a mut (dyn FnMut(Delta<'_>) + Send)) -> BoxFuture<'a, Result<Answer, CallError>> {
        Box::pin(async move {
            // Logged before the wait: a cancelled call was still made.
            self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call.clone());
            if let Some(delay) = self.delay {
                tokio::time::sleep(delay).await;
            }
            let answer = self.reply(call)?;
            let mut rest = answer.text.as_str();
            while !rest.is_empty() {
                let cut = rest.char_indices().nth(16).map_or(rest.len(), |(at, _)| at);
                sink(Delta::Text(&rest[..cut]));
                rest = &rest[cut..];
                tokio::task::yield_now().await;
            }
            Ok(answer)
        })
    }
}
