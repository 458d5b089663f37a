//! Where `tool call` keeps what it shows in part: files of the home, named by their content. In a run the journal has them.

use std::path::PathBuf;
use std::time::SystemTime;

use brigade_kernel::run::Opening;
use brigade_kernel::tool::ToolOutput;
use brigade_tools::{Brought, output};

use crate::config::Env;
use crate::wiring;

/// Outputs kept; the oldest make way.
const KEPT: usize = 100;

/// The folder of kept outputs; `None` without a home.
pub struct Outputs(Option<PathBuf>);

impl Outputs {
    /// Those of this home.
    pub fn of(env: &Env) -> Self {
        Self(wiring::home_dir(env).ok().map(|home| home.join("outputs")))
    }

    /// Keeps the whole of what is shown in part, or says another way to it.
    pub fn keep(&self, brought: Brought) -> ToolOutput {
        let Some(whole) = &brought.whole else { return brought.output };
        let kept = self.0.as_ref().is_some_and(|dir| {
            let made = std::fs::create_dir_all(dir).and_then(|()| std::fs::write(dir.join(&whole.id), &whole.text));
            made.is_ok()
        });
        if !kept {
            return brought.closed("run it again with less output to see it").output;
        }
        self.forget_the_oldest();
        brought.output
    }

    fn forget_the_oldest(&self) {
        let entries = self.0.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
        let written = |entry: &std::fs::DirEntry| entry.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut files: Vec<(SystemTime, PathBuf)> = entries.map(|entry| (written(&entry), entry.path())).collect();
        files.sort();
        let too_many = files.len().saturating_sub(KEPT);
        for (_, path) in files.into_iter().take(too_many) {
            // One that stays costs room and nothing else.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Answers `open_output`.
    pub fn open(&self, arguments: &str) -> ToolOutput {
        let opening = match Opening::parse(arguments) {
            Ok(opening) => opening,
            Err(why) => return ToolOutput::refused(why),
        };
        // The form of an id leaves no way out of the folder.
        let plain = opening.id.strip_prefix("out-").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_hexdigit()));
        let text = self.0.as_ref().filter(|_| plain).and_then(|dir| std::fs::read_to_string(dir.join(&opening.id)).ok());
        let Some(text) = text else {
            let shown: String = opening.id.chars().take(80).collect();
            return ToolOutput::refused(format!(
                "there is no output {shown:?} in this home; ids stand in results of `brigade tool call run_command` that were cut, \
                 those of a run are for its own subtasks (brigade show RUN --events)"
            ));
        };
        output::page(&opening.id, &text, opening.page())
    }
}
