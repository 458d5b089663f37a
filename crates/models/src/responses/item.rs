//! One output item of the Responses API.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::loose::{Text, parse, string_or_json};
use crate::reply::{Piece, append};

#[derive(Debug, Deserialize)]
struct Item<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    call_id: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    phase: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct Part<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    text: Text<'a>,
    #[serde(borrow, default)]
    refusal: Text<'a>,
}

/// What an `output_item` event needs to find its place.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Label<'a> {
    #[serde(borrow, default)]
    pub id: Text<'a>,
    #[serde(borrow, default, rename = "type")]
    pub kind: Text<'a>,
    #[serde(borrow, default)]
    pub call_id: Text<'a>,
    #[serde(borrow, default)]
    pub name: Text<'a>,
    #[serde(borrow, default)]
    pub phase: Text<'a>,
}

/// Reads an item; an unknown kind is kept raw, something that is no object is `None`.
pub(crate) fn piece(raw: &RawValue) -> Option<Piece> {
    let item: Item<'_> = parse(raw)?;
    let kind = item.kind.filled().unwrap_or("unknown").to_owned();
    let mut piece = Piece {
        call_id: item.call_id.owned(),
        name: item.name.owned(),
        phase: item.phase.owned(),
        arguments: item.arguments.or(item.input).and_then(string_or_json),
        ..Piece::default()
    };
    match kind.as_str() {
        "message" => {
            let parts = item.content.and_then(parse::<Vec<Option<&RawValue>>>).unwrap_or_default();
            for part in parts.into_iter().flatten() {
                let Some(part) = parse::<Part<'_>>(part) else {
                    continue;
                };
                match part.kind.as_str() {
                    Some("refusal") => append(&mut piece.refusal, part.refusal.0.unwrap_or_default()),
                    _ => append(&mut piece.text, part.text.0.unwrap_or_default()),
                }
            }
            if let Some(content) = item.content.filter(|content| content.get().starts_with('"')) {
                append(&mut piece.text, Cow::Owned(string_or_json(content).unwrap_or_default()));
            }
        }
        "function_call" | "custom_tool_call" => {}
        _ => piece.raw = Some(raw.to_owned()),
    }
    piece.kind = kind;
    Some(piece)
}
