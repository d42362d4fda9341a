//! Runs one server on tokio (feature `driver`): the clock, the storage, the state machine and the way
//! out. No decision of the protocol is made here.
//!
//! Guarantees: effects are carried out in order; saves are durable before they are confirmed, and
//!             those that pile up while one is under way share the next (group commit). Whatever has
//!             arrived when the server wakes up is one step.
//! Relies on:  the host delivering what arrives for the server, by [`Handle::deliver`].
//! Elsewhere:  what to do is decided in [`crate::Server`] and [`crate::Client`] alone.

mod client;
mod handle;
mod snapshot;
mod waiting;

use std::fmt;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep};

pub use client::{Answer, ClientDriver, RequestError};
pub use handle::{ChangeError, Handle, ProposeError, QueryError, Stopped, TransferError};

use crate::cluster_manager::ClusterManager;
use crate::codec;
use crate::config::Config;
use crate::effect::{Apply, Effect, Effects, Save};
use crate::error::{NewServerError, StepError};
use crate::input::Input;
use crate::log::Payload;
use crate::role::Role;
use crate::server::Server;
use crate::server_manager::{RoleChange, ServerManager};
use crate::state_machine::{RestoreError, StateMachine, decode_command};
use crate::storage::{Storage, StorageError};
use crate::types::{Index, ReadId, SaveNumber, Timestamp};
use handle::{Look, Request};
use snapshot::SnapshotSlot;
use waiting::{Asked, Round, Waiting};

/// How many inputs may wait for a server before [`Handle::deliver`] waits too.
const INPUTS_MAX: usize = 4096;
/// How many of them are taken as one step.
const INPUTS_PER_ROUND: usize = 512;

/// Runs one server.
///
/// [`Driver::new`] reads the storage, [`Driver::run`] is the task; [`Handle`]s talk to it meanwhile.
pub struct Driver<M: StateMachine, S, C, H> {
    server: Server,
    machine: M,
    storage: StorageSlot<S>,
    snapshot: SnapshotSlot,
    cluster_manager: C,
    host: H,
    requests: mpsc::Receiver<Request<M>>,
    /// What has arrived; empty between rounds, and kept for its memory, like the next three.
    arrived: Vec<Request<M>>,
    round: Round<M>,
    looks: Vec<Look<M>>,
    effects: Effects,
    /// Inputs that effects caused, taken before anything from outside.
    follow_ups: Vec<Input>,
    waiting: Waiting<M>,
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

/// Far enough away to never come, near enough not to overflow.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

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
        self.origin + at.since(Timestamp::ZERO).min(NEVER)
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
        // This driver writes while it goes on: what it saves is durable only once it says so.
        let config = Config { synchronous_driver: false, ..config };
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
            arrived: Vec::new(),
            round: Round::new(),
            looks: Vec::new(),
            effects: Effects::new(),
            follow_ups: Vec::new(),
            waiting: Waiting::new(first_read()),
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
        let mut timer = pin!(tokio::time::sleep_until(self.clock.instant(Timestamp::ZERO)));
        let mut is_stopping = false;
        loop {
            self.arm(timer.as_mut());
            let mut is_over = false;
            tokio::select! {
                biased;
                saved = self.storage.written() => self.round.push(Input::Saved(saved?)),
                taken = self.snapshot.taken() => self.round.push(taken?),
                count = self.requests.recv_many(&mut self.arrived, INPUTS_PER_ROUND) => {
                    is_over = count == 0;
                }
                () = &mut timer => {
                    #[cfg(feature = "metrics")]
                    self.server.status().record();
                }
            }
            is_stopping |= self.sort_arrivals();
            if is_over || is_stopping {
                self.hand_over();
            }
            // After what has arrived, so that a server that was stopped for a while hears its leader
            // before it calls an election; and in every round, so that no flood can silence it.
            if self.server.next_timeout().is_some_and(|at| self.clock.now() >= at) {
                self.round.push(Input::TimerElapsed);
            }
            self.take_round()?;
            self.start_save();
            if is_over || is_stopping && !self.is_handing_over() {
                return self.flush().await;
            }
        }
    }

    /// Has the timer fire no later than the server wants to be woken. Most rounds only put that off,
    /// and then the timer stays as it is: to wake up early does no harm.
    fn arm(&self, timer: Pin<&mut Sleep>) {
        let wake_at = self.server.next_timeout().map(|at| self.clock.instant(at));
        if timer.is_elapsed() || wake_at.is_some_and(|at| at < timer.deadline()) {
            timer.reset(wake_at.unwrap_or(self.clock.origin + NEVER));
        }
    }

    /// Turns what has arrived into the inputs of a round. True if the server is to stop.
    fn sort_arrivals(&mut self) -> bool {
        let mut is_stopping = false;
        let mut has_joined = self.server.has_joined();
        for request in self.arrived.drain(..) {
            let round = &mut self.round;
            match request {
                Request::Join => {
                    // Before the first thing happens that the host is told of; and only once.
                    if !has_joined {
                        self.host.start();
                        has_joined = true;
                    }
                    round.push(Input::NotifyJoinedService);
                }
                Request::Deliver(envelope) => round.push(Input::Message(envelope)),
                Request::Propose(command, proposer) if has_joined => {
                    round.push_asked(Input::Propose(command), Asked::Proposal(proposer));
                }
                Request::Query(query, mode, asker) if has_joined => {
                    self.waiting.query(round, query, mode, asker);
                }
                Request::Change(changes, changer) if has_joined => {
                    round.push_asked(Input::ChangeMembership(changes), Asked::Change(changer));
                }
                Request::Transfer(to, transferrer) if has_joined => {
                    let input = Input::TransferLeadership { to };
                    round.push_asked(input, Asked::Transfer(transferrer));
                }
                // The server would defer them; but who is in no cluster leads none.
                Request::Propose(_, proposer) => {
                    let _ = proposer.send(Err(ProposeError::NotLeader { leader: None }));
                }
                Request::Query(_, _, asker) => {
                    let _ = asker.send(Err(QueryError::NoLeader));
                }
                Request::Change(_, changer) => {
                    let _ = changer.send(Err(ChangeError::NotLeader { leader: None }));
                }
                Request::Transfer(_, transferrer) => {
                    let _ = transferrer.send(Err(TransferError::NotLeader { leader: None }));
                }
                Request::TakeSnapshot => round.push(Input::TakeSnapshot),
                Request::Inspect(look) => self.looks.push(look),
                Request::Stop => is_stopping = true,
            }
        }
        is_stopping
    }

    /// Has another server lead before this one goes, so that nobody has to wait for an election.
    fn hand_over(&mut self) {
        if self.server.role().is_leader() && !self.is_handing_over() {
            // If there is nobody who could lead, that is refused.
            self.round.push(Input::TransferLeadership { to: None });
        }
    }

    /// True as long as it is worth waiting for: the server gives up by itself after a while.
    fn is_handing_over(&self) -> bool {
        matches!(self.server.role(), Role::Leader(leader) if leader.transfer.is_some())
    }

    /// One step for all inputs of the round, and everything that follows without waiting.
    fn take_round(&mut self) -> Result<(), DriverError> {
        let mut inputs = std::mem::take(&mut self.round.inputs);
        while !inputs.is_empty() {
            self.step(&mut inputs)?;
            self.save_at_once()?;
            // The buffer that was just emptied is the next one to be filled.
            std::mem::swap(&mut inputs, &mut self.follow_ups);
        }
        self.round.inputs = inputs;
        for look in self.looks.drain(..) {
            look(&self.server, &self.machine);
        }
        Ok(())
    }

    fn step(&mut self, inputs: &mut Vec<Input>) -> Result<(), DriverError> {
        let before = RoleChange::none(&self.server);
        let now = self.clock.now();
        let mut taken = self.waiting.begin(&mut self.round);
        let taken = move |server: &Server, _: &[Effect], outcome: Result<(), StepError>| {
            taken(outcome.map(|()| server.log().last()));
        };
        match self.server.step_each(now, inputs.drain(..), &mut self.effects, taken) {
            Ok(()) => {}
            Err(error) if error.is_fatal() => return Err(error.into()),
            // Counted by the server; whoever asked is told, and whoever sent a message is not.
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
        self.waiting.look(&self.server);
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), DriverError> {
        match effect {
            Effect::Save(save) => self.saves.push(save),
            Effect::Send(envelope) => self.cluster_manager.dispatch(envelope),
            Effect::Apply(apply) => self.apply(&apply),
            Effect::TakeSnapshot { through } => {
                self.snapshot.begin(through, self.machine.begin_snapshot());
            }
            Effect::RestoreSnapshot(snapshot) => {
                self.machine.restore(snapshot.data())?;
                let through = snapshot.last().index;
                self.notified = self.notified.max(through);
                self.waiting.applied_through(through);
                self.follow_ups.push(Input::Applied { through, responses: Vec::new() });
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
            Effect::ReadReady { id, .. } => self.waiting.read_ready(id, &self.machine),
            Effect::ReadFailed { id, failure } => self.waiting.read_failed(id, failure.into()),
            Effect::NotifyTransferAborted { target } => self.waiting.transfer_aborted(target),
            Effect::NotifyConfiguration { .. } => {}
        }
        Ok(())
    }

    /// Hands a stretch of the log to the state machine, and tells who proposed a part of it.
    fn apply(&mut self, apply: &Apply) {
        let mut responses = Vec::new();
        for entry in apply.commands() {
            let Some(command) = entry.payload.command() else { continue };
            let outcome = decode_command::<M>(command);
            let outcome = outcome.map(|command| self.machine.apply(entry.index, command));
            match &entry.payload {
                Payload::Command(_) => {
                    responses.push(Bytes::from(codec::encode_value(&outcome)));
                }
                _ => self.waiting.applied(entry, outcome),
            }
        }
        self.waiting.applied_through(apply.through);
        // Applies of one step come in log order, and are confirmed in that order.
        self.follow_ups.push(Input::Applied { through: apply.through, responses });
    }

    /// Writes what waits, if that takes no time.
    fn save_at_once(&mut self) -> Result<(), DriverError> {
        if let StorageSlot::Idle(storage) = &mut self.storage
            && let Some(last) = self.saves.last()
            && storage.is_instant()
        {
            let number = last.number;
            storage.save(&self.saves)?;
            self.saves.clear();
            self.follow_ups.push(Input::Saved(number));
        }
        Ok(())
    }

    /// Starts to write what waits, unless a write is under way.
    fn start_save(&mut self) {
        let Some(number) = self.saves.last().map(|save| save.number) else { return };
        match std::mem::replace(&mut self.storage, StorageSlot::Moving) {
            StorageSlot::Idle(mut storage) => {
                let saves = std::mem::take(&mut self.saves);
                let write = move || {
                    let result = storage.save(&saves);
                    (storage, result.map(|()| number))
                };
                self.storage = StorageSlot::Writing(tokio::task::spawn_blocking(write));
            }
            busy @ (StorageSlot::Writing(_) | StorageSlot::Moving) => self.storage = busy,
        }
    }

    /// Finishes the saves, and sends what depended on them.
    async fn flush(mut self) -> Result<(), DriverError> {
        while let StorageSlot::Writing(_) = self.storage {
            let saved = self.storage.written().await?;
            self.round.push(Input::Saved(saved));
            self.take_round()?;
            self.start_save();
        }
        Ok(())
    }
}

/// Where the numbers of this life's reads begin: past those of every earlier life, to whose reads a
/// late answer may come. The clock only has to be past what it was when this server last started.
#[expect(clippy::disallowed_methods, reason = "the driver owns the clocks")]
fn first_read() -> ReadId {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    ReadId(since_1970.map_or(0, |since| since.as_nanos() as u64))
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

impl<M: StateMachine, S, C, H> fmt::Debug for Driver<M, S, C, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("server", &self.server.status()).finish_non_exhaustive()
    }
}
