//! Images as a user meets them: in a plan, with a request, from a tool, from a server; and what was cut, opened again.

use rustix::process::Signal;
use serde_json::json;

use crate::stage::Stage;

/// The header of an image: 640 by 480 pixels.
const SHOT: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\x80\0\0\x01\xe0\x08\x06\0\0\0\x35\xd1\xdc\xe4";
/// The same in base64, as a server sends it.
const SHOT_BASE64: &str = "iVBORw0KGgoAAAANSUhEUgAAAoAAAAHgCAYAAAA10dzk";

/// The lowest tier takes no images.
const BLIND_NANO: &str = r#"
[tiers.nano]
model = "openai/blind"
[models."openai/blind"]
input = 0.1
output = 0.1
"#;

const BLIND_ALL: &str = r#"
[tiers.mini]
model = "openai/blind"
[tiers.flagship]
model = "openai/blind"
"#;

fn stage(rules: &str, config: &str) -> Stage {
    let stage = Stage::new(&format!("[server]\nany_model = true\n[models.blind]\nimages = false\n{rules}"));
    std::fs::write(stage.dir.path().join("workspace/shot.png"), SHOT).unwrap();
    std::fs::create_dir_all(stage.home()).unwrap();
    std::fs::write(stage.home().join("config.toml"), config).unwrap();
    stage
}

/// Models of the calls that showed an image, in order.
fn saw(stage: &Stage) -> Vec<(String, u64)> {
    stage.ledger().calls.iter().filter(|call| call.images > 0).map(|call| (call.model.to_string(), call.images)).collect()
}

const LOOK: &str = r#"
[[subtasks]]
id = "c"
type = "classify"
description = "what is shown"
images = ["shot.png"]
"#;

const SEEN: &str = r#"
[[rule]]
match = { contains = ["what is shown", "1. shot.png (image/png, 640 x 480 pixels"], image = true }
reply = { text = "a login form" }
"#;

#[test]
fn the_images_of_a_subtask_reach_a_model_that_sees() {
    let stage = stage(SEEN, BLIND_NANO);
    stage.run(LOOK, &["-q"]).exits(0).says(&["It says a login form."]);
    assert_eq!(saw(&stage), [("gpt-5.4-mini".to_owned(), 1)], "nano is where it would have started");
}

#[test]
fn what_no_tier_can_see_is_refused_before_anything_is_spent() {
    let stage = stage(SEEN, &format!("{BLIND_NANO}{BLIND_ALL}"));
    let words = ["subtask c, images: images shows images", "openai/blind takes no images", "supports = [\"vision\"]"];
    stage.run(LOOK, &[]).exits(2).says(&words);
    stage.brigade(&["simulate", "plan.toml"]).exits(2).says(&words);
    let tool = LOOK.replace("images = [\"shot.png\"]", "tools = [\"view_image\"]");
    stage.run(&tool, &[]).exits(2).says(&["subtask c, tools: tools shows images"]);
    stage.brigade(&["run", "what is shown", "--image", "workspace/shot.png"]).exits(2).says(&["--image: the planner's model openai/blind"]);
    assert!(stage.ledger().calls.is_empty());
    stage.brigade(&["plan", "--check", "plan.toml"]).exits(0);
}

const VIEW: &str = r#"
[[subtasks]]
id = "c"
type = "review_file"
description = "look at the picture"
tools = ["view_image"]
"#;

const VIEWED: &str = r#"
[[rule]]
match = { contains = "look at the picture", tool_result = "shot.png: image/png, 640 x 480 pixels", image = true }
reply = { text = "two buttons" }
[[rule]]
match = { contains = "look at the picture" }
reply = { calls = [{ name = "view_image", arguments = { path = "shot.png" } }] }
"#;

#[test]
fn an_image_that_was_asked_for_is_shown_in_both_dialects() {
    for dialect in ["responses", "chat"] {
        let stage = stage(VIEWED, &format!("[providers.openai]\ndialect = \"{dialect}\"\n"));
        stage.run(VIEW, &["-q"]).exits(0).says(&["It says two buttons."]);
        assert_eq!(saw(&stage).len(), 1, "{dialect}");
    }
}

#[test]
fn a_run_taken_up_again_shows_the_image_again() {
    let slow = VIEWED.replacen("reply = { text = \"two buttons\" }", "reply = { text = \"two buttons\" }\ndelay_ms = 2000", 1);
    let stage = stage(&slow, "");
    let under = stage.start(VIEW, 2);
    under.signal(Signal::KILL);
    let id = under.id.clone();
    under.end();
    // It was on record before the call left.
    std::fs::remove_file(stage.dir.path().join("workspace/shot.png")).unwrap();
    stage.brigade(&["resume", &id, "-q"]).exits(0).says(&["It says two buttons."]);
    assert_eq!(saw(&stage).len(), 2);
}

#[test]
fn an_image_that_is_not_there_is_the_planners_matter() {
    let other = json!({"id": "d", "type": "extract", "title": "t", "description": "say alpha", "output_format": "text",
        "depends_on": [], "files": [], "writes": [], "tools": [], "complexity": "low", "checks": []});
    let patch = json!({"add": [other], "drop": ["c"], "change": [], "coordination_notes": ""});
    let review = json!({"summary": "", "verdict": "approve", "revisions": [], "add": [], "final_output": "It says {{d.output}}."});
    let rules = format!(
        "[[rule]]\nmatch = {{ format = \"brigade_review\" }}\nreply = {{ json = '''{review}''' }}\n\
         [[rule]]\nmatch = {{ format = \"brigade_plan_patch\", contains = \"images: \\\"lost.png\\\" does not exist\" }}\nreply = {{ json = '''{patch}''' }}\n\
         [[rule]]\nmatch = {{ contains = \"say alpha\" }}\nreply = {{ text = \"alpha\" }}\n"
    );
    let stage = stage(&rules, "");
    stage.run(&LOOK.replace("shot.png", "lost.png"), &["-q"]).exits(0).says(&["It says alpha."]);
    assert!(saw(&stage).is_empty());
}

#[test]
fn the_images_of_a_request_reach_the_planner() {
    let plan = json!({"subtasks": [{"id": "c", "type": "extract", "title": "t", "description": "say alpha", "output_format": "text",
        "depends_on": [], "files": [], "writes": [], "tools": [], "complexity": "low", "checks": []}], "coordination_notes": ""});
    let rules = format!(
        "[[rule]]\nmatch = {{ format = \"brigade_plan\", image = true, contains = \"1. image 1 of the request (image/png\" }}\nreply = {{ json = '''{plan}''' }}\n\
         [[rule]]\nmatch = {{ contains = \"say alpha\", image = false }}\nreply = {{ text = \"alpha\" }}\n"
    );
    let stage = stage(&rules, "");
    std::fs::write(stage.dir.path().join("beside.bin"), SHOT).unwrap();
    let ask = |file: &str| stage.brigade(&["run", "build this form", "-q", "-C", "workspace", "--image", file]);
    ask("beside.bin").exits(0).says(&["It says alpha."]);
    assert_eq!(saw(&stage), [("gpt-5.4".to_owned(), 1)]);
    stage.file("note.png", "no image");
    ask("note.png").exits(2).says(&["--image: note.png is no image by its content"]);
    ask("none.png").exits(2).says(&["--image: none.png cannot be read"]);
    stage.file("plan.toml", LOOK);
    stage.brigade(&["run", "--plan", "plan.toml", "--image", "beside.bin"]).exits(2).says(&["name images in its subtasks"]);
}

/// A server that answers with an image and with a long text.
fn server() -> String {
    r#"#!/bin/sh
while IFS= read -r line; do
  id=${line#*\"id\":}; id=${id%%[,\}]*}
  case $line in
    *'"method":"initialize"'*)
      printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"eyes","version":"1"}}}\n' "$id" ;;
    *'"method":"tools/list"'*)
      printf '{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"shot","description":"Shows.","inputSchema":{"type":"object","properties":{}}}]}}\n' "$id" ;;
    *'"method":"tools/call"'*)
      printf '{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"image","mimeType":"image/jpeg","data":"DATA"}]}}\n' "$id" ;;
  esac
done
"#
    .replace("DATA", SHOT_BASE64)
}

#[test]
fn what_a_server_shows_is_seen_by_who_can_see_and_told_to_who_cannot() {
    let rules = r#"
[[rule]]
match = { contains = "where is it", tool_result = "[image 1: image/png, 640 x 480 pixels", image = true }
reply = { text = "at the top" }
[[rule]]
match = { contains = "where is it", tool_result = "not shown, this model takes none", image = false }
reply = { text = "nobody knows" }
[[rule]]
match = { contains = "where is it" }
reply = { calls = [{ name = "mcp__eyes__shot", arguments = {} }] }
"#;
    let entry = "[mcp_servers.eyes]\ncommand = \"sh\"\nargs = [\"server.sh\"]\ncwd = \".\"\n";
    let plan = |tier: &str| {
        format!("[[subtasks]]\nid = \"c\"\ntype = \"search\"\ntier = \"{tier}\"\ndescription = \"where is it\"\nmcp_servers = [\"eyes\"]\n")
    };
    let stage = stage(rules, &format!("{entry}{BLIND_NANO}"));
    std::fs::write(stage.dir.path().join("workspace/server.sh"), server()).unwrap();
    stage.brigade(&["mcp", "trust", "eyes", "-C", "workspace"]).exits(0);
    stage.run(&plan("mini"), &["-q"]).exits(0).says(&["It says at the top."]);
    stage.run(&plan("nano"), &["-q"]).exits(0).says(&["It says nobody knows."]);
    assert_eq!(saw(&stage).len(), 1);
    // Said to show images, it is not given to who cannot see.
    std::fs::write(stage.home().join("config.toml"), format!("{entry}images = [\"shot\"]\n{BLIND_NANO}")).unwrap();
    stage.run(&plan("nano"), &["-q", "--no-cache"]).exits(0).says(&["It says at the top."]);
    assert_eq!(saw(&stage).last().unwrap().0, "gpt-5.4-mini");
}

#[test]
fn what_was_cut_is_opened_by_the_id_that_stands_there() {
    let rules = r#"
[[rule]]
match = { contains = "count them", tool_result = "line 4500\n" }
reply = { text = "nine thousand" }
[[rule]]
match = { contains = "count them", tool_result = "bytes cut here; open_output" }
reply = { template = true, calls = [{ name = "open_output", arguments = { id = "{{match.1}}", page = 2 } }], key = 'open_output \{"id": "(out-[0-9a-f]{12})"\}' }
[[rule]]
match = { contains = "count them" }
reply = { calls = [{ name = "run_command", arguments = { argv = ["cat", "long.txt"] } }] }
"#;
    let stage = stage(rules, "");
    let lines: String = (1..=9_000).map(|n| format!("line {n}\n")).collect();
    std::fs::write(stage.dir.path().join("workspace/long.txt"), lines).unwrap();
    let plan = "[[subtasks]]\nid = \"c\"\ntype = \"test\"\ndescription = \"count them\"\ntools = [\"run_command\", \"open_output\"]\n";
    let ran = stage.run(plan, &["-q"]);
    if ran.err.contains("sandbox") {
        return;
    }
    ran.exits(0).says(&["It says nine thousand."]);
}

#[test]
fn a_result_shown_in_part_is_opened_by_its_subtasks_id() {
    let long: String = (1..=6_000).map(|n| format!("fact {n}; ")).collect();
    let rules = format!(
        r#"
[[rule]]
match = {{ contains = "sum up", tool_result = "fact 5000;" }}
reply = {{ text = "six thousand facts" }}
[[rule]]
match = {{ contains = "sum up", tool_result = "[… page 1 of 2; open_output" }}
reply = {{ calls = [{{ name = "open_output", arguments = {{ id = "a", page = 2 }} }}] }}
[[rule]]
match = {{ contains = ["sum up", "[all of it: open_output {{\"id\": \"a\"}}]"] }}
reply = {{ calls = [{{ name = "open_output", arguments = {{ id = "b", page = 1 }} }}, {{ name = "open_output", arguments = {{ id = "a" }} }}] }}
[[rule]]
match = {{ contains = "say it all" }}
reply = {{ text = "{long}", usage = {{ input_tokens = 10, output_tokens = 100 }} }}
disobey = true
"#
    );
    let stage = stage(&rules, "");
    let plan = "[[subtasks]]\nid = \"a\"\ntype = \"extract\"\ndescription = \"say it all\"\n\
                [[subtasks]]\nid = \"c\"\ntype = \"summarize\"\ndescription = \"sum up {{a.output}}\"\ntools = [\"open_output\"]\n";
    stage.run(plan, &["-q"]).exits(0).says(&["It says six thousand facts."]);
}
