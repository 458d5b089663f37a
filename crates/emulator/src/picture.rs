//! Images in a request: counted, and refused as the real service refuses what is none. Their pixels are never looked at.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::refusal::Refusal;
use crate::responses::fields::{Name, parse};

/// What an image counts as, whatever its size.
pub(crate) const IMAGE_TOKENS: u64 = 1_000;

/// How the formats begin, by the media type that a data URL claims.
const FORMATS: [(&str, &[u8]); 4] =
    [("image/png", b"\x89PNG\r\n\x1a\n"), ("image/jpeg", b"\xff\xd8\xff"), ("image/gif", b"GIF8"), ("image/webp", b"RIFF")];
const DETAILS: [&str; 4] = ["low", "high", "auto", "original"];

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Name<'a>>,
    #[serde(borrow)]
    image_url: Option<&'a RawValue>,
    #[serde(borrow)]
    file_id: Option<Name<'a>>,
    #[serde(borrow)]
    detail: Option<Name<'a>>,
}

#[derive(Deserialize)]
struct Url<'a> {
    #[serde(borrow)]
    url: Name<'a>,
    #[serde(borrow)]
    detail: Option<Name<'a>>,
}

/// The images among the parts of a message or an output; a string has none.
pub(crate) fn count(raw: &RawValue, param: &str) -> Result<u64, Refusal> {
    if !raw.get().starts_with('[') || !(raw.get().contains("input_image") || raw.get().contains("image_url")) {
        return Ok(0);
    }
    let parts: Vec<Part<'_>> = parse(raw, param)?;
    let mut images = 0;
    for (at, part) in parts.iter().enumerate() {
        let param = format!("{param}[{at}].image_url");
        let missing = || Refusal::bad(&param, format!("Missing required parameter: '{param}'.")).code("missing_required_parameter");
        match part.kind.as_ref().map(|kind| kind.0.as_ref()) {
            Some("input_image") => {
                check_detail(part.detail.as_ref(), &param)?;
                match (part.image_url.filter(|raw| raw.get() != "null"), &part.file_id) {
                    (Some(url), _) => check_url(&parse::<Name<'_>>(url, &param)?.0, &param)?,
                    (None, Some(_)) => {}
                    (None, None) => return Err(missing()),
                }
            }
            Some("image_url") => {
                let url: Url<'_> = parse(part.image_url.ok_or_else(missing)?, &param)?;
                check_detail(url.detail.as_ref(), &param)?;
                check_url(&url.url.0, &param)?;
            }
            _ => continue,
        }
        images += 1;
    }
    Ok(images)
}

fn check_detail(detail: Option<&Name<'_>>, param: &str) -> Result<(), Refusal> {
    match detail.map(|detail| &detail.0) {
        Some(word) if !DETAILS.contains(&word.as_ref()) => {
            Err(Refusal::bad(param, format!("Invalid detail: '{word}'. Supported values are: {DETAILS:?}.")).code("invalid_value"))
        }
        _ => Ok(()),
    }
}

/// An address is believed; data must be an image of the type it claims to be.
fn check_url(url: &str, param: &str) -> Result<(), Refusal> {
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(());
    }
    let bad = |message: &str, code: &str| Err(Refusal::bad(param, message).code(code));
    let Some((kind, data)) = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) else {
        return bad("Expected an https URL or a base64-encoded data URL with an image MIME type.", "invalid_image_url");
    };
    let Some((_, begins)) = FORMATS.iter().find(|(known, _)| *known == kind) else {
        return bad("Unsupported image: use png, jpeg, gif or webp.", "unsupported_image_media_type");
    };
    match STANDARD.decode(data) {
        Err(_) => bad("The image data is no base64.", "invalid_base64_image"),
        Ok(bytes) if bytes.is_empty() => bad("The image is empty.", "empty_image_file"),
        Ok(bytes) if !bytes.starts_with(begins) => bad("The image data you provided does not represent a valid image.", "invalid_image"),
        Ok(_) => Ok(()),
    }
}
