//! What TLS to Redis needs: whom the gateway trusts, and how it proves itself; in the form of either client library.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use deadpool_redis::redis::{ClientTlsConfig, TlsCertificates};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::SettingsError;
use crate::config;

/// Certificates and keys, read once.
pub(super) struct Tls {
    certificates: TlsCertificates,
    config: Arc<ClientConfig>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads what is configured.
    pub(super) fn read(settings: &config::Redis) -> Result<Self, SettingsError> {
        let authority = (!settings.tls_ca.as_os_str().is_empty()).then(|| file(settings, "tls_ca", &settings.tls_ca));
        let authority = authority.transpose()?;
        let mut roots = RootCertStore::empty();
        // redis-rs is told what the system trusts, too: by itself it would go by whatever some dependency has chosen.
        let authority = match authority {
            Some(pem) => {
                let wrong = |why: String| SettingsError::of(settings, "tls_ca", why);
                for certificate in certificates(settings, "tls_ca", &pem)? {
                    roots.add(certificate).map_err(|error| wrong(format!("has a certificate of no use: {error}")))?;
                }
                Some(pem)
            }
            None => {
                let mut pem = String::new();
                // As everywhere, a certificate of the system that cannot be read is left out.
                for certificate in rustls_native_certs::load_native_certs().certs {
                    let text = STANDARD.encode(&certificate);
                    if roots.add(certificate).is_ok() {
                        pem += &format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
                    }
                }
                Some(pem.into_bytes())
            }
        };
        if roots.is_empty() {
            let why = "is empty, and this system has no CA certificates: install them, or name a file".into();
            return Err(SettingsError::of(settings, "tls_ca", why));
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| SettingsError::of(settings, "url", format!("TLS cannot be used: {error}")))?
            .with_root_certificates(roots);
        let (certificate, key) = (&settings.tls_certificate, &settings.tls_key);
        let client = if certificate.as_os_str().is_empty() && key.as_os_str().is_empty() {
            None
        } else {
            Some((file(settings, "tls_certificate", certificate)?, file(settings, "tls_key", key)?))
        };
        let config = match &client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(settings, "tls_certificate", certificate)?;
                let wrong = |why: String| SettingsError::of(settings, "tls_key", why);
                let key = PrivateKeyDer::from_pem_slice(key);
                let key = key.map_err(|error| wrong(format!("has no private key in PEM: {error}")))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| wrong(format!("cannot be used: {error}")))?
            }
        };
        let client_tls = client.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        Ok(Self { certificates: TlsCertificates { client_tls, root_cert: authority }, config: Arc::new(config) })
    }

    /// For redis-rs.
    pub(super) fn certificates(&self) -> TlsCertificates {
        self.certificates.clone()
    }

    /// For whatever speaks rustls.
    pub(super) fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }
}

fn file(settings: &config::Redis, key: &str, path: &Path) -> Result<Vec<u8>, SettingsError> {
    if path.as_os_str().is_empty() {
        let why = "is needed: a certificate has a key, and a key a certificate";
        return Err(SettingsError::of(settings, key, why.into()));
    }
    let unread = |error| SettingsError::of(settings, key, format!("cannot read {}: {error}", path.display()));
    std::fs::read(path).map_err(unread)
}

fn certificates(
    settings: &config::Redis,
    key: &str,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(SettingsError::of(settings, key, "has no certificate in PEM".into())),
        Err(error) => Err(SettingsError::of(settings, key, format!("is no PEM: {error}"))),
    }
}
