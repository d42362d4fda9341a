//! Talks to a running server: what an application asks of it, and what came of that.

use std::fmt;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::codec;
use crate::error::StepError;
use crate::membership::{Configuration, MembershipChange, MembershipError};
use crate::message::Envelope;
use crate::read::{ReadFailure, ReadMode};
use crate::server::Server;
use crate::state_machine::{StateMachine, UnreadableCommand};
use crate::status::Status;
use crate::types::ServerId;

/// What a handle asks of its driver.
pub(super) enum Request<M: StateMachine> {
    Join,
    Deliver(Envelope),
    Propose(Bytes, Proposer<M>),
    Query(M::Query, ReadMode, Asker<M>),
    Change(Vec<MembershipChange>, Changer),
    Transfer(Option<ServerId>, Transferrer),
    TakeSnapshot,
    Inspect(Look<M>),
    Stop,
}

/// Where the outcome of a proposal goes; and so on for what else is asked.
pub(super) type Proposer<M> = oneshot::Sender<Result<<M as StateMachine>::Response, ProposeError>>;
pub(super) type Asker<M> = oneshot::Sender<Result<<M as StateMachine>::Answer, QueryError>>;
pub(super) type Changer = oneshot::Sender<Result<Configuration, ChangeError>>;
pub(super) type Transferrer = oneshot::Sender<Result<(), TransferError>>;

/// Looks at a server and its state machine, and keeps what it saw to itself.
pub(super) type Look<M> = Box<dyn FnOnce(&Server, &M) + Send>;

/// Talks to a running server; clones talk to the same one. When the last is dropped, the server stops.
///
/// An application lives in the same process as its server, and has its commands applied like this:
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use raft_core::driver::Driver;
/// use raft_core::{
///     ClusterManager, CommandList, Config, Envelope, MemoryStorage, ReadMode, ServerId,
///     ServerManager,
/// };
/// use tokio::time::sleep;
///
/// /// A cluster of one has nobody to talk to.
/// struct Alone;
///
/// impl ClusterManager for Alone {
///     fn send(&mut self, _: Envelope) {}
///     fn broadcast(&mut self, _: Envelope) {}
///     fn answer(&mut self, _: Envelope) {}
/// }
///
/// impl ServerManager for Alone {
///     fn server_id(&self) -> ServerId {
///         ServerId(1)
///     }
///     fn remote_server_ids(&self) -> Vec<ServerId> {
///         Vec::new()
///     }
/// }
///
/// let config = Config::new(ServerId(1), [ServerId(1)]);
/// let (driver, server) =
///     Driver::new(config, CommandList::new(), MemoryStorage::new(), Alone, Alone)?;
/// let task = tokio::spawn(driver.run());
/// server.notify_joined_service().await?;
///
/// // Nobody leads at first, and a proposal that was refused did not happen: ask again.
/// let applied = loop {
///     match server.propose("x = 1".to_owned()).await {
///         Err(error) if !error.may_have_been_applied() => sleep(Duration::from_millis(50)).await,
///         outcome => break outcome?,
///     }
/// };
/// assert_eq!(applied, 1, "the state machine says how many commands it has applied");
/// assert_eq!(server.query((), ReadMode::ReadIndex).await?, ["x = 1"]);
///
/// server.stop().await?;
/// task.await??;
/// # Ok(())
/// # }
/// ```
pub struct Handle<M: StateMachine> {
    pub(super) requests: mpsc::Sender<Request<M>>,
}

impl<M: StateMachine> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { requests: self.requests.clone() }
    }
}

impl<M: StateMachine> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// The server is not running any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server has stopped")]
pub struct Stopped;

/// Why a proposal has no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// This server does not lead. The command was not taken; propose it at `leader`.
    #[error("not the leader; try {leader:?}")]
    NotLeader {
        /// The best hint, which may be out of date.
        leader: Option<ServerId>,
    },
    /// The leader has as much to do as it takes at a time. The command was not taken; try again later.
    #[error("the leader is busy")]
    Busy,
    /// The command was not taken and never will be.
    #[error("the command has {command_bytes} bytes, at most {command_bytes_max} are taken")]
    TooLarge {
        /// The size of the command, in bytes.
        command_bytes: usize,
        /// The largest size the leader takes, in bytes.
        command_bytes_max: usize,
    },
    /// The command stands in the log, but the state machine cannot read it: it did nothing.
    #[error(transparent)]
    Unreadable(#[from] UnreadableCommand),
    /// The server had stopped already. The command was not taken.
    #[error("the server has stopped")]
    Stopped,
    /// This server leads no more. The next leader has the command or has it not.
    #[error("leadership was lost; the command may have been applied")]
    LeadershipLost,
    /// The server stopped meanwhile.
    #[error("the server stopped meanwhile; the command may have been applied")]
    StoppedMeanwhile,
}

impl ProposeError {
    /// True if nobody knows whether the command was or will be applied; else it never will be by this
    /// call, and may be proposed again.
    #[must_use]
    pub fn may_have_been_applied(&self) -> bool {
        match self {
            Self::NotLeader { .. }
            | Self::Busy
            | Self::TooLarge { .. }
            | Self::Unreadable(_)
            | Self::Stopped => false,
            Self::LeadershipLost | Self::StoppedMeanwhile => true,
        }
    }

    pub(super) fn refused(error: StepError) -> Self {
        match error {
            StepError::NotLeader { leader } => Self::NotLeader { leader },
            StepError::TooLarge { command_bytes, command_bytes_max } => {
                Self::TooLarge { command_bytes, command_bytes_max }
            }
            _ => Self::Busy,
        }
    }
}

/// Why a query has no answer. A query changes nothing, so it may always be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// This server knows no leader whom it could ask.
    #[error("no leader is known")]
    NoLeader,
    /// It cannot be made sure that the answer would be up to date.
    #[error(transparent)]
    Failed(#[from] ReadFailure),
    /// The server has stopped.
    #[error("the server has stopped")]
    Stopped,
}

/// Why the cluster was not changed, or is not known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// This server does not lead. Nothing was changed; ask `leader`.
    #[error("not the leader; try {leader:?}")]
    NotLeader {
        /// The best hint, which may be out of date.
        leader: Option<ServerId>,
    },
    /// The change makes no sense, or not now. Nothing was changed.
    #[error(transparent)]
    Refused(#[from] MembershipError),
    /// The leader does something else at the moment. Nothing was changed; try again later.
    #[error("the leader is busy")]
    Busy,
    /// The server had stopped already. Nothing was changed.
    #[error("the server has stopped")]
    Stopped,
    /// This server leads no more. The next leader completes the change or has never heard of it.
    #[error("leadership was lost; the change may be made")]
    LeadershipLost,
    /// The server stopped meanwhile.
    #[error("the server stopped meanwhile; the change may be made")]
    StoppedMeanwhile,
}

/// Why leadership was not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// This server does not lead.
    #[error("not the leader; try {leader:?}")]
    NotLeader {
        /// The best hint, which may be out of date.
        leader: Option<ServerId>,
    },
    /// Leadership is being handed over already.
    #[error("leadership is being handed over already")]
    Busy,
    /// There is nobody who could lead, or not the one that was named.
    #[error("{target:?} cannot take over")]
    NoTarget {
        /// Who was named.
        target: Option<ServerId>,
    },
    /// It was not handed over in time, and this server leads on.
    #[error("{target} did not take over in time")]
    Aborted {
        /// Who was to lead.
        target: ServerId,
    },
    /// The server has stopped.
    #[error("the server has stopped")]
    Stopped,
}

impl<M: StateMachine> Handle<M> {
    /// Tells the server that it has joined its cluster: now the protocol begins.
    ///
    /// # Errors
    ///
    /// If the server has stopped.
    pub async fn notify_joined_service(&self) -> Result<(), Stopped> {
        self.ask(Request::Join).await
    }

    /// Delivers a message that arrived for the server; waits while the server is busy.
    ///
    /// # Errors
    ///
    /// If the server has stopped.
    pub async fn deliver(&self, envelope: Envelope) -> Result<(), Stopped> {
        self.ask(Request::Deliver(envelope)).await
    }

    /// Delivers a message without waiting. False if it is lost, because the server has too much to do
    /// or has stopped: a network may do that.
    #[must_use = "a message may be lost, but somebody should count it"]
    pub fn try_deliver(&self, envelope: Envelope) -> bool {
        self.requests.try_send(Request::Deliver(envelope)).is_ok()
    }

    /// Has a command applied by the whole cluster, if this server leads it, and returns what the state
    /// machine answered. Proposals that come together share one step, one save and one message.
    ///
    /// Each call is a command of its own: unlike a [`Client`](crate::Client), it does not notice that
    /// it is asked for the same again.
    ///
    /// # Errors
    ///
    /// [`ProposeError::may_have_been_applied`] tells whether it is safe to propose the command again.
    pub async fn propose(&self, command: M::Command) -> Result<M::Response, ProposeError> {
        let command = codec::encode_value(&command).into();
        let (proposer, outcome) = oneshot::channel();
        self.ask(Request::Propose(command, proposer)).await.map_err(|_| ProposeError::Stopped)?;
        outcome.await.unwrap_or(Err(ProposeError::StoppedMeanwhile))
    }

    /// Asks the state machine of this server, once it has applied everything that was answered before
    /// the call (dissertation §6.4). Any server can be asked.
    ///
    /// # Errors
    ///
    /// If no leader could be asked how far that is.
    pub async fn query(&self, query: M::Query, mode: ReadMode) -> Result<M::Answer, QueryError> {
        let (asker, answer) = oneshot::channel();
        self.ask(Request::Query(query, mode, asker)).await.map_err(|_| QueryError::Stopped)?;
        answer.await.unwrap_or(Err(QueryError::Stopped))
    }

    /// Asks the state machine of this server, which may be behind others.
    ///
    /// # Errors
    ///
    /// If the server has stopped.
    pub async fn query_stale(&self, query: M::Query) -> Result<M::Answer, Stopped> {
        self.inspect(move |_, machine| machine.query(query)).await
    }

    /// Makes these changes of the cluster together, if this server leads it, and returns the
    /// configuration once it is committed.
    ///
    /// # Errors
    ///
    /// If nothing was changed; or with [`ChangeError::LeadershipLost`] or
    /// [`ChangeError::StoppedMeanwhile`], if this server cannot know.
    pub async fn change_membership(
        &self,
        changes: impl IntoIterator<Item = MembershipChange>,
    ) -> Result<Configuration, ChangeError> {
        let changes = changes.into_iter().collect();
        let (changer, outcome) = oneshot::channel();
        self.ask(Request::Change(changes, changer)).await.map_err(|_| ChangeError::Stopped)?;
        outcome.await.unwrap_or(Err(ChangeError::StoppedMeanwhile))
    }

    /// Has another voter lead: `to`, or the one that has caught up best. Returns when this server
    /// leads no more.
    ///
    /// # Errors
    ///
    /// If this server does not lead, or leads on.
    pub async fn transfer_leadership(&self, to: Option<ServerId>) -> Result<(), TransferError> {
        let (transferrer, outcome) = oneshot::channel();
        self.ask(Request::Transfer(to, transferrer)).await.map_err(|_| TransferError::Stopped)?;
        outcome.await.unwrap_or(Err(TransferError::Stopped))
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

    /// Asks the server to stop. A leader hands leadership over first, for which it waits an election
    /// timeout at most; then the server finishes the saves under way, and
    /// [`Driver::run`](super::Driver::run) returns.
    ///
    /// # Errors
    ///
    /// If the server has stopped already.
    pub async fn stop(&self) -> Result<(), Stopped> {
        self.ask(Request::Stop).await
    }

    pub(super) async fn ask(&self, request: Request<M>) -> Result<(), Stopped> {
        self.requests.send(request).await.map_err(|_| Stopped)
    }
}
