//! Runs one client on tokio: sends, waits, retries.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Clock, sleep_until};
use crate::client::{Client, ClientConfig, ClientError, ClientEvent};
use crate::cluster_manager::ClusterManager;
use crate::message::{ClientResult, Envelope};
use crate::types::{ClientId, LogId, SequenceNumber, ServerId};

/// Runs one client over a [`ClusterManager`] and a channel of what arrives for it.
#[derive(Debug)]
pub struct ClientDriver<C> {
    client: Client,
    cluster_manager: C,
    arrivals: mpsc::Receiver<Envelope>,
    clock: Clock,
}

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which request.
    pub sequence_number: SequenceNumber,
    /// Who answered.
    pub by: ServerId,
    /// Where the command stands in the log.
    pub log_id: LogId,
    /// What the state machine answered: see [`crate::decode_outcome`].
    pub response: Bytes,
    /// How often the request was sent.
    pub attempts: u32,
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It is refused for good, and [`ClientResult::is_definite`] tells whether it ever was applied.
    #[error("refused: {0}")]
    Refused(ClientResult),
    /// Nobody answered in time. If it was sent, it may still be applied, once.
    #[error("no answer to {sequence_number} within {within:?}, after asking {attempts} times")]
    TimedOut {
        /// Which request.
        sequence_number: SequenceNumber,
        /// How long it was tried.
        within: Duration,
        /// How often it, or the session it needs, was asked for.
        attempts: u32,
        /// True if it was sent, and not only a session asked for.
        was_sent: bool,
    },
    /// Whatever brought the answers has gone. It may still be applied, once.
    #[error("the way back to this client is closed")]
    Closed,
    /// The client could not start it.
    #[error(transparent)]
    NotStarted(#[from] ClientError),
}

impl RequestError {
    /// True if nobody knows whether the request was or will be applied; else it never will be, and may
    /// be made again.
    #[must_use]
    pub fn may_have_been_applied(&self) -> bool {
        match self {
            Self::Refused(result) => !result.is_definite(),
            Self::TimedOut { was_sent, .. } => *was_sent,
            Self::Closed => true,
            Self::NotStarted(_) => false,
        }
    }
}

impl<C: ClusterManager> ClientDriver<C> {
    /// A client that sends by `cluster_manager` and finds its answers in `arrivals`.
    pub fn new(
        config: ClientConfig,
        cluster_manager: C,
        arrivals: mpsc::Receiver<Envelope>,
    ) -> Self {
        Self { client: Client::new(config), cluster_manager, arrivals, clock: Clock::start() }
    }

    /// This client.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.client.id()
    }

    /// Has a command applied, exactly once, asking again and elsewhere for as long as it takes.
    ///
    /// If the future is dropped, the request is given up as if it had timed out.
    ///
    /// # Errors
    ///
    /// If it was refused for good, or if there was no answer `within` this time.
    /// [`RequestError::may_have_been_applied`] tells whether that leaves a doubt.
    pub async fn request(
        &mut self,
        command: Bytes,
        within: Duration,
    ) -> Result<Answer, RequestError> {
        // A request whose future was dropped is given up; what it asked for may still be applied.
        self.client.abandon();
        // Whatever lies in the channel answers an earlier request; the client knows by its number.
        let give_up_at = self.clock.instant(self.clock.now() + within);
        let envelope = self.client.request(self.clock.now(), command)?;
        let sequence_number = self.client.pending().expect("a request was just started");
        self.cluster_manager.dispatch(envelope);
        loop {
            let attempts = self.client.attempts();
            let retry_at = self.client.next_timeout().map(|at| self.clock.instant(at));
            let event = tokio::select! {
                biased;
                arrival = self.arrivals.recv() => match arrival {
                    Some(envelope) => self.client.handle(self.clock.now(), envelope),
                    None => {
                        self.client.abandon();
                        return Err(RequestError::Closed);
                    }
                },
                () = tokio::time::sleep_until(give_up_at) => {
                    let was_sent = self.client.was_sent();
                    self.client.abandon();
                    return Err(RequestError::TimedOut {
                        sequence_number,
                        within,
                        attempts,
                        was_sent,
                    });
                }
                () = sleep_until(retry_at) => {
                    match self.client.timer_elapsed(self.clock.now()) {
                        Some(envelope) => ClientEvent::Send(envelope),
                        None => ClientEvent::Ignored,
                    }
                }
            };
            match event {
                ClientEvent::Ignored => {}
                ClientEvent::Send(envelope) => self.cluster_manager.dispatch(envelope),
                ClientEvent::Applied { sequence_number, by, log_id, response } => {
                    return Ok(Answer { sequence_number, by, log_id, response, attempts });
                }
                ClientEvent::Refused { result, .. } => return Err(RequestError::Refused(result)),
            }
        }
    }
}
