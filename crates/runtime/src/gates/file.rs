//! The file in which the processes of a home share one gate: read, decided on and written under a lock.
//!
//! ```text
//!   magic │ boot (2) │ words (n) │ checksum │ n words of Gate::to_words
//! ```
//!
//! It is a hint, not a record: nothing is synced, and a file that is torn, of another boot or of another layout is a
//! gate that knows nothing. A process that is killed leaves it whole, for it is written in one piece.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use brigade_kernel::schedule::Gate;

const MAGIC: u64 = u64::from_be_bytes(*b"brgdgate");
const HEAD: usize = 5;
/// The largest gate: its members and what they share.
const MOST_WORDS: usize = 4_096;
/// The lock is held for microseconds; who holds it for longer was stopped in the middle.
const TRIES: u32 = 50;
const BETWEEN: Duration = Duration::from_micros(200);

/// An open gate file.
#[derive(Debug)]
pub(super) struct GateFile {
    file: File,
    boot: (u64, u64),
    bytes: Vec<u8>,
}

impl GateFile {
    pub(super) fn open(dir: &Path, name: &str, boot: (u64, u64)) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(dir.join(name))?;
        Ok(Self { file, boot, bytes: Vec::new() })
    }

    /// Takes the lock; `false` when somebody holds it for too long.
    fn lock(&self) -> io::Result<bool> {
        for _ in 0..TRIES {
            match self.file.try_lock() {
                Ok(()) => return Ok(true),
                Err(TryLockError::WouldBlock) => std::thread::sleep(BETWEEN),
                Err(TryLockError::Error(e)) => return Err(e),
            }
        }
        Ok(false)
    }

    /// Lets `act` change what the file holds; `None` when it cannot be had just now.
    pub(super) fn change<T>(&mut self, act: impl FnOnce(&mut Gate) -> T) -> io::Result<Option<T>> {
        if !self.lock()? {
            return Ok(None);
        }
        let done = self.read().and_then(|gate| {
            let mut gate = gate.unwrap_or_default();
            let result = act(&mut gate);
            self.write(&gate)?;
            Ok(Some(result))
        });
        self.file.unlock()?;
        done
    }

    fn read(&mut self) -> io::Result<Option<Gate>> {
        self.bytes.resize((HEAD + MOST_WORDS) * 8, 0);
        let mut length = 0;
        while length < self.bytes.len() {
            match self.file.read_at(&mut self.bytes[length..], length as u64)? {
                0 => break,
                n => length += n,
            }
        }
        let words: Vec<u64> =
            self.bytes[..length].chunks_exact(8).map(|eight| u64::from_le_bytes(eight.try_into().expect("eight bytes"))).collect();
        let Some((head, words)) = words.split_at_checked(HEAD) else { return Ok(None) };
        let count = usize::try_from(head[3]).unwrap_or(usize::MAX);
        let ours = (head[0], (head[1], head[2])) == (MAGIC, self.boot);
        Ok(words.get(..count).filter(|words| ours && checksum(words) == head[4]).and_then(Gate::from_words))
    }

    fn write(&mut self, gate: &Gate) -> io::Result<()> {
        let words = gate.to_words();
        let head = [MAGIC, self.boot.0, self.boot.1, words.len() as u64, checksum(&words)];
        self.bytes.clear();
        self.bytes.extend(head.iter().chain(&words).flat_map(|word| word.to_le_bytes()));
        self.file.write_all_at(&self.bytes, 0)
    }
}

/// FNV-1a over whole words: tells a torn file from a whole one.
fn checksum(words: &[u64]) -> u64 {
    words.iter().fold(0xcbf2_9ce4_8422_2325, |sum, word| (sum ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23))
}
