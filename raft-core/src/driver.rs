//! Runs one server on tokio (feature `driver`): the clock, the storage, the state machine and the way
//! out. No decision of the protocol is made here.
//!
//! Guarantees: effects are carried out in order; saves are durable before they are confirmed, and
//!             those that pile up while one is under way share the next (group commit).
//! Relies on:  the host delivering what arrives for the server, by [`Handle::deliver`].
//! Elsewhere:  what to do is decided in [`crate::Server`] and [`crate::Client`] alone.

mod client;
mod snapshot;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use client::{Answer, ClientDriver, RequestError};

use crate::cluster_manager::ClusterManager;
use crate::config::Config;
use crate::effect::{Effect, Effects, Save};
use crate::error::StepError;
use crate::log::Payload;
use crate::message::Envelope;
use crate::server::{Input, NewServerError, Server};
use crate::server_manager::{RoleChange, ServerManager};
use crate::state_machine::{RestoreError, StateMachine, apply_encoded};
use crate::status::Status;
use crate::storage::{Storage, StorageError};
use crate::types::{Index, SaveNumber, Timestamp};

use snapshot::SnapshotSlot;

/// How many inputs may wait for a server before [`Handle::deliver`] waits too.
const INPUTS_MAX: usize = 4096;
/// How many inputs are taken before their saves are started together.
const INPUTS_PER_ROUND: usize = 256;

/// Runs one server.
///
/// [`Driver::new`] reads the storage, [`Driver::run`] is the task; [`Handle`]s talk to it meanwhile.
pub struct Driver<M, S, C, H> {
    server: Server,
    machine: M,
    storage: StorageSlot<S>,
    snapshot: SnapshotSlot,
    cluster_manager: C,
    host: H,
    requests: mpsc::Receiver<Request<M>>,
    effects: Effects,
    /// Inputs that an effect caused, taken before anything from outside.
    follow_ups: VecDeque<Input>,
    /// Saves that wait for the storage.
    saves: Vec<Save>,
    /// The last entry the host was told of.
    notified: Index,
    clock: Clock,
}

/// Where the storage is: here, or writing on a thread that may block.
enum StorageSlot<S> {
    Idle(S),
    Writing(JoinHandle<(S, Result<SaveNumber, StorageError>)>),
    /// Only while it moves from one to the other.
    Moving,
}

/// Time since the driver was made.
#[derive(Clone, Copy, Debug)]
struct Clock {
    origin: Instant,
}

impl Clock {
    fn start() -> Self {
        Self { origin: Instant::now() }
    }

    fn now(self) -> Timestamp {
        Timestamp::ZERO + self.origin.elapsed()
    }

    fn instant(self, at: Timestamp) -> Instant {
        // Far enough away to never come, near enough not to overflow.
        const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
        self.origin + at.since(Timestamp::ZERO).min(NEVER)
    }
}

/// What a handle asks of its driver.
enum Request<M> {
    Input(Input),
    Inspect(Look<M>),
    Stop,
}

/// Looks at a server and its state machine, and keeps what it saw to itself.
type Look<M> = Box<dyn FnOnce(&Server, &M) + Send>;

/// Talks to a running server; clones talk to the same one. When the last is dropped, the server stops.
pub struct Handle<M> {
    requests: mpsc::Sender<Request<M>>,
}

impl<M> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { requests: self.requests.clone() }
    }
}

impl<M> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// The server is not running any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server has stopped")]
pub struct Stopped;

impl<M: StateMachine> Handle<M> {
    /// Tells the server that it has joined its cluster: now the protocol begins.
    ///
    /// # Errors
    ///
    /// If the server has stopped.
    pub async fn notify_joined_service(&self) -> Result<(), Stopped> {
        self.ask(Request::Input(Input::NotifyJoinedService)).await
    }

    /// Delivers a message that arrived for the server; waits while the server is busy.
    ///
    /// # Errors
    ///
    /// If the server has stopped.
    pub async fn deliver(&self, envelope: Envelope) -> Result<(), Stopped> {
        self.ask(Request::Input(Input::Message(envelope))).await
    }

    /// Looks at the server and its state machine, between two steps.
    ///
    /// # Errors
    ///
    /// If the server has stopped.
    pub async fn inspect<R: Send + 'static>(
        &self,
        look: impl FnOnce(&Server, &M) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (answer, answered) = oneshot::channel();
        let look = move |server: &Server, machine: &M| {
            // Whoever asked may have gone away since.
            let _ = answer.send(look(server, machine));
        };
        self.ask(Request::Inspect(Box::new(look))).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// What an operator sees of the server now.
    ///
    /// # Errors
    ///
    /// If the server has stopped.
    pub async fn status(&self) -> Result<Status, Stopped> {
        self.inspect(|server, _| server.status()).await
    }

    /// Asks the state machine of this server, which may be behind others.
    ///
    /// # Errors
    ///
    /// If the server has stopped.
    pub async fn query_stale(&self, query: M::Query) -> Result<M::Answer, Stopped>
    where
        M::Query: Send,
        M::Answer: Send,
    {
        self.inspect(move |_, machine| machine.query(query)).await
    }

    /// Asks the server to stop: it finishes the saves under way, and [`Driver::run`] returns.
    ///
    /// # Errors
    ///
    /// If the server has stopped already.
    pub async fn stop(&self) -> Result<(), Stopped> {
        self.ask(Request::Stop).await
    }

    async fn ask(&self, request: Request<M>) -> Result<(), Stopped> {
        self.requests.send(request).await.map_err(|_| Stopped)
    }
}

/// Why a server cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// Its storage failed. What it had promised is durable; what it had not is lost.
    #[error("the storage failed")]
    Storage(#[from] StorageError),
    /// Its configuration or what it recovered makes no sense.
    #[error("the server cannot start")]
    NewServer(#[from] NewServerError),
    /// The cluster as a whole has broken a promise; going on could lose data.
    #[error("the cluster is broken, and this server stops to keep its log")]
    Broken(#[from] StepError),
    /// A snapshot is none of this state machine's.
    #[error("the state machine cannot be restored")]
    Restore(#[from] RestoreError),
    /// The storage panicked.
    #[error("the storage panicked")]
    StoragePanicked,
    /// The state machine panicked.
    #[error("the state machine panicked while it gave its state")]
    SnapshotPanicked,
}

impl<M, S, C, H> Driver<M, S, C, H>
where
    M: StateMachine,
    S: Storage,
    C: ClusterManager,
    H: ServerManager,
{
    /// Reads the storage and makes the server, which waits to be told that it has joined.
    ///
    /// # Errors
    ///
    /// If the storage cannot be read, or the configuration makes no sense.
    pub fn new(
        config: Config,
        machine: M,
        mut storage: S,
        cluster_manager: C,
        mut host: H,
    ) -> Result<(Self, Handle<M>), DriverError> {
        let recovered = storage.load()?;
        let server = Server::new(config, recovered)?;
        host.initialize();
        let (sender, requests) = mpsc::channel(INPUTS_MAX);
        let driver = Self {
            server,
            machine,
            storage: StorageSlot::Idle(storage),
            snapshot: SnapshotSlot::default(),
            cluster_manager,
            host,
            requests,
            effects: Effects::new(),
            follow_ups: VecDeque::new(),
            saves: Vec::new(),
            notified: Index::ZERO,
            clock: Clock::start(),
        };
        Ok((driver, Handle { requests: sender }))
    }

    /// Runs the server until it is asked to stop, or its last handle is dropped.
    ///
    /// # Errors
    ///
    /// If the storage fails, or the cluster turns out to be broken. The server must not go on then.
    pub async fn run(mut self) -> Result<(), DriverError> {
        let mut is_stopping = false;
        while !is_stopping {
            let wake_at = self.server.next_timeout().map(|at| self.clock.instant(at));
            tokio::select! {
                biased;
                saved = self.storage.written() => self.confirm(saved)?,
                taken = self.snapshot.taken() => self.step(taken?)?,
                request = self.requests.recv() => match request {
                    Some(request) => {
                        is_stopping = self.take(request)?;
                        // Whatever else has arrived shares the save.
                        for _ in 1..INPUTS_PER_ROUND {
                            match self.requests.try_recv() {
                                Ok(request) if !is_stopping => is_stopping = self.take(request)?,
                                _ => break,
                            }
                        }
                    }
                    None => is_stopping = true,
                },
                () = sleep_until(wake_at) => {}
            }
            // After what has arrived, so that a server that was stopped for a while hears its leader
            // before it calls an election; and in every round, so that no flood can silence it.
            if self.server.next_timeout().is_some_and(|at| self.clock.now() >= at) {
                self.step(Input::TimerElapsed)?;
            }
            self.start_save()?;
        }
        self.flush().await
    }

    /// Takes a request. True if it is to stop.
    fn take(&mut self, request: Request<M>) -> Result<bool, DriverError> {
        match request {
            Request::Input(input) => {
                // Before the first thing happens that the host is told of; and only once.
                if matches!(input, Input::NotifyJoinedService) && !self.server.has_joined() {
                    self.host.start();
                }
                self.step(input)?;
            }
            Request::Inspect(look) => look(&self.server, &self.machine),
            Request::Stop => return Ok(true),
        }
        Ok(false)
    }

    /// One step, and everything that follows from it without waiting.
    fn step(&mut self, input: Input) -> Result<(), DriverError> {
        let mut next = Some(input);
        while let Some(input) = next {
            let before = RoleChange::none(&self.server);
            match self.server.step(self.clock.now(), input, &mut self.effects) {
                Ok(()) => {}
                Err(error) if error.is_fatal() => return Err(error.into()),
                // Counted by the server; whoever sent it gets no answer.
                Err(_) => {}
            }
            if let Some(change) = before.until(&self.server) {
                self.host.notify_role_change(change);
            }
            let mut effects = std::mem::take(&mut self.effects);
            for effect in effects.drain() {
                self.carry_out(effect)?;
            }
            self.effects = effects;
            next = self.follow_ups.pop_front();
        }
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), DriverError> {
        match effect {
            Effect::Save(save) => self.saves.push(save),
            Effect::Send(envelope) => self.cluster_manager.dispatch(envelope),
            Effect::Apply(apply) => {
                let mut responses = Vec::new();
                for entry in apply.commands() {
                    let Some(command) = entry.payload.command() else { continue };
                    let response = apply_encoded(&mut self.machine, entry.index, command);
                    if let Payload::Command(_) = &entry.payload {
                        responses.push(Bytes::from(response));
                    }
                }
                // Applies of one step come in log order, and are confirmed in that order.
                self.follow_ups.push_back(Input::Applied { through: apply.through, responses });
            }
            Effect::TakeSnapshot { through } => {
                self.snapshot.begin(through, self.machine.begin_snapshot());
            }
            Effect::RestoreSnapshot(snapshot) => {
                self.machine.restore(snapshot.data())?;
                let through = snapshot.last().index;
                self.notified = self.notified.max(through);
                self.follow_ups.push_back(Input::Applied { through, responses: Vec::new() });
            }
            Effect::NotifyElectedLeader { term } => self.host.notify_elected_leader(term),
            Effect::NotifyCommit { index } => {
                for entry in self.server.log().from(self.notified.next()) {
                    if entry.index > index {
                        break;
                    }
                    self.host.notify_commit(entry);
                }
                self.notified = self.notified.max(index);
            }
            Effect::NotifyConfiguration { .. }
            | Effect::ReadReady { .. }
            | Effect::ReadFailed { .. }
            | Effect::NotifyTransferAborted { .. } => {}
        }
        Ok(())
    }

    /// Starts to write what waits, unless a write is under way.
    fn start_save(&mut self) -> Result<(), DriverError> {
        while !self.saves.is_empty() {
            let mut storage = match std::mem::replace(&mut self.storage, StorageSlot::Moving) {
                StorageSlot::Idle(storage) => storage,
                busy @ (StorageSlot::Writing(_) | StorageSlot::Moving) => {
                    self.storage = busy;
                    return Ok(());
                }
            };
            let saves = std::mem::take(&mut self.saves);
            let number = saves.last().expect("there is one").number;
            if storage.is_instant() {
                let result = storage.save(&saves);
                self.storage = StorageSlot::Idle(storage);
                result?;
                // The step may ask for another save, which is written in the next round.
                self.step(Input::Saved(number))?;
            } else {
                let write = move || {
                    let result = storage.save(&saves);
                    (storage, result.map(|()| number))
                };
                self.storage = StorageSlot::Writing(tokio::task::spawn_blocking(write));
            }
        }
        Ok(())
    }

    fn confirm(&mut self, saved: Result<SaveNumber, DriverError>) -> Result<(), DriverError> {
        self.step(Input::Saved(saved?))
    }

    /// Finishes the saves, and sends what depended on them.
    async fn flush(mut self) -> Result<(), DriverError> {
        loop {
            self.start_save()?;
            if !matches!(self.storage, StorageSlot::Writing(_)) {
                return Ok(());
            }
            let saved = self.storage.written().await;
            self.confirm(saved)?;
        }
    }
}

impl<S> StorageSlot<S> {
    /// Waits for the write under way, for ever if there is none. Nothing is lost if it is dropped.
    async fn written(&mut self) -> Result<SaveNumber, DriverError> {
        let Self::Writing(write) = self else { return std::future::pending().await };
        let finished = write.await;
        match finished {
            Ok((storage, result)) => {
                *self = Self::Idle(storage);
                Ok(result?)
            }
            Err(_) => Err(DriverError::StoragePanicked),
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl<M, S, C, H> fmt::Debug for Driver<M, S, C, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("server", &self.server.status()).finish_non_exhaustive()
    }
}
