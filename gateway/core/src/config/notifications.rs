//! `[notifications]`: what users are told and may read later, and how much of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Config, DatabaseKind, Rate, Secret};

/// `[notifications]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Notifications {
    pub event: String,
    pub namespace: String,
    pub kept_per_user: usize,
    #[serde(with = "humantime_serde")]
    pub keep: Duration,
    #[serde(with = "humantime_serde")]
    pub sweep: Duration,
    pub page: usize,
    pub sender_per_second: u32,
    pub sender_burst: u32,
    pub receiver_per_second: u32,
    pub receiver_burst: u32,
    pub http: bool,
    pub mail: AbsentMail,
}

/// `[notifications.mail]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct AbsentMail {
    #[serde(with = "humantime_serde")]
    pub after: Duration,
    pub url: String,
    pub secret: Secret,
    pub tokens: bool,
    pub most: usize,
}

impl AbsentMail {
    /// Whether who is away gets mail.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.after.is_zero()
    }
}

impl Config {
    pub(super) fn validate_absent_mail(&self) -> Result<(), (&'static str, String)> {
        let AbsentMail { url, secret, most, .. } = &self.notifications.mail;
        if !self.notifications.mail.is_on() {
            return Ok(());
        }
        if !self.mail.is_on() {
            return Err(("notifications.mail.after", "needs mail.host, or mail.to_log".into()));
        }
        if self.database_kind() == DatabaseKind::None {
            return Err((
                "notifications.mail.after",
                "needs database.url: without it nothing is kept to be mailed".into(),
            ));
        }
        if !(url.starts_with("https://") || url.starts_with("http://")) {
            let why =
                "must be where users reach this gateway, as in \"https://chat.example.com\": links in mails lead there";
            return Err(("notifications.mail.url", why.into()));
        }
        if secret.expose().len() < 16 {
            let why = "must have at least 16 characters: it signs the links by which users unsubscribe";
            return Err(("notifications.mail.secret", why.into()));
        }
        if *most == 0 {
            return Err(("notifications.mail.most", "must be at least 1".into()));
        }
        Ok(())
    }
}

impl Notifications {
    /// How many one user, or one address without a user, may send.
    #[must_use]
    pub fn of_sender(&self) -> Rate {
        Rate { per_second: self.sender_per_second, burst: self.sender_burst }
    }

    /// How many all users together may send to one.
    #[must_use]
    pub fn of_receiver(&self) -> Rate {
        Rate { per_second: self.receiver_per_second, burst: self.receiver_burst }
    }

    pub(super) fn validate(&self) -> Result<(), (&'static str, String)> {
        let positive = [("notifications.kept_per_user", self.kept_per_user), ("notifications.page", self.page)];
        if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err((key, "must be at least 1".into()));
        }
        if self.sweep < Duration::from_millis(100) {
            return Err(("notifications.sweep", "must be at least 100ms".into()));
        }
        if !self.namespace.starts_with('/') {
            return Err(("notifications.namespace", "must begin with /".into()));
        }
        let pairs = [
            ("notifications.sender_burst", "sender_per_second", self.of_sender()),
            ("notifications.receiver_burst", "receiver_per_second", self.of_receiver()),
        ];
        for (burst, per_second, rate) in pairs {
            if rate.per_second > 0 && rate.burst == 0 {
                return Err((burst, format!("must be at least 1 while {per_second} is set")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::load;

    #[test]
    fn what_makes_no_sense_is_said() {
        for (name, value, word) in [
            ("KEPT_PER_USER", "0", "notifications.kept_per_user"),
            ("PAGE", "0", "notifications.page"),
            ("SWEEP", "1ms", "notifications.sweep"),
            ("NAMESPACE", "shop", "notifications.namespace"),
            ("SENDER_BURST", "0", "notifications.sender_burst"),
            ("RECEIVER_BURST", "0", "notifications.receiver_burst"),
        ] {
            let environment = [(format!("GATEWAY_NOTIFICATIONS__{name}"), value.to_owned())];
            let said = load(None, environment.into_iter()).unwrap_err().to_string();
            assert!(said.contains(word), "{said}");
        }
        let after = ("NOTIFICATIONS__MAIL__AFTER", "5m");
        let mail = [("MAIL__TO_LOG", "true"), ("MAIL__FROM", "a@b.example"), after];
        let url = ("NOTIFICATIONS__MAIL__URL", "https://chat.example");
        let secret = ("NOTIFICATIONS__MAIL__SECRET", "sixteen letters!");
        for (more, word) in [
            (vec![after], "notifications.mail.after: needs mail.host"),
            (mail.to_vec(), "notifications.mail.url"),
            ([&mail[..], &[url]].concat(), "notifications.mail.secret"),
            ([&mail[..], &[url, secret, ("NOTIFICATIONS__MAIL__MOST", "0")]].concat(), "notifications.mail.most"),
            (
                [&mail[..], &[url, secret, ("REDIS_URL", "redis://h")]].concat(),
                "notifications.mail.after: needs database.url",
            ),
        ] {
            let environment = more.iter().map(|(name, value)| (format!("GATEWAY_{name}"), (*value).to_owned()));
            let said = load(None, environment).unwrap_err().to_string();
            assert!(said.starts_with(word), "{said}");
        }
        let unlimited = [("SENDER_PER_SECOND", "0"), ("SENDER_BURST", "0")];
        let unlimited = unlimited.map(|(name, value)| (format!("GATEWAY_NOTIFICATIONS__{name}"), value.to_owned()));
        assert_eq!(load(None, unlimited.into_iter()).unwrap().notifications.of_sender().per_second, 0);
    }
}
