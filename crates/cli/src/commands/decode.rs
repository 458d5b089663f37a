//! `brigade decode`: a recorded answer of a model API, said in one JSON object.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use brigade_models::Decoder;

use crate::exit::{Exit, Failure};
use crate::screen;

/// Decode a recorded answer: an event stream, a JSON body, or an error body.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The recording; `-` reads it from standard input
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
}

/// Does it. The recording is never held whole: the decoder takes it piece by piece.
///
/// # Errors
/// Exit 2 when there is nothing to read.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let unreadable = |e: std::io::Error| Failure::usage(format!("cannot read {}: {e}", args.file.display()));
    let mut from: Box<dyn Read> = match args.file.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => Box::new(File::open(&args.file).map_err(unreadable)?),
    };
    let mut decoder = Decoder::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        match from.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => decoder.push(&piece[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(unreadable(e)),
        }
    }
    let decoded = decoder.finish();
    screen::print(&screen::json_line(&decoded));
    Ok(if decoded.error.is_some() { Exit::Failed } else { Exit::Done })
}
