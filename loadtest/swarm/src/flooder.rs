//! Scenario `flooder`: one client that sends many times what it may, and comes back whenever it is thrown out.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_tungstenite::tungstenite::protocol::Message;

use crate::args::FlooderArguments;
use crate::attack::{Attack, NOISE};
use crate::dial::Dialer;
use crate::entry::{enter, fresh_prefix};
use crate::member::JOIN_DEADLINE;
use crate::outcome::Outcome;
use crate::packet::{PONG, Packet, read_answer, read_refusal};
use crate::process::cpu_us;
use crate::session::{Closed, Session};
use crate::tally::Tally;

/// A flooder that was held up goes on at its rate; it does not send later what it could not send in time.
const MOST_BEHIND: Duration = Duration::from_millis(100);

/// Handshakes that may wait for their answers. Beyond it, one is not sent.
const KNOCKS_AT_ONCE: u32 = 256;

/// What became of everything that was sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Flood {
    pub(crate) attack: Attack,
    pub(crate) seconds: f64,
    pub(crate) sent: u64,
    pub(crate) accepted: u64,
    /// By code; handshakes by status
    pub(crate) refused: Tally,
    /// How often the gateway ended its connection, and how
    pub(crate) closed: Tally,
    /// From the first packet to the first such end
    pub(crate) first_closed_after_seconds: Option<f64>,
    /// Attempts to come back that failed
    pub(crate) kept_out: Tally,
    pub(crate) cpu_cores: f64,
}

impl Flood {
    fn new(attack: Attack) -> Self {
        Self {
            attack,
            seconds: 0.0,
            sent: 0,
            accepted: 0,
            refused: Tally::default(),
            closed: Tally::default(),
            first_closed_after_seconds: None,
            kept_out: Tally::default(),
            cpu_cores: 0.0,
        }
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.sent as f64 / self.seconds.max(f64::EPSILON)
    }

    /// Neither accepted nor refused in words: thrown away with a connection, or unread.
    fn unanswered(&self) -> u64 {
        self.sent.saturating_sub(self.accepted + self.refused.total())
    }
}

pub(crate) async fn run(arguments: &FlooderArguments) -> anyhow::Result<Outcome> {
    let attack = arguments.attack;
    let dialer = Rc::new(Dialer::new(&arguments.target, KNOCKS_AT_ONCE).await?);
    let flood = Rc::new(RefCell::new(Flood::new(attack)));
    let pace = Duration::from_secs(1) / (attack.allowed_per_second() * arguments.times);
    let started = Instant::now();
    let until = started + Duration::from_secs(arguments.seconds.into());
    let flooding = async {
        match attack {
            Attack::Connects => knock_on(&dialer, pace, &flood).await,
            _ => come_back_and_flood(&dialer, pace, &flood).await,
        }
    };
    // It never ends by itself.
    let _ = timeout_at(until, flooding).await;

    let mut flood = flood.borrow().clone();
    flood.seconds = started.elapsed().as_secs_f64();
    let own_cpu_us = cpu_us(&[i32::try_from(std::process::id())?])?;
    flood.cpu_cores = own_cpu_us as f64 / 1_000_000.0 / flood.seconds;
    Outcome::new("flooder", &flood, Vec::new())
}

/// Waits between two sessions as long as official clients do.
async fn come_back_and_flood(dialer: &Dialer, pace: Duration, flood: &RefCell<Flood>) {
    let room = fresh_prefix("flooder");
    let mut first_packet = None;
    for visit in 0.. {
        match enter(dialer, 0, &room, JOIN_DEADLINE).await {
            Ok(entry) => {
                let started = *first_packet.get_or_insert_with(Instant::now);
                let closed = rampage(entry.session, pace, &room, flood).await;
                let mut flood = flood.borrow_mut();
                flood.closed.add(closed);
                flood.first_closed_after_seconds.get_or_insert(started.elapsed().as_secs_f64());
            }
            Err(error) => flood.borrow_mut().kept_out.add(error),
        }
        sleep(dialer.pause(visit)).await;
    }
}

/// Sends at its pace and reads at the same time, as official clients do, until the connection ends.
async fn rampage(session: Session, pace: Duration, room: &str, flood: &RefCell<Flood>) -> Closed {
    let (mut sink, mut stream) = session.into_websocket().split();
    let attack = flood.borrow().attack;
    let owes_pong = Cell::new(false);
    let sending = async {
        let mut due = Instant::now();
        for number in 0.. {
            if owes_pong.take() {
                sink.send(Message::text(PONG)).await?;
            }
            sleep_until(due).await;
            sink.send(Message::text(attack.packet(number, room))).await?;
            flood.borrow_mut().sent += 1;
            due = next_due(due, pace);
        }
        Ok(())
    };
    let reading = async {
        while let Some(message) = stream.next().await {
            let Message::Text(frame) = message? else { continue };
            match Packet::parse(&frame) {
                Packet::Ping => owes_pong.set(true),
                Packet::Close => return Ok(Closed::by("engine.io close")),
                Packet::Disconnect => return Ok(Closed::by("socket.io disconnect")),
                packet => account(&packet, &mut flood.borrow_mut()),
            }
        }
        Ok(Closed::by("end of stream"))
    };
    tokio::select! {
        sent = sending => match sent {
            Err(closed) => closed,
            Ok(()) => Closed::by("sent everything"),
        },
        read = reading => read.unwrap_or_else(|closed: Closed| closed),
    }
}

fn next_due(due: Instant, pace: Duration) -> Instant {
    let now = Instant::now();
    if now.duration_since(due) > MOST_BEHIND { now } else { due + pace }
}

/// What the gateway said to one of the packets.
fn account(packet: &Packet<'_>, flood: &mut Flood) {
    match packet {
        Packet::Ack { arguments, .. } => match read_answer(arguments) {
            Ok(_) => flood.accepted += 1,
            Err(code) => flood.refused.add(code),
        },
        Packet::Event(event) => {
            if let Some(code) = read_refusal(event) {
                flood.refused.add(code);
            } else if !flood.attack.wants_acks() && event.starts_with(&format!(r#"["{NOISE}","#)) {
                flood.accepted += 1;
            }
        }
        _ => {}
    }
}

/// Asks for connections at its pace, whatever the answers.
async fn knock_on(dialer: &Rc<Dialer>, pace: Duration, flood: &Rc<RefCell<Flood>>) {
    let mut knocking = JoinSet::new();
    let mut due = Instant::now();
    loop {
        sleep_until(due).await;
        due = next_due(due, pace);
        while knocking.try_join_next().is_some() {}
        if knocking.len() >= KNOCKS_AT_ONCE as usize {
            // One has to be answered before the next.
            knocking.join_next().await;
        }
        let (dialer, flood) = (Rc::clone(dialer), Rc::clone(flood));
        flood.borrow_mut().sent += 1;
        knocking.spawn_local(async move {
            let answer = dialer.knock(0).await;
            let mut flood = flood.borrow_mut();
            match answer {
                Ok(status) if status.as_u16() == 101 => flood.accepted += 1,
                Ok(status) => flood.refused.add(status.as_u16()),
                Err(error) => flood.kept_out.add(error),
            }
        });
    }
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: sent {} ({:.0}/s), accepted {}, refused {}, unanswered {}, closed {}",
            self.attack,
            self.sent,
            self.per_second(),
            self.accepted,
            self.refused,
            self.unanswered(),
            self.closed
        )?;
        if let Some(seconds) = self.first_closed_after_seconds {
            write!(f, ", first after {seconds:.1} s")?;
        }
        write!(f, ", kept out {}, {:.2} cores", self.kept_out, self.cpu_cores)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::{Instant, advance};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::{Message, Role};

    use futures_util::{SinkExt, StreamExt};

    use super::{Flood, MOST_BEHIND, account, next_due, rampage};
    use crate::attack::Attack;
    use crate::packet::Packet;
    use crate::session::Session;

    #[test]
    fn counts_acks_or_its_own_events_and_never_both() {
        let refused = r#"["refused",{"ok":false,"error":{"code":"rate_limited","message":""}}]"#;
        for (attack, accepted) in [(Attack::Publishes, 1), (Attack::AckedPublishes, 2)] {
            let mut flood = Flood { sent: 6, ..Flood::new(attack) };
            if attack.wants_acks() {
                for id in 0..2 {
                    account(&Packet::Ack { id, arguments: r#"[{"ok":true,"offset":"1"}]"# }, &mut flood);
                }
            }
            account(&Packet::Event(r#"["noise",{"room":"r"},"7"]"#), &mut flood);
            account(&Packet::Event(refused), &mut flood);
            assert_eq!((flood.accepted, flood.refused.total()), (accepted, 1));
            assert_eq!(flood.unanswered(), 6 - accepted - 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn does_not_make_up_for_what_it_could_not_send() {
        let (pace, due) = (Duration::from_millis(1), Instant::now());
        advance(Duration::from_millis(50)).await;
        assert_eq!(next_due(due, pace), due + pace);
        advance(MOST_BEHIND).await;
        assert_eq!(next_due(due, pace), Instant::now());
    }

    #[tokio::test]
    async fn answers_pings_floods_and_says_how_it_ended() -> anyhow::Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let client = TcpStream::connect(listener.local_addr()?).await?;
        let (server, _) = listener.accept().await?;
        let mut server = WebSocketStream::from_raw_socket(server, Role::Server, None).await;
        let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let flood = RefCell::new(Flood::new(Attack::AckedPublishes));
        let (closed, seen) =
            tokio::join!(rampage(Session::new(client), Duration::from_millis(1), "r", &flood), async {
                server.send(Message::text("2")).await?;
                let (mut publishes, mut pongs) = (0, 0);
                while pongs == 0 || publishes < 20 {
                    match server.next().await {
                        Some(Ok(Message::Text(text))) if text == "3" => pongs += 1,
                        Some(Ok(Message::Text(text))) => {
                            assert!(text.starts_with(&format!(r#"42{publishes}["publish","#)), "{text}");
                            publishes += 1;
                        }
                        other => anyhow::bail!("{other:?}"),
                    }
                }
                server.send(Message::text("1")).await?;
                anyhow::Ok(publishes)
            });
        assert_eq!(closed.to_string(), "engine.io close");
        assert!(flood.borrow().sent >= seen?);
        Ok(())
    }
}
