//! A file as lines that remember how each of them ended.

/// One line: its text and its end (`""` only for a last line without one).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileLine<'a> {
    pub text: &'a str,
    pub end: &'static str,
}

pub(super) fn split(content: &str) -> Vec<FileLine<'_>> {
    content
        .split_inclusive('\n')
        .map(|whole| match whole.strip_suffix('\n') {
            None => FileLine { text: whole, end: "" },
            Some(text) => match text.strip_suffix('\r') {
                Some(text) => FileLine { text, end: "\r\n" },
                None => FileLine { text, end: "\n" },
            },
        })
        .collect()
}

/// The same with carriage returns left in the text.
pub(super) fn split_exact(content: &str) -> Vec<FileLine<'_>> {
    let lines = content.split_inclusive('\n');
    lines.map(|whole| whole.strip_suffix('\n').map_or(FileLine { text: whole, end: "" }, |text| FileLine { text, end: "\n" })).collect()
}

/// The end that most lines of the file have; `\n` for a file without any.
pub(super) fn usual_end(lines: &[FileLine<'_>]) -> &'static str {
    let crlf = lines.iter().filter(|line| line.end == "\r\n").count();
    let lf = lines.iter().filter(|line| line.end == "\n").count();
    if crlf > lf { "\r\n" } else { "\n" }
}
