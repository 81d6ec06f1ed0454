//! Frames as clients write them, rightly and wrongly, in pieces of any size.

use proptest::prelude::*;

use super::*;

/// What came of a stream, in words.
#[derive(Default)]
struct Heard {
    messages: Vec<String>,
    /// How many frames are allowed.
    frames: Option<usize>,
    /// Every message is to be waited after.
    waits: bool,
}

impl Receiver for Heard {
    fn admits(&mut self, _: usize) -> bool {
        match &mut self.frames {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
            None => true,
        }
    }

    fn receive(&mut self, message: Message<'_>) -> Next {
        let is_close = message == Message::Close;
        self.messages.push(match message {
            Message::Text(text) => format!("text {text}"),
            Message::Binary(bytes) => format!("binary {bytes:?}"),
            Message::Ping(bytes) => format!("ping {}", String::from_utf8_lossy(bytes)),
            Message::Pong => "pong".into(),
            Message::Close => "close".into(),
        });
        match self.waits {
            _ if is_close => Next::Nothing,
            true => Next::Wait,
            false => Next::More,
        }
    }
}

/// A client's frame.
pub(crate) fn masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut bytes = frame(Opcode::Text, payload);
    bytes[0] = first;
    bytes[1] |= 0x80;
    let header = bytes.len() - payload.len();
    let mut payload = payload.to_vec();
    unmask(&mut payload, mask);
    [&bytes[..header], &mask, &payload].concat()
}

const MASK: [u8; 4] = [1, 2, 3, 250];

fn feed(stream: &[u8], piece: usize, limit: usize) -> (Heard, Result<(), FrameError>, Decoder) {
    let (mut heard, mut decoder) = (Heard::default(), Decoder::default());
    for piece in stream.chunks(piece.max(1)) {
        if let Err(error) = decoder.feed(&mut piece.to_vec(), limit, &mut heard) {
            return (heard, Err(error), decoder);
        }
        // Nothing is read any more behind a Close frame.
        if heard.messages.last().is_some_and(|last| last == "close") {
            break;
        }
    }
    (heard, Ok(()), decoder)
}

fn hears(stream: &[u8], limit: usize) -> Result<Vec<String>, FrameError> {
    let (heard, result, _) = feed(stream, usize::MAX, limit);
    result.map(|()| heard.messages)
}

#[test]
fn messages_arrive_whole_however_they_were_cut() {
    let stream = [
        masked(0x81, b"one", MASK),
        masked(0x01, b"tw", [0; 4]),
        masked(0x89, b"in between", MASK),
        masked(0x80, "o\u{e9}".as_bytes(), MASK),
        masked(0x82, &[7; 300], MASK),
        masked(0x8A, b"", MASK),
        masked(0x82, b"", MASK),
    ]
    .concat();
    let expected = hears(&stream, 1000).unwrap();
    assert_eq!(expected[..3], ["text one", "ping in between", "text two\u{e9}"]);
    assert_eq!(expected[4..], ["pong", "binary []"]);
    for piece in 1..stream.len() {
        let (heard, result, decoder) = feed(&stream, piece, 1000);
        assert_eq!((heard.messages, result), (expected.clone(), Ok(())), "in pieces of {piece}");
        assert_eq!(decoder.held(), 0, "what is finished is not kept");
    }
}

#[test]
fn nothing_after_a_close_is_read() {
    let stream = [masked(0x88, &[3, 232], MASK), masked(0x81, b"late", MASK)].concat();
    assert_eq!(hears(&stream, 100).unwrap(), ["close"]);
}

#[test]
fn what_the_protocol_forbids_is_refused() {
    let unmasked = frame(Opcode::Text, b"x");
    let long_length = [&[0x81, 0x80 | 126, 0, 5][..], &[0; 9]].concat();
    let huge_length = [&[0x81, 0x80 | 127][..], &[0xFF; 8], &[0; 4]].concat();
    let not_shortest = [&[0x81, 0x80 | 127][..], &300_u64.to_be_bytes(), &[0; 304]].concat();
    let cases: [(Vec<u8>, FrameError); 13] = [
        (unmasked, FrameError::Unmasked),
        (masked(0xC1, b"", MASK), FrameError::Reserved),
        (masked(0x83, b"", MASK), FrameError::Reserved),
        (masked(0x8B, b"", MASK), FrameError::Reserved),
        (masked(0x09, b"", MASK), FrameError::Control),
        (masked(0x89, &[0; 126], MASK), FrameError::Control),
        (masked(0x80, b"x", MASK), FrameError::Fragment),
        ([masked(0x01, b"x", MASK), masked(0x81, b"y", MASK)].concat(), FrameError::Fragment),
        (masked(0x81, &[0xFF, 0xFE], MASK), FrameError::Text),
        (masked(0x81, &[b'x'; 101], MASK), FrameError::TooLarge),
        (huge_length, FrameError::TooLarge),
        (long_length, FrameError::Length),
        (not_shortest, FrameError::Length),
    ];
    for (stream, expected) in cases {
        assert_eq!(hears(&stream, 100).unwrap_err(), expected, "{:?}", &stream[..2]);
    }
    let pieces: Vec<u8> = [masked(0x01, &[b'x'; 60], MASK), masked(0x80, &[b'x'; 60], MASK)].concat();
    assert_eq!(hears(&pieces, 100), Err(FrameError::TooLarge), "the sum of the pieces counts");
}

#[test]
fn a_frame_that_is_not_allowed_is_not_looked_at() {
    let stream = [masked(0x81, b"one", MASK), masked(0x81, &[0xFF], MASK)].concat();
    let mut heard = Heard { frames: Some(1), ..Heard::default() };
    let result = Decoder::default().feed(&mut stream.clone(), 100, &mut heard);
    assert_eq!((heard.messages.len(), result), (1, Err(FrameError::TooFast)));
}

#[test]
fn what_has_to_wait_is_received_when_the_decoder_is_fed_again() {
    let mut stream = [masked(0x81, b"one", MASK), masked(0x81, b"two", MASK), masked(0x81, b"three", MASK)].concat();
    let (mut heard, mut decoder) = (Heard { waits: true, ..Heard::default() }, Decoder::default());
    decoder.feed(&mut stream, 100, &mut heard).unwrap();
    for count in 1..=3 {
        assert_eq!(heard.messages.len(), count);
        decoder.feed(&mut [], 100, &mut heard).unwrap();
    }
    assert_eq!((heard.messages.len(), decoder.held()), (3, 0));
}

#[test]
fn an_unfinished_frame_holds_no_more_than_itself() {
    let stream = masked(0x82, &[1; 5000], MASK);
    let (_, _, decoder) = feed(&stream[..4000], 1000, 10_000);
    assert!((4000..=8000).contains(&decoder.held()), "{}", decoder.held());
}

#[test]
fn our_headers_are_the_shortest() {
    for (length, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
        let bytes = frame(Opcode::Binary, &vec![0; length]);
        assert_eq!(bytes.len() - length, header);
        // Read back as a client's would be.
        let read = hears(&masked(0x82, &vec![0; length], MASK), 100_000).unwrap();
        assert_eq!(read.len(), 1);
    }
}

proptest! {
    /// Whatever is sent, it is read or refused the same way in any pieces, and nothing is held without need.
    #[test]
    fn any_bytes_in_any_pieces(stream in prop::collection::vec(any::<u8>(), 0..300), piece in 1_usize..40) {
        let whole = feed(&stream, usize::MAX, 100);
        let pieces = feed(&stream, piece, 100);
        prop_assert_eq!(whole.1, pieces.1);
        if whole.1.is_ok() {
            prop_assert_eq!(whole.0.messages, pieces.0.messages);
        }
        prop_assert!(pieces.2.held() <= 4 * (100 + MAX_HEADER + piece));
    }

    /// Valid frames in any pieces arrive as they were sent.
    #[test]
    fn any_messages_in_any_pieces(
        texts in prop::collection::vec("\\PC{0,40}", 1..8), cuts in prop::collection::vec(1_usize..50, 1..30), mask: [u8; 4],
    ) {
        let stream: Vec<u8> = texts.iter().flat_map(|text| masked(0x81, text.as_bytes(), mask)).collect();
        let (mut heard, mut decoder, mut rest) = (Heard::default(), Decoder::default(), &stream[..]);
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            decoder.feed(&mut piece.to_vec(), 1000, &mut heard).unwrap();
            rest = after;
            if rest.is_empty() { break }
        }
        let expected: Vec<String> = texts.iter().map(|text| format!("text {text}")).collect();
        prop_assert_eq!(heard.messages, expected);
        prop_assert_eq!(decoder.held(), 0);
    }
}
