//! What a configuration lets the world do: what its node says about it when it starts, and what no node may do to clients.

use super::{Admin, Auth, Config, Limits};

/// The most attachments in one packet that every official client takes: one for JavaScript ends its connection on more.
pub const MAX_ATTACHMENTS: usize = 10;

impl Config {
    /// Who may come in, if that is more than most people mean; for people.
    #[must_use]
    pub fn exposure(&self) -> Option<String> {
        let somebody_decides = self.auth.has_keys() || !self.auth.hook.url.is_empty();
        if somebody_decides || !self.socket.origins.is_empty() {
            return None;
        }
        let reach = if self.listen.ip().is_loopback() {
            "whoever uses this machine, and every web page that is open in a browser here,"
        } else {
            "whoever reaches it, and every web page that their browsers open,"
        };
        let mail =
            if self.mail.is_on() && self.mail.http { ", and have mail sent to mail.receivers (mail.http)" } else { "" };
        Some(format!(
            "without keys and socket.origins {reach} may connect to {} and do, as an anonymous session, what the routes \
             let anybody do{mail}. Set auth.secret, auth.public_keys or auth.jwks_url to ask for tokens, or auth.hook.url to \
             have a back end asked, and socket.origins to name the pages",
            self.listen
        ))
    }
}

impl Auth {
    /// Whether keys themselves can be used is seen when they are read, in `auth`.
    pub(super) fn validate(&self) -> Result<(), (&'static str, String)> {
        let url = &self.jwks_url;
        if !url.is_empty() && !["http://", "https://"].iter().any(|scheme| url.expose().starts_with(scheme)) {
            return Err(("auth.jwks_url", "must begin with https:// or http://".into()));
        }
        if self.public_keys.iter().any(|key| key.trim().is_empty()) {
            return Err(("auth.public_keys", "must not have an empty entry".into()));
        }
        if !self.has_keys() {
            // Somebody meant tokens to be checked, and nobody's would be.
            let why = "needs auth.secret, auth.public_keys or auth.jwks_url, or no token is looked at";
            let unchecked = [("auth.issuer", self.issuer.is_empty()), ("auth.audience", self.audience.is_empty())];
            if let Some((key, _)) = unchecked.iter().find(|(_, is_empty)| !is_empty) {
                return Err((key, why.into()));
            }
        }
        Ok(())
    }
}

impl Limits {
    pub(super) fn validate_attachments(&self) -> Result<(), (&'static str, String)> {
        if self.attachments > MAX_ATTACHMENTS {
            let why = format!(
                "must be at most {MAX_ATTACHMENTS}: official JavaScript clients (socket.io-parser 4.2.7) end their \
                 connection when a packet has more, so one sender would throw all members of a room out"
            );
            return Err(("limits.attachments", why));
        }
        Ok(())
    }
}

impl Admin {
    pub(super) fn validate(&self) -> Result<(), (&'static str, String)> {
        if !self.viewer_token.is_empty() {
            if self.token.is_empty() {
                return Err(("admin.viewer_token", "needs admin.token, or there is nothing to view".into()));
            }
            if self.token == self.viewer_token {
                return Err(("admin.viewer_token", "must not be admin.token, or viewers are operators".into()));
            }
        }
        let is_name = |host: &String| {
            let rest = host.strip_prefix('*').unwrap_or(host);
            let starts_well = rest.len() == host.len() || rest.is_empty() || rest.starts_with('.');
            let fits = |char: char| char.is_alphanumeric() || matches!(char, '.' | '-' | '_');
            !host.is_empty() && starts_well && rest.chars().all(fits)
        };
        match self.hosts.iter().find(|host| !is_name(host)) {
            Some(host) => Err((
                "admin.hosts",
                format!(
                    "{host:?} is not the name of a host: \"gateway.example\", \"*.example\" or \"*\", without a port"
                ),
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, load};

    fn with(name: &str, value: &str) -> Result<Config, String> {
        load(None, [(name.to_owned(), value.to_owned())].into_iter()).map_err(|error| error.to_string())
    }

    #[test]
    fn no_more_attachments_than_official_clients_take() {
        assert!(load(None, std::iter::empty()).unwrap().limits.attachments <= 10);
        assert!(with("GATEWAY_LIMITS__ATTACHMENTS", "10").is_ok() && with("GATEWAY_LIMITS__ATTACHMENTS", "0").is_ok());
        let error = with("GATEWAY_LIMITS__ATTACHMENTS", "11").unwrap_err();
        assert!(error.contains("limits.attachments") && error.contains("JavaScript clients"), "{error}");
    }

    #[test]
    fn hosts_are_names() {
        for good in ["a.example", "*", "*.a_b.example,other", ""] {
            assert!(with("GATEWAY_ADMIN__HOSTS", good).is_ok(), "{good}");
        }
        for bad in ["http://a", "a:9100", "good.example,*a", "a b", "a*.example"] {
            assert!(with("GATEWAY_ADMIN__HOSTS", bad).unwrap_err().contains("admin.hosts"), "{bad}");
        }
    }

    #[test]
    fn whoever_lets_everybody_in_is_told() {
        let said = with("GATEWAY_LISTEN", "127.0.0.1:3000").unwrap().exposure().unwrap();
        assert!(said.contains("every web page") && said.contains("uses this machine") && said.contains("auth.secret"));
        assert!(with("GATEWAY_LISTEN", "0.0.0.0:3000").unwrap().exposure().unwrap().contains("whoever reaches it"));
        for (name, value) in [
            ("GATEWAY_AUTH__SECRET", "s"),
            ("GATEWAY_AUTH__JWKS_URL", "https://a.example/keys"),
            ("GATEWAY_AUTH__HOOK__URL", "https://a.example/who"),
            ("GATEWAY_SOCKET__ORIGINS", "https://a.example"),
        ] {
            assert_eq!(with(name, value).unwrap().exposure(), None, "{name}");
        }
    }
}
