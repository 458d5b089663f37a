//! A slow call of a tier that hedges gets a second request; how long prefixes are kept is asked for where the model takes it.

use std::fmt::Write as _;

use super::stage::Stage;

fn configured(rules: &str, config: &str) -> Stage {
    let stage = Stage::new(rules);
    std::fs::create_dir_all(stage.home()).unwrap();
    std::fs::write(stage.home().join("config.toml"), config).unwrap();
    stage
}

#[test]
fn a_call_that_hangs_is_asked_again_and_its_first_answer_counts() {
    let rules = "[[rule]]\nmatch = { format = \"brigade_review\" }\nreply = { json = { summary = \"good\", verdict = \"approve\", revisions = [], add = [], final_output = \"{{slow.output}}\" } }\n\
                 [[rule]]\nmatch = { contains = \"be slow\", nth = 1 }\nreply = { text = \"the first\" }\ndelay_ms = 600000\n\
                 [[rule]]\nmatch = { contains = \"be slow\" }\nreply = { text = \"the second\" }\n\
                 [[rule]]\nmatch = { contains = \"be quick\" }\nreply = { text = \"quick\" }\n";
    let mut plan = "[[subtasks]]\nid = \"slow\"\ntype = \"extract\"\ndescription = \"be slow\"\n".to_owned();
    for n in 0..8 {
        let _ = write!(plan, "[[subtasks]]\nid = \"q{n}\"\ntype = \"extract\"\ndescription = \"be quick {n}\"\n");
    }
    let stage = configured(rules, "[tiers.nano]\nhedge = true\n[hedging]\nmin_samples = 5\nmax_share = 0.5\n");
    let ran = stage.run(&plan, &[]).exits(0).says(&["the second", "asked twice, the slower answers $"]);
    assert!(!ran.out.contains("the first"));
    let asked = stage.api.bodies().into_iter().filter(|(_, body)| String::from_utf8_lossy(body).contains("be slow")).count();
    assert_eq!(asked, 3, "the slow one twice, and its review");
}

#[test]
fn prefixes_are_to_be_kept_for_a_day_only_by_a_model_that_is_listed_for_it_and_unless_told_otherwise() {
    let kept = |config: &str| {
        let stage = configured(super::stage::ANSWERS, config);
        stage.run(super::stage::THREE, &["-q"]).exits(0);
        let bodies: Vec<String> = stage.api.bodies().into_iter().map(|(_, body)| String::from_utf8(body).unwrap()).collect();
        let of = |model: &str| {
            let mine: Vec<&String> = bodies.iter().filter(|b| b.contains(&format!("\"model\":\"{model}\""))).collect();
            assert!(!mine.is_empty(), "{model}");
            assert!(mine.iter().all(|body| !body.contains("prompt_cache_options")));
            mine.iter().filter(|body| body.contains("\"prompt_cache_retention\":\"24h\"")).count()
        };
        (of("gpt-5.4"), of("gpt-5.4-mini"), of("gpt-5.4-nano"))
    };
    assert_eq!(kept(""), (1, 0, 0));
    assert_eq!(kept("[prompt_cache_retention]\nreviewer = \"none\"\n"), (0, 0, 0));
    assert_eq!(kept("[prompt_cache_retention]\nexecutor = \"24h\"\n"), (1, 0, 0), "what a model is not listed for is not sent");
    assert_eq!(kept("[prompt_cache]\nreviewer = false\n"), (0, 0, 0));
}
