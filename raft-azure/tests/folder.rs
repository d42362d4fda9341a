//! A server and its folder, from start to end: what it tells, when it does not start, and when it stops.
#![cfg(all(feature = "emulator", unix))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use raft_azure::event::{Event, ServerStatus};
use raft_azure::process::{ChildProcess, Line};
use raft_core::inspect_folder;
use raft_mocking::emulator::Emulator;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const PROGRAM: &str = env!("CARGO_BIN_EXE_raft-azure");
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster of one server, which is not running.
struct Site {
    emulator: Option<Emulator>,
    connection_string: String,
    parent: tempfile::TempDir,
}

/// A process of a site.
struct Running {
    process: ChildProcess,
    lines: UnboundedReceiver<Line>,
    errors: Vec<String>,
}

impl Site {
    async fn new() -> Self {
        let emulator = Emulator::start().await.unwrap();
        let connection_string = emulator.connection_string();
        let parent = tempfile::tempdir().unwrap();
        let site = Self { emulator: Some(emulator), connection_string, parent };
        let output = site.run("provision --cluster-size 1 --client-id 1").await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        site
    }

    fn folder(&self) -> PathBuf {
        self.parent.path().join("server-1")
    }

    fn marker(&self) -> PathBuf {
        self.parent.path().join("server-1.started")
    }

    fn server_arguments(&self, more: &str) -> String {
        let folder = self.folder();
        format!(
            "server --json --server-id 1 --cluster-size 1 --data-dir {} {more}",
            folder.display()
        )
    }

    /// Runs the program to its end, which must come by itself.
    async fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new(PROGRAM);
        command.args(arguments.split_whitespace()).stdin(Stdio::null()).env_remove("RUST_LOG");
        command.env("CONNECTION_STRING", &self.connection_string);
        let output = tokio::task::spawn_blocking(move || command.output());
        tokio::time::timeout(PATIENCE, output).await.expect("it ends").unwrap().unwrap()
    }

    /// The one line that a server says which does not start.
    async fn refused(&self, more: &str) -> String {
        let output = self.run(&self.server_arguments(more)).await;
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert_eq!(line.trim_end().lines().count(), 1, "one line, not {line:?}");
        line
    }

    fn start(&self, arguments: &str) -> Running {
        let arguments: Vec<_> = arguments.split_whitespace().map(Into::into).collect();
        let (sender, lines) = unbounded_channel();
        let (program, secret) = (Path::new(PROGRAM), &self.connection_string);
        let process = ChildProcess::start("it", program, &arguments, secret, &sender);
        Running { process: process.unwrap(), lines, errors: Vec::new() }
    }

    fn start_server(&self, more: &str) -> Running {
        self.start(&self.server_arguments(&format!("--supervised {more}")))
    }

    /// Starts the server, has it commit some requests, and stops it.
    async fn have_committed(&self, requests: u64) {
        let mut server = self.start_server("");
        server.until(|event| matches!(event, Event::Joined { .. })).await;
        let client = "client --cluster-size 1 --client-id 1 --payload-bytes 1000 --num-requests";
        let output = self.run(&format!("{client} {requests}")).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(server.process.stop().await.unwrap().success());
    }

    /// The last segment, and how much of it is used.
    fn log_end(&self) -> (std::fs::File, PathBuf, u64) {
        let segment = inspect_folder(self.folder()).unwrap().segments.pop().unwrap();
        let path = self.folder().join(segment.name);
        let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        (file, path, segment.used_bytes)
    }
}

impl Running {
    /// The next event, or `None` if it has ended.
    async fn event(&mut self) -> Option<Event> {
        loop {
            let line = tokio::time::timeout(PATIENCE, self.lines.recv()).await.unwrap()?;
            if !line.is_error {
                return Some(serde_json::from_str(&line.text).unwrap());
            }
            self.errors.push(line.text);
        }
    }

    async fn until(&mut self, is_it: impl Fn(&Event) -> bool) -> Event {
        loop {
            match self.event().await {
                Some(event) if is_it(&event) => return event,
                Some(_) => {}
                None => panic!("it has ended: {:?}", self.errors),
            }
        }
    }

    async fn status_when(&mut self, is_it: impl Fn(&ServerStatus) -> bool) -> ServerStatus {
        loop {
            self.process.write_line("status").await.unwrap();
            if let Event::Status(status) = self.until(|it| matches!(it, Event::Status(_))).await
                && is_it(&status)
            {
                return *status;
            }
        }
    }

    /// Takes what it tells until it ends by itself, and its exit code.
    async fn end(&mut self) -> (Vec<Event>, Option<i32>) {
        let mut events = Vec::new();
        while let Some(event) = self.event().await {
            events.push(event);
        }
        (events, self.process.wait().await.unwrap().code())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_tells_what_it_recovered_and_what_a_crash_tore() {
    let site = Site::new().await;
    let mut server = site.start_server("");
    let first = server.event().await.unwrap();
    assert!(matches!(first, Event::Recovered { records: 0, entries: 0, torn: None, .. }));
    server.until(|event| matches!(event, Event::Joined { .. })).await;
    assert!(server.process.stop().await.unwrap().success());
    site.have_committed(3).await;
    let (file, path, used) = site.log_end();
    // The start of a write, of which a crash left five bytes.
    file.write_all_at(&[0xab; 5], used).unwrap();

    let mut server = site.start_server("");
    let Some(Event::Recovered { server: 1, entries, records, segments: 1, torn: Some(torn) }) =
        server.event().await
    else {
        panic!("the first thing it tells is what it recovered");
    };
    assert!(entries > 3 && records > 3, "{entries} entries from {records} records");
    assert_eq!((torn.path, torn.offset, torn.bytes), (path.display().to_string(), used, 5));
    let status = server.status_when(|status| status.last_applied >= entries).await;
    assert_eq!(status.state.len(), 3, "nothing is lost");
    assert!(server.process.stop().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_is_refused_with_its_place_and_without_a_bus() {
    let mut site = Site::new().await;
    site.have_committed(3).await;
    let (file, path, used) = site.log_end();
    let mut byte = [0];
    file.read_exact_at(&mut byte, used / 2).unwrap();
    file.write_all_at(&[byte[0] ^ 1], used / 2).unwrap();
    let before = std::fs::read(&path).unwrap();
    site.emulator.take().unwrap().shutdown().await;
    let line = site.refused("").await;
    let start = format!("error: {} is damaged at byte ", path.display());
    assert!(line.starts_with(&start), "{line}");
    assert!(line.contains("replace it by one with a new id"), "{line}");
    assert!(std::fs::read(&path).unwrap() == before, "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_folder_was_wiped_does_not_start() {
    let site = Site::new().await;
    site.have_committed(1).await;
    let noted = std::fs::read_to_string(site.marker()).unwrap();
    assert!(noted.contains("\ns1 of cluster "), "{noted}");

    // All of it, what is in it, and all but an empty file that somebody else put there.
    std::fs::remove_dir_all(site.folder()).unwrap();
    for start in ["", "--start found", "--start join", "--start rejoin"] {
        let line = site.refused(start).await;
        assert!(line.contains("its log is gone"), "{line}");
        assert!(line.contains("could vote twice"), "{line}");
        assert!(line.contains(&format!("remove {}", site.marker().display())), "{line}");
        assert!(!site.folder().exists(), "so that it can be put back in one piece");
    }
    std::fs::create_dir(site.folder()).unwrap();
    assert!(site.refused("").await.contains("its log is gone"));
    std::fs::create_dir(site.folder().join("lost+found")).unwrap();
    for _ in 0..2 {
        assert!(site.refused("").await.contains("its log is gone"));
    }

    // Only the whole cluster may forget.
    std::fs::remove_dir_all(site.folder()).unwrap();
    std::fs::remove_file(site.marker()).unwrap();
    let mut server = site.start_server("");
    server.until(|event| matches!(event, Event::Commit { .. })).await;
    assert!(server.process.stop().await.unwrap().success());
    assert!(site.marker().exists(), "and from then on it is remembered again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_without_its_marker_goes_on_and_is_noted_again() {
    let site = Site::new().await;
    site.have_committed(1).await;
    std::fs::remove_file(site.marker()).unwrap();
    // Something that cannot be replaced by a file.
    std::fs::create_dir_all(site.marker().join("in-the-way")).unwrap();
    let mut server = site.start_server("");
    server.until(|event| matches!(event, Event::Commit { .. })).await;
    assert!(server.process.stop().await.unwrap().success());
    server_has_warned(&server.errors);
    std::fs::remove_dir_all(site.marker()).unwrap();
    site.have_committed(1).await;
    assert!(site.marker().is_file());
}

fn server_has_warned(errors: &[String]) {
    let [warning] = errors else { panic!("one warning, not {errors:?}") };
    assert!(warning.starts_with("warning: cannot "), "{warning}");
    assert!(warning.contains("server-1.started"), "{warning}");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_a_server_starts_can_be_said() {
    let site = Site::new().await;
    assert!(site.refused("--start rejoin").await.contains("its storage is empty"));
    assert!(!site.folder().exists());
    assert!(site.refused("--start join").await.contains("cannot join as one of the servers"));
    let mut server = site.start_server("--start initial");
    server.until(|event| matches!(event, Event::Commit { .. })).await;
    assert!(server.process.stop().await.unwrap().success());
    assert!(site.refused("--start found").await.contains("its storage is not empty"));
    let mut server = site.start_server("--start rejoin");
    server.until(|event| matches!(event, Event::Commit { .. })).await;
    assert!(server.process.stop().await.unwrap().success());

    // One that joins is in no configuration yet, so it waits; the cluster need not have its number.
    let other = site.parent.path().join("server-2");
    let arguments = format!(
        "server --json --server-id 2 --cluster-size 1 --data-dir {} --supervised",
        other.display()
    );
    let output = site.run(&arguments).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--start join"), "{}", text(&output.stderr));
    assert!(site.run("provision --cluster-size 2").await.status.success());
    let mut joining = site.start(&format!("{arguments} --start join"));
    joining.until(|event| matches!(event, Event::Joined { server: 2 })).await;
    let status = joining.status_when(|_| true).await;
    assert_eq!((&*status.role, status.term), ("follower", 0));
    assert!(joining.process.stop().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_quota_stops_by_itself_and_keeps_what_it_promised() {
    let site = Site::new().await;
    // Less than the first file has.
    let line = site.refused("--disk-quota 1000").await;
    assert!(line.ends_with(": no storage space\n"), "{line}");
    assert_eq!(line.matches("no storage space").count(), 1, "{line}");

    // The first file, and a little more.
    let mut server = site.start_server("--disk-quota 1100000");
    server.until(|event| matches!(event, Event::Joined { .. })).await;
    let client = "client --json --cluster-size 1 --client-id 1 --payload-bytes 100000";
    let mut client = site.start(&format!("{client} --num-requests 100"));
    let (_, code) = tokio::time::timeout(PATIENCE, server.end()).await.unwrap();
    assert_eq!(code, Some(1), "{:?}", server.errors);
    let [line] = &server.errors[..] else { panic!("one line, not {:?}", server.errors) };
    assert!(line.starts_with("error: the storage failed: cannot write "), "{line}");
    assert!(line.ends_with(": no storage space"), "{line}");

    // The client waits for an answer that does not come; what it was told so far is in its output.
    client.process.kill().await.unwrap();
    let mut answered = 0;
    while let Ok(Some(line)) = tokio::time::timeout(PATIENCE, client.lines.recv()).await {
        let event = serde_json::from_str(&line.text);
        if let Ok(Event::Answer { sequence, .. }) = event {
            answered = answered.max(sequence);
        }
    }
    assert!(answered > 3, "{answered}");

    let mut server = site.start_server("");
    let confirmed = usize::try_from(answered).unwrap();
    let status = server.status_when(|status| status.state.len() >= confirmed).await;
    for (command, number) in status.state.iter().zip(1..=answered) {
        assert!(command.starts_with(&format!("request {number}")), "{command} is not {number}");
    }
    assert!(server.process.stop().await.unwrap().success());
}
