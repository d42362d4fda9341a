//! `raft-explore check-history`: is there an order that explains what the clients were told?

use std::fs::File;
use std::io::{self, BufReader, IsTerminal};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use raft_nondeterminism::history::History;
use raft_nondeterminism::linearizability::{Bound, Checker, Verdict};
use raft_nondeterminism::picture;
use serde_json::json;

use super::{Exit, end, say};

#[derive(Debug, Args)]
#[command(after_help = "A history is a file with one JSON object per line, as Jepsen's:
  {\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"key\":\"x\",\"value\":1,\"time\":100}
  {\"process\":0,\"type\":\"ok\",\"f\":\"write\",\"key\":\"x\",\"value\":1,\"time\":200}
`type` is invoke, ok, fail or info; `f` is read, write, cas (with `expected`) or append.
Without `key` there is one register. It holds null at first.

Examples:
  raft-explore check-history history.jsonl
  raft-explore check-history history.jsonl --picture violation.svg
  cat client-*.jsonl | raft-explore check-history - --json | tail -n 1

Exit codes: 0 linearizable, 2 not, 1 wrong usage or undecided or input or output that fails, 3 a bug of
this program.")]
pub(crate) struct CheckHistoryArgs {
    /// The file, or `-` for standard input.
    file: PathBuf,
    /// End with a line of JSON: {"event":"summary","linearizable":…,"operations":…,"elapsed_ms":…}.
    #[arg(long)]
    json: bool,
    /// Draw a violation into this file, as SVG.
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// Give up after so many steps of the search.
    #[arg(long, value_name = "STEPS")]
    steps_max: Option<u64>,
    /// Give up if so many ways to explain one key are in memory at once.
    #[arg(long, value_name = "CONFIGURATIONS")]
    configurations_max: Option<usize>,
}

pub(crate) fn run(args: &CheckHistoryArgs) -> anyhow::Result<Exit> {
    let start = Instant::now();
    let name = args.file.display().to_string();
    let history = if name == "-" {
        History::read(io::stdin().lock(), "stdin")?
    } else {
        let file = File::open(&args.file).with_context(|| format!("cannot open {name}"))?;
        History::read(BufReader::new(file), &name)?
    };
    if io::stderr().is_terminal() {
        eprintln!("checking {} operations", history.operations().len());
    }
    let mut checker = Checker::new();
    if let Some(steps_max) = args.steps_max {
        checker = checker.steps_max(steps_max);
    }
    if let Some(configurations_max) = args.configurations_max {
        checker = checker.configurations_max(configurations_max);
    }
    let check = checker.check(&history);
    let elapsed_ms = start.elapsed().as_millis() as u64;

    // Before anything is said, because whoever reads that may not wait for the end of it.
    let drawn = match (&args.picture, &check.verdict) {
        (Some(path), Verdict::NotLinearizable(violation)) => {
            std::fs::write(path, picture::svg(violation))
                .with_context(|| format!("cannot write {}", path.display()))
        }
        _ => Ok(()),
    };
    let mut said = String::new();
    let count = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    let (key, linearizable, exit) = match &check.verdict {
        Verdict::Linearizable => {
            let (operations, keys) =
                (count(check.operations, "operation"), count(check.keys, "key"));
            let incomplete = check.incomplete;
            said = format!("linearizable: {operations} on {keys}, {incomplete} incomplete\n");
            (None, Some(true), Exit::Holds)
        }
        Verdict::NotLinearizable(violation) => {
            said = picture::text(violation);
            (Some(&violation.key), Some(false), Exit::Broken)
        }
        Verdict::Undecided(undecided) => {
            let flag = match undecided.reason {
                Bound::Steps(_) => "--steps-max",
                Bound::Configurations(_) => "--configurations-max",
            };
            eprintln!("error: {undecided}; {flag} allows more");
            (Some(&undecided.key), None, Exit::Unusable)
        }
    };
    if args.json {
        // An undecided history is not known to be linearizable, and the verdict says why.
        let summary = json!({
            "event": "summary",
            "verdict": match linearizable {
                Some(true) => "linearizable",
                Some(false) => "not-linearizable",
                None => "undecided",
            },
            "linearizable": linearizable,
            "operations": check.operations,
            "incomplete": check.incomplete,
            "keys": check.keys,
            "keys_by_order": check.keys_by_order,
            "steps": check.steps,
            "key": key,
            "history": name,
            "elapsed_ms": elapsed_ms,
        });
        said += &format!("{summary}\n");
    }
    end(exit, [drawn, say(&said)])
}
