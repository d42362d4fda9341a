//! The processes of the demo, and what they tell.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use raft_azure::event::{Event, ServerStatus};
use raft_azure::process::{ChildProcess, Line};
use raft_core::ClientId;
use raft_mocking::emulator::Emulator;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::report::{Answer, Report};
use crate::processes::{TOPIC, provision_topic};

const CLIENT: ClientId = ClientId(1);
/// How often the servers are asked whether they agree by now.
const STATUS_INTERVAL: Duration = Duration::from_millis(50);

/// The emulator, the servers and the client.
pub(super) struct Cluster {
    emulator: Emulator,
    program: PathBuf,
    folder: TempDir,
    size: u64,
    servers: BTreeMap<u64, ChildProcess>,
    client: ChildProcess,
    lines: mpsc::UnboundedReceiver<Line>,
    line_sender: mpsc::UnboundedSender<Line>,
    /// Who leads, in the latest term that has a leader.
    leader: Option<(u64, u64)>,
    pub(super) report: Report,
}

impl Cluster {
    /// Starts everything; returns when the processes run, before anyone is elected.
    pub(super) async fn start(program: &Path, size: u64, mut report: Report) -> Result<Self> {
        let emulator = Emulator::start().await.context("cannot start the emulator")?;
        report.say(&format!("service bus emulator (AMQP 1.0) on {}", emulator.amqp_address()));
        provision_topic(&emulator.connection_string(), size, [CLIENT]).await?;
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let (line_sender, lines) = mpsc::unbounded_channel();

        let mut arguments = vec!["client", "--supervised", "--json", "--topic-name", TOPIC];
        let (cluster_size, client_id) = (size.to_string(), CLIENT.0.to_string());
        arguments.extend(["--cluster-size", &cluster_size, "--client-id", &client_id]);
        // Its cluster is new, so nobody has used the number before.
        arguments.extend(["--first-sequence-number", "1"]);
        let arguments: Vec<_> = arguments.into_iter().map(OsString::from).collect();
        let secret = emulator.connection_string();
        let client = ChildProcess::start("Client", program, &arguments, &secret, &line_sender)
            .context("cannot start the client")?;
        let mut cluster = Self {
            emulator,
            program: program.to_owned(),
            folder,
            size,
            servers: BTreeMap::new(),
            client,
            lines,
            line_sender,
            leader: None,
            report,
        };
        for server in 1..=size {
            cluster.start_server(server)?;
        }
        let count = cluster.servers.len();
        cluster.report.say(&format!("{count} server processes and one client process started"));
        Ok(cluster)
    }

    fn start_server(&mut self, server: u64) -> Result<()> {
        let mut arguments: Vec<OsString> =
            ["server", "--supervised", "--json", "--topic-name", TOPIC].map(Into::into).to_vec();
        let mut add = |flag: &str, value: OsString| arguments.extend([flag.into(), value]);
        add("--server-id", server.to_string().into());
        add("--cluster-size", self.size.to_string().into());
        add("--data-dir", self.folder.path().join(format!("server-{server}")).into());
        let name = format!("Server-{server}");
        let secret = self.emulator.connection_string();
        let child =
            ChildProcess::start(name, &self.program, &arguments, &secret, &self.line_sender);
        self.servers.insert(server, child.context("cannot start a server")?);
        Ok(())
    }

    /// What the bus has cost so far.
    pub(super) fn billable_operations(&self) -> u64 {
        self.emulator.meter().operations()
    }

    /// Waits until a server that runs leads.
    pub(super) async fn leader_elected(&mut self, patience: Duration) -> Result<u64> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some((_, leader)) = self.leader {
                return Ok(leader);
            }
            self.next_event(deadline).await?;
        }
    }

    /// Has the client send a request, and waits for its answer.
    pub(super) async fn request(&mut self, command: &str, patience: Duration) -> Result<Answer> {
        let deadline = Instant::now() + patience;
        self.client.write_line(command).await.context("the client does not listen")?;
        loop {
            let event = self.next_event(deadline).await?;
            if let Event::Answer { sequence, by, index, term, attempts, latency_us, .. } = event {
                return Ok(Answer { sequence, by, index, term, attempts, latency_us });
            }
        }
    }

    /// Kills the leader with SIGKILL.
    pub(super) async fn kill_leader(&mut self) -> Result<u64> {
        let (term, leader) = self.leader.take().context("nobody leads")?;
        let child = self.servers.remove(&leader).context("the leader is no process of ours")?;
        child.kill().await.context("cannot kill the leader")?;
        self.report.kill(leader, term);
        Ok(leader)
    }

    /// Starts a killed server again, with the log it left.
    pub(super) fn restart(&mut self, server: u64) -> Result<()> {
        self.report.restart(server);
        self.start_server(server)
    }

    /// Waits until all servers have committed and applied the same log with this many requests.
    pub(super) async fn settled(
        &mut self,
        requests: u64,
        patience: Duration,
    ) -> Result<Vec<ServerStatus>> {
        let deadline = Instant::now() + patience;
        let mut last_seen = Vec::new();
        loop {
            let statuses =
                self.statuses(deadline).await.with_context(|| disagreement(&last_seen))?;
            let logs: BTreeSet<_> = statuses
                .iter()
                .map(|status| {
                    let log: Vec<_> = status.log.iter().map(ToString::to_string).collect();
                    (log, status.commit_index, status.last_applied)
                })
                .collect();
            let is_whole = statuses.iter().all(|status| {
                status.last_applied == status.log.len() as u64
                    && status.state.len() as u64 >= requests
            });
            if logs.len() == 1 && is_whole {
                return Ok(statuses);
            }
            last_seen = statuses;
            tokio::time::sleep(STATUS_INTERVAL).await;
        }
    }

    /// Asks every server what it looks like.
    async fn statuses(&mut self, deadline: Instant) -> Result<Vec<ServerStatus>> {
        for server in self.servers.values_mut() {
            server.write_line("status").await.context("a server does not listen")?;
        }
        let mut statuses = BTreeMap::new();
        while statuses.len() < self.servers.len() {
            if let Event::Status(status) = self.next_event(deadline).await? {
                statuses.insert(status.server, *status);
            }
        }
        Ok(statuses.into_values().collect())
    }

    /// The next thing that happens, after it was shown.
    async fn next_event(&mut self, deadline: Instant) -> Result<Event> {
        loop {
            let line = timeout_at(deadline, self.lines.recv()).await;
            let Line { child, text, is_error } = line
                .map_err(|_| anyhow!("nothing more happened"))?
                .context("no process is left")?;
            if is_error {
                if let Some(reason) = text.strip_prefix("error: ") {
                    bail!("{child}: {reason}");
                }
                eprintln!("{child}: {text}");
                continue;
            }
            let event: Event = serde_json::from_str(&text)
                .with_context(|| format!("{child} wrote something else than events: {text}"))?;
            // The last words of a process that is killed by now.
            if event.server().is_some_and(|server| !self.servers.contains_key(&server)) {
                continue;
            }
            if let Event::Role { server, term, role, .. } = &event {
                self.note_role(*server, *term, role);
            }
            self.report.event(&event);
            return Ok(event);
        }
    }

    fn note_role(&mut self, server: u64, term: u64, role: &str) {
        if role == "leader" {
            if self.leader.is_none_or(|(known, _)| term > known) {
                self.leader = Some((term, server));
                self.report.elected(server, term);
            }
        } else if self.leader.is_some_and(|(known, leader)| leader == server && term > known) {
            self.leader = None;
        }
    }

    /// Stops all processes, and then the emulator.
    pub(super) async fn stop(self) -> Report {
        let Self { emulator, servers, client, mut report, .. } = self;
        report.bill(&emulator.meter());
        let children = servers.into_values().chain([client]);
        let stopping: Vec<_> = children.map(|child| tokio::spawn(child.stop())).collect();
        for child in stopping {
            // Whatever happened, it is gone now.
            let _ = child.await;
        }
        emulator.shutdown().await;
        report
    }
}

/// Who is where, for whoever reads that they do not agree.
fn disagreement(statuses: &[ServerStatus]) -> String {
    let describe = |status: &ServerStatus| {
        let ServerStatus { server, term, role, commit_index, last_applied, log, .. } = status;
        let last =
            log.last().map_or("0@0".to_owned(), |last| format!("{}@{}", last.index, last.term));
        format!("s{server}@{term} {role} last={last} commit={commit_index} applied={last_applied}")
    };
    let all: Vec<_> = statuses.iter().map(describe).collect();
    format!("last seen: {}", all.join("; "))
}
