//! Embeds what `npm run build` made in `web/dist`, if it did: the pages and the official client, compressed, as a table for
//! `http/assets`.

use std::error::Error;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;

/// Where the official client is in `web/dist`, with the description of its package.
const CLIENT: &str = "socket.io";
/// Where the pages are.
const SITE: &str = "site";

fn main() -> Result<(), Box<dyn Error>> {
    // The folder and not what npm makes in it: a path that is not there would count as changed with every build.
    println!("cargo::rerun-if-changed=web/dist");
    let dist = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("web/dist");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut table = "static FILES: &[File] = &[\n".to_owned();
    let description = dist.join(CLIENT).join("package.json");
    if description.is_file() {
        let etag = format!("\"{}\"", version(&fs::read_to_string(description)?)?);
        for path in files(&dist, CLIENT)?.into_iter().filter(|path| !path.ends_with("package.json")) {
            embed(&mut table, &path, &fs::read(dist.join(&path))?, &etag, &out)?;
        }
    }
    for path in files(&dist, SITE)? {
        let content = fs::read(dist.join(&path))?;
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        embed(&mut table, &path, &content, &format!("\"{:016x}\"", hasher.finish()), &out)?;
    }
    fs::write(out.join("assets.rs"), table + "];\n")?;
    Ok(())
}

/// All files of a folder of `web/dist`, as paths there, sorted; none if it was not made.
fn files(dist: &Path, folder: &str) -> std::io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(dist.join(&folder)) else { continue };
        for entry in entries {
            let entry = entry?;
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}

fn embed(table: &mut String, path: &str, content: &[u8], etag: &str, out: &Path) -> Result<(), Box<dyn Error>> {
    let compressed = out.join(path.replace('/', "_") + ".gz");
    fs::write(&compressed, gzip(content)?)?;
    writeln!(table, "    File {{ path: {path:?}, etag: {etag:?}, gzip: include_bytes!({compressed:?}) }},")?;
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
