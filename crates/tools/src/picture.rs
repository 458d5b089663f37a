//! Images that a model may be shown: judged by their header, never decoded, never changed.

use std::sync::Arc;

use brigade_kernel::image::{Image, MAX_CALL_IMAGE_BYTES, MAX_CALL_IMAGES, MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS, MAX_IMAGE_SIDE, MediaType};
use imagesize::ImageType;

use crate::files;
use crate::gate::{Hash, Refusal, RelPath, Scope};
use crate::view::View;

/// An image and its bytes.
pub type Picture = (Image, Arc<[u8]>);

/// Takes in an image within limits; the reason completes "NAME …".
///
/// # Errors
/// What it is instead, or which limit it passes, and what to do.
pub fn judge(bytes: Vec<u8>) -> Result<Picture, String> {
    let size = bytes.len() as u64;
    if size > MAX_IMAGE_BYTES {
        return Err(too_large(size));
    }
    let media_type = match imagesize::image_type(&bytes) {
        Ok(ImageType::Png) => MediaType::Png,
        Ok(ImageType::Jpeg) => MediaType::Jpeg,
        Ok(ImageType::Gif) => MediaType::Gif,
        Ok(ImageType::Webp) => MediaType::Webp,
        _ => return Err("is no image by its content; PNG, JPEG, GIF and WebP are taken".to_owned()),
    };
    let broken = || format!("begins like {media_type} and has no readable size; save it anew");
    let dimensions = imagesize::blob_size(&bytes).map_err(|_| broken())?;
    let side = |pixels: usize| u32::try_from(pixels).ok().filter(|pixels| *pixels > 0).ok_or_else(broken);
    let (width, height) = (side(dimensions.width)?, side(dimensions.height)?);
    let pixels = u64::from(width) * u64::from(height);
    if width.max(height) > MAX_IMAGE_SIDE || pixels > MAX_IMAGE_PIXELS {
        return Err(format!(
            "has {width} x {height} pixels; at most {MAX_IMAGE_SIDE} a side and {MAX_IMAGE_PIXELS} in all are taken: scale it down"
        ));
    }
    let image = Image { blob: Hash::of(&bytes).to_string(), media_type, width, height, bytes: size };
    Ok((image, bytes.into()))
}

fn too_large(size: u64) -> String {
    format!("has {size} bytes, an image may have {MAX_IMAGE_BYTES}: scale it down, or save it as JPEG")
}

/// An image of the workspace.
///
/// # Errors
/// In words that name the path.
pub(crate) fn read(view: &View, scope: &Scope, path: &str) -> Result<Picture, String> {
    let path = RelPath::new(path).map_err(|e| e.to_string())?;
    let opened = view.root().open_read(scope, &path).map_err(|e| files::hint(view, scope, e))?;
    if opened.bytes > MAX_IMAGE_BYTES {
        return Err(format!("{path} {}", too_large(opened.bytes)));
    }
    let bytes = opened.read_all(&path, MAX_IMAGE_BYTES).map_err(|e: Refusal| e.to_string())?;
    judge(bytes).map_err(|why| format!("{path} {why}"))
}

/// The images that paths and globs name, in the order they are named, each once.
///
/// # Errors
/// A name that no image answers to, or more of them than a call may show.
pub fn pictures(view: &View, scope: &Scope, names: &[String]) -> Result<Vec<(String, Picture)>, String> {
    let mut found: Vec<(String, Picture)> = Vec::new();
    let mut total = 0;
    for name in names {
        let literal = !name.contains(['*', '?', '[', '{']);
        let paths = if literal {
            vec![name.clone()]
        } else {
            let (listed, _) = files::list(view, scope, None, Some(name), usize::MAX)?;
            listed.lines().map(str::to_owned).collect()
        };
        if paths.is_empty() {
            return Err(format!("no file that may be read matches {name:?}"));
        }
        for path in paths {
            if found.iter().any(|(known, _)| *known == path) {
                continue;
            }
            if found.len() == MAX_CALL_IMAGES {
                return Err(format!("{name:?} and the names before it match more than {MAX_CALL_IMAGES} files, the most a call shows"));
            }
            let picture = read(view, scope, &path)?;
            total += picture.0.bytes;
            if total > MAX_CALL_IMAGE_BYTES {
                return Err(format!(
                    "{path} makes {total} bytes of images, a call takes {MAX_CALL_IMAGE_BYTES}: show fewer, or smaller ones"
                ));
            }
            found.push((path, picture));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PNG's signature and header, and nothing behind them: a bomb has no more.
    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        bytes.extend([8, 6, 0, 0, 0, 0, 0, 0, 0]);
        bytes
    }

    #[test]
    fn an_image_is_told_by_its_content_and_its_size_by_its_header() {
        let gif = [&b"GIF89a"[..], &[3, 0, 2, 0, 0, 0, 0]].concat();
        let webp = [&b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f"[..], &[0x04, 0x40, 0x00, 0x00], &[0; 8]].concat();
        let jpeg =
            b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xff\xc0\0\x11\x08\0\x07\0\x09\x03\x01\x22\0\x02\x11\x01\x03\x11\x01"
                .to_vec();
        for (bytes, kind, size) in [
            (png(640, 480), MediaType::Png, (640, 480)),
            (gif, MediaType::Gif, (3, 2)),
            (webp, MediaType::Webp, (5, 2)),
            (jpeg, MediaType::Jpeg, (9, 7)),
        ] {
            let (image, kept) = judge(bytes.clone()).expect("an image");
            assert_eq!((image.media_type, (image.width, image.height)), (kind, size));
            assert_eq!((image.bytes, &*kept), (bytes.len() as u64, &*bytes));
        }
    }

    #[test]
    fn bombs_and_what_is_no_image_are_refused_by_limit_and_remedy() {
        for (bytes, words) in [
            (png(100_000, 100_000), "100000 x 100000 pixels"),
            (png(8_000, 8_000), "24000000 in all"),
            (png(0, 10), "no readable size"),
            (png(1, 1)[..20].to_vec(), "no readable size"),
            (vec![0; MAX_IMAGE_BYTES as usize + 1], "3750001 bytes"),
            (b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>".to_vec(), "no image by its content"),
            (b"BM\0\0\0\0\0\0\0\0".to_vec(), "no image by its content"),
            (Vec::new(), "no image by its content"),
        ] {
            let why = judge(bytes).expect_err(words);
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn no_bytes_whatsoever_break_the_reader() {
        let heads = [png(9, 9), b"GIF89a".to_vec(), b"\xff\xd8\xff".to_vec(), b"RIFF\0\0\0\0WEBPVP8 ".to_vec()];
        let mut seed = 7_u32;
        for n in 0..4_000 {
            let mut bytes = heads[n % 4].clone();
            for _ in 0..n % 97 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                bytes.push((seed >> 24) as u8);
            }
            let _ = judge(bytes);
        }
    }
}
