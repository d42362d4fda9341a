//! The files that a bug leaves: where they go, and that none of them hides an older one.
//!
//! Guarantees: a file is overwritten only by the same run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use raft_nondeterminism::trace::Trace;
use raft_nondeterminism::{Bug, Recording, Report, report};

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
    /// The same as pages, graphs and logs.
    pub(crate) reports: Vec<PathBuf>,
}

impl Written {
    fn new(folder: &Path, name: &str) -> Self {
        let path = |end| folder.join(format!("{name}.{end}"));
        let (schedule, full) = (path("schedule.txt"), path("full.schedule.txt"));
        Self { schedule, full, trace: path("txt"), reports: Vec::new() }
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let first = [&self.schedule, &self.full, &self.trace].into_iter();
        first.chain(&self.reports).map(PathBuf::as_path)
    }
}

/// A name whose files are not there, or were left by the same run: then this one of them has this text.
pub(crate) fn free_name(folder: &Path, base: &str, end: &str, text: &str) -> String {
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    let mut names = [base.to_owned()].into_iter().chain(numbered);
    let is_free = |name: &String| match fs::read(folder.join(format!("{name}.{end}"))) {
        Ok(found) => found == text.as_bytes(),
        Err(error) => error.kind() == io::ErrorKind::NotFound || !folder.is_dir(),
    };
    names.find(is_free).unwrap_or_else(|| base.to_owned())
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

/// Writes both schedules of a bug, and what there is to see of the shorter one.
pub(crate) fn write(folder: &Path, bug: &Bug) -> anyhow::Result<Written> {
    let (shrunk, full) = (bug.shrunk(), bug.schedule().to_string());
    let name = free_name(folder, &name(bug), "full.schedule.txt", &full);
    let mut written = Written::new(folder, &name);
    let all = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(&written.full, &full)?;
        fs::write(&written.schedule, shrunk.schedule().to_string())?;
        fs::write(&written.trace, readable(shrunk))
    };
    all().with_context(|| format!("cannot write to {}", folder.display()))?;
    let replay = format!("replay with: {}", replay_line(&written.schedule));
    let trace = Trace { replay, ..shrunk.trace_data().all_matter() };
    written.reports = report::write_trace(&trace, folder, &name)?;
    Ok(written)
}

/// Writes what an exploration has met.
pub(crate) fn write_coverage(folder: &Path, report: &Report) -> anyhow::Result<Vec<PathBuf>> {
    let Some(coverage) = report.coverage() else { return Ok(Vec::new()) };
    let base = format!("{}.seed-{}", report.model(), report.seed());
    let name = free_name(folder, &base, "coverage.json", &coverage.to_json());
    Ok(report::write_coverage(coverage, folder, &name)?)
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
