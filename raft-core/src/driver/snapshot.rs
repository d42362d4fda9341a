//! The part of the driver that has snapshots taken.
//!
//! Guarantees: a server goes on while the state machine gives its state, as far as
//!             [`StateMachine::begin_snapshot`] lets it.

use tokio::task::{JoinHandle, spawn_blocking};

use super::handle::Request;
use super::{DriverError, Handle, Stopped};
use crate::input::Input;
use crate::state_machine::StateMachine;
use crate::types::Index;

/// The snapshot that the state machine is giving, if it is.
#[derive(Debug, Default)]
pub(super) struct SnapshotSlot {
    taking: Option<JoinHandle<Input>>,
}

impl SnapshotSlot {
    /// Has the bytes made on a thread that may block. If the server asks again before they are done, it
    /// does not need the first ones any more.
    pub(super) fn begin(&mut self, through: Index, state: Box<dyn FnOnce() -> Vec<u8> + Send>) {
        let take = move || Input::SnapshotTaken { through, data: state().into() };
        self.taking = Some(spawn_blocking(take));
    }

    /// Waits for the snapshot, for ever if none is being taken. Nothing is lost if it is dropped.
    pub(super) async fn taken(&mut self) -> Result<Input, DriverError> {
        let Some(taking) = &mut self.taking else { return std::future::pending().await };
        let taken = taking.await;
        self.taking = None;
        taken.map_err(|_| DriverError::SnapshotPanicked)
    }
}

impl<M: StateMachine> Handle<M> {
    /// Asks the server to take a snapshot now, whatever [`Config::snapshot_entries`] says, and to forget
    /// the log that it stands for. It does so when its state machine has come to rest, unless there is
    /// nothing new; [`Status::snapshot`] shows when it is done.
    ///
    /// [`Config::snapshot_entries`]: crate::Config::snapshot_entries
    /// [`Status::snapshot`]: crate::Status::snapshot
    ///
    /// # Errors
    ///
    /// If the server has stopped.
    pub async fn take_snapshot(&self) -> Result<(), Stopped> {
        self.ask(Request::TakeSnapshot).await
    }
}
