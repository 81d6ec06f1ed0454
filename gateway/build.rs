//! Embeds the official client, if it was fetched: its browser bundles, compressed, as a table for `http/client_script`.
//! Tells the git revision.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;

/// What Socket.IO's own server serves.
const FILES: [&str; 8] = [
    "socket.io.js",
    "socket.io.js.map",
    "socket.io.min.js",
    "socket.io.min.js.map",
    "socket.io.esm.min.js",
    "socket.io.esm.min.js.map",
    "socket.io.msgpack.min.js",
    "socket.io.msgpack.min.js.map",
];

fn main() -> Result<(), Box<dyn Error>> {
    // The folder and not the package in it: a path that is not there would count as changed with every build.
    println!("cargo::rerun-if-changed=web");
    let package = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("web/node_modules/socket.io-client");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let is_fetched = package.is_dir();
    let version = if is_fetched { version(&fs::read_to_string(package.join("package.json"))?)? } else { String::new() };
    let mut table = format!("const VERSION: &str = {version:?};\nconst FILES: [File; {}] = [\n", FILES.len());
    for name in FILES {
        let gzip = if is_fetched {
            let compressed = out.join(format!("{name}.gz"));
            fs::write(&compressed, gzip(&fs::read(package.join("dist").join(name))?)?)?;
            format!("Some(include_bytes!({compressed:?}))")
        } else {
            "None".to_owned()
        };
        writeln!(table, "    File {{ name: {name:?}, gzip: {gzip} }},")?;
    }
    fs::write(out.join("client_script.rs"), table + "];\n")?;
    println!("cargo::rerun-if-env-changed=REVISION");
    println!("cargo::rustc-env=REVISION={}", revision());
    Ok(())
}

/// What the environment says, for builds that have no `.git`; or what git says.
fn revision() -> String {
    let given = env::var("REVISION").ok().filter(|given| !given.is_empty());
    if given.is_some() || env::var("PROFILE").as_deref() != Ok("release") {
        // Whoever develops would build everything anew after each commit.
        return given.unwrap_or_else(|| "dev".to_owned());
    }
    from_git().unwrap_or_else(|| "unknown".to_owned())
}

fn from_git() -> Option<String> {
    let project = PathBuf::from(env::var("CARGO_MANIFEST_DIR").ok()?).parent()?.to_owned();
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(&project).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    // Sources that were unpacked into somebody else's repository are none of its revisions.
    if fs::canonicalize(git(&["rev-parse", "--show-toplevel"])?).ok()? != fs::canonicalize(&project).ok()? {
        return None;
    }
    for changing in ["HEAD", "logs/HEAD"] {
        let path = project.join(git(&["rev-parse", "--git-path", changing])?);
        // One that is not there would count as changed with every build.
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

/// The version in an npm package's description.
fn version(description: &str) -> Result<String, Box<dyn Error>> {
    let rest = description.split_once(r#""version": ""#).ok_or("socket.io-client/package.json has no version")?.1;
    Ok(rest.split('"').next().unwrap_or_default().to_owned())
}

/// The same bytes for the same input: the header names no time and no file.
fn gzip(content: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content)?;
    encoder.finish()
}
