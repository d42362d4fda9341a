//! What the processes of a cluster tell: one line of text for people, or one JSON object per line for
//! programs. The names of events and fields are stable.

use std::fmt;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::time::Duration;

use raft_core::{RecoveryReport, RoleChange, ServerId, TornTail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Something that happened in a process of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// There is no connection string, so the emulator runs inside this process.
    Emulator {
        /// Where it listens, as `host:port`.
        address: String,
    },
    /// A server has read its log, and starts.
    Recovered {
        /// The server.
        server: u64,
        /// How many entries its log has.
        entries: u64,
        /// In how many writes.
        records: u64,
        /// In how many files.
        segments: u64,
        /// The last write before a crash, if it was not finished and was left out.
        torn: Option<TornWrite>,
    },
    /// A server has attached to its subscription and joined the cluster.
    Joined {
        /// The server.
        server: u64,
    },
    /// A server's term, role or leader has changed.
    Role {
        /// The server.
        server: u64,
        /// Its term before.
        from_term: u64,
        /// Its role before.
        from_role: String,
        /// Its term now.
        term: u64,
        /// Its role now: `follower`, `candidate` or `leader`.
        role: String,
        /// The leader it knows.
        leader: Option<u64>,
    },
    /// A server learnt that an entry is committed.
    Commit {
        /// The server.
        server: u64,
        /// The entry.
        entry: LogEntry,
    },
    /// A client asks.
    Request {
        /// Its number.
        sequence: u64,
        /// What it asks for, cut short if it is long.
        command: String,
    },
    /// A client was answered.
    Answer {
        /// The number of its request.
        sequence: u64,
        /// Who answered.
        by: u64,
        /// Where the command stands in the log.
        index: u64,
        /// The term of that entry.
        term: u64,
        /// How often the request was sent.
        attempts: u32,
        /// How long it took, in microseconds.
        latency_us: u64,
        /// How many commands a list had applied then, this one included.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        applied: Option<u64>,
        /// What another state machine answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        response: Option<Value>,
    },
    /// A server was asked by the line `query`, and answers.
    Query {
        /// The server.
        server: u64,
        /// The number that the question came with.
        id: u64,
        /// What the state machine answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<Value>,
        /// The last command that was applied before, if the state machine knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        as_of: Option<u64>,
        /// Why there is no answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// What a server looks like, asked by whoever started it.
    Status(Box<ServerStatus>),
    /// A process has ended in order.
    Stopped {
        /// The server.
        server: u64,
    },
    /// The end of a run with a local cluster.
    Summary {
        /// How many servers took part.
        servers: u64,
        /// How many requests were made.
        requests: u64,
        /// How many were committed.
        committed: u64,
        /// How long it took, in milliseconds.
        elapsed_ms: u64,
    },
}

/// A write that a crash tore. Nobody was told that it is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TornWrite {
    /// The file.
    pub path: String,
    /// Where it began.
    pub offset: u64,
    /// How many bytes of it there were.
    pub bytes: u64,
}

/// An entry of the log, as far as people care.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Its place.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Whose request it holds; none if it is no client's.
    pub client: Option<u64>,
    /// The number of that request.
    pub sequence: Option<u64>,
    /// What it says, cut short if it is long; none for the entry that opens a term.
    pub command: Option<String>,
}

/// What a server looks like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// The server.
    pub server: u64,
    /// Its role.
    pub role: String,
    /// Its term.
    pub term: u64,
    /// The leader it knows.
    pub leader: Option<u64>,
    /// The last entry it knows to be committed.
    pub commit_index: u64,
    /// The last entry it has applied.
    pub last_applied: u64,
    /// Its log, from the last compaction on.
    pub log: Vec<LogEntry>,
    /// What its state machine has been told, in order.
    pub state: Vec<String>,
    /// How many inputs the server refused, by reason.
    pub refusals: std::collections::BTreeMap<String, u64>,
    /// Messages that arrived and were no frame of ours.
    pub undecodable: u64,
    /// Its own broadcasts that came back and were not handled.
    pub own: u64,
    /// Messages it could not send because they were too large.
    pub too_large: u64,
}

impl Event {
    /// The server that tells it; none for what a client or a parent tells.
    #[must_use]
    pub fn server(&self) -> Option<u64> {
        match self {
            Self::Recovered { server, .. }
            | Self::Joined { server }
            | Self::Role { server, .. }
            | Self::Commit { server, .. }
            | Self::Query { server, .. }
            | Self::Stopped { server } => Some(*server),
            Self::Status(status) => Some(status.server),
            Self::Emulator { .. }
            | Self::Request { .. }
            | Self::Answer { .. }
            | Self::Summary { .. } => None,
        }
    }

    /// The event for what a server found.
    #[must_use]
    pub fn recovered(server_id: ServerId, report: &RecoveryReport) -> Self {
        let RecoveryReport { segments, records, entries, torn } = report;
        let torn = torn.as_ref().map(|TornTail { path, offset, bytes }| TornWrite {
            path: path.clone(),
            offset: *offset,
            bytes: *bytes,
        });
        let (segments, records, entries) = (*segments, *records, *entries);
        Self::Recovered { server: server_id.0, entries, records, segments, torn }
    }

    /// The event for a change of role.
    #[must_use]
    pub fn role(change: RoleChange) -> Self {
        Self::Role {
            server: change.server_id.0,
            from_term: change.from.0.0,
            from_role: change.from.1.to_owned(),
            term: change.to.0.0,
            role: change.to.1.to_owned(),
            leader: change.leader.map(|leader| leader.0),
        }
    }
}

/// The event as a line for people.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Emulator { address } => {
                write!(f, "no connection string: using the embedded emulator on {address}")
            }
            Self::Recovered { server, records: 0, torn: None, .. } => {
                write!(f, "s{server} starts with an empty log")
            }
            Self::Recovered { server, entries, records, segments, torn } => {
                let entries = counted(*entries, "entry", "entries");
                let records = counted(*records, "record", "records");
                let segments = counted(*segments, "segment", "segments");
                write!(f, "s{server} recovered {entries} from {records} in {segments}")?;
                match torn {
                    None => Ok(()),
                    Some(torn) => write!(f, "; left out {torn}"),
                }
            }
            Self::Joined { server } => write!(f, "s{server} joined"),
            Self::Role { server, from_term, from_role, term, role, leader } => {
                if (from_term, from_role) == (term, role) {
                    write!(f, "s{server}@{term} {role}")?;
                } else {
                    write!(f, "s{server}@{from_term} {from_role} ⇨ s{server}@{term} {role}")?;
                }
                match leader {
                    Some(leader) if leader != server => write!(f, " of s{leader}"),
                    _ => Ok(()),
                }
            }
            Self::Commit { server, entry } => write!(f, "s{server} commit {entry}"),
            Self::Request { sequence, command } => write!(f, "→ #{sequence} {command}"),
            Self::Answer { sequence, by, index, term, attempts, latency_us, response, .. } => {
                let latency_ms = *latency_us as f64 / 1e3;
                write!(f, "← #{sequence} committed at {index}@{term}, answered by s{by}")?;
                write!(f, " in {latency_ms:.1} ms")?;
                if *attempts > 1 {
                    write!(f, " after asking {attempts} times")?;
                }
                response.as_ref().map_or(Ok(()), |response| write!(f, ": {response}"))
            }
            Self::Query { server, id, value, error, .. } => match (value, error) {
                (Some(value), _) => write!(f, "s{server} ?{id} {value}"),
                (None, error) => {
                    write!(f, "s{server} ?{id} failed: {}", error.as_deref().unwrap_or("unknown"))
                }
            },
            Self::Status(status) => {
                let ServerStatus { server, term, role, commit_index, last_applied, .. } = &**status;
                write!(f, "s{server}@{term} {role} commit={commit_index} applied={last_applied}")
            }
            Self::Stopped { server } => write!(f, "s{server} stopped"),
            Self::Summary { servers, requests, committed, elapsed_ms } => {
                let servers = counted(*servers, "server", "servers");
                write!(f, "{committed} of {requests} requests committed by {servers}")?;
                write!(f, " in {elapsed_ms} ms")
            }
        }
    }
}

/// `an unfinished write of 24 bytes at byte 4096 of DIR/0000000000000001.log`.
impl fmt::Display for TornWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, offset, bytes } = self;
        let bytes = counted(*bytes, "byte", "bytes");
        write!(f, "an unfinished write of {bytes} at byte {offset} of {path}")
    }
}

/// `4@2 c1#3 request 3`, `5@2 voters s1 s2 s3`, `6@3 noop`.
impl fmt::Display for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)?;
        match (self.client, self.sequence, &self.command) {
            (Some(client), Some(sequence), Some(command)) => {
                write!(f, " c{client}#{sequence} {command}")
            }
            (_, _, Some(command)) => write!(f, " {command}"),
            (_, _, None) => f.write_str(" noop"),
        }
    }
}

/// Lines that may wait for whoever reads standard output.
const LINES_MAX: usize = 64 * 1024;

/// Where a process tells its events: standard output, as text or as JSON.
///
/// A thread of its own writes. Whoever reads may stop reading for a while, and that must stop no server:
/// what does not fit into the queue is dropped and counted.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    is_json: bool,
}

/// What the writing thread is asked.
enum Written {
    Line(String),
    /// Say when everything before is written.
    Flush(SyncSender<()>),
}

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// The queue of the writing thread, which starts with the first line.
fn writer() -> &'static SyncSender<Written> {
    static WRITER: OnceLock<SyncSender<Written>> = OnceLock::new();
    WRITER.get_or_init(|| {
        let (sender, queue) = mpsc::sync_channel(LINES_MAX);
        std::thread::spawn(move || {
            for written in queue {
                match written {
                    Written::Line(line) => {
                        let mut out = io::stdout().lock();
                        // Whoever read may have gone away, which is no reason to fail.
                        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
                    }
                    Written::Flush(done) => {
                        let _ = done.send(());
                    }
                }
            }
        });
        sender
    })
}

impl Output {
    /// Text for people, or JSON for programs.
    #[must_use]
    pub fn new(is_json: bool) -> Self {
        Self { is_json }
    }

    /// Tells an event. Never waits for whoever reads.
    pub fn tell(self, event: &Event) {
        let line = if self.is_json {
            serde_json::to_string(event).expect("an event has only text keys")
        } else {
            event.to_string()
        };
        self.line(&line);
    }

    /// Writes a line as it is. Never waits for whoever reads.
    pub fn line(self, line: &str) {
        if writer().try_send(Written::Line(line.to_owned())).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything told so far is written, but no longer than `patience`; says how many
    /// lines nobody took.
    pub fn flush(patience: Duration) -> u64 {
        let (done, is_done) = mpsc::sync_channel(1);
        if writer().try_send(Written::Flush(done)).is_ok() {
            let _ = is_done.recv_timeout(patience);
        }
        DROPPED.load(Ordering::Relaxed)
    }
}

/// So many of something, in words.
#[must_use]
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A command cut to a length that fits on a line.
#[must_use]
pub fn short(command: &str) -> String {
    const CHARS_MAX: usize = 40;
    if command.chars().count() <= CHARS_MAX {
        return command.to_owned();
    }
    let start: String = command.chars().take(CHARS_MAX).collect();
    format!("{start}… ({} bytes)", command.len())
}

/// An error with all its causes, in one line, none of them said twice.
#[must_use]
pub fn one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = String::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let text = cause.to_string().replace(['\n', '\r'], " ");
        if !line.contains(&text) {
            line = if line.is_empty() { text } else { format!("{line}: {text}") };
        }
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_either_kind() {
        let event = Event::Role {
            server: 1,
            from_term: 1,
            from_role: "leader".to_owned(),
            term: 2,
            role: "follower".to_owned(),
            leader: Some(3),
        };
        assert_eq!(event.to_string(), "s1@1 leader ⇨ s1@2 follower of s3");
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(
            json,
            r#"{"event":"role","server":1,"from_term":1,"from_role":"leader","term":2,"role":"follower","leader":3}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }

    #[test]
    fn what_a_server_found_is_one_line() {
        let torn = TornTail { path: "DIR/1.log".to_owned(), offset: 4096, bytes: 1 };
        let report = RecoveryReport { segments: 1, records: 2, entries: 3, torn: Some(torn) };
        let event = Event::recovered(ServerId(1), &report);
        assert_eq!(
            event.to_string(),
            "s1 recovered 3 entries from 2 records in 1 segment; left out an unfinished write of 1 byte \
             at byte 4096 of DIR/1.log"
        );
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
        let empty = Event::recovered(
            ServerId(1),
            &RecoveryReport { segments: 1, ..RecoveryReport::default() },
        );
        assert_eq!(empty.to_string(), "s1 starts with an empty log");
    }

    #[test]
    fn a_long_command_is_cut() {
        assert_eq!(short("x = 1"), "x = 1");
        let long = short(&"é".repeat(100));
        assert!(long.ends_with("… (200 bytes)"), "{long}");
    }
}
