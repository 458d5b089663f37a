//! What a tool brings back: what is said of it, the bytes of the images it shows, and the whole of a text of which only
//! head and tail are shown. Whoever called keeps the bytes and the whole; what is said names them.

use brigade_kernel::image::Pictures;
use brigade_kernel::tool::ToolOutput;

use crate::gate::Hash;

/// Digits of an id: enough for all outputs of a run.
const ID_DIGITS: usize = 12;

/// A tool's answer with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Brought {
    /// What a model is shown.
    pub output: ToolOutput,
    /// The bytes of the images it names.
    pub pictures: Pictures,
    /// The text that `output` is cut from.
    pub whole: Option<Whole>,
}

impl Brought {
    /// For who may not open outputs: the way to the whole is another one, and the whole need not be kept.
    #[must_use]
    pub fn closed(mut self, instead: &str) -> Self {
        if let Some(whole) = self.whole.take() {
            self.output.output = self.output.output.replacen(&whole.way(), instead, 1);
        }
        self
    }
}

impl From<ToolOutput> for Brought {
    fn from(output: ToolOutput) -> Self {
        Self { output, ..Self::default() }
    }
}

/// A text that is shown in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// What `open_output` takes to show it: by content, so that the same text has the same id.
    pub id: String,
    /// All of it.
    pub text: String,
}

impl Whole {
    /// A text with its id.
    pub fn new(text: String) -> Self {
        let hash = Hash::of(text.as_bytes()).to_string();
        Self { id: format!("out-{}", &hash[..ID_DIGITS]), text }
    }

    /// How it is opened, in words for a model.
    pub fn way(&self) -> String {
        format!("open_output {{\"id\": {:?}}} shows all of it", self.id)
    }
}
