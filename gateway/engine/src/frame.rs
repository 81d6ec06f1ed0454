//! Websocket frames (RFC 6455): the headers of our own, and the strict reading of what clients send.

/// Bytes of the longest header of a client's frame: two, eight of length, four of mask.
pub(crate) const MAX_HEADER: usize = 14;
/// The longest payload of a control frame (RFC 6455, section 5.5).
const MAX_CONTROL: usize = 125;

/// What a frame of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xA,
}

/// Appends the header of an unmasked, unfragmented frame.
pub(crate) fn write_header(to: &mut Vec<u8>, opcode: Opcode, length: usize) {
    to.push(0x80 | opcode as u8);
    if length < 126 {
        to.push(length as u8);
    } else if let Ok(length) = u16::try_from(length) {
        to.push(126);
        to.extend_from_slice(&length.to_be_bytes());
    } else {
        to.push(127);
        to.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

/// A whole frame of ours.
pub(crate) fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 10);
    write_header(&mut bytes, opcode, payload.len());
    bytes.extend_from_slice(payload);
    bytes
}

/// What a client did that RFC 6455 forbids, or that is more than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame with reserved bits or an unknown opcode")]
    Reserved,
    #[error("a frame without a mask")]
    Unmasked,
    #[error("a control frame that is too long or in pieces")]
    Control,
    #[error("a length that is not written in the shortest way")]
    Length,
    #[error("a continuation of nothing, or a message within another")]
    Fragment,
    #[error("a message that is larger than it may be")]
    TooLarge,
    #[error("a text that is not UTF-8")]
    Text,
    #[error("more frames or bytes than a connection may send")]
    TooFast,
    #[error("more than the node may hold for its connections")]
    Budget,
}

impl FrameError {
    /// The code of the Close frame that says so (RFC 6455, section 7.4.1).
    pub(crate) fn close_code(self) -> u16 {
        match self {
            Self::TooLarge => 1009,
            Self::Text => 1007,
            Self::TooFast | Self::Budget => 1008,
            Self::Reserved | Self::Unmasked | Self::Control | Self::Length | Self::Fragment => 1002,
        }
    }
}

/// A client's frame header.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    fin: bool,
    opcode: Opcode,
    mask: [u8; 4],
    /// Of the header itself, in bytes.
    size: usize,
    /// Of the payload, in bytes.
    length: usize,
}

impl Header {
    /// Reads a header; nothing if it is not there whole. `limit` is for the payload.
    fn read(bytes: &[u8], limit: usize) -> Result<Option<Self>, FrameError> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(FrameError::Reserved);
        }
        let opcode = match first & 0x0F {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xA => Opcode::Pong,
            _ => return Err(FrameError::Reserved),
        };
        let (fin, short) = (first & 0x80 != 0, usize::from(second & 0x7F));
        if second & 0x80 == 0 {
            return Err(FrameError::Unmasked);
        }
        if opcode as u8 >= 0x8 && (!fin || short > MAX_CONTROL) {
            return Err(FrameError::Control);
        }
        let (length, least, rest) = match short {
            126 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), 126, rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), 0x1_0000, rest),
                None => return Ok(None),
            },
            short => (short as u64, 0, rest),
        };
        if length < least {
            return Err(FrameError::Length);
        }
        let length = usize::try_from(length).ok().filter(|length| *length <= limit).ok_or(FrameError::TooLarge)?;
        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        Ok(Some(Self { fin, opcode, mask: *mask, size: bytes.len() - rest.len(), length }))
    }
}

/// What a client sent, whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    Close,
}

/// Who takes what a [`Decoder`] finds.
pub(crate) trait Receiver {
    /// Whether another frame of so many bytes is allowed. Asked before anything is done for it.
    fn admits(&mut self, bytes: usize) -> bool;
    /// Takes a message, and says what becomes of those behind it.
    fn receive(&mut self, message: Message<'_>) -> Next;
}

/// What becomes of messages that were read together with one before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// They are received.
    More,
    /// They wait in the decoder until it is fed again.
    Wait,
    /// Nobody wants them: the connection is ending.
    Nothing,
}

/// Turns what is read from a connection into messages. Holds memory for an unfinished frame or message only.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The beginning of a frame whose rest has not come.
    partial: Vec<u8>,
    /// The pieces so far of a message that came in several frames, and whether it is text.
    message: Option<(bool, Vec<u8>)>,
}

impl Decoder {
    /// How many bytes it holds.
    pub(crate) fn held(&self) -> usize {
        self.partial.capacity() + self.message.as_ref().map_or(0, |(_, message)| message.capacity())
    }

    /// Takes what was read, and hands on the messages that are whole; `limit` is for each, in bytes. The input is
    /// unmasked in place.
    ///
    /// # Errors
    /// What the client did wrong; nothing after it means anything.
    pub(crate) fn feed(
        &mut self,
        input: &mut [u8],
        limit: usize,
        receiver: &mut impl Receiver,
    ) -> Result<(), FrameError> {
        if self.partial.is_empty() {
            let read = self.read(input, limit, receiver)?;
            self.partial.extend_from_slice(&input[read..]);
            return Ok(());
        }
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend_from_slice(input);
        let read = self.read(&mut bytes, limit, receiver)?;
        if read < bytes.len() {
            bytes.drain(..read);
            self.partial = bytes;
        }
        Ok(())
    }

    /// Hands on what is whole; returns how many bytes that took.
    fn read(&mut self, bytes: &mut [u8], limit: usize, receiver: &mut impl Receiver) -> Result<usize, FrameError> {
        let mut at = 0;
        while let Some(header) = Header::read(&bytes[at..], limit)? {
            let (start, end) = (at + header.size, at + header.size + header.length);
            let Some(payload) = bytes.get_mut(start..end) else { break };
            if !receiver.admits(header.size + header.length) {
                return Err(FrameError::TooFast);
            }
            unmask(payload, header.mask);
            let next = self.take(&header, payload, limit, receiver)?;
            at = end;
            match next {
                Next::More => {}
                Next::Wait => break,
                Next::Nothing => return Ok(bytes.len()),
            }
        }
        Ok(at)
    }

    fn take(
        &mut self,
        header: &Header,
        payload: &[u8],
        limit: usize,
        receiver: &mut impl Receiver,
    ) -> Result<Next, FrameError> {
        let is_text = match header.opcode {
            Opcode::Ping => return Ok(receiver.receive(Message::Ping(payload))),
            Opcode::Pong => return Ok(receiver.receive(Message::Pong)),
            Opcode::Close => return Ok(receiver.receive(Message::Close)),
            Opcode::Continuation => None,
            Opcode::Text => Some(true),
            Opcode::Binary => Some(false),
        };
        match (is_text, &mut self.message) {
            (Some(is_text), None) if header.fin => return whole(is_text, payload, receiver),
            (Some(is_text), None) => self.message = Some((is_text, payload.to_vec())),
            (None, Some((_, message))) => {
                if message.len() + payload.len() > limit {
                    return Err(FrameError::TooLarge);
                }
                message.extend_from_slice(payload);
            }
            (Some(_), Some(_)) | (None, None) => return Err(FrameError::Fragment),
        }
        match self.message.take() {
            Some((is_text, message)) if header.fin => whole(is_text, &message, receiver),
            unfinished => {
                self.message = unfinished;
                Ok(Next::More)
            }
        }
    }
}

fn whole(is_text: bool, payload: &[u8], receiver: &mut impl Receiver) -> Result<Next, FrameError> {
    let message = if is_text {
        Message::Text(std::str::from_utf8(payload).map_err(|_| FrameError::Text)?)
    } else {
        Message::Binary(payload)
    };
    Ok(receiver.receive(message))
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let (words, rest) = payload.as_chunks_mut::<4>();
    let word_mask = u32::from_ne_bytes(mask);
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ word_mask).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests;
