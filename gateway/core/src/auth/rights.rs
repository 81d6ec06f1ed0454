//! The rooms that a token opens: patterns of names, for joining and for publishing.

use wildmatch::WildMatchPattern;

/// How many patterns a claim may have: each is looked at for every room.
const MAX_PATTERNS: usize = 100;
/// The longest pattern, in bytes: as long as a room's name may be.
const MAX_PATTERN_BYTES: usize = 255;

/// `*` stands for any letters, also none. The library wants a letter for "any one letter", too: it gets one that neither
/// names nor patterns may have, so that `?` is a letter like others.
pub(super) type Pattern = WildMatchPattern<'*', '\0'>;

/// What a token says about rooms. What it says nothing about is not limited by it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rights {
    join: Option<Vec<Pattern>>,
    publish: Option<Vec<Pattern>>,
}

impl Rights {
    /// Reads the claims `join` and `publish`: nothing for no limit, an empty list for no room.
    ///
    /// # Errors
    /// What is wrong, in words: a claim has more than 100 patterns, or one of them has more than 255 bytes or a control
    /// character.
    pub fn new(join: Option<&[String]>, publish: Option<&[String]>) -> Result<Self, &'static str> {
        Ok(Self { join: join.map(compile).transpose()?, publish: publish.map(compile).transpose()? })
    }

    /// Whether a room may be joined.
    #[must_use]
    pub fn join(&self, room: &str) -> bool {
        opens(self.join.as_deref(), room)
    }

    /// Whether a room may be published to.
    #[must_use]
    pub fn publish(&self, room: &str) -> bool {
        opens(self.publish.as_deref(), room)
    }
}

pub(super) fn compile(patterns: &[String]) -> Result<Vec<Pattern>, &'static str> {
    if patterns.len() > MAX_PATTERNS {
        return Err("there are at most 100 patterns of each kind");
    }
    if patterns.iter().any(|pattern| pattern.len() > MAX_PATTERN_BYTES || pattern.chars().any(char::is_control)) {
        return Err("a pattern has at most 255 bytes and no control characters");
    }
    Ok(patterns.iter().map(|pattern| Pattern::new(pattern)).collect())
}

/// Whether any of the patterns matches a name; without a list all names do.
pub(super) fn opens(patterns: Option<&[Pattern]>, room: &str) -> bool {
    patterns.is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(room)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(patterns: &[&str]) -> Rights {
        let patterns: Vec<_> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Rights::new(Some(&patterns), None).unwrap()
    }

    #[test]
    fn a_star_stands_for_anything_and_all_else_for_itself() {
        let cases = [
            ("room", "room", true),
            ("room", "rooms", false),
            ("room", "Room", false),
            ("team-*", "team-", true),
            ("team-*", "team-1/général", true),
            ("team-*", "my team-1", false),
            ("*:public", "a:b:public", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "ace!", false),
            ("*", "anything", true),
            ("", "anything", false),
            ("what?", "what?", true),
            ("what?", "whats", false),
            ("[ab].+", "[ab].+", true),
            ("[ab].+", "a..", false),
        ];
        for (pattern, room, opens) in cases {
            assert_eq!(join(&[pattern]).join(room), opens, "{pattern} and {room}");
        }
    }

    #[test]
    fn any_pattern_opens_and_an_empty_list_opens_nothing() {
        let rights = join(&["a", "b*"]);
        assert!(rights.join("a") && rights.join("bc") && !rights.join("c"));
        assert!(rights.publish("c"), "nothing was said about publishing");
        assert!(!join(&[]).join("a"));
        let silent = Rights::new(None, Some(&[])).unwrap();
        assert!(silent.join("a") && !silent.publish("a"));
    }

    #[test]
    fn patterns_are_bounded() {
        let many = |count: usize, text: &str| Rights::new(None, Some(&vec![text.to_owned(); count])).is_ok();
        assert!(many(100, &"é".repeat(127)));
        assert!(!many(101, "a"));
        assert!(!many(1, &"a".repeat(256)));
        assert!(!many(1, "a\0"), "it would stand for any letter");
    }
}
