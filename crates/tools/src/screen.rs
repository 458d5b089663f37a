//! Text that came from files, tools or models, made inert for a terminal (promises.md I19).

use std::borrow::Cow;

/// Characters that steer without being seen: format, direction, tags, separators, invisible selectors.
pub(crate) fn is_format(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1345f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// `text` with every character that a terminal could act on written out: `\x1b`, `\u{202e}`.
///
/// Newlines and tabs stay; everything printable stays as it is.
pub fn escape_for_screen(text: &str) -> Cow<'_, str> {
    let unsafe_char = |c: char| (c.is_control() && c != '\n' && c != '\t') || is_format(c);
    if !text.contains(unsafe_char) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !unsafe_char(c) => out.push(c),
            '\r' => out.push_str("\\r"),
            c if (c as u32) < 0x100 && c.is_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push_str(&format!("\\u{{{:x}}}", c as u32)),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_readable_and_plain_text_is_untouched() {
        for (given, shown) in [
            ("plain\ttext\nnaïve ✅ 日本", "plain\ttext\nnaïve ✅ 日本"),
            ("\x1b[31mred\x1b]52;c;eA==\x07", "\\x1b[31mred\\x1b]52;c;eA==\\x07"),
            ("ok\rfake", "ok\\rfake"),
            ("a\u{202e}b\u{2066}", "a\\u{202e}b\\u{2066}"),
            ("\u{9b}31m\u{7f}", "\\x9b31m\\x7f"),
            ("\u{e0041}\u{200b}", "\\u{e0041}\\u{200b}"),
        ] {
            assert_eq!(escape_for_screen(given), shown);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_steers_reaches_the_screen(text in "\\PC{0,40}|.{0,40}|[\\x00-\\x1f\\x7f-\\u{9f}\\u{2000}-\\u{2070}]{0,20}") {
            let shown = escape_for_screen(&text);
            let bad = shown.chars().any(|c| (c.is_control() && c != '\n' && c != '\t') || is_format(c));
            prop_assert!(!bad);
        }
    }
}
