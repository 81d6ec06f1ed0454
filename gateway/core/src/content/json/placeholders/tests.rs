//! Placeholders in texts of all kinds, compared with what a decoder finds in them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const BIG: &str = "123456789012345678901234567890";

#[test]
fn placeholders_must_stand_for_an_attachment() {
    let one = r#"["e",{"_placeholder":true,"num":0}]"#;
    assert!(placeholders_fit(one, 1));
    assert!(!placeholders_fit(one, 0));
    for (what, text, attachments, fits) in [
        ("all of them", r#"[{"_placeholder":true,"num":1},[{"_placeholder":true,"num":0}]]"#, 2, true),
        ("the same twice", r#"[{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#, 2, false),
        ("none that there is", r#"["e",{"_placeholder":true,"num":1}]"#, 1, false),
        ("below nought", r#"["e",{"_placeholder":true,"num":-1}]"#, 1, false),
        ("nought below nought", r#"["e",{"_placeholder":true,"num":-0}]"#, 1, false),
        ("a fraction", r#"["e",{"_placeholder":true,"num":0.0}]"#, 1, false),
        ("a power", r#"["e",{"_placeholder":true,"num":0e0}]"#, 1, false),
        ("a text", r#"["e",{"_placeholder":true,"num":"0"}]"#, 1, false),
        ("an array", r#"["e",{"_placeholder":true,"num":[0]}]"#, 1, false),
        ("nothing", r#"["e",{"_placeholder":true}]"#, 1, false),
        ("more than any", r#"["e",{"_placeholder":true,"num":99999999999999999999999}]"#, 1, false),
        ("fields in between", r#"[{"num":0,"x":[{}],"_placeholder" : true , "y":{}}]"#, 1, true),
        ("spread over lines", "[ {\n\t\"_placeholder\"\r:\ttrue ,\n\"num\"\n:\n0\n} ]", 1, true),
        ("an escaped name", r#"["e",{"\u005fplaceholder":true,"num":7}]"#, 0, false),
        ("an escaped letter", r#"["e",{"_\u0070lacehol\u0064er":true,"num":7}]"#, 0, false),
        ("in capital digits", r#"["e",{"_p\u006Caceholder":true,"num":7}]"#, 0, false),
        ("an escaped number", r#"["e",{"\u005fplaceholder":true,"n\u0075m":0}]"#, 1, true),
        ("none, as it says", r#"["e",{"_placeholder":false,"num":9}]"#, 0, true),
        ("none, as it says otherwise", r#"["e",{"_placeholder":null,"num":9}]"#, 0, true),
        ("the text of an input", r#"["e",{"_placeholder":"Your name"}]"#, 0, true),
        ("one for who takes 1 for true", r#"["e",{"_placeholder":1,"num":0}]"#, 1, false),
        ("one for who takes a text for true", r#"["e",{"_placeholder":"true","num":0}]"#, 1, false),
        ("one for who takes an object for true", r#"["e",{"_placeholder":{},"num":0}]"#, 1, false),
        ("a text", r#"["e","_placeholder"]"#, 0, true),
        ("a text like one", r#"["e","{\"_placeholder\":true,\"num\":0}"]"#, 0, true),
        ("twice, and first it is none", r#"[{"_placeholder":false,"num":0,"_placeholder":true}]"#, 1, false),
        ("twice, and at last it is none", r#"[{"_placeholder":true,"num":9,"_placeholder":false}]"#, 1, false),
        ("two numbers", r#"[{"_placeholder":true,"num":9,"num":0}]"#, 1, false),
        ("two other fields", r#"[{"a":1,"_placeholder":true,"num":0,"a":2}]"#, 1, true),
        ("inside of another", r#"[{"_placeholder":true,"num":0,"x":{"_placeholder":true,"num":9}}]"#, 1, true),
        ("its name inside", r#"[{"x":{"_placeholder":true},"num":0}]"#, 1, false),
        ("beside half a character", r#"["\ud83d",{"\ud83d":1,"_placeholder":true,"num":0}]"#, 1, true),
        ("under half a character", r#"[{"\ud83d":{"_placeholder":true,"num":1}}]"#, 1, false),
        ("after a quote", r#"["\"","\\",{"_placeholder":true,"num":1}]"#, 1, false),
        ("beside an offset to come", "[\u{1},{\"_placeholder\":true,\"num\":0}]", 1, true),
    ] {
        assert_eq!(placeholders_fit(text, attachments), fits, "{what}: {text}");
    }
}

#[test]
fn placeholders_move_behind_other_attachments_and_nothing_else_changes() {
    let text = format!(
        r#"[{{"zeta":1.10,"num":7, "b" : {{"num":1,"_placeholder":true}},"alpha":{BIG},"\ud83d":"\ud83d\u00e9\/","10":-0,"9":[],
        "l":[{{"_placeholder":true,"num":0}}],"zeta":2,"x":{{"_placeholder":false,"num":3}}}}]"#
    );
    let expected = text.replace(r#"{"num":1,"#, r#"{"num":1001,"#).replace(r#"true,"num":0}"#, r#"true,"num":1000}"#);
    assert_eq!(shift_placeholders(&text, 1000), Some(expected));
    assert_eq!(shift_placeholders(&text, 0), Some(text));
    assert_eq!(shift_placeholders(r#"[{"_placeholder":true}]"#, 1), None);
    assert_eq!(shift_placeholders(r#"[{"_placeholder":true,"num":1}]"#, usize::MAX), None);
}

#[test]
fn names_of_fields_may_be_long_and_many() {
    let name = "\\u005f".repeat(10_000);
    let text = format!(r#"[{{"{name}":true,"num":0}},{}{{"_placeholder":true,"num":0}}]"#, "{},".repeat(10_000));
    assert!(placeholders_fit(&text, 1));
}

/// What the texts mean to a decoder.
fn fits(value: &Value, used: &mut [bool]) -> bool {
    match value {
        Value::Array(items) => items.iter().all(|item| fits(item, used)),
        Value::Object(fields) => {
            let flag = fields.get("_placeholder").unwrap_or(&Value::Null);
            let is_odd = !flag.is_boolean() && !flag.is_null() && fields.contains_key("num");
            if is_odd {
                return false;
            }
            if *flag != json!(true) {
                return fields.values().all(|item| fits(item, used));
            }
            let number = fields.get("num").and_then(Value::as_u64);
            let place = number.and_then(|number| used.get_mut(usize::try_from(number).ok()?));
            place.is_some_and(|used| !std::mem::replace(used, true))
        }
        _ => true,
    }
}

fn shift(value: &mut Value, by: u64) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| shift(item, by)),
        Value::Object(fields) if fields.get("_placeholder") == Some(&json!(true)) => {
            let number = fields["num"].as_u64().unwrap();
            fields.insert("num".into(), (number + by).into());
        }
        Value::Object(fields) => fields.values_mut().for_each(|item| shift(item, by)),
        _ => {}
    }
}

/// Writes JSON as other encoders do: letters escaped or not, with blanks or without, as `choices` say.
fn write(value: &Value, choices: &mut impl Iterator<Item = u8>, out: &mut String) {
    let mut blank = |out: &mut String| match choices.next() {
        Some(choice) if choice % 4 == 0 => out.push([' ', '\n', '\t', '\r'][usize::from(choice / 64)]),
        _ => {}
    };
    blank(out);
    match value {
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, choices, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (index, (name, field)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(&Value::from(name.as_str()), choices, out);
                out.push(':');
                write(field, choices, out);
            }
            out.push('}');
        }
        Value::String(text) => {
            out.push('"');
            for letter in text.chars() {
                match choices.next() {
                    Some(choice) if choice % 3 == 0 || letter < ' ' || matches!(letter, '"' | '\\') => {
                        letter
                            .encode_utf16(&mut [0; 2])
                            .iter()
                            .for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
                    }
                    _ => out.push(letter),
                }
            }
            out.push('"');
        }
        other => out.push_str(&other.to_string()),
    }
    if let Some(choice) = choices.next()
        && choice % 4 == 0
    {
        out.push('\n');
    }
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["_placeholder", "num", "_place\\holder", "a\"b"]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn placeholder() -> impl Strategy<Value = Value> {
    (0..3_u8).prop_map(|number| json!({ "_placeholder": true, "num": number }))
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        Just(json!(true)),
        (-1..4_i8).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
        placeholder(),
    ];
    leaf.prop_recursive(5, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((word(), inner), 0..5).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_scan_finds_what_a_decoder_finds(value in value(), choices: [u8; 32], attachments in 0..4_usize, by in 0..1_000_usize) {
        let mut text = String::new();
        write(&value, &mut choices.into_iter().cycle(), &mut text);
        prop_assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(value.clone()), "the writer's fault: {}", text);
        let fit = fits(&value, &mut vec![false; attachments]);
        prop_assert_eq!(placeholders_fit(&text, attachments), fit, "{}", text);
        if fit {
            let shifted = shift_placeholders(&text, by).unwrap();
            let mut expected = value;
            shift(&mut expected, by as u64);
            prop_assert_eq!(serde_json::from_str::<Value>(&shifted).unwrap(), expected);
            prop_assert_eq!(shift_placeholders(&text, 0), Some(text));
        }
    }

    #[test]
    fn any_text_is_answered(text in r#"[\[\]{}:,"\\tu0p_ é\x01]{0,40}"#, attachments in 0..2_usize) {
        _ = placeholders_fit(&text, attachments);
        _ = shift_placeholders(&text, 1);
    }
}
