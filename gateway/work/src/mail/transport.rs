//! Handing letters over to an SMTP server, over connections that are used again; and what its answers mean.

use std::error::Error;
use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tokio::time::timeout;

use super::letter::Written;
use gateway_core::config;
use gateway_core::jobs::{Again, Failure};
use gateway_core::traces::{self, Kind};

/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(30);

/// Where letters go.
pub(super) enum Transport {
    Server { smtp: AsyncSmtpTransport<Tokio1Executor>, name: String, timeout: Duration, secure: bool },
    Log,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server { name, .. } => name,
            Self::Log => "log",
        })
    }
}

impl Transport {
    pub(super) fn new(settings: &config::Mail) -> Result<Self, String> {
        if settings.to_log {
            return Ok(Self::Log);
        }
        let tls = match settings.tls {
            config::MailTls::None => Tls::None,
            config::MailTls::StartTls => Tls::Required(trust(settings)?),
            config::MailTls::Tls => Tls::Wrapper(trust(settings)?),
        };
        let pool = PoolConfig::new().max_size(settings.connections).idle_timeout(IDLE);
        let mut smtp = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
            .port(settings.port)
            .tls(tls)
            .timeout(Some(settings.timeout))
            .pool_config(pool);
        if !settings.username.is_empty() {
            smtp = smtp.credentials(Credentials::new(settings.username.clone(), settings.password.expose().to_owned()));
        }
        Ok(Self::Server {
            smtp: smtp.build(),
            name: format!("{}:{}", settings.host, settings.port),
            timeout: settings.timeout,
            secure: settings.tls != config::MailTls::None,
        })
    }

    /// Looks whether there can be one, without making it.
    pub(super) fn check(settings: &config::Mail) -> Result<(), String> {
        if settings.host.is_empty() || settings.tls == config::MailTls::None {
            return Ok(());
        }
        trust(settings).map(drop)
    }

    /// Connects, and says who answered.
    pub(super) async fn probe(&self) -> Result<String, String> {
        let Self::Server { smtp, name, timeout: patience, secure } = self else { return Ok("log".into()) };
        match timeout(*patience, smtp.test_connection()).await {
            Ok(Ok(true)) => Ok(name.clone()),
            Ok(Ok(false)) => Err(format!("{name} answers, and does not go on")),
            Ok(Err(error)) => Err(failure(name, *secure, &error).why),
            Err(_) => Err(format!("{name} did not answer within {patience:?}")),
        }
    }

    /// Hands one over. Dropped, it closes its connection; whether the server has taken the letter is unknown then.
    pub(super) async fn send(&self, written: &Written) -> Result<(), Failure> {
        let Written { message, address, subject, text } = written;
        match self {
            Self::Log => {
                tracing::info!(to = address, subject, text, "a mail that goes nowhere else (mail.to_log)");
                Ok(())
            }
            Self::Server { smtp, name, timeout: patience, secure } => {
                let mut span = traces::span(Kind::Client, "send mail");
                span.say("server.address", name.clone());
                // The client has no bound of its own for a server that says nothing any more.
                let sent = match timeout(*patience, smtp.send(message.clone())).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(failure(name, *secure, &error)),
                    Err(_) => Err(Failure::not_now(format!("{name} did not answer within {patience:?}"))),
                };
                if let Err(Failure { again, .. }) = &sent {
                    span.fail(if *again == Again::Never { "refused" } else { "not_now" });
                }
                sent
            }
        }
    }
}

fn trust(settings: &config::Mail) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(settings.host.clone());
    let path = &settings.tls_ca;
    if !path.as_os_str().is_empty() {
        let wrong = |why: &dyn fmt::Display| format!("mail.tls_ca: {}: {why}", path.display());
        let pem = std::fs::read(path).map_err(|error| wrong(&error))?;
        if !pem.windows(27).any(|bytes| bytes == b"-----BEGIN CERTIFICATE-----") {
            return Err(wrong(&"has no certificate in PEM"));
        }
        let certificates = Certificate::from_pem(&pem).map_err(|error| wrong(&error))?;
        builder = builder.add_root_certificate(certificates).certificate_store(CertificateStore::None);
    }
    builder.build_rustls().map_err(|error| format!("mail.tls: TLS cannot be used: {error}"))
}

/// Why a letter was not taken, and whether it is tried again. Whatever is not a final no of the server may pass: that nobody
/// listens is none, as little as a certificate that is not trusted before somebody has looked after it.
fn failure(name: &str, secure: bool, error: &lettre::transport::smtp::Error) -> Failure {
    let words = chain(error);
    let status = error.status().map(|code| code.to_string());
    if let Some(code @ ("530" | "534" | "535" | "538")) = status.as_deref() {
        let what = "does not take mail.username and mail.password";
        return Failure::not_now(format!("{name} {what} ({code}): {words}"));
    }
    if error.is_permanent() {
        return Failure::never(format!("{name} refuses it: {words}"));
    }
    if secure && (error.is_tls() || speaks_of_certificates(&words)) {
        let what = "is not spoken with: its certificate is not trusted, or it has no TLS (mail.tls, mail.tls_ca)";
        return Failure::not_now(format!("{name} {what}: {words}"));
    }
    if error.is_transient() {
        return Failure::not_now(format!("{name} does not take it now: {words}"));
    }
    Failure::not_now(format!("{name} cannot be reached, or broke off: {words}"))
}

fn speaks_of_certificates(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    words.contains("certificate") || words.contains("starttls")
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some say themselves what caused them.
        let more = error.to_string();
        if !text.contains(&more) {
            write!(text, ": {more}").ok();
        }
        cause = error.source();
    }
    text
}
