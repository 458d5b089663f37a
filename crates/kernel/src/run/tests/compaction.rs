//! The planner's conversation condensed: what it holds afterwards, how often it is tried, what a try in vain costs.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::world::*;
use crate::call::{End, ErrorClass, Item, Speaker};
use crate::context;
use crate::policy::Policy;
use crate::run::*;

/// Subtasks in a row, after each of which the planner is asked.
fn checkpoints(n: usize) -> Value {
    let one = |n: usize| {
        let after: Vec<String> = n.checked_sub(1).map(|before| format!("s{before}")).into_iter().collect();
        json!({"id": format!("s{n}"), "type": "summarize", "description": format!("step {n}"), "checkpoint": true, "depends_on": after})
    };
    json!((0..n).map(one).collect::<Vec<_>>())
}

fn under(change: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = policy();
    change(&mut policy);
    policy
}

fn patch(notes: &str) -> Reply_ {
    say(json!({"add": [], "drop": [], "change": [], "coordination_notes": notes}).to_string())
}

fn asked_planner(world: &World) -> Vec<String> {
    let text = |call: &crate::call::Call| Asked { caller: &Caller::Replanner, call, nth: 0 }.text();
    world.calls.iter().filter(|(_, caller, ..)| *caller == Caller::Replanner).map(|(.., call)| text(call)).collect()
}

fn compactions(world: &World) -> Vec<(CompactBy, u64, u64, Option<String>)> {
    let told = |event: &Event| match event {
        Event::Compacted { by, before, after, why, .. } => Some((*by, *before, *after, why.clone())),
        _ => None,
    };
    world.events().filter_map(told).collect()
}

/// The endpoint's answer: the user's messages, and one item that only it understands.
fn condensed(bytes: usize) -> Reply_ {
    let mut reply = say("");
    if let Ok(answer) = &mut reply.answer {
        let raw = json!({"type": "compaction", "encrypted_content": "x".repeat(bytes)});
        answer.items = vec![Item::message(Speaker::User, "do it"), Item::Opaque { raw }];
    }
    reply
}

#[test]
fn after_ten_results_the_planner_gets_a_summary_by_the_tier_that_summarizes() {
    let mut world = World::given(checkpoints(14)).script(|asked| match asked.caller {
        Caller::Executor { unit, .. } => say(format!("RESULT-OF-{} {}", unit.subtask, "and so on ".repeat(80))),
        Caller::Replanner => patch(&format!("note {}", asked.nth)),
        Caller::Compactor { .. } => say("SUMMARY: the first steps went well"),
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    let compacted = compactions(&world);
    assert_eq!(compacted.len(), 1, "{compacted:?}");
    assert!(compacted[0].0 == CompactBy::Summary && compacted[0].2 * 5 <= compacted[0].1 * 4, "{compacted:?}");
    let (_, _, tier, call) = world.calls.iter().find(|(_, caller, ..)| matches!(caller, Caller::Compactor { .. })).unwrap();
    assert_eq!((tier.as_str(), call.tools.len(), &call.format), ("mini", 0, &None));
    let shown = Asked { caller: &Caller::Replanner, call, nth: 0 }.text();
    assert!(shown.contains("RESULT-OF-s0") && shown.contains("<data from=\"turn 1"), "the record is material: {shown}");
    let turns = asked_planner(&world);
    // A checkpoint's result is told as done with the next one: eleven were, and the next turn is the first without them.
    assert!(turns[11].contains("RESULT-OF-s0") && !turns[12].contains("RESULT-OF-s0"));
    for held in ["SUMMARY: the first steps", "<data from=\"plan\"", "step 13", "Do the {{work}}, please", "note 11", "RESULT-OF-s12"] {
        assert!(turns[12].contains(held), "{held}: {}", turns[12]);
    }
    assert!(
        world.events().any(|e| matches!(e, Event::SubtaskEnded { output, .. } if output.starts_with("RESULT-OF-s0"))),
        "the journal keeps all"
    );
}

#[test]
fn a_result_is_told_to_the_planner_once() {
    let mut world = World::given(checkpoints(4)).script(|asked| match asked.caller {
        Caller::Executor { unit, .. } => say(format!("RESULT-OF-{}", unit.subtask)),
        _ => usual(asked),
    });
    world.go();
    let last = asked_planner(&world).pop().unwrap();
    for n in 0..3 {
        assert_eq!(last.matches(&format!("<data from=\"result of s{n}\"")).count(), 1, "{last}");
    }
}

#[test]
fn the_providers_endpoint_comes_first_where_there_is_one_and_a_summary_where_it_does_not_help() {
    for (bytes, ways) in [(10, vec![CompactBy::Endpoint]), (40_000, vec![CompactBy::Endpoint, CompactBy::Summary])] {
        let mut world = World::given(checkpoints(14)).script(move |asked| match asked.caller {
            Caller::Executor { .. } => say("word ".repeat(200)),
            Caller::Compactor { by: CompactBy::Endpoint } => condensed(bytes),
            _ => usual(asked),
        });
        world.run.compacts_at(["openai".to_owned()]);
        assert_eq!(world.go().status, RunStatus::Completed);
        assert_eq!(compactions(&world).iter().map(|c| c.0).collect::<Vec<_>>(), ways);
        let (_, _, tier, _) = world.calls.iter().find(|(_, caller, ..)| matches!(caller, Caller::Compactor { .. })).unwrap();
        assert_eq!(tier.as_str(), "flagship", "what the endpoint makes is bound to the planner's model");
    }
}

#[test]
fn what_may_go_to_another_model_is_never_condensed_by_one_providers_endpoint() {
    let policy = under(|policy| {
        let mini = policy.tiers[&crate::ids::Tier::new("mini").unwrap()].model.clone();
        policy.tiers.values_mut().for_each(|tier| tier.alternates = vec![mini.clone()]);
    });
    let mut world = World::given_under(policy, checkpoints(14)).script(|asked| match asked.caller {
        Caller::Executor { .. } => say("word ".repeat(200)),
        _ => usual(asked),
    });
    world.run.compacts_at(["openai".to_owned()]);
    world.go();
    assert_eq!(compactions(&world).iter().map(|c| c.0).collect::<Vec<_>>(), [CompactBy::Summary]);
}

#[test]
fn a_compaction_in_vain_costs_no_turn_and_waits_until_there_is_more() {
    let replies: [fn() -> Reply_; 4] =
        [|| error(ErrorClass::Server), || say("cut").ends(End::Length), || say(" "), || say("much too long ".repeat(4_000))];
    for reply in replies {
        let mut world = World::given(checkpoints(40)).script(move |asked| match asked.caller {
            Caller::Compactor { .. } => reply(),
            _ => usual(asked),
        });
        assert_eq!(world.go().status, RunStatus::Completed);
        let compacted = compactions(&world);
        assert_eq!(compacted.len(), 1, "{compacted:?}");
        assert!(compacted[0].3.is_some() && compacted[0].1 == compacted[0].2);
        assert_eq!(asked_planner(&world).len(), 40, "the planner is asked after every step");
    }
}

#[test]
fn input_over_the_window_is_condensed_once_and_then_the_run_says_why_it_fails() {
    let too_long = |cured: bool| {
        let mut world = World::given(checkpoints(4)).script(move |asked| match asked.caller {
            Caller::Executor { .. } => say("word ".repeat(200)),
            Caller::Replanner if asked.nth >= 2 && !(cured && asked.text().contains("in short")) => error(ErrorClass::ContextTooLong),
            _ => usual(asked),
        });
        let end = world.go();
        let compacted = compactions(&world).len();
        (end, compacted)
    };
    let (end, compacted) = too_long(true);
    assert_eq!((end.status, compacted), (RunStatus::Completed, 1), "{}", end.output);
    let (end, compacted) = too_long(false);
    assert_eq!((end.status, compacted), (RunStatus::Failed, 1));
    assert!(end.output.contains("input over the model's window"), "{}", end.output);
}

/// Every call of a tool has its output behind it, and every output its call before it.
fn pairs(items: &[Item]) {
    let mut open = HashSet::new();
    for item in items {
        match item {
            Item::ToolCall { call_id, .. } => assert!(open.insert(call_id.clone())),
            Item::ToolOutput { call_id, .. } => assert!(open.remove(call_id), "an output without its call: {call_id}"),
            _ => assert!(open.is_empty(), "a turn before its tools have answered"),
        }
    }
    assert!(open.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever the planner, its compactors and the provider do: each turn of the planner is whole, and compactions end.
    #[test]
    fn every_turn_of_the_planner_is_whole_and_compactions_are_bounded(
        steps in 1_usize..30,
        threshold in 200_u32..4_000,
        results in 1_u32..8,
        most in 0_u32..12,
        by_endpoint in any::<bool>(),
        rolls in prop::collection::vec(0_u8..100, 64),
        crash_at in prop::option::of(1_u32..200),
    ) {
        let policy = under(|policy| {
            policy.limits.compact_tokens = threshold;
            policy.limits.compact_results = results;
            policy.limits.max_compactions = most;
        });
        let said = Rc::new(RefCell::new((0_usize, 0_u64, 0_u64))); // answers, tokens of planner and results, overflows
        let counted = said.clone();
        let mut world = World::given_under(policy, checkpoints(steps)).script(move |asked| {
            let mut counted = counted.borrow_mut();
            counted.0 += 1;
            let roll = usize::from(rolls[counted.0 % rolls.len()]);
            match asked.caller {
                Caller::Executor { .. } => say("word ".repeat(roll * 4)),
                Caller::Replanner if roll < 6 => {
                    counted.2 += 1;
                    error(ErrorClass::ContextTooLong)
                }
                Caller::Replanner if roll < 12 => error(ErrorClass::Server),
                Caller::Replanner if roll < 18 => say("no plan at all"),
                Caller::Replanner => patch(&format!("the notes, {} words long", roll)),
                Caller::Compactor { .. } if roll < 30 => error(ErrorClass::RateLimited),
                Caller::Compactor { by: CompactBy::Endpoint } => condensed(roll * 20),
                Caller::Compactor { .. } => say("short ".repeat(roll * 3)),
                _ => usual(asked),
            }
        });
        if by_endpoint {
            world.run.compacts_at(["openai".to_owned()]);
        }
        if let Some(turns) = crash_at
            && world.go_for(turns).is_none()
        {
            world.crash();
        }
        world.go();
        let mut notes = String::new();
        for (_, caller, _, call) in &world.calls {
            pairs(&call.items);
            let text = Asked { caller, call, nth: 0 }.text();
            if *caller == Caller::Replanner {
                prop_assert!(text.contains("Do the {{work}}, please"));
            }
        }
        for event in world.events() {
            if let Event::PlanPatched { patch, .. } = event
                && let Some(new) = &patch.coordination_notes
            {
                notes.clone_from(new);
            }
        }
        prop_assert_eq!(&world.run.state().notes, &notes);
        let tries = compactions(&world).len() as u64;
        let added: u64 = world.calls.iter().filter(|(_, caller, ..)| *caller == Caller::Replanner).map(|(.., call)| {
            // Its newest message and its answer, the latter at most as long as the script makes it.
            context::conversation_tokens(&call.items[call.items.len() - 1..]) + 60
        }).sum();
        let overflows = said.borrow().2;
        prop_assert!(tries <= u64::from(most));
        prop_assert!(tries <= 2 + added / u64::from(threshold) + steps as u64 / u64::from(results) + 2 * overflows, "{tries} tries, {added} tokens");
        if let Some(last) = world.calls.iter().rev().find(|(_, caller, ..)| *caller == Caller::Replanner) && !notes.is_empty() {
            let patches = world.events().filter(|e| matches!(e, Event::PlanPatched { .. })).count();
            let text = Asked { caller: &Caller::Replanner, call: &last.3, nth: 0 }.text();
            prop_assert!(patches < 2 || text.contains("the notes, "), "{text}");
        }
    }
}
