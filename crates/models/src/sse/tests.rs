use super::*;

fn read(pieces: &[&[u8]]) -> Vec<(String, String)> {
    let mut sse = Sse::default();
    let mut out = Vec::new();
    for piece in pieces {
        sse.push::<TooLong>(piece, &mut |frame| {
            out.push((frame.event.to_owned(), String::from_utf8_lossy(frame.data).into_owned()));
            Ok(())
        })
        .unwrap();
    }
    out
}

const STREAM: &str = "\u{feff}: hello\n\nevent: a\ndata: {\"x\":\"é𝄞\"}\n\n: ping\n\nevent: keepalive\n\ndata:one\ndata: two\nid: 7\nretry: 5\n\n\
                      data\n\nevent: b\nevent: c\ndata:  padded\n\ndata: [DONE]\n\n";

fn expected() -> Vec<(String, String)> {
    [("a", "{\"x\":\"é𝄞\"}"), ("", "one\ntwo"), ("", ""), ("c", " padded"), ("", "[DONE]")]
        .map(|(event, data)| (event.to_owned(), data.to_owned()))
        .into()
}

#[test]
fn every_split_in_two_reads_the_same() {
    for eol in ["\n", "\r\n", "\r"] {
        let stream = STREAM.replace('\n', eol);
        let bytes = stream.as_bytes();
        for cut in 0..=bytes.len() {
            assert_eq!(read(&[&bytes[..cut], &bytes[cut..]]), expected(), "{eol:?} cut at {cut}");
        }
    }
}

#[test]
fn single_bytes_read_the_same() {
    for eol in ["\n", "\r\n", "\r"] {
        let stream = STREAM.replace('\n', eol);
        let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        assert_eq!(read(&bytes), expected(), "{eol:?}");
    }
}

#[test]
fn an_event_without_its_blank_line_is_not_handed_on() {
    assert_eq!(read(&[b"data: {}\n"]), []);
    assert_eq!(read(&[b"data: {}"]), []);
}

#[test]
fn a_line_without_end_is_refused_at_the_limit() {
    let mut sse = Sse::default();
    let piece = vec![b'x'; 1 << 20];
    let mut outcome = Ok(());
    for _ in 0..70 {
        outcome = sse.push::<TooLong>(&piece, &mut |_| Ok(()));
        if outcome.is_err() {
            break;
        }
    }
    assert_eq!(outcome, Err(TooLong::Event));
}

#[test]
fn an_event_of_many_lines_is_refused_at_the_limit() {
    let mut sse = Sse::default();
    let mut piece = b"data: ".to_vec();
    piece.extend(vec![b'x'; 1 << 20]);
    piece.push(b'\n');
    let outcome = (0..70).try_for_each(|_| sse.push::<TooLong>(&piece, &mut |_| Ok(())));
    assert_eq!(outcome, Err(TooLong::Event));
}

#[test]
fn a_stream_without_end_is_refused_at_the_limit() {
    let mut sse = Sse::default();
    let mut piece = vec![b':'; 1 << 20];
    piece.push(b'\n');
    let outcome = (0..300).try_for_each(|_| sse.push::<TooLong>(&piece, &mut |_| Ok(())));
    assert_eq!(outcome, Err(TooLong::Stream));
}
