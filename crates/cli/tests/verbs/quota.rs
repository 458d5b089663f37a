//! What a plan weighs: the well-known numbers of a mixed team in a quota window, each as docs/quota.md has it.

use serde_json::{Value, json};

use super::{Place, Ran};

/// So many one-call subtasks on the flagship, and so many on mini.
fn plan(flagship: usize, mini: usize) -> String {
    let tiers = std::iter::repeat_n("flagship", flagship).chain(std::iter::repeat_n("mini", mini));
    let subtask = |(n, tier)| format!("[[subtasks]]\nid = \"s{n}\"\ndescription = \"Do it.\"\ntier = \"{tier}\"\nsimulate_ms = 60000\n");
    tiers.enumerate().map(subtask).collect()
}

fn simulate(flagship: usize, mini: usize, flags: &[&str]) -> Ran {
    let place = Place::new();
    place.fed(&[&["simulate", "-"], flags].concat(), plan(flagship, mini).as_bytes())
}

fn quota(flagship: usize, mini: usize, flags: &[&str]) -> Value {
    simulate(flagship, mini, &[flags, &["--json"]].concat()).json()["quota"].clone()
}

#[test]
fn five_flagship_and_forty_five_mini_messages_weigh_18_5_of_50_units() {
    let quota = quota(5, 45, &["--window", "5h", "--units", "50", "--weight", "mini=0.3"]);
    assert_eq!((&quota["units"], &quota["all_flagship_units"]), (&json!(18.5), &json!(50.0)));
    assert_eq!((&quota["saving"], &quota["work_multiple"]), (&json!(0.63), &json!(2.7027)));
    assert_eq!(quota["weights"], json!({"nano": 1.0, "mini": 0.3, "flagship": 1.0}));
    let window = &quota["windows"][0];
    assert_eq!((&window["window_ms"], &window["units"]), (&json!(18_000_000), &json!(50.0)));
    // All of it fits, and 135 calls of such a mix would.
    assert_eq!((&window["subtasks"], &window["calls"], &window["opens_ms"]), (&json!(50), &json!(135), &json!([])));
    let shown = simulate(5, 45, &["--window", "5h", "--units", "50", "--weight", "mini=0.3"]).out;
    for line in ["units                    18.5", "saving                   63 %", "work in the same window  2.7 x", "50 of 50"] {
        assert!(shown.contains(line), "{line}\n---\n{shown}");
    }
}

#[test]
fn a_weight_of_0_3_turns_223_to_1120_messages_into_743_to_3733() {
    let calls = |units: &str| quota(0, 1, &["--window", "5h", "--units", units, "--weight", "mini=0.3"])["windows"][0]["calls"].clone();
    assert_eq!((calls("223"), calls("1120")), (json!(743), json!(3_733)));
}

#[test]
fn work_grows_2_5_to_3_3_fold_with_the_part_that_is_mini() {
    let multiple = |flagship, mini| quota(flagship, mini, &["--weight", "mini=0.3"])["work_multiple"].clone();
    assert_eq!((multiple(1, 6), multiple(0, 10)), (json!(2.5), json!(3.3333)));
}

#[test]
fn what_does_not_fit_goes_on_when_units_come_back() {
    // Ten at once: four fit, four more at the end of the window, two at the end of the next.
    let flags = ["--window", "1h", "--units", "4", "--workers", "100"];
    let whole = simulate(10, 0, &[&flags[..], &["--json"]].concat()).json();
    let window = &whole["quota"]["windows"][0];
    assert_eq!((&window["subtasks"], &window["opens_ms"]), (&json!(4), &json!([3_600_000, 7_200_000])));
    assert_eq!((&whole["quota"]["makespan_ms"], &whole["makespan_ms"]), (&json!(7_260_000), &json!(60_000)));
    let fast = quota(10, 0, &[&flags[..], &["--fast"]].concat());
    assert_eq!((&fast["units"], &fast["windows"][0]["subtasks"]), (&json!(20.0), &json!(2)));
    let refused = simulate(1, 0, &["--window", "1h", "--units", "0.5"]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("a call on flagship weighs 1 units, more than the 0.5 of the quota window \"main\""), "{}", refused.err);
}

#[test]
fn the_configured_windows_are_played_too() {
    let place = Place::new();
    std::fs::create_dir_all(place.home()).unwrap();
    let config = "[quota]\nwindow = \"5h\"\nunits = 5\nweights = { mini = 0.5 }\n[quota.windows.week]\nwindow = \"7d\"\nunits = 8\n";
    std::fs::write(place.home().join("config.toml"), config).unwrap();
    let ran = place.fed(&["simulate", "-", "--json"], plan(4, 12).as_bytes()).json();
    let windows = ran["quota"]["windows"].as_array().unwrap();
    assert_eq!((windows[0]["name"].as_str(), windows[1]["name"].as_str()), (Some("main"), Some("week")));
    // 10 units: 5 at once, 3 after five hours, the rest when the week is over.
    assert_eq!((&windows[0]["opens_ms"], &windows[1]["opens_ms"]), (&json!([18_000_000]), &json!([604_800_000])));
    let plain = Place::new().fed(&["simulate", "-", "--json"], plan(1, 1).as_bytes()).json();
    assert_eq!(plain.get("quota"), None);
    for (flags, said) in [
        (&["--weight", "mini"][..], "use TIER=W"),
        (&["--weight", "huge=1"], "no such tier"),
        (&["--window", "1h"], "--units"),
        (&["--window", "1h", "--units", "0"], "use units above 0"),
    ] {
        let ran = simulate(1, 0, flags);
        assert!(ran.code == 2 && ran.err.contains(said), "{flags:?}: {}", ran.err);
    }
}
