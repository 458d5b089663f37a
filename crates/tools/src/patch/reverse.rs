//! A patch turned round: what takes it back out of the files it was applied to, and only out of files that hold it still.

use super::Patch;

impl Patch {
    /// The patch that undoes this one. Its `index` lines are turned round with it: it lands only where this one has landed.
    #[must_use]
    pub fn reversed(&self) -> Self {
        let mut out = String::with_capacity(self.text.len());
        let mut lines = self.text.split_inclusive('\n').peekable();
        // Of one run of changed lines: what was added, now removed, comes first.
        let (mut removed, mut added) = (String::new(), String::new());
        let mut inside = false;
        while let Some(line) = lines.next() {
            let mut own = line.to_owned();
            if let Some(mark) = lines.next_if(|next| inside && next.starts_with('\\')) {
                own.push_str(mark);
            }
            match line.as_bytes().first() {
                Some(b'-') if inside => added.push_str(&own.replacen('-', "+", 1)),
                Some(b'+') if inside => removed.push_str(&own.replacen('+', "-", 1)),
                _ => {
                    out.push_str(&std::mem::take(&mut removed));
                    out.push_str(&std::mem::take(&mut added));
                    if line.starts_with("diff --git ") {
                        inside = false;
                    } else if line.starts_with("@@ ") {
                        inside = true;
                        own = turned_hunk(line);
                    } else if !inside {
                        own = turned_header(line, &mut lines);
                    }
                    out.push_str(&own);
                }
            }
        }
        out.push_str(&removed);
        out.push_str(&added);
        Self { text: out, left_out: self.left_out.clone() }
    }
}

/// `@@ -OLD +NEW @@` with both ranges in each other's place.
fn turned_hunk(line: &str) -> String {
    let mut parts = line.splitn(4, ' ');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(at), Some(old), Some(new), Some(rest)) => format!("{at} -{} +{} {rest}", &new[1..], &old[1..]),
        _ => line.to_owned(),
    }
}

fn turned_header<'a>(line: &str, lines: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> String {
    // Two lines that belong together, the first of which becomes the second.
    let mut pair = |first: &str, second: &str, turn: fn(&str) -> String| {
        let old = line.strip_prefix(first)?;
        let new = lines.next_if(|next| next.starts_with(second))?.strip_prefix(second)?;
        Some(format!("{first}{}{second}{}", turn(new), turn(old)))
    };
    let same = |text: &str| text.to_owned();
    if let Some(turned) = pair("old mode ", "new mode ", same) {
        return turned;
    }
    if let Some(turned) = pair("--- ", "+++ ", turned_name) {
        return turned;
    }
    if let Some(rest) = line.strip_prefix("new file mode ") {
        return format!("deleted file mode {rest}");
    }
    if let Some(rest) = line.strip_prefix("deleted file mode ") {
        return format!("new file mode {rest}");
    }
    match line.strip_prefix("index ").and_then(|rest| rest.trim_end().split_once("..")) {
        Some((old, new)) => format!("index {new}..{old}\n"),
        None => line.to_owned(),
    }
}

/// `a/…` for `b/…` and the other way round; `/dev/null` stays.
fn turned_name(name: &str) -> String {
    let quote = if name.starts_with('"') { "\"" } else { "" };
    let bare = &name[quote.len()..];
    match (bare.strip_prefix("a/"), bare.strip_prefix("b/")) {
        (Some(rest), _) => format!("{quote}b/{rest}"),
        (_, Some(rest)) => format!("{quote}a/{rest}"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::gate::Scope;
    use crate::patch::land::{Side, diff_file};
    use proptest::prelude::*;

    fn lines() -> impl Strategy<Value = Option<String>> {
        let text = prop::collection::vec("[a-c+-]{0,2}", 0..8).prop_flat_map(|lines| {
            let text = lines.join("\n");
            prop_oneof![Just(text.clone()), Just(text + "\n")]
        });
        prop::option::of(text)
    }

    proptest! {
        #[test]
        fn what_is_undone_is_as_it_was(old in lines(), new in lines(), old_mode: bool, new_mode: bool) {
            let dir = tempfile::tempdir().expect("a folder");
            let before = old.as_ref().map(|text| Side { bytes: text.as_bytes(), executable: old_mode });
            let after = new.as_ref().map(|text| Side { bytes: text.as_bytes(), executable: new_mode });
            prop_assume!(old != new || (old.is_some() && old_mode != new_mode));
            let patch = Patch { text: diff_file("f", before, after).expect("plain text"), left_out: Vec::new() };
            let path = dir.path().join("f");
            if let Some(text) = &old {
                std::fs::write(&path, text).expect("written");
                std::fs::set_permissions(&path, Permissions::from_mode(if old_mode { 0o755 } else { 0o644 })).expect("set");
            }
            let root = crate::gate::Root::open(dir.path()).expect("a root");
            patch.apply_to(&root, &Scope::whole()).expect("lands");
            let back = patch.reversed();
            back.apply_to(&root, &Scope::whole()).map_err(|e| TestCaseError::fail(format!("{e}\n{}", back.text)))?;
            prop_assert_eq!(std::fs::read_to_string(&path).ok(), old);
            prop_assert_eq!(back.reversed().text, patch.text);
        }
    }
}
