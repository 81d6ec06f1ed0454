//! What the node is balanced by: how many connections it has, and whether more may come.

use std::sync::atomic::Ordering;

use super::SocketServer;
use gateway_core::balance::{Clients, Door};

impl Clients for SocketServer {
    fn connections(&self) -> usize {
        self.edge.connections.taken()
    }

    fn is_open(&self) -> bool {
        let edge = &self.edge;
        let admits = !edge.draining.load(Ordering::Acquire) && !edge.starting.load(Ordering::Acquire);
        admits && !edge.router.node().hearing().is_given_up()
    }

    fn door(&self) -> &Door {
        &self.edge.door
    }
}
