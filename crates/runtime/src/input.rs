//! Rows of `--input`: JSONL or CSV, read a few at a time, never all in memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use brigade_kernel::run::{InputFile, RowRead};
use brigade_kernel::view::preview::InputRows;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Longest row, in bytes.
const ROW_LIMIT: usize = 1 << 20;
/// Rows read at a time when they are only counted.
const MEASURED_AT_ONCE: u64 = 1_024;

/// Why the input cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The file cannot be opened or read.
    #[error("cannot read the input {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Neither `.jsonl`, `.ndjson` nor `.csv`.
    #[error("the input {0} is neither .jsonl (or .ndjson) nor .csv: rename it, or convert it")]
    Format(PathBuf),
    /// What was read before is not what the file begins with now.
    #[error("the input {0} has changed where rows were already read; start a new run (finished rows are not paid again)")]
    Changed(PathBuf),
    /// The CSV has no usable header.
    #[error("the input {path} has no usable CSV header: {reason}")]
    Header {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Reads the rows of one file in order; going back starts over.
#[derive(Debug)]
pub struct Rows {
    path: PathBuf,
    reader: Option<Reader>,
    next: u64,
}

enum Reader {
    Lines(BufReader<File>, u64),
    Csv(Box<csv::Reader<File>>, Vec<String>),
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Lines(..) => "Lines",
            Self::Csv(..) => "Csv",
        })
    }
}

/// Opens the input for a new run: its size and hash, to be compared when the run is resumed.
///
/// # Errors
/// [`InputError`].
pub fn describe(path: &Path) -> Result<InputFile, InputError> {
    format_of(path)?;
    let unreadable = |source| InputError::Unreadable { path: path.to_owned(), source };
    let absolute = path.canonicalize().map_err(unreadable)?;
    let bytes = std::fs::metadata(&absolute).map_err(unreadable)?.len();
    let sha256 = hash_of(&absolute, bytes).map_err(unreadable)?;
    Ok(InputFile { path: absolute.display().to_string(), bytes, sha256 })
}

/// Checks that the file still begins with what the run started on; it may have grown.
///
/// # Errors
/// [`InputError::Changed`].
pub fn recheck(input: &InputFile) -> Result<(), InputError> {
    let path = PathBuf::from(&input.path);
    let now = hash_of(&path, input.bytes).map_err(|source| InputError::Unreadable { path: path.clone(), source })?;
    if now == input.sha256 { Ok(()) } else { Err(InputError::Changed(path)) }
}

/// How many rows there are, and their bytes together; read through once.
///
/// # Errors
/// [`InputError`].
pub fn measure(path: &Path) -> Result<InputRows, InputError> {
    let unreadable = |source| InputError::Unreadable { path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    let (mut rows, mut from) = (Rows::new(path), 0);
    loop {
        match rows.read(from, MEASURED_AT_ONCE)? {
            (_, Some(count)) => return Ok(InputRows { count, bytes }),
            (read, None) => from += read.len() as u64,
        }
    }
}

fn hash_of(path: &Path, bytes: u64) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path)?.take(bytes);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

fn format_of(path: &Path) -> Result<bool, InputError> {
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("jsonl" | "ndjson") => Ok(false),
        Some("csv") => Ok(true),
        _ => Err(InputError::Format(path.to_owned())),
    }
}

impl Rows {
    /// The rows of a file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), reader: None, next: 0 }
    }

    /// Up to `count` rows from row `from` on, and the number of all rows once the end was seen.
    ///
    /// # Errors
    /// [`InputError`]; a row that cannot be read is a row with its reason instead.
    pub fn read(&mut self, from: u64, count: u64) -> Result<(Vec<RowRead>, Option<u64>), InputError> {
        if self.reader.is_none() || from < self.next {
            self.reader = Some(self.open()?);
            self.next = 0;
        }
        let mut rows = Vec::new();
        while self.next < from + count {
            let Some(item) = self.one()? else { return Ok((rows, Some(self.next))) };
            if self.next >= from {
                rows.push(RowRead { row: self.next, item: item.map(Arc::new), kept: Vec::new() });
            }
            self.next += 1;
        }
        Ok((rows, None))
    }

    fn open(&self) -> Result<Reader, InputError> {
        let unreadable = |source| InputError::Unreadable { path: self.path.clone(), source };
        let file = File::open(&self.path).map_err(unreadable)?;
        if !format_of(&self.path)? {
            return Ok(Reader::Lines(BufReader::with_capacity(1 << 16, file), 0));
        }
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
        let header = |reason: String| InputError::Header { path: self.path.clone(), reason };
        let names: Vec<String> =
            reader.headers().map_err(|e| header(e.to_string()))?.iter().map(|n| n.trim_start_matches('\u{feff}').to_owned()).collect();
        if names.is_empty() || names.iter().all(String::is_empty) {
            return Err(header("the first line names no column".to_owned()));
        }
        Ok(Reader::Csv(Box::new(reader), names))
    }

    /// The next row; `None` at the end.
    fn one(&mut self) -> Result<Option<Result<Value, String>>, InputError> {
        let unreadable = |source| InputError::Unreadable { path: self.path.clone(), source };
        match self.reader.as_mut().expect("opened by `read`") {
            Reader::Lines(reader, line_no) => loop {
                let mut line = Vec::new();
                let read = reader.by_ref().take(ROW_LIMIT as u64 + 1).read_until(b'\n', &mut line).map_err(unreadable)?;
                if read == 0 {
                    return Ok(None);
                }
                *line_no += 1;
                if read > ROW_LIMIT {
                    reader.skip_until(b'\n').map_err(unreadable)?;
                    return Ok(Some(Err(format!("line {line_no} is over {ROW_LIMIT} bytes"))));
                }
                let text = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line).trim_ascii();
                if !text.is_empty() {
                    return Ok(Some(serde_json::from_slice(text).map_err(|e| format!("line {line_no} is not JSON: {e}"))));
                }
            },
            Reader::Csv(reader, names) => {
                let mut record = csv::StringRecord::new();
                match reader.read_record(&mut record) {
                    Ok(false) => Ok(None),
                    Ok(true) if record.len() != names.len() => {
                        let line = record.position().map_or(0, csv::Position::line);
                        Ok(Some(Err(format!("line {line} has {} fields, the header has {}", record.len(), names.len()))))
                    }
                    Ok(true) => {
                        let fields: Map<String, Value> =
                            names.iter().cloned().zip(record.iter().map(|f| Value::String(f.to_owned()))).collect();
                        Ok(Some(Ok(Value::Object(fields))))
                    }
                    Err(e) => match e.into_kind() {
                        csv::ErrorKind::Io(source) => Err(unreadable(source)),
                        kind => Ok(Some(Err(format!("not readable as CSV: {kind:?}")))),
                    },
                }
            }
        }
    }
}
