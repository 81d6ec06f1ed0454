//! Who may get mail, and how much of it: each node counts what it sends itself.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use gateway_core::config;

/// In which time it is counted.
const HOUR: Duration = Duration::from_secs(3600);
/// When this many addresses are remembered, those whose hour is over are forgotten.
const SWEPT: usize = 10_000;

/// Who may get mail, and how much.
#[derive(Debug)]
pub struct Receivers {
    patterns: Vec<String>,
    per_hour: u32,
    /// By the address in small letters: since when, and how many.
    counted: Mutex<HashMap<String, (Instant, u32)>>,
}

impl Receivers {
    /// As it is configured.
    #[must_use]
    pub fn new(settings: &config::Mail) -> Self {
        let patterns = settings.receivers.iter().map(|pattern| pattern.to_ascii_lowercase()).collect();
        Self { patterns, per_hour: settings.receiver_per_hour, counted: Mutex::default() }
    }

    /// Whether an address may get mail at all.
    #[must_use]
    pub fn may(&self, address: &str) -> bool {
        let address = address.to_ascii_lowercase();
        self.patterns.is_empty() || self.patterns.iter().any(|pattern| fits(pattern, &address))
    }

    /// Whether an address may get one more.
    ///
    /// # Errors
    /// It may not, in words for operators.
    pub fn admit(&self, address: &str) -> Result<(), String> {
        if !self.may(address) {
            return Err(format!("mail.receivers does not list {address}"));
        }
        let counted = self.counted.lock();
        let count = counted.get(&address.to_ascii_lowercase());
        let count = count.filter(|(since, _)| since.elapsed() < HOUR).map_or(0, |(_, count)| *count);
        if self.per_hour > 0 && count >= self.per_hour {
            return Err(format!("{address} was sent {count} mails in an hour (mail.receiver_per_hour)"));
        }
        Ok(())
    }

    /// Counts one that was sent.
    pub fn count(&self, address: &str) {
        if self.per_hour == 0 {
            return;
        }
        let mut counted = self.counted.lock();
        if counted.len() >= SWEPT {
            counted.retain(|_, (since, _)| since.elapsed() < HOUR);
        }
        let entry = counted.entry(address.to_ascii_lowercase()).or_insert((Instant::now(), 0));
        if entry.0.elapsed() >= HOUR {
            *entry = (Instant::now(), 0);
        }
        entry.1 += 1;
    }
}

/// Whether a text is as a pattern says, in which `*` stands for any letters.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receivers(patterns: &[&str], per_hour: u32) -> Receivers {
        let mut settings = config::load(None, std::iter::empty()).unwrap().mail;
        settings.receivers = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        settings.receiver_per_hour = per_hour;
        Receivers::new(&settings)
    }

    #[test]
    fn patterns_say_who_gets_mail() {
        assert!(receivers(&[], 0).may("anybody@example.org"));
        let some = receivers(&["*@Example.com", "a*c@b.example", "me@there.example"], 0);
        for (address, may) in [
            ("ann@example.com", true),
            ("ANN@EXAMPLE.COM", true),
            ("ann@example.com.evil.example", false),
            ("ann@sub.example.com", false),
            ("abc@b.example", true),
            ("ac@b.example", true),
            ("ab@b.example", false),
            ("me@there.example", true),
            ("xme@there.example", false),
        ] {
            assert_eq!(some.may(address), may, "{address}");
        }
        assert!(some.admit("eve@example.org").unwrap_err().contains("mail.receivers"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_gets_so_many_in_an_hour() {
        let receivers = receivers(&[], 2);
        for _ in 0..2 {
            receivers.admit("ann@example.com").unwrap();
            receivers.count("Ann@example.com");
        }
        assert!(receivers.admit("ann@Example.com").unwrap_err().contains("receiver_per_hour"));
        receivers.admit("bob@example.com").unwrap();
        tokio::time::advance(HOUR).await;
        receivers.admit("ann@example.com").unwrap();
        receivers.count("ann@example.com");
        receivers.admit("ann@example.com").unwrap();
    }
}
