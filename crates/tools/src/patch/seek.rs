//! Finding the lines a hunk names, with the tolerances that models need and no others:
//! exact, then without trailing blanks, then without indentation, then with typographic characters made plain.

use super::lines::FileLine;

/// How two lines were compared.
const LEVELS: [fn(&str, &str) -> bool; 4] =
    [|a, b| a == b, |a, b| a.trim_end() == b.trim_end(), |a, b| a.trim() == b.trim(), |a, b| plain(a).eq(plain(b))];

fn plain(line: &str) -> impl Iterator<Item = char> + '_ {
    line.trim().chars().map(|c| match c {
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '\u{2018}'..='\u{201b}' | '\u{2032}' => '\'',
        '\u{201c}'..='\u{201f}' | '\u{2033}' => '"',
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => ' ',
        other => other,
    })
}

fn stands_at(lines: &[FileLine<'_>], pattern: &[&str], at: usize, same: fn(&str, &str) -> bool) -> bool {
    lines[at..].len() >= pattern.len() && pattern.iter().zip(&lines[at..]).all(|(want, line)| same(line.text, want))
}

/// The first place at or after `from` where all of `pattern` stands; with `at_end`, only the file's last lines.
pub(super) fn first(lines: &[FileLine<'_>], pattern: &[&str], from: usize, at_end: bool) -> Option<usize> {
    let last = lines.len().checked_sub(pattern.len())?;
    let from = if at_end { last.max(from) } else { from };
    LEVELS.iter().find_map(|same| (from..=last).find(|at| stands_at(lines, pattern, *at, *same)))
}

/// The place nearest to `hint`, not before `from`; `exact` allows no tolerance.
pub(super) fn nearest(lines: &[FileLine<'_>], pattern: &[&str], from: usize, hint: usize, exact: bool) -> Option<usize> {
    let last = lines.len().checked_sub(pattern.len())?;
    let hint = hint.clamp(from.min(last), last);
    LEVELS[..if exact { 1 } else { LEVELS.len() }].iter().find_map(|same| {
        let above = (from..=hint).rev().find(|at| stands_at(lines, pattern, *at, *same));
        let limit = above.map_or(last, |at| last.min(hint + (hint - at)));
        let below = (hint + 1..=limit).find(|at| stands_at(lines, pattern, *at, *same));
        match (above, below) {
            (Some(a), Some(b)) if b - hint < hint - a => Some(b),
            (above, below) => above.or(below),
        }
    })
}
