//! Who has started on a folder, kept in a file beside it: a server whose folder was wiped must not be
//! taken for one that never ran, for it could vote twice in one term and forget what it confirmed.
//!
//! Guarantees: a server that was noted is known for as long as the file is there, whatever becomes of
//!             the folder and of the machine.
//! Relies on:  nobody removing the file with the folder, unless the whole cluster is to be forgotten.
//! Elsewhere:  what a server may do that has lost its log is in [`raft_core::recovery`].

use std::io;
use std::path::{Path, PathBuf};

use raft_core::{ClusterId, FileSystem, RealFileSystem, ServerId, StoredFile};

const NAME_END: &str = ".started";
const NEW_NAME_END: &str = ".started.tmp";

/// The file beside one folder, for one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartedMarker {
    path: PathBuf,
    new_path: PathBuf,
    folder_name: String,
    line: String,
}

/// Why a start cannot be noted, or nobody can say whether one was.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}")]
pub struct MarkerError {
    action: &'static str,
    path: String,
    #[source]
    source: io::Error,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MarkerError {
    let path = path.display().to_string();
    move |source| MarkerError { action, path, source }
}

impl StartedMarker {
    /// The marker for a server on `folder`, which need not be there: for `servers/one` it is the file
    /// `servers/one.started`.
    ///
    /// # Errors
    ///
    /// If nothing can stand beside the folder, because it is the root of everything.
    pub fn beside(
        folder: &Path,
        cluster_id: ClusterId,
        server_id: ServerId,
    ) -> Result<Self, MarkerError> {
        let absolute = std::path::absolute(folder).map_err(failed("find", folder))?;
        // The name is taken as it was given, so that a link does not lead elsewhere once its target is
        // gone; only `..` at the end has none.
        let absolute = match absolute.file_name() {
            Some(_) => absolute,
            None => std::fs::canonicalize(folder).map_err(failed("find", folder))?,
        };
        let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "it is the root folder");
            return Err(failed("note a start beside", folder)(error));
        };
        let named = |end: &str| {
            let mut name = name.to_owned();
            name.push(end);
            parent.join(name)
        };
        Ok(Self {
            path: named(NAME_END),
            new_path: named(NEW_NAME_END),
            folder_name: name.display().to_string(),
            line: format!("{server_id} of cluster {cluster_id}"),
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True if the server has started on the folder, or if the file is damaged so that nobody knows.
    ///
    /// # Errors
    ///
    /// If the file is there and cannot be read.
    pub fn has_started(&self) -> Result<bool, MarkerError> {
        Ok(self.read()?.is_some_and(|text| {
            let mut lines = text.lines().filter(|line| !line.starts_with('#')).peekable();
            // It is made in one piece, with a line at least.
            lines.peek().is_none() || lines.any(|line| line == self.line || !is_line(line))
        }))
    }

    /// Notes that the server starts. When this returns, it is known for good.
    ///
    /// # Errors
    ///
    /// If it may not be.
    pub fn note(&self) -> Result<(), MarkerError> {
        let fs = RealFileSystem::new();
        let text = self.read()?;
        if text.as_ref().is_none_or(|text| !text.lines().any(|line| line == self.line)) {
            let text = text.unwrap_or_else(|| self.preface());
            let text = format!("{}\n{}\n", text.trim_end(), self.line);
            fs.remove_if_there(&self.new_path).map_err(failed("remove", &self.new_path))?;
            let write = || {
                let file = fs.open(&self.new_path, true)?;
                file.write_all_at(text.as_bytes(), 0)?;
                file.sync_data()
            };
            write().map_err(failed("write", &self.new_path))?;
            fs.rename(&self.new_path, &self.path).map_err(failed("write", &self.path))?;
        }
        // Also if the line was there: whoever wrote it may have been killed before this.
        let parent = self.path.parent().unwrap_or(&self.path);
        fs.sync_folder(parent).map_err(failed("sync", parent))
    }

    fn read(&self) -> Result<Option<String>, MarkerError> {
        match std::fs::read(&self.path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &self.path)(error)),
        }
    }

    /// For whoever finds the file.
    fn preface(&self) -> String {
        format!(
            "# These servers have started on the folder {}. As long as this file is here, none of them \
             starts\n# on it again once it is empty. Remove the file only with the whole cluster.",
            self.folder_name
        )
    }
}

/// True for a line that [`StartedMarker::note`] could have written.
fn is_line(line: &str) -> bool {
    let Some((server, cluster)) = line.split_once(" of cluster ") else { return false };
    server.strip_prefix('s').is_some_and(|id| id.parse::<u64>().is_ok())
        && u64::from_str_radix(cluster, 16).is_ok()
}

/// True if there is nothing in the folder, or no folder.
pub(crate) fn is_empty(folder: &Path) -> bool {
    match std::fs::read_dir(folder) {
        Ok(mut names) => names.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(folder: &Path, cluster: u64, server: u64) -> StartedMarker {
        StartedMarker::beside(folder, ClusterId(cluster), ServerId(server)).unwrap()
    }

    #[test]
    fn who_was_noted_is_known_and_nobody_else() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("one");
        let (ours, other) = (marker(&folder, 7, 1), marker(&folder, 8, 1));
        assert_eq!(ours.path(), parent.path().join("one.started"));
        assert!(!ours.has_started().unwrap());
        ours.note().unwrap();
        assert!(ours.has_started().unwrap() && !other.has_started().unwrap());
        other.note().unwrap();
        let text = std::fs::read_to_string(ours.path()).unwrap();
        ours.note().unwrap();
        assert!(ours.has_started().unwrap() && other.has_started().unwrap());
        assert_eq!(std::fs::read_to_string(ours.path()).unwrap(), text, "once is enough");
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_damaged_marker_counts_for_everybody() {
        let parent = tempfile::tempdir().unwrap();
        let ours = marker(&parent.path().join("one"), 7, 1);
        for damaged in ["", "# only a comment\n", "s2 of cluster 00\ns1 of clu", "\0\0\0"] {
            std::fs::write(ours.path(), damaged).unwrap();
            assert!(ours.has_started().unwrap(), "{damaged:?}");
        }
        std::fs::write(ours.path(), "s2 of cluster 0000000000000007\n").unwrap();
        assert!(!ours.has_started().unwrap());
    }

    #[test]
    fn every_way_to_name_a_folder_has_the_same_marker() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("one");
        let inner = folder.join("inner");
        std::fs::create_dir_all(&inner).unwrap();
        let expected = std::fs::canonicalize(parent.path()).unwrap().join("one.started");
        assert_eq!(marker(&inner.join(".."), 7, 1).path(), expected);
        let with_dots = parent.path().join(".").join("one").join(".");
        assert_eq!(marker(&with_dots, 7, 1).path(), parent.path().join("one.started"));
        assert!(StartedMarker::beside(Path::new("/"), ClusterId(7), ServerId(1)).is_err());
    }

    #[test]
    fn a_marker_that_cannot_be_written_says_which() {
        let parent = tempfile::tempdir().unwrap();
        let ours = marker(&parent.path().join("missing").join("one"), 7, 1);
        let error = ours.note().unwrap_err();
        assert!(error.to_string().contains("one.started"), "{error}");
    }
}
