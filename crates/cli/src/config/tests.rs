use brigade_kernel::ids::{ModelRef, Tier};

use super::*;

fn rungs() -> Vec<Rung> {
    let rung = |name: &str| (Tier::new(name).unwrap(), ModelRef::new(&format!("openai/{name}-model")).unwrap()).into();
    ["nano", "mini", "flagship"].map(rung).to_vec()
}

fn file(path: &str, text: &str) -> Option<File> {
    Some(File { path: PathBuf::from(path), text: text.to_owned() })
}

fn env(pairs: &[(&str, &str)]) -> Env {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn no_prompts(path: &Path) -> Result<String, String> {
    Err(format!("{} does not exist", path.display()))
}

fn at_home(text: &str) -> Result<Config, ConfigErrors> {
    resolve(&Sources { home: file("home/config.toml", text), rungs: &rungs(), ..Sources::default() }, &no_prompts)
}

fn faults(text: &str) -> String {
    at_home(text).unwrap_err().to_string()
}

#[test]
fn nothing_configured_is_the_catalog_and_one_provider() {
    let config = at_home("").unwrap();
    assert_eq!(config.providers["openai"].base_url, "https://api.openai.com/v1");
    assert_eq!(config.policy.tiers["nano"].model.as_str(), "openai/nano-model");
    assert_eq!(config.origin("tiers.nano.model").to_string(), "models.toml");
    assert_eq!(config.origin("budget.run_usd").to_string(), "default");
    assert!(config.notices.is_empty());
}

#[test]
fn stronger_layers_win_and_every_value_knows_its_origin() {
    let home = "[budget]\nrun_usd = 1.5\nexecutor_tokens = 5_000\n[limits]\nmax_attempts = 2\n";
    let settings = [(".brigade/config.toml", "[limits]\nmax_attempts = 3\nmax_replans = 1\n")];
    let workspace = Some(Repository::of(&settings, &[".brigade/config.toml"]));
    let flags = [Flag { name: "--max-budget-usd", key: "budget.run_usd", value: "0.25".into() }];
    let env = env(&[("BRIGADE_LIMITS__MAX_REPLANS", "0"), ("BRIGADE_BUDGET__RUN_USD", "9"), ("BRIGADE_HOME", "x"), ("OTHER", "y")]);
    let sources = Sources { flags: &flags, env, workspace, home: file("home/config.toml", home), rungs: &rungs(), ..Sources::default() };
    let config = resolve(&sources, &no_prompts).unwrap();
    let rows = config.rows(&sources.env);
    let row = |key: &str| {
        let row = rows.iter().find(|row| row.key == key).unwrap();
        format!("{} {}", row.value, row.origin)
    };
    assert_eq!(row("budget.run_usd"), "0.25 --max-budget-usd");
    assert_eq!(row("limits.max_replans"), "0 $BRIGADE_LIMITS__MAX_REPLANS");
    assert_eq!(row("limits.max_attempts"), "3 w/.brigade/config.toml:2");
    assert_eq!(row("budget.executor_tokens"), "5000 home/config.toml:3");
    assert_eq!(row("limits.max_turns"), "24 default");
}

#[test]
fn the_sample_of_the_design_is_read_but_for_what_is_not_built() {
    let sample = r#"
[providers.openai]
dialect = "responses"
base_url = "https://api.openai.com/v1"
env_key = "OPENAI_API_KEY"
[tiers.nano]
model = "openai/gpt-5.4-nano"
[tiers.mini]
model = "openai/gpt-5.4-mini"
[tiers.flagship]
model = "openai/gpt-5.4"
effort = "medium"
[roles]
planner = "flagship"
reviewer = "flagship"
[routes]
classify = "nano"
[limits]
max_concurrent_subagents = "auto"
max_attempts = 4
max_replans = 3
[budget]
run_usd = 5.0
day_usd = 50.0
confirm_above_usd = 1.0
planner_tokens = 100000
[quota]
window = "5h"
units = 300
weights = { flagship = 1.0, mini = 0.3, nano = 0.1 }
"#;
    let config = at_home(sample).unwrap();
    assert_eq!(config.policy.quota.windows[brigade_kernel::policy::MAIN_WINDOW].units.to_string(), "300");
    assert_eq!(config.policy.budget.planner_tokens, Some(100_000));
    let later = "[quality]\nclassify = 0.95\n[shadow]\nrate = 0.05\n";
    let said = faults(later);
    for line in ["home/config.toml:2: not supported yet: quality.classify", "home/config.toml:4: not supported yet: shadow.rate"] {
        assert!(said.lines().any(|l| l == line), "{line}\n---\n{said}");
    }
}

#[test]
fn every_fault_is_reported_with_its_line() {
    let said = faults("[limits]\nmax_atempts = 4\n\n[budget]\nrun_usd = -1.0\n[quality]\n");
    assert_eq!(
        said,
        "home/config.toml:2: unknown key limits.max_atempts; did you mean limits.max_attempts?\n\
         home/config.toml:5: budget.run_usd = \"-1.0\": use dollars above 0 with at most 9 decimal places, e.g. 2.50\n\
         home/config.toml:6: not supported yet: quality"
    );
    let broken = faults("[limits]\nmax_attempts = = 4\n");
    assert!(broken.starts_with("home/config.toml:2: is no TOML: "), "{broken}");
    let cross = faults("[limits]\nmax_turns = 3\n[roles]\nplanner = \"huge\"\n");
    assert!(cross.starts_with("home/config.toml:4: roles.planner"), "{cross}");
}

fn in_workspace(files: &[(&str, &str)], trusted: &[&str]) -> Result<Config, ConfigErrors> {
    let sources = Sources { workspace: Some(Repository::of(files, trusted)), rungs: &rungs(), ..Sources::default() };
    resolve(&sources, &no_prompts)
}

#[test]
fn a_workspaces_files_are_announced_and_set_nothing_until_trusted() {
    let files = [
        ("AGENTS.md", "# Agent Configuration\n## Cost Optimization\n- Default to nano\n"),
        (".brigade/config.toml", "[limits]\nmax_attempts = 9\n"),
        (".claude/agents/planner.md", "Plan."),
    ];
    let config = in_workspace(&files, &[]).unwrap();
    assert_eq!(config.policy, at_home("").unwrap().policy);
    assert_eq!(
        config.notices,
        [
            "not trusted: AGENTS.md with its agent configuration: models read it as material, not as instructions, and it sets nothing; \
             look at it and: brigade trust",
            "not trusted: .brigade/config.toml, .claude/agents/planner.md: ignored; look at it and: brigade trust",
        ]
    );
}

#[test]
fn even_a_trusted_workspace_sets_no_providers_prices_trust_or_higher_budgets() {
    let settings = "[providers.openai]\nbase_url = \"http://evil.example/v1\"\n[trust]\nconfigs = []\n[models.\"openai/x\"]\ninput = 0\n\
                    [budget]\nrun_usd = 999\nplanner_tokens = 5\n[mcp_servers.x]\ncommand = \"x\"\n[prompts]\nplanner = \"/etc/passwd\"\n";
    let errors = in_workspace(&[(".brigade/config.toml", settings)], &[".brigade/config.toml"]).unwrap_err().to_string();
    for start in [
        "w/.brigade/config.toml:2: providers.openai.base_url: a workspace may not set providers",
        "w/.brigade/config.toml:4: trust.configs: a workspace",
        "w/.brigade/config.toml:5: models: a workspace",
        "w/.brigade/config.toml:8: budget.run_usd = \"999\": a workspace may lower a budget, not raise it",
        "w/.brigade/config.toml:11: mcp_servers.x.command: a workspace",
        "w/.brigade/config.toml:13: prompts.planner = \"/etc/passwd\": a workspace's prompts are files",
    ] {
        assert!(errors.lines().any(|l| l.starts_with(start)), "{start}\n---\n{errors}");
    }
    let lower = in_workspace(&[(".brigade/config.toml", "[budget]\nrun_usd = 2\n")], &[".brigade/config.toml"]).unwrap();
    assert_eq!(lower.policy.budget.run_usd.usd(), "2");
}

#[test]
fn a_workspace_narrows_a_quota_and_does_not_widen_it() {
    let of = |settings: &str| {
        let sources = Sources {
            workspace: Some(Repository::of(&[(".brigade/config.toml", settings)], &[".brigade/config.toml"])),
            home: file("h.toml", "[quota]\nwindow = \"5h\"\nunits = 50\n"),
            rungs: &rungs(),
            ..Sources::default()
        };
        resolve(&sources, &no_prompts).map_err(|errors| errors.to_string())
    };
    assert_eq!(of("[quota]\nunits = 20\n").unwrap().policy.quota.windows["main"].units.to_string(), "20");
    for (widening, key) in [
        ("units = 51", "units"),
        ("window = \"4h\"", "window"),
        ("window = \"none\"", "window"),
        ("weights = { mini = 0.3 }", "weights.mini"),
    ] {
        let said = of(&format!("[quota]\n{widening}\n")).unwrap_err();
        assert!(said.starts_with(&format!("w/.brigade/config.toml:2: quota.{key}: a workspace may narrow a quota")), "{said}");
    }
}

#[test]
fn who_is_told_is_the_homes_to_say() {
    let config = at_home("[notify]\ncommand = [\"tell-me\", \"{title}\", \"{body}\"]\ndesktop = true\n").unwrap();
    assert_eq!((config.notify.command.unwrap().len(), config.notify.desktop), (3, true));
    let said = faults("[notify]\ncommand = \"notify-send {title}\"\ndesktop = \"maybe\"\nsound = true\n");
    for words in [
        "home/config.toml:2: notify.command",
        "use a list of 1 to 64 words",
        "home/config.toml:3: notify.desktop",
        "home/config.toml:4: unknown key notify.sound",
    ] {
        assert!(said.contains(words), "{words}\n---\n{said}");
    }
    let said =
        in_workspace(&[(".brigade/config.toml", "[notify]\ncommand = [\"evil\"]\n")], &[".brigade/config.toml"]).unwrap_err().to_string();
    assert!(said.contains("a workspace may not set notify"), "{said}");
}

#[test]
fn a_workspaces_prompts_are_trusted_one_by_one() {
    let files = [(".brigade/config.toml", "[prompts]\nplanner = \"prompts/plan.md\"\n"), (".brigade/prompts/plan.md", "Plan well.")];
    let said = in_workspace(&files, &[".brigade/config.toml"]).unwrap_err().to_string();
    assert!(said.ends_with(".brigade/prompts/plan.md is not trusted: brigade trust"), "{said}");
    let config = in_workspace(&files, &[".brigade/config.toml", ".brigade/prompts/plan.md"]).unwrap();
    assert_eq!(config.policy.prompts.values().collect::<Vec<_>>(), ["Plan well."]);
}

#[test]
fn a_persons_layers_are_stronger_than_the_workspaces_and_its_settings_than_its_prose() {
    let agents = "# Agent Configuration\n## Cost Optimization\n- Default to nano\n- max_attempts: 3\n- max_turns: 7\n";
    let files = [("AGENTS.md", agents), (".brigade/config.toml", "[limits]\nmax_attempts = 5\n")];
    let sources = Sources {
        workspace: Some(Repository::of(&files, &["AGENTS.md", ".brigade/config.toml"])),
        env: env(&[("BRIGADE_LIMITS__MAX_TURNS", "9")]),
        home: file("h.toml", "[escalation]\nstart_at_most = \"mini\"\n"),
        rungs: &rungs(),
        ..Sources::default()
    };
    let config = resolve(&sources, &no_prompts).unwrap();
    let row = |key: &str| format!("{} {}", config.policy.entries().into_iter().find(|(k, _)| k == key).unwrap().1, config.origin(key));
    assert_eq!(row("escalation.start_at_most"), "nano w/AGENTS.md:3");
    assert_eq!(row("limits.max_attempts"), "5 w/.brigade/config.toml:2");
    assert_eq!(row("limits.max_turns"), "9 $BRIGADE_LIMITS__MAX_TURNS");
}

#[test]
fn a_role_file_named_like_a_role_or_type_adds_to_its_prompt_and_others_are_told() {
    let files = [
        (
            ".claude/agents/code-reviewer.md",
            "---\nname: code-reviewer\ndescription: >\n  Reads code.\n  Twice.\nmodel: sonnet\ntools: Read, Grep\neffort: high\n---\n\nLook for leaks.\n",
        ),
        (
            ".codex/agents/x.toml",
            "name = \"planner\"\ndescription = \"Plans\"\nmodel = \"mini\"\ndeveloper_instructions = \"\"\"\nPlan small.\n\"\"\"\n",
        ),
        (".agents/agents/poet.md", "---\nname: poet\ndescription: Writes odes\n---\nSing."),
        (".agents/agents/broken.md", "---\nname: broken\n"),
    ];
    let trusted: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
    let config = in_workspace(&files, &trusted).unwrap();
    let entry = |key: &str| config.policy.entries().into_iter().find(|(k, _)| k == key).map(|(_, value)| value);
    assert_eq!(entry("additions.review_file").as_deref(), Some("Look for leaks."));
    assert_eq!(entry("effort.review_file").as_deref(), Some("high"));
    assert_eq!((entry("additions.planner").as_deref(), entry("roles.planner").as_deref()), (Some("Plan small."), Some("mini")));
    assert_eq!(config.origin("additions.review_file").to_string(), "w/.claude/agents/code-reviewer.md:11");
    assert_eq!(config.roles, "poet (.agents/agents/poet.md): Writes odes\n");
    let said = config.notices.join("\n");
    for words in
        ["code-reviewer.md:6: no price is known for a model sonnet", "a plan grants tools", "poet.md:1", "front matter is not closed"]
    {
        assert!(said.contains(words), "{words}\n{said}");
    }
}

#[test]
fn openai_base_url_moves_the_provider_and_stands_below_brigades_own_variables() {
    let both = env(&[("OPENAI_BASE_URL", "http://localhost:9/v1/"), ("OPENAI_API_KEY", "sk-canary-123456")]);
    let home = file("h.toml", "[providers.openai]\ndialect = \"chat\"\nbase_url = \"https://proxy.example/v1\"\n");
    let mut sources = Sources { env: both, home, rungs: &rungs(), ..Sources::default() };
    let config = resolve(&sources, &no_prompts).unwrap();
    assert_eq!(
        config.providers["openai"],
        Provider {
            dialect: Dialect::Responses,
            base_url: "http://localhost:9/v1".into(),
            env_key: Some("OPENAI_API_KEY".into()),
            compaction: None,
            batch: None
        }
    );
    assert_eq!(config.providers["openai"].key(&sources.env), Some("sk-canary-123456"));
    let shown = format!("{:?} {config:?}", config.rows(&sources.env));
    assert!(shown.contains("OPENAI_API_KEY (set)") && !shown.contains("canary"), "{shown}");
    sources.env.insert("BRIGADE_PROVIDERS__OPENAI__BASE_URL".into(), "http://localhost:7/v1".into());
    assert_eq!(resolve(&sources, &no_prompts).unwrap().providers["openai"].base_url, "http://localhost:7/v1");
}

#[test]
fn local_servers_need_no_key_and_unknown_providers_are_named() {
    let local = "ladder = [\"small\", \"big\"]\n[providers.local]\ndialect = \"chat\"\nbase_url = \"http://localhost:8080/v1\"\n[tiers.small]\nmodel = \"local/qwen\"\n[tiers.big]\nmodel = \"local/gpt-oss\"\n";
    let config = at_home(local).unwrap();
    assert!(config.providers["local"].usable(&Env::new()) && !config.providers["openai"].usable(&Env::new()));
    let said = faults("[tiers.nano]\nmodel = \"lokal/qwen\"\n");
    assert_eq!(
        said,
        "home/config.toml:2: tiers.nano.model = \"lokal/qwen\": no provider named lokal; configured are openai: add [providers.lokal] with base_url"
    );
}

#[test]
fn provider_faults_name_the_remedy_and_never_repeat_a_key() {
    let of = |line: &str| faults(&format!("[providers.x]\n{line}\n"));
    assert!(of("dialect = \"agent\"").contains("providers.x: it says neither which agent nor which command"));
    assert!(of("dialect = \"agent\"\nagent = \"codex\"\ntimeuot = \"1m\"").contains("did you mean timeout?"));
    assert!(of("base_url = \"http://h/v1\"\nbilling = \"quota\"").contains("add dialect = \"agent\""));
    assert!(of("dialect = \"agent\"\nagent = \"codex\"\nbilling = \"free\"").contains("providers.x.billing: write \"tokens\""));
    assert!(of("chain = true").contains("not supported yet: providers.x.chain"));
    assert!(of("base_ulr = \"https://a/v1\"").contains("did you mean base_url?"));
    assert!(of("env_key = \"MY_KEY\"").contains("providers.x: base_url is missing"));
    for line in ["api_key = \"sk-canary-1\"", "env_key = \"sk-canary-1\"", "base_url = \"https://u:canary@host/v1\""] {
        let said = of(line);
        assert!(said.contains("variable") && !said.contains("canary"), "{said}");
    }
    assert!(of("base_url = \"ftp://host\"").contains("use an address such as https://host/v1"));
}

#[test]
fn a_key_in_clear_over_the_network_is_noticed() {
    let env = env(&[("OPENAI_BASE_URL", "http://far.example/v1"), ("OPENAI_API_KEY", "k")]);
    let config = resolve(&Sources { env, rungs: &rungs(), ..Sources::default() }, &no_prompts).unwrap();
    assert_eq!(config.notices, ["provider openai: its key is sent unencrypted to http://far.example/v1; use https"]);
}

#[test]
fn a_variable_that_was_meant_as_a_setting_is_not_ignored() {
    let said = |name: &str| resolve(&Sources { env: env(&[(name, "2")]), rungs: &rungs(), ..Sources::default() }, &no_prompts);
    assert_eq!(
        said("BRIGADE_BUDGET_RUN_USD").unwrap_err().to_string(),
        "$BRIGADE_BUDGET_RUN_USD: is no setting; did you mean BRIGADE_BUDGET__RUN_USD?"
    );
    assert!(said("BRIGADE_LIMITS__MAX_ATEMPTS").unwrap_err().to_string().contains("did you mean limits.max_attempts?"));
    assert!(said("BRIGADE_TOKEN").is_ok() && said("BRIGADE_CI_JOB").is_ok());
}

#[test]
fn prompts_are_read_from_beside_the_file_that_names_them() {
    let read = |path: &Path| {
        if path == Path::new("home/p/plan.md") { Ok("Plan well.".to_owned()) } else { no_prompts(path) }
    };
    let with = |text: &str| resolve(&Sources { home: file("home/config.toml", text), rungs: &rungs(), ..Sources::default() }, &read);
    let config = with("[prompts]\nplanner = \"p/plan.md\"\n").unwrap();
    assert_eq!(config.policy.prompts.values().collect::<Vec<_>>(), ["Plan well."]);
    let row = config.rows(&Env::new()).into_iter().find(|row| row.key == "prompts.planner").unwrap();
    assert_eq!((row.value.as_str(), row.origin.as_str()), ("(10 bytes)", "home/config.toml:2"));
    let missing = with("[prompts]\nreviewer = \"none.md\"\n").unwrap_err().to_string();
    assert_eq!(missing, "home/config.toml:2: prompts.reviewer = \"none.md\": home/none.md does not exist");
}

#[test]
fn a_models_table_is_handed_to_the_catalog() {
    let config = at_home("[models.\"local/qwen\"]\ninput = 0.0\n").unwrap();
    assert_eq!(config.models_in.unwrap().path, Path::new("home/config.toml"));
}

#[test]
fn money_in_a_file_never_meets_a_float() {
    let config = at_home("[budget]\nrun_usd = 0.100000001\n").unwrap();
    assert_eq!(config.policy.budget.run_usd.usd(), "0.100000001");
}

#[test]
fn files_are_found_in_the_home_and_the_workspace() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join(".brigade")).unwrap();
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("config.toml"), "[limits]\nmax_attempts = 2\n").unwrap();
    std::fs::write(root.join(".brigade/config.toml"), "[limits]\nmax_attempts = 9\n").unwrap();
    let env = env(&[("BRIGADE_HOME", home.to_str().unwrap())]);
    let rungs = rungs();
    let sources = |env: Env| Sources { env, rungs: &rungs, ..Sources::default() };
    let config = load(sources(env), Some(&root)).unwrap();
    assert_eq!(config.policy.limits.max_attempts, 2);
    assert_eq!(config.notices.len(), 1);
    std::fs::write(home.join("config.toml"), vec![b'#'; 2 * 1024 * 1024]).unwrap();
    let big = Env::from([("BRIGADE_HOME".to_owned(), home.display().to_string())]);
    assert!(load(sources(big), None).unwrap_err().to_string().ends_with("is no file of at most 1 MiB"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..proptest::prelude::ProptestConfig::with_cases(64) })]

    /// promises.md I21: whatever the files of a workspace say, trusted by a person or not.
    #[test]
    fn no_workspace_widens_what_a_person_gave(
        agents in proptest::collection::vec("- (Planner|Executor|Reviewer|Debug|Budget|Default to|max_attempts|Escalate only when|providers\\.openai\\.base_url|budget\\.run_usd): ?(model: )?(gpt-5\\.4|gpt-5\\.2|evil/model|openai/gpt-4o|flagship|\\$[0-9]{1,4}|none|http://evil\\.example)(, cache: off)?", 0..8),
        settings in proptest::collection::vec("(budget\\.run_usd|budget\\.planner_tokens|quota\\.units|quota\\.window|quota\\.weights\\.mini|limits\\.max_turns|roles\\.planner|tiers\\.nano\\.model|providers\\.evil\\.base_url) = (\"none\"|[0-9]{1,4}|\"mini\"|\"evil/m\"|\"openai/nano-model\"|\"http://evil\\.example/v1\")", 0..4),
        trusted: bool,
    ) {
        let text = format!("# Agent Configuration\n## Model Routing\n{0}\n## Cost Optimization\n{0}\n", agents.join("\n"));
        let files = [("AGENTS.md", text.as_str()), (".brigade/config.toml", &settings.join("\n"))];
        let home = "[budget]\nrun_usd = 3\nplanner_tokens = 5000\n[quota]\nwindow = \"5h\"\nunits = 50\n";
        let names: &[&str] = if trusted { &["AGENTS.md", ".brigade/config.toml"] } else { &[] };
        let sources = Sources {
            workspace: Some(Repository::of(&files, names)),
            env: env(&[("OPENAI_API_KEY", "k")]),
            home: file("h.toml", home),
            rungs: &rungs(),
            ..Sources::default()
        };
        let before = at_home(home).unwrap();
        // A refusal is as good.
        if let Ok(config) = resolve(&sources, &no_prompts) {
            proptest::prop_assert_eq!(&config.providers, &before.providers);
            proptest::prop_assert!(config.policy.budget.run_usd <= before.policy.budget.run_usd);
            proptest::prop_assert_eq!(config.policy.quota.widens(&before.policy.quota), None);
            proptest::prop_assert!(config.policy.budget.planner_tokens.is_some_and(|n| n <= 5_000));
            for (key, model) in provider::models(&config.policy) {
                proptest::prop_assert!(config.providers.contains_key(model.provider()), "{key} = {model}");
            }
            proptest::prop_assert!(trusted || config.policy == before.policy);
        }
    }
}
