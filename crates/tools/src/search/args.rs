//! Ripgrep's command line, as far as it is offered.

use super::SearchError;

/// A search as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Query {
    pub patterns: Vec<String>,
    pub paths: Vec<String>,
    pub output: Output,
    pub fixed: bool,
    pub word: bool,
    pub line: bool,
    pub case: Case,
    pub invert: bool,
    pub multiline: bool,
    pub dotall: bool,
    pub text: bool,
    pub binary: bool,
    pub line_number: bool,
    pub column: bool,
    pub byte_offset: bool,
    pub only_matching: bool,
    pub trim: bool,
    pub heading: bool,
    pub with_filename: Option<bool>,
    pub before: usize,
    pub after: usize,
    pub max_count: Option<u64>,
    pub max_columns: Option<u64>,
    pub max_depth: Option<usize>,
    pub max_filesize: Option<u64>,
    /// Globs in order, each with whether case counts.
    pub globs: Vec<(String, bool)>,
    pub glob_fold: bool,
    /// Types in order; false = excluded.
    pub types: Vec<(String, bool)>,
    pub hidden: bool,
    pub no_ignore: bool,
    pub no_require_git: bool,
}

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum Output {
    #[default]
    Lines,
    Count,
    CountMatches,
    FilesWith,
    FilesWithout,
    /// No search: the files that would be searched.
    Files,
}

/// How case is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum Case {
    #[default]
    Sensitive,
    Ignore,
    Smart,
}

const MAX_ARGS: usize = 1_000;

/// The long form of a short flag.
fn long(short: char) -> Option<&'static str> {
    Some(match short {
        'n' => "line-number",
        'N' => "no-line-number",
        'F' => "fixed-strings",
        'w' => "word-regexp",
        'x' => "line-regexp",
        'i' => "ignore-case",
        's' => "case-sensitive",
        'S' => "smart-case",
        'c' => "count",
        'l' => "files-with-matches",
        'v' => "invert-match",
        'o' => "only-matching",
        'U' => "multiline",
        'a' => "text",
        'b' => "byte-offset",
        'H' => "with-filename",
        'I' => "no-filename",
        'u' => "unrestricted",
        '.' => "hidden",
        'e' => "regexp",
        'g' => "glob",
        't' => "type",
        'T' => "type-not",
        'A' => "after-context",
        'B' => "before-context",
        'C' => "context",
        'm' => "max-count",
        'M' => "max-columns",
        'd' => "max-depth",
        _ => return None,
    })
}

const WITH_VALUE: &[&str] = &[
    "regexp",
    "glob",
    "iglob",
    "type",
    "type-not",
    "after-context",
    "before-context",
    "context",
    "max-count",
    "max-columns",
    "max-depth",
    "max-filesize",
    "sort",
    "color",
];

fn refused(flag: &str) -> SearchError {
    let shown: String = flag.chars().take(40).collect();
    SearchError(format!(
        "flag {shown:?} is not offered; a pattern that begins with - goes after -e. Offered: -e -F -w -x -i -s -S -v -U --multiline-dotall -n -N --column -o -c --count-matches -l --files-without-match --files -g --iglob -t -T -A -B -C -m -M -d --max-filesize -H -I --heading --trim -b -a --hidden --no-ignore --no-require-git -u"
    ))
}

/// Reads an argv as ripgrep would (without the program's name).
///
/// # Errors
/// A flag that is unknown or not offered, a missing or bad value, no pattern; each by name.
pub fn parse(args: &[String]) -> Result<Query, SearchError> {
    let mut query = Query::default();
    let mut free: Vec<String> = Vec::new();
    let mut unrestricted = 0;
    let mut line_number = None;
    if args.len() > MAX_ARGS || args.iter().any(|arg| arg.len() > 64 << 10) {
        return Err(SearchError(format!("too much: at most {MAX_ARGS} arguments of 64 KiB each")));
    }
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if arg == "--" {
            free.extend(rest.by_ref().cloned());
        } else if let Some(name) = arg.strip_prefix("--") {
            let (name, value) = name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value.to_owned())));
            let value = if WITH_VALUE.contains(&name) { value.or_else(|| rest.next().cloned()) } else { value };
            set(&mut query, &mut unrestricted, &mut line_number, name, value, arg)?;
        } else if arg.len() > 1 && arg.starts_with('-') {
            for (start, short) in arg[1..].char_indices() {
                let name = long(short).ok_or_else(|| refused(arg))?;
                if WITH_VALUE.contains(&name) {
                    let joined = &arg[1 + start + short.len_utf8()..];
                    let joined = joined.strip_prefix('=').unwrap_or(joined);
                    let value = if joined.is_empty() { rest.next().cloned() } else { Some(joined.to_owned()) };
                    set(&mut query, &mut unrestricted, &mut line_number, name, value, arg)?;
                    break;
                }
                set(&mut query, &mut unrestricted, &mut line_number, name, None, arg)?;
            }
        } else {
            free.push(arg.clone());
        }
    }
    let mut free = free.into_iter();
    if query.patterns.is_empty() && query.output != Output::Files {
        let pattern = free.next().ok_or_else(|| SearchError("no pattern given: put one last, like [\"-n\", \"fn main\"]".to_owned()))?;
        query.patterns.push(pattern);
    }
    query.paths = free.collect();
    query.no_ignore |= unrestricted >= 1;
    query.hidden |= unrestricted >= 2;
    query.binary |= unrestricted >= 3;
    query.line_number = line_number.unwrap_or(query.column);
    if query.output == Output::Count && query.only_matching {
        query.output = Output::CountMatches;
    }
    if query.output == Output::CountMatches && query.invert {
        query.output = Output::Count;
    }
    Ok(query)
}

fn set(
    query: &mut Query,
    unrestricted: &mut u32,
    line_number: &mut Option<bool>,
    name: &str,
    value: Option<String>,
    arg: &str,
) -> Result<(), SearchError> {
    if WITH_VALUE.contains(&name) && value.is_none() {
        return Err(SearchError(format!("flag {arg:?} needs a value")));
    }
    if !WITH_VALUE.contains(&name) && value.is_some() {
        return Err(refused(arg));
    }
    let text = value.unwrap_or_default();
    let number = || text.parse::<u64>().map_err(|_| SearchError(format!("flag --{name} needs a number, not {text:?}")));
    let lines = || number().map(|n| usize::try_from(n).unwrap_or(usize::MAX).min(10_000));
    match name {
        "line-number" => *line_number = Some(true),
        "no-line-number" => *line_number = Some(false),
        "column" => query.column = true,
        "no-column" => query.column = false,
        "heading" => query.heading = true,
        "no-heading" => query.heading = false,
        "fixed-strings" => query.fixed = true,
        "no-fixed-strings" => query.fixed = false,
        "word-regexp" => (query.word, query.line) = (true, false),
        "line-regexp" => (query.word, query.line) = (false, true),
        "ignore-case" => query.case = Case::Ignore,
        "case-sensitive" => query.case = Case::Sensitive,
        "smart-case" => query.case = Case::Smart,
        "invert-match" => query.invert = true,
        "multiline" => query.multiline = true,
        "multiline-dotall" => query.dotall = true,
        "text" => query.text = true,
        "byte-offset" => query.byte_offset = true,
        "only-matching" => query.only_matching = true,
        "trim" => query.trim = true,
        "with-filename" => query.with_filename = Some(true),
        "no-filename" => query.with_filename = Some(false),
        "count" => query.output = Output::Count,
        "count-matches" => query.output = Output::CountMatches,
        "files-with-matches" => query.output = Output::FilesWith,
        "files-without-match" => query.output = Output::FilesWithout,
        "files" => query.output = Output::Files,
        "hidden" => query.hidden = true,
        "no-hidden" => query.hidden = false,
        "no-ignore" => query.no_ignore = true,
        "ignore" => query.no_ignore = false,
        "no-require-git" => query.no_require_git = true,
        "unrestricted" => *unrestricted += 1,
        "no-config" | "no-messages" | "no-mmap" | "no-pcre2" => {}
        "regexp" => query.patterns.push(text),
        "glob" => query.globs.push((text, true)),
        "iglob" => query.globs.push((text, false)),
        "glob-case-insensitive" => query.glob_fold = true,
        "type" => query.types.push((text, true)),
        "type-not" => query.types.push((text, false)),
        "after-context" => query.after = lines()?,
        "before-context" => query.before = lines()?,
        "context" => (query.before, query.after) = (lines()?, lines()?),
        "max-count" => query.max_count = Some(number()?),
        "max-columns" => query.max_columns = Some(number()?).filter(|n| *n > 0),
        "max-depth" => query.max_depth = Some(lines()?),
        "max-filesize" => {
            query.max_filesize =
                Some(size(&text).ok_or_else(|| SearchError(format!("flag --max-filesize needs a size like 10K or 5M, not {text:?}")))?)
        }
        "sort" if text == "path" => {}
        "sort" => {
            return Err(SearchError("--sort: results are always sorted by path".to_owned()));
        }
        "color" if text == "never" || text == "auto" => {}
        _ => return Err(refused(arg)),
    }
    Ok(())
}

fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}
