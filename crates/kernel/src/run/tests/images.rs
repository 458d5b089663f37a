//! Images: who is shown them, what they cost, and that nobody is who cannot see.

use serde_json::{Value, json};

use super::world::*;
use crate::call::{ErrorClass, Item};
use crate::catalog::Catalog;
use crate::ids::ModelRef;
use crate::image::MAX_CALL_IMAGES;
use crate::plan::{Plan, TaskType};
use crate::policy::{Policy, RouteTo};
use crate::run::*;
use crate::tool::ToolOutput;

/// In the catalog, with a price and without `vision`.
const BLIND: &str = "openai/gpt-audio-1.5";

fn blind() -> ModelRef {
    ModelRef::new(BLIND).unwrap()
}

/// The usual policy, with these rungs blind.
fn blinded(rungs: &[usize]) -> Policy {
    let mut policy = policy();
    for rung in rungs {
        let tier = policy.ladder[*rung].clone();
        policy.tiers.get_mut(&tier).unwrap().model = blind();
    }
    policy
}

fn one(extra: Value) -> Value {
    let mut one = json!({"id": "a", "type": "classify", "description": "look"});
    one.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!([one])
}

fn looks() -> Value {
    one(json!({"images": ["shot.png"]}))
}

#[test]
fn a_tier_that_cannot_see_is_neither_started_on_nor_climbed_to() {
    assert!(!Catalog::built_in().sees(&blind()) && Catalog::built_in().model(&blind()).is_some());
    for shows in [looks(), one(json!({"tools": ["view_image"]})), one(json!({"mcp_servers": ["eyes"]}))] {
        let mut world = World::given_under(blinded(&[0]), shows.clone());
        assert_eq!(world.go().status, RunStatus::Completed, "{shows}");
        assert_eq!(world.tiers("a"), ["mini"], "{shows}");
    }
    // It fails on the only tier that sees: the planner is asked, not the blind flagship.
    let checked = one(json!({"images": ["shot.png"], "output_schema": {"type": "integer"}, "max_attempts": 9}));
    let mut world = World::given_under(blinded(&[0, 2]), checked);
    world.on_check = Box::new(|_, _, _| (Verdict::Fail, "no".to_owned()));
    world.go();
    assert_eq!(world.tiers("a"), ["mini", "mini"]);
    // Without images the same subtask may go anywhere.
    let mut world = World::given_under(blinded(&[0]), one(json!({})));
    world.go();
    assert_eq!(world.tiers("a"), ["nano"]);
}

#[test]
fn a_configured_model_that_cannot_see_leaves_its_place_to_the_tiers_own() {
    let mut policy = policy();
    policy.routes.insert(TaskType::Classify, RouteTo::Model(blind()));
    let mut world = World::given_under(policy, looks());
    assert_eq!(world.go().status, RunStatus::Completed);
    assert!(world.calls_of("a").iter().all(|call| call.model != blind()));
}

#[test]
fn what_nobody_can_see_is_refused_before_anything_is_spent() {
    let refused = |plan: Value, policy: &Policy| -> Vec<String> {
        let plan = Plan { subtasks: subtasks(plan), ..Plan::default() };
        unseen(&plan, policy, &Catalog::built_in(), &tools()).iter().map(ToString::to_string).collect()
    };
    let dark = blinded(&[0, 1, 2]);
    for (plan, field) in
        [(looks(), "images"), (one(json!({"tools": ["view_image"]})), "tools"), (one(json!({"mcp_servers": ["eyes"]})), "mcp_servers")]
    {
        let faults = refused(plan.clone(), &dark);
        assert_eq!(faults.len(), 1, "{faults:?}");
        for words in [&format!("subtask a, {field}: {field} shows images"), BLIND, "takes no images", "supports = [\"vision\"]"] {
            assert!(faults[0].contains(words), "{words}: {faults:?}");
        }
        assert!(refused(plan, &policy()).is_empty());
    }
    assert_eq!(refused(one(json!({"images": ["a.png"], "model": BLIND})), &policy()).len(), 1, "a model named by the plan");
    assert!(refused(one(json!({"tools": ["search"], "mcp_servers": ["docs"]})), &dark).is_empty());
    // Should such a plan run all the same, no call is made for it.
    let mut world = World::given_under(dark, looks());
    world.go();
    assert!(world.calls_of("a").is_empty());
}

#[test]
fn an_alternate_that_cannot_see_is_not_asked() {
    let mut policy = policy();
    let nano = policy.ladder[0].clone();
    policy.tiers.get_mut(&nano).unwrap().alternates = vec![blind(), ModelRef::new("openai/gpt-5.4-mini").unwrap()];
    for (plan, then) in [(looks(), "openai/gpt-5.4-mini"), (one(json!({})), BLIND)] {
        let mut world = World::given_under(policy.clone(), plan).script(|asked| match asked.caller {
            Caller::Executor { .. } if asked.call.model.as_str().contains("5.4-nano") => error(ErrorClass::Server),
            _ => usual(asked),
        });
        assert_eq!(world.go().status, RunStatus::Completed);
        assert_eq!(world.calls_of("a").last().unwrap().model.as_str(), then);
    }
}

/// The tokens leased for the first call of `a`.
fn leased(plan: Value) -> u64 {
    let mut world = World::given(plan);
    world.go();
    let lease = |stamped: &Stamped| match &stamped.event {
        Event::CallStarted { caller: Caller::Executor { .. }, lease_tokens, .. } => Some(*lease_tokens),
        _ => None,
    };
    world.durable.iter().find_map(lease).unwrap()
}

#[test]
fn a_lease_holds_the_most_an_image_can_count_as() {
    let (with, without) = (leased(looks()), leased(one(json!({}))));
    // 1920 x 1080 is 60 x 34 patches, at 2.46.
    assert!(with >= without + 5_018, "{with} {without}");
    assert!(with <= without + 5_018 + 500, "{with} {without}");
}

#[test]
fn images_stand_in_the_first_message_and_in_tool_outputs() {
    let mut world = World::given(one(json!({"images": ["shot.png"], "tools": ["view_image"]}))).script(|asked| match asked.nth {
        0 if asked.is("a") => call_tool("c", "view_image", json!({"path": "b.png"})),
        _ => usual(asked),
    });
    world.on_tool = Box::new(|_, _, _| {
        (ToolOutput { ok: true, output: "seen".to_owned(), images: vec![image(10, 10)], ..ToolOutput::default() }, false)
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    let calls = world.calls_of("a");
    let (first, last) = (calls.first().unwrap(), calls.last().unwrap());
    assert!(
        matches!(&first.items[0], Item::Message { images, text, .. } if images.len() == 1 && text.contains("1. shot.png (image/png, 1920 x 1080"))
    );
    assert!(matches!(last.items.last(), Some(Item::ToolOutput { images, .. }) if images[0].width == 10));
    world.crash();
    assert_eq!(world.run.state().work.len(), 0);
}

#[test]
fn what_a_server_shows_a_model_that_cannot_see_becomes_a_word() {
    let mut world =
        World::given_under(blinded(&[0]), one(json!({"mcp_servers": ["docs"], "tier": "nano"}))).script(|asked| match asked.nth {
            0 if asked.is("a") => call_tool("c", "mcp__docs__note", json!({})),
            _ => usual(asked),
        });
    world.on_tool = Box::new(|_, _, _| (ToolOutput { ok: true, images: vec![image(10, 20)], ..ToolOutput::default() }, false));
    assert_eq!(world.go().status, RunStatus::Completed);
    let calls = world.calls_of("a");
    let Some(Item::ToolOutput { output, images, .. }) = calls.last().unwrap().items.last() else { panic!() };
    assert!(images.is_empty() && output.contains("image/png, 10 x 20 pixels") && output.contains("takes none"), "{output}");
}

#[test]
fn a_call_shows_the_newest_images_only() {
    let paths: Vec<String> = (0..MAX_CALL_IMAGES).map(|n| format!("{n}.png")).collect();
    let mut world = World::given(one(json!({"images": paths, "tools": ["view_image"]}))).script(|asked| match asked.nth {
        0 if asked.is("a") => call_tool("c", "view_image", json!({"path": "b.png"})),
        _ => usual(asked),
    });
    world.on_tool = Box::new(|_, _, _| (ToolOutput { ok: true, images: vec![image(10, 10)], ..ToolOutput::default() }, false));
    world.go();
    let calls = world.calls_of("a");
    assert_eq!(calls[0].images().count(), MAX_CALL_IMAGES);
    let last = calls.last().unwrap();
    assert_eq!((last.images().count(), last.images().last().unwrap().width), (MAX_CALL_IMAGES, 10));
    assert!(matches!(&last.items[0], Item::Message { text, .. } if text.contains("1 image(s) no longer shown")));
}

#[test]
fn a_planner_where_nobody_sees_cannot_hand_out_tools_that_show_images() {
    for (policy, offered) in [(policy(), true), (blinded(&[0, 1, 2]), false)] {
        let plan = json!({"subtasks": [{"id": "a", "description": "do it"}], "coordination_notes": ""}).to_string();
        let mut world = World::new(policy, true).script(move |asked| match asked.caller {
            Caller::Planner => say(plan.clone()),
            _ => usual(asked),
        });
        world.go();
        let (_, _, _, call) = world.calls.iter().find(|(_, caller, ..)| *caller == Caller::Planner).unwrap();
        assert_eq!(format!("{:?}", call.items).contains("view_image"), offered);
    }
}
