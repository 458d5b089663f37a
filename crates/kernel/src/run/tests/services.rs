//! Cheaper and faster services: who gets them, what they are charged, and what follows when there is no room for them.

use serde_json::json;

use super::world::*;
use crate::call::{ErrorClass, Service};
use crate::catalog::{self, Catalog, Day};
use crate::policy::Policy;
use crate::run::*;
use crate::time::Millis;
use crate::units::NanoUsd;
use crate::usage::Usage;

const USED: Usage = Usage { input_tokens: 10_000, output_tokens: 50, cached_tokens: 0, cache_write_tokens: 0, reasoning_tokens: 0 };

fn flex() -> serde_json::Value {
    json!([{"id": "a", "type": "classify", "description": "label it", "flex": true}])
}

fn served(service: Option<Service>) -> Reply_ {
    let mut reply = say("fine").usage(Some(USED));
    if let Ok(answer) = &mut reply.answer {
        answer.service = service;
    }
    reply
}

/// What `USED` costs on the lowest tier's model.
fn price(service: Service) -> NanoUsd {
    let model = &policy().tier(&policy().ladder[0]).unwrap().model.clone();
    catalog::cost(Catalog::built_in().priced(model, Day::of(START)).unwrap().price, &USED, service)
}

fn executor(asked: &Asked<'_>) -> bool {
    matches!(asked.caller, Caller::Executor { .. })
}

/// Services asked for by executors, and what they were charged.
fn charges(world: &World) -> Vec<(Service, NanoUsd)> {
    let mut asked = std::collections::BTreeMap::new();
    let mut charges = Vec::new();
    for event in world.events() {
        match event {
            Event::CallStarted { call, caller: Caller::Executor { .. }, service, .. } => drop(asked.insert(*call, *service)),
            Event::CallEnded { call, cost_usd, .. } => charges.extend(asked.get(call).map(|service| (*service, *cost_usd))),
            _ => {}
        }
    }
    charges
}

#[test]
fn flex_work_asks_for_flex_is_given_time_and_pays_for_the_service_that_it_got() {
    for (named, charged) in [
        (Some(Service::Flex), Service::Flex),
        (None, Service::Flex),
        // Served as default, and billed so.
        (Some(Service::Default), Service::Default),
    ] {
        let mut world = World::given(flex()).script(move |asked| if executor(asked) { served(named) } else { usual(asked) });
        assert_eq!(world.go().status, RunStatus::Completed);
        assert_eq!(charges(&world), [(Service::Flex, price(charged))], "{named:?}");
        let call = world.calls_of("a")[0];
        assert_eq!((call.service, call.deadlines.total, call.deadlines.first_token), (Service::Flex, Millis(900_000), Millis(900_000)));
    }
    assert!(price(Service::Flex) < price(Service::Default));
}

#[test]
fn flex_without_capacity_waits_and_is_then_served_as_default_unless_told_otherwise() {
    let full = |asked: &Asked<'_>| match asked.call.service {
        Service::Flex => {
            let mut full = error(ErrorClass::Overloaded);
            if let Err(error) = &mut full.answer {
                error.status = Some(429);
            }
            full
        }
        _ if executor(asked) => served(None),
        _ => usual(asked),
    };
    let mut world = World::given(flex()).script(full);
    assert_eq!(world.go().status, RunStatus::Completed);
    let mut expected = vec![(Service::Flex, NanoUsd::ZERO); 6];
    expected.push((Service::Default, price(Service::Default)));
    assert_eq!((charges(&world), world.tiers("a")), (expected, vec!["nano".to_owned()]));

    let mut patient = policy();
    patient.service.flex_fallback = false;
    let mut world = World::given_under(patient, flex()).script(full);
    assert_eq!(world.go().status, RunStatus::QuotaParked);
    assert!(charges(&world).iter().all(|(service, _)| *service == Service::Flex));
}

#[test]
fn a_short_deadline_of_the_subtask_is_no_longer_for_flex() {
    let plan = json!([{"id": "a", "type": "classify", "description": "label it", "flex": true, "deadline": "60s"}]);
    let mut world = World::given(plan);
    world.go();
    assert_eq!(world.calls_of("a")[0].deadlines.total, Millis(60_000));
}

#[test]
fn priority_is_asked_for_only_when_a_person_did_and_where_it_has_a_price() {
    let plan = || json!([{"id": "a", "type": "classify", "description": "label it"}, {"id": "b", "type": "debug", "description": "why?"}]);
    let asked = |policy: Policy| {
        let mut world = World::given_under(policy, plan());
        world.go();
        let service = |name: &str| world.calls_of(name)[0].service;
        (service("a"), service("b"), world.calls.last().unwrap().3.service)
    };
    assert_eq!(asked(policy()), (Service::Default, Service::Default, Service::Default));
    let mut fast = policy();
    fast.service.fast = true;
    // The smallest model lists no price for it.
    assert_eq!(asked(fast), (Service::Default, Service::Priority, Service::Priority));
}

#[test]
fn a_provider_that_takes_no_service_tier_is_asked_without() {
    let mut world = World::given(flex()).script(|asked| match asked.call.service {
        Service::Flex => {
            let mut refused = error(ErrorClass::UnsupportedField);
            if let Err(error) = &mut refused.answer {
                (error.param, error.sent) = (Some("service_tier".to_owned()), false);
            }
            refused
        }
        _ => usual(asked),
    });
    assert_eq!(world.go().status, RunStatus::Completed);
    assert_eq!(world.calls_of("a").iter().map(|call| call.service).collect::<Vec<_>>(), [Service::Flex, Service::Default]);
}
