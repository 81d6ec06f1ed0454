//! What a mail for somebody who is away says.

use serde_json::{Value, json};

use gateway_core::contacts::Contact;
use gateway_core::domain::UserId;
use gateway_core::notifications::Notification;

/// The longest text of one notification in a mail, in characters.
const MAX_TEXT_CHARS: usize = 2_000;
/// Where the text of a notification stands that is no text itself.
const FIELDS: [&str; 4] = ["text", "message", "title", "body"];

/// What the template is filled in with; the notifications come newest first, and are shown oldest first.
pub(super) fn data(
    contact: &Contact,
    pending: &[Notification],
    more: bool,
    most: usize,
    home: &str,
    url: &str,
) -> Value {
    let shown = pending.len().min(most);
    let one = |kept: &Notification| {
        json!({
            "text": text(&kept.new.message),
            "at": at(kept.new.at_ms),
            "sender": kept.new.sender.as_ref().map(UserId::as_str),
            "data": kept.new.data.as_deref().and_then(|data| serde_json::from_str::<Value>(data).ok()),
        })
    };
    let left = pending.len() - shown;
    json!({
        "name": contact.address.name,
        "count": pending.len(),
        "notifications": pending[..shown].iter().rev().map(one).collect::<Vec<_>>(),
        // Of those that were not even looked at nobody knows how many they are.
        "more": if more { format!("at least {}", left + 1) } else if left > 0 { left.to_string() } else { String::new() },
        "url": home,
        "unsubscribe": url,
    })
}

/// A notification as people read it.
fn text(message: &str) -> String {
    let value: Value = serde_json::from_str(message).unwrap_or_default();
    let text = match &value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let found = FIELDS.iter().find_map(|name| fields.get(*name).and_then(Value::as_str));
            found.map_or_else(|| value.to_string(), str::to_owned)
        }
        other => other.to_string(),
    };
    if text.chars().count() <= MAX_TEXT_CHARS {
        return text;
    }
    text.chars().take(MAX_TEXT_CHARS).chain(['…']).collect()
}

fn at(ms: u64) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map(|at| at.strftime("%-d %B %Y, %H:%M UTC").to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use gateway_core::contacts::{Address, By};
    use gateway_core::notifications::{New, NotificationId};

    use super::*;

    fn kept(message: &str, at_ms: u64) -> Notification {
        let new = New {
            id: NotificationId::new(UNIX_EPOCH + Duration::from_millis(at_ms)),
            receiver: UserId::parse("bob").unwrap(),
            sender: UserId::parse("ann"),
            message: message.into(),
            data: None,
            at_ms,
            until_ms: None,
            key: None,
            collapse: None,
        };
        Notification { new, is_read: false }
    }

    #[test]
    fn a_digest_has_the_last_ones_in_their_order() {
        let address = Address { email: "bob@example.com".into(), name: Some("Bob".into()) };
        let contact = Contact { address, by: By::BackEnd, wants: true, seen_ms: 0, mailed_ms: 0 };
        let at = 1_795_000_000_000;
        let pending = [kept("\"three\"", at + 2), kept(r#"{"text":"two"}"#, at + 1), kept("[1]", at)];
        let whole = data(&contact, &pending, false, 20, "https://chat.example", "https://chat.example/unsubscribe?u");
        let texts: Vec<_> = whole["notifications"].as_array().unwrap().iter().map(|one| one["text"].clone()).collect();
        assert_eq!(texts, ["[1]", "two", "three"]);
        assert_eq!((&whole["count"], &whole["more"]), (&json!(3), &json!("")));
        assert_eq!(whole["notifications"][0]["at"], "18 November 2026, 11:06 UTC");
        let part = data(&contact, &pending, false, 1, "", "");
        assert_eq!((&part["notifications"][0]["text"], &part["more"]), (&json!("three"), &json!("2")));
        assert_eq!(data(&contact, &pending, true, 1, "", "")["more"], "at least 3");
        assert_eq!(text(&format!("\"{}\"", "x".repeat(5_000))).chars().count(), MAX_TEXT_CHARS + 1);
    }
}
