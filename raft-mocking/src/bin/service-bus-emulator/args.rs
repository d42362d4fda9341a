//! Flags, and what they stand for. Each has an environment variable, [`PREFIX`] and its field's name.

use std::convert::Infallible;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory as _, FromArgMatches as _, Parser, ValueEnum};
use raft_mocking::broker::Faults;
use raft_mocking::emulator::Rights;

/// What the variable of each flag starts with.
const PREFIX: &str = "SERVICE_BUS_EMULATOR_";

const EXAMPLES: &str = "\
Examples:
  service-bus-emulator
  service-bus-emulator --amqp-port 0 --admin-port 0 --json
  service-bus-emulator --topic rafttopic:server-1,server-2
  service-bus-emulator --config Config.json --trace trace.jsonl --bill
  service-bus-emulator --key reader=c2VjcmV0:Listen@jobs
  service-bus-emulator --drop 0.01 --latency 5..50 --throttle standard --seed 7
  service-bus-emulator --blip-every 30 --expire-tokens-every 60
  service-bus-emulator --cert-out emulator.pem      # for clients that know HTTPS only

Each flag may be given by its variable, SERVICE_BUS_EMULATOR_ and its name. What goes wrong can be
changed while it runs: curl -X PUT -d '{\"drop\": 0.1}' 'http://localhost:5300/$emulator/faults'
Clients connect with the connection string that is printed at the start. Management is served on
the AMQP port as well. Set RUST_LOG=raft_mocking=debug to see what happens.";

/// An Azure Service Bus emulator on 127.0.0.1: queues, topics and sessions over AMQP 1.0, plain, over
/// TLS or WebSockets; management over HTTP. One process, no Docker.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Port for AMQP and management; 0 for any free one
    #[arg(long, default_value_t = 5672)]
    pub(crate) amqp_port: u16,
    /// Port for management alone; 0 for any free one
    #[arg(long, default_value_t = 5300)]
    pub(crate) admin_port: u16,
    /// Entities to start with: the file of Microsoft's emulator, as it is
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Largest message or batch, in bytes
    #[arg(
        long,
        default_value_t = 256 * 1024,
        value_parser = clap::value_parser!(u64).range(1024..=100 * 1024 * 1024)
    )]
    pub(crate) max_message_size: u64,
    /// Accept every token, whatever its key
    #[arg(long)]
    pub(crate) no_check_keys: bool,
    /// One more key, with what it allows (Send, Listen, Manage) and where; may be repeated (in the
    /// variable: with ';')
    #[arg(
        long = "key",
        value_name = "NAME=KEY[:RIGHT,RIGHT][@ENTITY]",
        value_delimiter = ';',
        hide_env_values = true
    )]
    keys: Vec<Secret>,
    /// Certificate for TLS, in PEM; without it one is made
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Write the certificate here, for clients to trust
    #[arg(long, value_name = "FILE")]
    pub(crate) cert_out: Option<PathBuf>,
    /// Create a queue at the start; may be repeated (in the variable: with ';')
    #[arg(long = "queue", value_name = "NAME", value_delimiter = ';')]
    pub(crate) queues: Vec<String>,
    /// Create a topic at the start, with subscriptions; may be repeated (in the variable: with ';')
    #[arg(long = "topic", value_name = "NAME[:SUB,SUB]", value_delimiter = ';')]
    pub(crate) topics: Vec<TopicArg>,
    /// Lose this share of all deliveries, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    drop: f64,
    /// Deliver this share twice, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    duplicate: f64,
    /// Let others pass this share, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    reorder: f64,
    /// Delay every delivery by this many milliseconds, or by a random time in such a range
    #[arg(long, value_name = "MS[..MS]")]
    latency: Option<Latency>,
    /// Allow what a tier allows: refuse calls beyond it, and have deliveries wait
    #[arg(long, value_name = "TIER", value_enum)]
    throttle: Option<Tier>,
    /// Refuse every send because the broker is busy
    #[arg(long)]
    busy: bool,
    /// Refuse every send because its entity is full
    #[arg(long)]
    full: bool,
    /// Close every new connection at once
    #[arg(long)]
    pub(crate) refuse_connections: bool,
    /// Cut every connection again and again, after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = period)]
    pub(crate) blip_every: Option<Duration>,
    /// Detach every link as if it had been idle, after so many seconds each time
    #[arg(long, value_name = "SECONDS", value_parser = period)]
    pub(crate) detach_every: Option<Duration>,
    /// Have every token expire, after so many seconds each time
    #[arg(long, value_name = "SECONDS", value_parser = period)]
    pub(crate) expire_tokens_every: Option<Duration>,
    /// Chooses what is lost, repeated, delayed and passed
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Write what happens to every message, as one JSON object per line
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Print the bill at the end: operations by entity, and what they would cost
    #[arg(long)]
    pub(crate) bill: bool,
    /// Print one JSON object per line instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

impl Args {
    /// Reads the flags and variables of this process; ends it if they are wrong.
    pub(crate) fn read() -> Self {
        let command = Self::command().mut_args(|arg| {
            let variable = format!("{PREFIX}{}", arg.get_id().as_str().to_ascii_uppercase());
            // Once for each flag, and for as long as the process runs.
            let arg = arg.env(&*variable.leak());
            // In a variable people write 1 or yes as well.
            match arg.get_action() {
                ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
                _ => arg,
            }
        });
        let args = Self::from_arg_matches(&command.get_matches());
        let args = args.unwrap_or_else(|error| error.exit());
        if let Err(reason) = args.keys() {
            let error = format!("a value of '--key' is invalid: {reason}");
            Self::command().error(ErrorKind::ValueValidation, error).exit();
        }
        args
    }

    /// The keys that were given, or why one of them is none; the reason shows no key.
    pub(crate) fn keys(&self) -> Result<Vec<KeyArg>, String> {
        self.keys.iter().map(|Secret(text)| text.parse()).collect()
    }

    pub(crate) fn faults(&self) -> Faults {
        let Self { drop, duplicate, reorder, latency, throttle, busy, full, .. } = self;
        Faults {
            drop: *drop,
            duplicate: *duplicate,
            reorder: *reorder,
            delay: if latency.is_some() { 1.0 } else { 0.0 },
            delay_range: latency.as_ref().map(|Latency(range)| range.clone()).unwrap_or_default(),
            is_busy: *busy,
            is_full: *full,
            credits_per_second: throttle.map(|Tier::Standard| Faults::STANDARD_CREDITS_PER_SECOND),
        }
    }
}

/// What is throttled by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tier {
    /// 1,000 credits per second
    Standard,
}

/// A range of milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Latency(Range<Duration>);

impl FromStr for Latency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (start, end) = text.split_once("..").unwrap_or((text, text));
        let milliseconds = |text: &str| {
            let number = text.parse().map_err(|_| format!("{text:?} is no number of milliseconds"));
            number.map(Duration::from_millis)
        };
        let (start, end) = (milliseconds(start)?, milliseconds(end)?);
        if end < start {
            return Err("the range ends before it begins".to_owned());
        }
        Ok(Self(start..end))
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is a number from 0 to 1".to_owned()),
    }
}

fn period(text: &str) -> Result<Duration, String> {
    let wrong = "a period is a number of seconds, from 0.001 to 1000000";
    match text.parse() {
        Ok(seconds) if (0.001..=1e6).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(wrong.to_owned()),
    }
}

/// A text that is not shown, not even if it is wrong.
#[derive(Clone)]
struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

/// A key, with what it allows and where.
#[derive(Clone)]
pub(crate) struct KeyArg {
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) rights: Rights,
    /// The entity that it is for; without one it is the namespace's.
    pub(crate) entity: Option<String>,
}

impl fmt::Debug for KeyArg {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyArg").field("name", &self.name).finish_non_exhaustive()
    }
}

impl FromStr for KeyArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').ok_or("a key is written NAME=KEY")?;
        // Base64 has neither.
        let (rest, entity) = match rest.split_once('@') {
            Some((rest, entity)) => (rest, Some(entity.trim_matches('/'))),
            None => (rest, None),
        };
        let (key, rights) = match rest.split_once(':') {
            Some((key, rights)) => (key, rights.parse()?),
            None => (rest, Rights::ALL),
        };
        if name.is_empty() || key.is_empty() || entity == Some("") {
            return Err("neither name, key nor entity may be empty".to_owned());
        }
        let (name, key) = (name.to_owned(), key.to_owned());
        Ok(Self { name, key, rights, entity: entity.map(str::to_owned) })
    }
}

/// A topic to create, with its subscriptions.
#[derive(Debug, Clone)]
pub(crate) struct TopicArg {
    pub(crate) name: String,
    pub(crate) subscriptions: Vec<String>,
}

impl FromStr for TopicArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, subscriptions) = text.split_once(':').unwrap_or((text, ""));
        if name.is_empty() {
            return Err("the topic has no name".to_owned());
        }
        let names = subscriptions.split(',').filter(|name| !name.is_empty());
        Ok(Self { name: name.to_owned(), subscriptions: names.map(str::to_owned).collect() })
    }
}
