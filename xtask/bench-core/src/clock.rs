//! The time that a thread or the process has used: what the neighbours on a shared machine cannot use
//! up.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A clock that runs only while there is work.
#[derive(Clone, Copy, Debug)]
pub enum CpuClock {
    /// While this thread works.
    Thread,
    /// While any thread of this process works; two at once count twice.
    Process,
}

impl CpuClock {
    /// The time used so far.
    #[must_use]
    pub fn now(self) -> Duration {
        let time = clock_gettime(match self {
            Self::Thread => ClockId::ThreadCPUTime,
            Self::Process => ClockId::ProcessCPUTime,
        });
        // Neither part is ever negative for these clocks.
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

/// The nanoseconds of this thread that `work` takes.
pub fn nanoseconds(work: impl FnOnce()) -> f64 {
    let before = CpuClock::Thread.now();
    work();
    (CpuClock::Thread.now() - before).as_nanos() as f64
}

/// The middle one; the upper of two middle ones.
///
/// # Panics
///
/// If there is none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
