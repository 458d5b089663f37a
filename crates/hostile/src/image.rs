//! Images: taken or refused by their header, within the limits, and never changed.

use brigade_kernel::image::{MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS, MAX_IMAGE_SIDE};
use brigade_tools::judge_image;

pub fn law(bytes: &[u8]) {
    match judge_image(bytes.to_vec()) {
        Ok((image, kept)) => {
            assert_eq!(&*kept, bytes, "the bytes are passed on as they came");
            assert!(image.bytes == bytes.len() as u64 && image.bytes <= MAX_IMAGE_BYTES);
            assert!((1..=MAX_IMAGE_SIDE).contains(&image.width) && (1..=MAX_IMAGE_SIDE).contains(&image.height), "{image}");
            assert!(u64::from(image.width) * u64::from(image.height) <= MAX_IMAGE_PIXELS, "{image}");
        }
        Err(why) => crate::said(&why),
    }
}
