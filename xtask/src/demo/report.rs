//! What the demo shows while it runs, and at the end.

use std::time::Instant;

use anyhow::{Result, bail};
use raft_azure::event::{Event, ServerStatus};
use raft_mocking::broker::{Meter, OperationKind};
use serde_json::{Value, json};

/// The answer to a request.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) sequence: u64,
    pub(super) by: u64,
    pub(super) index: u64,
    pub(super) term: u64,
    pub(super) attempts: u32,
    pub(super) latency_us: u64,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) answer: Answer,
    /// Billable bus operations between the request and its answer, heartbeats included.
    pub(super) operations: u64,
    /// False for the request that had to wait for a new leader.
    pub(super) had_leader: bool,
}

/// Collects what happens and shows it.
#[derive(Debug)]
pub(super) struct Report {
    is_json: bool,
    is_quiet: bool,
    servers: u64,
    requests: u64,
    started: Instant,
    leaders: Vec<(u64, u64)>,
    killed: Vec<u64>,
    rows: Vec<Row>,
    statuses: Vec<ServerStatus>,
    billable_operations: u64,
    bill: String,
}

impl Report {
    pub(super) fn new(is_json: bool, is_quiet: bool, servers: u64, requests: u64) -> Self {
        Self {
            is_json,
            is_quiet,
            servers,
            requests,
            started: Instant::now(),
            leaders: Vec::new(),
            killed: Vec::new(),
            rows: Vec::new(),
            statuses: Vec::new(),
            billable_operations: 0,
            bill: String::new(),
        }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn line(&self, text: &str, object: impl FnOnce() -> Value) {
        if self.is_json {
            println!("{}", object());
        } else if !self.is_quiet {
            println!("{:>8.3} s  {text}", self.started.elapsed().as_secs_f64());
        }
    }

    /// Says something for people.
    pub(super) fn say(&mut self, text: &str) {
        self.line(text, || json!({ "event": "note", "text": text }));
    }

    /// Shows what a process told.
    pub(super) fn event(&mut self, event: &Event) {
        if matches!(event, Event::Status(_)) {
            // Asked for by ourselves; the end shows what matters of it.
            return;
        }
        self.line(&event.to_string(), || json!(event));
    }

    pub(super) fn elected(&mut self, server: u64, term: u64) {
        self.leaders.push((term, server));
    }

    pub(super) fn kill(&mut self, server: u64, term: u64) {
        self.killed.push(server);
        self.line(
            &format!("✗ SIGKILL to s{server}, the leader of term {term}"),
            || json!({ "event": "kill", "server": server, "term": term }),
        );
    }

    pub(super) fn restart(&mut self, server: u64) {
        self.line(
            &format!("↻ s{server} is started again with the log it left"),
            || json!({ "event": "restart", "server": server }),
        );
    }

    pub(super) fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub(super) fn statuses(&mut self, statuses: Vec<ServerStatus>) {
        self.statuses = statuses;
    }

    pub(super) fn bill(&mut self, meter: &Meter) {
        self.billable_operations = meter.operations();
        self.bill = format!(
            "{} sends, {} receives, {} management calls",
            meter.operations_of(OperationKind::Send),
            meter.operations_of(OperationKind::Receive),
            meter.operations_of(OperationKind::Management),
        );
    }

    /// Shows the end. An error unless every request was committed exactly once and all logs are the
    /// same.
    pub(super) fn finish(self) -> Result<()> {
        let committed = self.committed_once();
        let logs_identical = self.logs_are_identical();
        let leader_changes = self.leaders.len().saturating_sub(1);
        let per_command = self.operations_per_command();
        if self.is_json {
            let summary = json!({
                "event": "summary",
                "servers": self.servers,
                "requests": self.requests,
                "committed": committed,
                "leader_changes": leader_changes,
                "logs_identical": logs_identical,
                "bus": "amqp",
                "billable_operations": self.billable_operations,
                "billable_operations_per_command": per_command,
                "elapsed_ms": self.elapsed_ms(),
            });
            println!("{summary}");
        } else {
            self.print_table();
            let logs = if logs_identical { "identical" } else { "DIFFERENT" };
            println!();
            println!(
                "{committed} of {} committed exactly once; the logs of {} are {logs}",
                count(self.requests as usize, "request"),
                count(self.servers as usize, "server"),
            );
            println!(
                "leader killed {}, {} of leader",
                count(self.killed.len(), "time"),
                count(leader_changes, "change")
            );
            let total = self.billable_operations;
            println!("bus: {total} billable operations ({})", self.bill);
            if let Some(per_command) = per_command {
                println!("     {per_command} for a command under a steady leader (median)");
            }
            println!("took {:.1} s", self.started.elapsed().as_secs_f64());
        }
        if committed != self.requests {
            bail!("{committed} of {} requests were committed exactly once", self.requests);
        }
        if !logs_identical {
            bail!("the logs of the servers differ");
        }
        Ok(())
    }

    fn print_table(&self) {
        println!();
        println!("request  answered by  index  term  asked  latency     bus operations");
        for Row { answer, operations, had_leader } in &self.rows {
            let Answer { sequence, by, index, term, attempts, latency_us } = answer;
            let latency_ms = *latency_us as f64 / 1e3;
            let note = if *had_leader { "" } else { "  (waited for a new leader)" };
            println!(
                "{sequence:>7}  {:<11}  {index:>5}  {term:>4}  {attempts:>5}  {latency_ms:>7.1} ms  {operations:>14}{note}",
                format!("s{by}"),
            );
        }
    }

    /// How many requests stand in every server's state exactly once, and were answered.
    fn committed_once(&self) -> u64 {
        let is_once = |number: &u64| {
            let command = format!("request {number}");
            let count = |status: &ServerStatus| {
                status.state.iter().filter(|&applied| *applied == command).count()
            };
            !self.statuses.is_empty()
                && self.statuses.iter().all(|status| count(status) == 1)
                && self.rows.iter().any(|row| row.answer.sequence == *number)
        };
        (1..=self.requests).filter(is_once).count() as u64
    }

    fn logs_are_identical(&self) -> bool {
        let same =
            |pair: &[ServerStatus]| pair[0].log == pair[1].log && pair[0].state == pair[1].state;
        self.statuses.len() as u64 == self.servers && self.statuses.windows(2).all(same)
    }

    /// The median over the requests that a steady leader answered at once; heartbeats are in it, and
    /// so are answers of followers to what came before.
    fn operations_per_command(&self) -> Option<u64> {
        let steady = self.rows.iter().filter(|row| row.had_leader && row.answer.attempts == 1);
        let mut operations: Vec<_> = steady.map(|row| row.operations).collect();
        operations.sort_unstable();
        // Of an even number, the lower of the two in the middle.
        operations.get(operations.len().saturating_sub(1) / 2).copied()
    }
}

/// `1 time`, `2 times`.
fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(server: u64, state: &[&str]) -> ServerStatus {
        ServerStatus {
            server,
            role: "follower".to_owned(),
            term: 1,
            leader: None,
            commit_index: 0,
            last_applied: 0,
            log: Vec::new(),
            state: state.iter().map(ToString::to_string).collect(),
            refusals: std::collections::BTreeMap::new(),
            undecodable: 0,
            own: 0,
            too_large: 0,
        }
    }

    fn row(sequence: u64, operations: u64, attempts: u32, had_leader: bool) -> Row {
        let answer = Answer { sequence, by: 1, index: 2, term: 1, attempts, latency_us: 1 };
        Row { answer, operations, had_leader }
    }

    fn report(states: &[&[&str]]) -> Report {
        let mut report = Report::new(true, false, states.len() as u64, 2);
        report.row(row(1, 20, 1, true));
        report.row(row(2, 24, 1, true));
        report.statuses((1..).zip(states).map(|(id, state)| status(id, state)).collect());
        report
    }

    #[test]
    fn a_request_counts_if_every_server_applied_it_exactly_once() {
        let both: &[&str] = &["request 1", "request 2"];
        let table: [(&[&[&str]], u64, bool); 5] = [
            (&[both, both], 2, true),
            (&[both, &["request 1"]], 1, false),
            (&[both, &["request 1", "request 2", "request 2"]], 1, false),
            (&[&["request 2", "request 1"], both], 2, false),
            (&[], 0, true),
        ];
        for (states, committed, identical) in table {
            let report = report(states);
            assert_eq!(report.committed_once(), committed, "{states:?}");
            assert_eq!(report.logs_are_identical(), identical, "{states:?}");
        }
    }

    #[test]
    fn a_request_that_nobody_answered_does_not_count() {
        let mut report = report(&[&["request 1", "request 2"]]);
        report.rows.pop();
        assert_eq!(report.committed_once(), 1);
    }

    #[test]
    fn a_missing_server_is_no_agreement() {
        let mut report = report(&[&["request 1"], &["request 1"]]);
        report.statuses.pop();
        assert!(!report.logs_are_identical());
    }

    #[test]
    fn the_cost_of_a_command_is_the_median_under_a_steady_leader() {
        let mut report = report(&[]);
        assert_eq!(report.operations_per_command(), Some(20));
        report.row(row(3, 900, 1, false));
        report.row(row(4, 800, 5, true));
        report.row(row(5, 22, 1, true));
        assert_eq!(report.operations_per_command(), Some(22));
        report.rows.clear();
        assert_eq!(report.operations_per_command(), None);
    }

    #[test]
    fn numbers_agree_with_their_nouns() {
        assert_eq!(
            (count(1, "time"), count(2, "time")),
            ("1 time".to_owned(), "2 times".to_owned())
        );
    }
}
