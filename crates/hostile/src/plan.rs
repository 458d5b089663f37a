//! Plans: judged whole or as they stream in, in JSON or TOML; what passes can be written and read again.

use brigade_kernel::plan::{Author, Checked, Format, Known, PlanStream, Streamed, check, parse, parse_answer};

use crate::said;

fn known() -> Known {
    Known::names(["search", "read_file", "apply_patch", "run_command"].map(str::to_owned))
}

pub fn law(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for format in [Format::Json, Format::Toml] {
        for author in [Author::Person, Author::Planner] {
            let checked = check(&parse(&text, format, author), &known());
            judged(&checked);
            if let Some(plan) = &checked.plan {
                let written = serde_json::to_string(plan).expect("a plan can be written");
                let again = check(&parse(&written, Format::Json, Author::Person), &known());
                assert_eq!(again.plan.as_ref(), Some(plan), "{:?}", again.faults);
            }
        }
    }
    streamed(&text);
}

fn judged(checked: &Checked) {
    assert_eq!(checked.plan.is_some(), checked.faults.is_empty(), "a plan without faults, and no other, is one");
    checked.faults.iter().for_each(|fault| said(&fault.message));
}

/// An answer in one piece and in pieces of one character ends the same, and shows the same subtasks on the way.
fn streamed(text: &str) {
    let run = |pieces: Vec<&str>| {
        let mut stream = PlanStream::new(known());
        let seen: Vec<Streamed> = pieces.into_iter().flat_map(|piece| stream.push(piece)).collect();
        (seen, stream.finish())
    };
    let (seen, whole) = run(vec![text]);
    let pieces = text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]).collect();
    assert_eq!(run(pieces), (seen.clone(), whole.clone()), "pieces change the outcome");
    judged(&whole);
    if let Some(plan) = &whole.plan {
        let shown: Vec<_> = seen.iter().filter_map(|one| if let Streamed::Subtask(subtask) = one { Some(subtask) } else { None }).collect();
        assert_eq!(shown, plan.subtasks.iter().collect::<Vec<_>>(), "what was started is what was planned");
        assert_eq!(check(&parse_answer(text), &known()).plan.as_ref(), Some(plan), "streamed and whole are one plan");
    }
}
