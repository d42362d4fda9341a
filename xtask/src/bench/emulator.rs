//! `cargo xtask bench emulator`: how fast, how small and how soon ready the Service Bus emulator is.
//!
//! The program is started anew for each measure and loaded by `raft-mocking/examples/emulator-load.rs`,
//! both as they are released.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

#[derive(Debug, Args)]
pub(crate) struct EmulatorArgs {
    /// Print one JSON object per measure; the last one is the summary.
    #[arg(long)]
    json: bool,
    /// How long messages are sent.
    #[arg(long, value_name = "N", default_value_t = 4)]
    seconds: u64,
}

/// How often the latency is measured.
const PACED_RUNS: usize = 5;

/// Runnable processes per core from which on what others do is measured as well.
const BUSY_LOAD: f64 = 0.5;

/// A figure with its goal, if it has one.
struct Figure {
    name: &'static str,
    value: f64,
    goal: Option<f64>,
    /// Whether less is better.
    is_cost: bool,
}

impl Figure {
    fn is_met(&self) -> Option<bool> {
        let goal = self.goal?;
        Some(if self.is_cost { self.value <= goal } else { self.value >= goal })
    }
}

pub(crate) fn run(args: &EmulatorArgs) -> Result<()> {
    let programs = Programs::build()?;
    let mut figures = Vec::new();
    let mut tell = |figure: Figure| {
        let Figure { name, value, goal, .. } = figure;
        match (args.json, goal, figure.is_met()) {
            (true, ..) => println!("{}", to_json(&figure)),
            (false, Some(goal), Some(is_met)) => {
                let verdict = if is_met { "met" } else { "missed" };
                println!("{name:<44} {value:>12.1}   goal {goal:>10.1}   {verdict}");
            }
            _ => println!("{name:<44} {value:>12.1}"),
        }
        figures.extend(figure.is_met());
    };
    let mut add = |name, value, goal, is_cost| {
        tell(Figure { name, value, goal: Some(goal), is_cost });
    };
    warn_if_busy();

    let emulator = programs.start()?;
    add("start to ready, ms", emulator.ready_ms, 50.0, true);
    add("memory idle, MB", emulator.resident_mb()?, 20.0, true);
    let fan_out = emulator.load("fan-out", args.seconds)?;
    let seconds = number(&fan_out, "seconds")?;
    add("one topic, 64 outstanding: in/s", number(&fan_out, "sent")? / seconds, 100_000.0, false);
    let out = number(&fan_out, "received")? / seconds;
    add("five subscriptions: out/s", out, 500_000.0, false);
    // As many as go means that they queue: what waits divided by the rate is how long it waits.
    let saturated = number(&fan_out, "p99_us")? / 1e3;
    drop(emulator);

    // The load takes more than a core where it may, and then the emulator waits for one, for
    // milliseconds: that is measured as well, and says nothing of the emulator.
    if can_pin() {
        let emulator = programs.start_on(Some(0))?;
        let p99 = emulator.on(Some(1)).paced_p99(args.seconds)?;
        add("at 100,000 in/s, a core each: p99, ms", p99, 3.0, true);
    }
    let emulator = programs.start()?;
    let waited_before = emulator.waited_ms();
    let p99_shared = emulator.paced_p99(args.seconds)?;
    let waited = emulator.waited_ms().zip(waited_before).map(|(after, before)| after - before);
    drop(emulator);

    let emulator = programs.start()?;
    let held = emulator.hold("connections", 1_000)?;
    add("connections at a time", number(&held.result, "opened")?, 1_000.0, false);
    drop(held);
    drop(emulator);

    let emulator = programs.start()?;
    let before = emulator.resident_mb()?;
    let held = emulator.hold("pile", 1_000_000)?;
    add("1,000,000 messages waiting, MB", emulator.resident_mb()? - before, 600.0, true);
    drop(held);
    let mut add = |name, value| tell(Figure { name, value, goal: None, is_cost: true });
    add("at 100,000 in/s, cores shared: p99, ms", p99_shared);
    if let Some(waited) = waited {
        // What it would take alone, it does not know: this is what others took of its time.
        let seconds = (PACED_RUNS as u64 * args.seconds) as f64;
        add("meanwhile it waited for a core, ms/s", waited / seconds);
    }
    add("as many as go: p99, ms", saturated);

    let met = figures.iter().filter(|is_met| **is_met).count();
    if args.json {
        println!("{}", json!({ "event": "summary", "met": met, "of": figures.len() }));
    } else {
        println!("{met} of {} goals are met", figures.len());
    }
    Ok(())
}

/// Says so if others use the machine: a thread that waits for a core waits for milliseconds, which is
/// more than the emulator takes.
fn warn_if_busy() {
    let load = std::fs::read_to_string("/proc/loadavg").ok();
    let load = load.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if let Some(load) = load.filter(|load| *load > BUSY_LOAD * cores as f64) {
        eprintln!("the machine is busy (load {load} on {cores} cores): latencies will be too high");
    }
}

fn to_json(figure: &Figure) -> Value {
    json!({
        "measure": figure.name,
        "value": figure.value,
        "goal": figure.goal,
        "met": figure.is_met(),
    })
}

fn number(result: &Value, name: &str) -> Result<f64> {
    result[name].as_f64().with_context(|| format!("the load tells no {name}: {result}"))
}

struct Programs {
    emulator: PathBuf,
    load: PathBuf,
}

impl Programs {
    fn build() -> Result<Self> {
        let this = std::env::current_exe().context("cannot find this program")?;
        let target = this.parent().and_then(|folder| folder.parent());
        let target = target.context("this program is in no target folder")?;
        let mut build = crate::cargo();
        build.args(["build", "--release", "--package", "raft-mocking"]);
        build.args(["--bin", "service-bus-emulator", "--example", "emulator-load"]);
        let status = build.arg("--target-dir").arg(target).status().context("cannot run cargo")?;
        if !status.success() {
            bail!("the emulator does not build");
        }
        let release = target.join("release");
        let name = |name: &str| format!("{name}{}", std::env::consts::EXE_SUFFIX);
        Ok(Self {
            emulator: release.join(name("service-bus-emulator")),
            load: release.join("examples").join(name("emulator-load")),
        })
    }

    fn start(&self) -> Result<Running<'_>> {
        self.start_on(None)
    }

    fn start_on(&self, core: Option<usize>) -> Result<Running<'_>> {
        let started = Instant::now();
        let mut child = command_on(&self.emulator, core)
            .args(["--amqp-port", "0", "--admin-port", "0", "--json", "--no-check-keys"])
            .args(["--queue", "pile", "--topic", "load:s1,s2,s3,s4,s5"])
            .stdout(Stdio::piped())
            .spawn()
            .context("the emulator does not start")?;
        let output = child.stdout.take().context("the emulator has no output")?;
        let child = Stopped(child);
        let mut ready = String::new();
        BufReader::new(output).read_line(&mut ready)?;
        let ready_ms = started.elapsed().as_secs_f64() * 1e3;
        let ready: Value = serde_json::from_str(&ready).context("the emulator is not ready")?;
        let port = ready["amqp_port"].as_u64().context("the emulator tells no port")?;
        let address = format!("127.0.0.1:{port}");
        Ok(Running { programs: self, child, address, ready_ms, load_core: None })
    }
}

/// A process that ends with us.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        // One that has ended already cannot be ended again.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

struct Running<'a> {
    programs: &'a Programs,
    child: Stopped,
    address: String,
    ready_ms: f64,
    /// Which core the load has for itself, if it has one.
    load_core: Option<usize>,
}

/// True if programs can be kept to a core of their own.
fn can_pin() -> bool {
    let is_pinned = || Some(command_on("true".as_ref(), Some(1)).status().ok()?.success());
    std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1)
        && is_pinned().unwrap_or(false)
}

/// Runs a program, on this core only if one is named.
fn command_on(program: &Path, core: Option<usize>) -> Command {
    let Some(core) = core else { return Command::new(program) };
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}

/// A load that stays until it is dropped.
struct Held {
    result: Value,
    _child: Stopped,
}

impl Running<'_> {
    /// Memory that the process has, as Linux tells it.
    fn resident_mb(&self) -> Result<f64> {
        let path = format!("/proc/{}/status", self.child.0.id());
        let status =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        Ok(kilobytes.context("the system tells no VmRSS")? / 1e3)
    }

    /// How long its threads were ready to run and had no core, all together, as Linux tells it.
    fn waited_ms(&self) -> Option<f64> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.0.id())).ok()?;
        let waited = tasks.map(|task| {
            let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split_whitespace().nth(1)?.parse::<f64>().ok()
        });
        waited.sum::<Option<f64>>().map(|nanos| nanos / 1e6)
    }

    /// The same, with its load on this core.
    fn on(mut self, core: Option<usize>) -> Self {
        self.load_core = core;
        self
    }

    /// The slowest hundredth at the pace of the goal. What else the machine does shows there first: the
    /// median of some runs.
    fn paced_p99(&self, seconds: u64) -> Result<f64> {
        let run = |_| Ok(number(&self.load("paced", seconds)?, "p99_us")? / 1e3);
        let mut p99s = (0..PACED_RUNS).map(run).collect::<Result<Vec<_>>>()?;
        p99s.sort_by(f64::total_cmp);
        Ok(p99s[PACED_RUNS / 2])
    }

    fn load(&self, what: &str, number: u64) -> Result<Value> {
        Ok(self.hold(what, number)?.result)
    }

    fn hold(&self, what: &str, number: u64) -> Result<Held> {
        let mut child = command_on(&self.programs.load, self.load_core)
            .args([&self.address, what, &number.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the load does not start")?;
        let output = child.stdout.take().context("the load has no output")?;
        let child = Stopped(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        std::io::stdout().flush()?;
        let result =
            serde_json::from_str(&line).with_context(|| format!("the load {what} failed"))?;
        Ok(Held { result, _child: child })
    }
}
