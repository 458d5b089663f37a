//! Prices by worked example (evaluation.md F), refusals, and what configuration may add.

use proptest::prelude::*;

use super::*;
use crate::units::NanoUsd;
use crate::usage::Usage;

fn day(text: &str) -> Day {
    Day::parse(text).expect("tests write real days")
}

fn name(text: &str) -> ModelRef {
    ModelRef::new(text).expect("tests write real names")
}

fn usage(input: u64, cached: u64, write: u64, output: u64) -> Usage {
    Usage { input_tokens: input, cached_tokens: cached, cache_write_tokens: write, output_tokens: output, reasoning_tokens: 0 }
}

/// Dollars of one call at the prices of 2026-11-12, as JSON output writes them.
fn dollars(model: &str, usage: Usage, service: Service) -> String {
    let catalog = Catalog::built_in();
    let found = catalog.lookup(&name(model), day("2026-11-12")).expect("in force that day");
    cost(found.price, &usage, service).usd()
}

#[test]
fn worked_examples_come_out_to_the_nano_dollar() {
    use Service::{Batch, Default, Flex, Priority};
    const FLAGSHIP: &str = "openai/gpt-5.4";
    const MINI: &str = "openai/gpt-5.4-mini";
    const NANO: &str = "openai/gpt-5.4-nano";
    for (model, tokens, service, expected) in [
        // Tiers: 100,000 in, of which 40,000 cached, 10,000 out.
        (FLAGSHIP, (100_000, 40_000, 0, 10_000), Default, "0.31"), // .15 + .01 + .15
        (MINI, (100_000, 40_000, 0, 10_000), Default, "0.093"),    // .045 + .003 + .045
        (NANO, (100_000, 40_000, 0, 10_000), Default, "0.0253"),   // .012 + .0008 + .0125
        // Half price, and the flagship's cached rate of 0.13 rather than 0.125.
        (FLAGSHIP, (100_000, 40_000, 0, 10_000), Batch, "0.1552"), // .075 + .0052 + .075
        (FLAGSHIP, (100_000, 40_000, 0, 10_000), Flex, "0.1552"),
        (MINI, (100_000, 40_000, 0, 10_000), Flex, "0.0465"), // .0225 + .0015 + .0225
        (NANO, (100_000, 40_000, 0, 10_000), Batch, "0.01265"),
        // Priority; nano has none and is charged as default.
        (FLAGSHIP, (100_000, 40_000, 0, 10_000), Priority, "0.62"),
        (MINI, (100_000, 40_000, 0, 10_000), Priority, "0.186"),
        (NANO, (100_000, 40_000, 0, 10_000), Priority, "0.0253"),
        ("openai/gpt-5.5", (1_000_000, 0, 0, 0), Priority, "12.5"),
        // Over 272,000 input tokens the whole call is dearer; at 272,000 it is not.
        (FLAGSHIP, (272_000, 0, 0, 1000), Default, "0.695"),        // .68 + .015
        (FLAGSHIP, (272_001, 0, 0, 1000), Default, "1.382505"),     // 1.360005 + .0225
        (FLAGSHIP, (300_000, 100_000, 0, 1000), Default, "1.0725"), // 1.0 + .05 + .0225
        (FLAGSHIP, (300_000, 100_000, 0, 1000), Flex, "0.53625"),
        ("openai/gpt-5.4-pro", (300_000, 0, 0, 1000), Default, "18.27"),
        // Not for long context: the dearer of priority and the surcharge.
        (FLAGSHIP, (300_000, 0, 0, 1000), Priority, "1.53"),
        // Cache writes, 1.25 times input, at every service and length.
        ("openai/gpt-5.6", (100_000, 40_000, 20_000, 10_000), Default, "0.476"), // .16 + .016 + .1 + .2
        ("openai/gpt-5.6", (100_000, 40_000, 20_000, 10_000), Flex, "0.238"),
        ("openai/gpt-5.6", (100_000, 40_000, 20_000, 10_000), Priority, "0.952"),
        ("openai/gpt-5.6-terra", (100_000, 0, 100_000, 0), Default, "0.25"),
        ("openai/gpt-5.6-luna", (100_000, 0, 100_000, 0), Default, "0.025"),
        ("openai/gpt-5.6", (300_000, 0, 100_000, 1000), Default, "2.63"), // 1.6 + 1.0 + .03
        ("openai/gpt-6-sol", (300_000, 0, 100_000, 0), Default, "1.3"),   // scaled: 2.50 × 4 / 2
        // One cached token of nano is 20 nano-dollars; of mini at flex 37.5, rounded up once.
        (NANO, (1, 1, 0, 0), Default, "0.00000002"),
        (MINI, (1, 1, 0, 0), Flex, "0.000000038"),
        (MINI, (2, 2, 0, 0), Flex, "0.000000075"),
        // No cached price: cached input costs as input.
        ("openai/gpt-5.4-pro", (1000, 1000, 0, 0), Default, "0.03"),
    ] {
        let (input, cached, write, output) = tokens;
        assert_eq!(dollars(model, usage(input, cached, write, output), service), expected, "{model} {tokens:?} {service:?}");
    }
}

#[test]
fn default_tiers_are_the_ladder_of_the_design() {
    let catalog = Catalog::built_in();
    let tiers: Vec<_> = catalog.tiers().iter().map(|t| (t.tier.as_str(), t.model.as_str(), t.effort)).collect();
    assert_eq!(
        tiers,
        [
            ("nano", "openai/gpt-5.4-nano", None),
            ("mini", "openai/gpt-5.4-mini", None),
            ("flagship", "openai/gpt-5.4", Some(Effort::Medium)),
        ]
    );
    for tier in catalog.tiers() {
        let found = catalog.lookup(&tier.model, day("2026-11-21")).expect("a default tier can be used");
        assert!(found.model.sees());
        assert_eq!(found.model.efforts, [Effort::None, Effort::Low, Effort::Medium, Effort::High, Effort::Xhigh]);
        assert_eq!(found.model.clamp_effort(Effort::Minimal), Some(Effort::None));
        assert_eq!(found.model.clamp_effort(Effort::Max), Some(Effort::Xhigh));
    }
    assert_eq!(catalog.model(&name("openai/gpt-5.4")).and_then(|m| m.input_window), Some(922_000));
}

#[test]
fn a_past_call_is_priced_by_the_row_of_its_day() {
    let catalog = Catalog::built_in();
    let million = |model: &str, on: &str| {
        let found = catalog.priced(&name(model), day(on)).expect("priced");
        (cost(found.price, &usage(100_000, 0, 0, 0), Service::Default).usd(), found.since.to_string(), found.earliest)
    };
    let row = |dollars: &str, since: &str, earliest| (dollars.to_owned(), since.to_owned(), earliest);
    assert_eq!(million("openai/o3", "2025-04-20"), row("1", "2025-05-15", true));
    assert_eq!(million("openai/o3", "2025-06-20"), row("1", "2025-05-15", false));
    assert_eq!(million("openai/o3", "2025-06-21"), row("0.2", "2025-06-21", false));
    assert_eq!(million("anthropic/claude-3-5-haiku-20241022", "2025-04-11"), row("0.1", "2025-01-13", false));
    assert_eq!(million("anthropic/claude-3-5-haiku-20241022", "2025-04-12"), row("0.08", "2025-04-12", false));
}

#[test]
fn a_snapshot_without_its_own_row_has_its_aliases() {
    let catalog = Catalog::built_in();
    let row = |model: &str| catalog.model(&name(model)).map(|m| m.name.to_string());
    assert_eq!(row("openai/gpt-5.4-mini-2026-03-17").as_deref(), Some("openai/gpt-5.4-mini-2026-03-17"));
    assert_eq!(row("openai/gpt-5.4-mini-2026-09-09").as_deref(), Some("openai/gpt-5.4-mini"));
    assert_eq!(row("anthropic/claude-opus-5-20260901").as_deref(), Some("anthropic/claude-opus-5"));
    for stranger in ["openai/gpt-5.4-mini-2026-13-40", "openai/-2026-03-17", "openai/gpt-5.4-mini-2", "openai/é2026-03-17"] {
        assert_eq!(row(stranger), None, "{stranger}");
    }
}

#[test]
fn retired_and_unpriced_models_are_refused_by_name_with_the_remedy() {
    let catalog = Catalog::built_in();
    let refused = |model: &str, on: &str| catalog.lookup(&name(model), day(on)).map(|_| ()).map_err(|r| r.to_string());
    assert_eq!(refused("openai/gpt-5.4-nano", "2027-03-31"), Ok(()));
    assert_eq!(
        refused("openai/gpt-5.4-nano", "2027-04-01"),
        Err("model openai/gpt-5.4-nano was retired on 2027-04-01: give its tier another in config.toml (`brigade models` lists them); \
             if it still answers, set [models.\"openai/gpt-5.4-nano\"] retires = \"never\""
            .to_owned())
    );
    assert_eq!(
        refused("local/llama", "2026-11-12"),
        Err("model local/llama has no price: add [models.\"local/llama\"] with input and output, in dollars per million tokens \
             (0 for a local model), to config.toml, or choose another (`brigade models`)"
            .to_owned())
    );
    let gone = refused("openai/o1-mini-2024-09-12", "2026-03-22").expect_err("left the list");
    assert!(gone.contains("has no price since it left the price list (2026-03-22)"), "{gone}");
    assert!(catalog.priced(&name("openai/o1-mini-2024-09-12"), day("2026-03-21")).is_ok());
    let nano = catalog.lookup(&name("openai/gpt-5.4-nano"), day("2026-11-12")).expect("priced");
    assert!(nano.require(Service::Flex).is_ok());
    assert!(nano.require(Service::Priority).is_err_and(|r| r.to_string().contains("no priority price")));
}

#[test]
fn configuration_adds_and_overrides_models() {
    let config = r#"
        [budget]
        run_usd = 5.0
        [models."local/llama"]
        input = 0
        output = 0
        input_window = 32768
        [models."azure/flagship"]
        same_as = "openai/gpt-5.4"
        [models."openai/gpt-5.4-mini"]
        input_window = 100000
        [models."openai/gpt-5.4-nano"]
        input = 0.0375
        output = 1.25
        retires = "never"
    "#;
    let catalog = Catalog::built_in().with_config(config).expect("legal");
    let on = |model: &str| catalog.lookup(&name(model), day("2030-01-01")).expect("usable");
    let call = usage(1_000_000, 0, 0, 1_000_000);
    assert_eq!(cost(on("local/llama").price, &call, Service::Priority), NanoUsd::ZERO);
    assert_eq!(on("local/llama").model.input_window, Some(32_768));
    assert_eq!(on("azure/flagship").price, on("openai/gpt-5.4").price);
    assert_eq!(on("azure/flagship").model.name.as_str(), "azure/flagship");
    assert_eq!(cost(on("openai/gpt-5.4-mini").price, &call, Service::Default).usd(), "5.25");
    assert_eq!(on("openai/gpt-5.4-mini").model.input_window, Some(100_000));
    assert_eq!(cost(on("openai/gpt-5.4-nano").price, &call, Service::Default).usd(), "1.2875");
    assert_eq!(catalog.tiers(), Catalog::built_in().tiers());
}

#[test]
fn bad_catalog_text_is_refused_by_line_row_and_field() {
    for (text, expected) in [
        ("[models.\"a/b\"]\ninput = 1", r#"line 1: models."a/b": output: is missing: dollars per million tokens, 0 for a local model"#),
        ("[models.\"a/b\"]\ninput = -1\noutput = 1", r#"line 2: models."a/b": input: -1 is no price"#),
        ("[models.\"a/b\"]\ninput = nan\noutput = 1", r#"line 2: models."a/b": input: nan is no price"#),
        ("[models.\"a/b\"]\ninput = 1e3\noutput = 1", r#"line 2: models."a/b": input: 1e3 is no price"#),
        ("[models.\"a/b\"]\ninput = 0.0000001\noutput = 1", r#"line 2: models."a/b": input: 0.0000001 is no price"#),
        ("[models.\"a/b\"]\ninput = 99999999\noutput = 1", r#"line 2: models."a/b": input: 99999999 is no price"#),
        ("[models.\"a/b\"]\ninput = \"1\"\noutput = 1", r#"line 2: models."a/b": input: write dollars per million tokens as a number"#),
        ("[models.\"a/b\"]\ninput = 1\noutput = 1\nflex = { input = 1 }", r#"line 4: models."a/b": flex.output: is missing"#),
        ("[models.\"a/b\"]\ninput = 1\noutput = 1\nflex = { in = 1 }", r#"line 4: models."a/b": flex.in: no such field"#),
        ("[models.\"a/b\"]\ninput = 1\noutput = 1\nlong_over = 5", r#"line 1: models."a/b": long_over: long and long_over go together"#),
        ("[models.\"a/b\"]\npirce = 1", r#"line 2: models."a/b": pirce: no such field"#),
        ("[models.\"a/b\"]\nefforts = [\"hgih\"]", r#"line 2: models."a/b": efforts: unknown variant `hgih`, expected one of `none`"#),
        ("[models.\"a/b\"]\nretires = \"soon\"", r#"line 2: models."a/b": retires: write a day as YYYY-MM-DD"#),
        ("[models.\"a/b\"]\ninput_window = 1.5", r#"line 2: models."a/b": input_window: write a whole number"#),
        ("[models.\"a/b\"]\nsame_as = \"x/y\"", r#"line 2: models."a/b": same_as: no model "x/y" in the catalog"#),
        ("[models.plain]\ninput = 0\noutput = 0", r#"line 1: models."plain": name: model "plain" is not a name: use PROVIDER/MODEL"#),
        ("ladder = [\"nano\"]", "line 1: tiers.nano: model: the ladder names this tier"),
        ("[tiers.nano]\nmodel = \"a/b\"", "line 1: top level: ladder: does not name tier \"nano\""),
        ("surprise = 1", "line 1: top level: surprise: no such field"),
        ("\n[models", "line 2: "),
        (
            "[[models.\"a/b\".prices]]\nfrom = 2026-01-02\ninput = 1\noutput = 1\n[[models.\"a/b\".prices]]\nfrom = 2026-01-02\ninput = 2\noutput = 2",
            r#"line 5: models."a/b": prices.from: prices go from the oldest to the newest"#,
        ),
    ] {
        let said = Catalog::parse(text).expect_err(text).to_string();
        assert!(said.starts_with(expected), "{text}\n said {said}\n not {expected}");
    }
}

#[test]
fn a_lease_is_the_worst_price_that_applies() {
    use InputSize::{Bytes, Exact};
    use Service::{Batch, Default, Flex, Priority};
    let catalog = Catalog::built_in();
    for (model, input, limit, service, expected) in [
        ("openai/gpt-5.4", Exact(100_000), 10_000, Default, "0.4"),
        ("openai/gpt-5.4", Bytes(100_000), 10_000, Default, "0.4"), // a byte is at most a token
        ("openai/gpt-5.4", Bytes(300_000), 1000, Default, "1.5225"), // long context within reach
        ("openai/gpt-5.4", Exact(272_000), 1000, Default, "0.695"),
        ("openai/gpt-5.4", Exact(100_000), 10_000, Batch, "0.2"),
        ("openai/gpt-5.4", Exact(100_000), 10_000, Flex, "0.4"), // may be served as default
        ("openai/gpt-5.4", Exact(100_000), 10_000, Priority, "0.8"),
        ("openai/gpt-5.6", Exact(100_000), 10_000, Default, "0.7"), // cache writes at 5, not input at 4
        ("openai/gpt-5.4-nano", Exact(0), 16, Default, "0.00002"),
    ] {
        let found = catalog.lookup(&name(model), day("2026-11-12")).expect("in force that day");
        assert_eq!(worst_case(found.price, input, limit, service).usd(), expected, "{model} {input:?} {limit} {service:?}");
    }
    assert_eq!(worst_case(&Price::FREE, Bytes(u64::MAX), u32::MAX, Priority), NanoUsd::ZERO);
}

proptest! {
    #[test]
    fn no_call_costs_more_than_its_lease(
        row in any::<prop::sample::Index>(),
        bound in 0_u64..400_000,
        used in prop_oneof![Just(1.0), 0.0..=1.0_f64],
        (cached, write) in (0_u64..400_000, 0_u64..400_000),
        (limit, output) in (0_u32..128_000, 0_u64..128_000),
        (asked, given) in prop::sample::select(vec![
            (Service::Default, Service::Default),
            (Service::Flex, Service::Flex),
            (Service::Flex, Service::Default),
            (Service::Priority, Service::Priority),
            (Service::Priority, Service::Default),
            (Service::Batch, Service::Batch),
        ]),
    ) {
        static CATALOG: std::sync::LazyLock<Catalog> = std::sync::LazyLock::new(Catalog::built_in);
        let rows: Vec<_> = CATALOG.models().flat_map(Model::prices).collect();
        let price = &row.get(&rows).price;
        let input = (bound as f64 * used) as u64;
        let cached = cached.min(input);
        let call = usage(input, cached, write.min(input - cached), output.min(u64::from(limit)));
        let lease = worst_case(price, InputSize::Bytes(bound), limit, asked);
        prop_assert!(cost(price, &call, given) <= lease, "{call:?} {price:?}");
    }

    #[test]
    fn catalog_text_never_panics(text in "[\\[\\]\\{\\}=a-z0-9.\"/ \n-]{0,80}") {
        let _ = Catalog::parse(&text);
    }
}
