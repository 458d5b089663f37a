//! MB/s of framing and of full decode on one core, over the recorded streams.
//!
//! `BRIGADE_DATA=DIR cargo bench -p brigade-models`; without the data, the committed few are used.

use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Instant;

use brigade_models::decode;
use brigade_models::sse::{Sse, TooLong};
use serde_json::Value;

fn streams() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let data = std::env::var_os("BRIGADE_DATA").map_or_else(|| root.join("../../../shared/data"), PathBuf::from);
    let mut lines: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(data.join("responses-recordings")).into_iter().flatten() {
        let path = entry.expect("the folder can be read").path();
        if path.extension().is_some_and(|ext| ext == "gz") {
            let file = std::fs::File::open(path).expect("the file can be read");
            lines.extend(BufReader::new(flate2::read::GzDecoder::new(file)).lines().map(|line| line.expect("gzip of UTF-8")));
        }
    }
    if lines.is_empty() {
        let few = std::fs::read_to_string(root.join("tests/recordings/few.jsonl")).expect("committed");
        lines.extend(few.lines().map(str::to_owned));
    }
    let sse = |line: &String| {
        let row: Value = serde_json::from_str(line).expect("a JSON line");
        row["sse"].as_str().map(|sse| sse.as_bytes().to_vec())
    };
    lines.iter().filter_map(sse).collect()
}

fn measure(name: &str, bytes: usize, mut run: impl FnMut()) {
    run();
    let mut best = f64::INFINITY;
    for _ in 0..20 {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
    }
    report(&format!("{name}: {:.0} MB/s", bytes as f64 / best / 1e6));
}

#[expect(clippy::print_stdout, reason = "a bench is its output")]
fn report(line: &str) {
    println!("{line}");
}

fn main() {
    let streams = streams();
    let bytes: usize = streams.iter().map(Vec::len).sum();
    report(&format!("{} streams, {bytes} bytes", streams.len()));
    for piece in [usize::MAX, 16 << 10, 1_400] {
        let label = if piece == usize::MAX { "whole".to_owned() } else { format!("pieces of {piece}") };
        measure(&format!("framing, {label}"), bytes, || {
            for stream in &streams {
                let mut sse = Sse::default();
                for piece in stream.chunks(piece.min(stream.len().max(1))) {
                    let read = sse.push::<TooLong>(piece, &mut |frame| {
                        black_box(frame);
                        Ok(())
                    });
                    black_box(read).expect("recordings keep to the limits");
                }
            }
        });
    }
    measure("full decode", bytes, || {
        for stream in &streams {
            black_box(decode(stream));
        }
    });
}
