//! Proofs: by which two nodes see that the other one is of their deployment, without saying the secret.
//!
//! Each says something that nobody can have foreseen, and the other one proves by it that it knows the secret, and who it is: nothing
//! that was overheard is good a second time, or in another place.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::RwLock;

use gateway_core::config::Secret;

/// Characters of a proof.
pub(crate) const PROOF: usize = 43;

/// What a node says that nobody can have foreseen.
pub(super) fn nonce() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>())
}

/// What two nodes have said before they prove anything.
#[derive(Debug)]
pub(super) struct Said<'a> {
    /// The tag of the node that is looked for.
    pub(super) to: &'a str,
    /// Where it is: a proof that somebody else fetches there is no good where that one is.
    pub(super) address: &'a str,
    pub(super) asked: &'a str,
    pub(super) answered: &'a str,
}

/// Who proves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Prover {
    /// Who connects.
    Asker,
    /// Who is connected to.
    Answerer,
}

/// The secret of the deployment, and the one before: nodes learn of another one after each other.
#[derive(Default)]
pub(super) struct Secrets(RwLock<Vec<(Secret, hmac::Key)>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

impl Secrets {
    /// Knows the secret from now on.
    pub(super) fn know(&self, secret: &Secret) {
        let mut known = self.0.write();
        if known.first().is_none_or(|(first, _)| first != secret) {
            known.insert(0, (secret.clone(), hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes())));
            known.truncate(2);
        }
    }

    /// A proof; nothing that is one before the secret is known.
    pub(super) fn prove(&self, prover: Prover, said: &Said<'_>) -> String {
        let known = self.0.read();
        let text = text(prover, said);
        known.first().map(|(_, key)| URL_SAFE_NO_PAD.encode(hmac::sign(key, text.as_bytes()))).unwrap_or_default()
    }

    /// Whether a proof is one.
    pub(super) fn is_proof(&self, proof: &[u8], prover: Prover, said: &Said<'_>) -> bool {
        let Ok(proof) = URL_SAFE_NO_PAD.decode(proof) else { return false };
        let text = text(prover, said);
        self.0.read().iter().any(|(_, key)| hmac::verify(key, text.as_bytes(), &proof).is_ok())
    }
}

fn text(prover: Prover, said: &Said<'_>) -> String {
    let Said { to, address, asked, answered } = said;
    format!("passing 1\n{prover:?}\n{to}\n{address}\n{asked}\n{answered}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_good_once_and_there_only() {
        let (one, two) = (Secrets::default(), Secrets::default());
        let (secret, other) = (Secret::from("a".repeat(32)), Secret::from("b".repeat(32)));
        let said = Said { to: "t", address: "a:1", asked: "x", answered: "y" };
        assert!(!one.is_proof(one.prove(Prover::Asker, &said).as_bytes(), Prover::Asker, &said), "without a secret");
        one.know(&secret);
        two.know(&secret);
        let proof = one.prove(Prover::Asker, &said);
        assert_eq!(proof.len(), PROOF);
        assert!(two.is_proof(proof.as_bytes(), Prover::Asker, &said));
        for (prover, said) in [
            (Prover::Answerer, Said { ..said }),
            (Prover::Asker, Said { to: "u", ..said }),
            (Prover::Asker, Said { address: "a:2", ..said }),
            (Prover::Asker, Said { asked: "z", ..said }),
            (Prover::Asker, Said { answered: "z", ..said }),
        ] {
            assert!(!two.is_proof(proof.as_bytes(), prover, &said), "{prover:?} {said:?}");
        }
        two.know(&other);
        assert!(two.is_proof(proof.as_bytes(), Prover::Asker, &said), "the one before is good for a while");
        two.know(&Secret::from("c".repeat(32)));
        assert!(!two.is_proof(proof.as_bytes(), Prover::Asker, &said));
    }
}
