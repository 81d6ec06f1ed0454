//! What everybody in the scenario shares: the nodes that live, who is where, what has to be counted and told.

use std::cell::{Cell, RefCell};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde::Serialize;
use serde_json::json;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::census::Census;
use super::ledger::Ledger;
use crate::dial::Dialer;
use crate::tally::Tally;

/// Longer than any run.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// What a member does when its connection ends without its doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Nobody should lose it now
    Complain,
    /// Never be seen again
    Vanish,
    /// Come back on another node, to the same session
    Recover,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) dialer: Dialer,
    pub(crate) census: Census,
    pub(crate) ledger: RefCell<Ledger>,
    pub(crate) reaction: Cell<Reaction>,
    /// Connections that ended though nothing was done to them
    pub(crate) closed: RefCell<Tally>,
    /// Sessions that came back after their node was killed, and those that did not
    pub(crate) recovered: Cell<u32>,
    pub(crate) unrecovered: RefCell<Tally>,
    is_alive: RefCell<Vec<bool>>,
    /// The node of each member that is connected
    node_of: RefCell<Vec<Option<usize>>>,
    key: EncodingKey,
}

impl World {
    pub(crate) fn new(dialer: Dialer, census: Census, nodes: usize, members: u32, secret: &str) -> Self {
        Self {
            dialer,
            census,
            ledger: RefCell::default(),
            reaction: Cell::new(Reaction::Complain),
            closed: RefCell::default(),
            recovered: Cell::new(0),
            unrecovered: RefCell::default(),
            is_alive: RefCell::new(vec![true; nodes]),
            node_of: RefCell::new(vec![None; members as usize]),
            key: EncodingKey::from_secret(secret.as_bytes()),
        }
    }

    /// The CONNECT of a user that has no session yet.
    pub(crate) fn connect_packet(&self, user: &str) -> anyhow::Result<Utf8Bytes> {
        Ok(format!("40{}", json!({ "token": self.token(user)? })).into())
    }

    /// The CONNECT of a user that wants its session back, as official clients send it.
    pub(crate) fn return_packet(&self, user: &str, pid: &str, offset: &str) -> anyhow::Result<Utf8Bytes> {
        let auth = json!({ "token": self.token(user)?, "pid": pid, "offset": offset });
        Ok(format!("40{auth}").into())
    }

    fn token(&self, user: &str) -> anyhow::Result<String> {
        #[derive(Serialize)]
        struct Claims<'a> {
            sub: &'a str,
            exp: u64,
        }
        let exp = (SystemTime::now().duration_since(UNIX_EPOCH)? + TOKEN_TTL).as_secs();
        Ok(encode(&Header::default(), &Claims { sub: user, exp }, &self.key)?)
    }

    /// The members in a room are one more, and `$join` owes the news.
    pub(crate) fn came(&self, user: &str, room: usize) {
        self.census.came(room);
        self.ledger.borrow_mut().came(user, &self.census.rooms()[room]);
    }

    /// To be called before anything is done towards it.
    pub(crate) fn goes(&self, user: &str, room: usize) {
        self.census.goes(room);
        self.ledger.borrow_mut().goes(user, &self.census.rooms()[room]);
    }

    pub(crate) fn place(&self, client: u32, node: Option<usize>) {
        self.node_of.borrow_mut()[client as usize] = node;
    }

    /// Members that are connected to a node.
    pub(crate) fn clients_on(&self, node: usize) -> Vec<u32> {
        (0..).zip(self.node_of.borrow().iter()).filter(|(_, on)| **on == Some(node)).map(|(client, _)| client).collect()
    }

    pub(crate) fn bury(&self, node: usize) {
        self.is_alive.borrow_mut()[node] = false;
    }

    pub(crate) fn is_alive(&self, node: usize) -> bool {
        self.is_alive.borrow()[node]
    }

    pub(crate) fn alive(&self) -> Vec<usize> {
        (0..self.is_alive.borrow().len()).filter(|&node| self.is_alive(node)).collect()
    }

    /// Where somebody goes who was on `node`: to the next one that lives, which is another one if there is any.
    pub(crate) fn next_alive(&self, node: usize) -> usize {
        let nodes = self.is_alive.borrow().len();
        (1..=nodes).map(|step| (node + step) % nodes).find(|&next| self.is_alive(next)).unwrap_or(node)
    }
}

/// The name of a member; unlike its session, it stays.
pub(crate) fn user(client: u32) -> String {
    format!("m{client}")
}
