//! The server processes, and what they tell.
//!
//! Guarantees: no process outlives the run; what a process tells after its death counts for what must
//!             hold, and for nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use raft_azure::event::{Event, ServerStatus};
use raft_azure::process::{ChildProcess, Line};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{timeout, timeout_at};

use super::monitor::{Monitor, difference};

/// How often the servers are asked whether they agree by now.
const STATUS_INTERVAL: Duration = Duration::from_millis(100);
/// How long a server may take to say what it looks like.
const STATUS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a pipe may be full.
const WRITE_TIMEOUT: Duration = Duration::from_millis(500);

/// How the servers are started.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) program: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) topic: String,
    pub(super) connection_string: String,
    pub(super) size: u64,
    pub(super) snapshot_entries: u64,
    pub(super) defect: Option<String>,
}

/// What is known of all servers.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// Who leads, in the latest term that has a leader.
    pub(super) leader: Option<(u64, u64)>,
    /// Who asks for votes, by term; the last few terms.
    pub(super) candidates: BTreeMap<u64, BTreeSet<u64>>,
    /// The last life of each server that has joined.
    pub(super) joined: BTreeMap<u64, u64>,
    /// What each server that was asked looks like.
    statuses: BTreeMap<u64, ServerStatus>,
    /// What must hold and did not.
    pub(super) breaches: Vec<String>,
    /// Servers that stopped by themselves, with what they said.
    pub(super) failures: Vec<String>,
    pub(super) elections: usize,
    pub(super) commits: usize,
}

/// A process.
#[derive(Debug)]
struct Running {
    child: ChildProcess,
    is_paused: bool,
}

/// The server processes.
#[derive(Debug)]
pub(super) struct Servers {
    setting: Setting,
    lines: mpsc::UnboundedSender<Line>,
    running: tokio::sync::Mutex<BTreeMap<u64, Running>>,
    /// The life of each server; that of one that does not run is over.
    lives: Mutex<BTreeMap<u64, u64>>,
    view: watch::Sender<View>,
    asked: Mutex<BTreeMap<u64, oneshot::Sender<Event>>>,
    next_question: AtomicU64,
    /// Servers that are to stop by themselves, and what they said when they did.
    doomed: Mutex<BTreeMap<u64, Option<String>>>,
    /// Servers that found no bus when they started.
    lost: Mutex<BTreeSet<u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing panics while it holds one of these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Servers {
    /// No server runs yet. What they will tell is written to `events`, line by line.
    pub(super) fn new(setting: Setting, events: &Path) -> Result<Arc<Self>> {
        let (lines, told) = mpsc::unbounded_channel();
        let events = File::create(events)
            .with_context(|| format!("cannot write to {}", events.display()))?;
        let servers = Arc::new(Self {
            setting,
            lines,
            running: tokio::sync::Mutex::default(),
            lives: Mutex::default(),
            view: watch::Sender::default(),
            asked: Mutex::default(),
            next_question: AtomicU64::new(1),
            doomed: Mutex::default(),
            lost: Mutex::default(),
        });
        tokio::spawn(Arc::clone(&servers).listen(told, BufWriter::new(events)));
        Ok(servers)
    }

    pub(super) fn ids(&self) -> std::ops::RangeInclusive<u64> {
        1..=self.setting.size
    }

    /// What is known, to look at or to wait on.
    pub(super) fn view(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    /// Starts a server that does not run, with more words on its line.
    pub(super) async fn start(&self, server: u64, more: &[&str]) -> Result<()> {
        let Setting { program, folder, topic, connection_string, size, snapshot_entries, .. } =
            &self.setting;
        let mut arguments: Vec<OsString> =
            ["server", "--supervised", "--json"].map(Into::into).to_vec();
        let mut add = |flag: &str, value: OsString| arguments.extend([flag.into(), value]);
        add("--topic-name", topic.into());
        add("--server-id", server.to_string().into());
        add("--cluster-size", size.to_string().into());
        add("--data-dir", folder.join(format!("server-{server}")).into());
        add("--state-machine", "kv".into());
        add("--snapshot-entries", snapshot_entries.to_string().into());
        match &self.setting.defect {
            Some(defect) => add("--defect", defect.into()),
            // With leases a server that has just started elects nobody for a while, which would hide
            // a vote that it forgot.
            None => arguments.push("--lease-reads".into()),
        }
        arguments.extend(more.iter().map(OsString::from));
        let mut running = self.running.lock().await;
        if running.contains_key(&server) {
            bail!("s{server} runs already");
        }
        let life = {
            let mut lives = lock(&self.lives);
            let life = lives.entry(server).or_default();
            *life += 1;
            *life
        };
        let name = format!("{server}.{life}");
        let child = ChildProcess::start(name, program, &arguments, connection_string, &self.lines)
            .context("cannot start a server")?;
        running.insert(server, Running { child, is_paused: false });
        Ok(())
    }

    /// Who runs.
    pub(super) async fn running(&self) -> Vec<u64> {
        self.running.lock().await.keys().copied().collect()
    }

    /// Kills these with SIGKILL, all at once; says who was killed.
    pub(super) async fn kill(&self, servers: &[u64]) -> Vec<u64> {
        let mut dying = BTreeMap::new();
        {
            let mut running = self.running.lock().await;
            for server in servers {
                if let Some(mut process) = running.remove(server)
                    && process.child.kill_at_once().is_ok()
                {
                    dying.insert(*server, process.child);
                }
            }
        }
        let killed: Vec<_> = dying.keys().copied().collect();
        for server in &killed {
            self.forget(*server);
        }
        for mut child in dying.into_values() {
            // It holds the lock on its log until it is gone.
            let _ = child.wait().await;
        }
        killed
    }

    /// A server that does not run neither leads nor answers.
    fn forget(&self, server: u64) {
        *lock(&self.lives).entry(server).or_default() += 1;
        self.view.send_modify(|view| {
            // That was another life.
            lock(&self.lost).remove(&server);
            view.leader.take_if(|(_, leader)| *leader == server);
            view.joined.remove(&server);
        });
    }

    /// Asks a server to stop, and waits for it.
    pub(super) async fn stop(&self, server: u64) -> bool {
        let process = self.running.lock().await.remove(&server);
        let Some(process) = process else { return false };
        let stopped = process.child.stop().await;
        self.forget(server);
        stopped.is_ok_and(|status| status.success())
    }

    /// Starts a server that does not run with little room on its disk, and waits until it stops by itself;
    /// says with which words.
    pub(super) async fn fill_disk(
        &self,
        server: u64,
        quota: u64,
        within: Duration,
    ) -> Result<String> {
        let deadline = tokio::time::Instant::now() + within;
        let (error, status) = loop {
            lock(&self.doomed).insert(server, None);
            self.start(server, &["--disk-quota", &quota.to_string()]).await?;
            let mut view = self.view();
            let is_told = |_: &View| lock(&self.doomed).get(&server).is_some_and(Option::is_some);
            // In vain if it has none to tell; then its end says enough.
            let _ = timeout_at(deadline, view.wait_for(is_told)).await;
            let error = lock(&self.doomed).remove(&server).flatten();
            let process = self.running.lock().await.remove(&server);
            let mut child = process.with_context(|| format!("s{server} does not run"))?.child;
            let status = timeout_at(deadline, child.wait()).await;
            self.forget(server);
            let status = status.map_err(|_| anyhow!("s{server} lives on with a full disk"))??;
            // Who finds no bus when it starts, gives up, and has not seen its disk yet.
            if error.as_ref().is_none_or(|error| !error.starts_with("cannot connect")) {
                break (error, status);
            }
        };
        match error {
            Some(error) if status.code() == Some(1) => Ok(error),
            error => bail!("s{server} ended with {status} and {error:?} when its disk was full"),
        }
    }

    /// Stops these with SIGSTOP; says how many.
    #[cfg(unix)]
    pub(super) async fn pause(&self, servers: &[u64]) -> u64 {
        let mut running = self.running.lock().await;
        let mut count = 0;
        for server in servers {
            if let Some(process) = running.get_mut(server)
                && !process.is_paused
                && process.child.pause().is_ok()
            {
                process.is_paused = true;
                count += 1;
            }
        }
        count
    }

    /// Has all go on that were paused.
    #[cfg(unix)]
    pub(super) async fn resume(&self) {
        for process in self.running.lock().await.values_mut() {
            if std::mem::take(&mut process.is_paused) {
                // It may have been killed meanwhile.
                let _ = process.child.resume();
            }
        }
    }

    /// There are no such signals here.
    #[cfg(not(unix))]
    pub(super) async fn pause(&self, _servers: &[u64]) -> u64 {
        0
    }

    /// There is nothing to go on after.
    #[cfg(not(unix))]
    pub(super) async fn resume(&self) {}

    /// Starts everybody who does not run, and waits until all have joined. Who found no bus when it
    /// started has given up, and is started again, as by any supervisor; says how often one was started.
    pub(super) async fn start_missing(&self, within: Duration) -> Result<u64> {
        let deadline = tokio::time::Instant::now() + within;
        let mut starts = 0;
        loop {
            let lost = std::mem::take(&mut *lock(&self.lost));
            for server in lost {
                let process = self.running.lock().await.remove(&server);
                if let Some(mut process) = process {
                    // It said why, and is about to be gone.
                    let _ = process.child.wait().await;
                }
                self.forget(server);
            }
            let running = self.running().await;
            for server in self.ids().filter(|server| !running.contains(server)) {
                self.start(server, &[]).await?;
                starts += 1;
            }
            let mut view = self.view();
            let is_decided = |view: &View| {
                self.ids().all(|id| view.joined.contains_key(&id)) || !lock(&self.lost).is_empty()
            };
            let joined = timeout_at(deadline, view.wait_for(is_decided)).await;
            joined.map_err(|_| anyhow!("some server did not join in time"))??;
            if lock(&self.lost).is_empty() {
                return Ok(starts);
            }
        }
    }

    /// Waits until somebody who runs leads.
    pub(super) async fn leader(&self, within: Duration) -> Result<(u64, u64)> {
        let mut view = self.view();
        let elected = timeout(within, view.wait_for(|view| view.leader.is_some())).await;
        let elected = elected.map_err(|_| anyhow!("no leader was elected in time"))??;
        elected.leader.context("it was just there")
    }

    async fn write_line(&self, server: u64, line: &str) -> Result<()> {
        let mut running = self.running.lock().await;
        let process = running.get_mut(&server);
        let process = process.with_context(|| format!("s{server} does not run"))?;
        timeout(WRITE_TIMEOUT, process.child.write_line(line)).await??;
        Ok(())
    }

    /// Asks a server what a key holds, without an entry in the log: the value, and as of which entry.
    pub(super) async fn query(
        &self,
        server: u64,
        key: &str,
        mode: &str,
        within: Duration,
    ) -> Result<(Value, Option<u64>)> {
        let id = self.next_question.fetch_add(1, Ordering::Relaxed);
        let (asker, answer) = oneshot::channel();
        lock(&self.asked).insert(id, asker);
        let asked = json!({ "id": id, "key": key, "mode": mode });
        let answered = async {
            self.write_line(server, &format!("query {asked}")).await?;
            anyhow::Ok(answer.await?)
        };
        let answered = timeout(within, answered).await;
        lock(&self.asked).remove(&id);
        match answered?? {
            Event::Query { value: Some(value), as_of, .. } => Ok((value, as_of)),
            Event::Query { error, .. } => bail!(error.unwrap_or_default()),
            event => bail!("{event} is no answer"),
        }
    }

    /// Waits until nothing is under way on any server, and says what they look like then, and what they
    /// differ in if they do.
    pub(super) async fn settled(
        &self,
        within: Duration,
    ) -> Result<(Vec<ServerStatus>, Option<String>)> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let statuses = self.statuses().await?;
            let found = statuses.iter().skip(1).find_map(|other| difference(&statuses[0], other));
            // Whoever has applied its whole log, and has as much of it as everybody, changes no more.
            let end = |status: &ServerStatus| {
                let last = status.log.last().map_or(status.commit_index, |last| last.index);
                (status.last_applied == last).then_some(last)
            };
            let ends: BTreeSet<_> = statuses.iter().map(end).collect();
            let is_settled = ends.len() == 1 && !ends.contains(&None);
            if is_settled || tokio::time::Instant::now() > deadline {
                return Ok((statuses, found));
            }
            tokio::time::sleep(STATUS_INTERVAL).await;
        }
    }

    async fn statuses(&self) -> Result<Vec<ServerStatus>> {
        self.view.send_modify(|view| view.statuses.clear());
        for server in self.ids() {
            self.write_line(server, "status").await?;
        }
        let mut view = self.view();
        let all = view.wait_for(|view| view.statuses.len() as u64 == self.setting.size);
        let all = timeout(STATUS_TIMEOUT, all).await;
        let all = all.map_err(|_| anyhow!("some server does not say what it looks like"))??;
        Ok(all.statuses.values().cloned().collect())
    }

    /// Stops all processes.
    pub(super) async fn end(&self) {
        self.resume().await;
        let running = std::mem::take(&mut *self.running.lock().await);
        let stop = |process: Running| tokio::spawn(process.child.stop());
        let stopping: Vec<_> = running.into_values().map(stop).collect();
        for process in stopping {
            // Whatever happened, it is gone now.
            let _ = process.await;
        }
    }

    /// A server stops by itself.
    fn note_failure(&self, server: u64, error: &str) {
        let is_doomed = {
            let mut doomed = lock(&self.doomed);
            let doomed = doomed.get_mut(&server);
            doomed.map(|told| *told = Some(error.to_owned())).is_some()
        };
        self.view.send_modify(|view| {
            if is_doomed {
                // Whoever filled its disk waits for this.
            } else if !view.joined.contains_key(&server) && error.starts_with("cannot connect") {
                lock(&self.lost).insert(server);
            } else {
                view.failures.push(format!("s{server}: {error}"));
            }
        });
    }

    /// Takes in what the servers tell, for ever.
    async fn listen(
        self: Arc<Self>,
        mut told: mpsc::UnboundedReceiver<Line>,
        mut events: BufWriter<File>,
    ) {
        let (started, mut monitor) = (Instant::now(), Monitor::default());
        while let Some(Line { child, text, is_error }) = told.recv().await {
            // The record of a run is worth something, but not the run.
            let _ = writeln!(events, "{:.6} {child} {text}", started.elapsed().as_secs_f64());
            let of: Vec<u64> = child.split('.').filter_map(|part| part.parse().ok()).collect();
            let &[server, life] = &of[..] else { continue };
            let is_alive = lock(&self.lives).get(&server) == Some(&life);
            if is_error {
                let _ = events.flush();
                if let Some(error) = text.strip_prefix("error: ")
                    && is_alive
                {
                    self.note_failure(server, error);
                }
                continue;
            }
            let Ok(event) = serde_json::from_str::<Event>(&text) else { continue };
            let breach = monitor.note(&event);
            let (elections, commits) = (monitor.elections(), monitor.commits());
            let is_news = |view: &mut View| {
                (view.elections, view.commits) = (elections, commits);
                let is_breach = breach.is_some();
                view.breaches.extend(breach);
                is_alive && view.note(server, life, event.clone()) || is_breach
            };
            self.view.send_if_modified(is_news);
            if let Event::Query { id, .. } = event
                && let Some(asker) = lock(&self.asked).remove(&id)
            {
                // Whoever asked may have given up.
                let _ = asker.send(event);
            }
        }
    }
}

impl View {
    /// Takes what a living server tells; true if somebody may wait for it.
    fn note(&mut self, server: u64, life: u64, event: Event) -> bool {
        match event {
            Event::Joined { .. } => {
                self.joined.insert(server, life);
            }
            Event::Role { term, role, .. } if role == "leader" => {
                if self.leader.is_none_or(|(known, _)| term > known) {
                    self.leader = Some((term, server));
                }
            }
            Event::Role { term, role, .. } => {
                if role == "candidate" {
                    self.candidates.entry(term).or_default().insert(server);
                    while self.candidates.len() > 4 {
                        self.candidates.pop_first();
                    }
                }
                self.leader.take_if(|(known, leader)| *leader == server && term >= *known);
            }
            Event::Status(status) => {
                self.statuses.insert(server, *status);
            }
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(server: u64, term: u64, role: &str) -> Event {
        let role = role.to_owned();
        Event::Role { server, from_term: 0, from_role: String::new(), term, role, leader: None }
    }

    #[test]
    fn who_leads_is_who_was_elected_last_and_still_does() {
        let mut view = View::default();
        view.note(2, 1, role(2, 3, "candidate"));
        assert_eq!((view.leader, view.candidates[&3].contains(&2)), (None, true));
        view.note(2, 1, role(2, 3, "leader"));
        view.note(1, 1, role(1, 2, "leader"));
        assert_eq!(view.leader, Some((3, 2)), "late news of an earlier term");
        view.note(1, 1, role(1, 3, "follower"));
        assert_eq!(view.leader, Some((3, 2)), "another one follows");
        view.note(2, 1, role(2, 4, "follower"));
        assert_eq!(view.leader, None);
    }
}
