//! Licence expressions as Cargo.toml writes them: `MIT OR Apache-2.0`, `(A OR B) AND C`, and the old `A/B`.
//!
//! It answers one question, whether the allowed licences suffice, and refuses what it cannot read.

/// Whether the allowed licences suffice for this expression.
///
/// # Errors
/// What cannot be read about the expression.
pub fn suffices(expression: &str, allowed: &[String]) -> Result<bool, String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = Words { words: spaced.split_whitespace().collect(), next: 0, allowed };
    let suffices = words.either().ok_or_else(|| format!("licence expression `{expression}` cannot be read"))?;
    if words.next < words.words.len() {
        return Err(format!("licence expression `{expression}` has more than can be read"));
    }
    Ok(suffices)
}

struct Words<'a> {
    words: Vec<&'a str>,
    next: usize,
    allowed: &'a [String],
}

impl Words<'_> {
    fn either(&mut self) -> Option<bool> {
        let mut suffices = self.both()?;
        while self.take("OR") {
            suffices |= self.both()?;
        }
        Some(suffices)
    }

    fn both(&mut self) -> Option<bool> {
        let mut suffices = self.one()?;
        while self.take("AND") {
            suffices &= self.one()?;
        }
        Some(suffices)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let inside = self.either()?;
            return self.take(")").then_some(inside);
        }
        let mut licence = self.name()?.to_owned();
        if self.take("WITH") {
            licence = format!("{licence} WITH {}", self.name()?);
        }
        Some(self.allowed.contains(&licence))
    }

    fn name(&mut self) -> Option<&str> {
        let word = *self.words.get(self.next)?;
        self.next += 1;
        (!["OR", "AND", "WITH", "(", ")"].contains(&word)).then_some(word)
    }

    fn take(&mut self, word: &str) -> bool {
        let there = self.words.get(self.next) == Some(&word);
        self.next += usize::from(there);
        there
    }
}

#[cfg(test)]
mod tests {
    use super::suffices;

    #[test]
    fn an_expression_is_met_only_by_allowed_licences() {
        let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
        for (expression, met) in [
            ("MIT", Ok(true)),
            ("GPL-3.0 OR MIT", Ok(true)),
            ("Unlicense/MIT", Ok(true)),
            ("Apache-2.0 / MIT", Ok(true)),
            ("GPL-3.0 AND MIT", Ok(false)),
            ("Apache-2.0 WITH LLVM-exception", Ok(true)),
            ("Apache-2.0", Ok(false)),
            // AND binds closer than OR
            ("MIT OR GPL-3.0 AND AGPL-3.0", Ok(true)),
            ("(MIT OR GPL-3.0) AND AGPL-3.0", Ok(false)),
            ("(MIT OR GPL-3.0) AND ISC", Ok(true)),
            ("mit", Ok(false)),
            ("", Err(())),
            ("MIT OR", Err(())),
            ("MIT ISC", Err(())),
            ("(MIT", Err(())),
        ] {
            assert_eq!(suffices(expression, &allowed).map_err(|_| ()), met, "{expression}");
        }
    }
}
