//! What people and programs are told: progress while it runs, and the verdict.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::history::{History, Tally};
use super::nemesis::Happened;
use super::plan::Fault;

/// How many breaches are shown; the first ones tell most.
const BREACHES_SHOWN: usize = 20;
/// How much of each.
const BREACH_CHARS: usize = 300;

/// Tells what is done while it is done: to people on standard error, to programs as objects.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub(super) is_json: bool,
    pub(super) started: Instant,
    pub(super) history: Arc<History>,
}

impl Progress {
    pub(super) fn say(&self, what: &str, fault: Fault, server: Option<u64>) {
        let who = server.map(|server| format!("s{server} ")).unwrap_or_default();
        self.note(&format!("{who}{what}"));
        self.history.disturb(&fault.name(), server);
        if self.is_json {
            let elapsed_ms = millis(self.started.elapsed());
            let fault = fault.name();
            let event = json!({
                "event": "fault", "fault": fault, "server": server, "elapsed_ms": elapsed_ms,
            });
            println!("{event}");
        }
    }

    pub(super) fn note(&self, text: &str) {
        eprintln!("{:>8.3} s  {text}", self.started.elapsed().as_secs_f64());
    }
}

/// How a run ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) seed: u64,
    pub(super) servers: u64,
    pub(super) defect: Option<String>,
    pub(super) elapsed: Duration,
    pub(super) history: PathBuf,
    pub(super) events: PathBuf,
    pub(super) tally: Tally,
    pub(super) happened: Happened,
    pub(super) asked_for: Vec<Fault>,
    pub(super) elections: usize,
    pub(super) commits: usize,
    /// Why the history is not linearizable; `None` if it is.
    pub(super) not_linearizable: Option<String>,
    pub(super) check: Duration,
    /// What breaks exactly-once.
    pub(super) not_once: Vec<String>,
    /// What servers disagree in, or stopped for.
    pub(super) not_identical: Vec<String>,
    /// Why the run itself is worth nothing.
    pub(super) failures: Vec<String>,
}

impl Outcome {
    fn linearizable(&self) -> bool {
        self.not_linearizable.is_none()
    }

    fn exactly_once(&self) -> bool {
        self.not_once.is_empty()
    }

    fn logs_identical(&self) -> bool {
        self.not_identical.is_empty()
    }

    /// True if something is broken that must hold.
    pub(super) fn is_broken(&self) -> bool {
        !(self.linearizable() && self.exactly_once() && self.logs_identical())
    }

    /// What was asked for and never happened. A run that found something ended early, and proves enough.
    fn missing(&self) -> Vec<String> {
        if self.is_broken() {
            return Vec::new();
        }
        let count = |fault: &Fault| self.happened.faults.get(fault).copied().unwrap_or_default();
        let missing = self.asked_for.iter().filter(|fault| count(fault) == 0);
        let mut missing: Vec<_> =
            missing.map(|fault| format!("{fault} was asked for and never happened")).collect();
        if self.tally.of("ok") == 0 {
            missing.push("no operation was done".to_owned());
        }
        missing
    }

    /// 0 if all holds and was put to the test, 2 if something is broken, 1 if the run is worth nothing.
    pub(super) fn exit_code(&self) -> u8 {
        if self.is_broken() {
            2
        } else {
            u8::from(!self.failures.is_empty() || !self.missing().is_empty())
        }
    }

    fn summary(&self) -> Value {
        let faults = self.happened.faults.iter();
        let faults: Map<_, _> = faults.map(|(fault, count)| (fault.name(), json!(count))).collect();
        let breaches: Vec<_> = self.breaches().collect();
        let failures = [self.failures.clone(), self.missing()].concat();
        json!({
            "event": "summary",
            "linearizable": self.linearizable(),
            "exactly_once": self.exactly_once(),
            "logs_identical": self.logs_identical(),
            "operations": self.tally.operations(),
            "ok": self.tally.of("ok"),
            "fail": self.tally.of("fail"),
            "info": self.tally.of("info"),
            "appends": self.tally.appends.len(),
            "servers": self.servers,
            "leader_kills": self.happened.leader_kills,
            "kills": self.happened.kills,
            "restarts": self.happened.starts,
            "elections": self.elections,
            "commits": self.commits,
            "faults": faults,
            "breaches": breaches,
            "failures": failures,
            "defect": self.defect,
            "history": self.history,
            "events": self.events,
            "seed": self.seed,
            "check_ms": millis(self.check),
            "elapsed_ms": millis(self.elapsed),
        })
    }

    /// What is broken, each in a line that can be read.
    fn breaches(&self) -> impl Iterator<Item = String> {
        let all = self.not_identical.iter().chain(&self.not_once).chain(&self.not_linearizable);
        all.take(BREACHES_SHOWN).map(|breach| {
            // The picture of a history that is not linearizable is shown whole.
            if breach.contains('\n') || breach.chars().count() <= BREACH_CHARS {
                return breach.clone();
            }
            breach.chars().take(BREACH_CHARS).chain(['…']).collect()
        })
    }

    fn table(&self) -> String {
        let mut table = String::new();
        let mut line = |name: &str, value: String| {
            table.push_str(&format!("{name:<28}{value:>10}\n"));
        };
        for ((f, kind), count) in &self.tally.counts {
            line(&format!("{f}, {kind}"), count.to_string());
        }
        line("operations", self.tally.operations().to_string());
        for (fault, count) in &self.happened.faults {
            line(&fault.name(), count.to_string());
        }
        line("leaders killed", self.happened.leader_kills.to_string());
        line("servers killed", self.happened.kills.to_string());
        line("servers started again", self.happened.starts.to_string());
        line("leaders elected", self.elections.to_string());
        line("entries committed", self.commits.to_string());
        let yes = |is_so: bool| if is_so { "yes" } else { "NO" }.to_owned();
        line("linearizable", yes(self.linearizable()));
        line("exactly once", yes(self.exactly_once()));
        line("logs and states identical", yes(self.logs_identical()));
        for breach in self.breaches() {
            table.push_str(&format!("broken: {breach}\n"));
        }
        for failure in self.failures.iter().chain(&self.missing()) {
            table.push_str(&format!("failed: {failure}\n"));
        }
        table.push_str(&format!(
            "seed {}, {:.1} s, of which {:.1} s were the check; history in {}\n",
            self.seed,
            self.elapsed.as_secs_f64(),
            self.check.as_secs_f64(),
            self.history.display(),
        ));
        table
    }

    /// Shows the end.
    pub(super) fn show(&self, is_json: bool) -> ExitCode {
        if is_json {
            println!("{}", self.summary());
        } else {
            print!("{}", self.table());
        }
        if self.is_broken() {
            eprintln!("what the servers told is in {}", self.events.display());
        }
        ExitCode::from(self.exit_code())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn sound() -> Outcome {
        let mut tally = Tally::default();
        tally.counts.insert(("read".to_owned(), "ok".to_owned()), 3);
        let faults = BTreeMap::from([(Fault::LeaderKill, 1), (Fault::Drop, 4)]);
        let happened = Happened { faults, leader_kills: 1, ..Happened::default() };
        let asked_for = vec![Fault::LeaderKill, Fault::Drop];
        Outcome { seed: 9, tally, happened, asked_for, ..Outcome::default() }
    }

    #[test]
    fn the_summary_has_what_scripts_rely_on() {
        let summary = sound().summary();
        for (field, expected) in [
            ("event", json!("summary")),
            ("linearizable", json!(true)),
            ("exactly_once", json!(true)),
            ("logs_identical", json!(true)),
            ("operations", json!(3)),
            ("leader_kills", json!(1)),
            ("faults", json!({ "leader-kill": 1, "drop": 4 })),
            ("seed", json!(9)),
            ("elapsed_ms", json!(0)),
            ("history", json!("")),
        ] {
            assert_eq!(summary[field], expected, "{field}");
        }
        assert_eq!(sound().exit_code(), 0);
    }

    #[test]
    fn what_is_broken_exits_with_2_and_what_proves_nothing_with_1() {
        let stale = || Some("stale".to_owned());
        let text = || vec!["text".to_owned()];
        let broken = [
            Outcome { not_linearizable: stale(), ..sound() },
            Outcome { not_once: text(), ..sound() },
            Outcome { not_identical: text(), failures: text(), ..sound() },
        ];
        for verdict in broken {
            assert_eq!(verdict.exit_code(), 2);
            assert!(verdict.table().contains("NO") && verdict.table().contains("broken: "));
        }
        let mut nothing_dropped = sound();
        nothing_dropped.happened.faults.insert(Fault::Drop, 0);
        let idle = Outcome { tally: Tally::default(), ..sound() };
        let failed = Outcome { failures: text(), ..sound() };
        for verdict in [nothing_dropped, idle, failed] {
            assert_eq!(verdict.exit_code(), 1);
            assert!(verdict.table().contains("failed: "), "{}", verdict.table());
        }
    }
}
