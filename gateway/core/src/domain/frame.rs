//! A frame: an event made ready for clients, once per event and not once per receiver.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Event, Offset};

/// A named event with its arguments as every member of a room receives it.
///
/// Official clients take the last argument of any event for its offset, if it is a text. So a published event ends with
/// its offset, and every other event whose last argument is a text ends with a `null` behind it. A client that wants
/// events as they were published gets neither.
#[derive(Clone)]
pub struct Frame {
    /// The JSON array of the name and the arguments.
    text: String,
    /// What follows them for clients that read offsets: nothing, or a comma and values.
    ending: String,
    attachments: Vec<Bytes>,
    /// The number under which clients answer, if they are asked.
    question: Option<u64>,
    encoded: [OnceLock<Arc<dyn Any + Send + Sync>>; 2],
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("text", &self.text).field("ending", &self.ending).finish_non_exhaustive()
    }
}

impl Frame {
    /// The frame of a published event, or nothing if the record's arguments are not a JSON array.
    #[must_use]
    pub fn published(event: &Event, offset: Offset) -> Option<Self> {
        let (text, _) = joined(&event.name, &event.args_at(offset))?;
        Some(Self::new(text, format!(",\"{offset}\""), event.attachments.clone()))
    }

    /// The frame of a signal, or nothing if its arguments are not a JSON array.
    #[must_use]
    pub fn signalled(event: &Event) -> Option<Self> {
        let (text, ends_with_text) = joined(&event.name, &event.args)?;
        let ending = if ends_with_text { ",null" } else { "" };
        Some(Self::new(text, ending.to_owned(), event.attachments.clone()))
    }

    /// The frame of an event that clients are to answer under a number, or nothing if its arguments are not a JSON array. What
    /// official clients take for the last argument is then what they answer with, so nothing stands behind a text.
    #[must_use]
    pub fn question(event: &Event, number: u64) -> Option<Self> {
        let (text, _) = joined(&event.name, &event.args)?;
        Some(Self { question: Some(number), ..Self::new(text, String::new(), event.attachments.clone()) })
    }

    /// Under which number clients answer, if they are asked.
    #[must_use]
    pub fn answered_under(&self) -> Option<u64> {
        self.question
    }

    /// What the gateway itself tells a client: one argument that is an object, and the offset to which it moves the
    /// client's.
    ///
    /// # Panics
    /// If the argument does not serialise: a mistake in the code.
    #[must_use]
    pub fn notice(name: &str, argument: &impl Serialize, moves: Option<&str>) -> Self {
        let text = serde_json::to_string(&(name, argument)).expect("notices are plain structs");
        Self::new(text, moves.map(|offset| format!(",\"{offset}\"")).unwrap_or_default(), Vec::new())
    }

    fn new(text: String, ending: String, attachments: Vec<Bytes>) -> Self {
        Self { text, ending, attachments, question: None, encoded: Default::default() }
    }

    /// The same without effect on the client's offset: for events that are given out of the order of offsets.
    #[must_use]
    pub fn out_of_order(self) -> Self {
        Self::new(self.text, self.ending + ",null", self.attachments)
    }

    /// The JSON array of the name and the arguments, with what makes the client know the offset or without.
    #[must_use]
    pub fn text(&self, with_offset: bool) -> String {
        let (arguments, bracket) = self.text.split_at(self.text.len() - 1);
        let ending = if with_offset { &*self.ending } else { "" };
        [arguments, ending, bracket].concat()
    }

    /// To what it moves the offset of clients that hear it: a published event to its own.
    #[must_use]
    pub fn moves(&self) -> Option<&str> {
        self.ending.strip_prefix(",\"")?.strip_suffix('"')
    }

    /// Binary attachments; the arguments refer to them by placeholder.
    #[must_use]
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// What the edge makes of the text and the attachments, made for the first receiver and shared by all others. All must
    /// want the same of it.
    pub fn encoded<T: Any + Send + Sync>(
        &self,
        with_offset: bool,
        encode: impl Fn(&str, &[Bytes]) -> Arc<T>,
    ) -> Arc<T> {
        let make = || encode(&self.text(with_offset), &self.attachments);
        // Where nothing is added both are the same.
        let place = usize::from(with_offset && !self.ending.is_empty());
        let shared = self.encoded[place].get_or_init(|| make()).clone();
        shared.downcast().unwrap_or_else(|_| make())
    }

    /// How much it weighs, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.text.len() + self.ending.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }
}

/// A name and arguments as one JSON array, and whether the last of them is a text; nothing if the arguments are not a
/// JSON array.
fn joined(name: &str, args: &str) -> Option<(String, bool)> {
    let list: Vec<&RawValue> = serde_json::from_str(args).ok()?;
    let mut text = String::with_capacity(name.len() + args.len() + 4);
    text.push('[');
    text.push_str(&serde_json::to_string(name).ok()?);
    for arg in &list {
        text.push(',');
        text.push_str(arg.get());
    }
    text.push(']');
    Some((text, list.last().is_some_and(|last| last.get().starts_with('"'))))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn event(args: &str) -> Event {
        Event { name: "me\"ss".into(), args: args.into(), attachments: vec![], except: None, at_ms: 0 }
    }

    #[test]
    fn published_frames_end_with_the_offset_and_others_never_with_a_text() {
        let published = Frame::published(&event(r#"[{"a":1}, "x"]"#), Offset(12)).unwrap();
        assert_eq!(published.text(true), r#"["me\"ss",{"a":1},"x","12"]"#);
        assert_eq!(published.text(false), r#"["me\"ss",{"a":1},"x"]"#);
        assert_eq!((published.moves(), published.clone().out_of_order().moves()), (Some("12"), None));
        assert_eq!(published.clone().out_of_order().text(true), r#"["me\"ss",{"a":1},"x","12",null]"#);
        let signalled = |args| Frame::signalled(&event(args)).unwrap().text(true);
        assert_eq!(signalled(r#"[{"a":1}, "x"]"#), r#"["me\"ss",{"a":1},"x",null]"#);
        assert_eq!(signalled(r#"["x",{"a":1}]"#), r#"["me\"ss","x",{"a":1}]"#);
        assert_eq!(signalled("[ ]"), r#"["me\"ss"]"#);
        assert_eq!(Frame::notice("n", &[1], Some("7.1")).text(true), r#"["n",[1],"7.1"]"#);
        assert_eq!(Frame::notice("n", &[1], None).text(true), r#"["n",[1]]"#);
        assert!(Frame::published(&event("{}"), Offset(1)).is_none());
        let question = Frame::question(&event(r#"[1,"x"]"#), 7).unwrap();
        assert_eq!((question.text(true).as_str(), question.answered_under()), (r#"["me\"ss",1,"x"]"#, Some(7)));
    }

    #[test]
    fn each_form_is_encoded_once() {
        let count = AtomicUsize::new(0);
        let encode = |frame: &Frame, with_offset| {
            frame.encoded(with_offset, |text, _| {
                count.fetch_add(1, Ordering::Relaxed);
                Arc::new(text.to_owned())
            })
        };
        let frame = Frame::published(&event("[1]"), Offset(2)).unwrap();
        for _ in 0..3 {
            assert_eq!(*encode(&frame, true), r#"["me\"ss",1,"2"]"#);
            assert_eq!(*encode(&frame, false), r#"["me\"ss",1]"#);
        }
        assert_eq!(count.load(Ordering::Relaxed), 2);
        let signal = Frame::signalled(&event("[1]")).unwrap();
        assert_eq!((encode(&signal, true), encode(&signal, false)).0, encode(&signal, true));
        assert_eq!(count.load(Ordering::Relaxed), 3, "nothing is added: one form");
    }
}
