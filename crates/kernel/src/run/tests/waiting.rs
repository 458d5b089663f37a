//! Waiting costs nothing, and is measured: a call made on behalf of somebody who was to wait shows.

use serde_json::json;

use super::world::*;
use crate::call::ErrorClass;
use crate::run::*;
use crate::time::Timestamp;

/// A run whose only subtask is refused twice, and who is asked about it.
fn refused() -> World {
    let plan = json!([{"id": "s0", "type": "classify", "description": "label it"}]);
    let mut world = World::given(plan).script(|asked| match (asked.caller, asked.nth) {
        (Caller::Executor { .. }, 0..2) => error(ErrorClass::RateLimited),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    world
}

fn waited(events: impl IntoIterator<Item = Stamped>) -> Waited {
    let mut state = State::default();
    events.into_iter().for_each(|stamped| state.apply(&stamped));
    state.waiting.waited
}

#[test]
fn a_run_that_waits_for_its_provider_spends_nothing_meanwhile() {
    let world = refused();
    assert_eq!(waited(world.durable.clone()), Waited::default());
    assert_eq!(world.run.state().ended.as_ref().unwrap().waited.tokens, 0);
}

#[test]
fn a_call_made_before_its_time_shows_with_its_tokens() {
    let mut events = refused().durable;
    let third = |e: &Stamped| matches!(&e.event, Event::CallStarted { call: CallNo(3), .. });
    let at = events.iter().position(third).unwrap();
    // It was parked until just before this one.
    events[at].at = Timestamp(events[at - 1].at.0 + 1);
    let found = waited(events);
    assert_eq!(found.calls, 1);
    assert!(found.tokens > 0, "{found:?}");
}

#[test]
fn standing_still_counts_from_the_pause_to_the_resumption_and_a_call_in_between_shows() {
    let mut world = refused();
    let ended = world.durable.pop().unwrap();
    let Event::RunEnded(summary) = ended.event else { panic!("{ended:?}") };
    let first = world.durable.iter().position(|e| matches!(e.event, Event::AttemptStarted { .. })).unwrap();
    let since = world.durable[first].at;
    let pause = Stamped { at: since, event: Event::RunPaused(summary) };
    let back = |ms: u64| Stamped { at: Timestamp(since.0 + ms), event: Event::RunResumed {} };
    let mut events = world.durable.clone();
    events.splice(first..first, [pause.clone(), back(5_000)]);
    assert_eq!((waited(events).stood_ms.0, waited(world.durable.clone()).stood_ms.0), (5_000, 0));
    world.durable.insert(first, pause);
    assert!(waited(world.durable).calls > 0, "calls of a run that stands still");
}
