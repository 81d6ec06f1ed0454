//! `[mail]` and `[novu]`: where mail is handed over, from whom it is, and how much of it.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Secret;

/// The longest that one mail may take. A minute after it was begun it counts as lost, with the node that had it.
const LONGEST: Duration = Duration::from_secs(50);

/// `[mail]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Mail {
    pub host: String,
    pub port: u16,
    pub tls: MailTls,
    pub tls_ca: PathBuf,
    pub username: String,
    pub password: Secret,
    pub from: String,
    pub reply_to: String,
    pub to_log: bool,
    pub templates: PathBuf,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    pub connections: u32,
    pub queue: String,
    pub attempts: u32,
    #[serde(with = "humantime_serde")]
    pub backoff: Duration,
    #[serde(with = "humantime_serde")]
    pub once: Duration,
    pub receivers: Vec<String>,
    pub receiver_per_hour: u32,
    pub http: bool,
    pub roles: Vec<String>,
    pub sender_per_minute: u32,
}

/// How a mail server is spoken with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// In the clear first; nothing is sent before the server has changed to TLS.
    StartTls,
    /// Over TLS from the first byte.
    Tls,
    /// In the clear.
    None,
}

/// `[novu]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct Novu {
    pub url: String,
    pub api_key: Secret,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

impl Mail {
    /// Whether mail goes anywhere.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.to_log || !self.host.is_empty()
    }

    pub(super) fn validate(&self) -> Result<(), (&'static str, String)> {
        if self.is_on() && self.from.is_empty() {
            return Err(("mail.from", "is needed to send mail, as in \"Example <no-reply@example.com>\"".into()));
        }
        if self.port == 0 {
            return Err(("mail.port", "must be at least 1".into()));
        }
        if self.username.is_empty() != self.password.is_empty() {
            return Err(("mail.username", "and mail.password go together".into()));
        }
        if self.tls == MailTls::None && !self.username.is_empty() {
            return Err((
                "mail.tls",
                "must not be \"none\" with a password, which anybody on the way could read".into(),
            ));
        }
        if self.tls == MailTls::None && !self.tls_ca.as_os_str().is_empty() {
            return Err(("mail.tls_ca", "has no effect while mail.tls is \"none\"".into()));
        }
        for (key, value) in [("mail.connections", self.connections), ("mail.attempts", self.attempts)] {
            if value == 0 {
                return Err((key, "must be at least 1".into()));
            }
        }
        for (key, value) in [("mail.timeout", self.timeout), ("mail.backoff", self.backoff)] {
            if value < Duration::from_millis(1) {
                return Err((key, "must be at least 1ms".into()));
            }
        }
        if self.timeout > LONGEST {
            return Err((
                "mail.timeout",
                format!("must be at most {LONGEST:?}: longer a mail is not known to be under way"),
            ));
        }
        if self.once < Duration::from_secs(1) {
            return Err(("mail.once", "must be at least 1s".into()));
        }
        if self.queue.is_empty() {
            return Err(("mail.queue", "must not be empty".into()));
        }
        Ok(())
    }
}

impl Novu {
    /// Whether Novu can be asked.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.api_key.is_empty()
    }

    pub(super) fn validate(&self) -> Result<(), (&'static str, String)> {
        if !(self.url.starts_with("https://") || self.url.starts_with("http://")) {
            return Err(("novu.url", "must begin with https:// or http://".into()));
        }
        if self.timeout < Duration::from_millis(1) || self.timeout > LONGEST {
            return Err(("novu.timeout", format!("must be at least 1ms, and at most {LONGEST:?}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::load;

    #[test]
    fn what_makes_no_sense_is_said() {
        let from = ("MAIL__FROM", "a@b.example");
        for (changes, expected) in [
            (vec![("MAIL__HOST", "mail.example")], "mail.from: is needed"),
            (vec![("MAIL__TO_LOG", "true")], "mail.from: is needed"),
            (vec![("MAIL__HOST", "h"), from, ("MAIL__USERNAME", "me")], "mail.username: and mail.password"),
            (
                vec![
                    ("MAIL__HOST", "h"),
                    from,
                    ("MAIL__USERNAME", "me"),
                    ("MAIL__PASSWORD", "hunter2"),
                    ("MAIL__TLS", "none"),
                ],
                "mail.tls: must not be \"none\"",
            ),
            (vec![("MAIL__TLS", "ssl")], "mail.tls: unknown variant"),
            (vec![("MAIL__TLS", "none"), ("MAIL__TLS_CA", "ca.pem")], "mail.tls_ca: has no effect"),
            (vec![("MAIL__PORT", "0")], "mail.port"),
            (vec![("MAIL__CONNECTIONS", "0")], "mail.connections"),
            (vec![("MAIL__ATTEMPTS", "0")], "mail.attempts"),
            (vec![("MAIL__TIMEOUT", "0s")], "mail.timeout"),
            (vec![("MAIL__TIMEOUT", "51s")], "mail.timeout"),
            (vec![("MAIL__ONCE", "0s")], "mail.once"),
            (vec![("MAIL__QUEUE", "")], "mail.queue"),
            (vec![("NOVU__URL", "api.novu.co")], "novu.url"),
            (vec![("NOVU__TIMEOUT", "0s")], "novu.timeout"),
        ] {
            let environment = changes.iter().map(|(name, value)| (format!("GATEWAY_{name}"), (*value).to_owned()));
            let said = load(None, environment).unwrap_err().to_string();
            assert!(said.starts_with(expected) && !said.contains("hunter2"), "{said}");
        }
    }
}
