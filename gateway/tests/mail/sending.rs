//! Sending: what a real server gets, and what becomes of a mail that is not taken.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gateway_core::config::MailTls;
use gateway_core::jobs::{Again, Failure};
use gateway_core::metrics::Metrics;
use gateway_core::repeats::MemoryRepeats;
use gateway_work::mail::{Letter, Mail, Receivers, Unsubscribe};
use gateway_work::once::Once;
use serde_json::json;
use tokio::time::Instant;

use crate::support::mailer::{Mailpit, Scripted};
use crate::support::{self};

fn settings(port: u16) -> gateway_core::config::Mail {
    let mut settings = support::config(&[]).mail;
    settings.host = "localhost".into();
    settings.port = port;
    settings.tls = MailTls::None;
    settings.from = "Shop Ü <shop@example.com>".into();
    settings
}

fn mail_with(settings: &gateway_core::config::Mail) -> Arc<Mail> {
    let once = Once::new(Arc::new(MemoryRepeats::new(Duration::from_secs(300))));
    Mail::new(settings, Arc::new(Receivers::new(settings)), once, Arc::new(Metrics::new())).unwrap()
}

fn letter(to: &str) -> Letter {
    let data = json!({ "subject": "Grüße & <mehr> 😀", "message": "Zeile eins\n<b>nicht fett</b>\n.\nLetzte" });
    Letter { to: to.into(), template: Some("message".into()), data, ..Letter::default() }
}

async fn failure(mail: &Mail) -> Failure {
    mail.send("job-1", &letter("ann@example.com")).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_gets_what_was_said() {
    let mailpit = Mailpit::start().await;
    let mail = mail_with(&settings(mailpit.smtp_port));
    let url = format!("https://chat.example/unsubscribe?u={}", "x".repeat(120));
    let letter = Letter { unsubscribe: Some(Unsubscribe { url: url.clone() }), ..letter("Ann Ö <ann@example.com>") };
    mail.send("job-7", &letter).await.unwrap();
    let got = &mailpit.has("ann@example.com", 1).await[0];
    assert_eq!((&got["Subject"], &got["From"]["Name"]), (&json!("Grüße & <mehr> 😀"), &json!("Shop Ü")));
    assert_eq!(got["To"][0]["Name"], "Ann Ö");
    assert_eq!(got["Text"].as_str().unwrap().trim().replace("\r\n", "\n"), "Zeile eins\n<b>nicht fett</b>\n.\nLetzte");
    let html = got["HTML"].as_str().unwrap();
    assert!(html.contains("&lt;b&gt;nicht fett") && html.contains("Grüße &amp; &lt;mehr&gt; 😀"), "{html}");
    let header = |name: &str| got["Headers"][name][0].as_str().unwrap_or_default().to_owned();
    assert_eq!(header("List-Unsubscribe"), format!("<{url}>"));
    assert_eq!(header("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    assert_eq!(header("Auto-Submitted"), "auto-generated");
    assert!(header("Message-Id").ends_with("@example.com>"), "{}", got["Headers"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_go_over_few_connections() {
    let mailpit = Mailpit::start().await;
    let mail = mail_with(&settings(mailpit.smtp_port));
    let all = (0..100).map(|number| {
        let mail = mail.clone();
        async move { mail.send(&format!("job-{number}"), &letter(&format!("user{number}@example.com"))).await }
    });
    let sent = futures_util::future::join_all(all).await;
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    assert_eq!(mailpit.all().await.len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_greylisted_is_taken_later_and_what_is_refused_never() {
    let grey = Scripted::start("greylist", &[]);
    let mail = mail_with(&settings(grey.port));
    for _ in 0..2 {
        let failure = failure(&mail).await;
        assert!(failure.again == Again::ByBackoff && failure.why.contains("greylisted"), "{failure}");
    }
    mail.send("job-1", &letter("ann@example.com")).await.unwrap();
    grey.has_taken(1).await;
    for (mode, words) in [("refuse", "no such user here"), ("full", "mailbox is full")] {
        let server = Scripted::start(mode, &[]);
        let failure = failure(&mail_with(&settings(server.port))).await;
        assert!(failure.again == Again::Never && failure.why.contains(words), "{failure}");
        assert_eq!(server.taken().len(), 0);
    }
    let busy = Scripted::start("busy", &[]);
    assert_eq!(failure(&mail_with(&settings(busy.port))).await.again, Again::ByBackoff);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_hangs_or_cuts_off_is_tried_again() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let gone = failure(&mail_with(&settings(free))).await;
    assert!(gone.again == Again::ByBackoff && gone.why.contains("cannot be reached"), "{gone}");
    let cut = Scripted::start("cut", &[]);
    let cut = failure(&mail_with(&settings(cut.port))).await;
    assert_eq!(cut.again, Again::ByBackoff, "{cut}");
    let hanging = Scripted::start("hang", &[]);
    let mut settings = settings(hanging.port);
    settings.timeout = Duration::from_secs(2);
    let begun = Instant::now();
    let hung = failure(&mail_with(&settings)).await;
    assert!(hung.again == Again::ByBackoff && hung.why.contains("did not answer within 2s"), "{hung}");
    assert!(begun.elapsed() < support::PATIENCE, "{:?}", begun.elapsed());
}

/// A certificate for a name, signed by itself, and its key.
fn certificate(folder: &Path, name: &str) -> [PathBuf; 2] {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let paths = ["certificate.pem", "key.pem"].map(|file| folder.join(file));
    std::fs::write(&paths[0], made.cert.pem()).unwrap();
    std::fs::write(&paths[1], made.signing_key.serialize_pem()).unwrap();
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_to_a_server_whose_certificate_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = certificate(folder.path(), "localhost");
    for (mode, tls) in [("tls", MailTls::Tls), ("starttls", MailTls::StartTls)] {
        let server = Scripted::start(mode, &[&certificate, &key]);
        let mut settings = settings(server.port);
        settings.tls = tls;
        let failure = failure(&mail_with(&settings)).await;
        let words = ["certificate is not trusted", "mail.tls_ca"];
        let is_said = words.iter().all(|word| failure.why.contains(word));
        assert!(failure.again == Again::ByBackoff && is_said, "{mode}: {failure}");
        assert_eq!(server.taken().len(), 0, "{mode}");
        settings.tls_ca = certificate.clone();
        mail_with(&settings)
            .send("job-1", &letter("ann@example.com"))
            .await
            .unwrap_or_else(|why| panic!("{mode}: {why}"));
        server.has_taken(1).await;
    }
    // One that has no TLS is not spoken with in the clear.
    let plain = Scripted::start("plain", &[]);
    let mut settings = settings(plain.port);
    settings.tls = MailTls::StartTls;
    let failure = failure(&mail_with(&settings)).await;
    assert!(failure.again == Again::ByBackoff && failure.why.contains("has no TLS"), "{failure}");
    assert_eq!(plain.taken().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_the_operators_and_loses_no_mail() {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = certificate(folder.path(), "localhost");
    let server = Scripted::start("auth", &[&certificate, &key]);
    let mut settings = settings(server.port);
    (settings.tls, settings.tls_ca) = (MailTls::StartTls, certificate);
    (settings.username, settings.password) = ("me".into(), gateway_core::config::Secret::from("hunter2".to_owned()));
    let failure = failure(&mail_with(&settings)).await;
    assert!(failure.again == Again::ByBackoff && failure.why.contains("mail.username"), "{failure}");
    assert!(!failure.why.contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_is_sent_once_and_one_receiver_gets_so_many() {
    let server = Scripted::start("plain", &[]);
    let mut settings = settings(server.port);
    settings.receiver_per_hour = 3;
    let mail = mail_with(&settings);
    let once = Letter { once: Some("ann room".into()), ..letter("ann@example.com") };
    for job in ["job-1", "job-2", "job-1"] {
        mail.send(job, &once).await.unwrap();
    }
    server.has_taken(1).await;
    for job in ["job-3", "job-4"] {
        mail.send(job, &letter("Ann <ANN@example.com>")).await.unwrap();
    }
    let failure = failure(&mail).await;
    assert!(failure.again == Again::Never && failure.why.contains("receiver_per_hour"), "{failure}");
    server.has_taken(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn for_development_mail_goes_into_the_log() {
    let mut settings = settings(1);
    settings.to_log = true;
    mail_with(&settings).send("job-1", &letter("ann@example.com")).await.unwrap();
    let mut settings = support::config(&[]).mail;
    settings.from = "shop@example.com".into();
    let nowhere = failure(&mail_with(&settings)).await;
    assert!(nowhere.again == Again::Never && nowhere.why.contains("mail.host"), "{nowhere}");
}
