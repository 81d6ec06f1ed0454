//! Timeouts: whether connections on which nobody says anything live as long as they may.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::balancer::Way;
use super::report::{Report, Status};
use super::talk::{Client, Lost, Open};
use super::web::{PATIENCE, WebSocket};

/// How much longer than they have to they are watched.
const MARGIN: Duration = Duration::from_secs(1);
const PING: &str = "2";
const PONG: &str = "3";
const SEE: &str = "docs/operations.md#load-balancers";

/// Why a connection did not live as long as it should.
#[derive(Debug)]
enum Short {
    /// It could not be tried.
    Untried(String),
    /// It was cut, so long after it was opened, and after so long of silence; in words.
    Cut { age: Duration, silence: Duration, why: String },
}

/// Watches a websocket and a connection over polling at the same time. `polls`: whether polling works at all.
pub(super) async fn look(client: &Client, way: &Way, polls: bool, report: &mut Report) {
    let websocket = async { if way.websocket { Some(websocket(client, way).await) } else { None } };
    let polling = async { if polls { Some(polling(client, way).await) } else { None } };
    let (websocket, polling) = tokio::join!(websocket, polling);
    let kinds = [
        ("balancer.idle_websocket", "websocket", websocket, "websockets do not get through"),
        ("balancer.idle_poll", "long poll", polling, "polling does not work"),
    ];
    let about = &client.site.authority;
    let long = way.interval + way.timeout;
    for (check, kind, outcome, why_not) in kinds {
        match outcome {
            None => report.skipped(check, about, why_not),
            Some(Ok(())) => report.ok(check, about, format!("an idle {kind} lives for longer than {long:?}")),
            Some(Err(Short::Untried(why))) => report.skipped(check, about, why),
            Some(Err(Short::Cut { age, silence, why })) => {
                let (age, silence) = (age.as_secs_f64(), silence.as_secs_f64());
                let seen = format!(
                    "an idle {kind} was cut after {age:.1} s, {silence:.1} s after it was last heard of: {why}"
                );
                let todo = format!(
                    "set the idle timeouts of all that stand between to more than {long:?} (60s is the floor; HAProxy: timeout client, \
                     timeout server and timeout tunnel; nginx: proxy_read_timeout; AWS ALB: idle_timeout)"
                );
                report.found(Status::Error, check, about, seen, (todo, SEE));
            }
        }
    }
}

/// A websocket whose client answers late, as one on a bad network does.
async fn websocket(client: &Client, way: &Way) -> Result<(), Short> {
    let path = "/socket.io/?EIO=4&transport=websocket";
    let mut socket = client.site.websocket(path).await.map_err(Short::Untried)?;
    let opened = Instant::now();
    let until = opened + way.interval + way.timeout + MARGIN;
    let mut heard = opened;
    let cut = |heard: Instant, why: String| Short::Cut { age: opened.elapsed(), silence: heard.elapsed(), why };
    let mut answer_at: Option<Instant> = None;
    loop {
        let next = answer_at.unwrap_or(until).min(until);
        let frame = match timeout_at(next, socket.next()).await {
            Ok(Some(Ok(Message::Close(_)) | Err(Error::ConnectionClosed)) | None) => {
                return Err(cut(heard, "it was closed".into()));
            }
            Ok(Some(Err(error))) => return Err(cut(heard, error.to_string())),
            Ok(Some(Ok(frame))) => frame,
            Err(_) if answer_at.take().is_some() && Instant::now() < until => {
                send(&mut socket, PONG).await.map_err(|why| cut(heard, why))?;
                heard = Instant::now();
                continue;
            }
            Err(_) => break,
        };
        heard = Instant::now();
        let text = frame.to_text().unwrap_or_default();
        if Open::read(text).is_some() {
            send(&mut socket, &client.connect()).await.map_err(|why| cut(heard, why))?;
        } else if text.starts_with("44") {
            return Err(Short::Untried(no_session(text)));
        } else if text == PING {
            answer_at = Some(Instant::now() + way.timeout / 2);
        }
    }
    // Whoever cut it may have told nobody.
    let lives = async {
        socket.send(Message::Ping("doctor".into())).await.ok()?;
        while let Some(Ok(frame)) = socket.next().await {
            if matches!(frame, Message::Pong(_)) {
                return Some(());
            }
        }
        None
    };
    let lives = timeout(PATIENCE, lives).await.ok().flatten();
    lives.ok_or_else(|| cut(heard, "nothing comes back any more".into()))?;
    socket.close(None).await.ok();
    Ok(())
}

async fn send(socket: &mut WebSocket, packet: &str) -> Result<(), String> {
    socket.send(Message::text(packet)).await.map_err(|error| error.to_string())
}

fn no_session(packet: &str) -> String {
    let packet: String = packet.chars().filter(|letter| !letter.is_control()).take(200).collect();
    format!("no session was to be had ({packet}): name a token with --token")
}

/// Polls that wait until the node says something.
async fn polling(client: &Client, way: &Way) -> Result<(), Short> {
    let polling = client.open().await.map_err(Short::Untried)?;
    let opened = Instant::now();
    let until = opened + way.interval + way.timeout + MARGIN;
    let words = |lost| match lost {
        Lost::Unknown => "the node does not know the connection any more".to_owned(),
        Lost::Other(why) => why,
    };
    client.send(&polling, &client.connect()).await.map_err(|lost| Short::Untried(words(lost)))?;
    while Instant::now() < until {
        let asked = Instant::now();
        let cut = |lost| Short::Cut { age: opened.elapsed(), silence: asked.elapsed(), why: words(lost) };
        let packets = client.poll(&polling, way.interval + PATIENCE).await.map_err(cut)?;
        if let Some(packet) = packets.iter().find(|packet| packet.starts_with("44")) {
            return Err(Short::Untried(no_session(packet)));
        }
        if packets.iter().any(|packet| packet == PING) {
            sleep(way.timeout / 2).await;
            client.send(&polling, PONG).await.map_err(cut)?;
        }
    }
    client.close(&polling).await;
    Ok(())
}
