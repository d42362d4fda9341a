//! What clients asked and were told: one JSON object per line, on one monotonic clock.
//!
//! Guarantees: an operation is recorded before it is sent and after its answer came, so that the order
//!             of two lines is never earlier than what they tell of.
//! Elsewhere:  whether it is linearizable is asked of `raft-nondeterminism`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// The operation is about to be sent.
    Invoke,
    /// It was done, and this was the answer.
    Ok,
    /// It was not done and never will be.
    Fail,
    /// Nobody knows.
    Info,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Record {
    /// Who asks: one operation at a time, and a new number after one that ended in `info`.
    pub(super) process: u64,
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    /// `read`, `write`, `cas` or `append`.
    pub(super) f: &'static str,
    pub(super) key: String,
    /// What is written or was read; `[old, new]` of a compare-and-set.
    pub(super) value: Value,
    /// Nanoseconds since the run began.
    pub(super) time: u64,
    /// Where the log has the command, or how far it was applied when a query was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) order: Option<u64>,
    /// How a read was asked for that is no command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mode: Option<&'static str>,
    /// Why it failed, or is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

impl Record {
    pub(super) fn invoke(process: u64, f: &'static str, key: &str, value: Value) -> Self {
        let (kind, key) = (Kind::Invoke, key.to_owned());
        Self { process, kind, f, key, value, time: 0, order: None, mode: None, error: None }
    }
}

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
    tally: Tally,
}

/// What is kept of a history besides its file.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Completions, by what was asked and what came of it.
    pub(super) counts: BTreeMap<(&'static str, String), u64>,
    /// What came of each element that was to be appended to a list.
    pub(super) appends: BTreeMap<(String, i64), Kind>,
}

impl Tally {
    fn note(&mut self, record: &Record) {
        if record.f == "append"
            && let Some(element) = record.value.as_i64()
        {
            // Without a completion nobody knows.
            let kind = if record.kind == Kind::Invoke { Kind::Info } else { record.kind };
            self.appends.insert((record.key.clone(), element), kind);
        }
        if record.kind != Kind::Invoke {
            let f = if record.mode.is_some() { "query" } else { record.f };
            *self.counts.entry((f, format!("{:?}", record.kind).to_lowercase())).or_default() += 1;
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

impl History {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let written = Written { file: BufWriter::new(file), tally: Tally::default() };
        Ok(Self { path: path.to_owned(), started: Instant::now(), written: Mutex::new(written) })
    }

    /// Writes a line with the time.
    pub(super) fn record(&self, mut record: Record) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that the lines are in the order of their times.
        record.time = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        written.tally.note(&record);
        let line = serde_json::to_string(&record).expect("a record has only text keys");
        // A history with a hole does not check: the run fails then, see `finish`.
        let _ = writeln!(written.file, "{line}");
    }

    /// Writes what is done to servers and bus meanwhile, for the picture of a violation.
    pub(super) fn disturb(&self, fault: &str, server: Option<u64>) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let time = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let value = server.map(|server| format!("s{server}"));
        let line = serde_json::json!({
            "process": "nemesis", "type": "info", "f": fault, "value": value, "time": time,
        });
        let _ = writeln!(written.file, "{line}");
    }

    /// What is known of it so far.
    pub(super) fn tally(&self) -> Tally {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).tally.clone()
    }

    /// Writes what is left to the file.
    pub(super) fn finish(&self) -> Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.file.flush().with_context(|| format!("cannot write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_the_checker_reads() {
        let record = Record {
            kind: Kind::Ok,
            time: 5,
            order: Some(9),
            ..Record::invoke(3, "cas", "r0", serde_json::json!([null, 7]))
        };
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            r#"{"process":3,"type":"ok","f":"cas","key":"r0","value":[null,7],"time":5,"order":9}"#
        );
    }

    #[test]
    fn an_append_without_completion_is_unknown() {
        let mut tally = Tally::default();
        let invoke = Record::invoke(0, "append", "l", 7.into());
        tally.note(&invoke);
        assert_eq!(tally.appends[&("l".to_owned(), 7)], Kind::Info);
        tally.note(&Record { kind: Kind::Ok, ..invoke });
        assert_eq!(tally.appends[&("l".to_owned(), 7)], Kind::Ok);
        assert_eq!((tally.operations(), tally.of("ok"), tally.of("info")), (1, 1, 0));
    }
}
