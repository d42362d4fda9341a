//! Schedules: the choices of one run as text that people read and programs replay.
//!
//! Guarantees: what [`Schedule`] prints, it parses back; a file that is cut, edited or of another kind
//!             is refused with the line that is wrong, or by the replay with the step.
//! Relies on:  messages in flight with the same name being the same message, which Log Matching makes
//!             true of Raft; where it is not, the fingerprint of the replay differs.
//! Elsewhere:  how events are named is in `world.rs`, how a schedule is replayed in
//!             `strategy/replay.rs`.
//!
//! ```text
//! raft-nondeterminism schedule, format 2
//! scenario sample-with-failure
//! servers 5
//! clients 1
//! requests 2
//! protocol plain
//! saves immediate
//! in_flight_max 64
//! faults drop=5 duplicate=10 crash=0 lose-saves=0 partition=0 disk-error=0 disk-stall=0
//! spares 0
//! operations take-snapshot=0 change-membership=0 transfer-leadership=0 read=0 propose=0
//! snapshot_entries 0
//! sessions_max 0
//! clocks free
//! defect vote-counted-twice
//! end open
//! strategy weighted
//! seed 7
//! iteration 3
//! property election-safety
//! events 9
//! fingerprint 0123456789abcdef
//!
//! choose one_entry_per_request=0 of 2
//! timeout s1
//! deliver s1@1 → s3 VoteRequest last=0@0
//! …
//! ```

use std::fmt;
use std::str::FromStr;

use raft_core::Defect;

use crate::fingerprint::Fingerprint;
use crate::scenario::{Clocks, Protocol, SaveMode, Scenario, ScenarioError};

/// The first line without its number.
const FORMAT: &str = "raft-nondeterminism schedule, format ";
/// The format this build reads and writes.
const VERSION: &str = "2";

/// One choice, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// An event: `deliver s1@2 → s3 VoteRequest last=1@1`.
    Event(String),
    /// A number chosen while the event before it happened, or before the first one:
    /// `choose saves_kept=1 of 3`.
    Choose {
        /// What it is for.
        label: String,
        /// The number.
        value: usize,
        /// It is below this.
        arity: usize,
    },
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(name) => f.write_str(name),
            Self::Choose { label, value, arity } => write!(f, "choose {label}={value} of {arity}"),
        }
    }
}

/// One run as text: where it came from, what it found, and every choice in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub(crate) scenario: Scenario,
    pub(crate) defect: Option<Defect>,
    /// Nothing goes wrong after the last event, and everything has to come to rest.
    pub(crate) settles: bool,
    pub(crate) strategy: String,
    pub(crate) seed: u64,
    pub(crate) iteration: u64,
    /// The property that was broken; `None` if none was.
    pub(crate) property: Option<String>,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) lines: Vec<Line>,
}

impl Schedule {
    /// What was explored.
    #[must_use]
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// The planted bug that was switched on.
    #[must_use]
    pub fn defect(&self) -> Option<Defect> {
        self.defect
    }

    /// The same schedule with another planted bug, or none: to see whether the bug is to blame.
    #[must_use]
    pub fn with_defect(mut self, defect: impl Into<Option<Defect>>) -> Self {
        self.defect = defect.into();
        self
    }

    /// The strategy that chose; with `+shrunk`, the run was shortened since.
    #[must_use]
    pub fn strategy(&self) -> &str {
        &self.strategy
    }

    /// The seed of the exploration.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The iteration of the exploration.
    #[must_use]
    pub fn iteration(&self) -> u64 {
        self.iteration
    }

    /// The property that the run breaks; `None` if it breaks none.
    #[must_use]
    pub fn property(&self) -> Option<&str> {
        self.property.as_deref()
    }

    /// Stands for the whole run.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Every choice, in order.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// How many events there are.
    #[must_use]
    pub fn events(&self) -> usize {
        self.lines.iter().filter(|line| matches!(line, Line::Event(_))).count()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scenario {
            name,
            servers,
            clients,
            requests,
            protocol,
            saves,
            faults,
            in_flight_max,
            spares,
            operations,
            snapshot_entries,
            sessions_max,
            clocks,
        } = &self.scenario;
        writeln!(f, "{FORMAT}{VERSION}")?;
        writeln!(f, "scenario {name}")?;
        writeln!(f, "servers {servers}")?;
        writeln!(f, "clients {clients}")?;
        writeln!(f, "requests {requests}")?;
        writeln!(f, "protocol {}", protocol.name())?;
        writeln!(f, "saves {}", saves.name())?;
        writeln!(f, "in_flight_max {in_flight_max}")?;
        writeln!(f, "faults {faults}")?;
        writeln!(f, "spares {spares}")?;
        writeln!(f, "operations {operations}")?;
        writeln!(f, "snapshot_entries {snapshot_entries}")?;
        writeln!(f, "sessions_max {sessions_max}")?;
        writeln!(f, "clocks {}", clocks.name())?;
        writeln!(f, "defect {}", self.defect.map_or("none", Defect::name))?;
        writeln!(f, "end {}", if self.settles { "rest" } else { "open" })?;
        writeln!(f, "strategy {}", self.strategy)?;
        writeln!(f, "seed {}", self.seed)?;
        writeln!(f, "iteration {}", self.iteration)?;
        writeln!(f, "property {}", self.property().unwrap_or("none"))?;
        writeln!(f, "events {}", self.events())?;
        writeln!(f, "fingerprint {}", self.fingerprint)?;
        writeln!(f)?;
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let mut reader = Reader::new(text);
        let (_, first) = reader.next().ok_or(ScheduleError::Empty)?;
        match first.strip_prefix(FORMAT) {
            Some(VERSION) => {}
            Some(found) => return Err(ScheduleError::Version { found: found.to_owned() }),
            None => return Err(ScheduleError::NotASchedule { found: first.to_owned() }),
        }
        let scenario = Scenario {
            name: reader.field("scenario", "a name")?,
            servers: reader.field("servers", "a number")?,
            clients: reader.field("clients", "a number")?,
            requests: reader.field("requests", "a number")?,
            protocol: reader.parse("protocol", "plain or full", |value| {
                [Protocol::Plain, Protocol::Full].into_iter().find(|p| p.name() == value)
            })?,
            saves: reader.parse("saves", "immediate, delayed or files", |value| {
                SaveMode::ALL.into_iter().find(|mode| mode.name() == value)
            })?,
            in_flight_max: reader.field("in_flight_max", "a number")?,
            faults: reader.field("faults", "FAULT=NUMBER for each fault")?,
            spares: reader.field("spares", "a number")?,
            operations: reader.field("operations", "OPERATION=NUMBER for each operation")?,
            snapshot_entries: reader.field("snapshot_entries", "a number")?,
            sessions_max: reader.field("sessions_max", "a number")?,
            clocks: reader.parse("clocks", "free or common", |value| {
                [Clocks::Free, Clocks::Common].into_iter().find(|clocks| clocks.name() == value)
            })?,
        };
        scenario.validate().map_err(ScheduleError::Scenario)?;
        let none_or_defect =
            |value: &str| if value == "none" { Some(None) } else { value.parse().ok().map(Some) };
        let defect = reader.parse("defect", "none or a planted defect's name", none_or_defect)?;
        let settles = reader.parse("end", "open or rest", |value| match value {
            "open" => Some(false),
            "rest" => Some(true),
            _ => None,
        })?;
        let strategy = reader.field("strategy", "a name")?;
        let seed = reader.field("seed", "a number")?;
        let iteration = reader.field("iteration", "a number")?;
        let property: String = reader.field("property", "a name or none")?;
        let events = reader.field("events", "a number")?;
        let fingerprint = reader.parse("fingerprint", "16 hexadecimal digits", |value| {
            let is_hex = value.len() == 16;
            u64::from_str_radix(value, 16).ok().filter(|_| is_hex).map(Fingerprint)
        })?;
        let lines: Vec<_> = reader.map(|(number, line)| parse_line(number, line)).collect();
        let schedule = Self {
            scenario,
            defect,
            settles,
            strategy,
            seed,
            iteration,
            property: Some(property).filter(|property| property != "none"),
            fingerprint,
            lines: lines.into_iter().collect::<Result<_, _>>()?,
        };
        let found = schedule.events();
        if found != events {
            return Err(ScheduleError::Events { expected: events, found });
        }
        Ok(schedule)
    }
}

/// The lines that say something, with their numbers.
struct Reader<'a> {
    lines: std::iter::Enumerate<std::str::Lines<'a>>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self { lines: text.lines().enumerate() }
    }

    /// The value of the next line, which must have this key.
    fn field<T: FromStr>(
        &mut self,
        key: &'static str,
        value: &'static str,
    ) -> Result<T, ScheduleError> {
        self.parse(key, value, |value| value.parse().ok())
    }

    fn parse<T>(
        &mut self,
        key: &'static str,
        value: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ScheduleError> {
        let Some((line, text)) = self.next() else {
            return Err(ScheduleError::Cut { key });
        };
        let parsed = text.strip_prefix(key).and_then(|rest| rest.strip_prefix(' ')).and_then(parse);
        parsed.ok_or_else(|| ScheduleError::Header { line, key, value, found: text.to_owned() })
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = (usize, &'a str);

    /// The next line that is neither empty nor a comment, and its number, from 1.
    fn next(&mut self) -> Option<Self::Item> {
        let mut lines = self.lines.by_ref().map(|(place, line)| (place + 1, line.trim()));
        lines.find(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    }
}

const VERBS: [&str; 22] = [
    "fail-disk",
    "stall",
    "unstall",
    "deliver",
    "take",
    "duplicate",
    "drop",
    "timeout",
    "saved",
    "applied",
    "taken",
    "crash",
    "restart",
    "request",
    "retry",
    "snapshot",
    "change",
    "transfer",
    "read",
    "propose",
    "cut",
    "heal",
];

fn parse_line(line: usize, text: &str) -> Result<Line, ScheduleError> {
    let wrong = || ScheduleError::Line { line, found: text.to_owned() };
    let (verb, rest) = text.split_once(' ').ok_or_else(wrong)?;
    if verb != "choose" {
        let is_event = VERBS.contains(&verb);
        return is_event.then(|| Line::Event(text.to_owned())).ok_or_else(wrong);
    }
    let (label, numbers) = rest.split_once('=').ok_or_else(wrong)?;
    let (value, arity) = numbers.split_once(" of ").ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<usize>().map_err(|_| wrong());
    let (value, arity) = (number(value)?, number(arity)?);
    if value >= arity {
        return Err(wrong());
    }
    Ok(Line::Choose { label: label.to_owned(), value, arity })
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// There is nothing in it.
    #[error("the schedule is empty")]
    Empty,
    /// It is something else.
    #[error("not a schedule: it starts with {found:?} instead of \"{FORMAT}{VERSION}\"")]
    NotASchedule {
        /// The first line.
        found: String,
    },
    /// It was written by another version.
    #[error("the schedule has format {found:?}, this build reads format {VERSION}")]
    Version {
        /// Its format.
        found: String,
    },
    /// The header ends too early.
    #[error("the schedule is cut off before `{key}`")]
    Cut {
        /// What should come next.
        key: &'static str,
    },
    /// A line of the header is not what should stand there.
    #[error("line {line}: {found:?} is not `{key}` and {value}")]
    Header {
        /// Its number, from 1.
        line: usize,
        /// What should stand there.
        key: &'static str,
        /// And after it.
        value: &'static str,
        /// What stands there.
        found: String,
    },
    /// The header describes a scenario that makes no sense.
    #[error("the schedule's scenario makes no sense: {0}")]
    Scenario(ScenarioError),
    /// A line is no event.
    #[error("line {line}: {found:?} is neither an event nor a choice")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What stands there.
        found: String,
    },
    /// Events are missing, or were added.
    #[error(
        "the schedule says it has {expected} events, but there are {found}: it was cut or edited"
    )]
    Events {
        /// How many the header says.
        expected: usize,
        /// How many there are.
        found: usize,
    },
}
