//! The key-value store as a process serves it: commands by a client, questions by standard input, and a
//! full disk.
#![cfg(all(feature = "emulator", unix))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use raft_azure::event::Event;
use raft_azure::process::{ChildProcess, Line};
use raft_azure::provision::{ProvisionOptions, provision};
use raft_azure::{Admin, AdminOptions};
use raft_core::{Address, ClientId, ServerId};
use raft_mocking::emulator::Emulator;
use serde_json::json;
use tokio::sync::mpsc;

const PROGRAM: &str = env!("CARGO_BIN_EXE_raft-azure");
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A topic for a cluster of one and a client.
async fn emulator() -> Emulator {
    let emulator = Emulator::start().await.unwrap();
    let connection_string = emulator.connection_string().parse().unwrap();
    let admin = Admin::new(connection_string, AdminOptions::default()).unwrap();
    let server = [Address::Server(ServerId(1)).routing_name()];
    let client = [Address::Client(ClientId(1)).routing_name()];
    provision(&admin, "rafttopic", &server, &client, &ProvisionOptions::default()).await.unwrap();
    emulator
}

/// A process with these words, and what it tells.
struct Process {
    child: ChildProcess,
    lines: mpsc::UnboundedReceiver<Line>,
}

impl Process {
    fn start(emulator: &Emulator, words: &str, data_dir: Option<&Path>) -> Self {
        let mut arguments: Vec<OsString> = words.split_whitespace().map(Into::into).collect();
        arguments.extend(["--supervised", "--json", "--cluster-size", "1"].map(Into::into));
        if let Some(data_dir) = data_dir {
            arguments.extend(["--data-dir".into(), data_dir.as_os_str().to_owned()]);
        }
        let (sender, lines) = mpsc::unbounded_channel();
        let secret = emulator.connection_string();
        let child =
            ChildProcess::start("it", PROGRAM.as_ref(), &arguments, &secret, &sender).unwrap();
        Self { child, lines }
    }

    fn server(emulator: &Emulator, words: &str, data_dir: &Path) -> Self {
        let words = format!("server --server-id 1 --state-machine kv {words}");
        Self::start(emulator, &words, Some(data_dir))
    }

    fn client(emulator: &Emulator) -> Self {
        Self::start(emulator, "client --client-id 1 --state-machine kv", None)
    }

    async fn line(&mut self) -> Line {
        let line = tokio::time::timeout(PATIENCE, self.lines.recv()).await;
        line.expect("it tells something within a minute").expect("it lives")
    }

    async fn until(&mut self, is_it: impl Fn(&Event) -> bool) -> Event {
        loop {
            let line = self.line().await;
            assert!(!line.is_error, "{}", line.text);
            let event = serde_json::from_str(&line.text).unwrap();
            if is_it(&event) {
                return event;
            }
        }
    }

    /// Has a command applied.
    async fn command(&mut self, line: &str) -> serde_json::Value {
        self.child.write_line(line).await.unwrap();
        match self.until(|event| matches!(event, Event::Answer { .. })).await {
            Event::Answer { response, applied: None, .. } => response.unwrap(),
            event => panic!("{event} is no answer of a key-value store"),
        }
    }

    /// Asks by a line, and takes the answer apart: value, as of when, error.
    async fn query(
        &mut self,
        asked: &str,
    ) -> (Option<serde_json::Value>, Option<u64>, Option<String>) {
        self.child.write_line(&format!("query {asked}")).await.unwrap();
        match self.until(|event| matches!(event, Event::Query { .. })).await {
            Event::Query { server: 1, id: 7, value, as_of, error } => (value, as_of, error),
            event => panic!("{event} answers another question"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_applied_and_questions_answered() {
    let emulator = emulator().await;
    let folder = tempfile::tempdir().unwrap();
    let mut server = Process::server(&emulator, "", &folder.path().join("server-1"));
    server.until(|event| matches!(event, Event::Commit { .. })).await;
    let mut client = Process::client(&emulator);
    assert_eq!(client.command(r#"cas colour null "red""#).await, json!(true));
    assert_eq!(client.command(r#"cas colour "blue" 1"#).await, json!(false));
    assert_eq!(client.command("read colour").await, json!("red"));
    assert_eq!(client.command("append list 1").await, json!(true));
    assert_eq!(client.command("append list [2]").await, json!(true));
    assert_eq!(client.command("append colour 1").await, json!(false), "it holds no list");

    for mode in ["", r#","mode":"read-index""#, r#","mode":"lease""#] {
        let (value, as_of, error) =
            server.query(&format!(r#"{{"id":7,"key":"list"{mode}}}"#)).await;
        assert_eq!((value, error), (Some(json!([1, [2]])), None));
        assert!(as_of >= Some(6), "six commands stand in the log: {as_of:?}");
    }
    let table = [
        (r#"{"id":7}"#, "names no \"key\""),
        (r#"{"id":7,"key":"k","mode":"stale"}"#, "no read mode \"stale\""),
    ];
    for (asked, expected) in table {
        let (value, _, error) = server.query(asked).await;
        assert!(value.is_none() && error.unwrap().contains(expected), "{asked}");
    }
    assert!(client.child.stop().await.unwrap().success());
    assert!(server.child.stop().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_command_ends_the_client_in_words() {
    let emulator = emulator().await;
    let mut client = Process::client(&emulator);
    client.child.write_line("write colour red").await.unwrap();
    let line = client.line().await;
    assert!(line.is_error && line.text.contains("the values of write are JSON"), "{}", line.text);
    assert_eq!(client.child.wait().await.unwrap().code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disk_stops_the_server_with_a_reason_and_loses_nothing() {
    let emulator = emulator().await;
    let folder = tempfile::tempdir().unwrap();
    let mut server =
        Process::server(&emulator, "--snapshot-entries 8", &folder.path().join("server-1"));
    server.until(|event| matches!(event, Event::Commit { .. })).await;
    let mut client = Process::client(&emulator);
    assert_eq!(client.command("append list 0").await, json!(true));
    assert!(server.child.stop().await.unwrap().success());

    let full = "--snapshot-entries 8 --disk-quota 16";
    let mut server = Process::server(&emulator, full, &folder.path().join("server-1"));
    let mut acknowledged = vec![0];
    for element in 1.. {
        client.child.write_line(&format!("append list {element}")).await.unwrap();
        let answered = client.until(|event| matches!(event, Event::Answer { .. }));
        tokio::select! {
            _ = answered => acknowledged.push(element),
            status = server.child.wait() => {
                assert_eq!(status.unwrap().code(), Some(1));
                break;
            }
        }
        assert!(element < 1_000, "a disk of 16 bytes is full by now");
    }
    let mut reason = None;
    while let Some(line) = server.lines.recv().await {
        if let Some(error) = line.text.strip_prefix("error: ") {
            reason = Some(error.to_owned());
            break;
        }
    }
    assert!(reason.as_ref().is_some_and(|error| error.contains("no storage space")), "{reason:?}");

    let mut server =
        Process::server(&emulator, "--snapshot-entries 8", &folder.path().join("server-1"));
    server.until(|event| matches!(event, Event::Role { role, .. } if role == "leader")).await;
    let (value, ..) = server.query(r#"{"id":7,"key":"list"}"#).await;
    let list: Vec<u64> = serde_json::from_value(value.unwrap()).unwrap();
    assert!(
        list.starts_with(&acknowledged),
        "{acknowledged:?} were acknowledged, {list:?} are left"
    );
    assert!(server.child.stop().await.unwrap().success());
}
