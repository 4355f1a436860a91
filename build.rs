//! Passes the commit to the build, for `proxymgr --version`.

#![allow(clippy::print_stdout, reason = "Cargo reads instructions from standard output")]

use std::path::Path;
use std::process::Command;

fn main() {
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=PROXYMGR_COMMIT={commit}");
    println!("cargo::rerun-if-changed=build.rs");
    // The commit changes with HEAD and with the branch that HEAD names; a worktree keeps them elsewhere.
    let branch = git(&["symbolic-ref", "-q", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

/// Returns what git prints; `None` without git, without a repository, or in a repository without a commit.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
