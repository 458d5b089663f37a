//! An instruction file as an outline: the sections of its agent configuration, and in them lines with what they stand under.
//!
//! Bullets, numbered lists, `key: value` lines, YAML in a fence and tables all become the same [`Item`]s. Nothing here
//! knows what a line means.

/// Which part of the agent configuration a line stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Routing,
    Context,
    Cost,
    /// Elsewhere within an "Agent Configuration".
    Other,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// Counted from 1.
    pub line: usize,
    pub section: Section,
    /// Words it stands under, the outermost first: headings below the section, keys of outer lines.
    pub under: Vec<String>,
    /// Before its colon or arrow.
    pub key: Option<String>,
    /// Behind it, or the whole line; without marks of emphasis.
    pub value: String,
    /// The line as written.
    pub says: String,
    /// It stands in a section without an "Agent Configuration" around it.
    pub alone: bool,
}

/// Lines looked at; an instruction file that goes on is no configuration.
const MOST_LINES: usize = 20_000;

/// Every line of every agent configuration in `text`.
pub(super) fn items(text: &str) -> Vec<Item> {
    let mut reader = Reader::default();
    for (n, line) in text.lines().take(MOST_LINES).enumerate() {
        reader.line(n + 1, line);
    }
    reader.items
}

#[derive(Debug, Default)]
struct Reader {
    items: Vec<Item>,
    /// Level of the heading "Agent Configuration" that is open.
    block: Option<usize>,
    /// The section that is open, and the level of its heading.
    section: Option<(Section, usize)>,
    /// A heading below the section.
    heading: Option<String>,
    /// Outer lines: how far each is indented, and its key.
    outer: Vec<(usize, String)>,
    /// The marks that close the fence that is open.
    fence: Option<(String, bool)>,
    /// Names of the columns of the table that is open.
    columns: Vec<String>,
    in_comment: bool,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) {
        let plain = line.trim();
        if self.in_comment || plain.starts_with("<!--") {
            self.in_comment = !plain.contains("-->");
            return;
        }
        if let Some((marks, data)) = self.fence.clone() {
            if plain.starts_with(&marks) && plain.trim_matches(marks.chars().next().unwrap_or('`')).is_empty() {
                // What was opened inside a fence ends with it.
                if self.section.is_some_and(|(_, level)| level == FENCED) {
                    self.section = None;
                }
                self.block = self.block.filter(|level| *level != FENCED);
                self.fence = None;
                self.outer.clear();
            } else if data {
                self.data(number, line);
            }
            return;
        }
        if let Some(marks) = ["```", "~~~"].into_iter().find(|marks| plain.starts_with(marks)) {
            let marks: String = plain.chars().take_while(|c| marks.starts_with(*c)).collect();
            let info = plain[marks.len()..].trim().to_ascii_lowercase();
            self.fence = Some((marks, matches!(info.as_str(), "" | "yaml" | "yml")));
            self.outer.clear();
            return;
        }
        if let Some((level, title)) = heading(line) {
            return self.open(level, &title);
        }
        if plain.is_empty() {
            self.columns.clear();
            return;
        }
        if self.section.is_none() && self.block.is_none() {
            return;
        }
        if let Some(row) = plain.strip_prefix('|') {
            return self.row(number, line, row);
        }
        self.list(number, line);
    }

    fn open(&mut self, level: usize, title: &str) {
        self.outer.clear();
        self.columns.clear();
        if self.block.is_some_and(|open| level <= open) {
            self.block = None;
        }
        if self.section.is_some_and(|(_, open)| level <= open) || (self.section.is_some() && self.block.is_some() && named(title).is_some())
        {
            self.section = None;
        }
        self.heading = None;
        let name = letters(title);
        if self.block.is_none() && BLOCKS.contains(&name.as_str()) {
            (self.block, self.section) = (Some(level), None);
        } else if let Some((section, _)) = named(title).filter(|(_, exact)| *exact || self.block.is_some()) {
            self.section = Some((section, level));
        } else if self.section.is_some() || self.block.is_some() {
            self.heading = Some(title.to_owned());
        }
    }

    /// A line of YAML.
    fn data(&mut self, number: usize, line: &str) {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            return;
        }
        let indent = line.len() - line.trim_start().len();
        let (key, _) = split(&clean(line.trim().trim_start_matches("- ")));
        let name = key.as_deref().map(letters).unwrap_or_default();
        if indent == 0 && BLOCKS.contains(&name.as_str()) {
            (self.block, self.section) = (self.block.or(Some(FENCED)), None);
            return;
        }
        let known = key.as_deref().and_then(named).filter(|(_, exact)| *exact || self.block.is_some());
        if let Some((section, _)) = known.filter(|_| self.outer.iter().all(|(at, _)| *at >= indent)) {
            self.section = Some((section, self.section.map_or(FENCED, |(_, level)| level)));
            self.heading = None;
            self.outer.clear();
            return;
        }
        if self.section.is_some() || self.block.is_some() {
            self.list(number, line.split(" #").next().unwrap_or(line));
        }
    }

    fn list(&mut self, number: usize, line: &str) {
        let indent = line.chars().take_while(|c| c.is_whitespace()).map(|c| if c == '\t' { 4 } else { 1 }).sum::<usize>();
        let (marked, rest) = bullet(line.trim());
        // A bullet stands inside the plain line above it, and the plain line after its bullet's text.
        let depth = indent * 2 + usize::from(marked);
        while self.outer.last().is_some_and(|(at, _)| *at >= depth) {
            self.outer.pop();
        }
        let (key, value) = split(&clean(rest));
        let outer = key.clone().unwrap_or_else(|| value.clone());
        self.push(number, line, key, value);
        self.outer.push((depth, outer));
    }

    fn row(&mut self, number: usize, line: &str, row: &str) {
        let cells: Vec<String> = row.trim_end().trim_end_matches('|').split('|').map(clean).collect();
        if cells.iter().all(|cell| !cell.is_empty() && cell.chars().all(|c| matches!(c, '-' | ':' | ' '))) {
            return;
        }
        if self.columns.is_empty() {
            self.columns = cells;
            return;
        }
        let fields = self.columns.iter().zip(&cells).skip(1).filter(|(_, cell)| !matches!(cell.as_str(), "" | "-" | "—"));
        let value = fields.map(|(name, cell)| format!("{name}: {cell}")).collect::<Vec<_>>().join("; ");
        self.outer.clear();
        self.push(number, line, cells.first().cloned(), value);
    }

    fn push(&mut self, line: usize, says: &str, key: Option<String>, value: String) {
        let under = self.heading.iter().cloned().chain(self.outer.iter().map(|(_, key)| key.clone())).collect();
        let section = self.section.map_or(Section::Other, |(section, _)| section);
        let says = says.trim().chars().take(200).collect();
        self.items.push(Item { line, section, under, key, value, says, alone: self.block.is_none() });
    }
}

/// Level of what a fence opened.
const FENCED: usize = 100;

/// Headings of the whole, lower case, letters only.
const BLOCKS: [&str; 7] = [
    "agentconfiguration",
    "agentsconfiguration",
    "aiagentconfiguration",
    "aiagentsconfiguration",
    "agentconfig",
    "agentmodelconfiguration",
    "brigadeconfiguration",
];

/// The section of a heading, and whether it says so without an "Agent Configuration" around it.
fn named(title: &str) -> Option<(Section, bool)> {
    let name = letters(title);
    let exact = |section| Some((section, true));
    match name.as_str() {
        "modelrouting" => exact(Section::Routing),
        "contextmanagement" => exact(Section::Context),
        "costoptimization" | "costoptimisation" => exact(Section::Cost),
        "models" | "routing" | "modelselection" => Some((Section::Routing, false)),
        "context" => Some((Section::Context, false)),
        "cost" | "costs" | "costcontrol" | "budget" => Some((Section::Cost, false)),
        _ => None,
    }
}

/// Letters alone, lower case: headings are compared like this.
pub(super) fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase).collect()
}

fn heading(line: &str) -> Option<(usize, String)> {
    let line = line.trim_end();
    let level = line.chars().take_while(|c| *c == '#').count();
    let title = line.get(level..)?;
    ((1..=6).contains(&level) && title.starts_with(' ')).then(|| (level, clean(title.trim().trim_end_matches('#'))))
}

/// The text behind a list mark, and whether there was one.
fn bullet(line: &str) -> (bool, &str) {
    let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = match number.strip_prefix(['.', ')']) {
        Some(rest) if number.len() < line.len() => rest.strip_prefix(' '),
        _ => line.strip_prefix(['-', '*', '+', '•']).and_then(|rest| rest.strip_prefix(' ')),
    };
    match rest {
        Some(rest) => {
            let rest = rest.trim_start();
            let boxed = ["[ ] ", "[x] ", "[X] "].into_iter().find_map(|mark| rest.strip_prefix(mark));
            (true, boxed.unwrap_or(rest))
        }
        None => (false, line),
    }
}

/// Without marks of emphasis and code.
fn clean(text: &str) -> String {
    let mut plain = text.replace("**", "").replace("__", "").replace('`', "");
    if plain.starts_with('*') || plain.ends_with('*') {
        plain = plain.trim_matches('*').to_owned();
    }
    plain.trim().to_owned()
}

/// A key and what it says: at a colon, an arrow, an equals sign.
fn split(text: &str) -> (Option<String>, String) {
    let at_colon = text.find(':').filter(|at| text[at + 1..].starts_with(' ') || at + 1 == text.len()).map(|at| (at, 1));
    let others = ["→", "->", "=>", " = ", " — ", " – "].into_iter().filter_map(|mark| Some((text.find(mark)?, mark.len())));
    let first = at_colon.into_iter().chain(others).min();
    match first.filter(|(at, _)| (1..=60).contains(&text[..*at].trim().chars().count())) {
        Some((at, mark)) => (Some(text[..at].trim().trim_matches(['"', '\'']).to_owned()), text[at + mark..].trim().to_owned()),
        None => (None, text.to_owned()),
    }
}
