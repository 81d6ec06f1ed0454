//! Tells the git revision.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    // Nothing else that this script reads is in the package.
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=REVISION");
    println!("cargo::rustc-env=REVISION={}", revision());
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
    let project = PathBuf::from(env::var("CARGO_MANIFEST_DIR").ok()?).ancestors().nth(2).map(Path::to_owned)?;
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
