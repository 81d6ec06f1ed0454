//! The forms in which clients and back ends read notifications.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::notifications::{New, Notification, NotificationId};

/// The last millisecond that has an ISO 8601 form of four digits for its year.
const LAST_MS: u64 = 253_402_300_799_999;

/// A notification as it is read: `{id, _id?, receiverId, senderId?, message, data?, isRead, timestamp, expiresAt?, replaces?}`.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// What it is.
    pub new: &'a New,
    /// As what it is known; nothing if it is not kept.
    pub id: Option<&'a NotificationId>,
    /// Whether it was read.
    pub is_read: bool,
    /// The one in whose place it came.
    pub replaces: Option<&'a NotificationId>,
    /// Whether its id stands there once more as `_id`, for front ends that know it from MongoDB.
    pub twice: bool,
}

impl<'a> Form<'a> {
    /// That of a notification that is kept, with its id `twice` or once.
    #[must_use]
    pub fn of(kept: &'a Notification, twice: bool) -> Self {
        let Notification { new, is_read } = kept;
        Self { new, id: Some(&new.id), is_read: *is_read, replaces: None, twice }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a NotificationId>,
    #[serde(rename = "_id", skip_serializing_if = "Option::is_none")]
    twin: Option<&'a NotificationId>,
    receiver_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_id: Option<&'a str>,
    message: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    is_read: bool,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<&'a NotificationId>,
}

impl Serialize for Form<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let new = self.new;
        let fields = Fields {
            id: self.id,
            twin: self.id.filter(|_| self.twice),
            receiver_id: new.receiver.as_str(),
            sender_id: new.sender.as_ref().map(crate::domain::UserId::as_str),
            message: raw(&new.message),
            data: new.data.as_deref().map(raw),
            is_read: self.is_read,
            timestamp: iso(new.at_ms),
            expires_at: new.until_ms.map(iso),
            replaces: self.replaces,
        };
        fields.serialize(serializer)
    }
}

/// A JSON text as the value that it is. What a store has damaged is nothing.
pub(super) fn raw(text: &str) -> &RawValue {
    serde_json::from_str(text).unwrap_or(RawValue::NULL)
}

/// Milliseconds since 1970 as people write a time, in UTC.
pub(super) fn iso(ms: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms.min(LAST_MS))).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UserId;

    #[test]
    fn a_notification_is_read_as_it_was_said() {
        let id = NotificationId::parse("65a1b2c3d4e5f60718293a4b").unwrap();
        let new = New {
            id: id.clone(),
            receiver: UserId::parse("bob").unwrap(),
            sender: None,
            message: r#""cut \ud83d \u0000""#.into(),
            data: Some(r#"{"$set":{"a.b":9223372036854775808}}"#.into()),
            at_ms: 1_705_000_000_007,
            until_ms: Some(u64::MAX),
            key: None,
            collapse: None,
        };
        let whole = Form { new: &new, id: Some(&id), is_read: false, replaces: None, twice: true };
        assert_eq!(
            serde_json::to_string(&whole).unwrap(),
            r#"{"id":"65a1b2c3d4e5f60718293a4b","_id":"65a1b2c3d4e5f60718293a4b","receiverId":"bob","message":"cut \ud83d \u0000","data":{"$set":{"a.b":9223372036854775808}},"isRead":false,"timestamp":"2024-01-11T19:06:40.007Z","expiresAt":"9999-12-31T23:59:59.999Z"}"#
        );
        let damaged = New { message: "{".into(), data: None, until_ms: None, sender: UserId::parse("ann"), ..new };
        let live = Form { new: &damaged, id: None, is_read: true, replaces: Some(&id), twice: true };
        assert_eq!(
            serde_json::to_string(&live).unwrap(),
            r#"{"receiverId":"bob","senderId":"ann","message":null,"isRead":true,"timestamp":"2024-01-11T19:06:40.007Z","replaces":"65a1b2c3d4e5f60718293a4b"}"#
        );
    }
}
