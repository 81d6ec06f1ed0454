//! Templates over events of all shapes.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;
use crate::domain::{RoomName, UserId};
use crate::routes::Lifecycle;

fn environment(name: &str) -> Option<String> {
    (name == "TOKEN").then(|| "s{3}cret".to_owned())
}

/// A place where everything is known.
fn anywhere() -> Context<'static> {
    Context {
        lifecycle: None,
        room: true,
        number: true,
        counts: true,
        name: true,
        typing: true,
        offset: true,
        refusal: true,
        notification: true,
        unread: true,
        environment: Some(&environment),
    }
}

fn template(text: &str) -> Template {
    Template::parse(text, &anywhere()).unwrap_or_else(|why| panic!("{text:?}: {why}"))
}

/// Hands over a scope in which everything is known; `args` is the JSON array of the event's arguments.
fn with_scope<T>(args: &str, take: impl FnOnce(Scope<'_>) -> T) -> T {
    let args: Vec<&RawValue> = serde_json::from_str(args).unwrap();
    let identity =
        Identity { user: UserId::parse("alice"), roles: vec!["admin".into(), "a\"b".into()], ..Identity::default() };
    let auth = BTreeMap::from([("nick".to_owned(), RawValue::from_string(r#"{"short":"al"}"#.into()).unwrap())]);
    let mut scope = Scope::new("/chat", "say", &args, &identity, "5e551071", &auth, 1_700_000_000_000);
    scope.room = Some(RoomName::parse("lobby").unwrap());
    scope.number = Some(3);
    scope.members = Some(2);
    scope.connections = Some(5);
    scope.name = Some("bob".into());
    scope.typing = Some(true);
    scope.notification = RawValue::from_string(r#"{"id":"6f","message":1}"#.into()).ok();
    scope.unread = Some(4);
    scope.refusal = Some(("not_in_room", Refusal::NotInRoom.message()));
    take(scope)
}

fn text(source: &str, args: &str) -> Result<String, String> {
    with_scope(args, |scope| template(source).text(&scope).map(Cow::into_owned).map_err(|refusal| refusal.message()))
}

fn json(source: &str, args: &str) -> Result<String, String> {
    with_scope(args, |scope| {
        let mut out = String::new();
        template(source).json(&scope, &mut out).map_err(|refusal| refusal.message())?;
        Ok(out)
    })
}

#[test]
fn every_placeholder_has_its_value() {
    let cases = [
        ("{arg}", r#"["x"]"#, r#""x""#),
        ("{arg.a.b.1}", r#"[{"a":{"b":[1, {"c" : 2}]}}]"#, r#"{"c" : 2}"#),
        ("{arg.0}", r#"[["first"]]"#, r#""first""#),
        ("{arg.0}", r#"[{"0":"field"}]"#, r#""field""#),
        ("{args}", r#"[1, "two",{"a":3}]"#, r#"[1,"two",{"a":3}]"#),
        ("{args.1.x}", r#"[0,{"x":true}]"#, "true"),
        ("{user.id}", "[]", r#""alice""#),
        ("{user.roles}", "[]", r#"["admin","a\"b"]"#),
        ("{session.id}", "[]", r#""5e551071""#),
        ("{auth.nick.short}", "[]", r#""al""#),
        ("{room}", "[]", r#""lobby""#),
        ("{number}", "[]", "3"),
        ("{members}", "[]", "2"),
        ("{connections}", "[]", "5"),
        ("{now}", "[]", "1700000000000"),
        ("{event}", "[]", r#""say""#),
        ("{namespace}", "[]", r#""/chat""#),
        ("{name}", "[]", r#""bob""#),
        ("{typing}", "[]", "true"),
        ("{notification}", "[]", r#"{"id":"6f","message":1}"#),
        ("{notification.id}", "[]", r#""6f""#),
        ("{unread}", "[]", "4"),
        ("{refusal.code}", "[]", r#""not_in_room""#),
        ("{refusal.message}", "[]", r#""join the room first""#),
        ("{env.TOKEN}", "[]", r#""s{3}cret""#),
        ("{env.NOPE|else}", "[]", r#""else""#),
        ("{env.NOPE?}", "[]", r#""""#),
        ("{{{arg}}}", "[1]", r#""{1}""#),
        ("", "[]", r#""""#),
    ];
    for (source, args, expected) in cases {
        assert_eq!(json(source, args).as_deref(), Ok(expected), "{source} over {args}");
    }
}

#[test]
fn what_is_not_there_is_said_by_name_and_not_by_content() {
    for (source, args) in [("{arg.room}", r#"[{"secret":1}]"#), ("{arg.room}", "[]"), ("{arg.room}", r#"["secret"]"#)] {
        assert_eq!(text(source, args), Err("the arguments are not valid: {arg.room} has no value".into()));
        assert_eq!(json(source, args), Err("the arguments are not valid: {arg.room} has no value".into()));
    }
    assert_eq!(json("{arg.room?}", "[{}]").as_deref(), Ok("null"));
    assert_eq!(text("{arg.room?}", "[{}]").as_deref(), Ok(""));
    assert_eq!(text("in {arg.room?}!", "[{}]").as_deref(), Ok("in !"));
    assert_eq!(text("{arg.room|hall}", "[{}]").as_deref(), Ok("hall"));
    // To who is content without a value, null is none.
    assert_eq!(text("{arg.room|hall}", r#"[{"room":null}]"#).as_deref(), Ok("hall"));
    assert_eq!(json("{arg.room}", r#"[{"room":null}]"#).as_deref(), Ok("null"));
    with_scope(r#"[{"room":null}]"#, |scope| {
        assert_eq!(template("{arg.room?}").optional(&scope), Ok(None));
        assert_eq!(template("{arg.more?}").optional(&scope), Ok(None));
    });
}

#[test]
fn as_text_only_texts_and_numbers_stand_alone() {
    let whole = |value: &str| text("{arg}", &format!("[{value}]"));
    assert_eq!(whole(r#""a\n\u00e9""#).as_deref(), Ok("a\né"));
    assert_eq!(whole("-1.50e3").as_deref(), Ok("-1.50e3"));
    for value in ["true", "null", "{}", "[1]"] {
        assert_eq!(whole(value), Err("the arguments are not valid: {arg} is not a text or a number".into()), "{value}");
    }
    let half =
        "the arguments are not valid: {arg} is a text with half a character in it: a surrogate without its other half";
    assert_eq!(whole(r#""\ud800""#), Err(half.into()));
    let mixed = |value: &str| text("<{arg}>", &format!("[{value}]"));
    assert_eq!(mixed(r#""a""#).as_deref(), Ok("<a>"));
    assert_eq!(mixed("true").as_deref(), Ok("<true>"));
    assert_eq!(mixed("null").as_deref(), Ok("<>"));
    assert_eq!(mixed(r#"{"a": 1}"#).as_deref(), Ok(r#"<{"a": 1}>"#));
    assert_eq!(mixed(r#""\ud800""#), Err(half.into()));
}

#[test]
fn what_a_client_sent_passes_untouched() {
    for value in [r#""\ud800""#, "1e400", "-0", r#"{ "b" : 1,"a":2,"b":3 }"#, "12345678901234567890123"] {
        assert_eq!(json("{arg}", &format!("[{value}]")).as_deref(), Ok(value));
        assert_eq!(json("{arg.x}", &format!(r#"[{{"x":{value}}}]"#)).as_deref(), Ok(value));
    }
}

#[test]
fn within_a_text_a_clients_text_stays_as_it_was_escaped() {
    let mixed = |value: &str| json("say \"{arg}\" to {user.id}", &format!("[{value}]"));
    for value in [r"\ud83d", r"\ude00\ud83d", r"caf\u00e9\/ \n", "é {}", r#"\" \\"#, ""] {
        let expected = format!(r#""say \"{value}\" to alice""#);
        assert_eq!(mixed(&format!("\"{value}\"")).as_deref(), Ok(expected.as_str()));
    }
    let object = mixed(r#"{"a" : "\ud83d"}"#).unwrap();
    assert_eq!(object, r#""say \"{\"a\" : \"\\ud83d\"}\" to alice""#);
    assert_eq!(mixed("null").as_deref(), Ok(r#""say \"\" to alice""#));
    assert_eq!(mixed("12345678901234567890123").as_deref(), Ok(r#""say \"12345678901234567890123\" to alice""#));
}

#[test]
fn the_last_of_two_fields_counts_and_odd_names_are_no_harm() {
    assert_eq!(json("{arg.a}", r#"[{"a":1,"a":2}]"#).as_deref(), Ok("2"));
    assert_eq!(json("{arg.o.a}", r#"[{"o":{"a":1,"\u0061":2}}]"#).as_deref(), Ok("2"));
    assert_eq!(json("{arg.a}", r#"[{"\ud800":1,"a":2}]"#).as_deref(), Ok("2"));
    assert_eq!(json("{arg.o.a}", r#"[{"o":{"\udc00":1,"a":2}}]"#).as_deref(), Ok("2"));
}

#[test]
fn deep_and_wide_events_are_no_harm() {
    let deep = format!("[{{\"d\":{}1{},\"x\":7}}]", "[".repeat(1000), "]".repeat(1000));
    assert_eq!(json("{arg.x}", &deep).as_deref(), Ok("7"));
    assert_eq!(json("{arg.d}", &deep).unwrap().len(), 2001);
    assert_eq!(json("{arg.d.0.0.0}", &deep).unwrap().len(), 2001 - 6);
    let wide = format!("[{}]", vec!["1"; 10_000].join(","));
    assert_eq!(json("{args.9999}", &wide).as_deref(), Ok("1"));
    assert!(json("{args.10000}", &wide).is_err());
    assert!(json("{arg.99999999999999999999999}", "[[1]]").is_err());
    assert_eq!(json("{args}", &wide).unwrap(), wide);
}

#[test]
fn a_condition_holds_for_a_value_that_means_something() {
    let holds = |source: &str, args: &str| with_scope(args, |scope| template(source).holds(&scope));
    for args in [r#"["x"]"#, "[0]", "[true]", "[{}]", r#"["false"]"#] {
        assert!(holds("{arg}", args), "{args}");
    }
    for args in ["[]", "[null]", "[false]", r#"[""]"#] {
        assert!(!holds("{arg}", args), "{args}");
        assert!(!holds("{arg?}", args), "{args}");
    }
    assert!(holds("{arg|true}", "[]"));
    assert!(!holds("{arg|true}", "[false]"));
    assert!(!holds("{arg.a}{arg.b}", r#"[{"a":1}]"#));
}

#[test]
fn a_room_may_have_come_from_a_template_that_fits() {
    let alice = Identity { user: UserId::parse("alice"), ..Identity::default() };
    let may = |source: &str, room: &str| template(source).may_give(room, &alice);
    assert!(may("chat", "chat"));
    assert!(!may("chat", "chat2"));
    assert!(may("{arg.room}", "anything"));
    assert!(may("room-{number}", "room-12"));
    assert!(!may("room-{number}", "hall-12"));
    assert!(may("user:{user.id}", "user:alice"));
    assert!(!may("user:{user.id}", "user:bob"));
    assert!(!template("user:{user.id}").may_give("user:bob", &Identity::default()));
    assert!(may("{arg.a}-{arg.b}-x", "1-2-x"));
    assert!(!may("{arg.a}-{arg.b}-x", "1-x"));
    // The ends must not use the same letters.
    assert!(!may("aba{arg}aba", "aba"));
    assert!(!may("ab{arg}ba", "aba"));
}

#[test]
fn mistakes_say_what_was_expected() {
    let nowhere = Context::of_nothing(None);
    let gone = Context { lifecycle: Some(Lifecycle::Leave), room: true, ..nowhere };
    let cases = [
        ("{arg.room", nowhere, "without }"),
        ("a}b", nowhere, "without {"),
        ("{a{b}}", nowhere, "without }"),
        ("{}", nowhere, "{} is not a placeholder; there are: {arg…}"),
        ("{wings}", nowhere, "{wings} is not a placeholder; there are: {arg…}"),
        ("{user}", nowhere, "{user} is not a placeholder by itself"),
        ("{user.name}", nowhere, "{user.name} is not a placeholder"),
        ("{arg..a}", nowhere, "has an empty step"),
        ("{arg.}", nowhere, "has an empty step"),
        ("{arg.1.2.3.4.5.6.7.8.9.1.2.3.4.5.6.7.8}", nowhere, "has more than 16 steps"),
        ("{args.x}", nowhere, "takes a number first"),
        ("{arg?|x}", nowhere, "has both ? and a default"),
        ("{auth.token}", nowhere, "is a secret of the client"),
        ("{auth.pid.x}", nowhere, "is a secret of the client"),
        ("{room}", nowhere, "there is no room yet"),
        ("{number}", nowhere, "only a join with auto = true"),
        ("{members}", nowhere, "nothing is counted here"),
        ("{members}", Context { counts: true, ..nowhere }, "{members} cannot stand here: needs a room"),
        ("{connections}", nowhere, "nothing is counted here"),
        ("{name}", nowhere, "only the action claim"),
        ("{typing}", nowhere, "only the args of the action typing"),
        ("{offset}", nowhere, "only an event that is kept"),
        ("at {offset}", anywhere(), "can only be a whole value"),
        ("{offset?}", anywhere(), "always has a value"),
        ("{refusal.code}", nowhere, "it can stand in refused only"),
        ("{env.HOME}", nowhere, "cannot stand here"),
        ("{env.NOPE}", anywhere(), "NOPE is not set"),
        ("{env.}", anywhere(), "letters, digits and _"),
        ("{env.GATEWAY_AUTH__SECRET|x}", anywhere(), "is a setting of the gateway"),
        ("{arg}", gone, "a $leave route has no arguments"),
        ("{args.0}", gone, "a $leave route has no arguments"),
        ("{auth.nick}", gone, "the session may be long gone"),
        ("{user.roles}", gone, "the session may be long gone"),
    ];
    for (source, context, expected) in cases {
        let why = Template::parse(source, &context).unwrap_err();
        assert!(why.contains(expected), "{source}: {why:?} does not contain {expected:?}");
    }
}

#[test]
fn secrets_of_the_environment_are_not_shown() {
    let template = template("Bearer {env.TOKEN}");
    assert_eq!(template.fixed().as_deref(), Some("Bearer s{3}cret"));
    assert_eq!(format!("{template} {template:?}"), "Bearer {env.TOKEN} Template(Bearer {env.TOKEN})");
}

/// `args = …` of a line of TOML.
fn args(list: &str) -> Args {
    let text = format!("args = {list}");
    let table = toml::de::DeTable::parse(&text).unwrap();
    let items: Vec<_> = table.get_ref().get("args").unwrap().get_ref().as_array().unwrap().iter().collect();
    Args::compile(&items, &anywhere()).unwrap()
}

#[test]
fn arguments_are_rendered_in_order_with_their_types() {
    let args =
        args(r#"[1, 2.5, true, "t {arg.a}", "{arg.a}", { z = "{{}}", a = ["{args}", "{offset}"] }, "{offset}", 0x10]"#);
    let rendered = with_scope(r#"[{"a":[1]}]"#, |scope| args.json(&scope)).unwrap();
    assert_eq!(rendered, "[1,2.5,true,\"t [1]\",[1],{\"z\":\"{}\",\"a\":[[{\"a\":[1]}],\u{1}]},\u{1},16]");
    assert_eq!(
        args.to_string(),
        r#"[1,2.5,true,"t {arg.a}","{arg.a}",{"z":"{}","a":["{args}","{offset}"]},"{offset}",16]"#
    );
    let untouched = with_scope("[1, {\"a\" : 2}]", |scope| Args::Client.json(&scope)).unwrap();
    assert_eq!(untouched, "[1,{\"a\" : 2}]");
    assert_eq!(with_scope("[1]", |scope| Args::none().json(&scope)).unwrap(), "[]");
}

#[test]
fn arguments_cannot_hold_what_json_has_not() {
    for (list, expected) in
        [("[nan]", "finite"), ("[-inf]", "finite"), ("[[\"no {offset}\"]]", "offset"), ("[\"{wings}\"]", "wings")]
    {
        let text = format!("args = {list}");
        let table = toml::de::DeTable::parse(&text).unwrap();
        let items: Vec<_> = table.get_ref().get("args").unwrap().get_ref().as_array().unwrap().iter().collect();
        let error = Args::compile(&items, &anywhere()).unwrap_err();
        assert!(error.why.contains(expected), "{list}: {}", error.why);
    }
}

/// No bound on the machine's speed is asserted beyond what an unoptimized build on a busy machine keeps.
#[test]
fn rendering_does_not_depend_on_what_is_beside_the_values() {
    let args = args(r#"[{ room = "{room}", user = "{user.id?}", data = "{arg.data?}", at = "{now}" }]"#);
    let beside = format!(r#"[{{"data":{{"x":1}},"beside":"{}"}}]"#, "x".repeat(50_000));
    let start = tokio::time::Instant::now();
    for _ in 0..100 {
        let rendered = with_scope(&beside, |scope| args.json(&scope)).unwrap();
        assert!(rendered.len() < 100, "{}", rendered.len());
    }
    assert!(start.elapsed() < Duration::from_secs(10));
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("arg".to_owned()),
        "arg(\\.[a-c0-2]{1,2}){1,4}",
        "args(\\.[0-2](\\.[a-c]){0,2})?",
        Just("user.id".to_owned()),
        Just("user.roles".to_owned()),
        Just("auth.nick".to_owned()),
        Just("room".to_owned()),
        Just("number".to_owned()),
        Just("typing".to_owned()),
    ]
}

fn sources() -> impl Strategy<Value = String> {
    let placeholder = (names(), prop_oneof![Just(String::new()), Just("?".to_owned()), "\\|[^{}]{0,6}"])
        .prop_map(|(name, end)| format!("{{{name}{end}}}"));
    let plain = "[^{}]{1,6}|\\{\\{|\\}\\}";
    prop::collection::vec(prop_oneof![placeholder, plain], 0..5).prop_map(|pieces| pieces.concat())
}

fn values() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("1e999".to_owned()),
        Just(r#""\ud800""#.to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" , "))),
            prop::collection::vec(("[a-c0-2]{1,2}|\\\\ud800|\\\\u0061", inner), 0..4).prop_map(|fields| {
                let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\" :{value}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_template_over_any_event_gives_json_or_a_refusal(
        source in sources(),
        values in prop::collection::vec(values(), 0..3),
    ) {
        let template = template(&source);
        with_scope(&format!("[{}]", values.join(",")), |scope| {
            let mut out = String::new();
            if template.json(&scope, &mut out).is_ok() {
                prop_assert!(serde_json::from_str::<&RawValue>(&out).is_ok(), "{source} gives {out}");
            }
            let _ = template.holds(&scope);
            // What is text here is the same text as JSON, unless the value keeps its own type.
            if let Ok(text) = template.text(&scope) {
                prop_assert!(template.may_give(&text, scope.identity), "{source} gives {text}");
            }
            Ok(())
        })?;
    }

    #[test]
    fn what_is_shown_of_a_template_is_the_template(source in sources()) {
        let template = template(&source);
        prop_assert_eq!(&Template::parse(&template.to_string(), &anywhere()).unwrap(), &template);
    }

    #[test]
    fn any_text_is_a_template_or_a_mistake(source in "[{}|?.a-z0-9 ]{0,30}") {
        if let Ok(template) = Template::parse(&source, &anywhere()) {
            with_scope("[{\"a\":1}]", |scope| template.json(&scope, &mut String::new()).ok());
        }
    }
}
