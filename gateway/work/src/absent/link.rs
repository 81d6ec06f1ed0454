//! Links by which users have an end of mails: signed, so that nobody ends those of somebody else.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;

use gateway_core::config;
use gateway_core::domain::UserId;

/// What is signed beside the user: a signature of something else is none of these.
const WHAT: &[u8] = b"unsubscribe\n";

/// Makes links and reads them.
pub struct Links {
    key: hmac::Key,
    /// Where users reach the gateway, without a slash at its end.
    home: String,
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("home", &self.home).finish_non_exhaustive()
    }
}

impl Links {
    /// Where these links lead.
    pub const PATH: &'static str = "/unsubscribe";

    /// Those of a configuration.
    #[must_use]
    pub fn new(settings: &config::AbsentMail) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, settings.secret.expose().as_bytes());
        Self { key, home: settings.url.trim_end_matches('/').to_owned() }
    }

    /// Where users reach the gateway.
    #[must_use]
    pub fn home(&self) -> &str {
        &self.home
    }

    /// The link of a user. It is good for as long as the secret is.
    #[must_use]
    pub fn unsubscribe(&self, user: &UserId) -> String {
        let signature = BASE64.encode(hmac::sign(&self.key, &signed(user)).as_ref());
        format!("{}{}?u={}&s={signature}", self.home, Self::PATH, BASE64.encode(user.as_str()))
    }

    /// The user whose link has this query; nothing if it is none of ours.
    #[must_use]
    pub fn read(&self, query: &str) -> Option<UserId> {
        let find = |name: &str| query.split('&').find_map(|part| part.strip_prefix(name));
        let user = String::from_utf8(BASE64.decode(find("u=")?).ok()?).ok()?;
        let user = UserId::parse(&user)?;
        let signature = BASE64.decode(find("s=")?).ok()?;
        hmac::verify(&self.key, &signed(&user), &signature).ok().map(|()| user)
    }
}

fn signed(user: &UserId) -> Vec<u8> {
    [WHAT, user.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(secret: &str) -> Links {
        let mut settings = config::load(None, std::iter::empty()).unwrap().notifications.mail;
        settings.secret = config::Secret::from(secret.to_owned());
        settings.url = "https://chat.example/".into();
        Links::new(&settings)
    }

    #[test]
    fn a_link_is_for_its_user_alone() {
        let links = links("sixteen letters!");
        for name in ["bob", "a b&c=d", "Zoë/7", "😀"] {
            let user = UserId::parse(name).unwrap();
            let link = links.unsubscribe(&user);
            let query = link.strip_prefix("https://chat.example/unsubscribe?").unwrap();
            assert!(link.is_ascii() && !link.contains(' '), "{link}");
            assert_eq!(links.read(query), Some(user.clone()));
            // As some programs add to links.
            assert_eq!(links.read(&format!("{query}&utm=x")), Some(user.clone()));
            let other = links.unsubscribe(&UserId::parse("eve").unwrap());
            let (_, signature) = query.split_once("&s=").unwrap();
            let mixed = other.split_once('?').unwrap().1.split_once("&s=").unwrap().0.to_owned() + "&s=" + signature;
            assert_eq!(links.read(&mixed), None);
            assert_eq!(self::links("other, but as long").read(query), None);
        }
        for query in ["", "u=", "u=Ym9i", "u=Ym9i&s=", "u=Ym9i&s=AAAA", "u=%ff&s=%ff", "s=AAAA"] {
            assert_eq!(links.read(query), None, "{query}");
        }
    }
}
