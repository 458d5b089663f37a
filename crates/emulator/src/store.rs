//! Responses kept because `store` was not false: to be continued, fetched and deleted.
//! Bounded; the oldest go first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::ask::Piece;

/// Most responses kept.
const MOST: usize = 10_000;
/// Most bytes of bodies and context kept.
const MOST_BYTES: usize = 256 << 20;

/// One kept response.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) parent: Option<Arc<Stored>>,
    /// Input and output, oldest first; instructions are not kept: they are not inherited.
    pub(crate) pieces: Vec<Piece<'static>>,
    pub(crate) item_ids: Vec<String>,
    pub(crate) body: Bytes,
    /// Tokens of the whole chain up to here.
    pub(crate) tokens: u64,
}

impl Stored {
    fn bytes(&self) -> usize {
        self.body.len() + self.pieces.iter().map(|piece| piece.text.len() + 64).sum::<usize>()
    }
}

impl Drop for Stored {
    /// Long chains are taken apart one by one: dropping them recursively would eat the stack.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(mut stored) = next.and_then(Arc::into_inner) {
            next = stored.parent.take();
        }
    }
}

#[derive(Debug, Default)]
struct Shelf {
    responses: HashMap<String, Arc<Stored>>,
    items: HashMap<String, String>,
    order: VecDeque<String>,
    bytes: usize,
}

impl Shelf {
    fn remove(&mut self, id: &str) -> bool {
        let Some(stored) = self.responses.remove(id) else {
            return false;
        };
        self.bytes -= stored.bytes();
        for item in &stored.item_ids {
            self.items.remove(item);
        }
        true
    }
}

/// All kept responses.
#[derive(Debug, Default)]
pub(crate) struct Store(Mutex<Shelf>);

impl Store {
    pub(crate) fn put(&self, stored: Stored) {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.bytes += stored.bytes();
        for item in &stored.item_ids {
            shelf.items.insert(item.clone(), stored.id.clone());
        }
        shelf.order.push_back(stored.id.clone());
        shelf.responses.insert(stored.id.clone(), Arc::new(stored));
        while shelf.order.len() > MOST || (shelf.bytes > MOST_BYTES && shelf.order.len() > 1) {
            let Some(oldest) = shelf.order.pop_front() else {
                break;
            };
            shelf.remove(&oldest);
        }
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Stored>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).responses.get(id).cloned()
    }

    pub(crate) fn has_item(&self, id: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).items.contains_key(id)
    }

    pub(crate) fn delete(&self, id: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }
}
