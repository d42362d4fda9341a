//! The sample's test scenario: servers and a client on the in-memory bus, some requests, a verdict.
//!
//! Guarantees: on a current-thread runtime with paused time, one seed gives one outcome, down to the
//!             last line of the transcript.
//! Relies on:  every source of difference being inside: seeds, paused time, tokio's queues. Real
//!             time or several threads still give a right verdict, not the same run.
//! Elsewhere:  hundreds of schedules per second, with losses and crashes at any step, are the work of
//!             the crate `raft-nondeterminism`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use raft_core::driver::{Answer, RequestError};
use raft_core::{
    ClientConfig, ClientId, ClusterManager, Config, Entry, Envelope, ServerId, StateMachine, Term,
};
use tokio::time::{Instant, timeout};

use crate::bus::{Bus, BusError};
use crate::client::MockClient;
use crate::cluster_manager::{MockClusterManager, TOPIC, Traffic, VoteRequestsTwice};
use crate::dice::Dice;
use crate::safety_monitor::{SafetyMonitor, Violation};
use crate::server_host::{HostError, MockServerHost, Outbound};
use crate::transcript::Transcript;

/// The one client of a scenario.
const CLIENT: ClientId = ClientId(1);

/// The sample's `RaftTestScenario`: what is to happen.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), raft_mocking::ScenarioError> {
/// use raft_mocking::Scenario;
///
/// let outcome = Scenario::new().servers(5).requests(2).seed(7).run().await?;
/// assert_eq!(outcome.answered(), 2);
/// assert_eq!(outcome.verdict, Ok(()), "the monitor saw nothing wrong");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "nothing happens before `run`"]
pub struct Scenario {
    servers: u64,
    requests: u64,
    seed: u64,
    latency: Option<Range<Duration>>,
    vote_requests_twice: bool,
    outbound: Option<Outbound>,
    within: Duration,
    /// What happens after how many requests.
    incidents: BTreeMap<u64, Vec<Incident>>,
}

#[derive(Clone, Copy, Debug)]
enum Incident {
    KillLeader,
    RestartKilled,
}

/// Why a scenario could not be played. That a request failed or a promise was broken is an
/// [`Outcome`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// A server did not start.
    #[error(transparent)]
    Host(#[from] HostError),
    /// There is no way to the bus.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// There is no leader to kill.
    #[error("nobody was elected within {within:?}, so there is no leader to kill")]
    NoLeader {
        /// How long was waited.
        within: Duration,
    },
}

/// How a scenario ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What each request came to.
    pub answers: Vec<Result<Answer, RequestError>>,
    /// Who was elected in each term.
    pub elections: BTreeMap<Term, ServerId>,
    /// Who leads at the end, if anybody does.
    pub leader: Option<ServerId>,
    /// The log of every server that runs at the end.
    pub logs: BTreeMap<ServerId, Vec<Entry>>,
    /// What the state machine of each of them holds.
    pub states: BTreeMap<ServerId, Vec<String>>,
    /// Servers that had to stop by themselves, and why.
    pub failures: BTreeMap<ServerId, String>,
    /// What the monitor says.
    pub verdict: Result<(), Violation>,
    /// What became of the messages.
    pub traffic: Traffic,
    /// How many vote requests were repeated.
    pub vote_requests_repeated: u64,
    /// How many operations the service would have billed.
    pub billable_operations: u64,
    /// How long it took, on the clock of the runtime.
    pub elapsed: Duration,
    /// Every message, change of role and commit, with its time.
    pub transcript: Vec<String>,
}

impl Outcome {
    /// How many requests were answered.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.answers.iter().filter(|answer| answer.is_ok()).count()
    }

    /// True if all servers that run hold the same log, and have applied the same commands.
    #[must_use]
    pub fn is_identical_everywhere(&self) -> bool {
        fn all_equal<T: PartialEq>(mut values: impl Iterator<Item = T>) -> bool {
            let first = values.next();
            values.all(|value| Some(&value) == first.as_ref())
        }
        all_equal(self.logs.values()) && all_equal(self.states.values())
    }
}

impl Default for Scenario {
    fn default() -> Self {
        Self::new()
    }
}

impl Scenario {
    /// Five servers and two requests, as in the sample, over a network without faults.
    pub fn new() -> Self {
        Self {
            servers: 5,
            requests: 2,
            seed: 0,
            latency: None,
            vote_requests_twice: false,
            outbound: None,
            within: Duration::from_secs(60),
            incidents: BTreeMap::new(),
        }
    }

    /// How many servers.
    pub fn servers(self, servers: u64) -> Self {
        Self { servers, ..self }
    }

    /// How many requests the client makes, one after the other.
    pub fn requests(self, requests: u64) -> Self {
        Self { requests, ..self }
    }

    /// Chooses the election timeouts and the latencies.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// How long a message takes: a random time in this range, so that messages overtake each other.
    /// Without it they take none.
    pub fn latency(self, latency: Range<Duration>) -> Self {
        Self { latency: Some(latency), ..self }
    }

    /// Has the network carry every vote request twice: see [`VoteRequestsTwice`].
    pub fn vote_requests_twice(self) -> Self {
        Self { vote_requests_twice: true, ..self }
    }

    /// Has every server send by what `outbound` makes of the usual way: for faults of your own. It
    /// takes the place of [`Scenario::latency`] and [`Scenario::vote_requests_twice`].
    pub fn outbound(
        self,
        outbound: impl Fn(ServerId, MockClusterManager) -> Box<dyn ClusterManager>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self { outbound: Some(Arc::new(outbound)), ..self }
    }

    /// How long the client tries each request, and how long the servers have to agree at the end.
    pub fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    /// Kills the leader after so many requests, as soon as there is one.
    pub fn kill_leader_after(self, requests: u64) -> Self {
        self.incident(requests, Incident::KillLeader)
    }

    /// Restarts every killed server after so many requests.
    pub fn restart_killed_after(self, requests: u64) -> Self {
        self.incident(requests, Incident::RestartKilled)
    }

    fn incident(mut self, requests: u64, incident: Incident) -> Self {
        self.incidents.entry(requests).or_default().push(incident);
        self
    }

    /// Plays the scenario.
    ///
    /// # Errors
    ///
    /// If the servers cannot be started, or there is no leader to kill.
    pub async fn run(self) -> Result<Outcome, ScenarioError> {
        let mut stage = Stage::set(&self)?;
        for host in stage.hosts.values_mut() {
            host.start().await?;
        }
        let mut answers = Vec::new();
        stage.play(&self, 0).await?;
        for request in 1..=self.requests {
            answers.push(stage.client.request(&format!("request-{request}")).await);
            stage.play(&self, request).await?;
        }
        stage.settle(self.within).await;
        Ok(stage.end(answers).await)
    }
}

/// Everything that takes part.
struct Stage {
    started: Instant,
    cluster_manager: MockClusterManager,
    monitor: SafetyMonitor,
    transcript: Transcript,
    hosts: BTreeMap<ServerId, MockServerHost>,
    /// Those that were killed and not restarted since.
    killed: BTreeSet<ServerId>,
    client: MockClient,
    vote_requests_repeated: Arc<Mutex<u64>>,
}

impl Stage {
    fn set(scenario: &Scenario) -> Result<Self, ScenarioError> {
        let transcript = Transcript::new();
        let cluster_manager =
            MockClusterManager::new(Bus::new(), TOPIC)?.with_transcript(transcript.clone());
        let monitor = SafetyMonitor::new();
        let vote_requests_repeated = Arc::new(Mutex::new(0));
        let outbound = match &scenario.outbound {
            Some(outbound) => Arc::clone(outbound),
            None => usual_outbound(scenario, &vote_requests_repeated),
        };
        let ids: Vec<_> = (1..=scenario.servers).map(ServerId).collect();
        let host = |&id: &ServerId| {
            let config = Config { seed: scenario.seed, ..Config::new(id, ids.iter().copied()) };
            let host = MockServerHost::new(config, cluster_manager.clone(), monitor.clone());
            (id, host.with_outbound(Arc::clone(&outbound)))
        };
        let hosts = ids.iter().map(host).collect();
        // Without a session, as the sample's client: a scenario counts entries and messages.
        let config = ClientConfig { register: false, ..ClientConfig::new(CLIENT, ids) };
        let client = MockClient::new(config, &cluster_manager)?.giving_up_after(scenario.within);
        let started = Instant::now();
        Ok(Self {
            started,
            cluster_manager,
            monitor,
            transcript,
            hosts,
            killed: BTreeSet::new(),
            client,
            vote_requests_repeated,
        })
    }

    /// What was planned for after so many requests.
    async fn play(&mut self, scenario: &Scenario, requests: u64) -> Result<(), ScenarioError> {
        for incident in scenario.incidents.get(&requests).into_iter().flatten() {
            match incident {
                Incident::KillLeader => self.kill_leader(scenario.within).await?,
                Incident::RestartKilled => {
                    // A server that stopped by itself stays down: its failure is to be seen.
                    while let Some(id) = self.killed.pop_first() {
                        self.hosts.get_mut(&id).expect("it was hosted").restart().await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn kill_leader(&mut self, within: Duration) -> Result<(), ScenarioError> {
        let hosts = &self.hosts;
        let mut leader = None;
        let elected = self.monitor.until(|seen| {
            leader = seen.last_elected.map(|(leader, _)| leader);
            leader.is_some_and(|leader| hosts[&leader].is_running())
        });
        let elected = timeout(within, elected).await;
        match leader.and_then(|leader| self.hosts.get_mut(&leader)) {
            Some(host) if elected.is_ok() => {
                host.kill().await;
                self.killed.insert(host.server_id());
                Ok(())
            }
            Some(_) | None => Err(ScenarioError::NoLeader { within }),
        }
    }

    fn running(&self) -> impl Iterator<Item = &MockServerHost> {
        self.hosts.values().filter(|host| host.is_running())
    }

    /// Waits until all servers that run have committed all they have, and applied it.
    async fn settle(&self, within: Duration) {
        let settled = async {
            loop {
                let last = self.monitor.seen().last_committed();
                let running: Vec<_> = self.running().map(MockServerHost::server_id).collect();
                self.monitor
                    .until(|seen| {
                        let last = seen.last_committed();
                        running.iter().all(|&id| seen.life(id).committed == last)
                    })
                    .await;
                let mut is_settled = true;
                for host in self.running() {
                    let Ok(status) = host.status().await else { continue };
                    is_settled &= status.last.index == status.commit_index
                        && status.last_applied == status.commit_index
                        && status.commit_index == self.monitor.seen().last_committed();
                }
                if is_settled {
                    return;
                }
                // An entry is under way, and will be told when it is committed.
                self.monitor.until(|seen| seen.last_committed() > last).await;
            }
        };
        // Whoever cannot agree in time shows it in the outcome.
        let _ = timeout(within, settled).await;
    }

    async fn end(mut self, answers: Vec<Result<Answer, RequestError>>) -> Outcome {
        let (mut logs, mut states) = (BTreeMap::new(), BTreeMap::new());
        let mut leaders = BTreeMap::new();
        for host in self.running() {
            let id = host.server_id();
            let seen = host.inspect(|server, machine| {
                let leads = server.role().is_leader().then(|| server.current_term());
                (server.log().iter().cloned().collect(), machine.query(()), leads)
            });
            if let Ok((log, state, leads)) = seen.await {
                logs.insert(id, log);
                states.insert(id, state);
                leaders.extend(leads.map(|term| (term, id)));
            }
        }
        // A leader that is stopped hands over to one that is not yet, which is no part of the scenario.
        let elections = self.monitor.seen().leaders;
        let mut failures = BTreeMap::new();
        for (&id, host) in &mut self.hosts {
            match host.stop().await {
                Ok(()) | Err(HostError::NotRunning { .. }) => {}
                Err(error) => drop(failures.insert(id, describe(&error))),
            }
        }
        let repeated = *self.vote_requests_repeated.lock().unwrap_or_else(PoisonError::into_inner);
        Outcome {
            answers,
            elections,
            // A leader that was cut off may believe to lead an older term.
            leader: leaders.last_key_value().map(|(_, &leader)| leader),
            logs,
            states,
            failures,
            verdict: self.monitor.check(),
            traffic: self.cluster_manager.traffic(),
            vote_requests_repeated: repeated,
            billable_operations: self.cluster_manager.bus().meter().operations(),
            elapsed: self.started.elapsed(),
            transcript: self.transcript.lines(),
        }
    }
}

/// An error with all its causes, on one line.
fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

fn usual_outbound(scenario: &Scenario, repeated: &Arc<Mutex<u64>>) -> Outbound {
    let (latency, seed) = (scenario.latency.clone(), scenario.seed);
    let twice = scenario.vote_requests_twice.then(|| Arc::clone(repeated));
    Arc::new(move |server_id, usual| {
        let carried: Box<dyn ClusterManager> = match &latency {
            Some(latency) => {
                // A seed for each server, or all would draw the same.
                let dice = Dice::new(seed ^ server_id.0.rotate_left(32));
                Box::new(Delayed { inner: usual, latency: latency.clone(), dice })
            }
            None => Box::new(usual),
        };
        match &twice {
            Some(repeated) => Box::new(VoteRequestsTwice::new(carried, Arc::clone(repeated))),
            None => carried,
        }
    })
}

/// Carries each message after a random time.
struct Delayed {
    inner: MockClusterManager,
    latency: Range<Duration>,
    dice: Dice,
}

impl Delayed {
    fn carry(&mut self, envelope: Envelope) {
        let latency = self.draw();
        let mut inner = self.inner.clone();
        tokio::spawn(async move {
            tokio::time::sleep(latency).await;
            inner.route(envelope);
        });
    }

    /// A time in the range.
    fn draw(&mut self) -> Duration {
        let width = self.latency.end.saturating_sub(self.latency.start);
        let nanos = u64::try_from(width.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.latency.start + Duration::from_nanos(self.dice.below(nanos))
    }
}

impl ClusterManager for Delayed {
    fn send(&mut self, envelope: Envelope) {
        self.carry(envelope);
    }

    fn broadcast(&mut self, envelope: Envelope) {
        self.carry(envelope);
    }

    fn answer(&mut self, envelope: Envelope) {
        self.carry(envelope);
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario")
            .field("servers", &self.servers)
            .field("requests", &self.requests)
            .field("seed", &self.seed)
            .field("latency", &self.latency)
            .field("incidents", &self.incidents)
            .finish_non_exhaustive()
    }
}
