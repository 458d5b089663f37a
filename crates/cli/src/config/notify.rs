//! `[notify]`: who is told when a run pauses, goes on by itself, or ends. The home's file only: it names a program.

use brigade_kernel::policy::Setting;

/// Most words of the command.
const MOST_WORDS: usize = 64;

/// Whom to tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notify {
    /// A program and its arguments; `{title}` and `{body}` stand for the texts.
    pub command: Option<Vec<String>>,
    /// The desktop, by what shows notifications there.
    pub desktop: bool,
}

impl Notify {
    /// Whether nobody is to be told.
    pub fn is_silent(&self) -> bool {
        self.command.is_none() && !self.desktop
    }

    /// Takes `notify.FIELD`.
    ///
    /// # Errors
    /// What to write instead.
    pub fn set(&mut self, field: &str, value: &Setting) -> Result<(), String> {
        match (field, value) {
            ("command", Setting::List(words))
                if words.first().is_some_and(|program| !program.trim().is_empty()) && words.len() <= MOST_WORDS =>
            {
                self.command = Some(words.clone());
                Ok(())
            }
            ("command", other) => Err(format!(
                "notify.command = {other}: use a list of 1 to {MOST_WORDS} words, e.g. [\"notify-send\", \"{{title}}\", \"{{body}}\"]"
            )),
            ("desktop", Setting::Text(text)) if text == "true" || text == "false" => {
                self.desktop = text == "true";
                Ok(())
            }
            ("desktop", other) => Err(format!("notify.desktop = {other}: use true or false")),
            (field, _) => Err(format!("unknown key notify.{field}; there are notify.command and notify.desktop")),
        }
    }

    /// Every effective value, as it would be written.
    pub fn entries(&self) -> Vec<(&'static str, String)> {
        let command = self.command.as_ref().map(|words| ("notify.command", words.join(" ")));
        command.into_iter().chain(self.desktop.then(|| ("notify.desktop", "true".to_owned()))).collect()
    }
}
