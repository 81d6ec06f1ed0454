//! Bounds: how much an event may be, and what of its JSON is refused because some client could not read it.

use super::json;
use crate::config::Limits;
use crate::domain::Refusal;

/// What an event may be, whoever says it.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The largest event with its attachments, in bytes.
    pub message_bytes: usize,
    /// How deep its JSON may nest, the array of its arguments included.
    pub json_depth: usize,
    /// How many arguments it may have.
    pub arguments: usize,
}

impl Bounds {
    /// Those of the configuration.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let Limits { message_bytes, json_depth, arguments, .. } = *limits;
        Self { message_bytes, json_depth, arguments }
    }

    /// Looks at the text of an event that weighs `size` bytes. Whether it is valid JSON is the parser's business.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`], or [`Refusal::BadRequest`] if it nests too deeply or has numbers that not all can read.
    pub fn check_text(&self, text: &str, size: usize) -> Result<(), Refusal> {
        if size > self.message_bytes {
            return Err(Refusal::TooLarge { limit: self.message_bytes });
        }
        json::check_readable(text, self.json_depth).map_err(|why| Refusal::bad_request(why.message()))
    }

    /// Looks at how many arguments an event has.
    ///
    /// # Errors
    /// [`Refusal::BadRequest`] if they are too many.
    pub fn check_arguments(&self, count: usize) -> Result<(), Refusal> {
        if count > self.arguments {
            return Err(Refusal::bad_request(format!("an event has {} arguments at the most", self.arguments)));
        }
        Ok(())
    }
}

/// What is said of placeholders that stand for no attachment: official clients end their connection on them.
const PLACEHOLDERS: &str = "its placeholders do not match its attachments";

/// Looks at the placeholders of an event's JSON.
///
/// # Errors
/// [`Refusal::BadRequest`] if one stands for no attachment, or two for the same.
pub fn check_placeholders(text: &str, attachments: usize) -> Result<(), Refusal> {
    if json::placeholders_fit(text, attachments) { Ok(()) } else { Err(Refusal::bad_request(PLACEHOLDERS)) }
}
