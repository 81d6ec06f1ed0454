//! A real HAProxy before a node, ended with its handle.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;

pub struct HaProxy {
    /// Where it listens, one for each of the server options that it was started with.
    pub addresses: Vec<SocketAddr>,
    _folder: tempfile::TempDir,
    process: Child,
}

impl HaProxy {
    /// Passes TCP connections on to a node, in one way for each of `options`.
    pub async fn before(node: SocketAddr, options: &[&str]) -> Self {
        let text = |addresses: &[SocketAddr]| {
            let mut text = String::from(
                "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n timeout check 2s\n",
            );
            for (number, (address, options)) in addresses.iter().zip(options).enumerate() {
                text +=
                    &format!("listen l{number}\n bind {address}\n server node {node} check inter 200ms {options}\n");
            }
            text
        };
        Self::configured(options.len(), text).await
    }

    /// One with a configuration of its own, which is made of so many addresses to listen at.
    pub async fn configured(listeners: usize, text: impl Fn(&[SocketAddr]) -> String) -> Self {
        // Another process may take a port between choosing and using it: then the proxy ends, and others are tried.
        for _ in 0..10 {
            if let Some(proxy) = Self::try_start(listeners, &text).await {
                return proxy;
            }
        }
        panic!("haproxy does not start; it has to be installed");
    }

    async fn try_start(listeners: usize, text: &impl Fn(&[SocketAddr]) -> String) -> Option<Self> {
        let free = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let listeners: Vec<_> = (0..listeners).map(free).collect();
        let addresses: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        drop(listeners);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("haproxy.cfg");
        std::fs::write(&path, text(&addresses)).unwrap();
        // In the foreground, and without a master process that would outlive a kill.
        let process = Command::new("haproxy")
            .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()))
            .arg("-db")
            .arg("-f")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut proxy = Self { addresses, _folder: folder, process };
        proxy.is_up().await.then_some(proxy)
    }

    async fn is_up(&mut self) -> bool {
        let deadline = tokio::time::Instant::now() + super::PATIENCE;
        while tokio::time::Instant::now() < deadline && self.process.try_wait().unwrap().is_none() {
            if TcpStream::connect(self.addresses[0]).await.is_ok() {
                return self.process.try_wait().unwrap().is_none();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
