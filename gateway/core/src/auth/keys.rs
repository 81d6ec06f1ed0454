//! Keys that check tokens. What a key is decides about the algorithm; a token that names another is not checked.

use std::fmt;
use std::path::Path;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use spki::der::Document;
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use crate::config;

/// RSA below this is weak, above it each token costs more than a flood of them may: in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// The length of an Ed25519 key, in bytes.
const ED25519_BYTES: usize = 32;
/// The length of a coordinate of P-256, in bytes.
const P256_BYTES: usize = 32;
/// Shorter secrets are below what HS256 asks for (RFC 7518, 3.2), in bytes.
const SECRET_BYTES: usize = 32;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A key, and the one algorithm that it is for.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) algorithm: Algorithm,
    decoding: DecodingKey,
}

/// A key that was configured cannot be used. The text names the setting and says what would do.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {why}")]
pub struct KeyError {
    /// The setting, with the file or the number in the list.
    pub setting: String,
    /// What is wrong and what to do about it.
    pub why: String,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.algorithm)
    }
}

impl Key {
    /// A secret that issuer and gateway share.
    pub(super) fn secret(secret: &str) -> Self {
        if secret.len() < SECRET_BYTES {
            tracing::warn!(bytes = secret.len(), "auth.secret is short; 32 random bytes or more cannot be guessed");
        }
        Self { algorithm: Algorithm::HS256, decoding: DecodingKey::from_secret(secret.as_bytes()) }
    }

    /// Whether a token's `alg` names this key's algorithm.
    pub(super) fn is_for(&self, alg: &str) -> bool {
        names(self.algorithm).contains(&alg)
    }

    /// Whether this key signed a message; the signature is in base64url.
    pub(super) fn signed(&self, message: &[u8], signature: &str) -> bool {
        // An error is a signature of a form that no key of this kind makes.
        jsonwebtoken::crypto::verify(signature, message, &self.decoding, self.algorithm).unwrap_or(false)
    }

    fn rsa(n: &[u8], e: &[u8]) -> Result<Self, String> {
        let first = n.iter().position(|byte| *byte != 0).ok_or("its modulus is zero")?;
        let bits = (n.len() - first) * 8 - n[first].leading_zeros() as usize;
        if !RSA_BITS.contains(&bits) {
            return Err(format!("an RSA key of {bits} bits; it must have {} to {}", RSA_BITS.start(), RSA_BITS.end()));
        }
        // With 1 every message is its own signature; even ones, and such that no machine works with, are no keys.
        let exponent = e.iter().try_fold(0_u64, |sum, byte| sum.checked_mul(256)?.checked_add(u64::from(*byte)));
        if !exponent.is_some_and(|exponent| exponent % 2 == 1 && (3..1 << 33).contains(&exponent)) {
            return Err("its exponent is not one that RSA keys have".into());
        }
        Ok(Self { algorithm: Algorithm::RS256, decoding: DecodingKey::from_rsa_raw_components(n, e) })
    }

    fn p256(point: &[u8]) -> Result<Self, String> {
        // Read here, because nobody else does before the first token.
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| "not a point of P-256")?;
        Ok(Self { algorithm: Algorithm::ES256, decoding: DecodingKey::from_ec_der(point) })
    }

    fn ed25519(bytes: &[u8]) -> Result<Self, String> {
        // Of others the library would read something else. Whether they are a point shows with the first token.
        if bytes.len() != ED25519_BYTES {
            return Err("an Ed25519 key has 32 bytes".into());
        }
        Ok(Self { algorithm: Algorithm::EdDSA, decoding: DecodingKey::from_ed_der(bytes) })
    }

    /// Reads one block of PEM.
    fn pem(block: &str) -> Result<Self, String> {
        let (label, document) = Document::from_pem(block).map_err(|error| format!("not readable as PEM: {error}"))?;
        let pkcs1 = |der: &[u8]| {
            let parts = (DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key)(der);
            // Keys that are too large do not get as far as being measured.
            let (n, e) =
                parts.map_err(|_| format!("an RSA key that cannot be used; at most {} bits", RSA_BITS.end()))?;
            Self::rsa(&n, &e)
        };
        match label {
            "RSA PUBLIC KEY" => return pkcs1(document.as_bytes()),
            "PUBLIC KEY" => {}
            "CERTIFICATE" => {
                return Err("a certificate; `openssl x509 -pubkey -noout -in FILE` prints the key in it".into());
            }
            private if private.ends_with("PRIVATE KEY") => {
                return Err("a private key; `openssl pkey -pubout -in FILE` prints its public half".into());
            }
            other => return Err(format!("{other:?} is not a public key")),
        }
        let info: SubjectPublicKeyInfoRef<'_> =
            document.decode_msg().map_err(|error| format!("not readable as a public key: {error}"))?;
        let bits = info.subject_public_key.as_bytes().ok_or("not a whole number of bytes")?;
        match info.algorithm.oid {
            RSA => pkcs1(bits),
            EC if info.algorithm.parameters_oid().ok() == Some(P256) => Self::p256(bits),
            ED25519 => Self::ed25519(bits),
            EC => Err("a curve that is not supported; P-256 is".into()),
            _ => Err("a kind of key that is not supported; RSA, EC P-256 and Ed25519 are".into()),
        }
    }
}

/// What tokens and JWKs call an algorithm. RFC 9864 has a second name for EdDSA with this curve.
fn names(algorithm: Algorithm) -> &'static [&'static str] {
    match algorithm {
        Algorithm::HS256 => &["HS256"],
        Algorithm::RS256 => &["RS256"],
        Algorithm::ES256 => &["ES256"],
        Algorithm::EdDSA => &["EdDSA", "Ed25519"],
        _ => &[],
    }
}

/// Whether tokens with this `alg` may have been signed by a key whose public half is in a JWKS.
pub(super) fn is_public(alg: &str) -> bool {
    [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA].iter().any(|algorithm| names(*algorithm).contains(&alg))
}

/// The keys that `auth.secret` and `auth.public_keys` name, in their order.
pub(super) fn configured(settings: &config::Auth) -> Result<Vec<Key>, KeyError> {
    let secret = settings.secret.expose();
    let mut keys: Vec<_> = (!secret.is_empty()).then(|| Key::secret(secret)).into_iter().collect();
    for (number, entry) in settings.public_keys.iter().enumerate() {
        let inline = entry.contains("-----BEGIN");
        let shown = if inline { format!("entry {}", number + 1) } else { entry.clone() };
        let setting = format!("auth.public_keys: {shown}");
        let read = || {
            let text = if inline { entry.clone() } else { read_file(Path::new(entry))? };
            blocks(&text).map(Key::pem).collect::<Result<Vec<_>, _>>()
        };
        match read() {
            Ok(found) if found.is_empty() => return Err(KeyError { setting, why: "there is no PEM in it".into() }),
            Ok(found) => keys.extend(found),
            Err(why) => return Err(KeyError { setting, why }),
        }
    }
    Ok(keys)
}

fn read_file(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))
}

/// The blocks of a PEM file, which may have comments between them.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("-----BEGIN ").map(|(begin, _)| {
        let rest = &text[begin..];
        let end = rest.find("-----END ").unwrap_or(rest.len());
        &rest[..rest[end..].find('\n').map_or(rest.len(), |line| end + line)]
    })
}

/// A key as a JWKS has it (RFC 7517). Members that are not named here are not looked at.
#[derive(Deserialize)]
pub(super) struct Jwk {
    kty: String,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    pub(super) kid: Option<String>,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    key_ops: Option<Vec<String>>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
    /// The private half.
    #[serde(default)]
    d: Option<serde::de::IgnoredAny>,
}

impl Jwk {
    /// The key, if it is one that may check tokens.
    pub(super) fn key(&self) -> Result<Key, String> {
        if self.d.is_some() {
            return Err("it is private, and anybody who can read it can sign".into());
        }
        let checks = |operations: &Vec<String>| operations.iter().any(|operation| operation == "verify");
        if self.usage.as_deref().is_some_and(|usage| usage != "sig") || !self.key_ops.as_ref().is_none_or(checks) {
            return Err("it is not for checking signatures".into());
        }
        let part = |name: &str, value: &Option<String>| {
            let text = value.as_ref().ok_or_else(|| format!("it has no {name}"))?;
            URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("its {name} is not base64url"))
        };
        let key = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Key::rsa(&part("n", &self.n)?, &part("e", &self.e)?)?,
            ("EC", Some("P-256")) => {
                let (x, y) = (part("x", &self.x)?, part("y", &self.y)?);
                if [x.len(), y.len()] != [P256_BYTES; 2] {
                    return Err("a coordinate of P-256 has 32 bytes".into());
                }
                Key::p256(&[&[4], x.as_slice(), y.as_slice()].concat())?
            }
            ("OKP", Some("Ed25519")) => Key::ed25519(&part("x", &self.x)?)?,
            // A set is public, and a secret in it is none.
            ("oct", _) => return Err("it is a shared secret, in public".into()),
            _ => return Err("its kind is not supported; RSA, EC P-256 and Ed25519 are".into()),
        };
        if self.alg.as_deref().is_some_and(|alg| !key.is_for(alg)) {
            return Err(format!("its alg is not {}", names(key.algorithm)[0]));
        }
        Ok(key)
    }
}
