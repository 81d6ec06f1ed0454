//! Saying something to rooms: kept, or not.

use serde_json::value::RawValue;

use super::Service;
use crate::content::{check_emitted, check_placeholders};
use crate::domain::{Event, Except, Excepted, Refusal, RoomName};
use crate::formats::Format;
use crate::log::{Appended, Terms};
use crate::node::{dedupe_of, now_ms};

/// The longest id of an event, in bytes.
const MAX_ID_BYTES: usize = 128;
const ID: &str = "the id of an event has 1 to 128 bytes";

/// What a back end says.
#[derive(Clone, Copy, Debug)]
pub struct Saying<'a> {
    /// The event's name.
    pub event: &'a str,
    /// Its arguments: the text of a JSON array.
    pub args: &'a str,
    /// Who in the room does not hear it, if there are any.
    pub except: Option<&'a Excepted>,
    /// Whether it is dropped for who cannot have it at once. Only for what is not kept.
    pub volatile: bool,
}

impl Service {
    /// The event that clients hear.
    ///
    /// # Errors
    /// It is none that clients can be told, or too much.
    pub fn event(&self, saying: Saying<'_>) -> Result<Event, Refusal> {
        let Saying { event, args, except, volatile } = saying;
        // Nodes that do not read it would tell everybody of a gap.
        if except.is_some() && self.behind.formats.written() < Format::Excepting {
            return Err(Refusal::Unavailable);
        }
        check_emitted(event)?;
        self.bounds.check_text(args, event.len() + args.len())?;
        let list: Vec<&RawValue> =
            serde_json::from_str(args).map_err(|_| Refusal::bad_request("an event's arguments are a list"))?;
        self.bounds.check_arguments(list.len())?;
        check_placeholders(args, 0)?;
        let (name, args) = (event.to_owned(), args.to_owned());
        let mut except = except.cloned();
        // Where a node would not read it, it waits as any other; that it is dropped was never sure.
        if volatile && self.behind.formats.written() >= Format::Excepting {
            except.get_or_insert_default().busy = true;
        }
        let except = except.map(|these| Except::These(these.into()));
        Ok(Event { name, args, attachments: Vec::new(), except, at_ms: now_ms() })
    }

    /// Says something to a room, kept. With an `id` it is kept once for its author, whatever comes again.
    ///
    /// # Errors
    /// The log is full or cannot be reached, or the id is none.
    pub async fn publish(
        &self,
        room: &RoomName,
        event: &Event,
        author: &str,
        id: Option<&str>,
    ) -> Result<Appended, Refusal> {
        if id.is_some_and(|id| id.is_empty() || id.len() > MAX_ID_BYTES) {
            return Err(Refusal::bad_request(ID));
        }
        let key = id.map(|id| dedupe_of(&format!("k:{author}"), room, id));
        self.behind.node.publish(room, event, Terms { dedupe: key.as_ref(), ..Terms::default() }, None).await
    }

    /// The same without keeping it: whoever is away does not hear of it.
    ///
    /// # Errors
    /// The other nodes cannot be reached.
    pub async fn signal(&self, room: &RoomName, event: &Event) -> Result<(), Refusal> {
        self.behind.node.signal(room, event).await
    }
}
