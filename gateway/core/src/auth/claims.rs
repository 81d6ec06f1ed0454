//! The two parts of a token that say something, as types: what is not there, twice there or of a wrong kind shows here.

use std::borrow::Cow;
use std::time::Duration;

use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Identity, MailClaims, Rights, TokenFacts};
use crate::config;
use crate::domain::{Refusal, UserId};

/// What of a token's header counts. A key, or where to find one, does not: see `jwk`, `jku`, `x5u` in RFC 7515.
/// A name that is there twice is an error, as in [`Claims`]: readers that disagree about which one counts are how
/// tokens get past one of them.
#[derive(Deserialize)]
pub(super) struct Header<'a> {
    #[serde(borrow)]
    pub(super) alg: Cow<'a, str>,
    #[serde(default)]
    pub(super) kid: Option<String>,
    /// Extensions that whoever reads the token must understand; none is understood here.
    #[serde(default)]
    crit: Present,
}

impl<'a> Header<'a> {
    pub(super) fn read(json: &'a [u8]) -> Result<Self, &'static str> {
        let header: Self = serde_json::from_slice(json).map_err(|_| "its header is not readable")?;
        if header.crit.0 { Err("its header has crit") } else { Ok(header) }
    }
}

/// Whether something was there, null included.
#[derive(Default)]
struct Present(bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

/// The longest address and name, in bytes, that are taken out of a token.
const MAX_TEXT_BYTES: usize = 254;

/// The claims that count.
#[derive(Deserialize)]
pub(super) struct Claims {
    sub: String,
    exp: Moment,
    #[serde(default)]
    nbf: Option<Moment>,
    #[serde(default)]
    iat: Option<Moment>,
    #[serde(default)]
    iss: Option<String>,
    #[serde(default)]
    aud: Option<OneOrMany>,
    #[serde(default)]
    jti: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default, deserialize_with = "not_null")]
    join: Option<Vec<String>>,
    #[serde(default, deserialize_with = "not_null")]
    publish: Option<Vec<String>>,
    // Nobody is refused for what these are.
    #[serde(default)]
    email: Option<Value>,
    #[serde(default)]
    email_verified: Option<Value>,
    #[serde(default)]
    name: Option<Value>,
}

/// A limit that is null is a mistake, and must not be read as no limit.
fn not_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    Vec::deserialize(deserializer).map(Some)
}

/// A time since 1970. In tokens a number of seconds, which may have a fraction.
#[derive(Clone, Copy)]
struct Moment(Duration);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        let whole = number.as_u64().map(Duration::from_secs);
        let moment = whole.or_else(|| Duration::try_from_secs_f64(number.as_f64()?).ok());
        moment.map(Self).ok_or_else(|| D::Error::custom("not a time"))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn has_one_of(&self, wanted: &[String]) -> bool {
        match self {
            Self::One(given) => wanted.contains(given),
            Self::Many(given) => given.iter().any(|given| wanted.contains(given)),
        }
    }
}

impl Claims {
    pub(super) fn read(json: &[u8]) -> Result<Self, &'static str> {
        serde_json::from_slice(json).map_err(|_| "a claim is missing, there twice, or not what it should be")
    }

    /// Who the claims name, if they hold now and here.
    pub(super) fn check(self, settings: &config::Auth, now: Duration) -> Result<Identity, Refusal> {
        let refuse = |why: &str| {
            tracing::debug!(why, "refused a token");
            Err(Refusal::Unauthorized)
        };
        let mail = self.mail();
        let end = self.exp.0.saturating_add(settings.leeway);
        if self.nbf.is_some_and(|begin| begin.0 > now.saturating_add(settings.leeway)) {
            return refuse("its time has not come");
        }
        if self.iat.is_some_and(|issued| issued.0 > now.saturating_add(settings.leeway)) {
            return refuse("it was issued in the future");
        }
        if !settings.issuer.is_empty() && self.iss.as_deref() != Some(&settings.issuer) {
            return refuse("it is of another issuer");
        }
        if !settings.audience.is_empty() && !self.aud.is_some_and(|given| given.has_one_of(&settings.audience)) {
            return refuse("it is for another audience");
        }
        let Some(user) = UserId::parse(&self.sub) else { return refuse("its sub is not a user id") };
        let limited = self.join.is_some() || self.publish.is_some();
        let rights = match Rights::new(self.join.as_deref(), self.publish.as_deref()) {
            Ok(rights) => limited.then(|| rights.into()),
            Err(why) => return refuse(why),
        };
        // The last question: who is told that a token has expired holds one that was good.
        if now >= end {
            tracing::debug!(user = user.as_str(), "refused a token that has expired");
            return Err(Refusal::TokenExpired);
        }
        // Rounded up: nobody may be sent away while the token would still be taken.
        let expires = end.as_secs().saturating_add(u64::from(end.subsec_nanos() > 0));
        // If the issuer's clock is ahead, it was before now, and before a revocation that has just been made.
        let earliest = |issued: Duration| if issued > now { issued.saturating_sub(settings.leeway) } else { issued };
        let issued = self.iat.map(|issued| earliest(issued.0).as_secs());
        let token = Some(TokenFacts { id: self.jti, issued, expires });
        Ok(Identity { user: Some(user), roles: self.roles, rights, token, mail })
    }

    /// Where the user gets mail, if that is sure.
    fn mail(&self) -> Option<std::sync::Arc<MailClaims>> {
        let text = |value: &Option<Value>| {
            let text = value.as_ref().and_then(Value::as_str).map(str::trim);
            text.filter(|text| (1..=MAX_TEXT_BYTES).contains(&text.len())).map(str::to_owned)
        };
        let is_unsure = matches!(self.email_verified, Some(Value::Bool(false)));
        let email = text(&self.email).filter(|email| !is_unsure && email.contains('@'))?;
        Some(MailClaims { email, name: text(&self.name) }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings() -> config::Auth {
        let environment = [("GATEWAY_AUTH__LEEWAY", "5s"), ("GATEWAY_AUTH__SECRET", "s")];
        config::load(None, environment.iter().map(|(name, value)| ((*name).into(), (*value).into()))).unwrap().auth
    }

    fn check(claims: &Value, now: u64) -> Result<Identity, Refusal> {
        let claims = Claims::read(claims.to_string().as_bytes()).map_err(|_| Refusal::Unauthorized)?;
        claims.check(&settings(), Duration::from_secs(now))
    }

    #[test]
    fn a_token_has_expired_when_the_leeway_is_over_and_not_a_second_before() {
        let claims = json!({ "sub": "alice", "exp": 1_000 });
        assert!(check(&claims, 999).is_ok());
        assert!(check(&claims, 1_004).is_ok());
        assert_eq!(check(&claims, 1_005), Err(Refusal::TokenExpired));
        let identity = check(&claims, 0).unwrap();
        assert_eq!(identity.token.unwrap().expires, 1_005, "then it is refused");
    }

    #[test]
    fn a_token_is_good_from_the_leeway_before_its_nbf_on() {
        let claims = json!({ "sub": "alice", "exp": 9_000, "nbf": 1_000 });
        assert_eq!(check(&claims, 994), Err(Refusal::Unauthorized));
        assert!(check(&claims, 995).is_ok());
    }

    #[test]
    fn a_token_from_the_future_is_refused_and_one_whose_issuer_is_ahead_is_older_than_it_says() {
        let issued = |iat: f64| -> Result<Option<u64>, Refusal> {
            let identity = check(&json!({ "sub": "alice", "exp": 90_000, "iat": iat }), 1_000)?;
            Ok(identity.token.and_then(|token| token.issued))
        };
        assert_eq!(issued(1_000.0), Ok(Some(1_000)));
        assert_eq!(issued(1_000.5), Ok(Some(995)), "clocks differ by as much as they may");
        assert_eq!(issued(1_005.0), Ok(Some(1_000)));
        assert_eq!(issued(1_005.5), Err(Refusal::Unauthorized));
        assert_eq!(issued(1e9), Err(Refusal::Unauthorized));
    }

    #[test]
    fn times_may_have_fractions_and_be_absurd() {
        let with = |exp: Value| check(&json!({ "sub": "alice", "exp": exp, "iat": 0.9 }), 1_000);
        assert_eq!(with(json!(999.5)).unwrap().token.unwrap().expires, 1_005);
        assert_eq!(with(json!(u64::MAX)).unwrap().expires_in(), None, "as good as never");
        assert_eq!(with(json!(u64::MAX)).unwrap().token.unwrap().issued, Some(0));
        for exp in [json!(1e300), json!(-1), json!("2000"), json!(null), json!([2000]), json!(true)] {
            assert_eq!(with(exp.clone()), Err(Refusal::Unauthorized), "{exp}");
        }
    }

    #[test]
    fn what_is_there_twice_is_refused() {
        for claims in [
            r#"{"sub":"alice","exp":9000,"sub":"bob"}"#,
            r#"{"sub":"alice","\u0073ub":"bob","exp":9000}"#,
            r#"{"sub":"alice","exp":9000,"exp":9000}"#,
            r#"{"sub":"alice","exp":9000,"join":["a"],"join":["*"]}"#,
        ] {
            assert!(Claims::read(claims.as_bytes()).is_err(), "{claims}");
        }
        assert!(Header::read(br#"{"alg":"HS256","alg":"none"}"#).is_err());
        assert!(Header::read(br#"{"alg":"HS256","crit":null}"#).is_err());
        assert!(Header::read(br#"{"alg":"HS256","jku":"http://x","jwk":{},"x5u":4}"#).is_ok(), "not looked at");
    }

    #[test]
    fn rooms_are_limited_by_what_the_token_says() {
        let with = |name: &str, value: Value| check(&json!({ "sub": "alice", "exp": 9_000, name: value }), 0);
        let identity = with("join", json!(["a*"])).unwrap();
        assert!(identity.may_join("ab") && !identity.may_join("b") && identity.may_publish("b"));
        let identity = with("publish", json!([])).unwrap();
        assert!(identity.may_join("ab") && !identity.may_publish("b"));
        assert_eq!(with("unknown", json!([])).unwrap().rights, None);
        for bad in [json!(null), json!("a*"), json!([1]), json!(vec!["a"; 101]), json!(["a\n"])] {
            assert_eq!(with("join", bad.clone()), Err(Refusal::Unauthorized), "{bad}");
        }
    }
}
