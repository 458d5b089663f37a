//! Recorded answers of the Responses API decode to what their recorders wrote down, for every split of the bytes.
//!
//! The few in `tests/recordings` always run; the rest when `BRIGADE_DATA` (or `../shared/data` beside the
//! workspace) has them. `BRIGADE_CUTS` sets the number of random splits of each (default 10, of up to 8 cuts).

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test says what went wrong by failing")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use brigade_kernel::call::ErrorClass;
use brigade_models::{Decoded, Decoder, decode};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

struct Recording {
    id: String,
    bytes: Vec<u8>,
    stream: bool,
    expected: Value,
}

fn parse(line: &str) -> Recording {
    let row: Value = serde_json::from_str(line).unwrap();
    let bytes = row["sse"].as_str().map_or_else(|| row["json"].to_string().into_bytes(), |sse| sse.as_bytes().to_vec());
    Recording { id: row["id"].as_str().unwrap().to_owned(), bytes, stream: row["stream"] == true, expected: row["expected"].clone() }
}

fn committed() -> Vec<Recording> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/few.jsonl");
    std::fs::read_to_string(file).unwrap().lines().map(parse).collect()
}

fn data() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    std::env::var_os("BRIGADE_DATA").map_or(default, PathBuf::from)
}

fn all() -> Vec<Recording> {
    let mut all = committed();
    let Ok(folder) = std::fs::read_dir(data().join("responses-recordings")) else {
        eprintln!("note: no responses-recordings in {}; only the committed few are tested", data().display());
        return all;
    };
    for entry in folder {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ext| ext == "gz") {
            let lines = BufReader::new(GzDecoder::new(std::fs::File::open(path).unwrap())).lines();
            all.extend(lines.map(|line| parse(&line.unwrap())));
        }
    }
    all
}

fn in_pieces(bytes: &[u8], cuts: &[usize]) -> Decoded {
    let mut decoder = Decoder::new();
    let mut from = 0;
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        decoder.push(&bytes[from..cut]);
        from = cut;
    }
    decoder.finish()
}

/// What `expected` says, in the words of [`Decoded`].
fn assert_as_expected(recording: &Recording, decoded: &Decoded) {
    let (id, expected) = (&recording.id, &recording.expected);
    if let Some(body) = expected.get("error_body") {
        let error = decoded.error.as_ref().unwrap_or_else(|| panic!("{id}: no error"));
        let got = json!({"code": error.code, "message": error.message, "param": error.param, "type": error.kind});
        assert_eq!(&got, body, "{id}");
        assert_eq!((&decoded.status, &decoded.text), (&None, &None), "{id}");
        return;
    }
    let Some(last) = expected.get("final") else {
        assert_eq!(decoded.error, None, "{id}");
        return;
    };
    let texts: String = last["messages"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    assert_eq!(decoded.text.as_deref(), Some(texts.as_str()), "{id}");
    assert_eq!(json!(decoded.status), last["status"], "{id}");
    assert_eq!(json!(decoded.model), last["model"], "{id}");
    assert_eq!(json!(decoded.items.iter().map(|item| &item.kind).collect::<Vec<_>>()), last["items"], "{id}");
    for (kind, list, field) in [("function_call", "function_calls", "arguments"), ("custom_tool_call", "custom_tool_calls", "input")] {
        let calls: Vec<Value> = decoded
            .items
            .iter()
            .filter(|item| item.kind == kind)
            .map(|item| json!({"call_id": item.call_id, "name": item.name, field: item.arguments}))
            .collect();
        assert_eq!(json!(calls), last[list], "{id}");
    }
    let usage = json!(decoded.usage);
    for (ours, theirs) in [
        ("input_tokens", "/usage/input_tokens"),
        ("output_tokens", "/usage/output_tokens"),
        ("cached_tokens", "/usage/input_tokens_details/cached_tokens"),
        ("cache_write_tokens", "/usage/input_tokens_details/cache_write_tokens"),
        ("reasoning_tokens", "/usage/output_tokens_details/reasoning_tokens"),
    ] {
        assert_eq!(usage.get(ours).unwrap_or(&Value::Null), last.pointer(theirs).unwrap_or(&Value::Null), "{id} {ours}");
    }
    let error = decoded.error.as_ref().map(|error| (error.code.clone(), error.message.clone()));
    let said = last.get("error").filter(|error| !error.is_null());
    let said = said.map(|error| (error["code"].as_str().map(str::to_owned), error["message"].as_str().unwrap().to_owned()));
    assert_eq!(error, said, "{id}");
}

/// A small generator: the same cuts in every run.
fn cuts(seed: u64, length: usize, count: usize) -> Vec<usize> {
    let mut state = seed;
    let mut cuts: Vec<usize> = (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % (length + 1)
        })
        .collect();
    cuts.sort_unstable();
    cuts
}

#[test]
fn every_recording_decodes_to_what_was_expected() {
    for recording in all() {
        assert_as_expected(&recording, &decode(&recording.bytes));
    }
}

#[test]
fn every_split_of_the_bytes_decodes_the_same() {
    let rounds: u64 = std::env::var("BRIGADE_CUTS").map_or(10, |count| count.parse().unwrap());
    for recording in all() {
        let whole = decode(&recording.bytes);
        let mut forms = vec![recording.bytes.clone()];
        if recording.stream {
            forms.push(String::from_utf8(recording.bytes.clone()).unwrap().replace('\n', "\r\n").into_bytes());
        }
        for bytes in forms {
            assert_eq!(decode(&bytes), whole, "{}", recording.id);
            // Single bytes are slow to push in a debug build: the second form of a long recording goes without.
            if bytes.len() == recording.bytes.len() || bytes.len() < 20_000 {
                let each: Vec<usize> = (1..bytes.len()).collect();
                assert_eq!(in_pieces(&bytes, &each), whole, "{} per byte", recording.id);
            }
            for round in 0..rounds {
                let cuts = cuts(round, bytes.len(), 1 + round as usize % 8);
                assert_eq!(in_pieces(&bytes, &cuts), whole, "{} at {cuts:?}", recording.id);
            }
        }
    }
}

#[test]
fn a_cut_at_any_byte_is_never_taken_for_the_whole() {
    for recording in all() {
        let end = recording.bytes.trim_ascii_end().len();
        // A file of several answers is whole after each of them.
        let several = recording.expected.pointer("/event_counts/response.completed").and_then(Value::as_u64) > Some(1);
        if several || (recording.bytes.len() > 30_000 && std::env::var_os("BRIGADE_CUTS").is_none()) {
            continue;
        }
        // Each byte of the last event, and a spread over the rest.
        let tail = end.saturating_sub(400);
        let spread = cuts(7, tail, 100);
        for cut in spread.into_iter().chain(tail..end + usize::from(recording.stream)) {
            let decoded = decode(&recording.bytes[..cut]);
            let Some(error) = &decoded.error else { panic!("{} cut at {cut} of {end} passed as whole", recording.id) };
            let resumable = error.class == ErrorClass::CutStream || (cut == 0 && error.class == ErrorClass::Garbage);
            // A stream that reported its failure before the cut has failed, cut or not.
            let failed = recording.id.contains("openai-error");
            assert!(resumable || failed, "{} cut at {cut}: {error:?}", recording.id);
            assert_eq!((&decoded.text, &decoded.usage), (&None, &None), "{} cut at {cut}", recording.id);
        }
    }
}
