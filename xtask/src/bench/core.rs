//! `bench core`: the consensus core, its codec and its tokio driver, beside other consensus libraries.

use super::measures::{FLOOR, INSTRUCTIONS, Measure, Suite, Table, Tool};

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

/// Everybody else, in the order of the table.
const PEERS: [&str; 6] = [FLOOR, "noraft", "omnipaxos", "raft-rs", "raft-rs-many", "openraft"];

/// Who takes part in what.
const CLUSTERS_BY_BATCH: &[&str] = &[FLOOR, "noraft", "omnipaxos", "raft-rs", "raft-rs-many"];
const CLUSTERS: &[&str] = &[FLOOR, "noraft", "omnipaxos", "raft-rs"];
const CLUSTERS_OF_ONE: &[&str] = &[FLOOR, "noraft", "raft-rs"];
const CODECS: &[&str] = &[FLOOR, "raft-rs"];
const DRIVERS: &[&str] = &["openraft"];

/// How every figure came about.
const METHOD: [&str; 10] = [
    "A command is proposed at the leader, replicated, committed and applied on every server; number and \
     checksum of what each server applied are asserted.",
    "Figures are for the whole cluster, the client's making of the command included; 3 servers and 256 \
     bytes unless the name says otherwise.",
    "Logs are compacted every 8192 commands, except where their memory or a catch-up is measured.",
    "Times are CPU times of the one thread, the median of runs in processes of their own, in which the \
     engines take turns.",
    "Instructions are those of 12288 commands less those of 4096, divided by the difference, counted by \
     callgrind.",
    "Servers in one process share what an engine lets them share: payloads everywhere, whole lists of \
     entries in raft-core; the row with one server shows a log that nobody shares.",
    "A codec's message has 64 entries of 256 bytes; what was decoded is usable after the call.",
    "The driver has three servers, saves that are instant, messages handed over in memory, and clients \
     that wait for their answers, all on one runtime with two threads; its CPU time is that of the \
     process.",
    "`floor` is no Raft: it trusts everybody and shows the least that must be done.",
    "`raft-rs` proposes each command on its own, `raft-rs-many` all that are outstanding as one proposal.",
];

/// So that the allocator keeps what is freed: how glibc returns large pieces to the kernel, and takes
/// them back page by page, would be most of what is measured at 4 KiB.
const ALLOCATOR_SETTINGS: [(&str, &str); 3] = [
    ("MALLOC_TRIM_THRESHOLD_", "8589934592"),
    ("MALLOC_TOP_PAD_", "67108864"),
    ("MALLOC_MMAP_THRESHOLD_", "8589934592"),
];

pub(super) fn suite() -> Suite {
    Suite {
        name: "core",
        package: "bench-core",
        title: "raft-core beside its peers",
        rounds: 5,
        rounds_quick: 3,
        measures: all(),
        peers: &PEERS,
        crates: &["noraft", "omnipaxos", "raft", "openraft", "tokio"],
        method: &METHOD,
        environment: &ALLOCATOR_SETTINGS,
    }
}

/// Every measure, in the order of the table.
fn all() -> Vec<Measure> {
    let mut table = Table::new(&GOALS);
    for outstanding in [1, 64, 1024] {
        instructions_and_allocations(&mut table, 3, outstanding, "");
    }
    instructions_and_allocations(&mut table, 5, 64, "-5-servers");
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
        codec(&mut table, half);
    }
    for servers in [3, 5] {
        for bytes in [8, 256, 4096] {
            for outstanding in [1, 64, 1024] {
                nanoseconds(&mut table, servers, bytes, outstanding);
            }
        }
    }
    for (clients, count) in [(1, 50_000), (64, 200_000), (256, 200_000)] {
        driver(&mut table, clients, count);
    }
    table.measures
}

fn instructions_and_allocations(table: &mut Table, servers: u64, outstanding: u64, suffix: &str) {
    let rest = format!("per-command-{outstanding}-outstanding{suffix}");
    let what = format!("--servers {servers} --bytes 256 --outstanding {outstanding}");
    let tool = Tool::Callgrind { counts: [4096, 12_288] };
    let name = format!("instructions-{rest}");
    let arguments = format!("run-commands {what}");
    table.add(&name, tool, &arguments, CLUSTERS_BY_BATCH, INSTRUCTIONS);
    let name = format!("allocations-{rest}");
    let arguments = format!("commands {what} --count 100000");
    table.add(&name, Tool::Allocator, &arguments, CLUSTERS_BY_BATCH, "allocations");
}

fn nanoseconds(table: &mut Table, servers: u64, bytes: u64, outstanding: u64) {
    let count = if bytes < 4096 { 100_000 } else { 40_000 };
    let arguments = format!(
        "commands --servers {servers} --bytes {bytes} --outstanding {outstanding} --count {count}"
    );
    let name = format!(
        "nanoseconds-per-command-{servers}-servers-{bytes}-bytes-{outstanding}-outstanding"
    );
    table.add(&name, Tool::Clock, &arguments, CLUSTERS_BY_BATCH, "nanoseconds");
}

fn codec(table: &mut Table, half: &str) {
    let name = |what| format!("codec-{half}-{what}");
    let arguments = format!("codec {half}");
    table.add(&name("nanoseconds"), Tool::Clock, &arguments, CODECS, "nanoseconds");
    let tool = Tool::Callgrind { counts: [100, 300] };
    let run = format!("run-codec {half}");
    table.add(&name("instructions"), tool, &run, CODECS, INSTRUCTIONS);
    table.add(&name("allocations"), Tool::Allocator, &arguments, CODECS, "allocations");
}

fn driver(table: &mut Table, clients: u64, count: u64) {
    let arguments = format!("tokio --clients {clients} --count {count}");
    let clients = if clients == 1 { "1-client".to_owned() } else { format!("{clients}-clients") };
    for (what, figure) in [
        ("commits-per-second", "commits_per_second"),
        ("p50-microseconds", "p50_microseconds"),
        ("p99-microseconds", "p99_microseconds"),
        ("cpu-microseconds-per-commit", "cpu_microseconds_per_commit"),
    ] {
        let name = format!("driver-{what}-{clients}");
        table.add(&name, Tool::Clock, &arguments, DRIVERS, figure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_belongs_to_a_measure_and_no_name_is_given_twice() {
        suite().check(&GOALS);
    }
}
