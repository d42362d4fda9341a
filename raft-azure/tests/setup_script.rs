//! `setup.sh` with a stand-in for the Azure CLI, which keeps its state in files.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Knows one group and one namespace, and writes down what it was asked.
const AZ: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
echo "$*" >> calls
case "$1 $2 $3" in
    "account show "*) [ -e logged-in ] && echo 00000000-1111 ;;
    "group exists "*) if [ -e group ]; then echo true; else echo false; fi ;;
    "group create "*) touch group ;;
    "group show "*) echo true ;;
    "group delete "*) rm group ;;
    "resource list "*) if [ -e other ]; then echo 1; else echo 0; fi ;;
    "servicebus namespace show") [ -e namespace ] ;;
    "servicebus namespace create") touch namespace ;;
    "servicebus namespace delete") rm namespace ;;
    "servicebus namespace authorization-rule") echo "Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey=k=" ;;
    *) exit 9 ;;
esac
"#;

struct Stage {
    directory: PathBuf,
}

impl Stage {
    fn new(name: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // An error means that there was nothing to remove.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).expect("a directory for the test");
        Self { directory }
    }

    fn with_az(self) -> Self {
        let az = self.directory.join("az");
        fs::write(&az, AZ).expect("a stand-in");
        fs::set_permissions(&az, fs::Permissions::from_mode(0o755)).expect("an executable");
        self
    }

    fn logged_in(self) -> Self {
        fs::write(self.directory.join("logged-in"), "").expect("a marker");
        self
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("setup.sh");
        let path = format!("{}:/usr/bin:/bin", self.directory.display());
        let mut command = Command::new(script);
        command.args(arguments).env("PATH", path).stdin(std::process::Stdio::null());
        command.output().expect("a shell")
    }

    fn has(&self, name: &str) -> bool {
        self.directory.join(name).exists()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn setting_up_twice_creates_once_and_prints_the_same_line() {
    let stage = Stage::new("setup-twice").with_az().logged_in();
    let first = stage.run(&[]);
    assert!(first.status.success(), "{}", stderr(&first));
    let line =
        "export CONNECTION_STRING='Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey=k='\n";
    assert_eq!(String::from_utf8_lossy(&first.stdout), line);
    assert!(!stderr(&first).contains("k="), "the key goes to standard output only");
    let second = stage.run(&[]);
    assert_eq!(first.stdout, second.stdout);
    let calls = fs::read_to_string(stage.directory.join("calls")).expect("calls");
    assert_eq!(calls.lines().filter(|call| call.contains(" create ")).count(), 2, "{calls}");
    assert!(calls.contains("--sku Standard"), "{calls}");
}

#[test]
fn deleting_asks_and_keeps_a_group_that_others_use() {
    let stage = Stage::new("setup-delete").with_az().logged_in();
    assert!(stage.run(&[]).status.success());
    let refused = stage.run(&["--delete"]);
    assert_eq!(refused.status.code(), Some(1), "there is no terminal to ask on");
    assert!(stage.has("namespace"));

    fs::write(stage.directory.join("other"), "").expect("a marker");
    assert!(stage.run(&["--delete", "--yes"]).status.success());
    assert!(!stage.has("namespace") && stage.has("group"));

    fs::remove_file(stage.directory.join("other")).expect("the marker");
    assert!(stage.run(&["--delete", "--yes"]).status.success());
    assert!(!stage.has("group"));
    assert!(stage.run(&["--delete", "--yes"]).status.success(), "nothing left is no error");
}

#[test]
fn what_is_missing_is_named() {
    let bare = Stage::new("setup-bare");
    // Without the stand-in, and with nothing else on the path that could be the real one.
    let output = bare.run(&[]);
    if !Path::new("/usr/bin/az").exists() {
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("not installed"), "{}", stderr(&output));
    }
    let stranger = Stage::new("setup-stranger").with_az();
    let output = stranger.run(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("az login"), "{}", stderr(&output));
}

#[test]
fn wrong_usage_exits_with_2_and_help_with_0() {
    let stage = Stage::new("setup-usage").with_az().logged_in();
    for arguments in
        [&["--bogus"][..], &["--location"], &["--namespace", "a b c d"], &["-n", "abc"]]
    {
        assert_eq!(stage.run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let help = stage.run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("Examples:"));
    assert!(!stage.has("calls"), "wrong usage asks Azure nothing");
}
