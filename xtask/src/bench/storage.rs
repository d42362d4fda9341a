//! `bench storage`: the storage in files, beside the least that must be done and other log stores.

use super::measures::{FLOOR, INSTRUCTIONS, Measure, Suite, Table, Tool};

/// The goals, all of them upper bounds: the only place that knows them.
const GOALS: [(&str, f64); 7] = [
    ("append-over-floor-1-entry", 1.1),
    ("append-over-floor-16-entries", 1.1),
    ("append-over-floor-256-entries", 1.1),
    ("syncs-per-64-commands-1-server", 3.0),
    ("syncs-per-64-commands-3-servers", 3.0),
    ("recovery-warm-milliseconds", 80.0),
    ("recovery-cold-milliseconds", 400.0),
];

/// Everybody else, in the order of the table.
const PEERS: [&str; 5] = [FLOOR, "raft-engine", "raft-log", "redb", "fjall"];

/// Who takes part in what.
const STORES: &[&str] = &PEERS;
const FLOOR_ONLY: &[&str] = &[FLOOR];
const NOBODY: &[&str] = &[];

/// How every figure came about.
const METHOD: [&str; 12] = [
    "Everybody stores the same entries of 256 bytes in the same folder, one measure in one process; entries are \
     made before the clock runs.",
    "`floor` is no store: records with a checksum in a file that was filled with zeros ahead, one write and one \
     `fdatasync` per append.",
    "An append returns once its entries are durable; one writer waits for each.",
    "Appends are measured in bursts of 0.35 s with pauses, and the floor runs right before or after each \
     burst; `over-floor` is the median of the ratios of two such neighbours, the others are medians of \
     the bursts' medians or lowest tenths.",
    "A burst whose median is above 2 ms met a disk that was throttled; it is discarded with its neighbour.",
    "`syncs` are those of files and folders that the leader makes while 64 clients write 10000 commands, \
     each client one at a time, to servers on the driver in one process; those of segments that are \
     filled with zeros ahead are among them.",
    "Recovery is of a million entries, written in batches of 256 by a process that was then killed; those who \
     open it are killed as well, so that all find what a crash leaves.",
    "Its time ends when all entries are in memory: raft-core loads them, the floor keeps slices of \
     what it read, raft-engine fetches them, raft-log and redb copy each, and fjall holds slices of its \
     blocks; `open` is the part of it in which a store opens, with whatever it repairs or reads then.",
    "Cold means that the kernel dropped the files from its page cache (`POSIX_FADV_DONTNEED`), which is \
     checked by what the process read from the device.",
    "Allocations and instructions are per appended entry; instructions include the making of the entry, \
     and are those of 12288 entries less those of 4096, counted by callgrind.",
    "Disk bytes are the blocks that the folder takes after the million entries, room made ahead included.",
    "RocksDB is left out: its C++ alone takes most of an hour to compile here, and raft-engine was made to \
     replace it for logs of this kind.",
];

pub(super) fn suite() -> Suite {
    Suite {
        name: "storage",
        package: "bench-storage",
        title: "The file storage of raft-core beside other log stores",
        // Disks vary more than processors do.
        rounds: 7,
        rounds_quick: 5,
        measures: all(),
        peers: &PEERS,
        crates: &["raft-engine", "raft-log", "redb", "fjall"],
        method: &METHOD,
        environment: &[],
    }
}

/// Every measure, in the order of the table: those that a throttled disk would spoil come first.
fn all() -> Vec<Measure> {
    let mut table = Table::new(&GOALS);
    let batches = [(1, "1-entry"), (16, "16-entries"), (256, "256-entries")];
    for (batch, suffix) in batches {
        let arguments = format!("append --batch {batch}");
        for (what, figure) in [
            ("over-floor", "p50_microseconds_over_floor"),
            ("p50-microseconds", "p50_microseconds"),
            ("p10-microseconds", "p10_microseconds"),
        ] {
            let name = format!("append-{what}-{suffix}");
            table.add(&name, Tool::Disk, &arguments, STORES, figure);
        }
    }
    for (servers, suffix) in [(1, "1-server"), (3, "3-servers")] {
        let arguments = format!("proposers --servers {servers} --clients 64 --count 10000");
        let name = format!("syncs-per-64-commands-{suffix}");
        table.add(&name, Tool::Clock, &arguments, NOBODY, "syncs_per_round");
        let name = format!("proposal-p50-microseconds-64-clients-{suffix}");
        table.add(&name, Tool::Clock, &arguments, NOBODY, "p50_microseconds");
    }
    for (batch, suffix) in batches {
        let name = format!("append-allocations-{suffix}");
        let arguments = format!("run-appends --batch {batch}");
        let counted = format!("{arguments} --count 4096");
        table.add(&name, Tool::Allocator, &counted, FLOOR_ONLY, "allocations");
        let name = format!("append-instructions-{suffix}");
        let tool = Tool::Callgrind { counts: [4096, 12_288] };
        table.add(&name, tool, &arguments, FLOOR_ONLY, INSTRUCTIONS);
    }
    for (name, figure) in [
        ("recovery-warm-milliseconds", "warm_milliseconds"),
        ("recovery-warm-open-milliseconds", "warm_open_milliseconds"),
        ("recovery-cold-milliseconds", "cold_milliseconds"),
        ("recovery-cold-open-milliseconds", "cold_open_milliseconds"),
        ("disk-bytes-per-entry", "disk_bytes_per_entry"),
    ] {
        table.add(name, Tool::Clock, "recover --entries 1000000", STORES, figure);
    }
    table.measures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_belongs_to_a_measure_and_no_name_is_given_twice() {
        suite().check(&GOALS);
    }
}
