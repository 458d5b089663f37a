//! `brigade tool`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::{Place, Ran, rows, sample};

fn call(place: &Place, name: &str, arguments: &Value) -> Ran {
    place.fed(&["tool", "call", name, "--args", "-"], arguments.to_string().as_bytes())
}

#[test]
fn a_call_prints_four_fields_and_its_exit_code_says_how_it_went() {
    let place = Place::new();
    place.write("a.txt", "one\ntwo\n");
    let good = place.run(&["tool", "call", "read_file", "--args", r#"{"path": "a.txt"}"#]);
    assert_eq!((good.code, good.json()), (0, json!({"ok": true, "output": "one\ntwo\n", "error": null, "truncated": false})));
    let bad = place.run(&["tool", "call", "read_file", "--args", r#"{"path": "../b.txt"}"#]);
    assert_eq!((bad.code, &bad.json()["ok"]), (1, &json!(false)));
    let outside = Place::new();
    let there = outside.run(&["tool", "call", "list_files", "--args", "{}", "-C", place.work().to_str().unwrap()]);
    assert_eq!((there.code, &there.json()["output"]), (0, &json!("a.txt\n")));
}

#[test]
fn what_nobody_can_answer_here_is_refused_by_name() {
    let place = Place::new();
    let ran = place.run(&["tool", "call", "ask", "--args", r#"{"question": "why?"}"#]);
    assert_eq!(ran.code, 1);
    assert!(ran.json()["error"].as_str().unwrap().contains("the inbox of a run"), "{ran:?}");
    let ran = place.run(&["tool", "call", "dig", "--args", "{}"]);
    assert_eq!(ran.code, 1);
    assert!(ran.json()["error"].as_str().unwrap().contains("dig"), "{ran:?}");
    assert_eq!(place.run(&["tool", "call", "search", "--args", "{}", "-C", "nowhere"]).code, 2);
}

#[test]
fn the_list_names_every_tool_that_a_plan_may_name() {
    let place = Place::new();
    let list = place.run(&["tool", "list", "--json"]).json();
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["search", "list_files", "read_file", "apply_patch", "write_file", "view_image", "run_command", "ask", "open_output"]
    );
    let shown = place.run(&["tool", "list"]);
    assert!(names.iter().all(|name| shown.out.lines().any(|line| line.starts_with(name))), "{}", shown.out);
}

/// An image of one pixel.
const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";

#[test]
fn an_image_is_shown_by_its_content_within_the_workspace() {
    let place = Place::new();
    std::fs::write(place.work().join("shot.txt"), PIXEL).unwrap();
    place.write("fake.png", "no image");
    let view = |path: &str| call(&place, "view_image", &json!({"path": path})).json();
    let shown = json!({"ok": true, "output": format!("shot.txt: image/png, 1 x 1 pixels, {} bytes\n", PIXEL.len()), "error": null, "truncated": false});
    assert_eq!(view("shot.txt"), shown);
    for (path, words) in [("fake.png", "fake.png is no image by its content"), ("../x.png", "`..`"), ("none.png", "does not exist")] {
        assert!(view(path)["error"].as_str().unwrap().contains(words), "{path}: {}", view(path));
    }
}

#[test]
fn what_a_command_said_in_full_can_be_opened_page_by_page() {
    let place = Place::new();
    let lines: String = (1..=9_000).map(|n| format!("line {n}\n")).collect();
    place.write("long.txt", &lines);
    let ran = call(&place, "run_command", &json!({"argv": ["cat", "long.txt"]})).json();
    if ran["error"].as_str().is_some_and(|e| e.contains("sandbox")) {
        return;
    }
    let said = ran["output"].as_str().unwrap();
    assert!(ran["truncated"] == json!(true) && said.contains("line 1\n") && said.ends_with("line 9000\n"), "head and tail are kept");
    let id = said.split("open_output {\"id\": \"").nth(1).unwrap().split('"').next().unwrap();
    let (mut whole, mut page) = (String::new(), 1);
    loop {
        let opened = call(&place, "open_output", &json!({"id": id, "page": page})).json();
        let text = opened["output"].as_str().unwrap();
        whole.push_str(&text[..text.find('[').unwrap()]);
        if opened["truncated"] == json!(false) {
            break;
        }
        page += 1;
        assert!(text.contains(&format!("\"page\": {page}}}")), "the way on is told");
    }
    assert_eq!((whole == lines, page), (true, 3));
    let first = call(&place, "open_output", &json!({"id": id})).json();
    assert!(first["output"].as_str().unwrap().starts_with("line 1\n"));
    for bad in [json!({"id": "out-000000000000"}), json!({"id": "../../secret"}), json!({"id": id, "page": 99}), json!({"page": 1})] {
        let refused = call(&place, "open_output", &bad);
        assert_eq!((refused.code, &refused.json()["ok"]), (1, &json!(false)), "{bad}");
    }
}

#[test]
fn commands_run_in_place_and_in_the_sandbox_or_not_at_all() {
    let place = Place::new();
    let ran = call(&place, "run_command", &json!({"argv": ["sh", "-c", "echo made > made.txt; echo $BRIGADE_HOME; touch /etc/out"]}));
    let answer = ran.json();
    if answer["error"].as_str().is_some_and(|e| e.contains("sandbox")) {
        assert_eq!((ran.code, place.work().join("made.txt").exists()), (1, false), "no sandbox, no command: {answer}");
        return;
    }
    assert_eq!((ran.code, &answer["ok"]), (1, &json!(false)), "touch fails outside: {answer}");
    assert_eq!(std::fs::read_to_string(place.work().join("made.txt")).unwrap(), "made\n");
    assert!(!answer.to_string().contains(place.home().to_str().unwrap()), "no variable of ours gets in: {answer}");
    assert!(!Path::new("/etc/out").exists());
}

type Tree = BTreeMap<String, String>;

fn tree_of(value: &Value) -> Tree {
    value.as_object().unwrap().iter().map(|(path, text)| (path.clone(), text.as_str().unwrap().to_owned())).collect()
}

fn read_tree(dir: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                tree.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    tree
}

/// What `tools/tests/recorded.rs` checks in one process, here process by process.
#[test]
fn recorded_patches_applied_by_the_binary_give_the_recorded_trees_or_change_nothing() {
    let Some(rows) = rows("apply-patch/recorded.jsonl.gz") else { return };
    let mut wrong = Vec::new();
    for row in sample(rows, 20) {
        let place = Place::new();
        let input = tree_of(&row["input"]);
        for (path, text) in &input {
            place.write(path, text);
        }
        let ran = call(&place, "apply_patch", &json!({"patch": row["patch"]}));
        let mut expected = input.clone();
        expected.extend(tree_of(&row["expected"]));
        for gone in row["removed"].as_array().unwrap() {
            expected.remove(gone.as_str().unwrap());
        }
        let (ok, tree) = (ran.json()["ok"] == true, read_tree(&place.work()));
        let refused = !ok && tree == input;
        let right = match (row["policy"] == "must_refuse", row["rc"] == 0) {
            (true, _) => refused,
            (false, true) => ok && tree == expected,
            // Codex fails there; we may mend the form of an envelope, never half of a patch.
            (false, false) => refused || ok,
        };
        if !right || ran.code != i32::from(!ok) {
            wrong.push(format!("{}: {ran:?}", row["id"]));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
