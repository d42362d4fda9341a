//! The program `service-bus-emulator`, as a shell sees it.
#![cfg(all(feature = "emulator", unix))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_service-bus-emulator"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(arguments: &[&str]) -> Output {
    program(arguments).output().unwrap()
}

/// Sends a signal and returns the exit code and what was still printed.
fn stop(
    mut child: Child,
    signal: &str,
    mut out: BufReader<impl std::io::Read>,
) -> (Option<i32>, String) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    (child.wait().unwrap().code(), rest)
}

#[test]
fn wrong_usage_exits_with_2() {
    let table: [&[&str]; 14] = [
        &["--bogus"],
        &["--amqp-port", "70000"],
        &["--max-message-size", "1"],
        &["--topic", ":s"],
        &["--drop", "1.5"],
        &["--duplicate", "often"],
        &["--latency", "9..5"],
        &["--throttle", "premium"],
        &["--key", "nameless"],
        &["--key", "a=b:Write"],
        &["--key", "a=b:Listen@"],
        &["--blip-every", "0"],
        &["--detach-every", "soon"],
        &["--tls-cert", "without-its-key.pem"],
    ];
    for arguments in table {
        let output = output(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn key_is_shown_neither_when_it_is_wrong_nor_in_the_help() {
    for text in ["name=SECRET:Write", "=SECRET", "SECRET", "name=SECRET:Listen@"] {
        for mut command in [program(&["--key", text]), program(&[]), program(&["--help"])] {
            command.env("SERVICE_BUS_EMULATOR_KEYS", text);
            let Output { status, stdout, stderr } = command.output().unwrap();
            let shown = String::from_utf8([stdout, stderr].concat()).unwrap();
            assert!(!shown.contains("SECRET"), "{shown}");
            assert!(status.success() || shown.contains("'--key' is invalid"), "{shown}");
        }
    }
}

#[test]
fn help_has_examples() {
    let help = output(&["--help"]);
    assert!(help.status.success());
    assert!(
        String::from_utf8(help.stdout).unwrap().contains("--topic rafttopic:server-1,server-2")
    );
}

#[test]
fn taken_port_is_named_in_one_line() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for arguments in
        [["--amqp-port", &port, "--admin-port", "0"], ["--amqp-port", "0", "--admin-port", &port]]
    {
        let output = output(&arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
        assert!(error.contains(&format!("port {port}")), "{error}");
    }
}

#[test]
fn it_prints_the_connection_string_and_stops_on_a_signal() {
    for signal in ["-INT", "-TERM"] {
        let mut command = program(&["--amqp-port", "0", "--admin-port", "0"]);
        command.env("SERVICE_BUS_EMULATOR_TOPICS", "rafttopic:server-1,server-2;other");
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let (mut ready, mut connection_string) = (String::new(), String::new());
        out.read_line(&mut ready).unwrap();
        out.read_line(&mut connection_string).unwrap();
        assert!(ready.starts_with("Ready: AMQP and management on 127.0.0.1:"), "{ready}");
        assert!(connection_string.starts_with("Endpoint=sb://localhost:"), "{connection_string}");
        let (code, rest) = stop(child, signal, out);
        // Two topics and two subscriptions were created.
        assert_eq!((code, rest.trim()), (Some(0), "Stopped after 4 billable operations."));
    }
}

#[test]
fn json_is_one_object_per_line() {
    let mut child = program(&["--amqp-port", "0", "--admin-port", "0", "--json"]).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut ready = String::new();
    out.read_line(&mut ready).unwrap();
    for field in
        [r#""event":"ready""#, r#""amqp_port":"#, r#""admin_port":"#, r#""connection_string":""#]
    {
        assert!(ready.contains(field), "{ready}");
    }
    let (code, rest) = stop(child, "-TERM", out);
    let stopped = r#"{"billable_operations":0,"delayed":0,"dropped":0,"duplicated":0,"event":"stopped","held_back":0,"reordered":0,"throttled":0}"#;
    assert_eq!((code, rest.trim()), (Some(0), stopped));
}

/// Starts the program on free ports with these flags more; returns its AMQP port, too.
fn started(flags: &[&str]) -> (Child, BufReader<std::process::ChildStdout>, u16) {
    let ports = ["--amqp-port", "0", "--admin-port", "0", "--json"];
    let mut child = program(&[&ports[..], flags].concat()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut ready = String::new();
    out.read_line(&mut ready).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    (child, out, ready["amqp_port"].as_u64().unwrap().try_into().unwrap())
}

/// What the control API says, if nobody cuts the connection.
fn state(port: u16) -> Option<serde_json::Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /$emulator HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

#[test]
fn what_goes_wrong_at_the_start_is_told_and_happens_again_and_again() {
    let periods = ["--blip-every", "0.02", "--detach-every", "0.02", "--expire-tokens-every=0.02"];
    let (child, out, port) = started(&[&periods[..], &["--full", "--busy"]].concat());
    // However long a period takes on this machine, each comes twice.
    let told = loop {
        let Some(told) = state(port) else { continue };
        let times = ["blips", "detaches", "expiries"].map(|name| told["counts"][name].as_u64());
        if times.iter().all(|times| *times >= Some(2)) {
            break told;
        }
    };
    assert_eq!((&told["faults"]["full"], &told["faults"]["busy"]), (&true.into(), &true.into()));
    // A connection that says nothing is cut as well.
    let mut silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // However it ends, it ends.
    _ = silent.read_to_end(&mut Vec::new());
    assert_eq!(stop(child, "-TERM", out).0, Some(0));
}

#[test]
fn connections_are_refused_from_the_start() {
    let (child, out, port) = started(&["--refuse-connections"]);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // However it ends, it ends.
    _ = stream.read_to_end(&mut Vec::new());
    assert_eq!(state(port), None);
    assert_eq!(stop(child, "-TERM", out).0, Some(0));
}

#[test]
fn malformed_config_is_refused_with_its_line() {
    let folder = std::env::temp_dir().join(format!("emulator-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("Config.json");
    let table = [
        ("\n[]", "line 2: "),
        ("{\"UserConfig\":\n7}", "line 2: invalid type: integer `7`, expected an object with"),
        ("{\n \"UserConfig\": {\n  \"Namespaces\": [{]\n }}", "line 3"),
        (
            "{\"UserConfig\": {\"Namespaces\": [{\"Name\": \"n\",\n\"Queues\": [{\"Name\": \"q\",\n\
             \"Properties\": {\"LockDuration\": \"soon\"}}]}]}}",
            "line 3: 'soon' is no duration",
        ),
        (
            "{\"UserConfig\": {\"Namespaces\": [{\"Name\": \"n\",\n\"Queues\": [{\"Name\": \"q\",\n\
             \"Properties\": {\"Lock\": \"PT1M\"}}]}]}}",
            "line 3: unknown field `Lock`",
        ),
        (
            "{\"UserConfig\": {\"Namespaces\": [{\"Name\": \"n\",\n\"Queues\": [\n{\"Name\": \"a b\"}]}]}}",
            "line 3: 'a b' cannot be created",
        ),
    ];
    for (text, reason) in table {
        std::fs::write(&path, text).unwrap();
        let config = path.to_str().unwrap();
        let output = output(&["--amqp-port", "0", "--admin-port", "0", "--config", config]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
        assert!(error.contains(reason) && error.contains("Config.json"), "{error}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn bill_is_printed_at_the_end_and_every_flag_has_its_variable() {
    let mut command = program(&[]);
    for (name, value) in [
        ("AMQP_PORT", "0"),
        ("ADMIN_PORT", "0"),
        ("QUEUES", "one;two"),
        ("SEED", "7"),
        ("DROP", "0.1"),
        ("LATENCY", "1..2"),
        ("EXPIRE_TOKENS_EVERY", "0.5"),
        ("KEYS", "a=b:Listen@one;c=d"),
        ("FULL", "1"),
        ("BUSY", "off"),
        ("BILL", "yes"),
    ] {
        command.env(format!("SERVICE_BUS_EMULATOR_{name}"), value);
    }
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut ready = String::new();
    out.read_line(&mut ready).unwrap();
    let (code, rest) = stop(child, "-TERM", out);
    assert_eq!(code, Some(0));
    let has_row = |entity: &str| {
        rest.lines().any(|line| line.starts_with(entity) && line.contains("management"))
    };
    assert!(has_row("one ") && has_row("two ") && rest.contains("USD"), "{rest}");
}
