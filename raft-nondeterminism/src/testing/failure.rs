//! Why a test that explores fails, in words that say what to do.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use super::regressions::Regressions;
use crate::explorer::ExploreError;
use crate::recording::{Recording, ReplayError};
use crate::report::{self, Bug, Failure, WriteError};
use crate::schedule::ScheduleError;
use crate::strategy::UnknownStrategy;
use crate::trace::Trace;

/// Why a test that explores fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestFailure {
    /// A run broke a property.
    #[error("{0}")]
    Bug(Box<Found>),
    /// A kept schedule cannot be used.
    #[error("{} cannot be replayed: {cause}; mend it, or remove it", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        cause: BadFile,
    },
    /// The folder of the kept schedules cannot be read.
    #[error("{} cannot be read: {cause}", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A variable of the environment makes no sense.
    #[error("{variable} is {value:?}, which is not a number")]
    Variable {
        /// Which.
        variable: &'static str,
        /// What it is.
        value: String,
    },
    /// No strategy has that name.
    #[error(transparent)]
    UnknownStrategy(#[from] UnknownStrategy),
    /// What is explored does not take a plan of faults.
    #[error("the faults cannot be changed: {0}")]
    Faults(#[source] ScheduleError),
    /// It could not be explored.
    #[error(transparent)]
    Explore(#[from] ExploreError),
    /// Nothing was broken, but nothing was shown either.
    #[error("{0}")]
    Unproven(Box<Failure>),
    /// What was met cannot be written where the environment says.
    #[error("{error}: {}", error.source().map(ToString::to_string).unwrap_or_default())]
    Coverage {
        /// Why.
        #[from]
        error: WriteError,
    },
    /// No run has reached a goal that some should.
    #[error("no run of {iterations} has reached {goal}")]
    GoalNotReached {
        /// Which.
        goal: &'static str,
        /// So many runs.
        iterations: u64,
    },
}

/// Why a kept schedule cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadFile {
    /// The file is not there, or not to be read.
    #[error(transparent)]
    Read(io::Error),
    /// It holds no schedule.
    #[error(transparent)]
    Parse(ScheduleError),
    /// It is one of something else.
    #[error(transparent)]
    Replay(Box<ReplayError>),
}

/// A broken property, with everything that helps to mend it.
#[derive(Debug)]
pub struct Found {
    /// What a reader wants to know first.
    headline: String,
    /// The shrunk run.
    trace: String,
    /// Where its schedule is, or why it is nowhere.
    saved: Result<PathBuf, (PathBuf, io::Error)>,
    is_new: bool,
    command: String,
    /// What there is to see of it.
    data: Trace,
    /// The page that plays it, or why there is none.
    page: Option<Result<PathBuf, WriteError>>,
}

impl Found {
    /// Where its schedule is kept; `None` if it could not be.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.saved.as_deref().ok()
    }

    /// Writes the page that plays it, with graphs and logs.
    fn draw(&mut self, folder: &Path) {
        let (Ok(file) | Err((file, _))) = &self.saved;
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let replay = format!("replay with: {}", self.command);
        let trace = Trace { replay, ..self.data.clone() };
        let page = folder.join(format!("{name}.html"));
        self.page = Some(report::write_trace(&trace, folder, &name).map(|_| page));
    }

    /// What replays it.
    #[must_use]
    pub fn command(&self) -> &str {
        &self.command
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}\n\n{}", self.headline, self.trace)?;
        match &self.saved {
            Ok(file) if self.is_new => {
                writeln!(
                    f,
                    "the schedule is kept in {}, and tried first from now on",
                    file.display()
                )?;
            }
            Ok(file) => writeln!(f, "the schedule is in {}", file.display())?,
            Err((file, error)) => {
                return write!(f, "the schedule cannot be kept in {}: {error}", file.display());
            }
        }
        match &self.page {
            None => {}
            Some(Ok(page)) => writeln!(f, "a page that plays it is {}", page.display())?,
            Some(Err(error)) => {
                let why = error.source().map(|source| format!(": {source}")).unwrap_or_default();
                writeln!(f, "no page plays it: {error}{why}")?;
            }
        }
        write!(f, "replay with: {}", self.command)
    }
}

impl TestFailure {
    pub(super) fn found(
        kept: &Regressions,
        bug: &Bug,
        saved: Result<PathBuf, (PathBuf, io::Error)>,
    ) -> Self {
        let (schedule, shrunk) = (bug.schedule(), bug.shrunk().schedule());
        let headline = format!(
            "{}\nfound in iteration {} of seed {} by {}, after {} events, of which these {} are needed:",
            bug.violation(),
            schedule.iteration(),
            schedule.seed(),
            schedule.strategy(),
            schedule.events(),
            shrunk.events(),
        );
        let command = kept.command(saved.as_deref().unwrap_or_else(|(file, _)| file));
        let trace = bug.shrunk().trace().to_owned();
        let data = bug.shrunk().trace_data().all_matter();
        let (is_new, page) = (true, None);
        Self::Bug(Box::new(Found { headline, trace, saved, is_new, command, data, page }))
    }

    /// The same, with a page in this folder, if it is about a run.
    pub(super) fn drawn_in(mut self, folder: Option<&Path>) -> Self {
        if let (Self::Bug(found), Some(folder)) = (&mut self, folder) {
            found.draw(folder);
        }
        self
    }

    /// A kept schedule fails again.
    pub(super) fn again(kept: &Regressions, file: PathBuf, recording: &Recording) -> Self {
        let violation = recording.violation().map(ToString::to_string).unwrap_or_default();
        let headline = format!("{violation}\nwith a schedule that has failed before:");
        let (trace, command) = (recording.trace().to_owned(), kept.command(&file));
        let data = recording.trace_data().all_matter();
        let (saved, is_new, page) = (Ok(file), false, None);
        Self::Bug(Box::new(Found { headline, trace, saved, is_new, command, data, page }))
    }
}
