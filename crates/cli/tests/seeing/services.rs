//! Cheaper and faster services in a real run: what is asked for, what is said of it, and what is paid.

use brigade_emulator::CallRecord;
use brigade_kernel::call::Service;
use brigade_kernel::catalog::{Catalog, Day, cost};
use brigade_kernel::ids::ModelRef;
use brigade_kernel::time::Timestamp;
use brigade_kernel::units::NanoUsd;
use brigade_kernel::usage::Usage;

use super::stage::Stage;

/// What the API's books say was served, to the nano-dollar.
pub fn billed(calls: &[CallRecord]) -> NanoUsd {
    let catalog = Catalog::built_in();
    let one = |call: &CallRecord| {
        let Some(spent) = call.usage else { return NanoUsd::ZERO };
        let usage = Usage {
            input_tokens: spent.input_tokens,
            cached_tokens: spent.cached_tokens,
            cache_write_tokens: spent.cache_write_tokens,
            output_tokens: spent.output_tokens,
            reasoning_tokens: spent.reasoning_tokens,
        };
        let service = match call.service.as_deref() {
            Some("flex") => Service::Flex,
            Some("priority") => Service::Priority,
            Some("batch") => Service::Batch,
            _ => Service::Default,
        };
        let model = ModelRef::new(&format!("openai/{}", call.model)).unwrap();
        let at = Timestamp(u64::try_from(call.at).unwrap());
        cost(catalog.priced(&model, Day::of(at)).unwrap().price, &usage, service)
    };
    calls.iter().map(one).sum()
}

/// What the run says that it cost.
pub fn said_cost(stage: &Stage) -> NanoUsd {
    let run = stage.ids().remove(0);
    let shown = stage.brigade(&["show", &run, "--cost", "--json"]).exits(0).lines().remove(0);
    NanoUsd::parse_usd(&shown["total"]["cost_usd"].to_string()).unwrap()
}

/// Path, model and service of every call in the API's books.
fn served(stage: &Stage) -> Vec<(String, Option<String>)> {
    stage.ledger().calls.iter().map(|call| (call.model.to_string(), call.service.as_deref().map(str::to_owned))).collect()
}

#[test]
fn flex_work_is_served_and_paid_as_flex_and_without_capacity_as_default_in_the_end() {
    let full = "[[rule]]\nmatch = { service_tier = \"flex\", contains = \"say full\" }\nreply = { error = \"resource_unavailable\" }\n";
    let stage = Stage::new(&format!("{full}[[rule]]\nmatch = {{ contains = \"say \" }}\nreply = {{ text = \"said\" }}\n"));
    let plan = "[[subtasks]]\nid = \"a\"\ntype = \"extract\"\ndescription = \"say alpha\"\nflex = true\n\
                [[subtasks]]\nid = \"c\"\ntype = \"extract\"\ndescription = \"say full\"\nflex = true\n";
    std::fs::create_dir_all(stage.home()).unwrap();
    std::fs::write(stage.home().join("config.toml"), "[limits]\nmax_tries = 2\n").unwrap();
    stage.run(plan, &[]).exits(0);
    let calls = served(&stage);
    let services = |wanted: Option<&str>| calls.iter().filter(|(_, service)| service.as_deref() == wanted).count();
    // One served as flex; two refused for want of room, then one as default; and the review.
    assert_eq!((services(Some("flex")), services(None), calls.len()), (1, 4, 5), "{calls:?}");
    assert_eq!(said_cost(&stage), billed(&stage.ledger().calls));
}

#[test]
fn fast_asks_for_priority_where_it_has_a_price_and_says_where_not() {
    let stage = Stage::new(super::stage::ANSWERS);
    stage.run(super::stage::THREE, &["--fast"]).exits(0).says(&["--fast: no priority price is listed for openai/gpt-5.4-nano"]);
    let calls = served(&stage);
    assert!(calls.iter().any(|(_, service)| service.as_deref() == Some("priority")), "{calls:?}");
    assert!(calls.iter().all(|(model, service)| (service.is_none()) == model.contains("nano")), "{calls:?}");
    assert_eq!(said_cost(&stage), billed(&stage.ledger().calls));

    let plain = "[tiers.nano]\nmodel = \"openai/gpt-5.4-nano\"\n";
    std::fs::write(stage.home().join("config.toml"), format!("ladder = [\"nano\"]\n{plain}")).unwrap();
    stage.run(super::stage::THREE, &["--fast"]).exits(2).says(&["--fast: no priority price is listed", "run without it"]);
}
