//! The copy in which the mutants live, under the target folder.
//!
//! Guarantees: the working tree is only read; one run at a time uses the copy; all mutants share one
//!             target folder, so only what depends on the mutated crate is built again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::table::Mutant;

/// How the explorer judges.
#[derive(Clone, Debug, Default)]
pub(super) struct Exploring {
    pub(super) strategies: Vec<String>,
    /// How long each strategy may explore, in seconds of the processor.
    pub(super) seconds: u64,
}

/// What is mutated, and what is needed to judge it.
#[derive(Debug)]
pub(super) struct Subject {
    /// The workspace that is copied.
    pub(super) root: PathBuf,
    /// Its crates that are needed, and no other.
    pub(super) members: Vec<&'static str>,
    /// The crate that is mutated, and whose tests are run; its folder has the same name.
    pub(super) package: &'static str,
    pub(super) features: &'static str,
    /// What explores: the package and the name of its example.
    pub(super) explorer: Option<(&'static str, &'static str)>,
    pub(super) exploring: Exploring,
    /// Where the copy goes.
    pub(super) folder: PathBuf,
}

impl Subject {
    /// The core, with everything that has a file here.
    pub(super) fn core(root: PathBuf, exploring: Exploring) -> Self {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or("target".into(), PathBuf::from);
        Self {
            folder: root.join(target).join("score"),
            root,
            members: vec!["raft-core", "raft-nondeterminism"],
            package: "raft-core",
            features: "driver,file-storage",
            explorer: Some(("raft-nondeterminism", "judge")),
            exploring,
        }
    }

    /// The code that is mutated.
    pub(super) fn source(&self) -> PathBuf {
        self.root.join(self.package).join("src")
    }
}

/// The copy.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    /// The code that is mutated, as it was when it was copied: whoever edits it meanwhile does not
    /// change the score.
    original: PathBuf,
    /// The code that is mutated, where it is built.
    source: PathBuf,
    /// Held as long as the copy is in use.
    _lock: File,
}

impl Scratch {
    /// Copies what is needed.
    pub(super) fn create(subject: &Subject) -> Result<Self> {
        let Subject { root, members, package, folder, .. } = subject;
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let lock = File::create(folder.join("lock")).context("cannot create the lock")?;
        if lock.try_lock().is_err() {
            bail!("another score is being taken in {}", folder.display());
        }
        for member in members {
            copy_folder(&root.join(member), &folder.join(member))?;
        }
        let source = folder.join(package).join("src");
        let original = folder.join("original");
        copy_folder(&source, &original)?;
        // The same versions as ever: cargo only strikes out what nobody needs here.
        copy_file(&root.join("Cargo.lock"), &folder.join("Cargo.lock"))?;
        let manifest = manifest(&root.join("Cargo.toml"), members)?;
        std::fs::write(folder.join("Cargo.toml"), manifest).context("cannot write the manifest")?;
        Ok(Self { folder: folder.clone(), original, source, _lock: lock })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A cargo that works on the copy.
    pub(super) fn cargo(&self) -> Command {
        let mut cargo = crate::cargo();
        cargo.current_dir(&self.folder).env("CARGO_TARGET_DIR", self.folder.join("target"));
        cargo
    }

    pub(super) fn apply(&self, mutant: &Mutant) -> Result<()> {
        for (file, text) in mutant.mutated(&self.original)? {
            std::fs::write(self.source.join(file), text)
                .with_context(|| format!("cannot write the copy of {file}"))?;
        }
        Ok(())
    }

    pub(super) fn restore(&self, mutant: &Mutant) -> Result<()> {
        for file in mutant.files() {
            copy_file(&self.original.join(file), &self.source.join(file))?;
        }
        Ok(())
    }
}

/// The workspace's manifest, for these members only.
fn manifest(path: &Path, members: &[&str]) -> Result<String> {
    let text = std::fs::read_to_string(path).context("cannot read the workspace's manifest")?;
    let mut manifest: toml::Table = text.parse().context("the workspace's manifest")?;
    let workspace = manifest.get_mut("workspace").and_then(toml::Value::as_table_mut);
    let workspace = workspace.context("no workspace in the manifest")?;
    let members = members.iter().map(|&member| member.into()).collect();
    workspace.insert("members".to_owned(), toml::Value::Array(members));
    Ok(toml::to_string(&manifest)?)
}

/// Copies a folder, in place of what was there.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to).with_context(|| format!("cannot remove {}", to.display()))?;
    }
    std::fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for file in std::fs::read_dir(from).with_context(|| format!("no {}", from.display()))? {
        let file = file?;
        let (path, copy) = (file.path(), to.join(file.file_name()));
        if !file.file_type()?.is_dir() {
            copy_file(&path, &copy)?;
        } else if file.file_name() != "target" {
            copy_folder(&path, &copy)?;
        }
    }
    Ok(())
}

/// Copies what is in a file and not when it was written: to cargo, every copy is new.
fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let bytes = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    std::fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))
}
