//! Columns that line up, whatever is in them: wide characters, long ids, hostile bytes. Wraps nothing.

use std::io::IsTerminal as _;

use brigade_tools::escape_for_screen;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::say::paint;

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Text, cut to so many cells.
    Text(usize),
    /// Text, however long: for a last column, or one that a reader copies from.
    Whole,
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

    /// One more row, a cell for each column; text from outside is made inert and put on one line.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().zip(&self.columns).map(|(cell, column)| match column {
            Column::Text(most) => cut(&cell, *most),
            Column::Whole | Column::Number => one_line(&cell),
        });
        self.rows.push(cells.collect());
    }

    /// Whether there is nothing under the headings.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The rows as text for standard output, where headings stand out on a terminal.
    pub fn shown(&self) -> String {
        let text = self.text();
        match text.split_once('\n') {
            Some((headings, rows)) => format!("{}\n{rows}", paint("1", headings)),
            None => text,
        }
    }

    /// The rows as text.
    pub fn text(&self) -> String {
        let width = |column: usize| self.rows.iter().filter_map(|r| Some(r.get(column)?.width())).max().unwrap_or_default();
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, column), width) in row.iter().zip(&self.columns).zip(&widths) {
                let gap = " ".repeat(width - cell.width());
                match column {
                    Column::Text(_) | Column::Whole => line.extend([cell, gap.as_str(), "  "]),
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
        let mut table = Table::new(&[("name", Column::Whole), ("n", Column::Number)]);
        table.row(["a".to_owned(), "10".to_owned()]);
        table.row(vec!["b\nc\u{1b}".to_owned(), "9".to_owned()]);
        assert_eq!(table.shown(), "name      n\na        10\nb c\\x1b   9\n");
    }

    #[test]
    fn a_cut_text_never_passes_its_cells() {
        for (given, most, shown) in [("short", 8, "short"), ("日本語", 4, "日…"), ("abcdef", 4, "abc…"), ("a\tb\nc", 9, "a b c")] {
            assert_eq!(cut(given, most), shown);
        }
    }
}
