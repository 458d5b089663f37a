//! Verbs that come with later work: they exist by name and refuse by name.

use std::ffi::OsString;

use brigade_kernel::policy::distance;
use clap::CommandFactory as _;

use crate::exit::Failure;

/// Said below the help.
pub const HELP: &str = "Not supported yet: top, report, route, eval, shadow, export, serve, worker, mcp-server";

const NAMES: [&str; 9] = ["top", "report", "route", "eval", "shadow", "export", "serve", "worker", "mcp-server"];

/// What is said to a verb that is none, or none yet.
pub fn refuse(words: &[OsString]) -> Failure {
    let verb = words.first().map(|w| w.to_string_lossy().into_owned()).unwrap_or_default();
    if NAMES.contains(&verb.as_str()) {
        return Failure::usage(format!("not supported yet: {verb}"));
    }
    let command = crate::Arguments::command();
    let near = command.get_subcommands().map(|c| c.get_name()).filter(|n| distance(n, &verb) <= 2).min_by_key(|n| distance(n, &verb));
    Failure::usage(match near {
        Some(near) => format!("there is no verb {verb:?}; did you mean {near}?"),
        None => format!("there is no verb {verb:?}: see brigade --help; a request is given with brigade run \"…\""),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_exactly_the_names_that_refuse() {
        assert!(HELP.ends_with(&NAMES.join(", ")));
    }

    #[test]
    fn no_verb_that_works_is_listed_as_missing() {
        let command = crate::Arguments::command();
        let works: Vec<&str> = command.get_subcommands().map(|c| c.get_name()).filter(|n| NAMES.contains(n)).collect();
        assert_eq!(works, Vec::<&str>::new());
    }
}
