//! One connection with Socket.IO on it: dialled, read packet by packet, and upgraded, in the ways in which that fails.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;

use super::plan::{Cut, UpgradeFault};
use super::transport::{Polling, Socket, Transport, kind, open_websocket, reset};

/// How long official clients wait for a connection, and this one for everything that it must not wait for in vain.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long they wait for an answer to a probe: they have a connection that works.
pub(crate) const PROBE_PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Wire {
    address: SocketAddr,
    transport: Transport,
    /// What came and was not read yet.
    packets: VecDeque<String>,
    /// Who it is, to the server.
    sid: String,
    /// An upgrade that goes no further, and until when.
    hanging: Option<(Socket, Instant)>,
    /// For how long the server may be silent.
    silence: Duration,
    heard: Instant,
}

/// What the server says.
#[derive(Debug)]
pub(crate) enum Packet {
    Open,
    Connected {
        pid: Option<String>,
    },
    /// Official clients do not come back from this by themselves.
    Refused(String),
    Event(Vec<Value>),
    Ack {
        id: u64,
        answer: Value,
    },
}

/// What came of an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Upgrade {
    Done,
    /// Polling goes on, for this reason.
    Failed(String),
    /// Polling goes on, as planned.
    Spoiled,
    /// It was done, and the websocket broke at once, as planned.
    Broken,
    /// The probe was not answered.
    Unanswered,
}

impl Wire {
    /// Connects; an HTTP status or the kind of trouble if that does not work.
    /// One that polls may do so at other `nodes`, too.
    pub(crate) async fn dial(address: SocketAddr, polls: bool, nodes: Vec<SocketAddr>) -> Result<Self, String> {
        let open = async {
            Ok(match polls {
                true => Transport::Polling(Polling::open(address, nodes).await?),
                false => Transport::Websocket(open_websocket(address, None).await?),
            })
        };
        let transport = timeout(PATIENCE, open).await.unwrap_or_else(|_| Err("timeout".to_owned()))?;
        let (packets, sid, hanging) = (VecDeque::new(), String::new(), None);
        Ok(Self { address, transport, packets, sid, hanging, silence: PATIENCE, heard: Instant::now() })
    }

    pub(crate) fn is_polling(&self) -> bool {
        self.transport.is_polling()
    }

    /// Whether the server said who it is.
    pub(crate) fn is_open(&self) -> bool {
        !self.sid.is_empty()
    }

    /// The next packet; pings are answered. Loses nothing when cancelled.
    pub(crate) async fn read(&mut self) -> Result<Packet, String> {
        loop {
            let Some(text) = self.packets.pop_front() else {
                let came = timeout_at(self.heard + self.silence, self.transport.read(&mut self.packets)).await;
                self.heard = Instant::now();
                came.map_err(|_| "silent server".to_owned())??;
                continue;
            };
            match text.as_str() {
                "1" => return Err("engine.io close".to_owned()),
                "2" => self.send("3".to_owned()).await?,
                "6" => {}
                packet => {
                    let packet = parse(packet).ok_or_else(|| format!("unreadable packet {packet}"))?;
                    if matches!(packet, Packet::Open) {
                        self.believe(text.as_str());
                    }
                    return Ok(packet);
                }
            }
        }
    }

    /// Takes the server's word for how often it pings.
    fn believe(&mut self, open: &str) {
        let terms: Value = serde_json::from_str(&open[1..]).unwrap_or_default();
        let milliseconds = |key: &str| terms[key].as_u64().unwrap_or(20_000);
        self.silence = Duration::from_millis(milliseconds("pingInterval") + milliseconds("pingTimeout"));
        terms["sid"].as_str().unwrap_or_default().clone_into(&mut self.sid);
        if let Transport::Polling(polling) = &mut self.transport {
            polling.is_opened_as(&self.sid);
        }
    }

    pub(crate) async fn send(&mut self, packet: String) -> Result<(), String> {
        let sent = timeout(PATIENCE, self.transport.send(packet)).await;
        sent.unwrap_or_else(|_| Err("a write that waits".to_owned()))
    }

    /// Nothing is read for a while, not even pings.
    pub(crate) async fn stop_reading(&mut self, length: Duration) {
        tokio::time::sleep(length).await;
        self.heard = Instant::now();
    }

    pub(crate) async fn cut(self, how: Cut, packet: &str) {
        self.transport.cut(how, packet).await;
    }

    /// Whether an upgrade is under way that goes no further. After its time it breaks.
    pub(crate) fn hangs(&mut self) -> bool {
        if let Some((socket, _)) = self.hanging.take_if(|(_, until)| Instant::now() >= *until) {
            reset(socket);
        }
        self.hanging.is_some()
    }

    /// Goes from polling to a websocket as official clients do, or fails on the way.
    pub(crate) async fn upgrade(&mut self, fault: Option<UpgradeFault>) -> Result<Upgrade, String> {
        match timeout(PROBE_PATIENCE, open_websocket(self.address, Some(&self.sid))).await {
            Err(_) => Ok(Upgrade::Unanswered),
            Ok(Err(why)) => Ok(Upgrade::Failed(why)),
            Ok(Ok(socket)) => {
                let by = Instant::now() + PROBE_PATIENCE;
                match timeout_at(by, self.upgrade_to(socket, fault)).await {
                    Ok(upgraded) => upgraded,
                    Err(_) => Ok(Upgrade::Unanswered),
                }
            }
        }
    }

    async fn upgrade_to(&mut self, mut socket: Socket, fault: Option<UpgradeFault>) -> Result<Upgrade, String> {
        if fault == Some(UpgradeFault::BreaksUnprobed) {
            reset(socket);
            return Ok(Upgrade::Spoiled);
        }
        if let Err(error) = socket.send(Message::text("2probe")).await {
            return Ok(Upgrade::Failed(kind(&error)));
        }
        loop {
            tokio::select! {
                answer = socket.next() => match answer {
                    Some(Ok(Message::Text(text))) if text.as_str() == "3probe" => break,
                    Some(Ok(other)) => return Err(format!("a probe was answered with {other:?}")),
                    Some(Err(error)) => return Ok(Upgrade::Failed(kind(&error))),
                    None => return Ok(Upgrade::Failed("end of stream".to_owned())),
                },
                polled = self.transport.read(&mut self.packets) => polled?,
            }
        }
        match fault {
            Some(UpgradeFault::BreaksProbed) => {
                reset(socket);
                return Ok(Upgrade::Spoiled);
            }
            Some(UpgradeFault::Hangs(length)) => {
                self.hanging = Some((socket, Instant::now() + length));
                return Ok(Upgrade::Spoiled);
            }
            _ => {}
        }
        // The last poll is awaited before the websocket is told to go on.
        while matches!(&self.transport, Transport::Polling(polling) if polling.is_waiting()) {
            self.transport.read(&mut self.packets).await?;
        }
        self.heard = Instant::now();
        if let Err(error) = socket.send(Message::text("5")).await {
            return Ok(Upgrade::Failed(kind(&error)));
        }
        if fault == Some(UpgradeFault::BreaksUpgraded) {
            reset(socket);
            return Ok(Upgrade::Broken);
        }
        self.transport = Transport::Websocket(socket);
        Ok(Upgrade::Done)
    }
}

fn parse(packet: &str) -> Option<Packet> {
    if packet.starts_with('0') {
        return Some(Packet::Open);
    }
    let (kind, body) = packet.split_at_checked(2)?;
    let of_connect = |key: &str| {
        let body: Value = serde_json::from_str(body).ok()?;
        body[key].as_str().map(str::to_owned)
    };
    match kind {
        "40" => Some(Packet::Connected { pid: of_connect("pid") }),
        "41" => Some(Packet::Refused("disconnect".to_owned())),
        "42" => serde_json::from_str(body).ok().map(Packet::Event),
        "43" => {
            let (id, arguments) = body.split_at(body.find('[')?);
            let mut answers: Vec<Value> = serde_json::from_str(arguments).ok()?;
            Some(Packet::Ack { id: id.parse().ok()?, answer: answers.drain(..).next()? })
        }
        "44" => Some(Packet::Refused(of_connect("message").unwrap_or_default())),
        _ => None,
    }
}
