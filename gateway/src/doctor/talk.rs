//! A client as the doctor needs it: Engine.IO over polling, and a session in the root namespace.

use std::time::Duration;

use http::header::{COOKIE, SET_COOKIE};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::web::{Answer, PATIENCE, Site, first_words};
use gateway_core::auth::{Grant, mint};
use gateway_core::config::Config;
use gateway_core::domain::UserId;

/// Who comes in, where a token is needed.
const USER: &str = "gateway-doctor";
/// For longer than anything here takes.
const TTL: Duration = Duration::from_secs(3_600);
/// The packet that ends a connection.
const CLOSE: &str = "1";

/// Somebody who comes in at a site.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// Where.
    pub(super) site: Site,
    token: Option<String>,
}

/// A connection over polling.
#[derive(Clone, Debug)]
pub(super) struct Polling {
    /// What the node said when it was opened.
    pub(super) open: Open,
    cookies: Option<String>,
}

/// What a node says of a connection.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Open {
    sid: String,
    ping_interval: u64,
    ping_timeout: u64,
}

/// Why a request of a connection was not answered as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// Whoever answered does not know the connection.
    Unknown,
    /// Something else, in words.
    Other(String),
}

/// The token to come in with: the one that was given, or one that is made with the secret of the configuration.
#[must_use]
pub(super) fn token(config: &Config, given: Option<&str>) -> Option<String> {
    let user = UserId::parse(USER)?;
    given.map(str::to_owned).or_else(|| mint(&config.auth, &Grant::new(user, TTL)))
}

impl Open {
    /// Reads the first packet of a connection.
    #[must_use]
    pub(super) fn read(packet: &str) -> Option<Self> {
        serde_json::from_str(packet.strip_prefix('0')?).ok()
    }

    /// After how long of silence a node says something.
    #[must_use]
    pub(super) fn interval(&self) -> Duration {
        Duration::from_millis(self.ping_interval)
    }

    /// How long it waits for an answer to that.
    #[must_use]
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.ping_timeout)
    }
}

impl Client {
    /// One at a site, with a token if it has one.
    #[must_use]
    pub(super) fn new(site: Site, token: Option<String>) -> Self {
        Self { site, token }
    }

    /// The packet that asks for a session.
    #[must_use]
    pub(super) fn connect(&self) -> String {
        match &self.token {
            Some(token) => format!("40{}", json!({ "token": token })),
            None => "40".into(),
        }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// There is none, in words.
    pub(super) async fn open(&self) -> Result<Polling, String> {
        let answer = self.site.get("/socket.io/?EIO=4&transport=polling").await?;
        let cookies =
            answer.headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok()?.split(';').next());
        let cookies = cookies.collect::<Vec<_>>().join("; ");
        let cookies = (!cookies.is_empty()).then_some(cookies);
        match Open::read(&answer.body) {
            Some(open) if answer.status == StatusCode::OK => Ok(Polling { open, cookies }),
            _ => Err(format!("a handshake is answered with {}: {}", answer.status, first_words(&answer.body))),
        }
    }

    async fn ask(&self, of: &Polling, method: Method, body: &str, patience: Duration) -> Result<Answer, Lost> {
        let path = format!("/socket.io/?EIO=4&transport=polling&sid={}", of.open.sid);
        let mut headers = vec![("content-type", "text/plain;charset=UTF-8")];
        headers
            .extend(of.cookies.iter().map(|cookies| (COOKIE.as_str(), &**cookies)).map(|(_, value)| ("cookie", value)));
        let answer = self.site.ask(method, &path, &headers, body, patience).await.map_err(Lost::Other)?;
        // {"code":1,"message":"Session ID unknown"}
        if answer.status == StatusCode::BAD_REQUEST && answer.body.contains("\"code\":1") {
            return Err(Lost::Unknown);
        }
        if answer.status != StatusCode::OK {
            let words = first_words(&answer.body);
            return Err(Lost::Other(format!("the answer is {}: {words}", answer.status)));
        }
        Ok(answer)
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// It did not get there.
    pub(super) async fn send(&self, of: &Polling, packet: &str) -> Result<(), Lost> {
        self.ask(of, Method::POST, packet, PATIENCE).await.map(drop)
    }

    /// Waits for packets.
    ///
    /// # Errors
    /// None came in time.
    pub(super) async fn poll(&self, of: &Polling, patience: Duration) -> Result<Vec<String>, Lost> {
        let answer = self.ask(of, Method::GET, "", patience).await?;
        Ok(answer.body.split('\u{1e}').map(str::to_owned).collect())
    }

    /// Ends the connection, as far as that is possible.
    pub(super) async fn close(&self, of: &Polling) {
        self.send(of, CLOSE).await.ok();
    }
}

impl Polling {
    /// Whether whoever answered gave it something to be known by.
    #[must_use]
    pub(super) fn has_cookies(&self) -> bool {
        self.cookies.is_some()
    }

    /// The same without that, as pages of other origins have it.
    #[must_use]
    pub(super) fn without_cookies(self) -> Self {
        Self { cookies: None, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_packet() {
        let open = Open::read(
            r#"0{"sid":"a","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1}"#,
        );
        let open = open.unwrap();
        assert_eq!((open.interval(), open.timeout()), (Duration::from_secs(25), Duration::from_secs(20)));
        assert!(Open::read("<html>").is_none() && Open::read("4{}").is_none());
    }
}
