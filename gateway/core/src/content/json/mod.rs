//! JSON that is passed on without being decoded, looked at as the text that it is.
//!
//! What clients may write does not always fit into the types of this language: JavaScript cuts a text in the middle of
//! an emoji and writes the half that is left as `"\ud83d"`, Python's integers have 100 digits. It has to arrive as it
//! was sent all the same, so nothing is decoded that is not asked for by name.

mod fields;
mod placeholders;

pub use fields::{Fields, field, fields, item};
pub use placeholders::{placeholders_fit, shift_placeholders};

use std::borrow::Cow;

use memchr::{memchr, memmem};
use serde_json::value::RawValue;

/// The longest number, in characters. Python reads integers of 4300 digits and Jackson of 1000, but others keep numbers
/// in places of fixed length.
const MAX_NUMBER: usize = 128;

/// What some client cannot read in a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It nests more deeply than it may.
    Depth,
    /// A number is longer than any that is meant, or larger than a double: parsers of Go, Rust and C++ give up the whole
    /// text.
    Number,
}

impl Unreadable {
    /// In words for people.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::Depth => "its JSON nests too deeply",
            Self::Number => "a number in it is longer or larger than all clients can read",
        }
    }
}

/// Looks for what would keep others from reading a JSON text that nests so deep at the most. Looks at brackets and
/// numbers outside of strings and at nothing else: whether the text is valid JSON is the parser's business.
///
/// # Errors
/// What is in the way.
pub fn check_readable(text: &str, max_depth: usize) -> Result<(), Unreadable> {
    let bytes = text.as_bytes();
    let (mut depth, mut in_string, mut at) = (0_usize, false, 0);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            // What is escaped belongs to it.
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > max_depth {
                    return Err(Unreadable::Depth);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let start = at - 1;
                let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
                at += bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                if !is_readable(&text[start..at]) {
                    return Err(Unreadable::Number);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a JSON text without attachments may be shown to any client.
#[must_use]
pub fn harmless(text: &str, max_depth: usize) -> bool {
    check_readable(text, max_depth).is_ok() && placeholders_fit(text, 0)
}

fn is_readable(number: &str) -> bool {
    // Only an exponent makes a short one large.
    let may_be_large = || number.contains(['e', 'E']);
    number.len() <= MAX_NUMBER && !(may_be_large() && number.parse().is_ok_and(f64::is_infinite))
}

/// Whether a JSON value is a text, with or without halves of surrogate pairs.
#[must_use]
pub fn is_text(raw: &RawValue) -> bool {
    raw.get().starts_with('"')
}

/// The text that a JSON value is, not copied unless something in it is escaped. Nothing for other values, and for texts
/// with half of a surrogate pair, which are none here; see [`mended`].
#[must_use]
pub fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let json = raw.get();
    if !is_text(raw) {
        return None;
    }
    match memchr(b'\\', json.as_bytes()) {
        Some(_) => serde_json::from_str(json).ok().map(Cow::Owned),
        // Checked when it was read, so only the quotes are in the way.
        None => json.get(1..json.len() - 1).map(Cow::Borrowed),
    }
}

/// A JSON text in which U+FFFD stands for every half of a surrogate pair, as long as that: for readers that know whole
/// characters only. Not copied if there are no halves.
#[must_use]
pub fn mended(json: &str) -> Cow<'_, str> {
    const STANDS_FOR_IT: &str = "\\ufffd";
    if memmem::find(json.as_bytes(), b"\\u").is_none() {
        return Cow::Borrowed(json);
    }
    let (mut out, mut copied, mut at) = (String::new(), 0, 0);
    // Outside of strings there are no backslashes.
    while let Some(next) = memchr(b'\\', &json.as_bytes()[at..]) {
        let start = at + next;
        at = match (unit(json, start), unit(json, start + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => start + 12,
            (Some(0xd800..=0xdfff), _) => {
                out.push_str(&json[copied..start]);
                out.push_str(STANDS_FOR_IT);
                copied = start + 6;
                copied
            }
            // The character after the backslash belongs to it.
            _ => start + 2,
        }
        .min(json.len());
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    out.push_str(&json[copied..]);
    Cow::Owned(out)
}

/// The code unit that `\uXXXX` at a place stands for.
fn unit(json: &str, at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        let is_just_as_deep = |text: &str, depth| {
            check_readable(text, depth).is_ok() && check_readable(text, depth - 1) == Err(Unreadable::Depth)
        };
        assert!(is_just_as_deep(r#"["a",{"b":[1]},[]]"#, 3));
        assert!(is_just_as_deep(r#"["[[[[", "\"[[", "\\"]"#, 1));
        assert!(is_just_as_deep(&"[".repeat(1000), 1000));
    }

    #[test]
    fn numbers_are_such_as_all_clients_read() {
        let digits = |count: usize| "7".repeat(count);
        for good in ["0", "-0", "1.10", "1e308", "-1.7E+308", "1e-999", &digits(128), &format!("0.{}", digits(126))]
            .map(str::to_owned)
        {
            assert_eq!(check_readable(&format!(r#"["x",{{"n":{good}}}]"#), 9), Ok(()), "{good}");
        }
        let long = digits(150);
        for bad in
            [&long, &format!("-{long}"), &format!("0.{long}"), &format!("1e{long}"), "1e309", "-1.8E308", "9e+999"]
        {
            for text in
                [format!("[{bad}]"), format!(r#"["x",{{"n": {bad} }}]"#), format!("[1,2,{bad},3]"), bad.to_owned()]
            {
                assert_eq!(check_readable(&text, 9), Err(Unreadable::Number), "{text}");
            }
            assert_eq!(
                check_readable(&format!(r#"["\"{bad}","{bad}\\"]"#), 9),
                Ok(()),
                "in a text they are no numbers"
            );
        }
        // Not valid JSON; no harm either.
        for broken in ["-", "1e", "--1", "1.2.3e4e5", "\\", "\"\\", "é1é", "\"\\é"] {
            assert_eq!(check_readable(broken, 9), Ok(()), "{broken}");
        }
    }

    #[test]
    fn texts_are_what_their_escapes_say() {
        for (json, expected) in [
            (r#""""#, Some("")),
            (r#""plain é""#, Some("plain é")),
            (r#""a\/b \u00e9 \"q\" \\""#, Some("a/b é \"q\" \\")),
            (r#""\ud83d\ude00 \uD83D\uDE00""#, Some("😀 😀")),
            (r#""\ud83d""#, None),
            (r#""\ude00\ud83d""#, None),
            ("1", None),
            ("null", None),
            (r#"{"a":1}"#, None),
        ] {
            assert_eq!(text(&raw(json)).as_deref(), expected, "{json}");
        }
        assert!(matches!(text(&raw(r#""plain""#)), Some(Cow::Borrowed(_))));
    }

    #[test]
    fn halves_are_mended_and_nothing_else() {
        for (json, expected) in [
            (r#""cut \ud83d""#, r#""cut \ufffd""#),
            (r#""\ud83d\ud83d\ude00\ude00""#, r#""\ufffd\ud83d\ude00\ufffd""#),
            (r#"{"\uDE00":["\udc00\\ud83d"]}"#, r#"{"\ufffd":["\ufffd\\ud83d"]}"#),
            (r#""\ud83d\n\ude00""#, r#""\ufffd\n\ufffd""#),
        ] {
            assert_eq!(mended(json), expected);
            assert!(serde_json::from_str::<serde_json::Value>(&mended(json)).is_ok(), "{json}");
        }
        for whole in [r#""\ud83d\ude00 😀 \\ud83d \u00e9 \"""#, "12345678901234567890123", r#"{"a" : [true]}"#] {
            assert!(matches!(mended(whole), Cow::Borrowed(same) if same == whole), "{whole}");
        }
        // Not valid JSON; no harm either.
        for broken in [r"\ud83d", r"\ud83d\u", r"\", "\\ué0000", "\\é\\ud800é", r"\u+fff"] {
            assert!(!mended(broken).is_empty());
        }
    }

    proptest::proptest! {
        #[test]
        fn whole_texts_stay_as_they_are(text: String) {
            let json = serde_json::to_string(&text).unwrap();
            proptest::prop_assert_eq!(mended(&json), json.as_str());
            let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            let escaped = format!("\"{escaped}\"");
            proptest::prop_assert_eq!(mended(&escaped), escaped.as_str());
            let raw = raw(&escaped);
            proptest::prop_assert_eq!(super::text(&raw), Some(text.into()));
        }

        #[test]
        fn mended_texts_are_texts(units: Vec<u16>) {
            let escaped: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let mended = raw(&mended(&format!("\"{escaped}\"")));
            proptest::prop_assert_eq!(text(&mended), Some(String::from_utf16_lossy(&units).into()));
        }
    }
}
