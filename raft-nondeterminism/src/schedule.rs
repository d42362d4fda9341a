//! Schedules: the choices of one run as text that people read and programs replay.
//!
//! Guarantees: what [`Schedule`] prints, it parses back; a file that is cut, edited or of another kind
//!             is refused with the line that is wrong, or by the replay with the step. Only
//!             [`Schedule::read_tolerantly`] takes what is left of it.
//! Relies on:  messages in flight with the same name being the same message, which Log Matching makes
//!             true of Raft; where it is not, the fingerprint of the replay differs.
//! Elsewhere:  how events are named, and what the settings between `scenario` and `end` mean, is the
//!             model's business; how a schedule is replayed is in `strategy/replay.rs`.
//!
//! ```text
//! raft-nondeterminism schedule, format 3
//! scenario sample-with-failure
//! servers 5
//! servers_max 5
//! clients 1
//! requests 2
//! protocol plain
//! saves immediate
//! in_flight_max 64
//! faults drop=5 duplicate=10 crash=0 lose-saves=0 partition=0 disk-error=0 disk-stall=0 pause=0
//! spares 0
//! operations take-snapshot=0 change-membership=0 transfer-leadership=0 read=0 propose=0
//! snapshot_entries 0
//! sessions_max 0
//! clocks free
//! delivery unordered
//! timeouts_max 0
//! term_max 0
//! refines false
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
use std::iter::{Enumerate, Peekable};
use std::str::{FromStr, Lines};

use crate::event::EventClass;
use crate::fingerprint::Fingerprint;
use crate::model::StartError;

/// The first line without its number.
const FORMAT: &str = "raft-nondeterminism schedule, format ";
/// The format this build reads and writes.
const VERSION: &str = "3";

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

/// One setting of a model, as it stands in a schedule.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its name: one word.
    pub key: String,
    /// Its value.
    pub value: String,
    /// The number of its line, from 1; 0 if it was never in a file.
    pub line: usize,
}

impl From<(&'static str, String)> for Setting {
    fn from((key, value): (&'static str, String)) -> Self {
        Self { key: key.to_owned(), value, line: 0 }
    }
}

impl PartialEq for Setting {
    /// Where it stands does not matter.
    fn eq(&self, other: &Self) -> bool {
        (&self.key, &self.value) == (&other.key, &other.value)
    }
}

impl Eq for Setting {}

/// Reads the settings of a schedule one by one.
#[derive(Debug)]
pub struct SettingReader<'a> {
    settings: std::slice::Iter<'a, Setting>,
}

impl<'a> SettingReader<'a> {
    /// Begins with the first.
    #[must_use]
    pub fn new(settings: &'a [Setting]) -> Self {
        Self { settings: settings.iter() }
    }

    /// The value of the next setting, which must have this name; `value` says what it should be.
    ///
    /// # Errors
    ///
    /// If it is missing, has another name, or is no such value.
    pub fn field<T: FromStr>(
        &mut self,
        key: &'static str,
        value: &'static str,
    ) -> Result<T, ScheduleError> {
        self.parse(key, value, |text| text.parse().ok())
    }

    /// The same, with a parser of one's own.
    ///
    /// # Errors
    ///
    /// If it is missing, has another name, or the parser does not know the value.
    pub fn parse<T>(
        &mut self,
        key: &'static str,
        value: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ScheduleError> {
        let setting = self.settings.next().ok_or(ScheduleError::Cut { key })?;
        let parsed = if setting.key == key { parse(&setting.value) } else { None };
        parsed.ok_or_else(|| ScheduleError::Header {
            line: setting.line,
            key,
            value,
            found: format!("{} {}", setting.key, setting.value),
        })
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    ///
    /// If something is.
    pub fn finish(mut self) -> Result<(), ScheduleError> {
        match self.settings.next() {
            None => Ok(()),
            Some(Setting { key, value, line }) => Err(ScheduleError::Header {
                line: *line,
                key: "end",
                value: "open or rest",
                found: format!("{key} {value}"),
            }),
        }
    }
}

/// One run as text: where it came from, what it found, and every choice in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The name of the model.
    pub(crate) model: String,
    /// Everything that the model must be told, in its order.
    pub(crate) settings: Vec<Setting>,
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

/// What can be read of a schedule that was cut or edited.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remains {
    /// Its header, and every line that is an event or a choice.
    pub schedule: Schedule,
    /// How many lines are neither.
    pub unreadable: usize,
    /// How many events are not there, of those that the header speaks of.
    pub missing: usize,
}

impl From<Schedule> for Remains {
    /// All of it.
    fn from(schedule: Schedule) -> Self {
        Self { schedule, unreadable: 0, missing: 0 }
    }
}

impl Schedule {
    /// Reads as much of a schedule as there is, for [`Explorer::replay_tolerant`]: leaves out lines that are
    /// neither an event nor a choice, and does not mind how many events there are.
    ///
    /// [`Explorer::replay_tolerant`]: crate::Explorer::replay_tolerant
    ///
    /// # Errors
    ///
    /// If it is something else, or its header is not whole: nobody knows then what should run.
    pub fn read_tolerantly(text: &str) -> Result<Remains, ScheduleError> {
        let (mut schedule, events, reader) = Self::read_header(text)?;
        let mut unreadable = 0;
        for (number, line) in reader {
            match parse_line(number, line) {
                Ok(line) => schedule.lines.push(line),
                Err(_) => unreadable += 1,
            }
        }
        let missing = events.saturating_sub(schedule.events());
        Ok(Remains { schedule, unreadable, missing })
    }

    /// The name of what was explored.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The settings of what was explored.
    #[must_use]
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// The value of a setting of what was explored.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<&str> {
        let setting = self.settings.iter().find(|setting| setting.key == key)?;
        Some(&setting.value)
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
        writeln!(f, "{FORMAT}{VERSION}")?;
        writeln!(f, "scenario {}", self.model)?;
        for Setting { key, value, .. } in &self.settings {
            writeln!(f, "{key} {value}")?;
        }
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
        let (mut schedule, expected, reader) = Self::read_header(text)?;
        let lines = reader.map(|(number, line)| parse_line(number, line));
        schedule.lines = lines.collect::<Result<_, _>>()?;
        let found = schedule.events();
        if found != expected {
            return Err(ScheduleError::Events { expected, found });
        }
        Ok(schedule)
    }
}

impl Schedule {
    /// Everything before its first choice, how many events there should be, and what comes next.
    fn read_header(text: &str) -> Result<(Self, usize, Reader<'_>), ScheduleError> {
        // Some editors begin a file with a mark that says in which order its bytes are.
        let mut reader = Reader::new(text.strip_prefix('\u{feff}').unwrap_or(text));
        let (_, first) = reader.next().ok_or(ScheduleError::Empty)?;
        match first.strip_prefix(FORMAT) {
            Some(VERSION) => {}
            Some(found) => return Err(ScheduleError::Version { found: found.to_owned() }),
            None => {
                let found = first.chars().take(SHOWN).collect();
                return Err(ScheduleError::NotASchedule { found });
            }
        }
        let model = reader.field("scenario", "a name")?;
        let settings = reader.settings()?;
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
        let schedule = Self {
            model,
            settings,
            settles,
            strategy,
            seed,
            iteration,
            property: Some(property).filter(|property| property != "none"),
            fingerprint,
            lines: Vec::new(),
        };
        Ok((schedule, events, reader))
    }
}

/// How much is shown of a line that is something else: it may be a whole file.
const SHOWN: usize = 60;

/// The lines that say something, with their numbers.
struct Reader<'a> {
    lines: Peekable<Enumerate<Lines<'a>>>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self { lines: text.lines().enumerate().peekable() }
    }

    /// Everything up to the line `end`, which stays.
    fn settings(&mut self) -> Result<Vec<Setting>, ScheduleError> {
        let mut settings = Vec::new();
        loop {
            self.skip();
            let next = self.lines.peek().map(|&(place, line)| (place + 1, line.trim()));
            let (line, text) = next.ok_or(ScheduleError::Cut { key: "end" })?;
            let (key, value) = text.split_once(' ').unwrap_or((text, ""));
            if key == "end" {
                return Ok(settings);
            }
            self.lines.next();
            settings.push(Setting { key: key.to_owned(), value: value.to_owned(), line });
        }
    }

    /// Leaves out lines that are empty, and comments.
    fn skip(&mut self) {
        let says_nothing = |line: &str| line.is_empty() || line.starts_with('#');
        while self.lines.next_if(|(_, line)| says_nothing(line.trim())).is_some() {}
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
        self.skip();
        self.lines.next().map(|(place, line)| (place + 1, line.trim()))
    }
}

fn parse_line(line: usize, text: &str) -> Result<Line, ScheduleError> {
    let wrong = || ScheduleError::Line { line, found: text.to_owned() };
    let (verb, rest) = text.split_once(' ').ok_or_else(wrong)?;
    if verb != "choose" {
        let is_event = EventClass::of_verb(verb).is_some();
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
        /// The beginning of the first line.
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
    Scenario(StartError),
    /// It is of another scenario than the one that should follow it.
    #[error("the schedule is of scenario {found:?}, not of {expected:?}")]
    OtherScenario {
        /// Which should follow it.
        expected: String,
        /// Whose it is.
        found: String,
    },
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
