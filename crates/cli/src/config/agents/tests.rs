#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::*;

fn policy() -> Policy {
    let rung = |tier: &str, model: &str| (Tier::new(tier).unwrap(), ModelRef::new(model).unwrap());
    Policy::standard([rung("nano", "openai/gpt-5.4-nano"), rung("mini", "openai/gpt-5.4-mini"), rung("flagship", "openai/gpt-5.4")])
}

fn lines(text: &str) -> Vec<Line> {
    static CATALOG: std::sync::LazyLock<Catalog> = std::sync::LazyLock::new(Catalog::built_in);
    let (policy, providers) = (policy(), BTreeSet::from(["openai".to_owned()]));
    let ground = Ground { policy: &policy, catalog: &CATALOG, today: Day::parse("2026-11-12").unwrap(), providers: &providers };
    read("AGENTS.md", text, &ground)
}

/// What lines set, as `line key = value`; what they do not, as `line !`.
fn said(text: &str) -> Vec<String> {
    let mut said = Vec::new();
    for line in lines(text) {
        for effect in line.effects {
            said.push(match effect {
                Effect::Sets(key, Setting::Text(value)) => format!("{} {key} = {value}", line.line),
                Effect::Sets(key, other) => format!("{} {key} = {other}", line.line),
                Effect::Always(_) => format!("{} always", line.line),
                Effect::Refused(why) => format!("{} refused: {why}", line.line),
                Effect::NotUnderstood(_) => format!("{} ?", line.line),
            });
        }
    }
    said
}

const BULLETS: &str = "# Project

Use tabs.

## Agent Configuration
### Model Routing
- Planner: model: gpt-5.4, role: planning and review, cache: true
- **Executor**: model: `gpt-5.4-mini`, role: narrow edits, small ones, cache: off
### Context Management
- Pass only relevant files; max_context_tokens: 8000
- Read the tea leaves
### Cost Optimization
- Default to mini
- Escalate only when: tests fail twice, merge conflict, the moon is full

## Style
- Model: short
";

#[test]
fn each_line_of_the_usual_form_says_what_it_does() {
    assert_eq!(
        said(BULLETS),
        [
            "7 roles.planner = flagship",
            "7 additions.planner = Your part: planning and review.",
            "7 roles.reviewer = flagship",
            "7 prompt_cache.planner = true",
            "8 roles.executor = mini",
            "8 additions.executor = Your part: narrow edits, small ones.",
            "8 prompt_cache.executor = false",
            "10 always",
            "10 tiers.mini.max_context_tokens = 8000",
            "11 ?",
            "13 escalation.start_at_most = mini",
            "14 escalation.only_on = check,conflict",
            "14 ?",
        ]
    );
}

const FORMS: [&str; 5] = [
    "# AGENT CONFIGURATION
## MODEL ROUTING
* __PLANNER__
  * Model: GPT-5.4
  * Cache: Enabled
* EXECUTOR
  * MODEL: openai/gpt-5.4-nano
## COST OPTIMIZATION
1. Default-to-mini: true
2. Escalate only when:
   - schema validation fails
   - there is a conflict
",
    "### agent configuration ###
```yaml
model_routing:
  planner:
    model: gpt-5.4
    cache: true # kept warm
  executor: {model: gpt-5.4-nano}
cost_optimization:
  default_tier: mini
  escalate_only_when: [invalid json, conflict]
```
",
    "```yml
agent_configuration:
  model_routing:
    planner:
      model: gpt-5.4
      cache: yes
    executor:
      model: gpt-5.4-nano
  cost_optimization:
    default: mini
    escalate_only_when:
      - the output is malformed
      - conflict
```
plain
",
    "## Agent configuration
#### Model routing
| Role | Model | Cache |
|---|---|---|
| **Planner** | `gpt-5.4` | on |
| Executor | gpt-5.4-nano | - |
#### Cost optimisation
- Use gpt-5.4-mini by default
- Escalate to the flagship only if the answer has the wrong format or changes conflict.
",
    "## Model Routing
- Planner → gpt-5.4
  - cache: true
- Executor: nano
## Cost Optimization
Default to **mini**.
- Escalate only when: JSON is invalid; merge conflicts
",
];

#[test]
fn other_forms_of_the_same_say_the_same() {
    let expected = [
        "roles.planner = flagship",
        "prompt_cache.planner = true",
        "roles.executor = nano",
        "escalation.start_at_most = mini",
        "escalation.only_on = form,conflict",
    ];
    for form in FORMS {
        let set: Vec<String> = said(form).iter().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect();
        // Conditions in lines of their own add up: the last says all.
        let set: Vec<&String> = set.iter().filter(|line| *line != "escalation.only_on = form").collect();
        assert_eq!(set, expected.iter().collect::<Vec<_>>(), "{form}");
    }
}

#[test]
fn models_are_bound_where_they_are_priced_and_reachable_and_refused_by_name_elsewhere() {
    let routing = |line: &str| said(&format!("# Agent Configuration\n## Model Routing\n- {line}\n")).join("; ");
    assert_eq!(routing("Planner: gpt-5.2"), "3 tiers.flagship.model = openai/gpt-5.2");
    assert_eq!(routing("Executor: model: gpt-5.2"), "3 tiers.mini.model = openai/gpt-5.2; 3 roles.executor = mini");
    assert_eq!(routing("Debug: model: gpt-5.4"), "3 routes.debug = flagship");
    assert_eq!(routing("Tester: openai/gpt-5.2"), "3 routes.test = openai/gpt-5.2");
    assert_eq!(routing("Planner: gpt-5.4 (planning)"), "3 roles.planner = flagship; 3 additions.planner = Your part: planning.");
    assert!(routing("Planner: model: gpt-99-ultra").contains("refused: no price is known for a model gpt-99-ultra"));
    assert!(routing("Planner: model: anthropic/claude-3-5-haiku-20241022").contains("refused: "));
    assert_eq!(routing("Janitor: model: gpt-5.4"), "3 ?");
    assert_eq!(
        routing("Planner: gpt-5.4 — plans, and cuts"),
        "3 roles.planner = flagship; 3 additions.planner = Your part: plans, and cuts."
    );
    assert_eq!(
        routing("**Planner Model:** `gpt-5.4` for planning"),
        "3 roles.planner = flagship; 3 additions.planner = Your part: planning."
    );
    assert_eq!(routing("The planner uses gpt-5.4."), "3 roles.planner = flagship");
    assert_eq!(routing("Planner: model: gpt-5.4, temperature: 0.2"), "3 ?; 3 roles.planner = flagship");
}

#[test]
fn a_workspace_lowers_a_budget_and_raises_none() {
    let cost = |line: &str| said(&format!("# Agent Configuration\n## Cost Optimization\n- {line}\n")).join("; ");
    assert_eq!(cost("Max budget: $2.50 a run"), "3 budget.run_usd = 2.5");
    assert!(cost("Budget: 50 USD").contains("refused: $50.00 is above the cap of $5.00"), "{}", cost("Budget: 50 USD"));
    assert_eq!(cost("max_attempts: 3"), "3 limits.max_attempts = 3");
    assert_eq!(cost("default-to-mini: false"), "3 always");
    assert_eq!(cost("Escalate only when: tests fail three times"), "3 ?");
    assert_eq!(cost("Escalate only when: the task is too big"), "3 always");
    assert_eq!(cost("Use the batch API"), "3 ?");
}

#[test]
fn what_is_asked_of_the_context_is_a_soft_limit_or_always_so() {
    let context = |line: &str| said(&format!("# Agent Configuration\n## Context Management\n- {line}\n")).join("; ");
    assert_eq!(
        context("Max context: 4k tokens per executor"),
        "3 tiers.nano.max_context_tokens = 4000; 3 tiers.mini.max_context_tokens = 4000"
    );
    assert_eq!(context("Keep each subtask under 64,000 tokens"), "3 tiers.mini.max_context_tokens = 64000");
    for line in
        ["Never send the full repo", "Each worker gets a fresh context", "Send only relevant files", "Keep a stable prefix for the cache"]
    {
        assert_eq!(context(line), "3 always", "{line}");
    }
    assert_eq!(context("Keep the planner under 100k tokens"), "3 ?");
}

#[test]
fn prose_under_the_same_words_is_left_alone() {
    let prose = "# Shop\n## Model Routing\nURLs name the model: see routes.rb.\n- `/models/:id` goes to Rails\n\
                 ## Cost Optimization\nWe cache pages.\n```sh\nmake cost: all\n```\n";
    assert_eq!(said(prose), Vec::<String>::new());
    assert_eq!(said("# Shop\nPlanner: gpt-5.4\n"), Vec::<String>::new());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..proptest::prelude::ProptestConfig::with_cases(64) })]

    #[test]
    fn any_text_is_read_and_every_line_in_it_is_one_of_the_file(
        parts in proptest::collection::vec("(#{1,4} ?(Agent Configuration|Model Routing|Cost Optimization|Context Management|x)|[-*|] ?(Planner|executor|escalate only when|default to|budget)?[:=|]? ?[a-z0-9$.,;:{}\\[\\] İß-]{0,20}|```(yaml)?|\\PC{0,20})", 0..12),
    ) {
        let text = parts.join("\n");
        for line in lines(&text) {
            proptest::prop_assert!(line.line >= 1 && line.line <= text.lines().count() && !line.effects.is_empty(), "{line:?}");
        }
        let kept = lines_of(&text);
        proptest::prop_assert!(kept.iter().all(|n| *n < text.lines().count()));
    }
}
