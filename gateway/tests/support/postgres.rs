//! A private PostgreSQL server, ended with its handle. PostgreSQL never runs as root, so root lends it the user that its
//! package makes.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use super::PATIENCE;
use super::redis::free_port;

pub struct Postgres {
    port: u16,
    folder: tempfile::TempDir,
    settings: Vec<String>,
    server: Option<Child>,
}

impl Postgres {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more settings, as `name=value`.
    pub async fn start_with(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if let Some((user, group)) = lent() {
            std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let data = folder.path().join("data");
        // As root the copy keeps whose it is.
        let copied = Command::new("cp").arg("-a").arg(template()).arg(&data).status().unwrap();
        assert!(copied.success());
        let settings: Vec<_> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        // Another process may take a port between choosing and using it: then the server ends, and another is tried.
        let mut postgres = Self { port: 0, folder, settings, server: None };
        for _ in 0..10 {
            postgres.port = free_port();
            if postgres.run().await {
                return postgres;
            }
        }
        panic!("PostgreSQL does not start:\n{}", std::fs::read_to_string(postgres.log()).unwrap());
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database that is there from the beginning.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://gateway@127.0.0.1:{}/{database}", self.port)
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Has a file be its own, for nobody else to read.
    pub fn own(&self, path: &Path) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        if let Some((user, group)) = lent() {
            std::os::unix::fs::chown(path, Some(user), Some(group)).unwrap();
        }
    }

    /// Runs statements, each by itself; returns what the last one selected in its first column.
    pub async fn run_in(&self, database: &str, statements: &[&str]) -> Vec<String> {
        let (url, statements) = (self.url_of(database), statements.iter().map(|text| (*text).to_owned()));
        let output = Command::new(program("psql"))
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", &url])
            .args(statements.flat_map(|statement| ["--command".to_owned(), statement]))
            .output()
            .unwrap();
        assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// Ends the server without any warning; returns when it is gone.
    pub fn kill(&mut self) {
        // Who stands still does not end.
        self.thaw();
        let Some(mut server) = self.server.take() else { return };
        // Its children end with it only if it tells them.
        Command::new("kill").args(["-QUIT", &server.id().to_string()]).status().unwrap();
        server.wait().unwrap();
    }

    /// Has all its processes stand still: it takes connections, and answers nobody, until [`Self::thaw`] or [`Self::kill`].
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Has them go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Signals the server first: while it stands still it has no new children.
    fn signal(&self, name: &str) {
        let Some(server) = &self.server else { return };
        let id = server.id();
        Command::new("kill").args([name, &id.to_string()]).status().unwrap();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        // One may end meanwhile by itself.
        Command::new("kill").arg(name).args(children.split_whitespace()).stderr(Stdio::null()).status().unwrap();
    }

    /// Starts it again on the same port with the same files.
    pub async fn start_again(&mut self) {
        assert!(self.run().await, "PostgreSQL does not start again:\n{}", std::fs::read_to_string(self.log()).unwrap());
    }

    /// The same with other settings.
    pub async fn start_again_with(&mut self, settings: &[&str]) {
        self.settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        self.start_again().await;
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    async fn run(&mut self) -> bool {
        let log = std::fs::File::create(self.log()).unwrap();
        let mut server = as_other(&program("postgres"))
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k", "", "-c", "fsync=off"])
            .args(self.settings.iter().flat_map(|setting| ["-c", setting]))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        while server.try_wait().unwrap().is_none() {
            let ready = Command::new(program("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status()
                .unwrap();
            if ready.success() {
                self.server = Some(server);
                return true;
            }
            assert!(Instant::now() < deadline, "PostgreSQL is not ready within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The files of a server that never ran, which are made once for all tests: that takes longer than most of them.
fn template() -> PathBuf {
    let server = program("initdb");
    let version = server.parent().unwrap().display().to_string().replace('/', "-");
    let user = lent().map_or(0, |(user, _)| user);
    let template = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("postgres{version}-{user}"));
    if template.exists() {
        return template;
    }
    let folder = tempfile::tempdir().unwrap();
    if let Some((user, group)) = lent() {
        std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).unwrap();
    }
    let data = folder.path().join("data");
    let made = as_other(&server)
        .arg("-D")
        .arg(&data)
        .args(["--username=gateway", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"])
        .output()
        .unwrap();
    assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    // Others may do the same at this moment: whole under another name, and then in one step, for whoever is first.
    let beside = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let copied = Command::new("cp").arg("-a").arg(&data).arg(beside.path().join("data")).status().unwrap();
    assert!(copied.success());
    std::fs::rename(beside.path().join("data"), &template).ok();
    assert!(template.exists());
    template
}

/// Debian has servers of each version in a folder of its own, which is in nobody's path.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> = versions.map(|version| version.path().join("bin").join(name)).collect();
    found.retain(|path| path.exists());
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from(name))
}

/// Somebody whom root may be, who is not root.
fn lent() -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let id_of = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map(|id| id.parse().ok());
        Some((ids.next()??, ids.next()??))
    };
    let me = std::fs::read_to_string("/proc/self/status").unwrap();
    let is_root = me.lines().any(|line| line.starts_with("Uid:\t0\t"));
    if is_root { id_of("postgres").or_else(|| id_of("nobody")) } else { None }
}

fn as_other(program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = lent() {
        command.uid(user).gid(group);
    }
    // It asks for the folder that it is in.
    command.current_dir("/");
    command
}
