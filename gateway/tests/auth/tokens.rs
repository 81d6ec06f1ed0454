//! What is let in and what is not: every kind of key, and tokens that differ from good ones by one thing.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_core::auth::{Grant, Identity, Tokens, mint};
use gateway_core::domain::{Refusal, UserId};
use jsonwebtoken::Algorithm;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use serde_json::{Value, json};

use crate::support::tokens::{SECRET, Signer, claims, claims_with, now, path, settings, tokens};

async fn by_secret() -> Arc<Tokens> {
    tokens(|auth| auth.secret = SECRET.to_owned().into()).await
}

async fn by_keys(names: &[&str]) -> Arc<Tokens> {
    tokens(|auth| auth.public_keys = names.iter().map(|name| path(name)).collect()).await
}

fn alice() -> UserId {
    UserId::parse("alice").unwrap()
}

async fn refused(tokens: &Tokens, token: &str) -> Refusal {
    tokens.identify(Some(token)).await.unwrap_err()
}

#[tokio::test]
async fn a_minted_token_says_what_was_granted() {
    let change = |auth: &mut gateway_core::config::Auth| {
        auth.secret = SECRET.to_owned().into();
        auth.issuer = "me".into();
        auth.audience = vec!["gateway".into(), "other".into()];
    };
    let grant = Grant {
        roles: vec!["member".into()],
        join: Some(vec!["team-*".into()]),
        id: Some("t1".into()),
        ..Grant::new(alice(), Duration::from_secs(60))
    };
    let token = mint(&settings(change), &grant).unwrap();
    let identity = tokens(change).await.identify(Some(&token)).await.unwrap();
    assert_eq!((identity.user.clone(), identity.roles.clone()), (Some(alice()), vec!["member".to_owned()]));
    assert!(identity.may_join("team-1") && !identity.may_join("1") && identity.may_publish("1"));
    let facts = identity.token.clone().unwrap();
    assert_eq!(facts.id.as_deref(), Some("t1"));
    assert!(facts.issued.unwrap() <= now() && facts.issued.unwrap() + 65 == facts.expires, "{facts:?}");
    assert!(identity.expires_in().unwrap() > Duration::from_secs(50));
    assert_eq!(mint(&settings(|_| {}), &grant), None, "there is no secret");
}

#[tokio::test]
async fn the_command_line_mints_what_the_node_takes() {
    let token = |arguments: &[&str], secret: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.arg("token").args(arguments).env("GATEWAY_AUTH__SECRET", secret);
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let arguments = ["--user", "alice", "--role", "a", "--role", "b", "--ttl", "1m", "--publish", "x*", "--id", "t1"];
    let (code, minted, _) = token(&arguments, SECRET);
    assert_eq!(code, 0);
    let identity = by_secret().await.identify(Some(&minted)).await.unwrap();
    assert_eq!(identity.roles, ["a", "b"]);
    assert!(identity.may_join("y") && identity.may_publish("xy") && !identity.may_publish("y"));
    assert_eq!(identity.token.unwrap().id.as_deref(), Some("t1"));
    for (arguments, secret, words) in [
        (&["--user", "alice"][..], "", "auth.secret is not set"),
        (&["--user", ""][..], SECRET, "a user id has"),
        (&["--user", "alice", "--join", "a\n"][..], SECRET, "no control characters"),
    ] {
        let (code, _, error) = token(arguments, secret);
        assert!(code == 64 && error.contains(words), "{arguments:?}: {code} {error}");
    }
}

#[tokio::test]
async fn without_keys_everybody_is_anonymous() {
    let tokens = tokens(|_| {}).await;
    assert!(!tokens.configured() && !tokens.required());
    for token in [None, Some("whatever")] {
        assert_eq!(tokens.identify(token).await, Ok(Identity::default()));
    }
}

#[tokio::test]
async fn who_brings_no_token_is_anonymous_only_where_that_is_allowed() {
    let strict = by_secret().await;
    let open = tokens(|auth| (auth.secret, auth.anonymous) = (SECRET.to_owned().into(), true)).await;
    assert!(strict.configured() && strict.required());
    assert!(open.configured() && !open.required());
    for token in [None, Some("")] {
        assert_eq!(strict.identify(token).await, Err(Refusal::TokenRequired));
        assert_eq!(open.identify(token).await, Ok(Identity::default()));
    }
    assert_eq!(refused(&open, "bad").await, Refusal::Unauthorized);
    let token = Signer::secret(SECRET).sign(&claims());
    assert_eq!(open.identify(Some(&token)).await.unwrap().user, Some(alice()));
}

#[tokio::test]
async fn every_kind_of_key_checks_its_own_tokens_only() {
    let kinds = [
        ("rsa.pub.pem", Signer::file("rsa.pem")),
        ("rsa.pkcs1.pem", Signer::file("rsa.pem")),
        ("rsa_other.pub.pem", Signer::file("rsa_other.pem")),
        ("ec.pub.pem", Signer::file("ec.pem")),
        ("ed.pub.pem", Signer::file("ed.pem")),
    ];
    for (name, signer) in &kinds {
        let tokens = by_keys(&[name]).await;
        let token = signer.sign(&claims());
        assert_eq!(tokens.identify(Some(&token)).await.unwrap().user, Some(alice()), "{name}");
        let named = signer.sign_named(&claims(), json!({ "kid": "../../etc/passwd" }));
        assert!(tokens.identify(Some(&named)).await.is_ok(), "keys that are configured have no name: {name}");
        for (other, signer) in kinds.iter().filter(|(other, _)| other[..5] != name[..5]) {
            assert_eq!(refused(&tokens, &signer.sign(&claims())).await, Refusal::Unauthorized, "{other} by {name}");
        }
    }
    let all = by_keys(&["rsa.pub.pem", "rsa_other.pub.pem", "ec.pub.pem", "ed.pub.pem"]).await;
    for (name, signer) in &kinds {
        assert!(all.identify(Some(&signer.sign(&claims()))).await.is_ok(), "{name}: they are tried in order");
    }
    let renamed = kinds[4].1.sign_named(&claims(), json!({ "alg": "Ed25519" }));
    assert!(all.identify(Some(&renamed)).await.is_ok(), "the newer name of EdDSA");
}

#[tokio::test]
async fn several_keys_may_be_in_one_text() {
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    let text = format!("# ours\n{}\n# theirs\n{}", read("ec.pub.pem"), read("ed.pub.pem"));
    let tokens = tokens(|auth| auth.public_keys = vec![text]).await;
    for name in ["ec.pem", "ed.pem"] {
        assert!(tokens.identify(Some(&Signer::file(name).sign(&claims()))).await.is_ok(), "{name}");
    }
}

#[tokio::test]
async fn a_token_cannot_choose_its_algorithm() {
    let pem = std::fs::read_to_string(path("rsa.pub.pem")).unwrap();
    let all = tokens(|auth| {
        auth.secret = SECRET.to_owned().into();
        auth.public_keys = vec![path("rsa.pub.pem"), path("ec.pub.pem")];
    })
    .await;
    let unsigned = |alg: &str| {
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": alg }).to_string());
        format!("{header}.{}.", URL_SAFE_NO_PAD.encode(claims().to_string()))
    };
    let rsa = || Signer::file("rsa.pem");
    let bad = [
        unsigned("none"),
        unsigned("None"),
        unsigned(""),
        unsigned("HS256"),
        unsigned("RS256"),
        Signer::secret("").sign(&claims()),
        Signer::secret(&pem).sign(&claims()),
        Signer::secret(pem.trim()).sign(&claims()),
        Signer::secret(SECRET).with(Algorithm::HS384).sign(&claims()),
        Signer::secret(SECRET).sign_named(&claims(), json!({ "alg": "RS256" })),
        Signer::secret(SECRET).sign_named(&claims(), json!({ "alg": "hs256" })),
        rsa().with(Algorithm::RS512).sign(&claims()),
        rsa().with(Algorithm::PS256).sign(&claims()),
        rsa().with(Algorithm::RS512).sign_named(&claims(), json!({ "alg": "RS256" })),
        rsa().sign_named(&claims(), json!({ "alg": "ES256" })),
        Signer::file("ec.pem").sign_named(&claims(), json!({ "alg": "RS256" })),
        Signer::file("ec.pem").sign_named(&claims(), json!({ "alg": "ES384" })),
        Signer::file("ed.pem").sign(&claims()),
    ];
    for token in bad {
        assert_eq!(refused(&all, &token).await, Refusal::Unauthorized, "{token}");
    }
}

#[tokio::test]
async fn keys_in_a_header_are_not_looked_at() {
    let tokens = by_keys(&["rsa.pub.pem"]).await;
    let (own, foreign) = (Signer::file("rsa.pem"), Signer::file("rsa_other.pem"));
    for header in [
        json!({ "jwk": foreign.jwk() }),
        json!({ "jku": "http://127.0.0.1:1/keys", "kid": "x" }),
        json!({ "x5u": "http://127.0.0.1:1/keys", "x5c": ["AAAA"] }),
        json!({ "kid": "../rsa_other.pub.pem" }),
        json!({ "kid": path("rsa_other.pub.pem") }),
        json!({ "kid": "' OR 1=1 --" }),
    ] {
        assert_eq!(refused(&tokens, &foreign.sign_named(&claims(), header.clone())).await, Refusal::Unauthorized);
        assert!(tokens.identify(Some(&own.sign_named(&claims(), header.clone()))).await.is_ok(), "{header}");
    }
}

#[tokio::test]
async fn claims_that_do_not_hold_are_refused() {
    let tokens = tokens(|auth| {
        auth.secret = SECRET.to_owned().into();
        auth.issuer = "me".into();
        auth.audience = vec!["a".into(), "b".into()];
    })
    .await;
    let good = json!({ "sub": "alice", "exp": now() + 60, "iss": "me", "aud": "a" });
    let check = |name: &str, value: Value| {
        let mut claims = good.clone();
        if value.is_null() {
            drop(claims.as_object_mut().unwrap().remove(name))
        } else {
            claims[name] = value
        }
        let (tokens, token) = (tokens.clone(), Signer::secret(SECRET).sign(&claims));
        async move { tokens.identify(Some(&token)).await.map(|_| ()) }
    };
    for (name, value) in [
        ("aud", json!("b")),
        ("aud", json!(["x", "a"])),
        ("nbf", json!(now() - 1)),
        ("iat", json!(now() - 1_000)),
        ("iat", json!(now() + 2)),
        ("exp", json!(now() + 2)),
        ("exp", json!(now() as f64 + 60.5)),
        ("jti", json!("x")),
    ] {
        assert_eq!(check(name, value.clone()).await, Ok(()), "{name} {value}");
    }
    for (name, value) in [
        ("aud", Value::Null),
        ("aud", json!("c")),
        ("aud", json!([])),
        ("aud", json!(["A"])),
        ("aud", json!(7)),
        ("iss", Value::Null),
        ("iss", json!("you")),
        ("iss", json!(["me"])),
        ("sub", Value::Null),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", json!("x".repeat(256))),
        ("sub", json!("a\nb")),
        ("exp", Value::Null),
        ("nbf", json!(now() + 60)),
        ("nbf", json!("soon")),
        ("iat", json!(now() + 60)),
        ("iat", json!(now() + 31_536_000)),
        ("roles", json!("admin")),
        ("jti", json!(7)),
    ] {
        assert_eq!(check(name, value.clone()).await, Err(Refusal::Unauthorized), "{name} {value}");
    }
    assert_eq!(check("exp", json!(now() - 6)).await, Err(Refusal::TokenExpired));
    assert_eq!(check("exp", json!(1)).await, Err(Refusal::TokenExpired));
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let tokens = by_secret().await;
    let signer = Signer::secret(SECRET);
    let token = signer.sign(&claims());
    assert!(tokens.identify(Some(&token)).await.is_ok());
    let header = br#"{"alg":"HS256"}"#;
    let parts: Vec<_> = token.split('.').collect();
    let good = claims().to_string();
    let nested = format!("{}1{}", "[".repeat(3_000), "]".repeat(3_000));
    let bad = [
        "not a token".to_owned(),
        ".".into(),
        "..".into(),
        "...".into(),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}="),
        format!(" {token}"),
        format!("{token}\n"),
        format!("Bearer {token}"),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}..{}", parts[0], parts[2]),
        "x".repeat(8 * 1024 + 1),
        "é".repeat(100),
        signer.sign_bytes(b"", good.as_bytes()),
        signer.sign_bytes(b"null", good.as_bytes()),
        signer.sign_bytes(b"[]", good.as_bytes()),
        signer.sign_bytes(b"{}", good.as_bytes()),
        signer.sign_bytes(br#"{"alg":7}"#, good.as_bytes()),
        signer.sign_bytes(br#"{"alg":"HS256","kid":7}"#, good.as_bytes()),
        signer.sign_bytes(br#"{"alg":"HS256","alg":"HS256"}"#, good.as_bytes()),
        signer.sign_bytes(br#"{"alg":"HS256","crit":["exp"],"exp":1}"#, good.as_bytes()),
        signer.sign_bytes(br#"{"alg":"HS256","crit":[]}"#, good.as_bytes()),
        signer.sign_bytes(header, b""),
        signer.sign_bytes(header, b"7"),
        signer.sign_bytes(header, b"\xff\xfe"),
        signer.sign_bytes(header, br#"{"sub":"\xed\xa0\x80","exp":4000000000}"#),
        signer.sign_bytes(header, b"{\"sub\":\"\xff\",\"exp\":4000000000}"),
        signer.sign_bytes(header, br#"{"sub":"alice","exp":4000000000,"sub":"bob"}"#),
        signer.sign_bytes(header, format!("{good} {good}").as_bytes()),
        signer.sign_bytes(header, nested.as_bytes()),
        signer.sign_named(&claims(), json!({ "kid": "k".repeat(1024 * 1024) })),
        signer.sign(&claims_with("join", json!(vec!["x"; 101]))),
        signer.sign(&claims_with("publish", json!(["x".repeat(256)]))),
    ];
    for token in bad {
        let shown: String = token.chars().take(200).collect();
        assert_eq!(refused(&tokens, &token).await, Refusal::Unauthorized, "{shown}");
    }
}

#[test]
fn a_key_that_cannot_be_used_is_named_with_what_would_do() {
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    let cut = |name: &str| read(name).lines().take(2).collect::<Vec<_>>().join("\n");
    for (entry, words) in [
        (path("nowhere.pem"), "nowhere.pem: cannot be read"),
        (path("rsa_1024.pub.pem"), "rsa_1024.pub.pem: an RSA key of 1024 bits; it must have 2048 to 4096"),
        (path("ec_384.pub.pem"), "P-256"),
        (path("rsa.pem"), "a private key; `openssl pkey -pubout"),
        (path("ed.pem"), "a private key"),
        (path("certificate.pem"), "a certificate; `openssl x509"),
        (env!("CARGO_MANIFEST_DIR").to_owned() + "/Cargo.toml", "there is no PEM in it"),
        (cut("rsa.pub.pem"), "entry 2: not readable as PEM"),
        ("-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n".into(), "not readable as a public key"),
        (
            "-----BEGIN RSA PUBLIC KEY-----\nMAA=\n-----END RSA PUBLIC KEY-----\n".into(),
            "an RSA key that cannot be used",
        ),
    ] {
        let settings = settings(|auth| auth.public_keys = vec![path("ec.pub.pem"), entry]);
        let error = Tokens::check(&settings).unwrap_err().to_string();
        assert!(error.starts_with("auth.public_keys: ") && error.contains(words), "{error} has no {words:?}");
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for (name, value, words) in [
        ("GATEWAY_AUTH__JWKS_URL", "ftp://x", "auth.jwks_url: must begin with https://"),
        ("GATEWAY_AUTH__JWKS_COOLDOWN", "0s", "auth.jwks_cooldown: must be at least 1ms"),
        ("GATEWAY_AUTH__ISSUER", "me", "auth.issuer: needs auth.secret"),
        ("GATEWAY_AUTH__AUDIENCE", "me", "auth.audience: needs auth.secret"),
        ("GATEWAY_AUTH__REVOCATIONS_KEPT", "0s", "auth.revocations_kept: must be at least 1ms"),
    ] {
        let environment = [(name.to_owned(), value.to_owned())];
        let error = gateway_core::config::load(None, environment.into_iter()).unwrap_err().to_string();
        assert!(error.starts_with(words) && error.contains(name), "{error}");
    }
}

/// A good token, changed in one place.
fn mutated(token: &str) -> impl Strategy<Value = String> + use<> {
    let bytes = token.as_bytes().to_vec();
    let letter = prop::sample::select(b"ABCxyz019-_.=+/ {}\"".to_vec());
    (0..bytes.len(), letter, 0_u8..4).prop_map(move |(at, letter, way)| {
        let mut bytes = bytes.clone();
        match way {
            0 => bytes[at] = letter,
            1 => bytes.insert(at, letter),
            2 => drop(bytes.remove(at)),
            _ => bytes.truncate(at),
        }
        String::from_utf8(bytes).unwrap()
    })
}

/// Claims with any text where text may be, signed by the right key: what is let in must be what was signed.
fn any_claims() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        ".{0,40}".prop_map(Value::from),
        Just(Value::Null),
    ];
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(".{0,8}", inner, 0..4).prop_map(Value::from_iter),
        ]
    });
    let names = ["sub", "exp", "nbf", "iat", "iss", "aud", "jti", "roles", "join", "publish", "x"];
    prop::collection::hash_map(prop::sample::select(names.to_vec()), value, 0..4).prop_map(|changes| {
        let mut claims = claims();
        for (name, value) in changes {
            claims[name] = value;
        }
        claims
    })
}

#[test]
fn no_changed_token_is_let_in_and_none_breaks_anything() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let checker = runtime.block_on(tokens(|auth| {
        auth.secret = SECRET.to_owned().into();
        auth.public_keys = ["rsa.pub.pem", "ec.pub.pem", "ed.pub.pem"].map(path).to_vec();
    }));
    let signers = [Signer::secret(SECRET), Signer::file("rsa.pem"), Signer::file("ec.pem"), Signer::file("ed.pem")];
    let good: Vec<_> = signers.iter().map(|signer| signer.sign(&claims_with("exp", json!(now() + 3_600)))).collect();
    let changed = prop::sample::select(good.clone()).prop_flat_map(|token| mutated(&token));
    let seeds = FileFailurePersistence::Direct(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regressions/tokens.txt"));
    let config = ProptestConfig { failure_persistence: Some(Box::new(seeds)), ..ProptestConfig::default() };
    proptest!(config, |(token in changed, noise in "\\PC{0,200}", claims in any_claims())| {
        let refused = runtime.block_on(checker.identify(Some(&token)));
        prop_assert!(good.contains(&token) || matches!(refused, Err(Refusal::Unauthorized | Refusal::TokenRequired)));
        prop_assert!(runtime.block_on(checker.identify(Some(&noise))).is_err());
        let signed = signers[0].sign(&claims);
        if let Ok(identity) = runtime.block_on(checker.identify(Some(&signed))) {
            let user = identity.user.unwrap();
            prop_assert_eq!(user.as_str(), claims["sub"].as_str().unwrap());
            prop_assert_eq!(json!(identity.roles), claims.get("roles").cloned().unwrap_or(json!([])));
            prop_assert_eq!(identity.rights.is_some(), claims.get("join").or(claims.get("publish")).is_some());
        }
    });
}
