//! The clients: how each is installed, and how its cases are run.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use raft_mocking::emulator::Emulator;
use serde_json::{Value, json};

use super::Kind;

/// One official client in one version, or the bus in memory, which has none.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) kind: Kind,
    pub(crate) version: &'static str,
}

/// The latest ones we know, and the Python client before its last: it looks fields up by their place that
/// the last can do without.
pub(crate) const ALL: &[Client] = &[
    Client { kind: Kind::Python, version: "7.15.0" },
    Client { kind: Kind::Python, version: "7.14.3" },
    Client { kind: Kind::Node, version: "7.9.5" },
    Client { kind: Kind::Memory, version: "" },
];

/// What the clients talk to.
#[derive(Debug)]
pub(crate) enum Namespace {
    Real {
        connection_string: String,
    },
    Emulator {
        connection_string: String,
        control_url: String,
        tls_endpoint: String,
        certificate_pem: String,
    },
}

impl Namespace {
    pub(crate) fn emulator(emulator: &Emulator) -> Result<Self> {
        let port = emulator.amqp_address().port();
        Ok(Self::Emulator {
            connection_string: emulator.connection_string(),
            control_url: format!("http://localhost:{port}"),
            tls_endpoint: format!("https://localhost:{port}"),
            certificate_pem: emulator.certificate_pem()?.to_owned(),
        })
    }

    /// Secrets go by environment.
    fn tell(&self, command: &mut Command, folder: &Path) -> Result<()> {
        match self {
            Self::Real { connection_string } => {
                command.env("CONNECTION_STRING", connection_string);
            }
            Self::Emulator { connection_string, control_url, tls_endpoint, certificate_pem } => {
                let path = folder.join("emulator.pem");
                std::fs::write(&path, certificate_pem)
                    .with_context(|| format!("cannot write {}", path.display()))?;
                command.env("CONNECTION_STRING", connection_string).env("IS_EMULATOR", "1");
                command.env("CONTROL_URL", control_url).env("TLS_ENDPOINT", tls_endpoint);
                // Each language has its own way to be told of a certificate.
                command.env("REQUESTS_CA_BUNDLE", &path).env("SSL_CERT_FILE", &path);
                command.env("WEBSOCKET_CLIENT_CA_BUNDLE", &path).env("NODE_EXTRA_CA_CERTS", &path);
            }
        }
        Ok(())
    }
}

/// What became of one case.
#[derive(Debug, Clone)]
pub(crate) struct CaseResult {
    pub(crate) case: String,
    pub(crate) outcome: Outcome,
    pub(crate) detail: String,
    seconds: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Pass,
    Fail,
    /// The client cannot do it.
    NotApplicable,
}

impl CaseResult {
    /// What became of a case that ran in this process: nothing, or why it is none, or why it failed.
    pub(crate) fn new(case: &str, result: Result<Option<&str>>, elapsed: Duration) -> Self {
        let (outcome, detail) = match result {
            Ok(None) => (Outcome::Pass, String::new()),
            Ok(Some(why)) => (Outcome::NotApplicable, why.to_owned()),
            Err(error) => (Outcome::Fail, format!("{error:#}")),
        };
        Self { case: case.to_owned(), outcome, detail, seconds: elapsed.as_secs_f64() }
    }

    fn from_json(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let outcome = match value["result"].as_str()? {
            "pass" => Outcome::Pass,
            "none" => Outcome::NotApplicable,
            _ => Outcome::Fail,
        };
        Some(Self {
            case: value["case"].as_str()?.to_owned(),
            outcome,
            detail: value["detail"].as_str().unwrap_or_default().to_owned(),
            seconds: value["seconds"].as_f64().unwrap_or_default(),
        })
    }

    pub(crate) fn to_json(&self, client: &Client) -> Value {
        json!({
            "client": client.title(),
            "case": self.case,
            "result": format!("{:?}", self.outcome),
            "detail": self.detail,
            "seconds": self.seconds,
        })
    }

    pub(crate) fn line(&self, client: &Client) -> String {
        let outcome = match self.outcome {
            Outcome::Pass => "ok",
            Outcome::Fail => "FAILED",
            Outcome::NotApplicable => "-",
        };
        let Self { case, seconds, detail, .. } = self;
        let detail = detail.lines().next().unwrap_or_default();
        format!("{:<16} {case:<24} {outcome:<7} {seconds:>6.2} s  {detail}", client.title())
    }
}

impl Client {
    pub(crate) fn title(&self) -> String {
        match self.kind {
            Kind::Python => format!("Python {}", self.version),
            Kind::Node => format!("Node {}", self.version),
            Kind::Memory => "In memory".to_owned(),
        }
    }

    /// Installs the client into a folder of its own, which is returned. It is done once.
    pub(crate) fn install(&self) -> Result<PathBuf> {
        let this = std::env::current_exe().context("cannot find this program")?;
        let target = this.parent().and_then(Path::parent);
        let target = target.context("this program is in no target folder")?;
        let name = match self.kind {
            Kind::Python => "python",
            Kind::Node => "node",
            Kind::Memory => bail!("there is nothing to install"),
        };
        let folder = target.join("conformance").join(name).join(self.version);
        // Made last, so that half an installation is none.
        let done = folder.join("installed");
        if done.exists() {
            return Ok(folder);
        }
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        match self.kind {
            Kind::Python => {
                execute(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
                let package = format!("azure-servicebus=={}", self.version);
                let mut pip = Command::new(folder.join("bin").join("pip"));
                // websocket-client is what it wants for WebSockets, and does not bring.
                pip.args(["install", "--quiet", "--disable-pip-version-check", "websocket-client"]);
                execute(pip.arg(package))?;
            }
            Kind::Node => {
                let package = format!("@azure/service-bus@{}", self.version);
                let mut npm = Command::new("npm");
                npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]);
                execute(npm.arg(&folder).args([&package, "ws@8"]))?;
            }
            Kind::Memory => {}
        }
        std::fs::write(&done, "").with_context(|| format!("cannot write {}", done.display()))?;
        Ok(folder)
    }

    /// Runs cases, and tells of each as soon as it is over.
    pub(crate) fn run(
        &self,
        installed: &Path,
        namespace: &Namespace,
        cases: &[&str],
        mut tell: impl FnMut(CaseResult),
    ) -> Result<()> {
        let scripts = crate::root().join("xtask").join("conformance");
        let mut command = match self.kind {
            Kind::Python => {
                let mut command = Command::new(installed.join("bin").join("python"));
                // No caches beside the scripts.
                command.arg("-B").arg(scripts.join("python").join("cases.py"));
                command
            }
            Kind::Node => {
                // Modules are looked for beside the script that asks for them.
                for file in ["harness.mjs", "cases.mjs"] {
                    let from = scripts.join("node").join(file);
                    std::fs::copy(&from, installed.join(file))
                        .with_context(|| format!("cannot copy {}", from.display()))?;
                }
                let mut command = Command::new("node");
                // Without it each WebAssembly module of the client's libraries reserves gigabytes of
                // addresses, which not every machine has to give.
                command.arg("--disable-wasm-trap-handler");
                command.arg(installed.join("cases.mjs"));
                command
            }
            Kind::Memory => bail!("it is no program"),
        };
        namespace.tell(&mut command, installed)?;
        let mut child = command
            .args(cases)
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        let output = child.stdout.take().context("no output")?;
        let mut left: Vec<_> = cases.to_vec();
        for line in BufReader::new(output).lines() {
            let line = line?;
            let Some(result) = CaseResult::from_json(&line) else {
                eprintln!("{line}");
                continue;
            };
            left.retain(|case| *case != result.case);
            tell(result);
        }
        child.wait()?;
        // A client that crashed has failed in all that it did not come to.
        for case in left {
            tell(CaseResult {
                case: case.to_owned(),
                outcome: Outcome::Fail,
                detail: "the client ended before this case".to_owned(),
                seconds: 0.0,
            });
        }
        Ok(())
    }
}

fn execute(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed");
    }
    Ok(())
}
