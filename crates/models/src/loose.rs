//! Scalars that accept whatever a server sends: what has the wrong type counts as absent.
//!
//! A provider's slip in a field nobody needs must not fail a paid answer. Nothing here keeps what it does not read.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A string, borrowed where it has no escapes; anything else is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Text<'a>(pub Option<Cow<'a, str>>);

impl<'a> Text<'a> {
    pub(crate) fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// The string, unless it is empty.
    pub(crate) fn filled(&self) -> Option<&str> {
        self.as_str().filter(|text| !text.is_empty())
    }

    pub(crate) fn owned(self) -> Option<String> {
        self.0.map(Cow::into_owned)
    }
}

/// A count: any number that is not negative; floats lose their fraction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count(pub Option<u64>);

/// A string, a list of content parts with `text`, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Content<'a>(pub Option<Cow<'a, str>>);

struct TextVisitor;

macro_rules! absent {
    ($value:expr) => {
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
}

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    absent!(Text(None));

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Text(Some(Cow::Owned(value.to_string()))))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Text(Some(Cow::Owned(value.to_string()))))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Text(Some(Cow::Owned(value.to_string()))))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Some(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Some(Cow::Owned(text.to_owned()))))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Text(Some(Cow::Owned(text))))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    absent!(Count(None));

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }

    fn visit_str<E>(self, text: &str) -> Result<Count, E> {
        Ok(Count(text.parse().ok()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Count, E> {
        Ok(Count(Some(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Count, E> {
        Ok(Count(u64::try_from(value).ok()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Count, E> {
        // `as` saturates; a negative or absurd count is no count.
        Ok(Count((0.0..1e15).contains(&value).then_some(value as u64)))
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    absent!(Content(None));

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut whole = String::new();
        while let Some(part) = seq.next_element::<&RawValue>()? {
            if let Some(text) = parse::<Part<'_>>(part).and_then(|part| part.text.owned()) {
                whole.push_str(&text);
            }
        }
        Ok(Content(Some(Cow::Owned(whole))))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Content(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Content(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Content(None))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Content(Some(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Content(Some(Cow::Owned(text.to_owned()))))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

#[derive(serde::Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Text<'a>,
}

/// Reads a raw value as `T`; what does not fit counts as absent.
pub(crate) fn parse<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

/// A string's content, or the JSON text of anything else but null: arguments may be either.
pub(crate) fn string_or_json(raw: &RawValue) -> Option<String> {
    match raw.get() {
        "null" => None,
        text if text.starts_with('"') => serde_json::from_str(text).ok(),
        text => Some(text.to_owned()),
    }
}

/// The data of an event as text; bytes that are not UTF-8 become U+FFFD rather than a failure.
pub(crate) fn utf8(data: &[u8]) -> Cow<'_, str> {
    // The check for whole texts is many times faster than the search for the bad byte.
    std::str::from_utf8(data).map_or_else(|_| String::from_utf8_lossy(data), Cow::Borrowed)
}

/// Replaces escapes of lone surrogates by U+FFFD: they are legal JSON text and no Unicode, and a
/// provider that cuts its deltas between two UTF-16 units sends them.
pub(crate) fn without_lone_surrogates(text: Cow<'_, str>) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    if memchr::memchr(b'\\', bytes).is_none() {
        return text;
    }
    let suspicious = memchr::memmem::find_iter(bytes, b"\\u").any(|at| matches!(bytes.get(at + 2), Some(b'd' | b'D')));
    if !suspicious {
        return text;
    }
    let unit = |at: usize| -> Option<u16> {
        (bytes.get(at) == Some(&b'\\') && bytes.get(at + 1) == Some(&b'u')).then_some(())?;
        u16::from_str_radix(text.get(at + 2..at + 6)?, 16).ok()
    };
    let mut healed = String::with_capacity(bytes.len());
    let (mut at, mut copied) = (0, 0);
    while let Some(step) = memchr::memchr(b'\\', &bytes[at..]) {
        at += step;
        let width = match unit(at) {
            Some(0xD800..=0xDBFF) if matches!(unit(at + 6), Some(0xDC00..=0xDFFF)) => 12,
            Some(0xD800..=0xDFFF) => {
                healed.push_str(&text[copied..at]);
                healed.push_str("\\ufffd");
                copied = at + 6;
                6
            }
            // Any other escape is two bytes as far as this walk cares.
            _ => 2,
        };
        at = (at + width).min(bytes.len());
    }
    healed.push_str(&text[copied..]);
    Cow::Owned(healed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates_become_replacement_characters() {
        let heal = |text: &str| without_lone_surrogates(Cow::Borrowed(text)).into_owned();
        assert_eq!(heal(r#""a\ud83db""#), r#""a\ufffdb""#);
        assert_eq!(heal(r#""\ud83d\ude00\udE00""#), r#""\ud83d\ude00\ufffd""#);
        assert_eq!(heal(r#""\\ud83d\n""#), r#""\\ud83d\n""#);
        assert_eq!(heal(r#""\ud8""#), r#""\ud8""#);
        assert_eq!(heal("plain \\u00e9"), "plain \\u00e9");
    }

    #[test]
    fn wrong_types_count_as_absent() {
        #[derive(serde::Deserialize)]
        struct Row<'a> {
            #[serde(borrow, default)]
            text: Text<'a>,
            #[serde(default)]
            count: Count,
            #[serde(borrow, default)]
            content: Content<'a>,
        }
        for (text, count) in [("null", "null"), ("{\"a\":1}", "{}"), ("[1]", "[[]]"), ("true", "false")] {
            let json = format!(r#"{{"text":{text},"count":{count},"content":{count}}}"#);
            let row: Row<'_> = serde_json::from_str(&json).unwrap();
            assert_eq!((row.text.0, row.count.0), (None, None), "{json}");
        }
        let row: Row<'_> = serde_json::from_str(r#"{"text":400,"count":3.0,"content":[{"type":"text","text":"a"},{"text":"b"}]}"#).unwrap();
        assert_eq!((row.text.as_str(), row.count.0), (Some("400"), Some(3)));
        assert_eq!(row.content.0.as_deref(), Some("ab"));
    }
}
