//! Certificates: whether clients trust the one that is shown, for this name, and for how long.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::report::{Report, Status};
use super::web::{PATIENCE, Site};

/// How long before its end a certificate should have a successor: what renews them by itself does so a month before.
const SOON_DAYS: u64 = 14;
/// No certificate of a public authority is valid for longer.
const MOST_DAYS: u64 = 825;
const DAY: u64 = 86_400;
const SEE: &str = "docs/doctor.md#tls";

/// Whom the system trusts, or only a file of PEM, as a way to speak TLS and as what decides.
///
/// # Errors
/// The file cannot be used, or nobody is trusted.
pub(super) fn client(authorities: Option<&Path>) -> Result<(Arc<ClientConfig>, Arc<WebPkiServerVerifier>), String> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(path) => {
            let wrong = |error: &dyn std::fmt::Display| format!("--ca {}: {error}", path.display());
            let pem = std::fs::read(path).map_err(|error| wrong(&error))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
            }
        }
        // One of the system that cannot be read is left out, as everywhere.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let (provider, roots) = (Arc::new(default_provider()), Arc::new(roots));
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
    let verifier = verifier.map_err(|_| "no CA certificates: install them, or name a file with --ca".to_owned())?;
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    // What is wrong with a certificate is said once; what is behind it is looked at all the same.
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(Lenient(verifier.clone())));
    Ok((Arc::new(config.with_no_client_auth()), verifier))
}

/// Takes any certificate. Nothing secret is sent to whoever has it.
#[derive(Debug)]
struct Lenient(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Looks at the certificate of a site.
pub(super) async fn look(
    site: &Site,
    config: &Arc<ClientConfig>,
    verifier: &WebPkiServerVerifier,
    report: &mut Report,
) {
    let about = &site.authority;
    let shown = match shown(site, config).await {
        Ok(shown) => shown,
        Err(why) => {
            let advice = ("see that something speaks TLS at this port, with TLS 1.2 or 1.3", SEE);
            return report.found(Status::Error, "tls.certificate", about, why, advice);
        }
    };
    let (Some((first, others)), Ok(name)) = (shown.split_first(), site.name()) else { return };
    let at = |time| verifier.verify_server_cert(first, others, &name, &[], time).map(drop);
    let now = UnixTime::now();
    match at(now) {
        Ok(()) => {
            let days = lasts(|days| at(after(now, days)).is_ok());
            let seen = format!("the certificate is trusted, for {} and for {days} more days", name.to_str());
            if days >= SOON_DAYS {
                return report.ok("tls.certificate", about, seen);
            }
            let advice = ("renew it, and see why what renews it by itself has not", SEE);
            report.found(Status::Warning, "tls.certificate", about, seen, advice);
        }
        Err(error) => {
            let (seen, todo) = words(&error, shown.len(), &name.to_str());
            report.found(Status::Error, "tls.certificate", about, seen, (todo, SEE));
        }
    }
}

async fn shown(site: &Site, config: &Arc<ClientConfig>) -> Result<Vec<CertificateDer<'static>>, String> {
    let stream = site.dial().await.map_err(|error| error.to_string())?;
    let connecting = TlsConnector::from(config.clone()).connect(site.name()?, stream);
    let late = |_| format!("no answer to the beginning of TLS within {PATIENCE:?}");
    let stream = tokio::time::timeout(PATIENCE, connecting).await.map_err(late)?;
    let stream = stream.map_err(|error| format!("TLS cannot be spoken: {error}"))?;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    Ok(certificates.iter().map(|certificate| certificate.clone().into_owned()).collect())
}

fn after(now: UnixTime, days: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs() + days * DAY))
}

/// The last of the days on which it is good: whoever says so of one, of those before it, too.
fn lasts(is_good: impl Fn(u64) -> bool) -> u64 {
    let (mut good, mut bad) = (0, MOST_DAYS + 1);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if is_good(middle) { good = middle } else { bad = middle }
    }
    good
}

fn words(error: &Error, shown: usize, name: &str) -> (String, String) {
    let Error::InvalidCertificate(error) = error else {
        return (format!("the certificate is not good: {error}"), "install one that clients trust".into());
    };
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("the certificate has expired: no client connects".into(), "renew it now, and watch when it ends".into())
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            let todo = "compare the clock of this machine with that of the one that made it";
            ("the certificate is not valid yet".into(), todo.into())
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let todo = format!("get one that names {name} (subjectAltName), or have clients use a name that it has");
            (format!("the certificate is not for {name}"), todo)
        }
        CertificateError::UnknownIssuer if shown == 1 => {
            let todo = "configure the whole chain (fullchain.pem), as browsers that have seen the missing part before work \
                        and others do not; or, if you made it yourself, name your authority with --ca";
            ("the certificate is by nobody who is trusted, and comes without those above it".into(), todo.into())
        }
        CertificateError::UnknownIssuer => {
            let todo = "get one of a public authority, or name yours with --ca";
            (format!("the certificate and the {} above it end at nobody who is trusted", shown - 1), todo.into())
        }
        error => (format!("the certificate is not good: {error}"), "install one that clients trust".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_something_lasts() {
        for days in [0, 1, 13, 14, 90, MOST_DAYS] {
            assert_eq!(lasts(|day| day <= days), days);
        }
    }
}
