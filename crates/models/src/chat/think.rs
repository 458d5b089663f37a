//! Takes a leading `<think>…</think>` out of streamed text.
//!
//! Only at the very start: a tag further on is the model's text about tags.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Where in the text we are.
#[derive(Debug, Default)]
pub(crate) enum Think {
    /// Nothing but white space and a beginning of `<think>` so far: kept back.
    #[default]
    Start,
    Inside,
    /// Behind the tag: white space before the answer is dropped.
    After,
    Plain,
}

/// Text and reasoning found in one piece.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub text: String,
    pub reasoning: String,
}

#[derive(Debug, Default)]
pub(crate) struct Splitter {
    state: Think,
    held: String,
}

impl Splitter {
    /// Whether pieces now pass unchanged.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.state, Think::Plain)
    }

    pub(crate) fn push(&mut self, piece: &str) -> Found {
        let mut found = Found::default();
        self.held.push_str(piece);
        loop {
            match self.state {
                Think::Start => {
                    let trimmed = self.held.trim_start();
                    if let Some(rest) = trimmed.strip_prefix(OPEN) {
                        self.held = rest.to_owned();
                        self.state = Think::Inside;
                        continue;
                    }
                    if OPEN.starts_with(trimmed) {
                        return found;
                    }
                    self.state = Think::Plain;
                }
                Think::Inside => {
                    if let Some(at) = self.held.find(CLOSE) {
                        found.reasoning.push_str(&self.held[..at]);
                        self.held.drain(..at + CLOSE.len());
                        self.state = Think::After;
                        continue;
                    }
                    // A beginning of the closing tag may stand at the end.
                    let keep = (1..CLOSE.len()).rev().find(|len| self.held.ends_with(&CLOSE[..*len])).unwrap_or(0);
                    found.reasoning.extend(self.held.drain(..self.held.len() - keep));
                    return found;
                }
                Think::After => {
                    let start = self.held.len() - self.held.trim_start().len();
                    self.held.drain(..start);
                    if self.held.is_empty() {
                        return found;
                    }
                    self.state = Think::Plain;
                }
                Think::Plain => {
                    found.text.push_str(&std::mem::take(&mut self.held));
                    return found;
                }
            }
        }
    }

    /// What was kept back, now that nothing more comes.
    pub(crate) fn finish(&mut self) -> Found {
        let held = std::mem::take(&mut self.held);
        match self.state {
            Think::Inside => Found { reasoning: held, ..Found::default() },
            _ => Found { text: held, ..Found::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, size: usize) -> (String, String) {
        let mut splitter = Splitter::default();
        let mut whole = Found::default();
        let chars: Vec<char> = text.chars().collect();
        let pieces = chars.chunks(size).map(|piece| piece.iter().collect::<String>());
        for found in pieces.map(|piece| splitter.push(&piece)).collect::<Vec<_>>() {
            whole.text += &found.text;
            whole.reasoning += &found.reasoning;
        }
        let last = splitter.finish();
        (whole.text + &last.text, whole.reasoning + &last.reasoning)
    }

    #[test]
    fn only_a_leading_tag_is_taken_out_for_every_piece_size() {
        let cases = [
            ("\n<think>a</b</think>\n\nanswer <think>x</think>", "answer <think>x</think>", "a</b"),
            ("plain <think>", "plain <think>", ""),
            ("<thin", "<thin", ""),
            ("<think>cut off</thi", "", "cut off</thi"),
            ("  spaced", "  spaced", ""),
            ("<think></think>", "", ""),
        ];
        for (text, answer, reasoning) in cases {
            for size in 1..=text.len() {
                assert_eq!(split(text, size), (answer.to_owned(), reasoning.to_owned()), "{text:?} by {size}");
            }
        }
    }
}
