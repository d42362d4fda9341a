//! A server in a process of its own, as a parent sees it.
//!
//! Guarantees: secrets go to the child by its environment only; a child does not outlive its parent,
//!             however that ends: the parent holds the other end of the child's standard input, and
//!             the operating system closes it.
//! Relies on:  the program being `raft-azure`, whose `--supervised` servers watch their input.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;

/// How long a child that was asked to stop is waited for.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A line that a child wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Who wrote it.
    pub child: String,
    /// What it wrote, without the end of the line.
    pub text: String,
    /// True for its standard error.
    pub is_error: bool,
}

/// A child process. Dropping it kills it.
#[derive(Debug)]
pub struct ChildProcess {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
}

impl ChildProcess {
    /// Starts `program` with `arguments`; every line it writes goes to `lines` under its `name`. The
    /// connection string reaches it by its environment.
    ///
    /// # Errors
    ///
    /// If the program cannot be started.
    pub fn start(
        name: impl Into<String>,
        program: &Path,
        arguments: &[OsString],
        connection_string: &str,
        lines: &mpsc::UnboundedSender<Line>,
    ) -> io::Result<Self> {
        let name = name.into();
        let mut child = Command::new(program)
            .args(arguments)
            .env("CONNECTION_STRING", connection_string)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take();
        if let Some(output) = child.stdout.take() {
            forward(name.clone(), output, false, lines.clone());
        }
        if let Some(output) = child.stderr.take() {
            forward(name.clone(), output, true, lines.clone());
        }
        Ok(Self { name, child, input })
    }

    /// The name its lines come under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    ///
    /// If it does not read any more.
    pub async fn write_line(&mut self, line: &str) -> io::Result<()> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(format!("{line}\n").as_bytes()).await?;
        input.flush().await
    }

    /// Waits until it ends by itself. Cancel-safe.
    ///
    /// # Errors
    ///
    /// If the operating system cannot tell.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        // `wait` would close the child's standard input and so end it, but `start` took it away.
        self.child.wait().await
    }

    /// Stops it with SIGSTOP, in the middle of whatever it does; it does not notice.
    ///
    /// # Errors
    ///
    /// If it has ended, or the operating system refuses.
    #[cfg(unix)]
    pub fn pause(&self) -> io::Result<()> {
        self.signal(rustix::process::Signal::STOP)
    }

    /// Has it go on after [`ChildProcess::pause`].
    ///
    /// # Errors
    ///
    /// If it has ended, or the operating system refuses.
    #[cfg(unix)]
    pub fn resume(&self) -> io::Result<()> {
        self.signal(rustix::process::Signal::CONT)
    }

    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) -> io::Result<()> {
        // A child that was not waited for yet keeps its id, so nobody else gets the signal.
        let id = self.id().and_then(|id| i32::try_from(id).ok());
        let id = id.and_then(rustix::process::Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        Ok(rustix::process::kill_process(id, signal)?)
    }

    /// Sends it SIGKILL without waiting for its end, so that several can be killed at once.
    ///
    /// # Errors
    ///
    /// If it has ended, or the operating system refuses.
    pub fn kill_at_once(&mut self) -> io::Result<()> {
        self.child.start_kill()
    }

    /// Kills it with SIGKILL, in the middle of whatever it does.
    ///
    /// # Errors
    ///
    /// If the operating system refuses.
    pub async fn kill(mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Asks it to stop and waits for a while; then kills it.
    ///
    /// # Errors
    ///
    /// If the operating system refuses.
    pub async fn stop(mut self) -> io::Result<ExitStatus> {
        drop(self.input.take());
        match tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await {
            Ok(status) => status,
            Err(_) => {
                tracing::warn!(child = %self.name, "did not stop in time and is killed");
                self.child.kill().await?;
                self.child.wait().await
            }
        }
    }
}

/// Resolves when the process is asked to end: Ctrl-C or a polite kill.
pub async fn asked_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}

fn forward(
    child: String,
    output: impl AsyncRead + Unpin + Send + 'static,
    is_error: bool,
    lines: mpsc::UnboundedSender<Line>,
) {
    tokio::spawn(async move {
        let mut output = BufReader::new(output).lines();
        while let Ok(Some(text)) = output.next_line().await {
            if lines.send(Line { child: child.clone(), text, is_error }).is_err() {
                return;
            }
        }
    });
}
