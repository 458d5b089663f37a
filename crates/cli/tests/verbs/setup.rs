//! What a newcomer meets: version, help, init, doctor, models, config, completions, and verbs that are not there yet.

use serde_json::json;

use super::Place;
use super::emulate::Served;

#[test]
fn the_version_is_one_line_on_standard_output() {
    let ran = Place::new().run(&["--version"]);
    assert_eq!((ran.code, ran.out), (0, format!("brigade {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn verbs_to_come_refuse_by_name_and_slips_are_answered_with_the_verb_meant() {
    let place = Place::new();
    for verb in ["top", "report", "route", "eval", "shadow", "export", "serve", "worker", "mcp-server"] {
        let ran = place.run(&[verb, "--any", "flag"]);
        assert_eq!((ran.code, ran.out.as_str(), ran.err), (2, "", format!("brigade: not supported yet: {verb}\n")));
    }
    let ran = place.run(&["modles"]);
    assert_eq!((ran.code, ran.err.as_str()), (2, "brigade: there is no verb \"modles\"; did you mean models?\n"));
    assert!(place.run(&["fix the\u{1b}[31m bug"]).err.contains("brigade run"));
    assert_eq!(place.run(&[]).code, 2);
    assert_eq!(place.run(&["--help"]).code, 0);
}

#[test]
fn init_writes_a_configuration_that_changes_nothing_and_never_writes_over_one() {
    let place = Place::new();
    let before = place.run(&["config", "show", "--json"]).json();
    let ran = place.run(&["init"]);
    let path = place.home().join("config.toml");
    assert_eq!((ran.code, ran.out), (0, format!("{}\n", path.display())));
    assert_eq!(place.run(&["config", "show", "--json"]).json(), before);
    std::fs::write(&path, "[limits]\nmax_attempts = 7\n").unwrap();
    let again = place.run(&["init"]);
    assert_eq!((again.code, again.out.as_str()), (0, ""));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "[limits]\nmax_attempts = 7\n");
    assert_eq!(place.run(&["init", "--template", "x"]).err, "brigade: not supported yet: init --template\n");
}

#[test]
fn config_show_says_where_a_value_came_from_and_never_shows_a_key() {
    let place = Place::new();
    std::fs::create_dir_all(place.home()).unwrap();
    std::fs::write(place.home().join("config.toml"), "[limits]\nmax_attempts = 7\n").unwrap();
    let mut command = place.command(&["config", "show", "--origin", "--json"]);
    let ran = super::Ran::of(&command.env("OPENAI_API_KEY", "sk-very-secret").env("BRIGADE_BUDGET__RUN_USD", "2").output().unwrap());
    let shown = ran.json();
    let file = format!("{}:2", place.home().join("config.toml").display());
    assert_eq!(shown["limits.max_attempts"], json!({"value": "7", "origin": file}));
    assert_eq!(shown["budget.run_usd"], json!({"value": "2", "origin": "$BRIGADE_BUDGET__RUN_USD"}));
    assert!(!ran.out.contains("sk-very-secret") && !ran.err.contains("sk-very-secret"), "{ran:?}");
    std::fs::write(place.home().join("config.toml"), "[limits]\nmax_atempts = 7\n").unwrap();
    let bad = place.run(&["config", "show"]);
    assert!(bad.code == 2 && bad.err.contains("config.toml:2"), "{bad:?}");
}

#[test]
fn models_shows_the_tiers_first_and_refuses_nothing_silently() {
    let place = Place::new();
    let shown = place.run(&["models", "--json"]).json();
    let tiers: Vec<&str> = shown.as_array().unwrap().iter().map(|m| m["tier"].as_str().unwrap()).collect();
    assert_eq!(tiers, ["nano", "mini", "flagship"]);
    for model in shown.as_array().unwrap() {
        assert!(model["refused"].is_null() && model["per_million_tokens"]["output_usd"].as_f64().unwrap() > 0.0, "{model}");
    }
    let all = place.run(&["models", "--all", "--json"]).json();
    assert!(all.as_array().unwrap().len() > 50);
    assert!(all.as_array().unwrap().iter().all(|m| m["refused"].is_string() != m["per_million_tokens"].is_object()));
    let table = place.run(&["models"]);
    assert!(table.out.lines().count() == 4 && !table.out.contains('\u{1b}'), "no colours in a pipe: {}", table.out);
}

fn check<'a>(report: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    report["checks"].as_array().unwrap().iter().find(|c| c["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}"))
}

#[test]
fn doctor_names_what_is_missing_and_how_to_mend_it() {
    let place = Place::new();
    let ran = place.run(&["doctor", "--json"]);
    let report = ran.json();
    assert_eq!((ran.code, &report["ok"]), (1, &json!(false)));
    let provider = check(&report, "provider openai");
    assert_eq!(provider["state"], "fault");
    assert!(provider["remedy"].as_str().unwrap().contains("OPENAI_API_KEY"), "{provider}");
    assert_eq!(check(&report, "home")["state"], "ok");
    let shown = place.run(&["doctor"]);
    assert!(shown.code == 1 && shown.out.contains("-> set OPENAI_API_KEY"), "{shown:?}");
}

#[test]
fn doctor_is_content_with_a_provider_that_answers_and_spends_no_token_on_it() {
    let place = Place::new();
    place.write("s.toml", "[server]\napi_key = \"right\"\n[[rule]]\nreply = { text = \"x\" }\n");
    let served = Served::start(&place, &["s.toml"]);
    let asked = |key: &str| {
        let mut command = place.command(&["doctor", "--json"]);
        super::Ran::of(&command.env("OPENAI_BASE_URL", &served.url).env("OPENAI_API_KEY", key).output().unwrap())
    };
    let ran = asked("right");
    assert_eq!((ran.code, &ran.json()["ok"]), (0, &json!(true)), "{ran:?}");
    let refused = asked("sk-not-the-right-one");
    assert_eq!(refused.code, 1);
    let provider = check(&refused.json(), "provider openai")["found"].to_string();
    assert!(provider.contains("refused the key") && !refused.out.contains("sk-not-the-right-one"), "{refused:?}");
    assert_eq!(served.models_called(), Vec::<String>::new());
}

/// A machine on which an agent of this name says its version, and nothing else works.
fn with_agent(place: &Place, name: &str) -> std::ffi::OsString {
    use std::os::unix::fs::PermissionsExt as _;
    let bin = place.work().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::write(bin.join(name), "#!/bin/sh\n[ \"$1\" = --version ] && echo \"$0-cli 1.2.3\" || exit 9\n").unwrap();
    std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap()))).unwrap()
}

#[test]
fn a_person_with_nothing_but_an_agents_login_is_ready_after_init() {
    let place = Place::new();
    let path = with_agent(&place, "codex");
    let run = |args: &[&str]| super::Ran::of(&place.command(args).env("PATH", &path).output().unwrap());
    let before = run(&["doctor", "--json"]).json();
    assert_eq!(before["ok"], json!(false));
    let agent = check(&before, "agent codex")["found"].as_str().unwrap().to_owned();
    assert!(agent.contains("1.2.3") && agent.contains("not logged in"), "{agent}");

    let login = place.home().parent().unwrap().join(".codex");
    std::fs::create_dir(&login).unwrap();
    std::fs::write(login.join("auth.json"), "{\"token\": \"canary\"}").unwrap();
    assert!(run(&["init"]).err.contains("bound to the agent that is logged in here"));
    let after = run(&["doctor", "--json"]);
    assert_eq!((after.code, &after.json()["ok"]), (0, &json!(true)), "{after:?}");
    let provider = check(&after.json(), "provider codex")["found"].as_str().unwrap().to_owned();
    assert!(provider.contains("logged in by") && !after.out.contains("canary"), "{provider}");
    let models = run(&["models", "--json"]).json();
    let tiers: Vec<&str> = models.as_array().unwrap().iter().map(|m| m["model"].as_str().unwrap()).collect();
    assert!(!tiers.is_empty() && tiers.iter().all(|model| model.starts_with("codex/")), "{tiers:?}");
    let shown = run(&["config", "show", "--json"]).json();
    assert_eq!(shown["providers.codex.billing"], "quota");
}

#[test]
fn completions_know_the_verbs() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let ran = place.run(&["completions", shell]);
        assert!(ran.code == 0 && ran.out.contains("simulate"), "{shell}");
    }
    assert_eq!(place.run(&["completions", "cmd"]).code, 2);
}
