//! Fields of objects and elements of arrays, each still as its text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An object's fields, as they come: their names as bytes, because a name may hold half of a surrogate pair, which is
/// no text here but one for JavaScript. Of several fields with one name the last counts, as in `JSON.parse`.
pub type Fields<'a> = Vec<(Cow<'a, [u8]>, &'a RawValue)>;

/// The fields of an object; none of anything else.
#[must_use]
pub fn fields(object: &RawValue) -> Fields<'_> {
    let mut json = serde_json::Deserializer::from_str(object.get());
    json.deserialize_map(All).unwrap_or_default()
}

/// The last field of a name. What is beside it is skipped.
#[must_use]
pub fn field<'a>(object: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    let mut json = serde_json::Deserializer::from_str(object.get());
    json.deserialize_map(Named(name.as_bytes())).ok()?
}

/// The element at a place of an array. What is beside it is skipped.
#[must_use]
pub fn item(array: &RawValue, index: usize) -> Option<&RawValue> {
    let mut json = serde_json::Deserializer::from_str(array.get());
    json.deserialize_seq(At(index)).ok()?
}

struct Name<'a>(Cow<'a, [u8]>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(bytes.to_owned())))
            }
            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(bytes)))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

struct All;

impl<'de> Visitor<'de> for All {
    type Value = Fields<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::with_capacity(8);
        while let Some((Name(name), value)) = map.next_entry()? {
            fields.push((name, value));
        }
        Ok(fields)
    }
}

struct Named<'n>(&'n [u8]);

impl<'de> Visitor<'de> for Named<'_> {
    type Value = Option<&'de RawValue>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(Name(name)) = map.next_key()? {
            if *name == *self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

struct At(usize);

impl<'de> Visitor<'de> for At {
    type Value = Option<&'de RawValue>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let mut index = 0;
        // To the end: what is left unread would be an error.
        loop {
            if index == self.0 {
                found = seq.next_element()?;
                if found.is_none() {
                    return Ok(None);
                }
            } else if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
            index += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn fields_come_as_they_were_written() {
        let object =
            raw(r#"{"b" : 1.10, "\u0061":"\ud83d", "\ud83d":123456789012345678901234567890, "a": { "x":1 } }"#);
        let found: Vec<_> = fields(&object).into_iter().map(|(name, value)| (name.into_owned(), value.get())).collect();
        let names: Vec<_> = found.iter().map(|(name, _)| std::str::from_utf8(name).ok()).collect();
        assert_eq!(names, [Some("b"), Some("a"), None, Some("a")]);
        let values: Vec<_> = found.iter().map(|(_, value)| *value).collect();
        assert_eq!(values, ["1.10", r#""\ud83d""#, "123456789012345678901234567890", r#"{ "x":1 }"#]);
        assert_eq!(field(&object, "a").unwrap().get(), r#"{ "x":1 }"#);
        assert!(field(&object, "c").is_none());
    }

    #[test]
    fn what_is_no_object_has_no_fields() {
        for other in ["null", "1", r#""text""#, "[1]", r#"["a",1]"#] {
            assert!(fields(&raw(other)).is_empty(), "{other}");
            assert!(field(&raw(other), "a").is_none(), "{other}");
        }
    }

    #[test]
    fn elements_are_found_by_place() {
        let array = raw(r#"[1, "\ud83d", {"a":[2]}]"#);
        assert_eq!(item(&array, 1).unwrap().get(), r#""\ud83d""#);
        assert_eq!(item(&array, 2).unwrap().get(), r#"{"a":[2]}"#);
        assert!(item(&array, 3).is_none());
    }

    proptest::proptest! {
        #[test]
        fn fields_are_those_of_the_decoded_object(map: std::collections::BTreeMap<String, Option<i64>>) {
            let object = serde_json::value::to_raw_value(&map).unwrap();
            let found = fields(&object).into_iter().map(|(name, value)| {
                (String::from_utf8(name.into_owned()).unwrap(), serde_json::from_str(value.get()).unwrap())
            });
            proptest::prop_assert_eq!(found.collect::<std::collections::BTreeMap<_, _>>(), map);
        }
    }
}
