//! Signing tokens of any form, and checking them by keys that are for these tests only.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_core::auth::{Revoked, Tokens};
use gateway_core::config;
use gateway_core::metrics::Metrics;
use gateway_core::revocations::MemoryRevocations;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use spki::der::Document;

pub const SECRET: &str = "a secret for the tests only, long enough to be one";

/// What signs.
pub struct Signer {
    pub algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    pub fn secret(secret: &str) -> Self {
        Self { algorithm: Algorithm::HS256, key: EncodingKey::from_secret(secret.as_bytes()) }
    }

    /// By a private key of the folder `keys`.
    pub fn file(name: &str) -> Self {
        let text = std::fs::read_to_string(path(name)).unwrap();
        let (label, der) = Document::from_pem(&text).unwrap();
        let (algorithm, key) = match (label, &name[..2]) {
            ("RSA PRIVATE KEY", _) => (Algorithm::RS256, EncodingKey::from_rsa_der(der.as_bytes())),
            (_, "ec") => (Algorithm::ES256, EncodingKey::from_ec_der(der.as_bytes())),
            _ => (Algorithm::EdDSA, EncodingKey::from_ed_der(der.as_bytes())),
        };
        Self { algorithm, key }
    }

    /// The same key with another algorithm of its family.
    pub fn with(self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self }
    }

    /// A token whose header names the algorithm.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_named(claims, json!({}))
    }

    /// The same with more in the header.
    pub fn sign_named(&self, claims: &Value, mut header: Value) -> String {
        if header.get("alg").is_none() {
            header["alg"] = json!(format!("{:?}", self.algorithm));
        }
        self.sign_bytes(header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    /// A token of whatever.
    pub fn sign_bytes(&self, header: &[u8], claims: &[u8]) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{signed}.{signature}")
    }

    /// The public half as a JWKS has it, without a kid.
    pub fn jwk(&self) -> Value {
        serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap()
    }
}

/// The path of a file in the folder `keys`.
pub fn path(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name).display().to_string()
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Alice's, good for a minute.
pub fn claims() -> Value {
    json!({ "sub": "alice", "exp": now() + 60 })
}

/// Claims with one changed; null takes it out.
pub fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    if value.is_null() {
        drop(claims.as_object_mut().unwrap().remove(name))
    } else {
        claims[name] = value
    }
    claims
}

/// Nothing is revoked.
pub async fn nothing_revoked() -> Arc<Revoked> {
    Revoked::start(Arc::new(MemoryRevocations::default()), Duration::from_secs(3600), Arc::default()).await
}

/// The default settings, changed.
pub fn settings(change: impl FnOnce(&mut config::Auth)) -> config::Auth {
    let mut settings = super::config(&[]).auth;
    change(&mut settings);
    settings
}

/// Checks tokens by settings, which must be usable.
pub async fn tokens(change: impl FnOnce(&mut config::Auth)) -> Arc<Tokens> {
    Tokens::start(&settings(change), nothing_revoked().await, Arc::new(Metrics::new())).await.unwrap()
}
