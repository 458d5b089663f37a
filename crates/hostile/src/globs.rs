//! Globs and paths: a scope never holds what lies outside the workspace, and a path that passes the gate stays as it is.
//!
//! Each line is taken for a path and, together with the lines before it, for a pattern.

use brigade_kernel::plan::{Author, Format, Known, check, parse};
use brigade_tools::{Globs, RelPath, Scope};

use crate::said;

/// Lines that are looked at.
const MOST: usize = 64;

pub fn law(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.split('\n').take(MOST).collect();
    let scope = match Globs::new(&lines) {
        Ok(write) => Some(Scope { read: Globs::none(), write }),
        Err(refused) => {
            said(&refused);
            None
        }
    };
    for line in &lines {
        let alone = Globs::new(&[line]);
        match RelPath::new(line) {
            Err(refused) => said(&refused),
            Ok(path) => {
                let plain = path.as_str();
                assert_eq!(RelPath::new(plain).as_ref(), Ok(&path), "{plain:?} changes when it is read again");
                let leads_out = |part: &str| part.is_empty() || part == ".." || part == ".";
                assert!(!plain.starts_with('/') && !plain.split('/').any(leads_out), "{plain:?} leads out");
                if let Some(scope) = &scope {
                    let written = scope.may_write(&path);
                    assert!(written.is_err() || scope.may_read(plain).is_ok(), "{plain:?} may be written and not read");
                }
                let literal = !plain.contains(['*', '?', '[', ']', '{', '}', '\\', '!']);
                if let (true, Ok(alone)) = (literal, &alone) {
                    assert!(alone.holds(plain), "{line:?} does not hold itself");
                }
            }
        }
        // What a plan may name as a scope is a scope for the tools.
        let quoted = serde_json::to_string(line).expect("a text is JSON");
        let plan = format!(r#"{{"subtasks":[{{"id":"a","description":"x","writes":[{quoted}]}}]}}"#);
        let checked = check(&parse(&plan, Format::Json, Author::Planner), &Known::names(None::<String>));
        assert!(checked.plan.is_none() || alone.is_ok(), "{line:?} passes the plan's gate and not the tools': {alone:?}");
    }
}
