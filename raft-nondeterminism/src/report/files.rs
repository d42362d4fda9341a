//! Everything there is to see of a bug, in a folder.
//!
//! Guarantees: the same bug gives the same files; a folder that is not there is made.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Bug, dgml_trace, html, mermaid_sequence, mermaid_states, readable_log, shiviz};
use crate::coverage::Coverage;
use crate::raft::scenario::Scenario;
use crate::trace::Trace;

/// Writes a bug: `NAME.…` for the shrunk run, which is best to read, and `NAME-full.…` for the run as it
/// was found. Returns the files, the schedule of the shrunk run first.
///
/// # Errors
///
/// If a file cannot be written, with the file.
pub fn write_bug(bug: &Bug, folder: &Path, name: &str) -> Result<Vec<PathBuf>, WriteError> {
    let again = if Scenario::all().iter().any(|scenario| scenario.name() == bug.schedule().model())
    {
        format!(
            "replay with: raft-explore replay {name}.txt\nor as it was found: raft-explore replay {name}-full.txt"
        )
    } else {
        // The command knows scenarios of Raft only.
        format!("replay with: RAFT_EXPLORE_REPLAY={name}.txt cargo test, if a test explores it")
    };
    let shrunk = Trace { replay: again.clone(), ..bug.shrunk().trace_data().all_matter() };
    let full = Trace { replay: again, ..bug.full().trace_data().matter_as_in(&shrunk) };
    let mut files = Files::new(folder)?;
    files.write(format!("{name}.txt"), &bug.shrunk().schedule().to_string())?;
    files.write(format!("{name}-full.txt"), &bug.full().schedule().to_string())?;
    files.write_trace(name, &shrunk)?;
    files.write_trace(&format!("{name}-full"), &full)?;
    Ok(files.written)
}

/// Writes one run: `NAME.trace.json`, a page, graphs and logs. Returns the files.
///
/// # Errors
///
/// If a file cannot be written, with the file.
pub fn write_trace(trace: &Trace, folder: &Path, name: &str) -> Result<Vec<PathBuf>, WriteError> {
    let mut files = Files::new(folder)?;
    files.write_trace(name, trace)?;
    Ok(files.written)
}

/// Writes what was covered: `NAME.coverage.txt`, `.json`, `.dgml` and `.html`. Returns the files.
///
/// # Errors
///
/// If a file cannot be written, with the file.
pub fn write_coverage(
    coverage: &Coverage,
    folder: &Path,
    name: &str,
) -> Result<Vec<PathBuf>, WriteError> {
    let mut files = Files::new(folder)?;
    files.write(format!("{name}.coverage.txt"), &coverage.to_string())?;
    files.write(format!("{name}.coverage.json"), &coverage.to_json())?;
    files.write(format!("{name}.coverage.dgml"), &coverage.to_dgml())?;
    files.write(format!("{name}.coverage.html"), &coverage.to_html(name))?;
    Ok(files.written)
}

/// A folder, and what was written there.
struct Files<'a> {
    folder: &'a Path,
    written: Vec<PathBuf>,
}

impl<'a> Files<'a> {
    fn new(folder: &'a Path) -> Result<Self, WriteError> {
        let error = |source| WriteError { file: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(error)?;
        Ok(Self { folder, written: Vec::new() })
    }

    fn write(&mut self, name: String, text: &str) -> Result<(), WriteError> {
        let file = self.folder.join(name);
        if let Err(source) = fs::write(&file, text) {
            return Err(WriteError { file, source });
        }
        self.written.push(file);
        Ok(())
    }

    fn write_trace(&mut self, name: &str, trace: &Trace) -> Result<(), WriteError> {
        self.write(format!("{name}.trace.json"), &trace.to_json())?;
        self.write(format!("{name}.html"), &html(trace))?;
        self.write(format!("{name}.mmd"), &mermaid_sequence(trace))?;
        self.write(format!("{name}.states.mmd"), &mermaid_states(trace))?;
        self.write(format!("{name}.trace.dgml"), &dgml_trace(trace))?;
        self.write(format!("{name}.shiviz.log"), &shiviz(trace))?;
        self.write(format!("{name}.log"), &readable_log(trace))
    }
}

/// A report could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", file.display())]
pub struct WriteError {
    file: PathBuf,
    source: io::Error,
}
