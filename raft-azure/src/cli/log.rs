//! `raft-azure log`: what is in a server's folder, and whether a server could start on it.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use raft_azure::event::{LogEntry, TornWrite, counted};
use raft_core::{
    Config, Entry, FolderReport, HardState, LogId, Server, ServerId, StoredServer, TailReport,
    inspect_folder, read_folder,
};
use serde::Serialize;

use super::machine::MachineKind;
use super::server::log_entry;
use super::{Failure, one_line};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  raft-azure log inspect raft-data/rafttopic/server-1
  raft-azure log inspect DIR --entries --from 100 --max 10
  raft-azure log verify DIR && echo sound

Neither changes anything, and the server may be running.")]
pub(super) struct LogArgs {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Show what a server's folder holds, with all damage there is.
    Inspect {
        /// The folder.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Show the entries of the log, too.
        #[arg(long)]
        entries: bool,
        /// Show entries from this index on.
        #[arg(long, value_name = "N", default_value_t = 1, requires = "entries")]
        from: u64,
        /// Show no more entries than this. [default: all]
        #[arg(long, value_name = "N", requires = "entries")]
        max: Option<usize>,
        /// The state machine that the entries are for.
        #[arg(long, value_name = "NAME", value_enum, default_value_t = MachineKind::List)]
        state_machine: MachineKind,
        /// Print one JSON object per line; the last one is the summary.
        #[arg(long)]
        json: bool,
    },
    /// Say whether a server could start on a folder: exit code 0 if it could, 1 if not.
    Verify {
        /// The folder.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Print one JSON object per line; the last one is the summary.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(args: LogArgs) -> Result<(), Failure> {
    let (folder, is_json) = match &args.command {
        LogCommand::Inspect { folder, json, .. } | LogCommand::Verify { folder, json } => {
            (folder, *json)
        }
    };
    let look = Look::at(folder)?;
    let mut facts = Vec::new();
    if let LogCommand::Inspect { entries, from, max, state_machine, .. } = args.command {
        facts.extend(look.contents());
        if entries {
            let shown = look.entries.iter().filter(|entry| entry.index.0 >= from);
            let shown = shown.take(max.unwrap_or(usize::MAX));
            facts
                .extend(shown.map(|entry| Fact::Entry(log_entry(entry, state_machine.describe()))));
        }
    }
    let summary = look.summary(folder);
    let is_refused = !summary.is_sound && matches!(args.command, LogCommand::Verify { .. });
    if is_json || !is_refused {
        facts.extend(look.damage());
        facts.push(Fact::Summary(summary));
    } else {
        // For people the verdict comes first.
        facts.push(Fact::Summary(summary));
        facts.extend(look.damage());
    }
    match write(&facts, is_json) {
        // Whoever read has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) if is_refused => Err(Failure::Told),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write(facts: &[Fact], is_json: bool) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for fact in facts {
        if is_json {
            serde_json::to_writer(&mut out, fact)?;
            writeln!(out)?;
        } else {
            writeln!(out, "{fact}")?;
        }
    }
    out.flush()
}

/// What was seen.
struct Look {
    report: FolderReport,
    entries: Vec<Entry>,
    /// Why no server starts on it, though every file is whole.
    refusal: Option<String>,
}

impl Look {
    /// Looks at a folder, and again if its server may have changed it meanwhile.
    fn at(folder: &Path) -> Result<Self, Failure> {
        const TIMES: u32 = 3;
        let mut time = 1;
        loop {
            let report = inspect_folder(folder)?;
            let (entries, refusal) = match report.damage.is_empty().then(|| read(folder)) {
                None => (Vec::new(), None),
                Some(Ok(entries)) => (entries, None),
                Some(Err(error)) => (Vec::new(), Some(one_line(error.as_ref()))),
            };
            let is_sound = report.damage.is_empty() && refusal.is_none();
            if is_sound || !report.is_in_use || time == TIMES {
                return Ok(Self { report, entries, refusal });
            }
            time += 1;
        }
    }

    /// What is there, but for damage.
    fn contents(&self) -> Vec<Fact> {
        let report = &self.report;
        let HardState { current_term, voted_for } = report.state.hard_state;
        let mut facts = vec![Fact::Folder {
            cluster: report.cluster_id.map(|id| id.to_string()),
            server: report.server_id.map(|id| id.0),
            voters: report.voters.iter().map(|id| id.0).collect(),
            is_in_use: report.is_in_use,
            term: current_term.0,
            voted_for: voted_for.map(|id| id.0),
            start: report.state.start.into(),
            last: report.state.last.into(),
        }];
        facts.extend(report.segments.iter().map(|segment| {
            let (tail, torn_bytes) = match segment.tail {
                TailReport::Clean => ("clean", 0),
                TailReport::Torn { bytes } => ("torn", bytes),
                TailReport::Damaged => ("damaged", 0),
            };
            Fact::Segment {
                name: segment.name.clone(),
                used_bytes: segment.used_bytes,
                size_bytes: segment.size_bytes,
                records: segment.records,
                entries: segment.entries,
                first_index: segment.first_index.map(|index| index.0),
                last_index: segment.last_index.map(|index| index.0),
                tail,
                torn_bytes,
            }
        }));
        facts.extend(report.snapshots.iter().map(|snapshot| Fact::Snapshot {
            name: snapshot.name.clone(),
            size_bytes: snapshot.size_bytes,
            is_needed: snapshot.is_needed,
        }));
        facts.extend(report.spare_bytes.map(|size_bytes| Fact::Spare { size_bytes }));
        facts
    }

    fn damage(&self) -> impl Iterator<Item = Fact> {
        self.report.damage.iter().map(|damage| Fact::Damage {
            path: damage.path.clone(),
            offset: damage.offset,
            reason: damage.reason.clone(),
        })
    }

    fn summary(&self, folder: &Path) -> Summary {
        let Self { report, refusal, .. } = self;
        let torn = report.segments.iter().find_map(|segment| match segment.tail {
            TailReport::Torn { bytes } => Some(TornWrite {
                path: folder.join(&segment.name).display().to_string(),
                offset: segment.used_bytes,
                bytes,
            }),
            TailReport::Clean | TailReport::Damaged => None,
        });
        Summary {
            folder: folder.display().to_string(),
            is_sound: report.damage.is_empty() && refusal.is_none(),
            is_in_use: report.is_in_use,
            damaged: report.damage.len() as u64,
            refusal: refusal.clone(),
            torn,
        }
    }
}

/// The entries of a log that a server could start on.
fn read(folder: &Path) -> anyhow::Result<Vec<Entry>> {
    let StoredServer { cluster_id, server_id, voters, recovered } = read_folder(folder)?;
    let entries = recovered.entries.clone();
    Server::new(Config { cluster_id, ..Config::new(server_id, voters) }, recovered)?;
    Ok(entries)
}

/// Something about a folder: a line for people, an object for programs.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Fact {
    Folder {
        cluster: Option<String>,
        server: Option<u64>,
        voters: Vec<u64>,
        is_in_use: bool,
        term: u64,
        voted_for: Option<u64>,
        start: LogPlace,
        last: LogPlace,
    },
    Segment {
        name: String,
        used_bytes: u64,
        size_bytes: u64,
        records: u64,
        entries: u64,
        first_index: Option<u64>,
        last_index: Option<u64>,
        tail: &'static str,
        torn_bytes: u64,
    },
    Snapshot {
        name: String,
        size_bytes: u64,
        is_needed: bool,
    },
    Spare {
        size_bytes: u64,
    },
    Entry(LogEntry),
    Damage {
        path: String,
        offset: u64,
        reason: String,
    },
    Summary(Summary),
}

#[derive(Clone, Copy, Debug, Serialize)]
struct LogPlace {
    index: u64,
    term: u64,
}

impl From<LogId> for LogPlace {
    fn from(id: LogId) -> Self {
        Self { index: id.index.0, term: id.term.0 }
    }
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

/// Whether a server could start.
#[derive(Debug, Serialize)]
struct Summary {
    folder: String,
    is_sound: bool,
    is_in_use: bool,
    /// In how many places it is damaged.
    damaged: u64,
    refusal: Option<String>,
    torn: Option<TornWrite>,
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder { cluster, server, voters, is_in_use, term, voted_for, start, last } => {
                match (server, cluster) {
                    (Some(server), Some(cluster)) => {
                        let voters: Vec<_> = voters.iter().map(|id| format!("s{id}")).collect();
                        let voters = voters.join(" ");
                        writeln!(f, "server    s{server} of cluster {cluster}, begun by {voters}")?;
                    }
                    _ => writeln!(f, "server    unknown")?,
                }
                writeln!(f, "in use    {}", if *is_in_use { "yes" } else { "no" })?;
                let voted_for = voted_for.map(ServerId);
                let hard_state = HardState { current_term: raft_core::Term(*term), voted_for };
                writeln!(f, "state     {hard_state}")?;
                let count = counted(last.index.saturating_sub(start.index), "entry", "entries");
                write!(f, "log       {count} after {start}, the last one is {last}")
            }
            Self::Segment { name, used_bytes, size_bytes, records, entries, tail, .. } => {
                write!(f, "segment   {name}  {used_bytes} of {size_bytes} bytes used, ")?;
                let records = counted(*records, "record", "records");
                write!(f, "{records}, {}", counted(*entries, "entry", "entries"))?;
                if let Self::Segment { first_index: Some(first), last_index: Some(last), .. } = self
                {
                    write!(f, " from {first} to {last}")?;
                }
                match self {
                    Self::Segment { torn_bytes, .. } if *torn_bytes > 0 => {
                        write!(f, ", then an unfinished write of {torn_bytes} bytes")
                    }
                    _ => write!(f, ", {tail}"),
                }
            }
            Self::Snapshot { name, size_bytes, is_needed } => {
                let needed = if *is_needed { "needed" } else { "not needed" };
                write!(f, "snapshot  {name}  {size_bytes} bytes, {needed}")
            }
            Self::Spare { size_bytes } => write!(f, "spare     {size_bytes} bytes"),
            Self::Entry(entry) => write!(f, "entry     {entry}"),
            Self::Damage { path, offset, reason } => {
                write!(f, "damage    {path} at byte {offset}: {reason}")
            }
            Self::Summary(summary) => summary.fmt(f),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, is_sound, is_in_use, damaged, refusal, torn } = self;
        match (is_sound, is_in_use, torn) {
            (true, false, None) => write!(f, "{folder} is sound: a server can start on it"),
            (true, false, Some(torn)) => {
                write!(f, "{folder} is sound: a server can start on it, and will remove {torn}")
            }
            (true, true, None) => write!(f, "{folder} is sound: a server is running on it"),
            (true, true, Some(torn)) => write!(
                f,
                "{folder} is sound: a server is running on it, with {} under way at byte {} of {}",
                counted(torn.bytes, "byte", "bytes"),
                torn.offset,
                torn.path
            ),
            (false, ..) => {
                match refusal {
                    Some(refusal) => write!(f, "{folder}: no server starts on it: {refusal}")?,
                    None => {
                        let places = counted(*damaged, "place", "places");
                        write!(
                            f,
                            "{folder} is damaged in {places}: no server starts on it; replace \
                             it by one with a new id"
                        )?;
                    }
                }
                if *is_in_use {
                    f.write_str("; a server is running on it, so look again when it has ended")?;
                }
                Ok(())
            }
        }
    }
}
