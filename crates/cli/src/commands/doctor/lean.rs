//! A leaner version of instruction files, by rules that lose nothing a model could not find out: what stands there twice,
//! what a listing shows, what is for one folder only. It proposes; a person reads the diff and applies it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::diff::{Edit, Removal};

/// Shorter paragraphs may stand twice on purpose.
const SHORT: usize = 24;
/// Lines of a tree or a listing that are worth leaving out.
const LISTING: usize = 5;
/// A section is moved from so many bytes on.
const WORTH_MOVING: usize = 160;

/// What is known of the workspace beside its instruction files.
pub struct Tree<'a> {
    /// Whether something stands at a path.
    pub there: &'a dyn Fn(&str) -> bool,
    /// Whether it is a folder.
    pub folder: &'a dyn Fn(&str) -> bool,
}

/// Proposes a change of each file that can be leaner. `kept`: lines of a file, from 0, that stay as they are.
pub fn lean(files: &[(&str, &str)], kept: impl Fn(&str) -> BTreeSet<usize>, tree: &Tree<'_>) -> Vec<Edit> {
    let mut edits: BTreeMap<String, Edit> = BTreeMap::new();
    let mut said: BTreeMap<String, String> = BTreeMap::new();
    for (path, text) in files {
        let file = File { path, lines: text.split('\n').collect(), kept: kept(text) };
        let mut gone: Vec<Removal> = Vec::new();
        let mut added: Vec<(String, String)> = Vec::new();
        if !path.contains('/') {
            for (range, folder) in file.for_one_folder(tree) {
                added.push((format!("{folder}/AGENTS.md"), file.lines[range.start..file.last_word(&range)].join("\n")));
                gone.push(Removal { lines: range, why: format!("moved to {folder}/AGENTS.md, for who works there") });
            }
        }
        file.listings(tree, &mut gone);
        file.repeats(&mut said, &mut gone);
        file.empty_sections(&mut gone);
        file.blanks(&mut gone);
        gone.sort_by_key(|removal| removal.lines.start);
        if !gone.is_empty() {
            edits.entry((*path).to_owned()).or_insert_with(|| Edit::of(path, Some(text))).gone = gone;
        }
        for (target, section) in added {
            let before = files.iter().find(|(path, _)| *path == target).map(|(_, text)| *text);
            edits.entry(target.clone()).or_insert_with(|| Edit::of(&target, before)).added.push(section);
        }
    }
    edits.into_values().collect()
}

struct File<'a> {
    path: &'a str,
    lines: Vec<&'a str>,
    kept: BTreeSet<usize>,
}

impl File<'_> {
    fn free(&self, range: &Range<usize>, gone: &[Removal]) -> bool {
        self.kept.range(range.clone()).next().is_none() && !gone.iter().any(|removal| overlap(&removal.lines, range))
    }

    /// The end of a range without the blank lines at its end.
    fn last_word(&self, range: &Range<usize>) -> usize {
        range.clone().rev().find(|n| !self.lines[*n].trim().is_empty()).map_or(range.start, |n| n + 1)
    }

    /// Lines inside fences, marks included.
    fn fenced(&self) -> BTreeSet<usize> {
        let (mut inside, mut open) = (BTreeSet::new(), false);
        for (n, line) in self.lines.iter().enumerate() {
            let mark = line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~");
            if open || mark {
                inside.insert(n);
            }
            open ^= mark;
        }
        inside
    }

    /// Runs of lines between blank ones; a heading is one by itself, and so is a fence, blank lines in it or not.
    fn paragraphs(&self) -> Vec<Range<usize>> {
        let fenced = self.fenced();
        let mut found = Vec::new();
        let mut start = None;
        for n in 0..=self.lines.len() {
            let plain = n < self.lines.len() && !fenced.contains(&n);
            let heading = plain && self.level(n).is_some();
            let blank = n == self.lines.len() || (plain && self.lines[n].trim().is_empty());
            if (heading || blank)
                && let Some(from) = start.take()
            {
                found.push(from..n);
            }
            if heading {
                found.push(n..n + 1);
            } else if !blank && start.is_none() {
                start = Some(n);
            }
        }
        found
    }

    fn level(&self, n: usize) -> Option<usize> {
        let level = self.lines[n].chars().take_while(|c| *c == '#').count();
        ((1..=6).contains(&level) && self.lines[n][level..].starts_with(' ')).then_some(level)
    }

    /// Each heading with all below it.
    fn sections(&self) -> Vec<Range<usize>> {
        let fenced = self.fenced();
        let headings: Vec<(usize, usize)> =
            (0..self.lines.len()).filter(|n| !fenced.contains(n)).filter_map(|n| Some((n, self.level(n)?))).collect();
        let end = |at: usize, level: usize| headings.iter().find(|(n, l)| *n > at && *l <= level).map_or(self.lines.len(), |(n, _)| *n);
        headings.iter().map(|(n, level)| *n..end(*n, *level)).collect()
    }

    /// Trees of folders, and lists of nothing but paths: `list_files` shows them, as they are now.
    fn listings(&self, tree: &Tree<'_>, gone: &mut Vec<Removal>) {
        for range in self.paragraphs() {
            let body: Vec<&str> =
                self.lines[range.clone()].iter().map(|line| line.trim()).filter(|line| !line.starts_with("```")).collect();
            let drawn = body.iter().filter(|line| line.contains("├─") || line.contains("└─") || line.starts_with('│')).count();
            let is_tree = drawn >= LISTING && drawn * 2 > body.len();
            let path = |line: &str| {
                let plain = line.trim_start_matches(['-', '*', '+', ' ']).trim_matches(['`', ' ', '/']);
                !plain.is_empty() && !plain.contains(char::is_whitespace) && (tree.there)(plain)
            };
            let paths = body.iter().filter(|line| path(line)).count();
            let is_list = paths >= LISTING && paths == body.len();
            if (is_tree || is_list) && self.free(&range, gone) {
                gone.push(Removal { lines: range, why: "a listing of files, which the planner is given and list_files shows".to_owned() });
            }
        }
        for range in self.paragraphs() {
            let lines = &self.lines[range.clone()];
            let link = |line: &&str| {
                let plain = line.trim_start_matches(|c: char| c.is_whitespace() || c.is_ascii_digit() || "-*+.".contains(c));
                plain.starts_with('[') && plain.contains("](#") && plain.trim_end().ends_with(')')
            };
            if lines.len() >= 3 && lines.iter().all(link) && self.free(&range, gone) {
                gone.push(Removal { lines: range, why: "a table of contents, which no model can click".to_owned() });
            }
        }
    }

    /// Paragraphs that stood there before, here or in a file around this one.
    fn repeats(&self, said: &mut BTreeMap<String, String>, gone: &mut Vec<Removal>) {
        for range in self.paragraphs() {
            if !self.free(&range, gone) {
                continue;
            }
            let text = self.lines[range.clone()].iter().flat_map(|line| line.split_whitespace()).collect::<Vec<_>>().join(" ");
            if text.len() < SHORT || (range.len() == 1 && self.level(range.start).is_some()) {
                continue;
            }
            let place = format!("{}:{}", self.path, range.start + 1);
            let outer = |first: &String| {
                let folder = first
                    .rsplit_once(':')
                    .map_or("", |(path, _)| path)
                    .rsplit_once('/')
                    .map_or(String::new(), |(folder, _)| format!("{folder}/"));
                self.path.starts_with(&folder)
            };
            match said.get(&text).filter(|first| outer(first)) {
                Some(first) => gone.push(Removal { lines: range, why: format!("says again what {first} says") }),
                None => drop(said.insert(text, place)),
            }
        }
    }

    /// Sections that name files of one folder and of no other.
    fn for_one_folder(&self, tree: &Tree<'_>) -> Vec<(Range<usize>, String)> {
        let mut found: Vec<(Range<usize>, String)> = Vec::new();
        for range in self.sections() {
            // The title of the file is no section of it.
            let top = self.level(range.start) == Some(1);
            let text = self.lines[range.clone()].join("\n");
            if top || text.len() < WORTH_MOVING || !self.free(&range, &[]) || found.iter().any(|(other, _)| overlap(other, &range)) {
                continue;
            }
            let ends = |c: char| c.is_whitespace() || "`'\"(),;[]<>".contains(c);
            let words = text.split(ends).map(|word| word.trim_end_matches(['.', ':', '/']).trim_start_matches("./"));
            let named: BTreeSet<&str> =
                words.filter(|word| (word.contains('/') || self.is_quoted(&text, word)) && !word.contains("://")).collect();
            let there: Vec<&str> = named
                .into_iter()
                .filter(|path| !path.is_empty() && (tree.there)(path.trim_end_matches("/**").trim_end_matches("/*")))
                .collect();
            let mut folders: BTreeSet<String> = there.iter().map(|path| folder_of(path, tree)).collect();
            if folders.len() != 1 {
                continue;
            }
            let folder = folders.pop_first().unwrap_or_default();
            // One path may be an example; two, or the heading, are a subject.
            let title = self.lines[range.start].to_lowercase();
            let about = there.len() > 1 || folder.rsplit('/').next().is_some_and(|name| title.contains(&name.to_lowercase()));
            if !folder.is_empty() && about {
                found.push((range, folder));
            }
        }
        found
    }

    fn is_quoted(&self, text: &str, word: &str) -> bool {
        !word.is_empty() && (text.contains(&format!("`{word}`")) || text.contains(&format!("`{word}/`")))
    }

    /// Headings that have lost all below them.
    fn empty_sections(&self, gone: &mut Vec<Removal>) {
        for range in self.sections().into_iter().rev() {
            let lost = |n: usize| gone.iter().any(|removal| removal.lines.contains(&n));
            let rest = range.start + 1..range.end;
            let empty = rest.clone().all(|n| lost(n) || self.lines[n].trim().is_empty()) && rest.clone().any(lost);
            let heading = range.start..range.start + 1;
            if empty && self.free(&heading, gone) {
                gone.push(Removal { lines: heading, why: "nothing is left below it".to_owned() });
            }
        }
    }

    /// Blank lines behind a blank line.
    fn blanks(&self, gone: &mut Vec<Removal>) {
        let fenced = self.fenced();
        let lost = |n: usize, gone: &[Removal]| gone.iter().any(|removal| removal.lines.contains(&n));
        let mut blank = true;
        // The text behind the last line end is no line.
        for n in 0..self.lines.len().saturating_sub(1) {
            if lost(n, gone) {
                continue;
            }
            let now = self.lines[n].trim().is_empty() && !fenced.contains(&n);
            if now && blank && n > 0 && !self.kept.contains(&n) {
                gone.push(Removal { lines: n..n + 1, why: "blank".to_owned() });
            }
            blank = now;
        }
    }
}

/// The outermost folder of a path that is not the whole workspace: two deep where the first holds many, as `crates/a`.
fn folder_of(path: &str, tree: &Tree<'_>) -> String {
    let path = path.trim_end_matches("/**").trim_end_matches("/*");
    let parts: Vec<&str> = path.split('/').collect();
    let groups = matches!(parts[0], "crates" | "packages" | "apps" | "services" | "libs" | "modules");
    let depth = if groups { 2 } else { 1 };
    let folder = parts[..parts.len().min(depth)].join("/");
    if (tree.folder)(&folder) && parts.len() >= depth { folder } else { String::new() }
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposed(files: &[(&str, &str)]) -> Vec<Edit> {
        let there = |path: &str| ["web", "web/app.ts", "web/form.ts", "src", "src/main.rs", "docs", "Cargo.toml"].contains(&path);
        let folder = |path: &str| ["web", "src", "docs"].contains(&path);
        lean(
            files,
            |text| (0..text.lines().count()).filter(|n| text.lines().nth(*n).is_some_and(|l| l.contains("keep"))).collect(),
            &Tree { there: &there, folder: &folder },
        )
    }

    fn after(files: &[(&str, &str)]) -> String {
        proposed(files).iter().map(|edit| format!("== {}\n{}", edit.path, edit.after())).collect()
    }

    #[test]
    fn what_stands_twice_and_what_a_listing_shows_is_left_out() {
        let text = "# P\n\nAlways run the linter first.\n\n\n\n## Layout\n\n```\n.\n├── src\n│   ├── a.rs\n│   └── b.rs\n├── web\n└── docs\n```\n\n## Files\n\n- `src`\n- `src/main.rs`\n- `web`\n- `docs/`\n- `Cargo.toml`\n\n## More\nAlways run   the linter first.\n\nUse tabs.\n";
        assert_eq!(after(&[("AGENTS.md", text)]), "== AGENTS.md\n# P\n\nAlways run the linter first.\n\n## More\n\nUse tabs.\n");
    }

    #[test]
    fn a_section_about_one_folder_moves_there() {
        let text = "# P\nUse tabs.\n\n## Forms\nForms are in `web/form.ts` and start in `web/app.ts`. Every field has a label and an error text; no form is sent twice, and none without a token from the server.\n\n## Both\n`src/main.rs` serves `web/app.ts` and this text is long enough to be moved somewhere, if only it named one folder instead of two of them, which it does not.\n";
        let moved = after(&[("AGENTS.md", text)]);
        assert!(moved.contains("== web/AGENTS.md\n## Forms\nForms are in"), "{moved}");
        assert!(moved.starts_with("== AGENTS.md\n# P\nUse tabs.\n\n## Both\n"), "{moved}");
        let there = after(&[("AGENTS.md", text), ("web/AGENTS.md", "Be kind.\n")]);
        assert!(there.contains("== web/AGENTS.md\nBe kind.\n\n## Forms\n"), "{there}");
    }

    #[test]
    fn what_is_kept_or_already_lean_is_left_alone() {
        assert_eq!(after(&[("AGENTS.md", "# P\n\nUse tabs.\n\n## Test\ncargo test\n")]), "");
        let kept = "# P\nkeep this paragraph as it is\n\nkeep this paragraph as it is\n";
        assert_eq!(after(&[("AGENTS.md", kept)]), "");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..proptest::prelude::ProptestConfig::with_cases(64) })]

        /// Whatever the file: nothing is made up, and the diff applies.
        #[test]
        fn a_proposal_drops_lines_and_makes_up_none(
            parts in proptest::collection::vec("(#{1,3} [a-z]{1,4}|`(web|src)/(app|form|main)\\.(ts|rs)` [a-z ]{0,90}|- `(src|web|docs)`|├── [a-z]|```|[a-z ]{20,40}||)", 0..24),
            ended: bool,
        ) {
            let text = parts.join("\n") + if ended { "\n" } else { "" };
            for edit in proposed(&[("AGENTS.md", &text)]) {
                let after = edit.after();
                let known: std::collections::BTreeSet<&str> = text.lines().collect();
                proptest::prop_assert!(after.lines().all(|line| known.contains(line)), "{after}");
                proptest::prop_assert!(edit.path != "AGENTS.md" || after.len() < text.len());
                // The diff says the same to whoever applies it.
                let diff = edit.diff();
                let ops = brigade_tools::patch::parse(diff.split_once('\n').unwrap_or_default().1).expect("a patch");
                let read = |path: &brigade_tools::RelPath| match path.as_str() {
                    "AGENTS.md" => Ok(text.clone().into_bytes()),
                    other => Err(brigade_tools::Refusal::Absent { path: other.to_owned() }),
                };
                let (edits, _) = brigade_tools::patch::plan(&ops, brigade_tools::patch::Rules::default(), read).expect("it fits");
                let applied = edits.first().and_then(|edit| edit.to.as_ref()).map(|to| to.bytes.clone());
                proptest::prop_assert_eq!(applied, Some(after.into_bytes()), "{}", diff);
            }
        }
    }
}
