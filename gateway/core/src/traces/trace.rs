//! Where in a trace something stands, as the headers `traceparent` and `tracestate` of W3C say it.

use std::fmt::Write as _;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// The flag by which whoever began a trace says that it is recorded.
const SAMPLED: u8 = 1;
/// The flag that says that its id is random in the parts by which others sample.
const RANDOM: u8 = 2;

/// The length of a `traceparent` of version 00.
const PARENT_BYTES: usize = 55;
/// Versions to come may be longer, but nothing in a header is without end.
const MOST_PARENT_BYTES: usize = 256;
/// What is more is not passed on; every system must pass on as much.
const MOST_STATE_BYTES: usize = 512;
const MOST_MEMBERS: usize = 32;

/// A place in a trace: that of the span which is the parent of what comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    id: u128,
    span: u64,
    flags: u8,
    state: Option<Arc<str>>,
}

impl Trace {
    /// The first place in a trace that is recorded.
    #[must_use]
    pub(super) fn begin() -> Self {
        // 0 is no id; that it comes up is less likely than that it is misread.
        let id = rand::random_range(1..=u128::MAX);
        Self { id, span: rand::random_range(1..=u64::MAX), flags: SAMPLED | RANDOM, state: None }
    }

    /// A further place in the same trace.
    #[must_use]
    pub(super) fn next(&self) -> Self {
        Self { span: rand::random_range(1..=u64::MAX), ..self.clone() }
    }

    /// The place that a `traceparent` names, and what vendors say to it. Nothing if the first is none; a `tracestate` that is none
    /// is left out.
    #[must_use]
    pub fn parse(parent: &str, state: &str) -> Option<Self> {
        let (id, span, flags) = parent_of(parent)?;
        let state = (!state.is_empty() && is_state(state)).then(|| state.into());
        Some(Self { id, span, flags, state })
    }

    /// The place that headers name, if they name one.
    #[must_use]
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(PARENT).iter();
        let parent = parents.next()?.to_str().ok()?;
        // Of two, none can be believed.
        if parents.next().is_some() {
            return None;
        }
        let states: Option<Vec<_>> = headers.get_all(STATE).iter().map(|state| state.to_str().ok()).collect();
        Self::parse(parent, &states.unwrap_or_default().join(","))
    }

    /// Adds what names this place, for whoever is asked next.
    pub fn add_to(&self, headers: &mut HeaderMap) {
        // Digits, and what was a header before.
        headers.extend(HeaderValue::from_str(&self.parent()).ok().map(|value| (PARENT, value)));
        let state = self.state.as_ref().and_then(|state| HeaderValue::from_str(state).ok());
        headers.extend(state.map(|value| (STATE, value)));
    }

    /// The `traceparent` that names this place.
    #[must_use]
    pub fn parent(&self) -> String {
        let mut text = String::with_capacity(PARENT_BYTES);
        // A text takes whatever is written.
        write!(text, "00-{:032x}-{:016x}-{:02x}", self.id, self.span, self.flags).ok();
        text
    }

    /// The `tracestate` that goes with it.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The form in which it is kept with what waits: the `traceparent`, and behind a space the `tracestate`, if there is one.
    #[must_use]
    pub fn kept(&self) -> String {
        let mut text = self.parent();
        if let Some(state) = &self.state {
            text.push(' ');
            text.push_str(state);
        }
        text
    }

    /// Reads [`Self::kept`]'s form; nothing if it is none.
    #[must_use]
    pub fn of_kept(text: &str) -> Option<Self> {
        let (parent, state) = text.split_once(' ').unwrap_or((text, ""));
        Self::parse(parent, state)
    }

    /// How long that form is.
    #[must_use]
    pub fn size(&self) -> usize {
        PARENT_BYTES + self.state.as_ref().map_or(0, |state| 1 + state.len())
    }

    /// Whether whoever began the trace has it recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The id of the trace: the same in all its places.
    #[must_use]
    pub fn id(&self) -> u128 {
        self.id
    }

    /// The id of the span.
    #[must_use]
    pub fn span(&self) -> u64 {
        self.span
    }

    /// Its flags.
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.flags
    }
}

/// The ids and the flags in a `traceparent`. Of versions to come, the beginning is read, as W3C wants it.
fn parent_of(text: &str) -> Option<(u128, u64, u8)> {
    if !text.is_ascii() || !(PARENT_BYTES..=MOST_PARENT_BYTES).contains(&text.len()) {
        return None;
    }
    let (known, rest) = text.split_at(PARENT_BYTES);
    let mut parts = known.split('-');
    let (version, id) = (parts.next()?, parts.next()?);
    let (span, flags) = (parts.next()?, parts.next()?);
    let lengths = [version.len(), id.len(), span.len(), flags.len()];
    let is_hexadecimal = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_known = version == "00";
    let ends_well = if is_known { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
    let are_digits = [version, id, span, flags].into_iter().all(is_hexadecimal);
    if lengths != [2, 32, 16, 2] || parts.next().is_some() || !are_digits || version == "ff" || !ends_well {
        return None;
    }
    let (id, span) = (u128::from_str_radix(id, 16).ok()?, u64::from_str_radix(span, 16).ok()?);
    let known_flags = if is_known { SAMPLED | RANDOM } else { SAMPLED };
    let flags = u8::from_str_radix(flags, 16).ok()? & known_flags;
    (id != 0 && span != 0).then_some((id, span, flags))
}

/// Whether a text is a `tracestate` that is passed on: a list of keys with values, each key once.
fn is_state(text: &str) -> bool {
    if text.len() > MOST_STATE_BYTES {
        return false;
    }
    let mut keys = Vec::new();
    for member in text.split(',').map(|member| member.trim_matches([' ', '\t'])) {
        // Empty ones are allowed.
        if member.is_empty() {
            continue;
        }
        let Some((key, value)) = member.split_once('=') else { return false };
        if !is_key(key) || !is_value(value) || keys.contains(&key) || keys.len() == MOST_MEMBERS {
            return false;
        }
        keys.push(key);
    }
    !keys.is_empty()
}

fn is_key(key: &str) -> bool {
    let is_name = |name: &str, most: usize, may_begin_with_digit: bool| {
        let begins = |byte: u8| byte.is_ascii_lowercase() || (may_begin_with_digit && byte.is_ascii_digit());
        let goes_on = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(&byte);
        name.len() <= most && name.bytes().next().is_some_and(begins) && name.bytes().all(goes_on)
    };
    match key.split_once('@') {
        None => is_name(key, 256, true),
        Some((tenant, system)) => is_name(tenant, 241, true) && is_name(system, 14, false),
    }
}

fn is_value(value: &str) -> bool {
    (1..=256).contains(&value.len())
        && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=')
        && !value.ends_with(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn parent(version: &str, flags: &str) -> String {
        format!("{version}-{ID}-{SPAN}-{flags}")
    }

    #[test]
    fn what_names_a_place_is_read_and_written_as_it_was() {
        let trace = Trace::parse(&parent("00", "01"), "vendor=t61rcWkgMzE,9a@rojo=00 x").unwrap();
        assert_eq!((trace.parent(), trace.state()), (parent("00", "01"), Some("vendor=t61rcWkgMzE,9a@rojo=00 x")));
        assert!(trace.is_sampled());
        assert_eq!(Trace::of_kept(&trace.kept()), Some(trace.clone()));
        assert_eq!(trace.kept().len(), trace.size());
        let plain = Trace::parse(&parent("00", "00"), "").unwrap();
        assert!(!plain.is_sampled());
        assert_eq!((plain.kept(), plain.size()), (parent("00", "00"), 55));
        let next = trace.next();
        assert_eq!((next.id(), next.state(), next.flags()), (trace.id(), trace.state(), trace.flags()));
        assert_ne!(next.span(), trace.span());
        // Flags that nobody knows are not passed on, and a version to come is read as far as it is known.
        assert_eq!(Trace::parse(&parent("00", "ff"), "").unwrap().parent(), parent("00", "03"));
        assert_eq!(Trace::parse(&parent("cc", "03"), "").unwrap().parent(), parent("00", "01"));
        assert_eq!(Trace::parse(&format!("{}-more", parent("cc", "01")), "").unwrap().parent(), parent("00", "01"));
    }

    #[test]
    fn what_names_no_place_is_ignored() {
        let upper = parent("00", "01").to_uppercase();
        let bad = [
            String::new(),
            "00".into(),
            upper,
            parent("ff", "01"),
            parent("0g", "01"),
            parent("00", "0G"),
            parent("00", "1"),
            format!("{}-", parent("00", "01")),
            format!("{}-more", parent("00", "01")),
            format!("{}more", parent("01", "01")),
            format!("{}-{}", parent("01", "01"), "x".repeat(1_000)),
            format!(" {}", parent("00", "01")),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{ID}-{}-01", "0".repeat(16)),
            format!("00-{ID}-{SPAN}{SPAN}-01"),
            format!("00-{SPAN}-{ID}-01"),
            format!("00_{ID}_{SPAN}_01"),
            format!("00-+{}-{SPAN}-01", &ID[1..]),
            format!("00-{}é-{SPAN}-01", &ID[2..]),
        ];
        for text in bad {
            assert_eq!(Trace::parse(&text, ""), None, "{text:?}");
        }
    }

    #[test]
    fn what_vendors_say_is_passed_on_or_left_out() {
        let state = |text: &str| Trace::parse(&parent("00", "01"), text).unwrap().state().map(str::to_owned);
        let many = |count: usize| (0..count).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(",");
        for good in ["a=1", "a=1,b=2", "a=1 , b=2", "0a@b-c=x y", "a=1,,b=2", "a_*/-=!", &many(32)] {
            assert_eq!(state(good).as_deref(), Some(good));
        }
        let long = format!("a={}", "x".repeat(257));
        let (too_much, twice) = (format!("{},{}", many(32), "z=z"), "a=1,a=2");
        let bytes = (0..3).map(|number| format!("k{number}={}", "v".repeat(200))).collect::<Vec<_>>().join(",");
        for bad in [
            "", ",", "a", "=1", "A=1", "a=", "a=b=c", "a=\n", "a=é", "@a=1", "a@=1", "a@0=1", twice, &long, &too_much,
            &bytes,
        ] {
            assert_eq!(state(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn headers_name_one_place_or_none() {
        let headers = |pairs: &[(&'static str, String)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            Trace::of_headers(&headers)
        };
        let good = ("traceparent", parent("00", "01"));
        let state = |text: &str| ("tracestate", text.to_owned());
        assert_eq!(headers(&[]), None);
        assert_eq!(headers(&[good.clone(), good.clone()]), None);
        assert_eq!(headers(&[("traceparent", "é".into())]), None);
        let trace = headers(&[good.clone(), state("a=1"), state("b=2")]).unwrap();
        assert_eq!(trace.state(), Some("a=1,b=2"));
        let mut written = HeaderMap::new();
        trace.add_to(&mut written);
        assert_eq!(Trace::of_headers(&written), Some(trace));
        assert_eq!(headers(&[good.clone(), state("é")]).unwrap().state(), None);
        assert_eq!(headers(&[state("a=1")]), None);
    }
}
