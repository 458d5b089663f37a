//! The Responses dialect: `POST /v1/responses`, streamed and not.

pub(crate) mod checks;
pub(crate) mod compact;
pub(crate) mod fields;
pub(crate) mod items;
mod request;
mod stream;
mod write;

pub(crate) use request::{Request, read};
pub(crate) use stream::stream;
pub(crate) use write::{failed, whole};

use bytes::Bytes;

use crate::answer::{Answer, Item};
use crate::ask::{Kind, Piece};
use crate::store::Stored;

/// What is kept of an answer so that it can be continued.
pub(crate) fn stored(request: &Request<'_>, id: String, answer: &Answer, body: Bytes) -> Stored {
    let ask = &request.ask;
    let said = answer.items.iter().filter_map(|item| match item {
        Item::Message { text, .. } => Some(Piece { kind: Kind::Reply, text: text.clone().into(), call_id: None }),
        Item::Call { name, arguments, call_id, .. } => {
            Some(Piece { kind: Kind::Call, text: format!("{name} {arguments}").into(), call_id: Some(call_id.clone().into()) })
        }
        Item::Reasoning { .. } | Item::Unknown { .. } => None,
    });
    let pieces: Vec<Piece<'static>> =
        ask.pieces.iter().filter(|piece| piece.kind != Kind::Instructions).cloned().map(Piece::owned).chain(said).collect();
    let before = ask.parent.as_ref().map_or(0, |parent| parent.tokens);
    Stored {
        id,
        parent: ask.parent.clone(),
        tokens: before + crate::ask::context_tokens(&pieces),
        pieces,
        item_ids: answer.items.iter().map(|item| item.id().to_owned()).collect(),
        body,
    }
}
