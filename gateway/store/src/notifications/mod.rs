//! Notifications in databases.

#[cfg(feature = "mongodb")]
mod mongo;
mod postgres;
mod sqlite;

#[cfg(feature = "mongodb")]
pub use mongo::MongoNotifications;
pub use postgres::PostgresNotifications;
pub use sqlite::SqliteNotifications;

use gateway_core::domain::UserId;
use gateway_core::notifications::{Added, Listed, New, Notification, NotificationId};
use gateway_core::port::{Port, PortError};

use crate::text;

/// How many are marked as read at once.
const MARKED: i64 = 1_000;

/// As tables and documents have it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    id: String,
    receiver: String,
    sender: Option<String>,
    message: String,
    data: Option<String>,
    is_read: bool,
    at_ms: i64,
    until_ms: Option<i64>,
    key: Option<String>,
    collapse: Option<String>,
}

/// A row is not what the gateway wrote.
#[derive(Debug, thiserror::Error)]
#[error("the notification {id} was changed by somebody else: its {what} cannot be read; delete it or restore it")]
struct Damaged {
    id: String,
    what: &'static str,
}

fn kept(text: &str) -> String {
    text::kept(text).into_owned()
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Row {
    fn of(new: &New) -> Self {
        Self {
            id: new.id.as_str().to_owned(),
            receiver: kept(new.receiver.as_str()),
            sender: new.sender.as_ref().map(|sender| kept(sender.as_str())),
            message: kept(&new.message),
            data: new.data.as_deref().map(kept),
            is_read: false,
            at_ms: whole(new.at_ms),
            until_ms: new.until_ms.map(whole),
            key: new.key.as_deref().map(kept),
            collapse: new.collapse.as_deref().map(kept),
        }
    }

    fn notification(self) -> Result<Notification, Damaged> {
        let damaged = |what| Damaged { id: self.id.clone(), what };
        let user = |text: String, what| UserId::parse(&text::read(text)).ok_or_else(|| damaged(what));
        let new = New {
            id: NotificationId::parse(&self.id).ok_or_else(|| damaged("id"))?,
            receiver: user(self.receiver, "receiver")?,
            sender: self.sender.map(|sender| user(sender, "sender")).transpose()?,
            message: text::read(self.message),
            data: self.data.map(text::read),
            at_ms: u64::try_from(self.at_ms).unwrap_or_default(),
            until_ms: self.until_ms.map(|until| u64::try_from(until).unwrap_or_default()),
            key: self.key.map(text::read),
            collapse: self.collapse.map(text::read),
        };
        Ok(Notification { new, is_read: self.is_read })
    }
}

/// The ids that rows have.
fn ids(operation: &'static str, texts: &[String]) -> Result<Vec<NotificationId>, PortError> {
    let id = |text: &String| {
        let damaged = || Damaged { id: text.clone(), what: "id" };
        NotificationId::parse(text).ok_or_else(|| Port::Notifications.broken(operation, damaged()))
    };
    texts.iter().map(id).collect()
}

/// Whose one is, of which the row says so.
fn owner(id: &NotificationId, receiver: Option<String>) -> Result<Option<UserId>, PortError> {
    let damaged = || Damaged { id: id.as_str().to_owned(), what: "receiver" };
    let user = |text| UserId::parse(&text::read(text)).ok_or_else(|| Port::Notifications.broken("owner", damaged()));
    receiver.map(user).transpose()
}

/// What became of each: as which it is known, in whose place it is, and how many were dropped.
fn added(all: impl Iterator<Item = Outcome>) -> Result<Vec<Added>, PortError> {
    let one = |outcome| match outcome {
        Outcome::Known(known) => Ok(Added::Known(ids("add", &[known])?.remove(0))),
        Outcome::New { instead_of, dropped } => {
            let instead_of = ids("add", &instead_of.into_iter().collect::<Vec<_>>())?.pop();
            Ok(Added::New { instead_of, dropped })
        }
    };
    all.map(one).collect()
}

/// What became of one that was to be added, with ids as rows have them.
#[derive(Debug)]
enum Outcome {
    Known(String),
    New { instead_of: Option<String>, dropped: u64 },
}

/// Of rows, of which there may be one more than are wanted.
fn listed(mut rows: Vec<Row>, limit: usize) -> Result<Listed, PortError> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let notifications: Result<_, _> = rows.into_iter().map(Row::notification).collect();
    Ok(Listed { notifications: notifications.map_err(|damaged| Port::Notifications.broken("list", damaged))?, more })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_changed_is_told() {
        let new = New {
            id: NotificationId::new(std::time::SystemTime::now()),
            receiver: UserId::parse("ann").unwrap(),
            sender: None,
            message: "1".into(),
            data: None,
            at_ms: u64::MAX,
            until_ms: None,
            key: None,
            collapse: None,
        };
        let row = Row::of(&new);
        for (damage, what) in [
            (Row { id: "x".into(), ..row.clone() }, "id"),
            (Row { receiver: String::new(), ..row.clone() }, "receiver"),
            (Row { sender: Some("\n".into()), ..row.clone() }, "sender"),
        ] {
            assert!(damage.notification().unwrap_err().to_string().contains(what));
        }
        assert_eq!(row.notification().unwrap().new.at_ms, i64::MAX as u64);
    }
}
