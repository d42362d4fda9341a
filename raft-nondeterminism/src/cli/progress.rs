//! How far an exploration is, on standard error: a bar on a terminal, Coyote's lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use raft_nondeterminism::{Exhausted, Report};

/// How wide the bar is.
const COLUMNS: usize = 30;
/// Nobody reads faster.
const PAUSE: Duration = Duration::from_millis(100);

/// When an exploration is over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// After so many runs.
    Iterations(u64),
    /// After so long.
    Time(Duration),
    /// With the first bug, or when nothing new is seen: nobody knows when.
    Open,
}

/// Shows how far an exploration is.
#[derive(Debug)]
pub(crate) struct Progress {
    goal: Goal,
    is_terminal: bool,
    is_silent: bool,
    /// The next iteration that gets a line.
    next: u64,
    shown: Option<Instant>,
}

impl Progress {
    pub(crate) fn new(goal: Goal, is_json: bool) -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let is_terminal = io::stderr().is_terminal() && !is_dumb;
        Self { goal, is_terminal, is_silent: is_json && !is_terminal, next: 1, shown: None }
    }

    pub(crate) fn show(&mut self, report: &Report) {
        if self.is_silent {
            return;
        }
        if self.is_terminal {
            let is_due = self.shown.is_none_or(|shown| shown.elapsed() >= PAUSE);
            if is_due {
                self.shown = Some(Instant::now());
                draw(&format!("\r\x1b[K{}", self.bar(report)));
            }
            return;
        }
        while self.next <= report.iterations() {
            eprintln!("..... Iteration #{}", self.next);
            self.next = milestone_after(self.next);
        }
    }

    /// The same for an exhaustive search, which has no end that is known before.
    pub(crate) fn show_states(&mut self, exhausted: &Exhausted) {
        let is_due = self.shown.is_none_or(|shown| shown.elapsed() >= PAUSE);
        if self.is_terminal && is_due {
            self.shown = Some(Instant::now());
            let (states, depth) = (exhausted.states(), exhausted.depth());
            draw(&format!("\r\x1b[K{states} states, depth {depth}"));
        }
    }

    /// Leaves nothing of the bar.
    pub(crate) fn end(&self) {
        if self.shown.is_some() {
            draw("\r\x1b[K");
        }
    }

    fn bar(&self, report: &Report) -> String {
        let (iterations, elapsed) = (report.iterations(), report.elapsed());
        let rate = report.statistics().events_per_second() as u64 / 1_000;
        let found = match report.buggy_iterations() {
            0 => String::new(),
            buggy => format!(", {buggy} buggy"),
        };
        let said = format!("{iterations} iterations, {rate} k steps/s{found}");
        let share = match self.goal {
            Goal::Iterations(all) => iterations as f64 / all as f64,
            Goal::Time(time) => elapsed.as_secs_f64() / time.as_secs_f64(),
            Goal::Open => return format!("..... {said}"),
        };
        let filled = (share.min(1.0) * COLUMNS as f64) as usize;
        format!("..... [{}{}] {said}", "#".repeat(filled), " ".repeat(COLUMNS - filled))
    }
}

/// 1, 2, …, 9, 10, 20, …, 90, 100, 200, ….
fn milestone_after(iteration: u64) -> u64 {
    iteration + 10_u64.pow(iteration.max(1).ilog10())
}

/// Progress that cannot be shown is not missed.
fn draw(text: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_far_apart_as_coyotes() {
        let mut iterations = vec![1];
        while iterations.len() < 21 {
            iterations.push(milestone_after(iterations[iterations.len() - 1]));
        }
        let expected =
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 200, 300];
        assert_eq!(iterations, expected);
    }
}
