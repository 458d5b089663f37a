//! Images as every dialect takes them: a `data:` URL with the bytes in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use brigade_kernel::call::Call;
use brigade_kernel::image::Image;

/// Large images are shrunk by the vendor to a fixed budget; what a call is leased at (`catalog/image.rs`) allows for no more.
pub(crate) const DETAIL: &str = "high";
/// In place of an image whose bytes are not with the call.
pub(crate) const LOST: &str = "[an image that is not on record any more]";

/// An image of the call as a URL; `None` when its bytes were not put in.
pub(crate) fn data_url(call: &Call, image: &Image) -> Option<String> {
    let bytes = call.pictures.get(image)?;
    let mut url = format!("data:{};base64,", image.media_type);
    STANDARD.encode_string(bytes, &mut url);
    Some(url)
}
