//! The files that a bug leaves: where they go, and that none of them hides an older one.
//!
//! Guarantees: a file is overwritten only by the same run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use raft_nondeterminism::{Bug, Recording};

/// Where files go if nobody says otherwise.
pub(crate) const FOLDER: &str = "raft-explore.out";

/// The files of a bug.
#[derive(Debug)]
pub(crate) struct Written {
    /// The schedule without what it did not need.
    pub(crate) schedule: PathBuf,
    /// The schedule as it was found.
    pub(crate) full: PathBuf,
    /// What happens in the shorter one, for people.
    pub(crate) trace: PathBuf,
}

impl Written {
    fn new(folder: &Path, name: &str) -> Self {
        let path = |end| folder.join(format!("{name}.{end}"));
        let (schedule, full) = (path("schedule.txt"), path("full.schedule.txt"));
        Self { schedule, full, trace: path("txt") }
    }

    pub(crate) fn paths(&self) -> [&Path; 3] {
        [&self.schedule, &self.full, &self.trace]
    }

    /// True if nothing is there, or what the same run has left.
    fn is_free(&self, full: &str) -> bool {
        match fs::read_to_string(&self.full) {
            Ok(found) => found == full,
            Err(_) => !self.paths().into_iter().any(Path::exists),
        }
    }
}

/// Checks that files can be put into a folder that was asked for; it comes to be with the first of them.
pub(crate) fn check(folder: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot write to {}", folder.display());
    let existing = folder.ancestors().find(|path| path.as_os_str().is_empty() || path.exists());
    let existing = match existing {
        Some(path) if !path.as_os_str().is_empty() => path,
        _ => Path::new("."),
    };
    if !existing.is_dir() {
        let error = anyhow::anyhow!("{} is not a folder", existing.display());
        return Err(error.context(cannot()));
    }
    // Whether it is allowed is known best by trying.
    let probe = existing.join(format!(".raft-explore-{}", std::process::id()));
    fs::write(&probe, "").and_then(|()| fs::remove_file(&probe)).with_context(cannot)
}

/// Writes both schedules and the trace of a bug.
pub(crate) fn write(folder: &Path, bug: &Bug) -> anyhow::Result<Written> {
    let (shrunk, full) = (bug.shrunk(), bug.schedule().to_string());
    let base = name(bug);
    let mut written = Written::new(folder, &base);
    let mut number = 2;
    while !written.is_free(&full) {
        written = Written::new(folder, &format!("{base}-{number}"));
        number += 1;
    }
    let all = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(&written.full, &full)?;
        fs::write(&written.schedule, shrunk.schedule().to_string())?;
        fs::write(&written.trace, readable(shrunk))
    };
    all().with_context(|| format!("cannot write to {}", folder.display()))?;
    Ok(written)
}

/// A run for people: what it is of, and what happens in it.
pub(crate) fn readable(recording: &Recording) -> String {
    let schedule = recording.schedule();
    let (events, model) = (schedule.events() as u64, schedule.model());
    let (seed, iteration) = (schedule.seed(), schedule.iteration());
    let defect = match schedule.setting("defect") {
        Some(defect) if defect != "none" => format!(", with the planted bug {defect}"),
        _ => String::new(),
    };
    let events = super::count(events, "event");
    let trace = recording.trace().trim_end();
    format!("{model}, seed {seed}, iteration {iteration}{defect}: {events}\n\n{trace}\n")
}

/// Which run it is, as the name of a file.
fn name(bug: &Bug) -> String {
    let schedule = bug.schedule();
    let (model, seed, iteration) = (schedule.model(), schedule.seed(), schedule.iteration());
    let name = format!("{model}.{}.seed-{seed}.iteration-{iteration}", bug.property());
    // Names may be anybody's.
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_.".contains(letter);
    name.chars().map(|letter| if is_plain(letter) { letter } else { '-' }).collect()
}

/// The line that replays a schedule, as a shell takes it.
pub(crate) fn replay_line(schedule: &Path) -> String {
    let path = schedule.display().to_string();
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_./\\:+,@%".contains(letter);
    if path.chars().all(is_plain) {
        return format!("raft-explore replay {path}");
    }
    format!("raft-explore replay '{}'", path.replace('\'', r"'\''"))
}
