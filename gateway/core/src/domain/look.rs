//! How a name looks: what names have in common that people take for one another.

use std::collections::BTreeSet;

use caseless::Caseless;
use unicode_normalization::UnicodeNormalization;
use unicode_security::skeleton;

/// The looks of a name; two names that share one are taken for each other. None if there is nothing to see of it.
///
/// One look is not enough: `Ian` and `ian` differ in case alone, and `Ian` and `lan` look the same, but `ian` and `lan`
/// are two names. So these are compared: the letters in lower case as they look, and in upper case (`в` and `ʙ` are
/// told apart, `В` and `B` are not), and the name as it was written, with its look in lower case.
pub(super) fn looks(name: &str) -> BTreeSet<String> {
    let plain: String = name.nfkc().collect();
    let folded = fold(&plain);
    let looks = [look(&folded), look(&folded.to_uppercase()), fold(&look(&plain))];
    looks.into_iter().filter(|look| !look.is_empty()).collect()
}

/// After the Unicode standard's compatibility caseless matching.
fn fold(text: &str) -> String {
    text.nfd().default_case_fold().nfkd().default_case_fold().nfkc().collect()
}

/// The skeleton of UTS 39, with one space wherever there is room: it leaves out what nobody sees.
fn look(text: &str) -> String {
    let skeleton: String = skeleton(text).map(|char| if is_blank(char) { ' ' } else { char }).collect();
    skeleton.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The blank pattern of Braille is no space to Unicode, but to people.
fn is_blank(char: char) -> bool {
    char.is_whitespace() || char == '\u{2800}'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are_alike(one: &str, other: &str) -> bool {
        !looks(one).is_disjoint(&looks(other))
    }

    #[test]
    fn what_people_take_for_the_same_is_alike() {
        for (one, other) in [
            ("Zoë", "zoë"),
            ("zo\u{eb}", "zoe\u{308}"),
            ("STRASSE", "straße"),
            ("ﬁnn", "finn"),
            ("ａｄｍｉｎ", "admin"),
            ("admin", " admin "),
            ("the admin", "the\u{a0}\u{2003} admin"),
            ("the admin", "the\u{2800}admin"),
            ("admin", "ad\u{200b}min\u{fe0f}"),
            ("admin", "\u{202e}admin"),
            ("admin", "аdmіn"),
            ("Ian", "ian"),
            ("Ian", "lan"),
            ("paypal", "PaypaI"),
            ("paypal", "paypa1"),
            ("Bob", "Воb"),
            ("bob", "ВОВ"),
            ("Вика", "вика"),
            ("вика", "Bика"),
            ("vick", "νick"),
            ("Alice", "Αlice"),
            ("O2", "02"),
            ("ΌΣΟΣ", "όσος"),
        ] {
            assert!(are_alike(one, other), "{one} and {other}: {:?}, {:?}", looks(one), looks(other));
        }
    }

    #[test]
    fn other_names_are_not() {
        for (one, other) in [
            ("ann", "anne"),
            ("ian", "lan"),
            ("Zoë", "Zoe"),
            ("ann b", "annb"),
            ("Вика", "Вита"),
            ("nick", "vick"),
            ("李", "王"),
            ("🐈", "🐕"),
            ("ann", "ann2"),
        ] {
            assert!(!are_alike(one, other), "{one} and {other}: {:?}, {:?}", looks(one), looks(other));
        }
    }

    #[test]
    fn what_nobody_sees_has_no_look() {
        for name in [" ", "\u{200b}\u{feff}", "\u{3164}", "\u{2800}\u{a0}", "\u{e0041}", ""] {
            assert!(looks(name).is_empty(), "{name:?}: {:?}", looks(name));
        }
    }

    proptest::proptest! {
        #[test]
        fn case_and_spaces_make_no_other_name(name: String) {
            let variants = [name.to_lowercase(), format!("  {name}\u{200b}"), name.nfd().collect(), name.nfc().collect()];
            for variant in variants {
                proptest::prop_assert!(looks(&name).is_empty() || are_alike(&name, &variant), "{:?}, {:?}", name, variant);
            }
        }
    }
}
