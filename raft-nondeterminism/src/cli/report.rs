//! `raft-explore report`: a run for people and for other programs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use raft_nondeterminism::report::{
    dgml_trace, html, mermaid_sequence, readable_log, shiviz, write_trace,
};
use raft_nondeterminism::trace::Trace;

use super::{Exit, output, replay, say};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  raft-explore report raft-explore.out/NAME.schedule.txt
      A page that plays the run, graphs and logs, in raft-explore.out.
  raft-explore report NAME.schedule.txt --format text
  raft-explore report NAME.trace.json --format mermaid > run.mmd

One format alone goes to standard output, unless --out names a folder.

Exit codes: 0 told, 1 a run cannot be read or followed, or what is made of it cannot be written.")]
pub(crate) struct ReportArgs {
    /// Schedules, and traces as JSON.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What is made of each.
    #[arg(short, long, value_enum, default_value_t = Format::All)]
    format: Format,
    /// Where files go. [default: raft-explore.out]
    #[arg(short, long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A page that plays the run.
    Html,
    /// A sequence diagram, as GitHub draws it.
    Mermaid,
    /// A graph for Visual Studio.
    Dgml,
    /// A log for ShiViz.
    Shiviz,
    /// The run as data.
    Json,
    /// What happens, for people.
    Text,
    /// All of these, as files.
    All,
}

impl Format {
    fn of(self, trace: &Trace) -> String {
        match self {
            Self::Html => html(trace),
            Self::Mermaid => mermaid_sequence(trace),
            Self::Dgml => dgml_trace(trace),
            Self::Shiviz => shiviz(trace),
            Self::Json | Self::All => trace.to_json(),
            Self::Text => readable_log(trace),
        }
    }

    fn ending(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Mermaid => "mmd",
            Self::Dgml => "trace.dgml",
            Self::Shiviz => "shiviz.log",
            Self::Json | Self::All => "trace.json",
            Self::Text => "log",
        }
    }
}

pub(crate) fn run(args: &ReportArgs) -> anyhow::Result<Exit> {
    for file in &args.files {
        let trace = read(file)?;
        let text = args.format.of(&trace);
        if args.out.is_none() && args.format != Format::All {
            say(&text)?;
            continue;
        }
        let folder = args.out.as_deref().unwrap_or(Path::new(output::FOLDER));
        output::check(folder)?;
        let ending = args.format.ending();
        let name = output::free_name(folder, &base_name(file), ending, &text);
        let written = match args.format {
            Format::All => write_trace(&trace, folder, &name)?,
            _ => {
                let path = folder.join(format!("{name}.{ending}"));
                let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, text));
                written.with_context(|| format!("cannot write {}", path.display()))?;
                vec![path]
            }
        };
        let lines: Vec<_> = written.iter().map(|path| format!("{}\n", path.display())).collect();
        say(&lines.concat())?;
    }
    Ok(Exit::Holds)
}

/// The run of a schedule, or of a trace.
fn read(file: &Path) -> anyhow::Result<Trace> {
    let name = file.display();
    if file.extension().is_some_and(|extension| extension == "json") {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
        return Trace::from_json(&text).with_context(|| name.to_string());
    }
    let schedule = replay::read(file)?;
    let recording = replay::strictly(&schedule).with_context(|| name.to_string())?;
    let replay = format!("replay with: {}", output::replay_line(file));
    let trace = Trace { replay, ..recording.trace_data() };
    // What is left of a run after shrinking is what matters.
    let is_shrunk = schedule.strategy().ends_with("+shrunk");
    Ok(if is_shrunk { trace.all_matter() } else { trace })
}

/// The name of a file without what says that it is a schedule or a trace.
fn base_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let ends = [".schedule.txt", ".trace.json", ".txt", ".json"];
    let base = ends.into_iter().find_map(|end| name.strip_suffix(end));
    base.unwrap_or(&name).to_owned()
}
