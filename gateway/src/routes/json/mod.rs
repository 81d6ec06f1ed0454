//! JSON that is passed on without being decoded, looked at as the text that it is.
//!
//! What clients may write does not always fit into the types of this language: JavaScript cuts a text in the middle of
//! an emoji and writes the half that is left as `"\ud83d"`, Python's integers have any length. It has to arrive as it
//! was sent all the same, so nothing is decoded that is not asked for by name.

mod fields;
mod placeholders;

pub use fields::{Fields, fields};

pub(super) use fields::{field, item};
pub(super) use placeholders::{placeholders_fit, shift_placeholders};

use std::borrow::Cow;

use memchr::{memchr, memmem};
use serde_json::value::RawValue;

/// How deep a JSON text nests. Counts brackets outside of strings and nothing else: whether the text is valid JSON
/// is the parser's business.
pub(super) fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
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
        assert_eq!(depth(r#"["a",{"b":[1]}]"#), 3);
        assert_eq!(depth(r#"["[[[[", "\"[[", "\\"]"#), 1);
        assert_eq!(depth(&"[".repeat(1000)), 1000);
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
