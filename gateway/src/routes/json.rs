//! Checks on JSON that is passed on without being decoded: what other clients' parsers must not be given.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

/// A text, not copied unless it is escaped.
#[derive(Debug, Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

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

/// Whether every placeholder of a text stands for one of its attachments, and no two for the same. An official client
/// that is given another one ends its connection, so one hostile sender would throw the whole room out; and the same
/// attachment a thousand times would be sent a thousand times to every receiver.
pub(super) fn placeholders_fit(text: &str, attachments: usize) -> bool {
    // A placeholder cannot be written without its name, or without an escape that hides its name.
    let has_none = attachments == 0 && !text.contains("_placeholder") && !text.contains("\\u");
    has_none || serde_json::from_str::<Value>(text).is_ok_and(|value| fits(&value, &mut vec![false; attachments]))
}

fn fits(value: &Value, used: &mut [bool]) -> bool {
    match value {
        Value::Array(items) => items.iter().all(|item| fits(item, used)),
        Value::Object(fields) if fields.get("_placeholder") == Some(&Value::Bool(true)) => {
            let number = fields.get("num").and_then(Value::as_u64);
            let place = number.and_then(|number| used.get_mut(usize::try_from(number).ok()?));
            place.is_some_and(|used| !std::mem::replace(used, true))
        }
        Value::Object(fields) => fields.values().all(|item| fits(item, used)),
        _ => true,
    }
}

/// Adds to the number of every placeholder of a JSON text, for texts whose attachments are appended to others.
pub(super) fn shift_placeholders(text: &str, by: usize) -> Option<Value> {
    let mut value = serde_json::from_str(text).ok()?;
    shift(&mut value, by);
    Some(value)
}

fn shift(value: &mut Value, by: usize) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| shift(item, by)),
        Value::Object(fields) if fields.get("_placeholder") == Some(&Value::Bool(true)) => {
            if let Some(number) = fields.get("num").and_then(Value::as_u64) {
                fields.insert("num".into(), (number + by as u64).into());
            }
        }
        Value::Object(fields) => fields.values_mut().for_each(|item| shift(item, by)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        assert_eq!(depth(r#"["a",{"b":[1]}]"#), 3);
        assert_eq!(depth(r#"["[[[[", "\"[[", "\\"]"#), 1);
        assert_eq!(depth(&"[".repeat(1000)), 1000);
    }

    #[test]
    fn placeholders_must_stand_for_an_attachment() {
        let one = r#"["e",{"_placeholder":true,"num":0}]"#;
        assert!(placeholders_fit(one, 1));
        assert!(!placeholders_fit(one, 0));
        let twice = r#"["e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#;
        assert!(!placeholders_fit(twice, 2));
        assert!(!placeholders_fit(r#"["e",{"_placeholder":true,"num":1}]"#, 1));
        assert!(!placeholders_fit(r#"["e",{"_placeholder":true,"num":-1}]"#, 1));
        assert!(!placeholders_fit(r#"["e",{"_placeholder":true}]"#, 1));
        assert!(!placeholders_fit(r#"["e",{"\u005fplaceholder":true,"num":7}]"#, 0));
        assert!(placeholders_fit(r#"["e",{"_placeholder":false}]"#, 0));
        assert!(placeholders_fit(r#"["e","_placeholder"]"#, 0));
    }

    #[test]
    fn placeholders_move_behind_other_attachments() {
        let moved = shift_placeholders(r#"[{"a":{"_placeholder":true,"num":1}}]"#, 3).unwrap();
        assert_eq!(moved.to_string(), r#"[{"a":{"_placeholder":true,"num":4}}]"#);
    }
}
