//! The Rust client of Socket.IO, told by lines of JSON what to do; `languages.test.mjs` says what they mean.

use std::io::{BufRead, Write};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rust_socketio::{ClientBuilder, Event, Payload, TransportType};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let transport = match arguments[2].as_str() {
        "polling" => TransportType::Polling,
        "websocket" => TransportType::Websocket,
        _ => TransportType::Any,
    };
    let client = ClientBuilder::new(&arguments[1])
        .transport_type(transport)
        .reconnect_delay(50, 200)
        .on(Event::Connect, |_, _| say(&json!({"connected": true})))
        .on(Event::Close, |_, _| say(&json!({"disconnected": "close"})))
        .on(Event::Error, |error, _| say(&json!({"disconnected": format!("{error:?}")})))
        .on_any(|event, payload, _| say(&json!({"heard": event.as_str(), "args": to_text(payload)})))
        .connect()?;
    for line in std::io::stdin().lock().lines() {
        let order: Value = serde_json::from_str(&line?)?;
        let event = order["emit"].as_str().ok_or("an order without an event")?.to_owned();
        let payload = from_text(&order["body"])?;
        let sent = match order["ack"].as_i64() {
            None => client.emit(event, payload),
            Some(number) => client.emit_with_ack(event, payload, Duration::from_secs(15), move |answer, _| {
                let args = match to_text(answer) {
                    // It hands over an ack as one array of all its arguments.
                    Value::Array(mut outer) if outer.len() == 1 && outer[0].is_array() => outer.remove(0),
                    args => args,
                };
                say(&json!({"ack": number, "args": args}));
            }),
        };
        if let Err(error) = sent {
            say(&json!({"failed": error.to_string()}));
        }
    }
    Ok(client.disconnect()?)
}

fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    // Who listens has gone: then there is nobody to tell.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Bytes are `{"$bytes": base64}` in the lines. This client can send them only as the one argument of an event.
fn from_text(body: &Value) -> Result<Payload, base64::DecodeError> {
    Ok(match body["$bytes"].as_str() {
        Some(text) => Payload::from(BASE64_STANDARD.decode(text)?),
        None => Payload::from(body.clone()),
    })
}

/// The arguments; of an event with attachments this client hands over the first attachment only.
fn to_text(payload: Payload) -> Value {
    match payload {
        Payload::Binary(bytes) => json!([{"$bytes": BASE64_STANDARD.encode(bytes)}]),
        Payload::Text(values) => Value::Array(values),
        #[expect(deprecated, reason = "the variant still has to be matched")]
        Payload::String(text) => json!([text]),
    }
}
