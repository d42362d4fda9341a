//! A program that may run away: read line by line, within limits of time and memory.
//!
//! Guarantees: when a function here returns, the program has ended.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The address space a program may have: twenty times what a test needs, and little enough that a
/// loop that allocates ends before the machine suffers.
const MEMORY_KIB: u64 = 4 << 20;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself, or by a signal.
    Exited(ExitStatus),
    /// Because enough was read.
    Stopped,
    /// Because it took too long.
    TimedOut,
}

/// A command that runs `program` within the limit of memory, where the system has one to set.
pub(super) fn limited(program: &Path) -> Command {
    if !cfg!(unix) {
        return Command::new(program);
    }
    let mut command = Command::new("sh");
    let script = format!("ulimit -v {MEMORY_KIB} 2>/dev/null; exec \"$0\" \"$@\" 2>&1");
    command.args(["-c", &script]).arg(program);
    command
}

/// Runs a command and gives each line it prints to `read`, until that returns false, or `patience`
/// is over.
pub(super) fn run(
    command: &mut Command,
    patience: Duration,
    mut read: impl FnMut(&str) -> bool,
) -> Result<Ended> {
    let deadline = Instant::now() + patience;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let lines = lines_of(&mut child);
    let ended = loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if read(&line) => {}
            Ok(_) => break Ended::Stopped,
            Err(RecvTimeoutError::Timeout) => break Ended::TimedOut,
            Err(RecvTimeoutError::Disconnected) => return Ok(Ended::Exited(child.wait()?)),
        }
    };
    child.kill().context("cannot end a program")?;
    child.wait()?;
    // What it had begun to say may name what it was about.
    lines.iter().for_each(|line| {
        read(&line);
    });
    Ok(ended)
}

/// What the child prints, as it comes; a last line may be without an end.
fn lines_of(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = channel();
    let stdout = child.stdout.take();
    std::thread::spawn(move || {
        let Some(stdout) = stdout else { return };
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        while stdout.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    receiver
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = limited(Path::new("sh"));
        command.args(["-c", script]);
        command
    }

    fn run_all(script: &str, patience: Duration) -> (Ended, Vec<String>) {
        let mut lines = Vec::new();
        let ended = run(&mut shell(script), patience, |line| {
            lines.push(line.to_owned());
            line != "stop"
        })
        .expect("there is a shell");
        (ended, lines)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_a_program_prints_is_read_with_its_errors() {
        let (ended, lines) = run_all("echo one; echo two >&2; exit 3", LONG);
        assert!(matches!(ended, Ended::Exited(status) if status.code() == Some(3)), "{ended:?}");
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn a_program_that_said_enough_is_ended() {
        let (ended, lines) = run_all("echo stop; exec sleep 1000", LONG);
        assert_eq!(ended, Ended::Stopped);
        assert_eq!(lines, ["stop"]);
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended_and_its_last_words_are_read() {
        let (ended, lines) =
            run_all("printf 'test one ... '; exec sleep 1000", Duration::from_millis(300));
        assert_eq!(ended, Ended::TimedOut);
        assert_eq!(lines, ["test one ..."]);
    }

    #[test]
    fn memory_is_limited() {
        let (_, lines) = run_all("ulimit -v", LONG);
        assert_eq!(lines, [MEMORY_KIB.to_string()]);
    }
}
