//! The player in a browser: it steps through whole runs and compares what it shows with the trace.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::html;
use crate::trace::Trace;
use crate::trace::example::{hostile, two_leaders};
use crate::{Explorer, Scenario};

/// More than a browser takes to start on a busy machine.
const TIME_MAX: Duration = Duration::from_secs(120);

#[test]
fn the_player_shows_every_step_right_forwards_and_backwards() {
    let Some(browser) = Browser::find() else { return };
    let scenario = Scenario::sample_with_failure();
    let explorer = Explorer::new(scenario).iterations(5_000).seed(7);
    let report = explorer.defect(raft_core::Defect::VoteCountedTwice).run().unwrap();
    let bug = report.bug().expect("it is found within its budget");
    let shrunk = bug.shrunk().trace_data();
    let full = bug.full().trace_data().matter_as_in(&shrunk);
    let nothing = crate::trace::TraceRecorder::new().finish(None);
    let runs = [
        ("by-hand", two_leaders()),
        ("hostile", hostile()),
        ("shrunk", shrunk.all_matter()),
        ("full", full),
        ("nothing", nothing),
    ];
    for (name, trace) in runs {
        let dom = browser.dom(name, &trace, "#selftest");
        assert_eq!(attribute(&dom, "selftest"), "ok", "{name}");
        assert_eq!(attribute(&dom, "steps"), trace.steps.len().to_string(), "{name}");
        assert_eq!(attribute(&dom, "lanes"), trace.lanes.len().to_string(), "{name}");
    }
}

#[test]
fn an_address_leads_to_its_step() {
    let Some(browser) = Browser::find() else { return };
    let dom = browser.dom("step", &two_leaders(), "#step=7");
    assert_eq!(attribute(&dom, "step"), "7");
    assert!(dom.contains("<p class=\"event\">request c1</p>"), "the inspector tells of the step");
    let dom = browser.dom("matters", &two_leaders(), "#step=7&matters");
    assert_eq!(attribute(&dom, "step"), "5", "the last one before it that matters");
    // Without an address, it opens where it breaks.
    let dom = browser.dom("end", &two_leaders(), "");
    assert_eq!(attribute(&dom, "step"), "11");
    assert!(dom.contains("s1 and s3 both lead term 1"));
}

/// What the page's root element says of this.
fn attribute<'a>(dom: &'a str, name: &str) -> &'a str {
    let root = dom.split("<head>").next().unwrap_or_default();
    let value = root.split_once(&format!("data-{name}=\"")).and_then(|it| it.1.split_once('"'));
    value.unwrap_or_else(|| panic!("the root element has no data-{name}: {root}")).0
}

struct Browser {
    program: PathBuf,
    folder: PathBuf,
}

impl Browser {
    /// The browser that `CHROMIUM` names, or one that is installed. Without one there is nothing to test
    /// with: that is said, and a failure if one was named.
    fn find() -> Option<Self> {
        let named = env::var_os("CHROMIUM").map(PathBuf::from);
        let paths = env::var_os("PATH").unwrap_or_default();
        let installed =
            ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(|name| {
                env::split_paths(&paths)
                    .map(|path| path.join(name))
                    .find(|program| program.is_file())
            });
        let folder = env::temp_dir().join(format!(
            "raft-player-{}-{:?}",
            std::process::id(),
            thread::current().id()
        ));
        let found = named.or(installed).map(|program| Self { program, folder });
        let Some(browser) = found else {
            missing("no Chromium was found: install it, or name it in CHROMIUM");
            return None;
        };
        // An address space that is limited is too small for it, and a sandbox may be missing.
        if browser.run("about:blank").is_none() {
            let program = browser.program.display();
            missing(&format!(
                "{program} does not start: is the address space limited (ulimit -v)?"
            ));
            return None;
        }
        Some(browser)
    }

    fn dom(&self, name: &str, trace: &Trace, fragment: &str) -> String {
        fs::create_dir_all(&self.folder).unwrap();
        let file = self.folder.join(format!("{name}.html"));
        fs::write(&file, html(trace)).unwrap();
        let dom = self.run(&format!("file://{}{fragment}", file.display()));
        dom.unwrap_or_else(|| panic!("{name}: the browser has ended early"))
    }

    /// What the browser makes of a page, once its scripts have run.
    fn run(&self, address: &str) -> Option<String> {
        fs::create_dir_all(&self.folder).unwrap();
        let output = self.folder.join("dom.html");
        let profile = format!("--user-data-dir={}", self.folder.join("profile").display());
        let mut child = Command::new(&self.program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .args(["--disable-quic", "--virtual-time-budget=20000", "--window-size=1280,720"])
            .args([profile.as_str(), "--dump-dom", address])
            .stdout(fs::File::create(&output).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let started = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if started.elapsed() > TIME_MAX {
                child.kill().unwrap();
            }
            thread::sleep(Duration::from_millis(20));
        }
        let dom = fs::read_to_string(&output).unwrap();
        dom.contains("<html").then_some(dom)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(Path::new(&self.folder));
    }
}

fn missing(why: &str) {
    assert!(env::var_os("CHROMIUM").is_none(), "CHROMIUM is set, but {why}");
    eprintln!("skipped: {why}");
}
