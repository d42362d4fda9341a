//! The measures of a cluster in one thread.
//!
//! Guarantees: what was measured is checked afterwards: every server applied every command.

use crate::clock::{median, nanoseconds};
use crate::cluster::{COMPACT_EVERY, Cluster, Load, check, drive};
use crate::counting;

/// How many entries a log has when its memory is measured, and how many a follower is behind.
const ENTRIES: u64 = 100_000;
/// How often a small thing is done between two looks at the clock.
const ROUNDS: u32 = 10_000;
/// How often such a figure is taken; the median counts.
const REPEATS: usize = 9;

/// What one run came to, each figure with its name.
pub type Figures = Vec<(&'static str, f64)>;

/// CPU time and allocations per command of a warm cluster, the client's own included.
pub fn commands<C: Cluster>(servers: usize, load: Load) -> Figures {
    let mut cluster = C::start(servers);
    // Until logs were compacted once, so that the memory of entries is used again.
    let warm_up = COMPACT_EVERY + load.outstanding;
    drive(&mut cluster, 0, Load { count: warm_up, ..load });

    let before = counting::now();
    let time = nanoseconds(|| drive(&mut cluster, warm_up, load));
    let allocations = counting::now().allocations - before.allocations;

    check(&cluster, servers, warm_up + load.count);
    per_piece(time, allocations, load.count)
}

/// Starts a cluster and puts the load through, for a tool that counts instructions from outside.
pub fn run_once<C: Cluster>(servers: usize, load: Load) {
    let mut cluster = C::start(servers);
    drive(&mut cluster, 0, load);
    check(&cluster, servers, load.count);
}

/// The heap that one entry of a long log takes on one server. Servers share a payload where the engine
/// lets them.
///
/// # Panics
///
/// In the program that does not count.
pub fn live_bytes<C: Cluster>(servers: usize, bytes: usize) -> Figures {
    assert!(counting::is_counting(), "only the program that counts knows what is in use");
    let before = counting::now().live_bytes;
    let mut cluster = C::start(servers);
    let load = Load { count: ENTRIES, bytes, outstanding: 64, compacts: false };
    drive(&mut cluster, 0, load);
    let live = counting::now().live_bytes - before;
    check(&cluster, servers, ENTRIES);
    vec![("bytes", live as f64 / ENTRIES as f64 / servers as f64)]
}

/// The CPU time per entry until a follower has applied what it missed, once it is back.
///
/// # Panics
///
/// If it never catches up.
pub fn catch_up<C: Cluster>(servers: usize, bytes: usize) -> Figures {
    let mut cluster = C::start(servers);
    let load = Load { count: 64, bytes, outstanding: 64, compacts: false };
    drive(&mut cluster, 0, load);
    let behind = (0..servers).rfind(|&server| server != cluster.leader());
    let behind = behind.expect("there is a follower");
    cluster.cut_off(behind);
    drive(&mut cluster, 64, Load { count: ENTRIES, ..load });
    assert_eq!(cluster.machine(behind).count, 64, "a server that is cut off learns nothing");
    cluster.reconnect(behind);

    let time = nanoseconds(|| {
        for _ in 0..ENTRIES {
            if cluster.machine(behind).count == 64 + ENTRIES {
                break;
            }
            cluster.heartbeat();
        }
    });
    check(&cluster, servers, 64 + ENTRIES);
    vec![("nanoseconds", time / ENTRIES as f64)]
}

/// The CPU time of one heartbeat to all followers and their answers.
pub fn heartbeat<C: Cluster>(servers: usize) -> Figures {
    let mut cluster = C::start(servers);
    drive(&mut cluster, 0, Load { count: 64, bytes: 8, outstanding: 64, compacts: false });
    let mut rounds = |rounds: u32| {
        for _ in 0..rounds {
            cluster.heartbeat();
        }
    };
    rounds(100);
    let mut times = [(); REPEATS].map(|()| nanoseconds(|| rounds(ROUNDS)) / f64::from(ROUNDS));
    vec![("nanoseconds", median(&mut times))]
}

/// The CPU time from nothing to a leader.
pub fn election<C: Cluster>(servers: usize) -> Figures {
    let mut times = [(); REPEATS].map(|()| {
        nanoseconds(|| {
            C::elect(servers);
        })
    });
    vec![("microseconds", median(&mut times) / 1000.0)]
}

/// The figures of `count` pieces of work: the time, unless this is the program that counts.
pub(crate) fn per_piece(time: f64, allocations: u64, count: u64) -> Figures {
    let count = count as f64;
    if counting::is_counting() {
        vec![("allocations", allocations as f64 / count)]
    } else {
        vec![("nanoseconds", time / count)]
    }
}
