//! An image as everybody names it: by the hash of its bytes. The journal keeps the bytes, events hold the name,
//! a call carries both. Nothing here decodes a pixel.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Largest image taken, in bytes: what every vendor takes as base64 (Anthropic's limit, the tightest, is 5 MB of it or 3.75 MB of these).
pub const MAX_IMAGE_BYTES: u64 = 3_750_000;
/// Longest side taken, in pixels (Anthropic's limit).
pub const MAX_IMAGE_SIDE: u32 = 8_000;
/// Most pixels taken: a small file may unfold into a huge picture, and somebody has to hold it.
pub const MAX_IMAGE_PIXELS: u64 = 24_000_000;
/// Most images of one call: with more, Anthropic's limit on sides shrinks to 2,000 pixels.
pub const MAX_CALL_IMAGES: usize = 20;
/// Most bytes of images of one call: as base64 they stay below the 32 MB of a request that every vendor takes.
pub const MAX_CALL_IMAGE_BYTES: u64 = 20_000_000;

/// An image on record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Image {
    /// Hash of its bytes in the journal.
    pub blob: String,
    /// What its content is, whatever its name says.
    pub media_type: MediaType,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Of the file.
    pub bytes: u64,
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} x {} pixels, {} bytes", self.media_type, self.width, self.height, self.bytes)
    }
}

/// The formats that every vendor takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum MediaType {
    #[serde(rename = "image/png")]
    Png,
    #[serde(rename = "image/jpeg")]
    Jpeg,
    #[serde(rename = "image/gif")]
    Gif,
    #[serde(rename = "image/webp")]
    Webp,
}

impl MediaType {
    /// As in a `Content-Type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The bytes of images, by the hash that names them. Never serialised: events hold names only.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Pictures(BTreeMap<String, Arc<[u8]>>);

impl Pictures {
    /// Adds an image's bytes.
    pub fn insert(&mut self, image: &Image, bytes: Arc<[u8]>) {
        self.0.insert(image.blob.clone(), bytes);
    }

    /// The bytes of an image, if they are at hand.
    pub fn get(&self, image: &Image) -> Option<&Arc<[u8]>> {
        self.0.get(&image.blob)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<[u8]>> {
        self.0.values()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Pictures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
