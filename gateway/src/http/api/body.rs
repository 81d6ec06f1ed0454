//! Bodies: JSON that is what a request takes, or an answer that says where it is not.

use std::fmt;
use std::marker::PhantomData;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_path_to_error::{Path, Segment};

use super::problem::{Kind, Problem};

/// A body as what it is read as.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let words = "the body of this request is JSON: send Content-Type: application/json";
            return Err(Problem::new(Kind::WrongType, words));
        }
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|error| Problem::new(Kind::NotJson, error.body_text()))?;
        read(&bytes).map(Self)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// Reads a body, and if it is not what it should be, once more to find out where.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let error = match serde_json::from_slice(bytes) {
        Ok(Object(read)) => return Ok(read),
        Err(error) if error.is_data() => error,
        Err(error) => return Err(Problem::new(Kind::NotJson, format!("the body is not JSON: {error}"))),
    };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let found = serde_path_to_error::deserialize::<_, Object<T>>(&mut json).err();
    let pointer = found.as_ref().map_or_else(String::new, |found| pointer(found.path()));
    let detail = found.map_or(error, serde_path_to_error::Error::into_inner).to_string();
    // Where in the text says nothing that the pointer does not.
    let detail = detail.split(" at line ").next().unwrap_or_default().to_owned();
    Err(Problem::new(Kind::BadBody, detail).at(pointer))
}

/// Something that is read from an object alone. Structs would be read from lists, too, which nobody means.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Map<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Map(PhantomData))
    }
}

/// A field that is there: `null` is a value as others, and not none.
pub(super) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        let segment = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            Segment::Enum { variant } => variant.clone(),
            Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&segment);
    }
    pointer
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        a: Option<Box<RawValue>>,
        #[serde(default)]
        b: Vec<Object<Inner>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[serde(rename = "x/y")]
        x: u32,
    }

    #[test]
    fn what_is_wrong_with_a_body_is_said_with_its_place() {
        let outer: Outer = read(br#"{"a": [1.10, "\ud83d"], "b": [{"x/y": 7}]}"#).unwrap();
        assert_eq!((outer.a.unwrap().get(), outer.b[0].0.x), (r#"[1.10, "\ud83d"]"#, 7));
        for (body, pointer, word) in [
            (r#"{"b":[{"x/y":1},{"x/y":"no"}]}"#, "/b/1/x~1y", "invalid type"),
            (r#"{"b":7}"#, "/b", "invalid type"),
            ("[null, []]", "", "invalid type"),
            (r#"{"b":[[7]]}"#, "/b/0", "invalid type"),
        ] {
            let text = read::<Outer>(body.as_bytes()).unwrap_err().text();
            let told: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!((&told["code"], &told["errors"][0]["pointer"]), (&"bad_body".into(), &pointer.into()), "{text}");
            assert!(text.contains(word) && !text.contains("at line"), "{text}");
        }
        for body in [r#"{"c":1}"#, r#"{"b":[{}]}"#] {
            assert_eq!(read::<Outer>(body.as_bytes()).unwrap_err().code, "bad_body");
        }
        for body in ["", "{", "nonsense", r#"{"b":[]}x"#, "\u{0}"] {
            assert_eq!(read::<Outer>(body.as_bytes()).unwrap_err().code, "not_json", "{body}");
        }
    }
}
