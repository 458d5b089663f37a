//! Names that must not appear in a view's root (`.git`, `.brigade`) cannot be mounted over while
//! they are absent: an empty directory holds their place while commands run, and goes afterwards.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::SandboxError;

/// Placeholders of this process, and how many commands need each.
static HELD: Mutex<Option<HashMap<PathBuf, usize>>> = Mutex::new(None);

/// Keeps the placeholders of one command; dropping it removes those nobody else needs.
#[derive(Debug)]
pub(super) struct Placeholders(Vec<PathBuf>);

impl Placeholders {
    pub(super) fn hold(view: &Path, names: &[&str]) -> Result<Self, SandboxError> {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.get_or_insert_with(HashMap::new);
        let mut ours = Self(Vec::new());
        for name in names {
            let path = view.join(name);
            if let Some(count) = held.get_mut(&path) {
                *count += 1;
                ours.0.push(path);
                continue;
            }
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_symlink() => {
                    release(held, &mut ours.0);
                    return Err(SandboxError::Spec {
                        field: "view_dir",
                        value: path.display().to_string(),
                        remedy: "a symbolic link cannot be protected: replace it by the directory it points to",
                    });
                }
                Ok(_) => {}
                Err(_) => match fs::create_dir(&path) {
                    Ok(()) => {
                        held.insert(path.clone(), 1);
                        ours.0.push(path);
                    }
                    // Another process of this user made it just now: then it is there to be protected.
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                    Err(error) => {
                        release(held, &mut ours.0);
                        return Err(SandboxError::Io { what: "hold the place of a protected name", source: error });
                    }
                },
            }
        }
        Ok(ours)
    }
}

fn release(held: &mut HashMap<PathBuf, usize>, paths: &mut Vec<PathBuf>) {
    for path in paths.drain(..) {
        if let Some(count) = held.get_mut(&path) {
            *count -= 1;
            if *count == 0 {
                held.remove(&path);
                // Only ever an empty directory; anything else stays.
                let _ = fs::remove_dir(&path);
            }
        }
    }
}

impl Drop for Placeholders {
    fn drop(&mut self) {
        // Also on the way out of `hold`, which still has the lock and has released all.
        if self.0.is_empty() {
            return;
        }
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        release(held.get_or_insert_with(HashMap::new), &mut self.0);
    }
}
