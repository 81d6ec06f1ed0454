//! A frame: an event made ready for clients, once per event and not once per receiver.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{Event, Offset};

/// A named event with its arguments, checked and split, as every member of a room receives it.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The event's name.
    pub name: String,
    /// The arguments in order, each one JSON text. The last is the offset as a string for published events
    /// and `null` for signals: official clients take a trailing string of any event for its offset.
    pub args: Vec<Box<RawValue>>,
    /// Binary attachments; the arguments refer to them by placeholder.
    pub attachments: Vec<Bytes>,
}

impl Frame {
    /// The frame of a published event, or nothing if the record's arguments are not a JSON array.
    #[must_use]
    pub fn published(event: &Event, offset: Offset) -> Option<Self> {
        Self::ending_with(event, &event.args_at(offset), format!("\"{offset}\""))
    }

    /// The frame of a signal, or nothing if its arguments are not a JSON array.
    #[must_use]
    pub fn signalled(event: &Event) -> Option<Self> {
        Self::ending_with(event, &event.args, "null".to_owned())
    }

    /// What the gateway itself tells a client: one argument, and the offset to which it moves the client's, or `null`.
    ///
    /// # Panics
    /// If the argument does not serialise: a mistake in the code.
    #[must_use]
    pub fn notice(name: &str, argument: &impl Serialize, moves: Option<&str>) -> Self {
        let raw = |value: serde_json::Result<Box<RawValue>>| value.expect("notices are plain structs");
        let args = vec![raw(to_raw_value(argument)), raw(to_raw_value(&moves))];
        Self { name: name.to_owned(), args, attachments: Vec::new() }
    }

    /// The same without effect on the client's offset: for events that are given out of the order of offsets.
    #[must_use]
    pub fn out_of_order(mut self) -> Self {
        self.args.push(RawValue::NULL.to_owned());
        self
    }

    /// How much it weighs, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let args: usize = self.args.iter().map(|arg| arg.get().len()).sum();
        self.name.len() + args + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }

    fn ending_with(event: &Event, args: &str, last: String) -> Option<Self> {
        let mut args: Vec<Box<RawValue>> = serde_json::from_str(args).ok()?;
        args.push(RawValue::from_string(last).ok()?);
        Some(Self { name: event.name.clone(), args, attachments: event.attachments.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_frames_end_with_the_offset_and_signals_with_null() {
        let event = Event {
            name: "message".into(),
            args: r#"[{"a":1}, "x"]"#.into(),
            attachments: vec![],
            except: None,
            at_ms: 0,
        };
        let text = |frame: Frame| frame.args.iter().map(|arg| arg.get().to_owned()).collect::<Vec<_>>();
        let published = Frame::published(&event, Offset(12)).unwrap();
        assert_eq!(text(published), [r#"{"a":1}"#, r#""x""#, r#""12""#]);
        let signalled = Frame::signalled(&event).unwrap();
        assert_eq!(text(signalled).last().unwrap(), "null");
        let replayed = Frame::published(&event, Offset(12)).unwrap().out_of_order();
        assert_eq!(text(replayed)[2..], [r#""12""#, "null"]);
        assert_eq!(text(Frame::notice("n", &1, Some("7.1"))), ["1", r#""7.1""#]);
        let broken = Event { args: "{}".into(), ..event };
        assert!(Frame::published(&broken, Offset(1)).is_none());
    }
}
