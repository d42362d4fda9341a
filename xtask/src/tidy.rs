//! `cargo xtask tidy`: the style guide, as far as a program can tell.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Longer files hold two ideas.
const LINES_MAX: usize = 700;

pub(crate) fn run() -> Result<()> {
    let root = crate::root();
    let mut findings = Vec::new();
    for path in tracked_files(&root)? {
        // A file that was deleted and not committed yet.
        let Ok(text) = std::fs::read_to_string(root.join(&path)) else { continue };
        if path.ends_with(".rs") {
            check_rust(&path, &text, &mut findings);
        }
        if path.ends_with("Cargo.toml") {
            check_manifest(&path, &text, &mut findings);
        }
        check_text(&path, &text, &mut findings);
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        count => bail!("{count} places are not tidy"),
    }
}

/// What git knows of, and what it would add.
fn tracked_files(root: &Path) -> Result<Vec<String>> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let listed = Command::new("git").args(arguments).current_dir(root).output();
    let listed = listed.context("cannot run git")?;
    if !listed.status.success() {
        bail!("git cannot list the files: {}", String::from_utf8_lossy(&listed.stderr).trim());
    }
    let text = String::from_utf8(listed.stdout).context("a file's name is no text")?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn check_rust(path: &str, text: &str, findings: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > LINES_MAX {
        findings.push(format!("{path}: {lines} lines are more than {LINES_MAX}: two ideas?"));
    }
    if !text.starts_with("//!") && !text.starts_with("#!") {
        findings.push(format!("{path}:1: a file opens with what it guarantees (//!)"));
    }
    // Put together here, so that this file does not find itself.
    let banned = [
        (concat!("to", "do!("), "finish it"),
        (concat!("unimplemen", "ted!("), "finish it"),
        (concat!("#[ign", "ore"), "a test that does not run tests nothing"),
        (concat!("should_", "panic"), "assert on the error instead"),
        (concat!("FIX", "ME"), "mend it, or say what is wrong in the open"),
    ];
    for (number, line) in text.lines().enumerate() {
        for (word, advice) in banned {
            if line.contains(word) {
                findings.push(format!("{path}:{}: {word}: {advice}", number + 1));
            }
        }
        let names_bincode = line.contains(concat!("bincode", "::"));
        if names_bincode && !path.starts_with("raft-core/src/codec") {
            findings.push(format!("{path}:{}: only codec.rs names bincode", number + 1));
        }
    }
}

fn check_manifest(path: &str, text: &str, findings: &mut Vec<String>) {
    // The packages outside the workspace, so that nobody else compiles the peers they compare with, can
    // inherit neither lints nor versions: their own manifests state both.
    let is_outside = crate::bench::PACKAGES
        .iter()
        .any(|package| path.strip_prefix("xtask/") == Some(&format!("{package}/Cargo.toml")));
    if is_outside && !(text.contains("[lints.rust]") && text.contains("[lints.clippy]")) {
        findings.push(format!("{path}: states its own lints"));
    }
    // The manifest of a workspace has nothing to inherit from.
    if text.lines().any(|line| line == "[workspace]") {
        return;
    }
    if !text.contains("[lints]\nworkspace = true") {
        findings.push(format!("{path}: inherits the workspace's lints"));
    }
    for (number, line) in text.lines().enumerate() {
        let in_package = number < 20 && !line.contains('{');
        if line.contains("version = \"") && !in_package {
            findings.push(format!("{path}:{}: versions live in the root manifest", number + 1));
        }
    }
}

fn check_text(path: &str, text: &str, findings: &mut Vec<String>) {
    let is_text =
        [".rs", ".md", ".toml", ".sh", ".py", ".yml"].iter().any(|end| path.ends_with(end));
    if !is_text {
        return;
    }
    for (number, line) in text.lines().enumerate() {
        if line.ends_with([' ', '\t']) {
            findings.push(format!("{path}:{}: white space at the end", number + 1));
        }
        for folder in ["work", "root", "home"] {
            if line.contains(&format!("/{folder}/")) && !line.contains("://") {
                findings.push(format!("{path}:{}: a path of some machine", number + 1));
            }
        }
    }
}
