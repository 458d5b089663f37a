//! Which parts of files a task needs most: plain overlap of words, rare words counting more.
//!
//! No model and no index is asked: the same parts and the same task always give the same choice.

use std::collections::{BTreeMap, BTreeSet};

use super::Excerpt;

/// Lines of a piece; about one function.
const PIECE: usize = 40;

/// The chosen text of one excerpt, with line numbers of what was left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Text to show; empty when nothing of the excerpt was chosen.
    pub text: String,
    /// Bytes of the excerpt that are not in it.
    pub left_out: usize,
}

struct Piece {
    excerpt: usize,
    first: usize,
    text: String,
    words: BTreeSet<String>,
}

/// Chooses pieces of `excerpts` for `task` within `room` bytes; all of them, whole, when they fit.
pub(super) fn choose(excerpts: &[Excerpt], task: &str, room: usize) -> Vec<Chosen> {
    let total: usize = excerpts.iter().map(|e| e.text.len()).sum();
    if total <= room {
        return excerpts.iter().map(|e| Chosen { text: e.text.clone(), left_out: 0 }).collect();
    }
    let pieces = pieces(excerpts);
    let wanted = words(task);
    let mut spread: BTreeMap<&str, u64> = BTreeMap::new();
    for piece in &pieces {
        for word in piece.words.iter().filter(|w| wanted.contains(*w)) {
            *spread.entry(word).or_default() += 1;
        }
    }
    let path_words: Vec<BTreeSet<String>> = excerpts.iter().map(|e| words(&e.path)).collect();
    let score = |piece: &Piece| {
        let rare: u64 = piece.words.iter().filter_map(|w| spread.get(w.as_str())).map(|n| 1_000 / n + 10).sum();
        let named = path_words[piece.excerpt].intersection(&wanted).count() as u64;
        rare + 50 * named
    };
    let scores: Vec<u64> = pieces.iter().map(score).collect();
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by_key(|i| (std::cmp::Reverse(scores[*i]), *i));

    let mut left = room;
    let mut taken = BTreeSet::new();
    for i in order {
        // The note about a gap takes room of its own.
        let cost = pieces[i].text.len() + 40;
        if cost <= left {
            left -= cost;
            taken.insert(i);
        }
    }
    excerpts.iter().enumerate().map(|(n, excerpt)| assemble(excerpt, n, &pieces, &taken)).collect()
}

fn assemble(excerpt: &Excerpt, n: usize, pieces: &[Piece], taken: &BTreeSet<usize>) -> Chosen {
    let mut text = String::new();
    let (mut kept, mut gap) = (0, None);
    let note = |text: &mut String, from: usize, to: usize| {
        text.push_str(&format!("[… lines {from}-{to} left out …]\n"));
    };
    for (i, piece) in pieces.iter().enumerate().filter(|(_, p)| p.excerpt == n) {
        if taken.contains(&i) {
            if let Some(from) = gap.take() {
                note(&mut text, from, piece.first - 1);
            }
            text.push_str(&piece.text);
            kept += piece.text.len();
        } else {
            gap = gap.or(Some(piece.first));
        }
    }
    if kept == 0 {
        return Chosen { text: String::new(), left_out: excerpt.text.len() };
    }
    if let Some(from) = gap {
        if !text.ends_with('\n') {
            text.push('\n');
        }
        note(&mut text, from, excerpt.start_line + excerpt.text.lines().count().saturating_sub(1));
    }
    Chosen { text, left_out: excerpt.text.len() - kept }
}

fn pieces(excerpts: &[Excerpt]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (excerpt, source) in excerpts.iter().enumerate() {
        let lines: Vec<&str> = source.text.split_inclusive('\n').collect();
        for (n, chunk) in lines.chunks(PIECE).enumerate() {
            let text = chunk.concat();
            pieces.push(Piece { excerpt, first: source.start_line + n * PIECE, words: words(&text), text });
        }
    }
    pieces
}

/// Lower-case words of at least three letters or digits, and the parts of compound names.
fn words(text: &str) -> BTreeSet<String> {
    const STOP: [&str; 24] = [
        "the", "and", "for", "that", "this", "with", "from", "are", "not", "all", "any", "one", "must", "use", "its", "which", "into",
        "have", "has", "was", "will", "when", "then", "you",
    ];
    let mut found = BTreeSet::new();
    let mut add = |word: &str| {
        if word.chars().count() >= 3 {
            let word = word.to_lowercase();
            if !STOP.contains(&word.as_str()) {
                found.insert(word);
            }
        }
    };
    for name in text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|n| !n.is_empty()) {
        add(name);
        for part in name.split('_') {
            let mut start = 0;
            let chars: Vec<(usize, char)> = part.char_indices().collect();
            for pair in chars.windows(2) {
                if pair[0].1.is_lowercase() && pair[1].1.is_uppercase() {
                    add(&part[start..pair[1].0]);
                    start = pair[1].0;
                }
            }
            add(&part[start..]);
        }
    }
    found
}
