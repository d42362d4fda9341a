//! Schedules that have failed once, beside the tests that found them.
//!
//! Guarantees: a file is never overwritten by another failure.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::failure::{BadFile, TestFailure};
use crate::report::Bug;
use crate::schedule::Schedule;

/// The folder, beside the manifest.
const FOLDER: &str = "regressions";

/// The kept schedules of one test.
#[derive(Debug)]
pub(super) struct Regressions {
    /// The test, as its files begin: `my_crate.module.name`.
    stem: String,
    /// The test, as cargo finds it: `module::name`.
    filter: String,
    package: Option<String>,
    beside: PathBuf,
}

impl Regressions {
    pub(super) fn new(name: &str, package: Option<&str>, beside: &Path) -> Self {
        let filter = name.split_once("::").map_or(name, |(_, rest)| rest);
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
        let stem = name.replace("::", ".").replace(|letter| !is_plain(letter), "_");
        let (filter, package) = (filter.to_owned(), package.map(str::to_owned));
        Self { stem, filter, package, beside: beside.to_owned() }
    }

    /// The test, as its files begin.
    pub(super) fn stem(&self) -> &str {
        &self.stem
    }

    /// Where a file is that somebody has named.
    pub(super) fn locate(&self, file: &Path) -> PathBuf {
        self.beside.join(file)
    }

    /// All of them, in order.
    pub(super) fn files(&self) -> Result<Vec<PathBuf>, TestFailure> {
        let folder = self.beside.join(FOLDER);
        let failed = |cause| TestFailure::Folder { folder: folder.clone(), cause };
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            if name.is_some_and(|name| self.is_own(&name)) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    /// True of `STEM.PROPERTY.txt`: a test whose name only begins the same has files of its own.
    fn is_own(&self, name: &str) -> bool {
        let rest = name.strip_prefix(&self.stem).and_then(|rest| rest.strip_prefix('.'));
        let property = rest.and_then(|rest| rest.strip_suffix(".txt"));
        property.is_some_and(|property| !property.contains('.'))
    }

    pub(super) fn read(&self, file: &Path) -> Result<Schedule, TestFailure> {
        let bad = |cause| TestFailure::File { file: file.to_owned(), cause };
        let text = fs::read_to_string(file).map_err(|error| bad(BadFile::Read(error)))?;
        text.parse().map_err(|error| bad(BadFile::Parse(error)))
    }

    /// Keeps the shrunk schedule of a bug; returns where it is, or where it should be and why it is not.
    pub(super) fn save(&self, bug: &Bug) -> Result<PathBuf, (PathBuf, io::Error)> {
        let folder = self.beside.join(FOLDER);
        let property = bug.property().replace(|letter: char| "./\\".contains(letter), "_");
        let named = |more: &str| folder.join(format!("{}.{property}{more}.txt", self.stem));
        let numbered = (2..).map(|number| named(&format!("-{number}")));
        let mut names = [named("")].into_iter().chain(numbered);
        let file = names.find(|file| !file.exists()).expect("there are enough numbers");
        let violation = bug.violation().to_string().replace('\n', " ");
        let command = self.command(&file);
        let schedule = bug.shrunk().schedule();
        let text = format!("# {violation}\n# replay with: {command}\n{schedule}");
        match fs::create_dir_all(&folder).and_then(|()| fs::write(&file, text)) {
            Ok(()) => Ok(file),
            Err(error) => Err((file, error)),
        }
    }

    /// What replays a kept schedule.
    pub(super) fn command(&self, file: &Path) -> String {
        let file = file.strip_prefix(&self.beside).unwrap_or(file).display();
        let package = self.package.as_ref().map(|name| format!(" -p {name}")).unwrap_or_default();
        let filter = &self.filter;
        format!("RAFT_EXPLORE_REPLAY={file} cargo test{package} {filter} -- --exact --nocapture")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_has_no_files_of_another_whose_name_begins_the_same() {
        let kept = Regressions::new("crate::module::name", None, Path::new(""));
        assert!(kept.is_own("crate.module.name.safety.txt"));
        assert!(kept.is_own("crate.module.name.safety-2.txt"));
        for other in [
            "crate.module.name_too.safety.txt",
            "crate.module.name.inner.safety.txt",
            "crate.module.name.safety.txt~",
            "crate.module.name.txt",
        ] {
            assert!(!kept.is_own(other), "{other}");
        }
    }

    #[test]
    fn the_command_names_the_test_as_cargo_does() {
        let kept = Regressions::new("my_crate::module::name", Some("my-crate"), Path::new("/src"));
        assert_eq!(
            kept.command(Path::new("/src/regressions/file.txt")),
            "RAFT_EXPLORE_REPLAY=regressions/file.txt cargo test -p my-crate module::name -- --exact \
             --nocapture"
        );
    }
}
