//! Columns that line up, whatever is in them: wide characters, long ids, hostile bytes. Wraps nothing.

use std::io::IsTerminal as _;

use brigade_tools::escape_for_screen;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Text, cut to so many cells.
    Text(usize),
    /// A number, at the right.
    Number,
}

/// Rows under headings.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(columns: &[(&str, Column)]) -> Self {
        Self {
            columns: columns.iter().map(|(_, c)| *c).collect(),
            rows: vec![columns.iter().map(|(name, _)| (*name).to_owned()).collect()],
        }
    }

    /// One more row; cells of text from outside are made inert and put on one line.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        let cells = cells.iter().zip(&self.columns).map(|(cell, column)| match column {
            Column::Text(most) => cut(cell, *most),
            Column::Number => one_line(cell),
        });
        self.rows.push(cells.collect());
    }

    /// The rows as text.
    pub fn text(&self) -> String {
        let width = |column: usize| self.rows.iter().map(|r| r[column].width()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, column), width) in row.iter().zip(&self.columns).zip(&widths) {
                let gap = " ".repeat(width - cell.width());
                match column {
                    Column::Text(_) => line.extend([cell, gap.as_str(), "  "]),
                    Column::Number => line.extend([gap.as_str(), cell, "  "]),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Text of others on one line, inert.
pub fn one_line(text: &str) -> String {
    escape_for_screen(text).trim_end().replace(['\n', '\t'], " ")
}

/// Text of others on one line, inert, in at most so many cells.
pub fn cut(text: &str, most: usize) -> String {
    let text = one_line(text);
    if text.width() <= most {
        return text;
    }
    let mut out = String::new();
    let mut cells = 1; // the ellipsis
    for c in text.chars() {
        cells += c.width().unwrap_or_default();
        if cells > most {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

/// `3 s`, `5 min`, `2 h`, `8 d`.
pub fn span(ms: u64) -> String {
    match ms / 1_000 {
        0 => format!("{ms} ms"),
        s @ 1..60 => format!("{s} s"),
        s @ 60..3_600 => format!("{} min", s / 60),
        s @ 3_600..172_800 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

/// Whether standard error is a terminal that may be coloured.
pub fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_under_wide_characters_and_long_words() {
        let mut table = Table::new(&[("what", Column::Text(8)), ("n", Column::Number)]);
        table.row(["日本語テスト".to_owned(), "1".to_owned()]);
        table.row(["a\u{1b}[2Jvery long name\nindeed".to_owned(), "1000".to_owned()]);
        let text = table.text();
        let ends: Vec<usize> = text.lines().map(|l| l.width()).collect();
        assert!(ends.iter().all(|w| *w == ends[0]), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_cut_text_never_passes_its_cells() {
        for (given, most, shown) in [("short", 8, "short"), ("日本語", 4, "日…"), ("abcdef", 4, "abc…"), ("a\tb\nc", 9, "a b c")] {
            assert_eq!(cut(given, most), shown);
        }
    }
}
