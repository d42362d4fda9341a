//! What is measured, what each measure is called, and what it should come to.

/// The goals, all of them upper bounds: the only place that knows them.
const GOALS: [(&str, f64); 8] = [
    ("instructions-per-command-1-outstanding", 6000.0),
    ("instructions-per-command-64-outstanding", 1700.0),
    ("allocations-per-command-64-outstanding", 2.1),
    ("live-bytes-per-entry-8-bytes", 60.0),
    ("catch-up-nanoseconds-per-entry", 60.0),
    ("heartbeat-round-nanoseconds", 300.0),
    ("codec-encode-nanoseconds", 600.0),
    ("codec-decode-nanoseconds", 1500.0),
];

/// Ours, as `bench-core` calls it.
pub(super) const OURS: &str = "raft-core";
/// A lower bound that needs no other library.
pub(super) const FLOOR: &str = "floor";
/// Everybody else, in the order of the table.
pub(super) const PEERS: [&str; 6] =
    [FLOOR, "noraft", "omnipaxos", "raft-rs", "raft-rs-many", "openraft"];

/// Who takes part in what.
const CLUSTERS_BY_BATCH: &[&str] = &[FLOOR, "noraft", "omnipaxos", "raft-rs", "raft-rs-many"];
const CLUSTERS: &[&str] = &[FLOOR, "noraft", "omnipaxos", "raft-rs"];
const CLUSTERS_OF_ONE: &[&str] = &[FLOOR, "noraft", "raft-rs"];
const CODECS: &[&str] = &[FLOOR, "raft-rs"];
const DRIVERS: &[&str] = &["openraft"];

/// One line of the table.
#[derive(Clone, Debug)]
pub(super) struct Measure {
    /// Never changes: programs look for it.
    pub(super) name: String,
    /// The value should not exceed this.
    pub(super) goal: Option<f64>,
    pub(super) run: Run,
    /// Which of the figures of the run it is.
    pub(super) figure: &'static str,
}

/// A run of the program, or several that belong together. One run may have figures for many measures.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Run {
    pub(super) tool: Tool,
    pub(super) arguments: Vec<String>,
    /// Who takes part, besides us.
    pub(super) peers: &'static [&'static str],
}

/// With what it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tool {
    /// The program that times, several times.
    Clock,
    /// The program that counts allocations, once: it always counts the same.
    Allocator,
    /// Callgrind, for two lengths; their difference holds no start.
    Callgrind { counts: [u64; 2] },
}

/// The figure of a run under callgrind.
pub(super) const INSTRUCTIONS: &str = "instructions";

/// Every measure, in the order of the table.
pub(super) fn all() -> Vec<Measure> {
    let mut table = Table::default();
    for outstanding in [1, 64, 1024] {
        table.instructions_and_allocations(3, outstanding, "");
    }
    table.instructions_and_allocations(5, 64, "-5-servers");
    for bytes in [8, 256] {
        let arguments = format!("live-bytes --bytes {bytes}");
        let name = format!("live-bytes-per-entry-{bytes}-bytes");
        table.add(&name, Tool::Allocator, &arguments, CLUSTERS, "bytes");
    }
    // What one server needs when none is at hand to share with.
    let alone = "live-bytes --bytes 8 --servers 1";
    let name = "live-bytes-per-entry-8-bytes-1-server";
    table.add(name, Tool::Allocator, alone, CLUSTERS_OF_ONE, "bytes");
    let mut clusters = |name, arguments, figure| {
        table.add(name, Tool::Clock, arguments, CLUSTERS, figure);
    };
    clusters("catch-up-nanoseconds-per-entry", "catch-up", "nanoseconds");
    clusters("heartbeat-round-nanoseconds", "heartbeat", "nanoseconds");
    clusters("heartbeat-round-nanoseconds-5-servers", "heartbeat --servers 5", "nanoseconds");
    clusters("cold-election-microseconds", "election", "microseconds");
    for half in ["encode", "decode"] {
        table.codec(half);
    }
    for servers in [3, 5] {
        for bytes in [8, 256, 4096] {
            for outstanding in [1, 64, 1024] {
                table.nanoseconds(servers, bytes, outstanding);
            }
        }
    }
    for (clients, count) in [(1, 50_000), (64, 200_000), (256, 200_000)] {
        table.driver(clients, count);
    }
    table.measures
}

#[derive(Debug, Default)]
struct Table {
    measures: Vec<Measure>,
}

impl Table {
    fn add(
        &mut self,
        name: &str,
        tool: Tool,
        arguments: &str,
        peers: &'static [&'static str],
        figure: &'static str,
    ) {
        let goal = GOALS.iter().find(|(of, _)| *of == name).map(|&(_, goal)| goal);
        let arguments = arguments.split(' ').map(str::to_owned).collect();
        let run = Run { tool, arguments, peers };
        self.measures.push(Measure { name: name.to_owned(), goal, run, figure });
    }

    fn instructions_and_allocations(&mut self, servers: u64, outstanding: u64, suffix: &str) {
        let rest = format!("per-command-{outstanding}-outstanding{suffix}");
        let what = format!("--servers {servers} --bytes 256 --outstanding {outstanding}");
        let tool = Tool::Callgrind { counts: [4096, 12_288] };
        let name = format!("instructions-{rest}");
        let arguments = format!("run-commands {what}");
        self.add(&name, tool, &arguments, CLUSTERS_BY_BATCH, INSTRUCTIONS);
        let name = format!("allocations-{rest}");
        let arguments = format!("commands {what} --count 100000");
        self.add(&name, Tool::Allocator, &arguments, CLUSTERS_BY_BATCH, "allocations");
    }

    fn nanoseconds(&mut self, servers: u64, bytes: u64, outstanding: u64) {
        let count = if bytes < 4096 { 100_000 } else { 40_000 };
        let arguments = format!(
            "commands --servers {servers} --bytes {bytes} --outstanding {outstanding} --count {count}"
        );
        let name = format!(
            "nanoseconds-per-command-{servers}-servers-{bytes}-bytes-{outstanding}-outstanding"
        );
        self.add(&name, Tool::Clock, &arguments, CLUSTERS_BY_BATCH, "nanoseconds");
    }

    fn codec(&mut self, half: &str) {
        let name = |what| format!("codec-{half}-{what}");
        let arguments = format!("codec {half}");
        self.add(&name("nanoseconds"), Tool::Clock, &arguments, CODECS, "nanoseconds");
        let tool = Tool::Callgrind { counts: [100, 300] };
        let run = format!("run-codec {half}");
        self.add(&name("instructions"), tool, &run, CODECS, INSTRUCTIONS);
        self.add(&name("allocations"), Tool::Allocator, &arguments, CODECS, "allocations");
    }

    fn driver(&mut self, clients: u64, count: u64) {
        let arguments = format!("tokio --clients {clients} --count {count}");
        let clients =
            if clients == 1 { "1-client".to_owned() } else { format!("{clients}-clients") };
        for (what, figure) in [
            ("commits-per-second", "commits_per_second"),
            ("p50-microseconds", "p50_microseconds"),
            ("p99-microseconds", "p99_microseconds"),
            ("cpu-microseconds-per-commit", "cpu_microseconds_per_commit"),
        ] {
            let name = format!("driver-{what}-{clients}");
            self.add(&name, Tool::Clock, &arguments, DRIVERS, figure);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_belongs_to_a_measure_and_no_name_is_given_twice() {
        let measures = all();
        for (name, _) in GOALS {
            assert!(measures.iter().any(|measure| measure.name == name), "{name} is not measured");
        }
        let mut names: Vec<_> = measures.iter().map(|measure| &measure.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), measures.len());
    }
}
