//! The clients: each asks one thing at a time, of a few keys that all of them share.
//!
//! Guarantees: every value is written once in the whole run, so that a reader knows who wrote it; what
//!             is recorded as failed certainly had no effect.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use raft_azure::kv::{KvCommand, KvResponse};
use raft_azure::{AzureClient, ConnectionString};
use raft_core::{ClientConfig, ClientId, ClusterId, ServerId, codec, decode_outcome};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::dice::Dice;
use super::history::{Function, History, Kind, Record, Way, key_of};
use super::servers::Servers;

/// After that long nobody knows what became of an operation.
const DEADLINE: Duration = Duration::from_millis(2_500);
/// How long a query may take; it changes nothing, so giving up is safe.
const QUERY_DEADLINE: Duration = Duration::from_millis(1_500);
/// How long a client waits before it asks another server.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(400);
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
const REGISTERS: u64 = 4;
const LISTS: u64 = 2;
/// After so many operations other keys come: a short history of each key is checked in no time, and a
/// list stays short enough to be read as a whole.
const OPERATIONS_PER_GENERATION: u64 = 500;

/// What the clients share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) servers: Arc<Servers>,
    pub(super) history: Arc<History>,
    pub(super) seed: u64,
    /// How many clients there are.
    pub(super) clients: u64,
    /// How long each thinks between two operations, on average.
    pub(super) pace: Duration,
    /// How many operations were begun.
    pub(super) begun: AtomicU64,
}

impl Shared {
    fn generation(&self) -> u64 {
        self.begun.load(Ordering::Relaxed) / OPERATIONS_PER_GENERATION
    }

    /// Every register that was ever used.
    fn registers(&self) -> Vec<String> {
        let generations = 0..=self.generation();
        generations.flat_map(|of| (0..REGISTERS).map(move |number| register(of, number))).collect()
    }
}

fn register(generation: u64, number: u64) -> String {
    format!("r{generation}.{number}")
}

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    shared: Arc<Shared>,
    number: u64,
    dice: Dice,
    client: AzureClient,
    /// Its number in the history; a new one after an operation of which nobody knows.
    process: i64,
    written: i64,
    /// What it last saw in each register of this generation.
    seen: BTreeMap<String, Value>,
}

impl Client {
    /// Connects client `number`, counted from 0.
    pub(super) async fn connect(
        shared: Arc<Shared>,
        number: u64,
        connection_string: ConnectionString,
        topic: &str,
    ) -> Result<Self> {
        let config = ClientConfig {
            cluster_id: ClusterId::from_name(topic),
            answer_timeout: ANSWER_TIMEOUT,
            retry_interval: RETRY_INTERVAL,
            ..ClientConfig::new(client_id(number), shared.servers.ids().map(ServerId))
        };
        let client = AzureClient::start(connection_string, topic, config, DEADLINE).await?;
        let dice = Dice::new(shared.seed, 1 + number);
        let (process, seen) = (i64::try_from(number)?, BTreeMap::new());
        Ok(Self { shared, number, dice, client, process, written: 0, seen })
    }

    /// Asks until it is told to stop.
    pub(super) async fn run(mut self, stop: watch::Receiver<bool>) -> Self {
        while !*stop.borrow() {
            self.any_operation().await;
            // Load is bounded by the time between two operations, and that is real time.
            let pace = u64::try_from(self.shared.pace.as_micros()).unwrap_or(u64::MAX);
            let pause = Duration::from_micros(self.dice.below(pace.saturating_mul(2)));
            tokio::time::sleep(pause).await;
        }
        self
    }

    /// One more operation, which must succeed, and then a look at its share of all registers.
    pub(super) async fn finish(mut self, within: Duration) -> Result<()> {
        let key = register(self.shared.generation(), self.number % REGISTERS);
        let value = self.fresh_value();
        let command = KvCommand::Write { key, value: value.into() };
        if self.command(Function::Write, command, json!(value), within).await != Kind::Ok {
            bail!("a write of client {} after all faults were over was not done", self.number + 1);
        }
        let (clients, number) = (self.shared.clients, self.number);
        let registers = self.shared.registers().into_iter().zip(0..);
        for (key, _) in registers.filter(|(_, place)| place % clients == number) {
            let command = KvCommand::Read { key: key.clone() };
            if self.command(Function::Read, command, Value::Null, within).await != Kind::Ok {
                bail!("{key} could not be read after all faults were over");
            }
        }
        self.client.stop().await;
        Ok(())
    }

    /// Never written before, by nobody.
    fn fresh_value(&mut self) -> i64 {
        self.written += 1;
        let number = i64::try_from(self.number).unwrap_or_default();
        (number + 1) * 1_000_000 + self.written
    }

    async fn any_operation(&mut self) {
        let generation = self.shared.generation();
        self.shared.begun.fetch_add(1, Ordering::Relaxed);
        let key = register(generation, self.dice.below(REGISTERS));
        let list = format!("l{generation}.{}", self.dice.below(LISTS));
        match self.dice.below(100) {
            0..15 => {
                let command = KvCommand::Read { key };
                self.command(Function::Read, command, Value::Null, DEADLINE).await;
            }
            15..30 => self.query(key).await,
            30..40 => self.query(list).await,
            40..60 => {
                let value = self.fresh_value();
                let command = KvCommand::Write { key, value: value.into() };
                self.command(Function::Write, command, json!(value), DEADLINE).await;
            }
            60..78 => {
                let old = self.seen.get(&key).cloned().unwrap_or_default();
                let new = self.fresh_value();
                let command = KvCommand::Cas { key, old: old.clone().into(), new: new.into() };
                let asked = self.invoked(Function::Cas, command.key(), json!(new)).expected(old);
                self.ask(asked, command, DEADLINE).await;
            }
            _ => {
                let element = self.fresh_value();
                let command = KvCommand::Append { key: list, value: element.into() };
                self.command(Function::Append, command, json!(element), DEADLINE).await;
            }
        }
    }

    /// An operation of this client begins.
    fn invoked(&self, f: Function, key: &str, value: Value) -> Record {
        Record::invoke(self.process, f).key(key).value(value)
    }

    async fn command(
        &mut self,
        f: Function,
        command: KvCommand,
        value: Value,
        within: Duration,
    ) -> Kind {
        let invoked = self.invoked(f, command.key(), value);
        self.ask(invoked, command, within).await
    }

    /// Has a command applied, and records what came of it.
    async fn ask(&mut self, invoked: Record, command: KvCommand, within: Duration) -> Kind {
        let f = invoked.f.clone();
        self.shared.history.record(invoked.clone(), Way::Command);
        let encoded = codec::encode_value(&command).into();
        let done = match self.client.request(encoded, within).await {
            Ok(answer) => {
                let order = Some(answer.log_id.index.0);
                let response = decode_outcome::<KvResponse>(&answer.response);
                match response.ok().and_then(Result::ok) {
                    Some(KvResponse::Value(value)) => {
                        Record { kind: Kind::Ok, value: Some(value.0), order, ..invoked }
                    }
                    Some(KvResponse::Done | KvResponse::Swapped(true)) => {
                        Record { kind: Kind::Ok, order, ..invoked }
                    }
                    Some(KvResponse::Swapped(false)) => {
                        let error = Some("it held something else".into());
                        Record { kind: Kind::Fail, order, error, ..invoked }
                    }
                    other => {
                        let error = Some(format!("answered with {other:?}").into());
                        Record { kind: Kind::Info, order, error, ..invoked }
                    }
                }
            }
            Err(error) => {
                // A read had no effect, whether it was applied or not.
                let is_unknown = error.may_have_been_applied() && f != Function::Read;
                let kind = if is_unknown { Kind::Info } else { Kind::Fail };
                Record { kind, error: Some(error.to_string().into()), ..invoked }
            }
        };
        if done.kind == Kind::Info {
            self.process += i64::try_from(self.shared.clients).unwrap_or(1);
        }
        self.see(&done);
        let kind = done.kind;
        self.shared.history.record(done, Way::Command);
        kind
    }

    /// Asks some server, without an entry in the log.
    async fn query(&mut self, key: String) {
        let running = self.shared.servers.running().await;
        let Some(server) = self.dice.pick(&running) else { return };
        let mode = if self.dice.percent(50) { "lease" } else { "read-index" };
        let invoked = self.invoked(Function::Read, &key, Value::Null);
        self.shared.history.record(invoked.clone(), Way::Query);
        let answer = self.shared.servers.query(server, &key, mode, QUERY_DEADLINE).await;
        let done = match answer {
            Ok((value, order)) => Record { kind: Kind::Ok, value: Some(value), order, ..invoked },
            Err(error) => {
                let error = Some(format!("{error:#}").into());
                Record { kind: Kind::Fail, error, ..invoked }
            }
        };
        self.see(&done);
        self.shared.history.record(done, Way::Query);
    }

    /// Remembers what a register holds, for the next compare-and-set.
    fn see(&mut self, done: &Record) {
        if done.kind != Kind::Ok || !key_of(done).starts_with('r') {
            return;
        }
        if self.seen.len() > 100 {
            self.seen.clear();
        }
        self.seen.insert(key_of(done).to_owned(), done.value.clone().unwrap_or_default());
    }
}

/// The id of client `number`, counted from 0.
pub(super) fn client_id(number: u64) -> ClientId {
    ClientId(number + 1)
}

/// Connects all clients.
pub(super) async fn connect_all(
    shared: &Arc<Shared>,
    connection_string: &str,
    topic: &str,
) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for number in 0..shared.clients {
        let connection_string = connection_string.parse()?;
        let client = Client::connect(Arc::clone(shared), number, connection_string, topic).await;
        clients.push(client.context("a client cannot connect")?);
    }
    Ok(clients)
}
