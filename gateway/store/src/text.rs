//! Texts as databases can keep them: PostgreSQL has no NUL in its texts, and tools of others stop reading at one.

use std::borrow::Cow;

/// What stands before what a text has instead of a NUL, or of this character itself. It means nothing in any language, so that
/// texts that people write are kept as they are.
const MARK: char = '\u{10ffff}';

/// A text as it is kept.
pub(crate) fn kept(text: &str) -> Cow<'_, str> {
    // The mark's first byte is that of no other character in use.
    if memchr::memchr2(0, 0xf4, text.as_bytes()).is_none() {
        return text.into();
    }
    let mut kept = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '\0' => kept.extend([MARK, '0']),
            MARK => kept.extend([MARK, '1']),
            other => kept.push(other),
        }
    }
    kept.into()
}

/// The text that was kept.
pub(crate) fn read(kept: String) -> String {
    if memchr::memchr(0xf4, kept.as_bytes()).is_none() {
        return kept;
    }
    let mut text = String::with_capacity(kept.len());
    let mut letters = kept.chars().peekable();
    while let Some(letter) = letters.next() {
        let stands_for = match letters.peek() {
            Some('0') => Some('\0'),
            Some('1') => Some(MARK),
            _ => None,
        };
        match stands_for.filter(|_| letter == MARK) {
            Some(other) => {
                text.push(other);
                letters.next();
            }
            None => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_kept_as_it_is() {
        for text in ["", "plain", "é 🦀 ␀ \u{1}", "\u{100000}"] {
            assert_eq!(kept(text), text);
        }
        assert_eq!(kept("a\0b"), "a\u{10ffff}0b");
    }

    proptest::proptest! {
        #[test]
        fn every_text_comes_back(text in "[\0\u{10ffff}01a🦀]{0,12}|\\PC{0,20}") {
            let kept = kept(&text).into_owned();
            proptest::prop_assert!(!kept.contains('\0'));
            proptest::prop_assert_eq!(read(kept), text);
        }
    }
}
