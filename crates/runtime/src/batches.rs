//! Batches followed from their upload to their last line: the only loop here that asks again, for hours if need be.
//!
//! It decides nothing about calls: each line is an answer like any other, and what has no line the kernel ends. A batch
//! whose making was not heard of is looked for by its key, so that none is made twice.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use brigade_kernel::call::{Call, CallError, ErrorClass};
use brigade_kernel::ids::{ModelRef, RunId};
use brigade_kernel::run::{Action, BatchEnd, CallNo, Fact, Run};
use brigade_kernel::time::Millis;
use brigade_models::{Batch, BatchLine, Batches, Model};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::engine::Models;

/// A batch that is cancelled is asked after so often; the provider takes minutes.
const SOON: Duration = Duration::from_secs(2);
/// After so many looks they come more rarely, up to [`RARELY`] times.
const OFTEN: u32 = 20;
/// How much more rarely at most.
const RARELY: u32 = 10;
/// How often a result file is asked for before its lines are given up.
const READS: u32 = 20;

/// What an engine holds for its batches; who follows them stops with it.
#[derive(Debug)]
pub struct Travel {
    /// Gathered calls, as the lines they will be.
    lines: HashMap<CallNo, Vec<u8>>,
    /// Cancelled once nobody wants what batches still bring.
    given_up: CancellationToken,
    gone: DropGuard,
}

impl Default for Travel {
    fn default() -> Self {
        Self { lines: HashMap::new(), given_up: CancellationToken::new(), gone: CancellationToken::new().drop_guard() }
    }
}

impl Travel {
    /// Writes the line of a leased call.
    ///
    /// # Errors
    /// When its provider has no Batch API: it was not sent, and may be sent by itself.
    pub fn join(&mut self, no: CallNo, call: &Call, models: &Models) -> Result<(), CallError> {
        let provider = call.model.provider();
        let Some(batches) = models.get(provider).and_then(|model| model.batches()) else {
            let error = CallError::new(ErrorClass::UnsupportedField, format!("provider {provider} has no Batch API"));
            return Err(CallError { param: Some("service_tier".to_owned()), sent: false, ..error });
        };
        self.lines.insert(no, batches.line(call));
        Ok(())
    }

    /// What an [`Action::Batch`] sets off; `None` for any other action.
    pub fn trip(&mut self, run: &Run, action: Action) -> Option<Trip> {
        let Action::Batch { batch, key, model, calls, id, fresh } = action else { return None };
        let mut lines = Vec::new();
        for line in calls.iter().filter_map(|call| self.lines.remove(call)) {
            lines.extend_from_slice(&line);
        }
        let poll = run.state().start().policy.service.batch_poll.into();
        let calls = calls.into_iter().collect();
        Some(Trip { run: run.state().run().clone(), batch, key, model, calls, id, lines: fresh.then_some(lines), poll })
    }

    /// Sends a batch, or finds it, and waits for it in a task of its own.
    pub fn follow(&self, trip: Trip, models: &Models, facts: &UnboundedSender<Fact>) {
        let Some(model) = models.get(trip.model.provider()).cloned() else {
            let error = CallError::new(ErrorClass::Refused, format!("no provider is called {:?}", trip.model.provider()));
            // The receiver is the engine.
            let _ = facts.send(Fact::BatchRefused { batch: trip.batch, error });
            return;
        };
        tokio::spawn(follow(trip, model, facts.clone(), self.given_up.clone(), self.gone.token().child_token()));
    }

    /// Nobody wants what batches still bring: their providers are asked to stop them.
    pub fn give_up(&self) {
        self.given_up.cancel();
    }
}

/// A batch to be sent, or found and waited for.
#[derive(Debug)]
pub struct Trip {
    /// The run.
    pub run: RunId,
    /// Its number in the run.
    pub batch: u32,
    /// Our name for it.
    pub key: String,
    /// The model of its calls.
    pub model: ModelRef,
    /// Calls that have not come back.
    pub calls: HashSet<CallNo>,
    /// The provider's name for it, where it is known.
    pub id: Option<String>,
    /// The lines, of one that nobody has heard of yet.
    pub lines: Option<Vec<u8>>,
    /// How often it is asked after.
    pub poll: Duration,
}

/// Why nobody waits any longer.
enum Left {
    /// The batch ended, or never was.
    Over(BatchEnd),
    /// The provider does not answer us; it may go on working.
    Refused(CallError),
}

/// Follows a batch to its end. `given_up`: the provider is asked to stop it; `gone`: nobody listens any more.
async fn follow(trip: Trip, model: Arc<dyn Model>, facts: UnboundedSender<Fact>, given_up: CancellationToken, gone: CancellationToken) {
    let batch = trip.batch;
    let left = tokio::select! {
        left = travel(trip, &*model, &facts, given_up) => left,
        () = gone.cancelled() => return,
    };
    let fact = match left {
        Left::Over(end) => Fact::BatchOver { batch, end },
        Left::Refused(error) => Fact::BatchRefused { batch, error },
    };
    let _ = facts.send(fact);
}

async fn travel(mut trip: Trip, model: &dyn Model, facts: &UnboundedSender<Fact>, given_up: CancellationToken) -> Left {
    let Some(batches) = model.batches() else {
        let message = format!("provider {} has no Batch API: set batch in its configuration if it does", trip.model.provider());
        return match trip.id {
            None => Left::Over(BatchEnd::NotTaken(CallError::new(ErrorClass::BadRequest, message))),
            Some(_) => Left::Refused(CallError::new(ErrorClass::Refused, message)),
        };
    };
    let since = Instant::now();
    let fresh = trip.lines.is_some();
    let id = match made(&mut trip, batches).await {
        Ok(id) => id,
        Err(left) => return left,
    };
    let _ = facts.send(Fact::BatchCreated { batch: trip.batch, id: id.clone() });
    let over = match wait(&trip, &id, batches, given_up, fresh).await {
        Ok(over) => over,
        Err(left) => return left,
    };
    let _ = facts.send(Fact::BatchLands { batch: trip.batch });
    let status = match &over.why {
        Some(why) => format!("{}: {why}", over.status),
        None => over.status.clone(),
    };
    for file in [over.output_file, over.error_file].into_iter().flatten() {
        if let Err(left) = land(&trip, &file, batches, since, facts).await {
            return left;
        }
    }
    Left::Over(BatchEnd::Over { status })
}

/// The provider's name for the batch: known, given now, or found.
async fn made(trip: &mut Trip, batches: Batches<'_>) -> Result<String, Left> {
    if let Some(id) = trip.id.take() {
        return Ok(id);
    }
    // Nobody's failure: the engine died before it was made.
    let mut unheard = CallError { sent: false, ..CallError::new(ErrorClass::Cancelled, "the provider knows no batch of this name") };
    if let Some(lines) = trip.lines.take() {
        match batches.start(&trip.key, lines).await {
            Ok(batch) => return Ok(batch.id),
            Err(error) if !error.sent || error.status.is_some_and(|status| (400..500).contains(&status)) => {
                return Err(Left::Over(BatchEnd::NotTaken(error)));
            }
            Err(error) => unheard = error,
        }
    }
    for asked in 1.. {
        match batches.find(&trip.key).await {
            Ok(Some(batch)) => return Ok(batch.id),
            Ok(None) => return Err(Left::Over(BatchEnd::NotTaken(unheard))),
            Err(error) => transient(error)?,
        }
        tokio::time::sleep(pause(trip.poll, asked)).await;
    }
    unreachable!("the loop has no end of its own")
}

/// Waits until the provider says that it is over.
async fn wait(trip: &Trip, id: &str, batches: Batches<'_>, given_up: CancellationToken, fresh: bool) -> Result<Batch, Left> {
    let mut told = false;
    for looks in u32::from(fresh).. {
        let span = if looks == 0 { Duration::ZERO } else { pause(trip.poll, looks) };
        tokio::select! {
            () = tokio::time::sleep(if told { span.min(SOON) } else { span }) => {}
            () = given_up.cancelled(), if !told => {
                match batches.cancel(id).await {
                    Ok(()) => told = true,
                    // Over already, most likely: looking tells. Else it is asked once more.
                    Err(error) => {
                        transient(error).or_else(|left| if is_over(&left) { Ok(()) } else { Err(left) })?;
                        tokio::time::sleep(SOON.min(trip.poll)).await;
                    }
                }
            }
        }
        match batches.look(id).await {
            Ok(batch) if batch.is_over() => return Ok(batch),
            Ok(_) => {}
            Err(error) if error.status == Some(404) => return Err(Left::Over(BatchEnd::Gone { why: error.message })),
            Err(error) => transient(error)?,
        }
    }
    unreachable!("the loop has no end of its own")
}

fn is_over(left: &Left) -> bool {
    matches!(left, Left::Over(_))
}

/// Hands on the lines of a result file.
async fn land(trip: &Trip, file: &str, batches: Batches<'_>, since: Instant, facts: &UnboundedSender<Fact>) -> Result<(), Left> {
    let prefix = format!("{}-c", trip.run);
    for reads in 1..=READS {
        let mut each = |line: BatchLine| {
            let call = line.request_id.strip_prefix(&prefix).and_then(|no| no.parse().ok()).map(CallNo);
            // What came before is known by then; what was never asked is nobody's answer.
            if let Some(call) = call.filter(|call| trip.calls.contains(call)) {
                let ms = Millis(since.elapsed().as_millis() as u64);
                let _ = facts.send(Fact::Answered { call, answer: line.answer, ms, first_ms: None, worked: None });
            }
        };
        match batches.read(file, &trip.model, &mut each).await {
            Ok(()) => return Ok(()),
            Err(error) if reads == READS || error.status == Some(404) => {
                return Err(Left::Over(BatchEnd::Gone { why: format!("its results cannot be read: {}", error.message) }));
            }
            Err(error) => transient(error)?,
        }
        tokio::time::sleep(pause(trip.poll, reads)).await;
    }
    unreachable!("the last try returns")
}

/// Goes on after an error that may pass.
fn transient(error: CallError) -> Result<(), Left> {
    match error.class {
        ErrorClass::Refused | ErrorClass::QuotaExhausted => Err(Left::Refused(error)),
        // A request about a batch that will never succeed.
        ErrorClass::BadRequest => Err(Left::Over(BatchEnd::Gone { why: error.message })),
        _ => Ok(()),
    }
}

fn pause(poll: Duration, looks: u32) -> Duration {
    poll * (looks / OFTEN + 1).min(RARELY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_asked_after_more_rarely_the_longer_it_takes() {
        let poll = Duration::from_secs(30);
        assert_eq!([1, 19, 20, 40, 10_000].map(|looks| pause(poll, looks).as_secs()), [30, 30, 60, 90, 300]);
    }
}
