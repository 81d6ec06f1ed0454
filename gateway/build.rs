//! Embeds the official client, if it was fetched: its browser bundles, compressed, as a table for `http/client_script`.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
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
    Ok(())
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
