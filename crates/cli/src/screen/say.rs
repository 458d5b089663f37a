//! How verbs that answer a question say it: JSON that is inert on a terminal, colours only where they help.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use brigade_tools::escape_for_screen;
use serde::Serialize;

/// Text for standard output. A reader that has left has seen enough.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Text from outside for standard output: inert on a terminal, as it is anywhere else.
pub fn print_from_outside(text: &str) {
    if std::io::stdout().is_terminal() { print(&escape_for_screen(text)) } else { print(text) }
}

/// A remark for standard error, one line.
pub fn remark(text: &str) {
    // A closed stderr leaves nobody to tell.
    let _ = writeln!(std::io::stderr(), "{}", escape_for_screen(text));
}

/// One line of JSON. Characters that could steer a terminal stand as `\uXXXX`, which means the same to every reader.
pub fn json_line(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string(value).expect("plain data with texts as keys");
    if let Cow::Owned(_) = escape_for_screen(&text) {
        let mut inert = String::with_capacity(text.len() + 16);
        let (mut utf8, mut utf16) = ([0; 4], [0; 2]);
        for c in text.chars() {
            match escape_for_screen(c.encode_utf8(&mut utf8)) {
                Cow::Borrowed(same) => inert.push_str(same),
                Cow::Owned(_) => {
                    for unit in c.encode_utf16(&mut utf16) {
                        let _ = write!(inert, "\\u{unit:04x}");
                    }
                }
            }
        }
        text = inert;
    }
    text.push('\n');
    text
}

/// `text` in an SGR colour, if standard output is a terminal and `NO_COLOR` is not set.
pub fn paint(colour: &str, text: &str) -> String {
    let wanted = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    if wanted { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_with_steering_characters_is_inert_and_reads_back_the_same() {
        let given = "a\u{202e}b\u{9b}31m\u{e0041} é 日 \u{1b}[0m";
        let line = json_line(&given);
        assert!(matches!(escape_for_screen(&line), Cow::Borrowed(_)), "{line:?}");
        assert!(line.contains("é 日"), "what is harmless stays: {line}");
        assert_eq!(serde_json::from_str::<String>(&line).expect("JSON"), given);
    }
}
