//! What was measured, as lines of JSON, as a table for the terminal and as a report in Markdown.

use std::fmt::Write;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::measures::{OURS, Suite};
use super::runner::Measured;

/// One measure and what it came to.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) goal: Option<f64>,
    /// Ours; `None` if it could not be measured.
    pub(super) value: Option<f64>,
    /// The same for those that took part.
    pub(super) peers: Vec<(&'static str, Option<f64>)>,
}

impl Row {
    /// True if there is no goal. What was not measured meets none.
    fn is_goal_met(&self) -> bool {
        self.goal.is_none_or(|goal| self.value.is_some_and(|value| value <= goal))
    }

    fn verdict(&self) -> &'static str {
        match self.goal {
            None => "",
            Some(_) if self.is_goal_met() => "met",
            Some(_) => "missed",
        }
    }

    fn peer(&self, engine: &str) -> Option<f64> {
        self.peers.iter().find(|(name, _)| *name == engine)?.1
    }

    fn json(&self) -> Value {
        let peers: Map<_, _> =
            self.peers.iter().map(|&(name, value)| (name.to_owned(), rounded(value))).collect();
        json!({
            "measure": self.name,
            "value": rounded(self.value),
            "goal": self.goal,
            "peers": peers,
        })
    }
}

/// Three digits after the point: more is noise.
fn rounded(value: Option<f64>) -> Value {
    value.map_or(Value::Null, |value| json!((value * 1000.0).round() / 1000.0))
}

/// Where the results go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    pub(super) is_json: bool,
}

impl Output {
    /// Tells that there is more to come.
    pub(super) fn progress(self, number: usize, total: usize, what: &str) {
        eprintln!("[{number:>3}/{total}] {what}");
    }

    /// Tells what whoever reads the figures should know.
    pub(super) fn note(self, text: &str) {
        eprintln!("note: {text}");
        if self.is_json {
            println!("{}", json!({ "event": "note", "text": text }));
        }
    }

    pub(super) fn row(self, row: &Row) {
        if self.is_json {
            let mut object = row.json();
            object["event"] = json!("measured");
            println!("{object}");
        }
    }

    /// The table, or the summary.
    pub(super) fn end(self, suite: &Suite, measured: &Measured) {
        let Measured { rows, throttled } = measured;
        let goals_met = rows.iter().all(Row::is_goal_met);
        if self.is_json {
            let rows: Vec<_> = rows.iter().map(Row::json).collect();
            let summary = json!({
                "event": "summary",
                "bench": suite.name,
                "goals_met": goals_met,
                "throttled": throttled,
                "rows": rows,
            });
            println!("{summary}");
            return;
        }
        let engines = engines(suite, rows);
        print!("{:<62} {OURS:>10} {:>8} {:<6}", "measure", "goal", "");
        engines.iter().for_each(|engine| print!(" {engine:>12}"));
        println!();
        for row in rows {
            let (value, goal) = (number(row.value), row.goal.map_or(String::new(), plain));
            print!("{:<62} {value:>10} {goal:>8} {:<6}", row.name, row.verdict());
            for engine in &engines {
                print!(" {:>12}", row.peer(engine).map_or(String::new(), plain));
            }
            println!();
        }
        if *throttled > 0 {
            println!("{throttled} bursts were discarded, because the disk was throttled");
        }
        println!("{}", if goals_met { "all goals are met" } else { "not all goals are met" });
    }
}

/// Who took part in anything.
fn engines(suite: &Suite, rows: &[Row]) -> Vec<&'static str> {
    let took_part = |engine: &&str| rows.iter().any(|row| row.peer(engine).is_some());
    suite.peers.iter().copied().filter(took_part).collect()
}

fn number(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), plain)
}

/// Two digits after the point where they matter.
fn plain(value: f64) -> String {
    if value < 100.0 && value.fract() != 0.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.0}")
    }
}

/// The report, with everything needed to understand the figures.
pub(super) fn markdown(suite: &Suite, measured: &Measured, has_peers: bool) -> Result<String> {
    let Suite { name, package, title, .. } = suite;
    let Measured { rows, throttled } = measured;
    let mut text = String::new();
    writeln!(text, "# {title}\n")?;
    writeln!(text, "This file is written by one command:\n")?;
    let command = format!("cargo xtask bench {name} --peers --report xtask/{package}/REPORT.md");
    writeln!(text, "```text\n{command}\n```\n")?;
    if !has_peers {
        writeln!(text, "The peers were not measured this time.\n")?;
    }
    writeln!(text, "## Goals\n")?;
    writeln!(text, "| measure | {OURS} | goal | |\n| --- | --: | --: | --- |")?;
    for row in rows {
        if let Some(goal) = row.goal {
            let (value, goal) = (number(row.value), plain(goal));
            writeln!(text, "| {} | {value} | ≤ {goal} | {} |", row.name, row.verdict())?;
        }
    }
    settings(&mut text, suite)?;
    if *throttled > 0 {
        writeln!(text, "- {throttled} bursts met a throttled disk and were discarded.")?;
    }
    versions(&mut text, suite)?;
    table(&mut text, suite, rows)?;
    Ok(text)
}

fn settings(text: &mut String, suite: &Suite) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    writeln!(text, "\n## Machine and method\n")?;
    writeln!(text, "- {}, {cores} cores, {}.", processor(), std::env::consts::OS)?;
    writeln!(text, "- {}, release build, thin LTO, one codegen unit.", compiler()?)?;
    let settings: Vec<_> =
        suite.environment.iter().map(|(name, value)| format!("`{name}={value}`")).collect();
    let with = if settings.is_empty() {
        "as it is".to_owned()
    } else {
        format!("with {}", settings.join(", "))
    };
    writeln!(text, "- The allocator of the system, {with}.")?;
    if let Some(load) = load() {
        writeln!(text, "- The load average was {load} over the last 15 minutes.")?;
    }
    for line in suite.method {
        writeln!(text, "- {line}")?;
    }
    Ok(())
}

/// The processor, as it calls itself.
fn processor() -> String {
    let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = told.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim());
    name.unwrap_or(std::env::consts::ARCH).to_owned()
}

/// How many programs wanted to run in the last 15 minutes, which also says how much the figures vary.
fn load() -> Option<String> {
    let told = std::fs::read_to_string("/proc/loadavg").ok()?;
    told.split(' ').nth(2).map(str::to_owned)
}

fn compiler() -> Result<String> {
    let told = std::process::Command::new("rustc").arg("--version").output();
    let told = told.context("cannot run rustc")?.stdout;
    Ok(String::from_utf8_lossy(&told).trim().to_owned())
}

/// The peers' versions, from the lock file that the programs were built with.
fn versions(text: &mut String, suite: &Suite) -> Result<()> {
    let lock = std::fs::read_to_string(super::folder_of(suite.package).join("Cargo.lock"))?;
    writeln!(text, "\n## Versions\n\n| crate | version |\n| --- | --- |")?;
    for name in suite.crates {
        let version = locked(&lock, name).with_context(|| format!("{name} is not locked"))?;
        writeln!(text, "| `{name}` | {version} |")?;
    }
    Ok(())
}

fn locked<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = lock.split_once(&format!("\nname = \"{name}\"\nversion = \""))?;
    Some(after.split_once('"')?.0)
}

/// Everything that was measured; how a peer compares stands behind its figure.
fn table(text: &mut String, suite: &Suite, rows: &[Row]) -> Result<()> {
    let engines = engines(suite, rows);
    writeln!(text, "\n## Everything\n")?;
    writeln!(text, "A peer's figure is followed by how many times ours it is.\n")?;
    writeln!(text, "| measure | {OURS} | {} |", engines.join(" | "))?;
    writeln!(text, "| --- | --: |{}", " --: |".repeat(engines.len()))?;
    for row in rows {
        write!(text, "| {} | {} |", row.name, number(row.value))?;
        for engine in &engines {
            match (row.peer(engine), row.value) {
                (Some(peer), Some(ours)) if ours > 0.0 => {
                    write!(text, " {} ({:.1}×) |", plain(peer), peer / ours)?;
                }
                (Some(peer), _) => write!(text, " {} |", plain(peer))?,
                (None, _) => write!(text, " |")?,
            }
        }
        writeln!(text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: Option<f64>, goal: Option<f64>) -> Row {
        Row { name: "a-measure".to_owned(), goal, value, peers: vec![("floor", Some(1.5))] }
    }

    #[test]
    fn a_goal_is_met_up_to_the_goal_and_never_without_a_figure() {
        assert!(row(Some(2.0), Some(2.0)).is_goal_met());
        assert!(!row(Some(2.1), Some(2.0)).is_goal_met());
        assert!(!row(None, Some(2.0)).is_goal_met());
        assert!(row(None, None).is_goal_met());
    }

    #[test]
    fn a_row_without_a_figure_says_null() {
        let object = row(None, Some(2.0)).json();
        let expected = json!({
            "measure": "a-measure", "value": null, "goal": 2.0, "peers": { "floor": 1.5 },
        });
        assert_eq!(object, expected);
    }

    #[test]
    fn a_locked_version_is_found() {
        let lock = "[[package]]\nname = \"raft-proto\"\nversion = \"0.7.0\"\n\n\
                    [[package]]\nname = \"raft\"\nversion = \"0.7.1\"\n";
        assert_eq!(locked(lock, "raft"), Some("0.7.1"));
        assert_eq!(locked(lock, "noraft"), None);
    }
}
