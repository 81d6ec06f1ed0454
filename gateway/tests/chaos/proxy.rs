//! A node's only way to Redis, which can be blocked for that node alone.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// Connections stay, new ones are made, and nothing passes.
    Held,
    /// Connections end, and so do new ones.
    Closed,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) way: watch::Sender<Way>,
}

impl Proxy {
    pub(crate) async fn before(redis: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (way, state) = watch::channel(Way::Open);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                near.set_nodelay(true).ok();
                tokio::spawn(carry(near, redis.clone(), state.clone()));
            }
        });
        Self { address, way }
    }
}

async fn carry(mut near: TcpStream, redis: PathBuf, mut state: watch::Receiver<Way>) {
    if *state.borrow() == Way::Closed {
        return;
    }
    let Ok(mut far) = UnixStream::connect(redis).await else { return };
    let (near_read, near_write) = near.split();
    let (far_read, far_write) = far.split();
    let (there, back) = (state.clone(), state.clone());
    // Either way's end is the connection's end: what Redis or a node closes, it closes in both directions.
    tokio::select! {
        _ = state.wait_for(|way| *way == Way::Closed) => {}
        () = pump(near_read, far_write, there) => {}
        () = pump(far_read, near_write, back) => {}
    }
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut state: watch::Receiver<Way>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        // What arrives while the way is held goes on when it is open again.
        if state.wait_for(|way| *way == Way::Open).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
