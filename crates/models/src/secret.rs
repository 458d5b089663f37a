//! A key that cannot be printed, and the broom that takes it out of every message.

use std::fmt::Write as _;

/// An API key. It has no `Debug`, `Display` or `Serialize` on purpose: what cannot be written cannot leak.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "a key must not be printable")]
pub struct Secret(String);

impl Secret {
    /// Takes a key, without the white space a file or a shell leaves around it.
    pub fn new(value: impl AsRef<str>) -> Self {
        Self(value.as_ref().trim().to_owned())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key itself, for the one header that carries it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

/// Shorter values are no secrets (`x` for a local server) and would blot out ordinary words.
const SHORTEST: usize = 6;
const BLOT: &str = "[redacted]";

/// Takes known secrets and their usual encodings out of texts.
#[derive(Clone, Default)]
pub struct Redactor {
    needles: Vec<String>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    /// Knows these secrets from now on.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut redactor = Self::default();
        for secret in secrets {
            redactor.add(secret);
        }
        redactor
    }

    /// Knows one more secret.
    pub fn add(&mut self, secret: &Secret) {
        let key = secret.expose();
        if key.len() < SHORTEST {
            return;
        }
        let mut found = vec![key.to_owned()];
        for shift in 0..3 {
            let inner = base64_inner(key.as_bytes(), shift);
            found.push(inner.replace('+', "-").replace('/', "_"));
            found.push(inner);
        }
        let hex = key.bytes().fold(String::new(), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        found.push(hex.to_uppercase());
        found.push(hex);
        found.push(percent(key));
        found.push(serde_json::Value::from(key).to_string().trim_matches('"').to_owned());
        found.retain(|needle| needle.len() >= SHORTEST);
        self.needles.extend(found);
        // The longest first, so that no needle leaves the tail of a longer one behind.
        self.needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        self.needles.dedup();
    }

    /// The text without any known secret.
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for needle in &self.needles {
            if text.contains(needle.as_str()) {
                text = text.replace(needle.as_str(), BLOT);
            }
        }
        text
    }
}

/// The characters of a Base64 text that depend on `key` alone when it stands `shift` bytes after a
/// multiple of three: what is there whatever stands around it.
fn base64_inner(key: &[u8], shift: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (start, end) = ((shift * 8).div_ceil(6), (shift + key.len()) * 8 / 6);
    let bit = |at: usize| -> usize {
        let byte = key.get((at / 8).wrapping_sub(shift)).copied().unwrap_or(0);
        usize::from(byte >> (7 - at % 8) & 1)
    };
    (start..end).map(|place| (0..6).fold(0, |six, offset| six << 1 | bit(place * 6 + offset))).map(|six| ALPHABET[six] as char).collect()
}

fn percent(key: &str) -> String {
    key.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_out_in_every_common_encoding() {
        let redactor = Redactor::new([&Secret::new(" sk-Ab+9/\"xyz?~ü\n")]);
        let cases = [
            "bad key sk-Ab+9/\"xyz?~ü given",
            "json \"sk-Ab+9/\\\"xyz?~ü\"",
            "hex 736b2d41622b392f2278797a3f7ec3bc",
            "url sk-Ab%2B9%2F%22xyz%3F~%C3%BC",
            // base64 of the key, of ":" + key, of "ab" + key + "!"
            "c2stQWIrOS8ieHl6P37DvA==",
            "OnNrLUFiKzkvInh5ej9+w7w=",
            "YWJzay1BYis5LyJ4eXo/fsO8IQ==",
        ];
        for case in cases {
            let clean = redactor.redact(case);
            assert!(clean.contains(BLOT), "{case} -> {clean}");
            assert!(!clean.contains("Ab+9") && !clean.contains("QWIrOS8"), "{case} -> {clean}");
        }
        assert_eq!(redactor.redact("nothing to hide"), "nothing to hide");
    }

    #[test]
    fn a_short_or_empty_key_blots_out_nothing() {
        let redactor = Redactor::new([&Secret::new("x"), &Secret::new("")]);
        assert_eq!(redactor.redact("extra text"), "extra text");
    }
}
