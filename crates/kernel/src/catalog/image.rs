//! The most tokens an image can count as: what its lease holds.
//!
//! Vendors count in three ways (OpenAI "Images and vision", Anthropic "Vision", Gemini "Image understanding", read 2026-11-21); a
//! model whose way is not known counts as the dearest of them does.
//! - Patches of 32 pixels, times a factor of the model, 2.46 at most. Vendors first shrink large images to a budget of patches; that
//!   is left out here. Anthropic's `width * height / 750` and 28-pixel patches (`/ 784`) stay below.
//! - Tiles of 512 pixels after shrinking: 85 and 170 for each, at most 8 of them.
//! - Tiles of 768 pixels, 258 for each.

use super::Model;

const PATCH: u64 = 32;
/// Hundredths.
const PATCH_FACTOR: u64 = 246;
/// 85 + 8 * 170.
const SMALL_TILES: u64 = 1_445;
const LARGE_TILE: u64 = 768;
const LARGE_TILE_TOKENS: u64 = 258;

impl Model {
    /// No more tokens than this for an image of that size at detail `high`.
    pub fn image_tokens(&self, width: u32, height: u32) -> u64 {
        self.image_tokens.unwrap_or_else(|| most(width, height))
    }
}

fn most(width: u32, height: u32) -> u64 {
    let cut = |side: u64| u64::from(width).div_ceil(side) * u64::from(height).div_ceil(side);
    let patches = (cut(PATCH) * PATCH_FACTOR).div_ceil(100);
    patches.max(SMALL_TILES).max(cut(LARGE_TILE) * LARGE_TILE_TOKENS)
}

#[cfg(test)]
mod tests {
    use super::most;

    #[test]
    fn the_bound_is_above_what_was_really_billed() {
        // Measured at the API, by callers who published it: 1024 x 1024 on a model of factor 1.2, and 2048 x 768.
        assert!(most(1024, 1024) >= 1_229 && most(2048, 768) >= 1_844);
        // 2048 x 2048 is 8 tiles of 512 at the most after shrinking; 1 x 1 is at least one of them.
        assert!(most(1, 1) >= 85 + 170 && most(2048, 2048) >= 1_445);
        for (w, h) in [(200, 200), (1000, 1000), (1092, 1092), (1920, 1080), (3840, 2160), (8000, 3000)] {
            assert!(most(w, h) >= u64::from(w) * u64::from(h) / 750, "{w}x{h}");
        }
        assert_eq!(most(8000, 1), 11 * 258);
    }
}
