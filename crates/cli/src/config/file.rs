//! One configuration file: TOML flattened to dotted keys, each with its line, numbers kept as written.

use brigade_kernel::policy::{KEYS, Setting};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{ConfigError, File, Origin};

/// Tables in tables; ours need three.
const MOST_DEPTH: usize = 8;

/// One setting of a file.
#[derive(Debug)]
pub(super) struct Entry {
    pub key: String,
    pub value: Setting,
    pub origin: Origin,
}

/// Every setting of a file, in its order, and what could not be read.
pub(super) fn entries(file: &File) -> (Vec<Entry>, Vec<ConfigError>) {
    let mut reader = Reader { file, entries: Vec::new(), errors: Vec::new() };
    match DeTable::parse(&file.text) {
        Ok(table) => reader.table("", table.get_ref(), 0),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            reader.refuse(at, format!("is no TOML: {}", error.message()));
        }
    }
    reader.entries.sort_by_key(|entry| match entry.origin {
        Origin::File { line, .. } => line,
        _ => 0,
    });
    (reader.entries, reader.errors)
}

struct Reader<'a> {
    file: &'a File,
    entries: Vec<Entry>,
    errors: Vec<ConfigError>,
}

impl Reader<'_> {
    fn origin(&self, at: usize) -> Origin {
        let before = self.file.text.as_bytes().get(..at).unwrap_or_default();
        Origin::File { path: self.file.path.clone(), line: before.iter().filter(|b| **b == b'\n').count() + 1 }
    }

    fn refuse(&mut self, at: usize, message: String) {
        let origin = self.origin(at);
        self.errors.push(ConfigError { origin, message });
    }

    fn table(&mut self, prefix: &str, table: &DeTable<'_>, depth: usize) {
        for (name, value) in table {
            let key = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
            let at = name.span().start;
            // The catalog reads this table itself.
            if key == "models" {
                self.push(key, Setting::Empty, at);
                continue;
            }
            match value.get_ref() {
                DeValue::Table(_) if depth >= MOST_DEPTH => self.refuse(at, format!("{key}: tables are nested too deeply")),
                DeValue::Table(inner) if inner.is_empty() && is_section(&key) => {}
                DeValue::Table(inner) if inner.is_empty() => self.push(key, Setting::Empty, at),
                DeValue::Table(inner) => self.table(&key, inner, depth + 1),
                DeValue::Array(items) => match items.iter().map(scalar).collect::<Option<Vec<String>>>() {
                    Some(list) => self.push(key, Setting::List(list), at),
                    None => self.refuse(at, format!("{key}: a list holds texts or numbers only")),
                },
                _ => match scalar(value) {
                    Some(text) => self.push(key, Setting::Text(text), at),
                    None => self.refuse(at, format!("{key}: write the number in decimal")),
                },
            }
        }
    }

    fn push(&mut self, key: String, value: Setting, at: usize) {
        let origin = self.origin(at);
        self.entries.push(Entry { key, value, origin });
    }
}

/// An empty `[limits]` says nothing; an empty `[quota]` or `[tiers.big]` means something we would ignore.
fn is_section(key: &str) -> bool {
    !key.contains('.')
        && (matches!(key, "providers" | "mcp_servers" | "notify") || KEYS.iter().any(|known| known.name.split('.').next() == Some(key)))
}

fn scalar(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(yes) => Some(yes.to_string()),
        DeValue::Datetime(at) => Some(at.to_string()),
        DeValue::Integer(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
