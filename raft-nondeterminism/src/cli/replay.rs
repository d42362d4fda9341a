//! `raft-explore replay`: one run again, from its schedule.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use raft_nondeterminism::trace::Trace;
use raft_nondeterminism::{Explorer, Recording, Remains, ReplayError, Schedule, ScheduleError};
use serde::Serialize;

use super::{Exit, count, end, output, say, scenario};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  raft-explore replay raft-explore.out/NAME.schedule.txt
  raft-explore replay NAME.schedule.txt --defect none
      The same run without the planted bug, as far as it is the same.
  raft-explore replay old.schedule.txt --tolerant
      After a change of the code or of the file: leaves out what cannot happen any more, or be read.
  raft-explore replay NAME.full.schedule.txt --minimize -o NAME.schedule.txt

With --json the last line of standard output is
  {\"event\":\"summary\",\"scenario\":…,\"verdict\":\"reproduced\" or \"clean\" or \"not-reproducible\",
  \"property\":…,\"message\":…,\"events\":…,\"skipped\":…,\"error\":…}
  and more fields after these.

Exit codes: 0 it runs clean, 2 the bug shows again, 1 the schedule cannot be read or followed,
or what is asked for cannot be written.")]
pub(crate) struct ReplayArgs {
    /// The schedule, or a trace as JSON with a schedule in it.
    file: PathBuf,
    /// Leave out what cannot happen, or cannot be read, and see what becomes of it.
    #[arg(long)]
    tolerant: bool,
    /// Leave out what the bug does not need.
    #[arg(long, conflicts_with = "tolerant")]
    minimize: bool,
    /// Write the schedule that was really followed into this file.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Run with another planted bug, or with `none`.
    #[arg(long, value_name = "NAME")]
    defect: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// How a replay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    /// The run breaks a property.
    Reproduced,
    /// It does not.
    Clean,
    /// It cannot be followed, or leads elsewhere.
    NotReproducible,
}

#[derive(Debug, Serialize)]
struct Summary<'a> {
    event: &'static str,
    scenario: &'a str,
    verdict: Verdict,
    property: Option<&'a str>,
    message: Option<&'a str>,
    events: usize,
    /// How many events of the schedule were left out.
    skipped: usize,
    error: Option<String>,
    trace: Option<String>,
    /// How many of the events that were left out are not in the file.
    missing: usize,
    /// How many lines of the file are neither an event nor a choice.
    unreadable: usize,
}

pub(crate) fn run(args: &ReplayArgs) -> anyhow::Result<Exit> {
    let name = args.file.display();
    let mut remains = match args.tolerant {
        true => read_tolerantly(&args.file)?,
        false => read(&args.file)?.into(),
    };
    let overridden = args.defect.as_deref().map(scenario::defect).transpose()?;
    if let Some(defect) = overridden {
        remains.schedule = remains.schedule.with_defect(defect);
    }
    let schedule = &remains.schedule;
    let replayed = if args.minimize {
        minimize(&mut explorer(schedule, schedule.property())?, schedule)
    } else if args.tolerant {
        explorer(schedule, schedule.property())?.replay_tolerant(schedule)
    } else if overridden.is_some() {
        explorer(schedule, None)?.replay_open(schedule)
    } else {
        strictly(schedule)
    };
    let recording = match replayed {
        Ok(recording) => recording,
        Err(error) => {
            if args.json {
                say(&Summary::of_error(schedule, &error).json()?)?;
            }
            let hint = match error {
                ReplayError::Schedule(_) | ReplayError::Start(_) => "",
                _ => "; --tolerant follows it as far as it can",
            };
            bail!("{name}: {error}{hint}");
        }
    };
    let written = match &args.output {
        None => Ok(()),
        Some(path) => fs::write(path, recording.schedule().to_string())
            .with_context(|| format!("cannot write {}", path.display())),
    };
    let output = args.output.as_deref().filter(|_| written.is_ok());
    let summary = Summary::new(&remains, &recording, output);
    let said = if args.json { summary.json()? } else { text(args, &summary, &recording) };
    let verdict = match summary.verdict {
        Verdict::Reproduced => Exit::Broken,
        Verdict::Clean => Exit::Holds,
        Verdict::NotReproducible => Exit::Unusable,
    };
    end(verdict, [written, say(&said)])
}

/// A schedule of a scenario that is known here, from its file or from that of a trace.
pub(crate) fn read(file: &Path) -> anyhow::Result<Schedule> {
    let bytes = bytes_of(file)?;
    let text = String::from_utf8(bytes).map_err(|_| anyhow!("not a schedule: no text"));
    let schedule = text.and_then(|text| parse(&text));
    schedule.with_context(|| file.display().to_string())
}

/// As much of it as there is.
fn read_tolerantly(file: &Path) -> anyhow::Result<Remains> {
    // Whatever was cut was cut between bytes, and a letter may have several.
    let bytes = bytes_of(file)?;
    let text = String::from_utf8_lossy(&bytes);
    let remains = schedule_text(&text).and_then(|text| {
        let remains = Schedule::read_tolerantly(&text)?;
        check_known(&remains.schedule)?;
        Ok(remains)
    });
    remains.with_context(|| file.display().to_string())
}

fn bytes_of(file: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

fn parse(text: &str) -> anyhow::Result<Schedule> {
    let schedule = schedule_text(text)?.parse::<Schedule>().map_err(|error| match error {
        ScheduleError::Line { .. } | ScheduleError::Events { .. } => {
            anyhow!("{error}; replay --tolerant follows it as far as it can")
        }
        _ => error.into(),
    })?;
    check_known(&schedule)?;
    Ok(schedule)
}

/// Says whether a schedule is of a scenario that is known here, and that makes sense.
fn check_known(schedule: &Schedule) -> anyhow::Result<()> {
    let of_test = "is it of a test? RAFT_EXPLORE_REPLAY=FILE cargo test replays it";
    scenario::scenario(schedule.model()).context(of_test)?;
    schedule.scenario()?;
    Ok(())
}

/// The text of a schedule, or of the one that a trace as JSON has in it.
fn schedule_text(text: &str) -> anyhow::Result<Cow<'_, str>> {
    let is_json = text.trim_start_matches('\u{feff}').trim_start().starts_with('{');
    if !is_json {
        return Ok(text.into());
    }
    let Trace { schedule, .. } =
        Trace::from_json(text).context("neither a schedule nor a trace")?;
    if schedule.is_empty() {
        bail!("this trace has no schedule in it: replay the schedule that was written with it");
    }
    Ok(schedule.into())
}

/// Replays as it was found. Whoever watched for few properties has found what others call by another
/// name, or before: the schedule's own property decides.
pub(crate) fn strictly(schedule: &Schedule) -> Result<Recording, ReplayError> {
    let replayed = Explorer::new(schedule.scenario()?).replay_watched(schedule);
    let (Err(error), Some(property)) = (&replayed, schedule.property()) else { return replayed };
    let may_be_other =
        matches!(error, ReplayError::OtherProperty { .. } | ReplayError::OtherLength { .. });
    let only = Explorer::new(schedule.scenario()?);
    match scenario::watch(only, &[property.to_owned()]) {
        Ok(mut only) if may_be_other => only.replay_watched(schedule).or(replayed),
        _ => replayed,
    }
}

/// Whoever watches for what this schedule may break.
fn explorer(schedule: &Schedule, property: Option<&str>) -> anyhow::Result<Explorer> {
    let explorer = Explorer::new(schedule.scenario()?);
    let is_standard = |name: &str| {
        scenario::PROPERTIES.iter().any(|property| property.name == name && property.is_standard)
    };
    match property {
        Some(name) if !is_standard(name) => scenario::watch(explorer, &[name.to_owned()]),
        _ => Ok(explorer),
    }
}

fn minimize(explorer: &mut Explorer, schedule: &Schedule) -> Result<Recording, ReplayError> {
    match explorer.minimize(schedule)? {
        Some(minimized) => Ok(minimized),
        None => explorer.replay_tolerant(schedule),
    }
}

impl<'a> Summary<'a> {
    fn new(remains: &'a Remains, recording: &'a Recording, output: Option<&Path>) -> Self {
        let Remains { schedule, unreadable, missing, .. } = remains;
        let violation = recording.violation();
        let events = recording.schedule().events();
        Self {
            event: "summary",
            scenario: schedule.model(),
            verdict: if violation.is_some() { Verdict::Reproduced } else { Verdict::Clean },
            property: violation.map(|violation| &*violation.property),
            message: violation.map(|violation| &*violation.message),
            events,
            skipped: schedule.events().saturating_sub(events) + missing,
            error: None,
            trace: output.map(|path| path.display().to_string()),
            missing: *missing,
            unreadable: *unreadable,
        }
    }

    fn of_error(schedule: &'a Schedule, error: &ReplayError) -> Self {
        Self {
            event: "summary",
            scenario: schedule.model(),
            verdict: Verdict::NotReproducible,
            property: None,
            message: None,
            events: schedule.events(),
            skipped: 0,
            error: Some(error.to_string()),
            trace: None,
            missing: 0,
            unreadable: 0,
        }
    }

    fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}

fn text(args: &ReplayArgs, summary: &Summary<'_>, recording: &Recording) -> String {
    let mut text = output::readable(recording);
    let number = |number: usize, what| count(number as u64, what);
    let events = number(summary.events, "event");
    text.push('\n');
    if summary.skipped > 0 {
        text += &format!("... {} of the schedule left out", number(summary.skipped, "event"));
        text += &match summary.missing {
            0 => "\n".to_owned(),
            missing => format!(", {missing} of them because the file was cut or edited\n"),
        };
    }
    if summary.unreadable > 0 {
        let lines = number(summary.unreadable, "line");
        text += &format!("... {lines} of the file left out: neither an event nor a choice\n");
    }
    text += &match recording.violation() {
        Some(violation) => format!("... The bug shows after {events}: {violation}\n"),
        None => format!("... {events}, and no property is broken\n"),
    };
    match &summary.trace {
        Some(path) => text += &format!("... Wrote {path}\n"),
        None if args.minimize => text += &format!("\n{}", recording.schedule()),
        None => {}
    }
    text
}
