//! What siblings share stands in front, byte for byte: the bodies that really reached the API are compared.

use serde_json::Value;

use super::stage::Stage;

const ANSWERS: &str = r#"
[[rule]]
match = { format = "brigade_review" }
reply = { json = { summary = "good", verdict = "approve", revisions = [], add = [], final_output = "all done" } }
[[rule]]
match = { contains = "PART-" }
reply = { json = { found = "yes" } }
"#;

/// Siblings of one type, on one tier, with other tools, files and words.
fn plan() -> String {
    let mut plan = String::new();
    for n in 0..6 {
        let tool = ["search", "read_file"][n % 2];
        plan.push_str(&format!(
            "[[subtasks]]\nid = \"part-{n}\"\ntype = \"review_file\"\ntitle = \"part {n}\"\ndescription = \"PART-{n} of six\"\n\
             files = [\"f{n}.txt\"]\ntools = [\"{tool}\"]\n\
             output_schema = {{ type = \"object\", properties = {{ found = {{ type = \"string\" }} }}, required = [\"found\"], additionalProperties = false }}\n"
        ));
    }
    plan
}

/// Runs the siblings to the end, their executors told these rules.
fn played(dialect: &str, rules: &str, answers: &str) -> Stage {
    let stage = Stage::new(answers);
    for n in 0..6 {
        std::fs::write(stage.dir.path().join(format!("workspace/f{n}.txt")), format!("file {n}\n")).unwrap();
    }
    std::fs::create_dir_all(stage.home()).unwrap();
    let config = format!(
        "[providers.openai]\ndialect = \"{dialect}\"\nbase_url = \"{}\"\nenv_key = \"OPENAI_API_KEY\"\n[prompts]\nexecutor = \"rules.md\"\n",
        stage.api.base_url()
    );
    std::fs::write(stage.home().join("config.toml"), config).unwrap();
    std::fs::write(stage.home().join("rules.md"), rules).unwrap();
    stage.file("plan.toml", &plan());
    let run = ["run", "--plan", "plan.toml", "-C", "workspace", "-q"];
    let output = stage.command(&run).env_remove("OPENAI_BASE_URL").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    stage
}

/// Runs the siblings and returns, for each, its body up to its own part, and what comes behind.
fn siblings(dialect: &str, rules: &str) -> Vec<(String, String)> {
    let stage = played(dialect, rules, ANSWERS);
    let bodies = stage.api.bodies().into_iter().map(|(_, body)| String::from_utf8(body).unwrap());
    let mut siblings: Vec<(String, String)> = bodies
        .filter(|body| !body.contains("brigade_review"))
        .map(|body| {
            let own = body.find("PART-").unwrap();
            (body[..own].to_owned(), body[own..].to_owned())
        })
        .collect();
    siblings.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(siblings.len(), 6);
    siblings
}

fn long_rules() -> String {
    "Look at what you are given. ".repeat(200)
}

#[test]
fn siblings_with_other_tools_share_every_byte_up_to_their_own_part() {
    let siblings = siblings("responses", &long_rules());
    let shared = &siblings[0].0;
    for held in ["\"search\"", "\"read_file\"", "brigade_result", "Look at what you are given.", "prompt_cache_key", "\"input\":["] {
        assert!(shared.contains(held), "{held} stands behind a sibling's own part: {shared}");
    }
    for (n, (front, behind)) in siblings.iter().enumerate() {
        assert_eq!(front, shared, "part {n}");
        let body: Value = serde_json::from_str(&format!("{front}{behind}")).unwrap();
        let allowed: Vec<&str> =
            body["tool_choice"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!(allowed, ["end", ["search", "read_file"][n % 2]], "what was not granted may not be called");
    }
}

#[test]
fn a_prefix_too_short_for_the_cache_carries_no_tools_of_others() {
    for (n, (front, behind)) in siblings("responses", "Look.").iter().enumerate() {
        let body: Value = serde_json::from_str(&format!("{front}{behind}")).unwrap();
        let offered: Vec<&str> = body["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!((offered, &body["tool_choice"]), (vec!["end", ["search", "read_file"][n % 2]], &Value::Null));
    }
}

#[test]
fn in_the_chat_dialect_siblings_with_the_same_tools_share_every_byte_up_to_their_own_part() {
    // A server of unknown make gets no allowed_tools: there the list of tools itself is narrowed.
    let siblings = siblings("chat", &long_rules());
    for (n, (front, _)) in siblings.iter().enumerate() {
        assert_eq!(front, &siblings[n % 2].0, "part {n}");
        assert!(front.contains("\"messages\":[") && front.contains("Look at what you are given."), "{front}");
        assert!(front.contains(&format!("\"{}\"", ["search", "read_file"][n % 2])), "{front}");
        assert!(!front.contains(&format!("\"{}\"", ["read_file", "search"][n % 2])), "{front}");
    }
}

#[test]
fn siblings_of_a_long_prefix_come_after_the_first_content_of_the_first() {
    let slow = format!("[models.\"gpt-5.4-mini\"]\nfirst_token_ms = 400\n{ANSWERS}");
    let stage = played("responses", &long_rules(), &slow);
    let calls = stage.ledger().calls;
    let siblings: Vec<_> = calls.iter().filter(|call| &*call.model == "gpt-5.4-mini").collect();
    assert_eq!((siblings.len(), siblings[0].in_flight), (6, 1));
    assert!(siblings[1..].iter().all(|call| call.at >= siblings[0].at + 400), "nothing was there to be read from the cache: {siblings:?}");
    let together = played("responses", "Look.", &slow).ledger().calls;
    assert!(together.iter().any(|call| &*call.model == "gpt-5.4-mini" && call.in_flight > 1), "a short prefix is not waited for");
}
