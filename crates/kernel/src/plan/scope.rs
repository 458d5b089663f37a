//! Scopes as text: whether a glob stays inside the workspace, what it covers, and whether two may meet.
//!
//! The one reading of globs, for plans and for tools; what a path really leads to is decided where files are opened.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Longest glob: as long as a path may be.
const MAX_GLOB_BYTES: usize = 4_000;
/// Most globs of one set.
const MAX_GLOBS: usize = 1_000;

/// Globs relative to the workspace, compiled: each covers what it matches and everything beneath that.
/// `*` stays within a folder; a glob that names the workspace itself (`.`) covers everything.
#[derive(Debug, Clone)]
pub struct Globs {
    /// `None`: everything.
    set: Option<GlobSet>,
}

/// A glob that is none, or that leads out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("glob {glob:?} {why}")]
pub struct BadGlob {
    /// As written, cut.
    pub glob: String,
    /// What is wrong with it and what to write instead.
    pub why: String,
}

impl Globs {
    /// Everything.
    pub fn all() -> Self {
        Self { set: None }
    }

    /// Nothing.
    pub fn none() -> Self {
        Self { set: Some(GlobSet::empty()) }
    }

    /// What these globs cover; an empty list is [`Globs::none`].
    ///
    /// # Errors
    /// The first [`BadGlob`]: too long, absolute, with `..`, in `.git`, or not a glob; or more than 1,000 of them.
    pub fn new<S: AsRef<str>>(globs: &[S]) -> Result<Self, BadGlob> {
        let bad = |glob: &str, why: String| BadGlob { glob: glob.chars().take(200).collect(), why };
        if globs.len() > MAX_GLOBS {
            return Err(bad("…", format!("is one of {}; at most {MAX_GLOBS} are taken", globs.len())));
        }
        let mut set = GlobSetBuilder::new();
        for glob in globs.iter().map(AsRef::as_ref) {
            if glob.len() > MAX_GLOB_BYTES {
                return Err(bad(glob, format!("has {} bytes; at most {MAX_GLOB_BYTES} are taken", glob.len())));
            }
            if let Some(why) = leads_out(glob) {
                return Err(bad(glob, why.to_owned()));
            }
            let plain = plain(glob);
            if plain.is_empty() {
                return Ok(Self::all());
            }
            for text in [plain.clone(), format!("{plain}/**")] {
                let compiled = GlobBuilder::new(&text).literal_separator(true).build();
                set.add(compiled.map_err(|e| bad(glob, format!("is no glob ({}); write e.g. src/**", e.kind())))?);
            }
        }
        let set = set.build().map_err(|e| bad("…", format!("and the others make no set: {}", e.kind())))?;
        Ok(Self { set: Some(set) })
    }

    /// Whether a path, as the gate of paths writes it, is covered.
    pub fn hold(&self, path: &str) -> bool {
        self.set.as_ref().is_none_or(|set| set.is_match(path))
    }
}

/// As paths are read: `./` and doubled slashes say nothing.
pub(super) fn plain(glob: &str) -> String {
    glob.split('/').filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("/")
}

/// Why a glob may not be a scope of a plan, with the remedy.
pub(super) fn refusal(glob: &str) -> Option<&'static str> {
    if glob.trim().is_empty() {
        return Some("is empty; name a path relative to the workspace");
    }
    leads_out(glob)
}

fn leads_out(glob: &str) -> Option<&'static str> {
    if glob.chars().any(char::is_control) {
        return Some("holds a control character; remove it");
    }
    let drive = glob.as_bytes().get(1) == Some(&b':') && glob.as_bytes()[0].is_ascii_alphabetic();
    if glob.starts_with(['/', '\\', '~']) || drive {
        return Some("is absolute; name a path relative to the workspace");
    }
    // Braces hold alternatives, so each of them is a possible component.
    let parts = || glob.split(['/', '\\', '{', '}', ',']).map(str::trim);
    if parts().any(|part| part == "..") {
        return Some("leaves the workspace by `..`; name a path inside it");
    }
    if parts().any(|part| part.trim_end_matches(['.', ' ']).eq_ignore_ascii_case(".git")) {
        return Some("is inside .git, which no subtask may touch; name files of the work tree");
    }
    None
}

fn is_literal(glob: &str) -> bool {
    !glob.contains(['*', '?', '[', '{', '\\'])
}

/// Whether a glob that leads nowhere outside can be compiled.
pub(super) fn is_readable(glob: &str) -> bool {
    Globs::new(&[glob]).is_ok()
}

/// The part before the first wildcard: every path the glob matches starts with it.
pub(super) fn fixed_part(glob: &str) -> &str {
    let end = glob.find(['*', '?', '[', '{', '\\']).unwrap_or(glob.len());
    glob[..end].trim_start_matches("./")
}

/// Whether two globs surely meet; two patterns that only might are not warned of.
pub(super) fn meet(a: &str, b: &str) -> bool {
    let (a, b) = (a.trim_start_matches("./"), b.trim_start_matches("./"));
    let covers = |glob: &str, other: &str| {
        let whole = glob == "**" || glob == "**/*" || glob.ends_with("/**") && is_literal(&glob[..glob.len() - 3]);
        if whole {
            return fixed_part(other).starts_with(fixed_part(glob)) || glob.starts_with("**");
        }
        is_literal(other) && GlobBuilder::new(glob).literal_separator(true).build().is_ok_and(|g| g.compile_matcher().is_match(other))
    };
    a == b || covers(a, b) || covers(b, a)
}

/// The paths that no glob of a write scope covers.
pub(crate) fn outside(writes: &[String], paths: &[String]) -> Vec<String> {
    // Globs that cannot be read cover nothing: no gate has let them pass.
    let covered = Globs::new(writes).ok();
    paths.iter().filter(|path| !covered.as_ref().is_some_and(|globs| globs.hold(path))).cloned().collect()
}
