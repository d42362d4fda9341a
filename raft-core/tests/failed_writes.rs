//! A disk that does not take what it was given: nobody is told that it did.
#![cfg(all(feature = "driver", feature = "file-storage"))]

use bytes::Bytes;
use raft_core::codec::FRAME_BYTES_MAX;
use raft_core::driver::{Driver, DriverError};
use raft_core::{
    ClusterId, ClusterManager, CommandList, Config, Entry, Envelope, FileStorage, HardState, Index,
    Payload, Recovered, Save, SaveNumber, ServerId, ServerManager, Storage, StorageError, Term,
};

fn save(number: u64, command_bytes: usize) -> Save {
    let payload = Payload::Proposal(Bytes::from(vec![0; command_bytes]));
    let entry = Entry { term: Term(1), index: Index(number), payload };
    Save {
        number: SaveNumber(number),
        hard_state: Some(HardState { current_term: Term(1), voted_for: None }),
        snapshot: None,
        compacted: None,
        entries: [entry].into_iter().collect(),
    }
}

/// After a failed write nobody knows what the files hold, and a sync that succeeds later proves
/// nothing of what the kernel has dropped since.
#[test]
fn a_file_that_failed_to_write_is_never_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let open = || FileStorage::open(folder.path(), ClusterId(1), ServerId(1), &[ServerId(1)]);
    let mut storage = open().unwrap();
    storage.load().unwrap();
    storage.save(&[save(1, 10)]).unwrap();
    storage.save(&[save(2, FRAME_BYTES_MAX)]).expect_err("no record is as large as that");
    let refused = storage.save(&[save(2, 10)]).unwrap_err();
    let StorageError::Io { source, .. } = refused else { panic!("{refused}") };
    assert_eq!(source.to_string(), "an earlier write failed, so nobody knows what the files hold");
    drop(storage);

    let mut storage = open().unwrap();
    assert_eq!(storage.load().unwrap().entries.len(), 1, "what was confirmed is there");
    storage.save(&[save(2, 10)]).expect("it was read again, so its end is known");
}

/// Nobody is there.
struct Nobody;

impl ClusterManager for Nobody {
    fn send(&mut self, _: Envelope) {}
    fn broadcast(&mut self, _: Envelope) {}
    fn answer(&mut self, _: Envelope) {}
}

impl ServerManager for Nobody {
    fn server_id(&self) -> ServerId {
        ServerId(1)
    }

    fn remote_server_ids(&self) -> Vec<ServerId> {
        Vec::new()
    }

    fn notify_elected_leader(&mut self, term: Term) {
        panic!("elected in term {term} by a vote that is on no disk");
    }
}

/// Answers at once, and always no.
struct Full;

impl Storage for Full {
    fn load(&mut self) -> Result<Recovered, StorageError> {
        Ok(Recovered::default())
    }

    fn save(&mut self, _: &[Save]) -> Result<(), StorageError> {
        let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
        Err(StorageError::Io { action: "write", path: "disk".to_owned(), source })
    }

    fn is_instant(&self) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_instant_storage_fails_stops_and_promises_nothing() {
    let config = Config::new(ServerId(1), [ServerId(1)]);
    let (driver, handle) = Driver::new(config, CommandList::new(), Full, Nobody, Nobody).unwrap();
    handle.notify_joined_service().await.unwrap();
    let stopped = driver.run().await.unwrap_err();
    assert!(matches!(stopped, DriverError::Storage(StorageError::Io { .. })), "{stopped}");
}
