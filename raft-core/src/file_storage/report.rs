//! What a server is told that reads its files again (feature `file-storage`).

use std::fmt;

/// What [`Storage::load`](crate::Storage::load) found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Files of the log.
    pub segments: u64,
    /// Calls of [`Storage::save`](crate::Storage::save) that they still hold.
    pub records: u64,
    /// Entries of the log.
    pub entries: u64,
    /// The last write before the crash, if it was not finished: it was never confirmed to anybody, and
    /// was left out.
    pub torn: Option<TornTail>,
}

/// A record that a crash tore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The file.
    pub path: String,
    /// Where it began.
    pub offset: u64,
    /// How many bytes were left out.
    pub bytes: u64,
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segments, records, entries, torn } = self;
        let several = |count: &u64| if *count == 1 { "" } else { "s" };
        write!(f, "{entries} entries from {records} write{}", several(records))?;
        write!(f, " in {segments} segment{}", several(segments))?;
        match torn {
            None => Ok(()),
            Some(TornTail { path, offset, bytes }) => {
                write!(
                    f,
                    "; left out an unfinished write of {bytes} bytes at byte {offset} of {path}"
                )
            }
        }
    }
}
