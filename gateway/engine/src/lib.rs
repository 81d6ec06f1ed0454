//! Engine.IO 4 and Socket.IO 5 for a server: transports, packets, heartbeats and limits. It knows nothing of rooms,
//! Redis or routes.
//!
//! A [`Server`] takes TCP streams and serves Socket.IO on them. What it asks of its user are three traits: a
//! [`Handler`] decides whether a connection may open, a [`Guest`] is the handler's part of one connection and is asked
//! when the client wants into a namespace, a [`Session`] takes the events of one namespace. The way back is a
//! [`Connection`]: packets are sent through it, and it is ended softly or at once. A [`Packet`] is encoded once and shared
//! by all who receive it; whoever sends it writes it into the client's socket, as long as nothing waits there.
//!
//! Where there are several servers, a [`Passage`] knows the others: requests for connections of theirs are passed on to them.

mod budget;
mod connection;
mod connections;
mod cors;
mod frame;
mod handler;
mod handshake;
mod heartbeat;
mod http;
mod inbound;
mod intake;
mod keeper;
mod msgpack;
mod opening;
mod outbox;
mod packet;
mod parting;
mod passing;
mod payload;
mod polling;
mod reply;
mod seats;
mod server;
mod settings;
mod websocket;

pub use connection::Connection;
pub use connections::Traffic;
pub use handler::{Admission, Answer, End, Gone, Guest, Handler, Misuse, Pieces, Session, Side, Streamed, Transport};
pub use inbound::Event;
pub use outbox::{SendError, Waiting};
pub use packet::Packet;
pub use passing::{BadTag, NoWay, Passage, Passed, Passing, Place, Tag, Tunnel, Way};
pub use server::{Loop, Server};
pub use settings::Settings;
