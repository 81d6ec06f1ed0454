//! What the hook answers. What is not as it should be decides nothing: it is neither a yes nor a no.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::auth::entry::Denied;
use crate::auth::{Identity, Rights, TokenFacts, now};
use crate::calls::{Rejection, fit};
use crate::content::json;
use crate::domain::{Refusal, RoomName, UserId};

/// The most roles that a session may have, and the longest of them in bytes.
const MAX_ROLES: usize = 100;
const MAX_ROLE_BYTES: usize = 255;
/// What an answer weighs in memory besides its texts, about.
const WEIGHT: usize = 512;

/// What an answer may hold.
pub(super) struct Limits {
    /// 0: no limit.
    pub(super) rooms: usize,
    pub(super) data_bytes: usize,
    pub(super) json_depth: usize,
}

/// The answer as it is written. A field that is not here is a mistake: one that is misspelt must not be read as no limit.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Answer {
    allow: bool,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    roles: Option<Vec<String>>,
    #[serde(default)]
    rooms: Vec<String>,
    #[serde(default)]
    join: Option<Vec<String>>,
    #[serde(default)]
    publish: Option<Vec<String>>,
    #[serde(default)]
    expires_in_ms: Option<NonZeroU64>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    data: Option<Box<RawValue>>,
}

/// What was said.
#[derive(Debug)]
pub(super) enum Said {
    Yes(Verdict),
    No(Denied),
}

/// A yes, and what goes with it.
#[derive(Debug)]
pub(super) struct Verdict {
    user: Option<UserId>,
    /// None: those of the token.
    roles: Option<Vec<String>>,
    /// None: those of the token.
    rights: Option<Arc<Rights>>,
    pub(super) rooms: Arc<[RoomName]>,
    pub(super) data: Option<Arc<RawValue>>,
    /// When it was said, and until when it is good: seconds since 1970.
    issued: u64,
    expires: Option<u64>,
    /// How long it is kept.
    pub(super) keep: Duration,
    bytes: usize,
}

impl Said {
    /// Reads a whole answer.
    ///
    /// # Errors
    /// What is wrong with it, for logs: nothing of what it says.
    pub(super) fn read(
        answer: &RawValue,
        namespace: &str,
        known: &Identity,
        limits: &Limits,
    ) -> Result<Self, &'static str> {
        let said: Answer = serde_json::from_str(answer.get()).map_err(
            |_| "its answer is no object with allow, or a field of it is unknown, there twice or of another type",
        )?;
        let data = data(said.data, limits)?;
        if !said.allow {
            let refusal = Refusal::Rejected(fit(said.message.unwrap_or_default()));
            return Ok(Self::No(Denied { refusal, data }));
        }
        let user = match said.user {
            Some(user) => Some(UserId::parse(&user).ok_or("its user is not a user id")?),
            None => None,
        };
        if known.user.is_some() && user.is_some() && known.user != user {
            return Err("its user is not the one of the token");
        }
        let are_fine = |roles: &Vec<String>| {
            roles.len() <= MAX_ROLES && roles.iter().all(|role| !role.is_empty() && role.len() <= MAX_ROLE_BYTES)
        };
        if !said.roles.as_ref().is_none_or(are_fine) {
            return Err("its roles are too many, or one is empty or too long");
        }
        if limits.rooms > 0 && said.rooms.len() > limits.rooms {
            return Err("it has more rooms than limits.rooms_per_session");
        }
        let rooms = said.rooms.iter().map(|room| RoomName::parse_in(namespace, room)).collect::<Result<Arc<_>, _>>();
        let limited = said.join.is_some() || said.publish.is_some();
        let rights = Rights::new(said.join.as_deref(), said.publish.as_deref())?;
        let now = now();
        // Rounded up: nobody may be sent away while the answer still holds.
        let end = said.expires_in_ms.map(|left| now.saturating_add(Duration::from_millis(left.get())));
        Ok(Self::Yes(Verdict {
            user,
            roles: said.roles,
            rights: limited.then(|| rights.into()),
            rooms: rooms.map_err(|_| "one of its rooms cannot be one")?,
            data,
            issued: now.as_secs(),
            expires: end.map(|end| end.as_secs().saturating_add(u64::from(end.subsec_nanos() > 0))),
            keep: Duration::ZERO,
            bytes: answer.get().len(),
        }))
    }

    /// Reads a 4xx. Only 401 and 403 are a no: others say that it is asked in a way, or at a place, that is wrong.
    ///
    /// # Errors
    /// It is not one of those.
    pub(super) fn refused(rejection: &Rejection, limits: &Limits) -> Result<Self, &'static str> {
        #[derive(Deserialize)]
        struct More {
            data: Option<Box<RawValue>>,
        }
        if ![StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&rejection.status) {
            return Err("it answers with a 4xx that is neither 401 nor 403");
        }
        // It may be a page: then that it says no is all that it says.
        let more = serde_json::from_slice::<More>(&rejection.body).ok().and_then(|more| more.data);
        let data = data(more, limits).unwrap_or_default();
        Ok(Self::No(Denied { refusal: Refusal::Rejected(rejection.words()), data }))
    }
}

fn data(data: Option<Box<RawValue>>, limits: &Limits) -> Result<Option<Arc<RawValue>>, &'static str> {
    match data {
        Some(data) if data.get().len() > limits.data_bytes => Err("its data is larger than limits.message_bytes"),
        Some(data) if !json::harmless(data.get(), limits.json_depth) => Err("its data is not readable for all clients"),
        data => Ok(data.filter(|data| data.get() != "null").map(Arc::from)),
    }
}

impl Verdict {
    /// Kept for `most`, and no longer than it or the token is good. What names no end is not kept.
    pub(super) fn kept_for(self, most: Duration, known: &Identity) -> Self {
        let own = self.expires.map(|end| Duration::from_secs(end).saturating_sub(now()));
        let life = [own, known.expires_in()].into_iter().flatten().min();
        Self { keep: life.unwrap_or_default().min(most), ..self }
    }

    /// What it takes in memory, about.
    pub(super) fn weight(&self) -> u32 {
        u32::try_from(WEIGHT + self.bytes).unwrap_or(u32::MAX)
    }

    /// Who a client is of which so much is known by its token.
    pub(super) fn identity(&self, known: &Identity) -> Identity {
        let user = self.user.clone().or_else(|| known.user.clone());
        let own =
            TokenFacts { id: None, issued: Some(self.issued), expires: self.expires.unwrap_or(TokenFacts::NEVER) };
        let token = match &known.token {
            Some(token) => Some(TokenFacts { expires: token.expires.min(own.expires), ..token.clone() }),
            // Whoever is nobody and stays as long as it likes has nothing that could be taken back.
            None => (user.is_some() || self.expires.is_some()).then_some(own),
        };
        Identity {
            user,
            roles: self.roles.clone().unwrap_or_else(|| known.roles.clone()),
            rights: self.rights.clone().or_else(|| known.rights.clone()),
            token,
            mail: known.mail.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn limits() -> Limits {
        Limits { rooms: 2, data_bytes: 10, json_depth: 2 }
    }

    fn read(answer: &Value, known: &Identity) -> Result<Said, &'static str> {
        let answer = serde_json::value::to_raw_value(answer).unwrap();
        Said::read(&answer, "/", known, &limits())
    }

    fn verdict(answer: &Value, known: &Identity) -> Verdict {
        match read(answer, known) {
            Ok(Said::Yes(verdict)) => verdict,
            other => panic!("{other:?}"),
        }
    }

    fn alice() -> Identity {
        let token = TokenFacts { id: Some("t".into()), issued: Some(7), expires: now().as_secs() + 60 };
        let rights = Some(Rights::new(Some(&["a*".to_owned()]), None).unwrap().into());
        Identity { user: UserId::parse("alice"), roles: vec!["reader".into()], rights, token: Some(token), mail: None }
    }

    #[test]
    fn what_is_not_an_answer_decides_nothing() {
        let nobody = Identity::default();
        for answer in [
            json!(null),
            json!(true),
            json!({}),
            json!({ "status": "ok" }),
            json!({ "allow": "yes" }),
            json!({ "allow": true, "expiresIn": 60 }),
            json!({ "allow": true, "expiresInMs": 0 }),
            json!({ "allow": true, "expiresInMs": -1 }),
            json!({ "allow": true, "user": 7 }),
            json!({ "allow": true, "user": "" }),
            json!({ "allow": true, "user": "a\nb" }),
            json!({ "allow": true, "user": "x".repeat(256) }),
            json!({ "allow": true, "roles": "admin" }),
            json!({ "allow": true, "roles": [""] }),
            json!({ "allow": true, "roles": vec!["r"; 101] }),
            json!({ "allow": true, "rooms": ["a", "b", "c"] }),
            json!({ "allow": true, "rooms": [""] }),
            json!({ "allow": true, "join": ["a\n"] }),
            json!({ "allow": true, "data": "0123456789" }),
            json!({ "allow": true, "data": [[[1]]] }),
        ] {
            assert!(read(&answer, &nobody).is_err(), "{answer}");
        }
        let twice = RawValue::from_string(r#"{"allow":false,"allow":true}"#.into()).unwrap();
        assert!(Said::read(&twice, "/", &nobody, &limits()).is_err());
        assert!(read(&json!({ "allow": true, "user": "bob" }), &alice()).is_err(), "the token says otherwise");
    }

    #[test]
    fn what_it_does_not_say_is_as_the_token_says() {
        let same = verdict(&json!({ "allow": true }), &alice()).identity(&alice());
        assert_eq!(same, alice());
        let answer = json!({ "allow": true, "user": "alice", "roles": [], "publish": [], "expiresInMs": 10_000 });
        let more = verdict(&answer, &alice()).identity(&alice());
        assert!(
            more.roles.is_empty() && more.may_join("b") && !more.may_publish("a"),
            "its own instead of the token's"
        );
        let left = more.expires_in().unwrap();
        assert!(left > Duration::from_secs(8) && left <= Duration::from_secs(11), "{left:?}");
        assert_eq!(more.token.unwrap().id.as_deref(), Some("t"), "by which it can still be revoked");
        let far = json!({ "allow": true, "expiresInMs": u64::MAX });
        assert_eq!(verdict(&far, &alice()).identity(&alice()), alice(), "not longer than the token");
    }

    #[test]
    fn without_keys_it_says_all() {
        let nobody = Identity::default();
        assert_eq!(verdict(&json!({ "allow": true, "user": null }), &nobody).identity(&nobody), nobody);
        let bob = verdict(&json!({ "allow": true, "user": "bob" }), &nobody).identity(&nobody);
        let token = bob.token.unwrap();
        assert!(token.issued.unwrap() >= now().as_secs() - 5 && token.expires == TokenFacts::NEVER, "revoked by user");
    }

    #[test]
    fn an_answer_is_kept_as_long_as_it_or_the_token_is_good_and_not_at_all_without_an_end() {
        let kept = |answer: Value, known: &Identity| {
            verdict(&answer, known).kept_for(Duration::from_secs(30), known).keep.as_secs_f64()
        };
        let nobody = Identity::default();
        assert!(kept(json!({ "allow": true }), &nobody).abs() < 0.1);
        assert!((kept(json!({ "allow": true }), &alice()) - 30.0).abs() < 0.1);
        let soon = kept(json!({ "allow": true, "expiresInMs": 5_000 }), &alice());
        assert!((4.0..=6.0).contains(&soon), "{soon}");
    }

    #[test]
    fn a_no_has_words_and_data() {
        let no = |said: Result<Said, &'static str>| match said {
            Ok(Said::No(Denied { refusal: Refusal::Rejected(words), data })) => {
                (words, data.map(|data| data.get().to_owned()))
            }
            other => panic!("{other:?}"),
        };
        let nobody = Identity::default();
        let answer = json!({ "allow": false, "message": "pay first", "data": { "a": 1 } });
        assert_eq!(no(read(&answer, &nobody)), ("pay first".into(), Some(r#"{"a":1}"#.into())));
        assert_eq!(no(read(&json!({ "allow": false }), &nobody)), ("the back end refused".into(), None));
        let refused = |status: u16, body: &str| {
            let rejection = Rejection { status: StatusCode::from_u16(status).unwrap(), body: body.into() };
            Said::refused(&rejection, &limits())
        };
        let body = r#"{"message":"pay first","data":1}"#;
        assert_eq!(no(refused(403, body)), ("pay first".into(), Some("1".into())));
        assert_eq!(no(refused(401, "<html>")), ("the back end refused".into(), None));
        assert_eq!(no(refused(401, r#"{"message":"no","data":"0123456789"}"#)), ("no".into(), None));
        assert!(refused(404, body).is_err() && refused(422, body).is_err() && refused(400, "").is_err());
    }
}
