//! How much of a result a model is shown: head and tail, and in between a line that says what is missing and how to get it.

use brigade_kernel::tool::ToolOutput;

/// Most characters of one tool's output, about 10,000 tokens, unless the caller says otherwise.
pub const OUTPUT_CHARS: usize = 40_000;

/// `text` within `limit` characters; `how` is told the first and last line cut (counted from 1) and how many there are,
/// and says how to get them. `None` when nothing needs to be cut.
pub fn cut(text: &str, limit: usize, how: impl FnOnce(usize, usize, usize) -> String) -> Option<String> {
    // Bytes are never fewer than characters.
    if text.len() <= limit || text.chars().count() <= limit {
        return None;
    }
    let tail_chars = limit / 4;
    let head_end = boundary(text, limit - tail_chars);
    let tail_start = text.char_indices().rev().nth(tail_chars.saturating_sub(1)).map_or(text.len(), |(at, _)| at);
    // Whole lines where there are any.
    let head = text[..head_end].rfind('\n').map_or(&text[..head_end], |at| &text[..=at]);
    let tail = text[tail_start..].find('\n').map_or(&text[tail_start..], |at| &text[tail_start + at + 1..]);
    let newlines = |part: &str| part.bytes().filter(|b| *b == b'\n').count();
    let total = text.lines().count();
    let first = newlines(head) + 1;
    let last = (total - tail.lines().count()).max(first);
    let gap = if head.ends_with('\n') { "" } else { "\n" };
    Some(format!("{head}{gap}[… lines {first} to {last} of {total} left out; {} …]\n{tail}", how(first, last, total)))
}

/// A page of a long text, counted from 1, each at most [`OUTPUT_CHARS`] long and of whole lines where there are any; and whether
/// more follows. `id` is what `open_output` takes for it.
pub fn page(id: &str, text: &str, number: u64) -> ToolOutput {
    let mut pages = 0;
    let mut rest = text;
    let mut found = None;
    loop {
        let end = boundary(rest, OUTPUT_CHARS);
        let end = if end == rest.len() { end } else { rest[..end].rfind('\n').map_or(end, |at| at + 1) };
        pages += 1;
        if pages == number {
            found = Some(&rest[..end]);
        }
        rest = &rest[end..];
        if rest.is_empty() {
            break;
        }
    }
    let Some(found) = found else { return ToolOutput::refused(format!("page {number}: {id:?} has {pages} page(s), counted from 1")) };
    let more = number < pages;
    let mut shown = found.to_owned();
    if more {
        let gap = if shown.ends_with('\n') { "" } else { "\n" };
        let next = number + 1;
        shown.push_str(&format!(
            "{gap}[… page {number} of {pages}; open_output {{\"id\": {id:?}, \"page\": {next}}} shows what follows …]\n"
        ));
    } else if pages > 1 {
        let gap = if shown.ends_with('\n') { "" } else { "\n" };
        shown.push_str(&format!("{gap}[page {number} of {pages}, the last]\n"));
    }
    ToolOutput { ok: true, output: shown, truncated: more, ..ToolOutput::default() }
}

fn boundary(text: &str, chars: usize) -> usize {
    text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_keeps_its_head_and_tail_and_says_what_is_missing() {
        let text: String = (1..=1000).map(|i| format!("line {i}\n")).collect();
        let shown = cut(&text, 400, |a, b, _| format!("read lines {a}-{b}")).expect("it is over the limit");
        assert!(shown.starts_with("line 1\n") && shown.ends_with("line 1000\n"), "{shown}");
        let missing = shown.lines().find(|line| line.starts_with('[')).expect("a line says so");
        let head: Vec<&str> = shown.lines().take_while(|line| !line.starts_with('[')).collect();
        let tail_first = shown.lines().nth(head.len() + 1).expect("a tail");
        let last: usize = tail_first[5..].parse::<usize>().expect("a number") - 1;
        assert_eq!(missing, format!("[… lines {} to {last} of 1000 left out; read lines {}-{last} …]", head.len() + 1, head.len() + 1));
    }

    #[test]
    fn pages_put_together_are_the_text() {
        let lines: String = (0..30_000).map(|i| format!("line {i}\n")).collect();
        for text in [lines, "é".repeat(100_001), "short".to_owned(), String::new()] {
            let (mut whole, mut number) = (String::new(), 1);
            loop {
                let ToolOutput { output: shown, truncated: more, .. } = page("out-1", &text, number);
                assert!(shown.chars().count() <= OUTPUT_CHARS + 100);
                let words = shown.rfind("[… page").or_else(|| shown.rfind("[page")).unwrap_or(shown.len());
                let part = &shown[..words];
                // A line end of our own before the words, where the text had none.
                whole.push_str(if text.contains('\n') || words == shown.len() { part } else { part.trim_end_matches('\n') });
                if !more {
                    break;
                }
                number += 1;
                assert!(shown.contains(&format!("open_output {{\"id\": \"out-1\", \"page\": {number}}}")), "{}", &shown[words..]);
            }
            assert!(whole == text, "{} and {} bytes", whole.len(), text.len());
            assert!(page("out-1", &text, number + 1).error.expect("no such page").contains(&format!("has {number} page(s)")));
            assert!(!page("out-1", &text, 0).ok);
        }
    }

    #[test]
    fn one_endless_line_is_cut_too_and_short_text_is_not() {
        let shown = cut(&"é".repeat(10_000), 1000, |_, _, _| "x".to_owned()).expect("cut");
        assert!(shown.chars().count() < 1100);
        assert_eq!(cut(&"é".repeat(1000), 1000, |_, _, _| String::new()), None);
    }
}
