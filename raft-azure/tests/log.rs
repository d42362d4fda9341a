//! `raft-azure log` as a user runs it, on folders as storage leaves them and as disks spoil them.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use raft_core::driver::Driver;
use raft_core::{
    ClientId, ClientRequest, ClusterId, ClusterManager, CommandList, Config, Entry, Envelope,
    FileStorage, HardState, Index, Payload, Save, SaveNumber, SequenceNumber, ServerId,
    ServerManager, Storage, Term, codec, inspect_folder,
};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_raft-azure");
const VOTERS: [ServerId; 3] = [ServerId(1), ServerId(2), ServerId(3)];

/// A folder of server 2, in a folder of the test's own.
struct Folder {
    _parent: tempfile::TempDir,
    path: PathBuf,
}

/// What the program said and did.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Folder {
    /// A log of so many entries, each in a segment with a few others.
    fn with_entries(entries: u64) -> Self {
        let folder = Self::empty();
        let mut storage = folder.open();
        storage.load().unwrap();
        for index in 1..=entries {
            storage.save(&[save(index)]).unwrap();
        }
        folder
    }

    fn empty() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("server-2");
        Self { _parent: parent, path }
    }

    fn open(&self) -> FileStorage {
        let storage = FileStorage::open(&self.path, ClusterId(7), ServerId(2), &VOTERS).unwrap();
        storage.with_segment_bytes_max(4096)
    }

    fn file(&self, name: &str) -> std::fs::File {
        std::fs::File::options().read(true).write(true).open(self.path.join(name)).unwrap()
    }

    fn say(&self, words: &str) -> Said {
        say(words, &self.path)
    }

    /// What it is about, of one kind.
    fn facts(&self, words: &str, kind: &str) -> Vec<Value> {
        let said = self.say(words);
        let facts: Vec<Value> =
            said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(facts.last().unwrap()["event"], "summary", "{}", said.out);
        facts.into_iter().filter(|fact| fact["event"] == kind).collect()
    }

    fn bytes(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let names = std::fs::read_dir(&self.path).unwrap().map(|item| item.unwrap().path());
        let mut files: Vec<_> =
            names.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
        files.sort();
        files
    }

    /// Damages a byte.
    fn flip(&self, name: &str, offset: u64) {
        let (file, mut byte) = (self.file(name), [0]);
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
    }
}

fn save(index: u64) -> Save {
    let command = codec::encode_value(&format!("request {index} {}", "x".repeat(600)));
    let request = ClientRequest::new(ClientId(5), SequenceNumber(index), command.into());
    let entry =
        Entry { term: Term(3), index: Index(index), payload: Payload::Command(request.into()) };
    Save {
        number: SaveNumber(index),
        hard_state: Some(HardState { current_term: Term(3), voted_for: Some(ServerId(1)) }),
        entries: [entry].into_iter().collect(),
        ..Save::default()
    }
}

fn say(words: &str, folder: &Path) -> Said {
    let mut command = Command::new(PROGRAM);
    command.arg("log").args(words.split_whitespace()).arg(folder).env_remove("RUST_LOG");
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: status.code(), out: text(stdout), err: text(stderr) }
}

#[test]
fn a_log_is_shown_and_left_as_it_is() {
    let folder = Folder::with_entries(20);
    let before = folder.bytes();
    let said = folder.say("inspect");
    assert_eq!((said.code, &*said.err), (Some(0), ""), "{}", said.out);
    for expected in [
        "server    s2 of cluster 0000000000000007, begun by s1 s2 s3\n",
        "in use    no\n",
        "state     term=3 voted_for=s1\n",
        "log       20 entries after 0@0, the last one is 20@3\n",
        "segment   0000000000000001.log  ",
        " is sound: a server can start on it\n",
    ] {
        assert!(said.out.contains(expected), "{expected:?} is not in {}", said.out);
    }
    assert!(!said.out.contains("entry     "), "entries are shown if they are asked for");

    let segments = folder.facts("inspect --json", "segment");
    let names: Vec<_> = segments.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert!(names.len() > 2 && names.is_sorted(), "{names:?}");
    let sum = |field: &str| segments.iter().map(|it| it[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("entries"), sum("records"), sum("torn_bytes")), (20, 20, 0));
    assert_eq!(segments[0]["first_index"], 1);
    assert!(segments.iter().all(|it| it["tail"] == "clean"));
    let summary = json!({"event": "summary", "folder": folder.path, "is_sound": true,
        "is_in_use": false, "damaged": 0, "refusal": null, "torn": null});
    assert_eq!(folder.facts("verify --json", "summary"), [summary]);
    assert!(folder.bytes() == before, "nothing has changed");
    assert_eq!(folder.open().load().unwrap().entries.len(), 20);
}

#[test]
fn entries_are_shown_from_one_on_and_no_more_than_asked_for() {
    let folder = Folder::with_entries(20);
    let indices = |words: &str| {
        let entries = folder.facts(&format!("inspect --json --entries {words}"), "entry");
        entries.iter().map(|it| it["index"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(indices(""), (1..=20).collect::<Vec<_>>());
    assert_eq!(indices("--from 18"), [18, 19, 20]);
    assert_eq!(indices("--from 5 --max 2"), [5, 6]);
    assert!(indices("--max 0").is_empty());
    assert!(indices("--from 21").is_empty());
    let said = folder.say("inspect --entries --from 7 --max 1");
    assert!(said.out.contains("entry     7@3 c5#7 request 7 xxx"), "{}", said.out);
}

#[test]
fn a_torn_end_is_sound_and_told() {
    let folder = Folder::with_entries(3);
    let segment = inspect_folder(&folder.path).unwrap().segments.pop().unwrap();
    folder.file(&segment.name).write_all_at(&[0xab; 5], segment.used_bytes).unwrap();
    let path = folder.path.join(&segment.name);
    let said = folder.say("verify");
    assert_eq!(said.code, Some(0), "{}", said.out);
    let expected = format!(
        "{} is sound: a server can start on it, and will remove an unfinished write of 5 bytes at byte \
         {} of {}\n",
        folder.path.display(),
        segment.used_bytes,
        path.display()
    );
    assert_eq!(said.out, expected);
    let [summary] = &folder.facts("verify --json", "summary")[..] else { panic!("one summary") };
    let torn = json!({"path": path, "offset": segment.used_bytes, "bytes": 5});
    assert_eq!((&summary["torn"], &summary["is_sound"]), (&torn, &json!(true)));
    assert!(folder.say("inspect").out.contains(", then an unfinished write of 5 bytes\n"));

    let mut storage = folder.open();
    storage.load().unwrap();
    let removed = storage.recovery_report().torn.clone().unwrap();
    assert_eq!((removed.offset, removed.bytes), (segment.used_bytes, 5), "as it was told");
}

#[test]
fn every_damage_is_told_with_its_place() {
    let folder = Folder::with_entries(20);
    let (first, third) = ("0000000000000001.log", "0000000000000003.log");
    folder.flip(first, 1000);
    folder.flip(third, 1000);
    let said = folder.say("verify");
    assert_eq!((said.code, &*said.err), (Some(1), ""), "{}", said.out);
    let lines: Vec<_> = said.out.lines().collect();
    assert_eq!(lines.len(), 3, "a verdict, and two lines of damage: {}", said.out);
    assert!(lines[0].contains(" is damaged in 2 places: no server starts on it; "), "{}", lines[0]);
    assert!(lines[0].contains("replace it by one with a new id"), "{}", lines[0]);
    for (line, name) in lines[1..].iter().zip([first, third]) {
        let start = format!("damage    {} at byte ", folder.path.join(name).display());
        assert!(line.starts_with(&start), "{line}");
    }
    let damage = folder.facts("verify --json", "damage");
    assert_eq!(damage.len(), 2);
    assert!(damage[0]["offset"].as_u64().unwrap() <= 1000);
    // To look is no failure.
    let said = folder.say("inspect");
    assert_eq!(said.code, Some(0));
    assert!(said.out.contains(", damaged\n") && said.out.contains("damage    "), "{}", said.out);
    assert!(folder.open().load().is_err(), "and no server starts on it");
}

#[test]
fn a_missing_segment_is_damage() {
    let folder = Folder::with_entries(20);
    std::fs::remove_file(folder.path.join("0000000000000001.log")).unwrap();
    let said = folder.say("verify");
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("the segments before it are gone"), "{}", said.out);
    assert!(folder.open().load().is_err());
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let folder = Folder::with_entries(1);
    let mut names: Vec<_> =
        std::fs::read_dir(&folder.path).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.retain(|name| name != "spare");
    for name in &names {
        folder.file(name.to_str().unwrap()).write_all_at(&[9], 7).unwrap();
    }
    let said = folder.say("verify");
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("it is of format 9, of a newer version"), "{}", said.out);
}

#[test]
fn a_log_of_another_server_is_refused() {
    let (folder, other) = (Folder::with_entries(2), Folder::empty());
    FileStorage::open(&other.path, ClusterId(7), ServerId(3), &VOTERS).unwrap().load().unwrap();
    std::fs::rename(other.path.join("raft.id"), folder.path.join("raft.id")).unwrap();
    let said = folder.say("verify");
    assert_eq!(said.code, Some(1), "{}", said.out);
    assert!(said.out.contains("belongs to s2 of cluster 0000000000000007"), "{}", said.out);
}

#[test]
fn what_is_no_folder_of_a_server_is_one_line() {
    let parent = tempfile::tempdir().unwrap();
    let missing = parent.path().join("missing");
    for command in ["inspect", "verify", "verify --json"] {
        for folder in [parent.path(), &missing] {
            let said = say(command, folder);
            assert_eq!((said.code, &*said.out), (Some(1), ""), "{}", said.err);
            assert!(said.err.starts_with("error: cannot "), "{}", said.err);
            assert_eq!(said.err.lines().count(), 1, "{}", said.err);
        }
    }
    for wrong in ["", "verify --entries", "inspect --from 3", "inspect --json --max many"] {
        assert_eq!(say(wrong, parent.path()).code, Some(2), "{wrong}");
    }
}

#[test]
fn a_folder_in_use_can_be_looked_at() {
    let folder = Folder::with_entries(2);
    let mut storage = folder.open();
    storage.load().unwrap();
    let said = folder.say("verify");
    assert_eq!(said.code, Some(0), "{}", said.out);
    assert!(said.out.ends_with(" is sound: a server is running on it\n"), "{}", said.out);
    assert!(folder.say("inspect").out.contains("in use    yes\n"));
    storage.save(&[save(3)]).unwrap();
    assert_eq!(folder.facts("inspect --json --entries", "entry").len(), 3);
}

/// A server that is alone.
struct Alone;

impl ServerManager for Alone {
    fn server_id(&self) -> ServerId {
        ServerId(2)
    }

    fn remote_server_ids(&self) -> Vec<ServerId> {
        Vec::new()
    }
}

impl ClusterManager for Alone {
    fn send(&mut self, _: Envelope) {}

    fn broadcast(&mut self, _: Envelope) {}

    fn answer(&mut self, _: Envelope) {}
}

#[tokio::test]
async fn a_missing_snapshot_is_damage() {
    let folder = Folder::empty();
    let config = Config {
        cluster_id: ClusterId(7),
        snapshot_entries: Some(4),
        snapshot_keep_entries: 0,
        ..Config::new(ServerId(2), [ServerId(2)])
    };
    let storage =
        FileStorage::open(&folder.path, ClusterId(7), ServerId(2), &config.voters).unwrap();
    let (driver, handle) = Driver::new(config, CommandList::new(), storage, Alone, Alone).unwrap();
    let running = tokio::spawn(driver.run());
    handle.notify_joined_service().await.unwrap();
    while handle.inspect(|server, _| server.snapshot().is_none()).await.unwrap() {
        // Refused as long as nobody leads.
        let _ = handle.propose("something".to_owned()).await;
    }
    handle.stop().await.unwrap();
    running.await.unwrap().unwrap();

    let snapshots = folder.facts("inspect --json", "snapshot");
    let [needed] = &snapshots[..] else { panic!("one snapshot, not {snapshots:?}") };
    assert_eq!(needed["is_needed"], true);
    let name = needed["name"].as_str().unwrap();
    assert!(folder.say("inspect").out.contains(&format!("snapshot  {name}  ")));
    assert_eq!(folder.say("verify").code, Some(0));
    std::fs::remove_file(folder.path.join(name)).unwrap();
    let said = folder.say("verify");
    assert_eq!(said.code, Some(1));
    let expected = format!("{name} at byte 0: the log needs it, and it is not there");
    assert!(said.out.contains(&expected), "{}", said.out);
}
