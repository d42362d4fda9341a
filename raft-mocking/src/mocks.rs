//! mockall mocks of the doors of `raft-core` (feature `mocks`): for calls and their order.
//!
//! Expect calls here when the call itself is the claim: that a host is told, that a message takes the
//! right method. For behaviour, run real servers on the in-memory bus; and never mock a server.
//!
//! Each is named after its trait, with `Door` behind it: [`MockClusterManager`](crate::MockClusterManager)
//! without it is the real thing over the in-memory bus.
//!
//! The host of a cluster of one is told in this order:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use raft_core::driver::Driver;
//! use raft_core::{CommandList, Config, MemoryStorage, ServerId, Term};
//! use raft_mocking::mocks::mockall::Sequence;
//! use raft_mocking::mocks::{MockClusterManagerDoor, MockServerManagerDoor};
//!
//! let (told, heard) = tokio::sync::oneshot::channel();
//! let mut in_order = Sequence::new();
//! let mut host = MockServerManagerDoor::new();
//! host.expect_notify_role_change().return_const(());
//! host.expect_initialize().times(1).in_sequence(&mut in_order).return_const(());
//! host.expect_start().times(1).in_sequence(&mut in_order).return_const(());
//! host.expect_notify_elected_leader()
//!     .withf(|&term| term == Term(1))
//!     .times(1)
//!     .in_sequence(&mut in_order)
//!     .return_const(());
//! host.expect_notify_commit()
//!     .times(1)
//!     .in_sequence(&mut in_order)
//!     .return_once(|_| told.send(()).unwrap());
//!
//! let nobody_else = MockClusterManagerDoor::new(); // Any message would be one too many.
//! let config = Config::new(ServerId(1), [ServerId(1)]);
//! let storage = MemoryStorage::new();
//! let (driver, handle) = Driver::new(config, CommandList::new(), storage, nobody_else, host)?;
//! tokio::spawn(driver.run());
//! handle.notify_joined_service().await?;
//! heard.await?;
//! # Ok(())
//! # }
//! ```

pub use mockall;
use mockall::mock;
use raft_core::{
    AppendEntriesResponse, ClusterManager, Entry, Envelope, Index, InstallSnapshotResponse,
    ReadIndexRequest, ReadIndexResponse, Recovered, RegisterClient, RestoreError, RoleChange, Save,
    ServerId, ServerManager, StateMachine, Storage, StorageError, Term, TimeoutNow, VoteRequest,
    VoteResponse,
};

mock! {
    /// Mocks [`ClusterManager`]: every method for a receiver and every method for a message.
    /// `dispatch` and `route` are the real ones, which choose among them.
    pub ClusterManagerDoor {}

    impl ClusterManager for ClusterManagerDoor {
        fn send(&mut self, envelope: Envelope);
        fn broadcast(&mut self, envelope: Envelope);
        fn answer(&mut self, envelope: Envelope);
        fn broadcast_vote_request(&mut self, envelope: Envelope, request: VoteRequest);
        fn send_vote_response(&mut self, envelope: Envelope, response: VoteResponse);
        fn send_append_entries_request(&mut self, envelope: Envelope);
        fn send_append_entries_response(
            &mut self,
            envelope: Envelope,
            response: AppendEntriesResponse,
        );
        fn send_install_snapshot_request(&mut self, envelope: Envelope);
        fn send_install_snapshot_response(
            &mut self,
            envelope: Envelope,
            response: InstallSnapshotResponse,
        );
        fn send_timeout_now(&mut self, envelope: Envelope, request: TimeoutNow);
        fn send_read_index_request(&mut self, envelope: Envelope, request: ReadIndexRequest);
        fn send_read_index_response(&mut self, envelope: Envelope, response: ReadIndexResponse);
        fn send_register_client(&mut self, envelope: Envelope, request: RegisterClient);
        fn send_client_request(&mut self, envelope: Envelope);
        fn send_client_response(&mut self, envelope: Envelope);
    }
}

mock! {
    /// Mocks [`ServerManager`]: who a server is, and what its host is told.
    pub ServerManagerDoor {}

    impl ServerManager for ServerManagerDoor {
        fn server_id(&self) -> ServerId;
        fn remote_server_ids(&self) -> Vec<ServerId>;
        fn initialize(&mut self);
        fn start(&mut self);
        fn notify_elected_leader(&mut self, term: Term);
        fn notify_role_change(&mut self, change: RoleChange);
        fn notify_commit(&mut self, entry: &Entry);
    }
}

mock! {
    /// Mocks [`Storage`]: what is read and written, and how it fails.
    pub StorageDoor {}

    impl Storage for StorageDoor {
        fn load(&mut self) -> Result<Recovered, StorageError>;
        fn save(&mut self, saves: &[Save]) -> Result<(), StorageError>;
        fn is_instant(&self) -> bool;
    }
}

mock! {
    /// Mocks [`StateMachine`], with the commands of a [`CommandList`](raft_core::CommandList).
    pub StateMachineDoor {}

    impl StateMachine for StateMachineDoor {
        type Command = String;
        type Response = u64;
        type Query = ();
        type Answer = Vec<String>;

        fn apply(&mut self, index: Index, command: String) -> u64;
        fn query(&self, query: ()) -> Vec<String>;
        fn snapshot(&self) -> Vec<u8>;
        fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError>;
    }
}
