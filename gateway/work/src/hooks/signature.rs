//! Signatures: how a back end knows that a request comes from here, was not changed and is not an old one.

use std::fmt::Write;

use aws_lc_rs::hmac;

use gateway_core::config::Secret;

/// The value of the header: `t=` and the time in seconds since 1970, then a `v1=` for each secret with the hexadecimal
/// HMAC-SHA256 of the time as written, a dot and the body.
#[must_use]
pub fn sign(secrets: &[Secret], seconds: u64, body: &[u8]) -> String {
    let mut header = format!("t={seconds}");
    for secret in secrets {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        let mut context = hmac::Context::with_key(&key);
        context.update(format!("{seconds}.").as_bytes());
        context.update(body);
        header.push_str(",v1=");
        for byte in context.sign().as_ref() {
            write!(header, "{byte:02x}").ok();
        }
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_secret_signs() {
        // As `printf '%s' '1700000000.{}' | openssl dgst -sha256 -hmac key` has it.
        let one = "9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae";
        let signed = sign(&[Secret::from("key".to_owned())], 1_700_000_000, b"{}");
        assert_eq!(signed, format!("t=1700000000,v1={one}"));
        let both = ["new", "key"].map(|secret| Secret::from(secret.to_owned()));
        let both = sign(&both, 1_700_000_000, b"{}");
        assert!(both.ends_with(&format!(",v1={one}")) && both.matches("v1=").count() == 2, "{both}");
    }
}
