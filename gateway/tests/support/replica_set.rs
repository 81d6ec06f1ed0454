//! A replica set at the wire: two members before one FerretDB, of which one says that it is the primary, until it steps down.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::eventually;

/// What a server says that is not the primary any more, and when.
#[derive(Clone, Copy, Debug)]
pub enum StepDown {
    /// `NotWritablePrimary`, and nothing was done.
    Refusing,
    /// `InterruptedDueToReplStateChange`, and nobody knows what was done: here it was.
    Interrupting,
    /// Nothing: the connection ends, and what was asked was done.
    Hanging,
}

pub struct ReplicaSet {
    state: Arc<State>,
}

struct State {
    ports: [u16; 2],
    /// Where the documents are.
    target: u16,
    /// Which of the two is the primary; none of them while one is elected.
    primary: AtomicUsize,
    elections: AtomicU64,
    /// How the primary answers the next write.
    stepping: Mutex<Option<StepDown>>,
    /// After how many writes it says something instead of doing one more, by code and name.
    saying: Mutex<Option<(usize, (i32, &'static str))>>,
    /// How many commands came to a member that was not the primary, or were answered by one that stepped down.
    refused: AtomicU64,
}

/// None of the members.
const NOBODY: usize = usize::MAX;
/// How long an election takes.
const ELECTION: Duration = Duration::from_millis(300);
const NOT_PRIMARY: (i32, &str) = (10_107, "NotWritablePrimary");
const INTERRUPTED: (i32, &str) = (11_602, "InterruptedDueToReplStateChange");
const OP_MSG: i32 = 2_013;

impl ReplicaSet {
    /// Over what listens on a port of this machine.
    pub async fn over(target: u16) -> Self {
        let listeners = [listener().await, listener().await];
        let ports = [0, 1].map(|member: usize| listeners[member].local_addr().unwrap().port());
        let state = Arc::new(State {
            ports,
            target,
            primary: AtomicUsize::new(0),
            elections: AtomicU64::new(1),
            stepping: Mutex::new(None),
            saying: Mutex::new(None),
            refused: AtomicU64::new(0),
        });
        for (member, listener) in listeners.into_iter().enumerate() {
            let state = state.clone();
            tokio::spawn(async move {
                while let Ok((near, _)) = listener.accept().await {
                    let state = state.clone();
                    tokio::spawn(async move { state.carry(member, near).await });
                }
            });
        }
        Self { state }
    }

    pub fn url_of(&self, database: &str) -> String {
        let [one, other] = self.state.ports;
        format!("mongodb://127.0.0.1:{one},127.0.0.1:{other}/{database}?replicaSet=set")
    }

    /// Has the primary step down at the next write; returns when it has.
    pub async fn step_down(&self, how: StepDown) {
        *self.state.stepping.lock() = Some(how);
        eventually("it has stepped down", || async { self.state.stepping.lock().is_none() }).await;
    }

    /// From now on there is no primary, until [`Self::elect`].
    pub fn depose(&self) {
        self.state.primary.store(NOBODY, Ordering::SeqCst);
    }

    /// Makes the first member the primary.
    pub fn elect(&self) {
        self.state.elect(0);
    }

    /// Has so many writes done, and then one answered by a code and its name instead.
    pub fn say_after(&self, writes: usize, code: i32, name: &'static str) {
        *self.state.saying.lock() = Some((writes, (code, name)));
    }

    /// Whether that is still to come.
    pub fn will_say(&self) -> bool {
        self.state.saying.lock().is_some()
    }

    /// How many commands were refused, or interrupted.
    pub fn refused(&self) -> u64 {
        self.state.refused.load(Ordering::SeqCst)
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

/// A message with one document, and what else there is in it.
struct Message {
    request: i32,
    flags: u32,
    document: Document,
    /// Sequences of documents, as they came.
    rest: Vec<u8>,
}

impl Message {
    /// Nothing at the end of the connection.
    async fn read(stream: &mut TcpStream) -> Option<Self> {
        let length = usize::try_from(stream.read_i32_le().await.ok()?).ok()?;
        let (request, _, kind) =
            (stream.read_i32_le().await.ok()?, stream.read_i32_le().await.ok()?, stream.read_i32_le().await.ok()?);
        assert_eq!(kind, OP_MSG, "drivers of today write no other");
        let mut body = vec![0; length - 16];
        stream.read_exact(&mut body).await.ok()?;
        let flags = u32::from_le_bytes(body[..4].try_into().unwrap());
        assert_eq!((flags & 1, body[4]), (0, 0), "no checksum, and the command comes first");
        let size = u32::from_le_bytes(body[5..9].try_into().unwrap()) as usize;
        let document = Document::from_reader(&body[5..5 + size]).unwrap();
        Some(Self { request, flags, document, rest: body[5 + size..].to_vec() })
    }

    async fn write(&self, answers: i32, stream: &mut TcpStream) -> std::io::Result<()> {
        let document = self.document.to_vec().unwrap();
        let length = 16 + 4 + 1 + document.len() + self.rest.len();
        let mut bytes = Vec::with_capacity(length);
        for number in [i32::try_from(length).unwrap(), self.request, answers, OP_MSG] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.flags.to_le_bytes());
        bytes.push(0);
        bytes.extend(document);
        bytes.extend(&self.rest);
        stream.write_all(&bytes).await
    }

    fn command(&self) -> &str {
        self.document.keys().next().map_or("", String::as_str)
    }

    fn is_hello(&self) -> bool {
        ["hello", "ismaster", "isMaster"].contains(&self.command())
    }

    fn is_write(&self) -> bool {
        ["insert", "update", "delete", "findAndModify", "createIndexes"].contains(&self.command())
    }

    /// What a server of a replica set says that does not do it.
    fn refusal(&self, (code, name): (i32, &str)) -> Document {
        let mut answer = doc! { "ok": 0.0, "errmsg": name, "code": code, "codeName": name };
        // Whoever says that this may be repeated remembers what it did under that number.
        let passes = [NOT_PRIMARY, INTERRUPTED].contains(&(code, name));
        if passes && self.document.contains_key("txnNumber") {
            answer.insert("errorLabels", vec!["RetryableWriteError"]);
        }
        answer
    }
}

impl State {
    async fn carry(self: Arc<Self>, member: usize, mut near: TcpStream) {
        let mut far = TcpStream::connect((Ipv4Addr::LOCALHOST, self.target)).await.unwrap();
        while let Some(mut message) = Message::read(&mut near).await {
            let is_primary = self.primary.load(Ordering::SeqCst) == member;
            let answer = if message.is_hello() {
                // Asked as a server that stands alone, it does not wonder about the set.
                let Some(answer) = ask(&mut message, &mut far).await else { return };
                Some(self.introduce(member, answer))
            } else if message.command() == "endSessions" {
                Some(doc! { "ok": 1.0 })
            } else if is_primary {
                self.answer(member, &mut message, &mut far).await
            } else {
                self.refused.fetch_add(1, Ordering::SeqCst);
                Some(message.refusal(NOT_PRIMARY))
            };
            let Some(document) = answer else { return };
            let answer = Message { request: 0, flags: 0, document, rest: Vec::new() };
            if answer.write(message.request, &mut near).await.is_err() {
                return;
            }
        }
    }

    /// Nothing if the connection is to end.
    async fn answer(self: &Arc<Self>, member: usize, message: &mut Message, far: &mut TcpStream) -> Option<Document> {
        if let Some(said) = message.is_write().then(|| self.said_instead()).flatten() {
            return Some(message.refusal(said));
        }
        let stepping = if message.is_write() { self.stepping.lock().take() } else { None };
        let Some(how) = stepping else { return ask(message, far).await };
        self.primary.store(NOBODY, Ordering::SeqCst);
        self.refused.fetch_add(1, Ordering::SeqCst);
        let answer = match how {
            StepDown::Refusing => Some(message.refusal(NOT_PRIMARY)),
            StepDown::Interrupting => {
                ask(message, far).await;
                Some(message.refusal(INTERRUPTED))
            }
            StepDown::Hanging => {
                ask(message, far).await;
                None
            }
        };
        let state = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(ELECTION).await;
            state.elect(1 - member);
        });
        answer
    }

    fn said_instead(&self) -> Option<(i32, &'static str)> {
        let mut saying = self.saying.lock();
        let (writes, said) = saying.as_mut()?;
        let said = *said;
        match writes.checked_sub(1) {
            Some(left) => {
                *writes = left;
                None
            }
            None => {
                *saying = None;
                Some(said)
            }
        }
    }

    fn elect(&self, member: usize) {
        self.elections.fetch_add(1, Ordering::SeqCst);
        self.primary.store(member, Ordering::SeqCst);
    }

    /// What a server says of itself, as a member of the set.
    fn introduce(&self, member: usize, mut hello: Document) -> Document {
        let name = |member: usize| format!("127.0.0.1:{}", self.ports[member]);
        let primary = self.primary.load(Ordering::SeqCst);
        let is_primary = primary == member;
        hello.remove("topologyVersion");
        hello.extend(doc! {
            "setName": "set",
            "setVersion": 1,
            "hosts": [name(0), name(1)],
            "me": name(member),
            "ismaster": is_primary,
            "isWritablePrimary": is_primary,
            "secondary": !is_primary,
            "logicalSessionTimeoutMinutes": 30,
        });
        if is_primary {
            let mut election = [0; 12];
            election[4..].copy_from_slice(&self.elections.load(Ordering::SeqCst).to_be_bytes());
            hello.extend(doc! { "primary": name(member), "electionId": ObjectId::from_bytes(election) });
        }
        hello
    }
}

/// Has it done by the server behind, which has no sessions and no numbers of writes.
async fn ask(message: &mut Message, far: &mut TcpStream) -> Option<Document> {
    let mut document = message.document.clone();
    for name in ["lsid", "txnNumber", "$clusterTime"] {
        document.remove(name);
    }
    let kept = std::mem::replace(&mut message.document, document);
    let written = message.write(0, far).await;
    message.document = kept;
    written.ok()?;
    Some(Message::read(far).await?.document)
}
