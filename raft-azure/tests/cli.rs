//! The program as a user runs it: its line, its exit codes, its processes, and what it never prints.
#![cfg(all(feature = "emulator", unix))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use raft_azure::event::{Event, ServerStatus};
use raft_azure::process::{ChildProcess, Line};
use raft_core::{
    Address, AppendEntriesResponse, AppendEntriesResult, ClusterId, Envelope, Index, Message,
    Round, ServerId, Term, codec, inspect_folder,
};
use raft_mocking::broker::BusMessage;
use raft_mocking::emulator::Emulator;

const PROGRAM: &str = env!("CARGO_BIN_EXE_raft-azure");
/// A server whose parent died ends within this time.
const ORPHAN_TIME: Duration = Duration::from_secs(5);
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program with these words, and nothing inherited that could matter.
fn command(arguments: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(arguments.split_whitespace())
        .env_remove("CONNECTION_STRING")
        .env_remove("RUST_LOG");
    command.stdin(Stdio::null());
    command
}

fn run(arguments: &str, connection_string: &str) -> Output {
    let mut command = command(arguments);
    if !connection_string.is_empty() {
        command.env("CONNECTION_STRING", connection_string);
    }
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The one line that a failure writes.
fn error_line(output: &Output, code: i32) -> String {
    let line = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{line}");
    assert_eq!(line.trim_end().lines().count(), 1, "one line, not {line:?}");
    line
}

/// Every server holds a lock on its log for as long as it lives; so this returns when all have ended.
fn all_servers_have_ended(data_dir: &Path, servers: u64, within: Duration) {
    let (done, is_done) = mpsc::channel();
    let data_dir = data_dir.to_owned();
    std::thread::spawn(move || {
        for server in 1..=servers {
            let id = data_dir.join(format!("server-{server}")).join("raft.id");
            let id = OpenOptions::new().read(true).write(true).open(id).unwrap();
            File::lock(&id).unwrap();
        }
        done.send(()).unwrap();
    });
    is_done.recv_timeout(within).expect("every server ends in time");
}

/// A cluster with more to do than any test lets it, once all of its servers have joined.
fn busy_cluster(data_dir: &Path, servers: u64) -> (Child, BufReader<ChildStdout>) {
    let mut command = command("--num-requests 1000000");
    command.args(["--local-cluster-size", &servers.to_string(), "--data-dir"]).arg(data_dir);
    let mut parent = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(parent.stdout.take().unwrap());
    let mut joined = 0;
    let mut line = String::new();
    while joined < servers {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the cluster ended early");
        joined += u64::from(line.trim_end().ends_with(" joined"));
    }
    (parent, output)
}

/// The servers write until their pipe is full, unless somebody reads.
fn read_on(mut output: BufReader<ChildStdout>) {
    std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
}

#[test]
fn wrong_usage_is_told_in_words_and_by_exit_code_2() {
    let good = "Endpoint=sb://localhost:1;SharedAccessKeyName=n;SharedAccessKey=k;";
    let table = [
        ("--frobnicate", "", "--frobnicate"),
        ("--local-cluster-size 0", "", "0 is not in 1..=99"),
        ("--local-cluster-size many", "", "many"),
        ("server --server-id 0 --cluster-size 3", good, "0 is not in 1.."),
        ("server --server-id 4 --cluster-size 3", good, "there is no server 4 in a cluster of 3"),
        ("server --server-id 1 --cluster-size 3", "", "no connection string"),
        ("client --cluster-size 3", "", "no connection string"),
        ("provision --cluster-size 3", "", "no connection string"),
        ("server --server-id 1 --cluster-size 3 --state-machine tree", good, "list, kv"),
        ("server --server-id 1 --cluster-size 3 --snapshot-entries 0", good, "0 is not in 1.."),
        ("client --cluster-size 3 --state-machine kv", good, "add --stdin"),
        ("--payload-bytes 200000", "", "over the limit of 131072 bytes"),
        ("--heartbeat-ms 600 --election-timeout-ms 500", "", "must be shorter"),
        ("--connection-string-file no-such-file", "", "cannot read no-such-file"),
        ("", "no connection string at all", "connection string"),
    ];
    for (arguments, connection_string, expected) in table {
        let output = run(arguments, connection_string);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {message}");
        assert!(message.contains(expected), "{arguments}: {message}");
        assert!(output.stdout.is_empty(), "results go to stdout, and there are none");
    }
}

#[test]
fn help_has_examples_and_does_not_show_the_environment() {
    for subcommand in ["", "server", "client", "provision"] {
        let output = run(&format!("{subcommand} --help"), "Endpoint=sb://h;SharedAccessKey=hush");
        assert!(output.status.success());
        let help = text(&output.stdout);
        assert!(help.contains("CONNECTION_STRING") && !help.contains("hush"), "{help}");
    }
    assert!(text(&run("--help", "").stdout).contains("Examples:"));
}

#[test]
fn a_malformed_connection_string_is_refused_without_showing_its_key() {
    for malformed in [
        "Endpoint=sb://localhost;SharedAccessKeyName=n;SharedAccessKey=hush-hush;EntityPath",
        "Endpoint=http://localhost;SharedAccessKeyName=n;SharedAccessKey=hush-hush",
        "SharedAccessKey=hush-hush",
    ] {
        let line = error_line(&run("", malformed), 2);
        assert!(!line.contains("hush"), "{line}");
    }
}

#[test]
fn a_cluster_commits_every_request_and_leaves_no_process_behind() {
    for servers in [1, 3] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = command("--topic-name rafttopic --num-requests 3 --json");
        command.args(["--local-cluster-size", &servers.to_string(), "--data-dir"]);
        let output = command.arg(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        all_servers_have_ended(folder.path(), servers, Duration::from_secs(1));
        let events: Vec<Event> =
            text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(matches!(events[0], Event::Emulator { .. }), "it says that it uses the emulator");
        let answers: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Answer { sequence, applied, .. } => Some((*sequence, *applied)),
                _ => None,
            })
            .collect();
        assert_eq!(answers, [(1, Some(1)), (2, Some(2)), (3, Some(3))], "each is applied once");
        let Some(Event::Summary { committed: 3, .. }) = events.last() else {
            panic!("{:?} is no summary of 3 commits", events.last());
        };
    }
}

#[test]
fn a_cluster_of_two_works_and_is_warned_of() {
    let output = run("--num-requests 1 --local-cluster-size 2", "");
    let warning = text(&output.stderr);
    assert!(output.status.success(), "{warning}");
    assert!(warning.starts_with("warning: a cluster of 2"), "{warning}");
    let lines = text(&output.stdout);
    assert!(lines.contains("Server-2: s2 joined"), "the output of a server has its name: {lines}");
}

#[test]
fn servers_end_with_their_parent_even_if_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut parent, output) = busy_cluster(folder.path(), 3);
    parent.kill().unwrap();
    parent.wait().unwrap();
    read_on(output);
    all_servers_have_ended(folder.path(), 3, ORPHAN_TIME);
}

/// The processes whose command line names this folder.
#[cfg(target_os = "linux")]
fn processes_naming(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(folder)).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn servers_end_with_a_parent_that_is_killed_while_they_start() {
    for lines_seen in [1, 1, 1, 2, 2, 2, 3, 4] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = command("--num-requests 1000000 --local-cluster-size 3 --data-dir");
        let mut parent = command.arg(folder.path()).stdout(Stdio::piped()).spawn().unwrap();
        // The first line comes before any server is started, the others while they are.
        let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines();
        for _ in 0..lines_seen {
            lines.next().unwrap().unwrap();
        }
        parent.kill().unwrap();
        parent.wait().unwrap();
        drop(lines);
        let deadline = std::time::Instant::now() + ORPHAN_TIME;
        loop {
            let left = processes_naming(folder.path());
            if left.is_empty() {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{left:?} live on");
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_parent_that_nobody_reads_does_not_stop_its_servers() {
    let folder = tempfile::tempdir().unwrap();
    let (mut parent, output) = busy_cluster(folder.path(), 1);
    // The pipe is full soon, and stays so; the cluster goes on, and stops when it is asked to.
    let log = folder.path().join("server-1");
    let size =
        || inspect_folder(&log).unwrap().segments.iter().map(|it| it.used_bytes).sum::<u64>();
    let deadline = std::time::Instant::now() + PATIENCE;
    while size() < 150_000 {
        assert!(std::time::Instant::now() < deadline, "the cluster stands still");
        std::thread::yield_now();
    }
    let sent = Command::new("kill").args(["-TERM", &parent.id().to_string()]).status();
    assert!(sent.unwrap().success());
    assert_eq!(parent.wait().unwrap().code(), Some(1));
    drop(output);
    all_servers_have_ended(folder.path(), 1, ORPHAN_TIME);
}

#[test]
fn a_payload_of_every_allowed_size_is_sent() {
    for bytes in [65_536, 131_064] {
        let output =
            run(&format!("--local-cluster-size 1 --num-requests 1 --payload-bytes {bytes}"), "");
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let line = error_line(&run("--num-requests 1 --payload-bytes 131065", ""), 2);
    assert!(line.contains("a command of 131073 bytes is over the limit"), "{line}");
}

#[test]
fn a_connection_string_in_the_wrong_place_does_not_show_its_key() {
    let secret = "Endpoint=sb://h;SharedAccessKeyName=n;SharedAccessKey=hush-hush=";
    for arguments in ["", "--topic-name", "--connection-string-file", "--num-requests", "server"] {
        let mut command = command(arguments);
        let output = command.arg(secret).args(["--local-cluster-size", "1"]).output().unwrap();
        assert_ne!(output.status.code(), Some(0), "{arguments}");
        let message = text(&output.stderr);
        assert!(!message.contains("hush"), "{arguments}: {message}");
    }
}

#[test]
fn a_file_wins_over_the_environment_and_must_not_be_empty() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("connection-string");
    std::fs::write(&file, "\n").unwrap();
    let arguments = format!("--connection-string-file {}", file.display());
    let line = error_line(&run(&arguments, "Endpoint=sb://h"), 2);
    assert!(line.contains("holds no connection string"), "{line}");
    let other = "Endpoint=sb://h;SharedAccessKeyName=n;SharedAccessKey=k;EntityPath=other";
    std::fs::write(&file, other).unwrap();
    let line = error_line(&run(&arguments, ""), 2);
    assert!(line.contains("for other only, not for the topic rafttopic"), "{line}");
}

#[test]
fn an_interrupt_stops_the_servers_before_the_parent() {
    for signal in ["-INT", "-TERM"] {
        let folder = tempfile::tempdir().unwrap();
        let (mut parent, output) = busy_cluster(folder.path(), 3);
        read_on(output);
        let sent = Command::new("kill").args([signal, &parent.id().to_string()]).status();
        assert!(sent.unwrap().success());
        assert_eq!(parent.wait().unwrap().code(), Some(1), "an interrupted run did not succeed");
        all_servers_have_ended(folder.path(), 3, Duration::from_secs(1));
    }
}

/// Runs the program without blocking the runtime that serves it.
async fn run_beside(arguments: String, connection_string: String) -> Output {
    tokio::task::spawn_blocking(move || run(&arguments, &connection_string)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_one_line_that_does_not_show_it() {
    let emulator = Emulator::start().await.unwrap();
    let wrong = emulator.connection_string().replace("SAS_KEY_VALUE", "hush-hush");
    for arguments in [
        "--local-cluster-size 1",
        "server --server-id 1 --cluster-size 1",
        "client --cluster-size 1 --client-id 1",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let in_folder = arguments.starts_with("client");
        let data = format!("{arguments} --data-dir {}", folder.path().join("data").display());
        let arguments = if in_folder { arguments.to_owned() } else { data };
        let line = error_line(&run_beside(arguments, wrong.clone()).await, 1);
        assert!(line.contains("authorized") || line.contains("may not"), "{line}");
        assert!(!line.contains("hush"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_topic_or_nobody_at_the_port_is_one_line() {
    let emulator = Emulator::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let data_dir = data_dir.display();
    let arguments =
        format!("server --server-id 1 --cluster-size 1 --topic-name t --data-dir {data_dir}");
    let connection_string = emulator.connection_string();
    let line = error_line(&run_beside(arguments.clone(), connection_string.clone()).await, 1);
    assert!(line.contains("t does not exist"), "{line}");
    emulator.shutdown().await;
    let line = error_line(&run_beside(arguments, connection_string).await, 1);
    assert!(line.contains("cannot connect to localhost:"), "{line}");
}

/// A server over an emulator, as a parent sees it.
struct Supervised {
    emulator: Emulator,
    folder: tempfile::TempDir,
    server: ChildProcess,
    lines: tokio::sync::mpsc::UnboundedReceiver<Line>,
    /// What it wrote to its standard error.
    warnings: Vec<String>,
}

impl Supervised {
    /// The only server of its cluster.
    async fn start() -> Self {
        let emulator = Emulator::start().await.unwrap();
        let connection_string = emulator.connection_string();
        let done = run_beside("provision --cluster-size 1".to_owned(), connection_string.clone());
        assert!(done.await.status.success());
        let folder = tempfile::tempdir().unwrap();
        let (sender, lines) = tokio::sync::mpsc::unbounded_channel();
        let arguments = format!(
            "server --supervised --json --server-id 1 --cluster-size 1 --data-dir {}",
            folder.path().join("server-1").display()
        );
        let arguments: Vec<_> = arguments.split_whitespace().map(Into::into).collect();
        let program = PathBuf::from(PROGRAM);
        let server =
            ChildProcess::start("Server-1", &program, &arguments, &connection_string, &sender);
        Self { emulator, folder, server: server.unwrap(), lines, warnings: Vec::new() }
    }

    async fn event(&mut self) -> Event {
        loop {
            let line = tokio::time::timeout(PATIENCE, self.lines.recv()).await.unwrap().unwrap();
            if line.is_error {
                self.warnings.push(line.text);
                continue;
            }
            return serde_json::from_str(&line.text)
                .unwrap_or_else(|error| panic!("{line:?}: {error}"));
        }
    }

    async fn until(&mut self, is_it: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.event().await;
            if is_it(&event) {
                return event;
            }
        }
    }

    async fn status(&mut self) -> ServerStatus {
        self.server.write_line("status").await.unwrap();
        match self.until(|event| matches!(event, Event::Status(_))).await {
            Event::Status(status) => *status,
            _ => unreachable!("just matched"),
        }
    }

    /// Asks until the status is as expected.
    async fn status_when(&mut self, is_it: impl Fn(&ServerStatus) -> bool) -> ServerStatus {
        let asking = async {
            loop {
                let status = self.status().await;
                if is_it(&status) {
                    return status;
                }
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.expect("it becomes so within a minute")
    }

    fn publish(&self, to: &str, body: impl Into<Bytes>) {
        let message =
            BusMessage { to: Some(to.to_owned()), body: body.into(), ..BusMessage::default() };
        self.emulator.bus().publish("rafttopic", message).unwrap();
    }
}

/// A frame with an acknowledgement of server 2, in a term that no server of this cluster is in.
fn acknowledgement(cluster_id: ClusterId) -> Vec<u8> {
    let message = Message::AppendEntriesResponse(AppendEntriesResponse {
        term: Term(99),
        round: Round(0),
        result: AppendEntriesResult::Success { match_index: Index(1) },
    });
    let (from, to) = (Address::Server(ServerId(2)), Address::Server(ServerId(1)));
    let mut frame = Vec::new();
    codec::encode_frame(&[Envelope { cluster_id, from, to, message }], &mut frame).unwrap();
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_strangers_on_the_topic_are_counted_and_change_nothing() {
    let mut cluster = Supervised::start().await;
    cluster.until(|event| matches!(event, Event::Commit { .. })).await;
    let before = cluster.status().await;
    cluster.publish("all-servers", "garbage");
    cluster.publish("server-1", vec![0xff; 100_000]);
    cluster.publish("server-1", b"RAFT\x01\x00".to_vec());
    cluster.publish("server-1", acknowledgement(ClusterId::from_name("another")));
    cluster.publish("server-1", acknowledgement(ClusterId::from_name("rafttopic")));
    let after = cluster
        .status_when(|status| status.undecodable == 3 && status.refusals.values().sum::<u64>() == 2)
        .await;
    assert_eq!(after.refusals["foreign-cluster"], 1);
    assert_eq!(after.refusals["unknown-sender"], 1, "server 2 is none of a cluster of one");
    assert_eq!((after.term, &*after.role, after.log), (before.term, "leader", before.log));
    assert!(cluster.server.stop().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_use_is_not_opened_twice() {
    let mut cluster = Supervised::start().await;
    cluster.until(|event| matches!(event, Event::Joined { .. })).await;
    let arguments = format!(
        "server --server-id 1 --cluster-size 1 --data-dir {}",
        cluster.folder.path().join("server-1").display()
    );
    let output = run_beside(arguments, cluster.emulator.connection_string()).await;
    let line = error_line(&output, 1);
    assert!(line.contains("is in use: a server is already running on it"), "{line}");
    assert!(cluster.server.stop().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_blinks_is_found_again() {
    let mut cluster = Supervised::start().await;
    cluster.until(|event| matches!(event, Event::Commit { .. })).await;
    cluster.emulator.drop_connections();
    // Found again means that a message gets through. One that was handed to the old link is lost.
    let asking = async {
        while cluster.status().await.undecodable == 0 {
            cluster.publish("server-1", "garbage");
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("the bus is found again within a minute");
    let lost = "the connection to the bus is lost; trying again";
    assert_eq!(cluster.warnings.first().map(String::as_str), Some(lost), "and people are told");
    assert!(cluster.server.stop().await.unwrap().success());
}
