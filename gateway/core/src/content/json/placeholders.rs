//! Placeholders: where a JSON text refers to its attachments, found and renumbered while all else stays as it is.

use std::ops::Range;

use memchr::{memchr2, memmem};

const NAME: &str = "_placeholder";
const NUMBER: &str = "num";

/// Whether every placeholder of a JSON text stands for one of its attachments, and no two for the same. An official
/// client that is given another one ends its connection, so one hostile sender would throw the whole room out; and the
/// same attachment a thousand times would be sent a thousand times to every receiver.
#[must_use]
pub fn placeholders_fit(text: &str, attachments: usize) -> bool {
    if attachments == 0 && !may_have_some(text) {
        return true;
    }
    let mut used = vec![false; attachments];
    find(text).into_iter().all(|place| {
        let number = place.and_then(|place| number(&text[place]));
        number.and_then(|number| used.get_mut(number)).is_some_and(|used| !std::mem::replace(used, true))
    })
}

/// Adds to the number of every placeholder of a JSON text, for texts whose attachments are appended to others. Nothing
/// if the placeholders are not such as fit.
#[must_use]
pub fn shift_placeholders(text: &str, by: usize) -> Option<String> {
    let mut shifted = String::with_capacity(text.len() + 16);
    let mut copied = 0;
    for place in find(text) {
        let place = place?;
        let number = number(&text[place.clone()])?.checked_add(by)?;
        shifted.push_str(&text[copied..place.start]);
        shifted.push_str(&number.to_string());
        copied = place.end;
    }
    shifted.push_str(&text[copied..]);
    Some(shifted)
}

fn number(text: &str) -> Option<usize> {
    text.parse().ok()
}

/// A placeholder cannot be written without its name, or without an escape that hides a letter of its name.
fn may_have_some(text: &str) -> bool {
    let text = text.as_bytes();
    let mut escapes = memmem::find_iter(text, b"\\u00");
    memmem::find(text, NAME.as_bytes()).is_some()
        || escapes.any(|at| text.get(at + 4).is_some_and(|digit| matches!(digit, b'5'..=b'7')))
}

/// Where a placeholder's number stands in the text; nothing if it is one that nobody can be sure of.
type Digits = Option<Range<usize>>;

/// All placeholders of a valid JSON text, in their order. One pass over its bytes.
fn find(text: &str) -> Vec<Digits> {
    let bytes = text.as_bytes();
    let (mut open, mut found) = (Vec::<Option<Object>>::new(), Vec::new());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let start = at;
        at = match byte {
            b'"' => end_of_string(bytes, start),
            b'{' | b'[' | b'}' | b']' | b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => start + 1,
            _ => end_of_word(bytes, start),
        };
        let token = start..at;
        match byte {
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => {}
            b'}' | b']' => {
                if let Some(Some(object)) = open.pop() {
                    object.close(&mut found);
                }
            }
            b'"' if is_name(bytes, at) => {
                if let Some(Some(object)) = open.last_mut() {
                    object.next = Field::of(&text[token]);
                }
            }
            _ => {
                if let Some(Some(object)) = open.last_mut() {
                    object.take(text, token);
                }
                if matches!(byte, b'{' | b'[') {
                    open.push((*byte == b'{').then(|| Object { before: found.len(), ..Object::default() }));
                }
            }
        }
    }
    found
}

fn end_of_string(bytes: &[u8], quote: usize) -> usize {
    let mut at = quote + 1;
    while let Some(next) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += next + 1;
        if bytes[at - 1] == b'"' {
            return at;
        }
        at += 1;
    }
    bytes.len()
}

fn end_of_word(bytes: &[u8], start: usize) -> usize {
    let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b':' | b' ' | b'\t' | b'\n' | b'\r');
    bytes[start..].iter().position(ends).map_or(bytes.len(), |length| start + length)
}

/// Whether the string that ends at a place is the name of a field.
fn is_name(bytes: &[u8], end: usize) -> bool {
    bytes[end..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

/// Which field it is.
#[derive(Clone, Copy, Default)]
enum Field {
    Placeholder,
    Number,
    #[default]
    Other,
}

impl Field {
    /// Of a name with its quotes.
    fn of(name: &str) -> Self {
        let is = |expected: &str| match name.contains('\\') {
            true => serde_json::from_str::<String>(name).is_ok_and(|name| name == expected),
            false => name.get(1..name.len() - 1) == Some(expected),
        };
        match () {
            () if is(NAME) => Self::Placeholder,
            () if is(NUMBER) => Self::Number,
            () => Self::Other,
        }
    }
}

/// An object that is being read.
#[derive(Default)]
struct Object {
    /// How many placeholders there were before it.
    before: usize,
    /// The field whose value comes next.
    next: Field,
    /// A field says that it is a placeholder.
    says_so: bool,
    /// A field says what some clients' languages take for that.
    may_say_so: bool,
    /// How many fields say whether it is one.
    sayings: usize,
    number: Digits,
    numbers: usize,
}

impl Object {
    fn take(&mut self, text: &str, value: Range<usize>) {
        match std::mem::take(&mut self.next) {
            Field::Other => {}
            Field::Placeholder => {
                self.sayings += 1;
                match &text[value] {
                    "true" => self.says_so = true,
                    "false" | "null" => {}
                    _ => self.may_say_so = true,
                }
            }
            Field::Number => {
                self.numbers += 1;
                self.number = Some(value);
            }
        }
    }

    /// Of two fields with one name some clients take the first and some the last, and to some `1` is as good as `true`:
    /// an object that is a placeholder to anybody has to be one to all.
    fn close(self, found: &mut Vec<Digits>) {
        if self.says_so || (self.may_say_so && self.numbers > 0) {
            // What is inside of a placeholder is replaced with it.
            found.truncate(self.before);
            let is_certain = self.says_so && self.sayings == 1 && self.numbers == 1;
            found.push(self.number.filter(|_| is_certain));
        }
    }
}

#[cfg(test)]
mod tests;
