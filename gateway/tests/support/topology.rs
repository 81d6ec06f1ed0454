//! More than one Redis: a replica, Sentinels that watch over both, a Redis Cluster; and certificates for TLS.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use super::eventually;
use super::redis::{Redis, free_port};

/// A replica of a server, once it has all that the server has.
pub async fn replica_of(primary: &Redis) -> Redis {
    let replica = Redis::start_with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]).await;
    eventually("the replica is in step", || async {
        replica.command("INFO replication").await.contains("master_link_status:up")
    })
    .await;
    replica
}

/// Three Sentinels.
pub struct Sentinels {
    ports: Vec<u16>,
    processes: Vec<Child>,
    _folder: tempfile::TempDir,
}

impl Sentinels {
    /// Has them watch over a primary called `main`, and take it for dead when it was silent for so long.
    pub async fn watch(primary: &Redis, down_after: std::time::Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut sentinels = Self { ports: Vec::new(), processes: Vec::new(), _folder: folder };
        for number in 0..3 {
            let port = free_port();
            let file = sentinels._folder.path().join(format!("{number}.conf"));
            let lines = [
                format!("port {port}"),
                "bind 127.0.0.1".into(),
                format!("dir {}", sentinels._folder.path().display()),
                format!("sentinel monitor main 127.0.0.1 {} 2", primary.port()),
                format!("sentinel down-after-milliseconds main {}", down_after.as_millis()),
                "sentinel failover-timeout main 3000".into(),
            ];
            std::fs::write(&file, lines.join("\n") + "\n").unwrap();
            let sentinel = Command::new("redis-server").arg(&file).arg("--sentinel").stdout(Stdio::null()).spawn();
            sentinels.processes.push(sentinel.unwrap());
            sentinels.ports.push(port);
        }
        for port in &sentinels.ports {
            eventually("the Sentinels know each other and the replica", || async {
                let about = ask(*port, "SENTINEL MASTER main").await;
                let value = |name: &str| about.split("\r\n").skip_while(|line| *line != name).nth(2).map(str::to_owned);
                value("num-other-sentinels").as_deref() == Some("2") && value("num-slaves").as_deref() == Some("1")
            })
            .await;
        }
        sentinels
    }

    /// Asks for a failover although the primary lives; the answer.
    pub async fn fail_over(&self) -> String {
        ask(self.ports[0], "SENTINEL FAILOVER main").await
    }

    /// How nodes find the primary.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis-sentinel://{}/main", hosts.join(","))
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        for process in &mut self.processes {
            process.kill().ok();
            process.wait().ok();
        }
    }
}

/// A Redis Cluster of three primaries, the first of which has a replica and most of the slots.
pub struct RedisCluster {
    pub primaries: Vec<Redis>,
    pub replica: Redis,
}

impl RedisCluster {
    pub async fn start() -> Self {
        let mut nodes = Vec::new();
        for _ in 0..4 {
            let bus = free_port();
            let node = Redis::start_with(&[
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus.to_string(),
                "--cluster-node-timeout",
                "1000",
                "--cluster-require-full-coverage",
                "no",
            ])
            .await;
            nodes.push((node, bus));
        }
        let (first, bus) = &nodes[0];
        for (number, slots) in ["0 16000", "16001 16200", "16201 16383"].iter().enumerate() {
            nodes[number].0.command(&format!("CLUSTER ADDSLOTSRANGE {slots}")).await;
            nodes[number].0.command(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1)).await;
        }
        for (node, _) in &nodes[1..] {
            node.command(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", first.port())).await;
        }
        for (node, _) in &nodes {
            eventually("the nodes know each other", || async {
                let info = node.command("CLUSTER INFO").await;
                info.contains("cluster_known_nodes:4") && info.contains("cluster_state:ok")
            })
            .await;
        }
        let id = first.command("CLUSTER MYID").await;
        let id = id.split("\r\n").nth(1).unwrap().to_owned();
        eventually("the replica has its primary", || async {
            nodes[3].0.command(&format!("CLUSTER REPLICATE {id}")).await.starts_with("+OK")
        })
        .await;
        eventually("the replica is in step", || async {
            nodes[3].0.command("INFO replication").await.contains("master_link_status:up")
        })
        .await;
        for (node, _) in &nodes {
            eventually("all know of the replica", || async {
                node.command("CLUSTER NODES").await.matches(" slave ").count()
                    + node.command("CLUSTER NODES").await.matches(" myself,slave ").count()
                    >= 1
            })
            .await;
        }
        let mut primaries: Vec<_> = nodes.into_iter().map(|(node, _)| node).collect();
        let replica = primaries.pop().unwrap();
        Self { primaries, replica }
    }

    /// How nodes find the primary. The one that will be killed is not among the hosts.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.primaries[1..].iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }
}

/// Certificates of a small authority, as files.
pub struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        for name in ["server", "client"] {
            let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
            // Named like its issuer it would be taken for one that signed itself.
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            std::fs::write(folder.path().join(format!("{name}.pem")), certificate.pem()).unwrap();
            std::fs::write(folder.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        Self { folder }
    }

    /// `ca.pem`, and `server` and `client`, each with `.pem` and `.key`.
    pub fn file(&self, name: &str) -> String {
        let path: PathBuf = Path::new(self.folder.path()).join(name);
        path.display().to_string()
    }
}

/// Asks whatever speaks Redis on a port.
pub async fn ask(port: u16, command: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let Ok(mut stream) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else { return String::new() };
    if stream.write_all(format!("{command}\r\n").as_bytes()).await.is_err() {
        return String::new();
    }
    let mut answer = vec![0; 64 * 1024];
    let read = tokio::time::timeout(std::time::Duration::from_secs(5), stream.read(&mut answer)).await;
    String::from_utf8_lossy(&answer[..read.ok().and_then(Result::ok).unwrap_or(0)]).into_owned()
}
