//! A letter: whom it is for and what it says, and how it becomes a message in which every text is only a text.

use lettre::Message;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::Templates;
use gateway_core::config;

/// The longest subject, in bytes.
const MAX_SUBJECT_BYTES: usize = 512;

/// What a job of the kind `mail` is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Letter {
    /// For whom: one address, with a name before it or without.
    pub to: String,
    /// The template that it is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// What the template is filled in with.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
    /// Without a template: what it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Without a template: what it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The same for who reads HTML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// Who gets the answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// How its receiver can have an end of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsubscribe: Option<Unsubscribe>,
    /// Of all letters with the same text here, one is sent within `mail.once`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<String>,
}

/// How a receiver can have an end of letters like this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unsubscribe {
    /// Where: a URL that programs post to, and people open.
    pub url: String,
}

/// From whom letters are.
#[derive(Debug)]
pub(super) struct Sender {
    from: Mailbox,
    reply_to: Option<Mailbox>,
}

/// A letter that can be handed over.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) message: Message,
    /// Whom it is for, without a name.
    pub(super) address: String,
    pub(super) subject: String,
    pub(super) text: String,
}

impl Sender {
    pub(super) fn read(settings: &config::Mail) -> Result<Self, String> {
        let from = mailbox(&settings.from).map_err(|why| format!("mail.from: {why}"))?;
        let reply_to = Some(&settings.reply_to).filter(|text| !text.is_empty());
        let reply_to = reply_to.map(|text| mailbox(text).map_err(|why| format!("mail.reply_to: {why}"))).transpose()?;
        Ok(Self { from, reply_to })
    }
}

impl Letter {
    /// Reads what a job is about.
    ///
    /// # Errors
    /// It is no letter.
    pub fn read(data: &RawValue) -> Result<Self, String> {
        serde_json::from_str(data.get()).map_err(|error| format!("the data of this job is no mail: {error}"))
    }

    /// Looks whether it can be sent, as far as that can be said before it is filled in. Returns the address, without a name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<String, String> {
        let to = mailbox(&self.to).map_err(|why| format!("to: {why}"))?;
        if let Some(reply_to) = &self.reply_to {
            mailbox(reply_to).map_err(|why| format!("replyTo: {why}"))?;
        }
        // What a template makes of a subject that it is given is one, too.
        let given = self.data.get("subject").and_then(Value::as_str).filter(|_| self.template.is_some());
        if let Some(subject) = self.subject.as_deref().or(given) {
            one_line(subject)?;
        }
        if self.template.is_none() && (self.subject.is_none() || self.text.is_none()) {
            return Err("it needs a template, or a subject and a text".into());
        }
        Ok(to.email.to_string())
    }

    /// Writes it.
    pub(super) fn write(&self, templates: &Templates, sender: &Sender, id: &str) -> Result<Written, String> {
        let to = mailbox(&self.to).map_err(|why| format!("to: {why}"))?;
        let (subject, text, html) = self.filled_in(templates)?;
        if subject.len() > MAX_SUBJECT_BYTES {
            return Err(format!("the subject is longer than {MAX_SUBJECT_BYTES} bytes"));
        }
        let reply_to = self.reply_to.as_deref().map(|text| mailbox(text).map_err(|why| format!("replyTo: {why}")));
        let reply_to = reply_to.transpose()?.or_else(|| sender.reply_to.clone());
        let address = to.email.to_string();
        let mut builder = Message::builder()
            .from(sender.from.clone())
            .to(to)
            .subject(one_line(&subject)?)
            // Whoever is handed the same letter twice can tell.
            .message_id(Some(format!("<{}@{}>", hash(id), sender.from.email.domain())))
            .date_now();
        if let Some(reply_to) = reply_to {
            builder = builder.reply_to(reply_to);
        }
        let plain = part(ContentType::TEXT_PLAIN, &text);
        let message = match &html {
            None => builder.singlepart(plain),
            Some(html) => builder
                .multipart(MultiPart::alternative().singlepart(plain).singlepart(part(ContentType::TEXT_HTML, html))),
        };
        let mut message = message.map_err(|error| format!("it cannot be written as a mail: {error}"))?;
        // Who is away must not answer it by a program.
        let mut headers = vec![("Auto-Submitted", "auto-generated".to_owned())];
        if let Some(Unsubscribe { url }) = &self.unsubscribe {
            let is_url = url.starts_with("https://") || url.starts_with("http://");
            if !is_url || !url.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>')) {
                return Err("unsubscribe.url is no URL of http or https".into());
            }
            headers.push(("List-Unsubscribe", format!("<{url}>")));
            headers.push(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()));
        }
        for (name, value) in headers {
            let name = HeaderName::new_from_ascii_str(name);
            // They have only what was looked at, and must not be folded.
            message.headers_mut().insert_raw(HeaderValue::dangerous_new_pre_encoded(name, value.clone(), value));
        }
        Ok(Written { message, address, subject, text })
    }

    fn filled_in(&self, templates: &Templates) -> Result<(String, String, Option<String>), String> {
        let Some(template) = &self.template else {
            let subject = self.subject.clone().ok_or("it needs a subject, or a template")?;
            let text = self.text.clone().ok_or("it needs a text, or a template")?;
            return Ok((subject, text, self.html.clone()));
        };
        if self.subject.is_some() || self.text.is_some() || self.html.is_some() {
            return Err("it has a template: subject, text and html come from there".into());
        }
        templates.fill_in(template, &self.data)
    }
}

/// A text as a part of a message: quoted-printable or base64, so that no line of it is anything but text.
fn part(kind: ContentType, text: &str) -> SinglePart {
    let encoding =
        if text.is_ascii() { ContentTransferEncoding::QuotedPrintable } else { ContentTransferEncoding::Base64 };
    SinglePart::builder().header(kind).header(encoding).body(text.to_owned())
}

/// Looks at an address without a name.
///
/// # Errors
/// It is none.
pub fn check_address(text: &str) -> Result<(), String> {
    let mailbox = mailbox(text)?;
    if mailbox.name.is_some() || mailbox.email.to_string() != text {
        return Err("is an address with something around it".into());
    }
    Ok(())
}

/// Reads an address.
pub(super) fn mailbox(text: &str) -> Result<Mailbox, String> {
    // A header ends where a line does.
    if text.chars().any(char::is_control) {
        return Err("an address has no control characters".into());
    }
    let mailbox: Result<Mailbox, _> = text.trim().parse();
    let mailbox =
        mailbox.map_err(|_| "is no address, like \"Ann <ann@example.com>\" or \"ann@example.com\"".to_owned())?;
    if !mailbox.email.to_string().is_ascii() {
        return Err("has letters before or after the @ that most mail servers do not take".into());
    }
    Ok(mailbox)
}

/// A subject is one line: whoever could begin another would write headers.
fn one_line(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("the subject is empty".into());
    }
    if text.chars().any(char::is_control) {
        return Err("the subject has a line break, or another control character".into());
    }
    Ok(text.to_owned())
}

fn hash(id: &str) -> String {
    Sha256::digest(id).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender() -> Sender {
        Sender { from: mailbox("Shop <shop@example.com>").unwrap(), reply_to: None }
    }

    fn letter() -> Letter {
        let text = |text: &str| Some(text.to_owned());
        Letter {
            to: "Ann <ann@example.com>".into(),
            subject: text("Hello"),
            text: text("Hi\r\n.\r\nbye"),
            ..Letter::default()
        }
    }

    fn written(letter: &Letter) -> Result<String, String> {
        let templates = Templates::read("".as_ref()).unwrap();
        letter
            .write(&templates, &sender(), "job-7")
            .map(|written| String::from_utf8(written.message.formatted()).unwrap())
    }

    #[test]
    fn a_letter_is_what_it_says() {
        let mut letter = letter();
        letter.html = Some("<p>Grüße 😀</p>".into());
        letter.unsubscribe = Some(Unsubscribe { url: format!("https://chat.example/unsubscribe?{}", "u".repeat(200)) });
        let text = written(&letter).unwrap();
        for line in [
            "From: Shop <shop@example.com>\r\n",
            "To: Ann <ann@example.com>\r\n",
            "Subject: Hello\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
            &format!("List-Unsubscribe: <https://chat.example/unsubscribe?{}>\r\n", "u".repeat(200)),
            "Content-Type: multipart/alternative",
            "Content-Type: text/plain; charset=utf-8\r\n",
            "Content-Type: text/html; charset=utf-8\r\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("Message-ID: <").count(), 1);
        let again = written(&letter).unwrap();
        let id = |text: &str| text.lines().find(|line| line.starts_with("Message-ID")).unwrap().to_owned();
        assert_eq!(id(&text), id(&again), "the same job is the same letter");
    }

    #[test]
    fn no_text_can_become_a_header_or_another_receiver() {
        for attack in ["a\r\nBcc: eve@example.com", "a\nBcc: eve@example.com", "a\rBcc: x", "a\0b", "a\u{7f}b"] {
            let with = |change: &dyn Fn(&mut Letter)| {
                let mut letter = letter();
                change(&mut letter);
                written(&letter)
            };
            assert!(with(&|letter| letter.subject = Some(attack.into())).is_err(), "{attack:?}");
            assert!(with(&|letter| letter.to = format!("{attack} <ann@example.com>")).is_err(), "{attack:?}");
            assert!(with(&|letter| letter.to = format!("ann@example.com{attack}")).is_err(), "{attack:?}");
            assert!(with(&|letter| letter.reply_to = Some(format!("{attack} <b@example.com>"))).is_err(), "{attack:?}");
            let unsubscribe = || Some(Unsubscribe { url: format!("https://chat.example/{attack}") });
            assert!(with(&|letter| letter.unsubscribe = unsubscribe()).is_err(), "{attack:?}");
            // What it says may be anything, and stays below the headers.
            let text = with(&|letter| letter.text = Some(attack.into())).unwrap();
            let head = text.split("\r\n\r\n").next().unwrap();
            assert!(!head.contains("eve@"), "{head}");
        }
        for to in ["ann@example.com, eve@example.com", "", "ann", "ann@", "<ann@example.com", "ann@exämple.com"] {
            assert!(written(&Letter { to: to.into(), ..letter() }).is_err(), "{to}");
        }
        for name in ["Zoë \"the\" <b>, c", "=?utf-8?q?x?=", "a: b; c"] {
            let to = format!("\"{}\" <ann@example.com>", name.replace('"', "\\\""));
            if let Ok(text) = written(&Letter { to, ..letter() }) {
                let to = text.lines().filter(|line| line.starts_with("To:")).count();
                assert_eq!(to, 1, "{text}");
                assert!(!text.contains("Cc:"), "{text}");
            }
        }
    }

    #[test]
    fn a_letter_has_a_template_or_texts() {
        let bare = Letter { to: "ann@example.com".into(), ..Letter::default() };
        assert!(written(&bare).unwrap_err().contains("needs a subject"));
        assert!(written(&Letter { subject: Some("x".into()), ..bare.clone() }).unwrap_err().contains("needs a text"));
        assert!(written(&Letter { subject: Some(" ".into()), text: Some("x".into()), ..bare.clone() }).is_err());
        let both = Letter { template: Some("message".into()), ..letter() };
        assert!(written(&both).unwrap_err().contains("has a template"));
        assert!(written(&Letter { template: Some("none".into()), ..bare }).unwrap_err().contains("none"));
        let data = RawValue::from_string(r#"{"to": "a@b.example", "bcc": "eve@example.com"}"#.into()).unwrap();
        assert!(Letter::read(&data).unwrap_err().contains("bcc"), "what nobody knows is not passed over");
    }
}
