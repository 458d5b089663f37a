//! Laws of plans, attacked by generated cases.

use std::collections::HashSet;

use brigade_kernel::ids::SubtaskId;
use brigade_kernel::plan::reference::{Reference, fill_items, lookup, outputs, references};
use brigade_kernel::plan::{
    Author, Code, Format, Known, PlanStream, Standing, Streamed, When, amend, check, parse, parse_answer, parse_span, write_span,
};
use brigade_kernel::time::Millis;
use proptest::prelude::*;
use serde_json::{Value, json};

fn known() -> Known {
    Known::names([])
}

/// Links among `n` nodes and a few that do not exist.
fn links() -> impl Strategy<Value = Vec<Vec<usize>>> {
    (1usize..9).prop_flat_map(|n| prop::collection::vec(prop::collection::vec(0..n + n / 4, 0..3), n))
}

fn plan_of(links: &[Vec<usize>]) -> Value {
    let subtask = |(n, to): (usize, &Vec<usize>)| {
        let to: Vec<String> = to.iter().map(|t| format!("s{t}")).collect();
        json!({"id": format!("s{n}"), "depends_on": to, "description": "say \"}]{[\" and é漢\u{1f600}\\"})
    };
    json!({"coordination_notes": "[{\"", "subtasks": links.iter().enumerate().map(subtask).collect::<Vec<_>>()})
}

/// Whether removing nodes without open links, again and again, leaves none; an oracle that shares no code.
fn acyclic(links: &[Vec<usize>]) -> bool {
    let mut left: HashSet<usize> = (0..links.len()).collect();
    loop {
        let free: Vec<usize> = left.iter().copied().filter(|n| !links[*n].iter().any(|t| left.contains(t) && t != n)).collect();
        if free.is_empty() {
            return left.is_empty();
        }
        free.iter().for_each(|n| {
            left.remove(n);
        });
    }
}

proptest! {
    // A failing case is printed; no file of seeds is kept beside integration tests.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_checker_accepts_exactly_closed_acyclic_graphs(links in links()) {
        let checked = check(&parse(&plan_of(&links).to_string(), Format::Json, Author::Person), &known());
        let has = |code| checked.faults.iter().any(|f| f.code == code);
        let dangling = links.iter().flatten().any(|t| *t >= links.len());
        let to_self = links.iter().enumerate().any(|(n, to)| to.contains(&n));
        prop_assert_eq!(has(Code::DanglingLink), dangling);
        prop_assert_eq!(has(Code::SelfLink), to_self);
        prop_assert_eq!(has(Code::Cycle), !acyclic(&links));
        prop_assert_eq!(checked.plan.is_some(), !dangling && !to_self && acyclic(&links));
    }

    #[test]
    fn a_stream_says_the_same_however_it_is_cut(links in links(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12), pretty: bool) {
        let value = plan_of(&links);
        let text = if pretty { format!("Here:\n```\n{value:#}\n```") } else { value.to_string() };
        let run = |pieces: &[&str]| {
            let mut stream = PlanStream::new(known());
            let found: Vec<Streamed> = pieces.iter().flat_map(|piece| stream.push(piece)).collect();
            (found, stream.finish())
        };
        let mut at: Vec<usize> = cuts.iter().map(|i| i.index(text.len())).filter(|i| text.is_char_boundary(*i)).collect();
        at.extend([0, text.len()]);
        at.sort_unstable();
        let pieces: Vec<&str> = at.windows(2).map(|w| &text[w[0]..w[1]]).collect();
        let whole = run(&[&text]);
        prop_assert_eq!(&run(&pieces), &whole);
        let at_once = check(&parse_answer(&text), &known());
        prop_assert_eq!(&whole.1, &at_once);
    }

    #[test]
    fn any_text_is_answered(text in "[{}\\[\\]\",:a-c0-9\\\\ \n]{0,60}") {
        let mut stream = PlanStream::new(known());
        stream.push(&text);
        let streamed = stream.finish();
        prop_assert!(streamed.plan.is_some() || !streamed.faults.is_empty());
        let toml = check(&parse(&text, Format::Toml, Author::Person), &known());
        prop_assert!(toml.plan.is_some() || !toml.faults.is_empty());
    }

    #[test]
    fn an_amended_plan_keeps_what_started(
        links in links(),
        standings in prop::collection::vec(0u8..4, 9),
        drop in prop::collection::vec(0usize..9, 0..2),
        change in prop::collection::vec((0usize..8, prop::collection::vec(0usize..8, 0..2)), 0..2),
        add in prop::collection::vec((7usize..12, prop::collection::vec(0usize..12, 0..2)), 0..2),
    ) {
        // Links backwards only: the plan itself is always sound.
        let backwards: Vec<Vec<usize>> = links.iter().enumerate().map(|(n, to)| to.iter().copied().filter(|t| *t < n).collect()).collect();
        let checked = check(&parse(&plan_of(&backwards).to_string(), Format::Json, Author::Person), &known());
        let plan = checked.plan.expect("no cycle, no dangling link");
        let standing = |id: &SubtaskId| match standings[id.as_str()[1..].parse::<usize>().unwrap()] {
            0 => Standing::Started,
            1 => Standing::Done,
            2 => Standing::Stuck,
            _ => Standing::Waiting,
        };
        let id = |n: &usize| format!("s{n}");
        let subtask = |(n, to): &(usize, Vec<usize>)| json!({"id": id(n), "depends_on": to.iter().map(id).collect::<Vec<_>>(), "title": "new"});
        let patch = json!({
            "drop": drop.iter().map(id).collect::<Vec<_>>(),
            "change": change.iter().map(subtask).collect::<Vec<_>>(),
            "add": add.iter().map(subtask).collect::<Vec<_>>(),
        });
        let amended = amend(&plan, &parse_answer(&patch.to_string()), standing, &known());
        prop_assert_eq!(amended.applied.is_some(), amended.faults.is_empty());
        let Some((patch, after)) = amended.applied else { return Ok(()) };
        for before in &plan.subtasks {
            if matches!(standing(&before.id), Standing::Started | Standing::Done) {
                prop_assert_eq!(after.get(before.id.as_str()), Some(before));
            }
        }
        // The result is a plan like any other, and folding the record leads to it.
        let again = check(&parse(&serde_json::to_string(&after).unwrap(), Format::Json, Author::Person), &known());
        prop_assert_eq!(again.plan.as_ref(), Some(&after));
        let mut folded = plan.clone();
        patch.apply(&mut folded);
        prop_assert_eq!(folded, after);
    }

    #[test]
    fn a_row_cannot_add_a_reference_or_a_line(value in "[{}a-c.\n\r\"\\\\]{0,20}", other in "[{}a.]{0,8}") {
        let text = format!("{other}{{{{item.x}}}} and {{{{a.output}}}}");
        let filled = fill_items(&text, &json!({"x": value}));
        prop_assert!(!filled.contains(['\n', '\r']));
        let expected = outputs(&text);
        prop_assert!(outputs(&filled).iter().all(|id| expected.contains(id)), "{}", filled);
    }

    #[test]
    fn conditions_are_read_or_refused(text in "[ ()'\"=<>!{}a-f.0-9andort]{0,40}") {
        if let Ok(when) = When::parse(&text) {
            let _ = when.holds(&|_| None);
            prop_assert_eq!(when.as_str(), text);
        }
    }

    #[test]
    fn spans_are_written_as_they_are_read(ms: u64) {
        prop_assert_eq!(parse_span(&write_span(Millis(ms))), Some(Millis(ms)));
    }
}

#[test]
fn conditions_mean_what_they_say() {
    let a = json!({"label": "refund", "score": 0.5, "n": "12", "ok": true, "tags": ["x", 3], "none": null, "deep": {"er": "it's"}});
    let item = json!({"a.b": "dotted", "age": "35"});
    let read = |reference: &Reference| match reference {
        Reference::Output { id, path } if id.as_str() == "a" => lookup(&a, path),
        Reference::Output { .. } => None,
        Reference::Item { path } => lookup(&item, path),
    };
    let cases = [
        ("{{a.output.label}} == 'refund'", true),
        ("{{a.output.label}}=='refund'", true),
        ("{{a.output.label}} != \"refund\"", false),
        ("{{ a.output.score }} >= 0.5", true),
        ("{{a.output.score}} < 0.5", false),
        ("{{a.output.n}} > 9", true),
        ("{{a.output.n}} == 12.0", true),
        ("{{a.output.ok}}", true),
        ("not {{a.output.ok}}", false),
        ("{{a.output.ok}} == true", true),
        ("{{a.output.none}} == null", true),
        ("{{a.output.missing}} == null", true),
        ("{{b.output}} == null", true),
        ("{{a.output.missing}} < 3", false),
        ("{{a.output.tags}} contains 'x' and {{a.output.tags}} contains 3", true),
        ("{{a.output.label}} contains 'fun'", true),
        ("{{a.output.tags.0}} == 'x'", true),
        ("{{a.output.deep.er}} == 'it\\'s'", true),
        ("{{item.a.b}} == 'dotted'", true),
        ("{{item.age}} > 30 and not ({{item.age}} > 40)", true),
        ("false and false or true", true),
        ("true or false and false", true),
        ("(true or false) and false", false),
        ("'b' > 'a'", true),
        ("'b' > 1", false),
        ("-1.5e1 == -15", true),
    ];
    for (text, expected) in cases {
        assert_eq!(When::parse(text).unwrap().holds(&read), expected, "{text}");
    }
}

#[test]
fn unreadable_conditions_say_what_to_write() {
    let deep = format!("{}true{}", "(".repeat(100_000), ")".repeat(100_000));
    let nested = format!("{}true{}", "(".repeat(40), ")".repeat(40));
    let cases = [
        ("", "expected a reference, text or number but found the end"),
        ("{{a.output.x}} = 'y'", "\"=\" is not known; use =="),
        ("{{a.x}} == 1", "\"{{a.x}}\" is no reference; write {{id.output.field}}"),
        ("{{a.output == 1", "is no reference"),
        ("refund == 'a'", "\"refund\" is not known"),
        ("'a", "starts at character 1 has no closing quote"),
        ("(true", "expected `)` but found the end"),
        ("true true", "expected `and`, `or` or the end but found \"true\""),
        ("1 < 2 < 3", "found a comparison"),
        (&deep, "the limit is 4096"),
        (&nested, "nested deeper than 32 levels"),
    ];
    for (text, expected) in cases {
        let error = When::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text:.40}: {error}");
    }
}

#[test]
fn placeholders_are_found_and_other_braces_left() {
    let id = |s: &str| SubtaskId::new(s).unwrap();
    let cases: [(&str, Vec<Reference>); 9] = [
        ("{{item}}", vec![Reference::Item { path: String::new() }]),
        ("{{ item.First Name }}", vec![Reference::Item { path: "First Name".into() }]),
        ("{{{a.output}}}", vec![Reference::Output { id: id("a"), path: String::new() }]),
        (
            "{{a.output.x.y}}{{b-1.output}}",
            vec![Reference::Output { id: id("a"), path: "x.y".into() }, Reference::Output { id: id("b-1"), path: String::new() }],
        ),
        ("{{a.outputs}} {{a.output.}} {{item.}} {{A.output}} {{x}} {{}} {{{{", vec![]),
        ("{{a.output\n}}", vec![]),
        ("{{a.{{b.output}}", vec![Reference::Output { id: id("b"), path: String::new() }]),
        ("{ {a.output}}", vec![]),
        ("", vec![]),
    ];
    for (text, expected) in cases {
        let found: Vec<Reference> = references(text).into_iter().map(|(_, r)| r).collect();
        assert_eq!(found, expected, "{text}");
    }
    let row = json!({"t": "say \"hi\"\n{{a.output}}", "n": 3, "o": {"p": [1, {"q": "r"}]}});
    let filled = fill_items("1 {{item.t}} 2 {{item.n}} 3 {{item.o.p.1.q}} 4 {{item.no}} 5 {{a.output}} {x}", &row);
    assert_eq!(filled, "1 say \\\"hi\\\"\\n{\\u007ba.output}} 2 3 3 r 4  5 {{a.output}} {x}");
}

/// Not a time limit, but quadratic work would not end: the law is that doubling the plan does not square anything.
#[test]
fn ten_thousand_subtasks_in_a_row_are_checked_and_streamed() {
    let subtask = |n: usize| {
        let before: Vec<String> = n.checked_sub(1).map(|b| format!("s{b}")).into_iter().collect();
        json!({"id": format!("s{n}"), "depends_on": before, "description": "x".repeat(100), "output_format": "text", "writes": [format!("out/{n}.txt")]})
    };
    let text = json!({"coordination_notes": "", "subtasks": (0..10_000).map(subtask).collect::<Vec<_>>()}).to_string();
    let started = std::time::Instant::now();
    let checked = check(&parse(&text, Format::Json, Author::Person), &known());
    println!("check of 10,000 subtasks ({} bytes): {:?}", text.len(), started.elapsed());
    assert_eq!(checked.plan.as_ref().unwrap().subtasks.len(), 10_000);
    let started = std::time::Instant::now();
    let mut stream = PlanStream::new(known());
    let mut found = 0;
    for piece in text.as_bytes().chunks(7) {
        found += stream.push(std::str::from_utf8(piece).unwrap()).len();
    }
    assert_eq!((found, stream.finish().plan), (10_000, checked.plan.clone()));
    println!("the same streamed by 7 bytes: {:?}", started.elapsed());
    // Closed to a ring, the cycle is found and its message stays short.
    let mut ring: Value = serde_json::from_str(&text).unwrap();
    ring["subtasks"][0]["depends_on"] = json!(["s9999"]);
    let started = std::time::Instant::now();
    let checked = check(&parse(&ring.to_string(), Format::Json, Author::Person), &known());
    println!("the same as a ring: {:?}", started.elapsed());
    assert_eq!(checked.faults.len(), 1);
    assert!(checked.faults[0].message.len() < 1_000);
}
