//! What clients asked and were told: one JSON object per line, on one monotonic clock.
//!
//! What was done to servers and bus meanwhile goes into a file of its own, so that the history holds
//! nothing but operations of clients. `cat HISTORY FAULTS | raft-explore check-history -` shows both.
//!
//! Guarantees: an operation is recorded before it is sent and after its answer came, so that the order
//!             of two lines is never earlier than what they tell of.
//! Elsewhere:  what a line says, and whether it is linearizable, is of `raft-nondeterminism`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use raft_nondeterminism::history::write_record;
pub(super) use raft_nondeterminism::history::{Function, Kind, Record};

/// The record of one run.
#[derive(Debug)]
pub(super) struct History {
    path: PathBuf,
    started: Instant,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    file: BufWriter<File>,
    faults: BufWriter<File>,
    /// The first line that could not be written.
    failure: Option<std::io::Error>,
    tally: Tally,
}

/// How an operation is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As a command, which has a place in the log.
    Command,
    /// As a question to a server, which has none.
    Query,
}

/// What is kept of a history besides its file.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Completions, by what was asked and what came of it.
    pub(super) counts: BTreeMap<(String, String), u64>,
    /// What came of each element that was to be appended to a list.
    pub(super) appends: BTreeMap<(String, i64), Kind>,
}

impl Tally {
    fn note(&mut self, record: &Record, way: Way) {
        if record.f == Function::Append
            && let Some(element) = record.value.as_ref().and_then(serde_json::Value::as_i64)
        {
            // Without a completion nobody knows.
            let kind = if record.kind == Kind::Invoke { Kind::Info } else { record.kind };
            self.appends.insert((key_of(record).to_owned(), element), kind);
        }
        if record.kind != Kind::Invoke {
            let what = match way {
                Way::Query => "query".to_owned(),
                Way::Command => record.f.to_string(),
            };
            *self.counts.entry((what, record.kind.to_string())).or_default() += 1;
        }
    }

    /// Completions of this kind.
    pub(super) fn of(&self, kind: &str) -> u64 {
        self.counts.iter().filter(|((_, of), _)| of == kind).map(|(_, count)| count).sum()
    }

    /// Operations that came to an end, whatever it was.
    pub(super) fn operations(&self) -> u64 {
        self.counts.values().sum()
    }
}

/// Of which register or list it is.
pub(super) fn key_of(record: &Record) -> &str {
    record.key.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default()
}

fn create(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(BufWriter::new(file))
}

impl History {
    pub(super) fn create(path: &Path, faults: &Path) -> Result<Self> {
        let written = Written {
            file: create(path)?,
            faults: create(faults)?,
            failure: None,
            tally: Tally::default(),
        };
        Ok(Self { path: path.to_owned(), started: Instant::now(), written: Mutex::new(written) })
    }

    fn now(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_nanos()).unwrap_or(i64::MAX)
    }

    /// Writes a line with the time.
    pub(super) fn record(&self, record: Record, way: Way) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that the lines are in the order of their times.
        let record = record.time(self.now());
        written.tally.note(&record, way);
        if let Err(error) = write_record(&mut written.file, &record) {
            written.failure.get_or_insert(error);
        }
    }

    /// Writes what is done to servers and bus meanwhile.
    pub(super) fn disturb(&self, fault: &str, server: Option<u64>) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let value = server.map(|server| format!("s{server}"));
        let line = serde_json::json!({
            "process": "nemesis", "type": "info", "f": fault, "value": value, "time": self.now(),
        });
        if let Err(error) = writeln!(written.faults, "{line}") {
            written.failure.get_or_insert(error);
        }
    }

    /// What is known of it so far.
    pub(super) fn tally(&self) -> Tally {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).tally.clone()
    }

    /// Writes what is left to the files; an error if a line is missing.
    pub(super) fn finish(&self) -> Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let flushed = written.file.flush().and_then(|()| written.faults.flush());
        let result = written.failure.take().map_or(flushed, Err);
        result.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever reads our histories with another checker relies on it.
    #[test]
    fn a_line_has_the_shape_that_is_promised() {
        let folder = tempfile::tempdir().unwrap();
        let (path, faults) = (folder.path().join("history"), folder.path().join("faults"));
        let history = History::create(&path, &faults).unwrap();
        let cas = Record::invoke(3, Function::Cas).key("r0").expected(serde_json::Value::Null);
        history.record(cas.value(7), Way::Command);
        history.disturb("drop", Some(2));
        let read = Record::invoke(4, Function::Read).key("r0").value(serde_json::Value::Null);
        history.record(read, Way::Query);
        history.finish().unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let time = |place: usize| lines[place]["time"].clone();
        assert_eq!(
            lines,
            [
                serde_json::json!({
                    "process": 3, "type": "invoke", "f": "cas", "key": "r0", "value": 7,
                    "expected": null, "time": time(0),
                }),
                serde_json::json!({
                    "process": 4, "type": "invoke", "f": "read", "key": "r0", "value": null,
                    "time": time(1),
                }),
            ]
        );
        assert!(time(0).as_i64() <= time(1).as_i64());
        assert!(std::fs::read_to_string(faults).unwrap().contains(r#""process":"nemesis""#));
    }

    #[test]
    fn an_append_without_completion_is_unknown() {
        let mut tally = Tally::default();
        let invoke = Record::invoke(0, Function::Append).key("l").value(7);
        tally.note(&invoke, Way::Command);
        assert_eq!(tally.appends[&("l".to_owned(), 7)], Kind::Info);
        tally.note(&Record { kind: Kind::Ok, ..invoke }, Way::Command);
        assert_eq!(tally.appends[&("l".to_owned(), 7)], Kind::Ok);
        assert_eq!((tally.operations(), tally.of("ok"), tally.of("info")), (1, 1, 0));
    }
}
