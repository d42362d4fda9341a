//! Runs a golden script.
//!
//! | command | what happens |
//! | --- | --- |
//! | `cluster servers=3 [voters=N] [learners=N] [leader=1] [joined=no]` | a new cluster, at rest: the first servers are voters, the next learners, the rest are in no configuration |
//! | `… [pre_vote=true] [check_quorum=true] [lease_reads=true] [announce_commits=true] [forward_requests=true]` | with these switched on |
//! | `… [in_flight=N] [in_flight_messages=N] [in_flight_bytes=N] [append_bytes=N] [command_bytes=N] [uncommitted_bytes=N] [snapshot_entries=N] [snapshot_keep=N] [sessions=N] [catch_up=N] [disk_stall=MILLIS] [priorities=2:5,3:9]` | and with these limits |
//! | `disk 2 term=3 [voted_for=1] log=1,1:x#1,3` | server 2 starts again from a disk with this on it: entries by term, some with a command and number of client 1 |
//! | `join 2` | the server has joined |
//! | `elapse 3 election`, `elapse 1 heartbeat` | waits for the timer of the server |
//! | `deliver 1`, `deliver 1 from 3 VoteRequest last` | messages arrive: all that match, or the `first` or `last` |
//! | `drop …`, `duplicate …`, `keep …` | the same choice of messages is lost, repeated, or kept back |
//! | `release` | what was kept back is on its way again |
//! | `partition 1 2`, `cut 1 2`, `heal` | cuts these servers off from all others; loses what 1 sends to 2 |
//! | `wait 300` | 300 ms pass, and nobody's timer elapses |
//! | `run 300` | 300 ms pass: timers elapse when they are due, and every message arrives at once |
//! | `stabilize` | everything is delivered until nothing is on its way |
//! | `client-request 1 x [client=2] [number=7]` | a client asks server 1; the number is its next one |
//! | `client-retry 2 [client=2]` | the client asks server 2 for the same again |
//! | `register 1 [client=2] [number=7]` | a client asks server 1 for a session; `client-request … session=5 [first=6]` names one |
//! | `propose 1 x` | the application of server 1 proposes a command |
//! | `change 1 add-learner 4 add-voter 5 demote 2 remove 3` | the operator changes the cluster through server 1 |
//! | `transfer 1 [to=2]` | the operator has server 1 hand over |
//! | `take-snapshot 1` | the operator has server 1 take a snapshot |
//! | `read 1 id=7 [mode=lease]` | the application of server 1 reads |
//! | `hold-saves 2`, `saved 2 [count]` | the disk of server 2 takes its time; it is done |
//! | `hold-applies 2`, `applies 2 [count]` | the same for its state machine |
//! | `crash 2`, `restart 2` | loses what was not saved; starts again and joins |
//! | `applied [2]`, `status [2]`, `log [2]`, `configuration [2]`, `progress 1`, `messages` | prints |

use std::collections::BTreeMap;

use bytes::Bytes;
use raft_core::{
    Address, ClientId, ClientRequest, Config, Entry, Envelope, HardState, Index, Input,
    MembershipChange, Message, Payload, ProgressState, ReadId, ReadMode, Recovered, RegisterClient,
    Role, SequenceNumber, ServerId, SessionId, Term,
};

use crate::cluster::{Cluster, request, word};

/// The script with the transcript that really came of it.
pub(crate) fn run(script: &str) -> Result<String, String> {
    let mut lines = (1..).zip(script.lines()).peekable();
    let mut runner = Runner::default();
    let mut output = String::new();
    while let Some((number, line)) = lines.next() {
        output.push_str(line);
        output.push('\n');
        if line == "---" {
            for line in runner.transcript() {
                output.push_str(&line);
                output.push('\n');
            }
            // What was expected is left out: `run` says what is.
            while lines.next_if(|(_, line)| !line.is_empty()).is_some() {}
            continue;
        }
        let command = line.trim();
        if command.is_empty() || command.starts_with('#') {
            continue;
        }
        runner.run_line(command).map_err(|error| format!("{number}: {error}"))?;
    }
    match runner.transcript().as_slice() {
        [] => Ok(output),
        [line, ..] => Err(format!("the last commands have no transcript, which starts: {line}")),
    }
}

#[derive(Default)]
struct Runner {
    cluster: Option<Cluster>,
    kept: Vec<Envelope>,
    /// The last request of each client.
    requests: BTreeMap<u64, ClientRequest>,
    transcript: Vec<String>,
}

impl Runner {
    fn transcript(&mut self) -> Vec<String> {
        std::mem::take(&mut self.transcript)
    }

    fn run_line(&mut self, line: &str) -> Result<(), String> {
        let silent = line.strip_prefix('(').and_then(|line| line.strip_suffix(')'));
        self.run_command(&Words::new(silent.unwrap_or(line)))?;
        if let Some(cluster) = &mut self.cluster {
            let happened = cluster.take_transcript();
            if silent.is_none() {
                self.transcript.extend(happened);
            }
        }
        Ok(())
    }

    fn run_command(&mut self, words: &Words<'_>) -> Result<(), String> {
        if words.name == "cluster" {
            return self.start(words);
        }
        let cluster = self.cluster.as_mut().ok_or("there is no cluster yet")?;
        match words.name {
            "disk" => {
                let id = words.server()?;
                let log = words.value("log").unwrap_or_default();
                let places = (1..).zip(log.split(',').filter(|entry| !entry.is_empty()));
                let entries = places.map(|(index, entry)| parse_entry(index, entry));
                let entries = entries.collect::<Result<_, _>>()?;
                let voted_for = words.number("voted_for")?.map(ServerId);
                let current_term = Term(words.number("term")?.ok_or("which term?")?);
                let hard_state = HardState { current_term, voted_for };
                cluster.host_mut(id).disk =
                    Recovered { hard_state, entries, ..Recovered::default() };
                cluster.restart(id);
                cluster.join(id).map_err(|error| error.to_string())?;
            }
            "join" => {
                // A refusal is in the transcript.
                let _ = cluster.join(words.server()?);
            }
            "elapse" => {
                let id = words.server()?;
                let role = cluster.server(id).role();
                let timer = if role.is_leader() { "heartbeat" } else { "election" };
                let asked = words.rest.get(1).copied().unwrap_or_default();
                if asked != timer {
                    return Err(format!("{id} is a {role}, so this is no {asked}"));
                }
                cluster.elapse(id);
            }
            "deliver" => {
                // Places shift as messages leave, and answers are posted behind all of them.
                for (delivered, place) in self.chosen(words)?.into_iter().enumerate() {
                    self.cluster().deliver(place - delivered);
                }
            }
            "drop" => {
                for (dropped, place) in self.chosen(words)?.into_iter().enumerate() {
                    self.cluster().lose_at(place - dropped);
                }
            }
            "duplicate" => {
                for place in self.chosen(words)? {
                    let copy = self.cluster().network[place].clone();
                    self.cluster().network.push(copy);
                }
            }
            "keep" => {
                for (kept, place) in self.chosen(words)?.into_iter().enumerate() {
                    let envelope = self.cluster().network.remove(place - kept);
                    self.kept.push(envelope);
                }
            }
            "release" => cluster.network.append(&mut self.kept),
            "partition" => {
                let group = words.rest.iter().map(|word| number(word).map(ServerId));
                let group = group.collect::<Result<Vec<_>, _>>()?;
                cluster.partition(&group);
            }
            "cut" => {
                let [from, to] = words.rest[..] else { return Err("from whom to whom?".into()) };
                cluster.cut(ServerId(number(from)?), ServerId(number(to)?));
            }
            "wait" => {
                let millis = words.rest.first().ok_or("how long?")?;
                cluster.now = cluster.now + std::time::Duration::from_millis(number(millis)?);
            }
            "run" => {
                let millis = words.rest.first().ok_or("how long?")?;
                cluster.run(std::time::Duration::from_millis(number(millis)?));
            }
            "register" => {
                let client = words.number("client")?.unwrap_or(1);
                let registration = SequenceNumber(words.number("number")?.unwrap_or(1));
                let client_id = ClientId(client);
                let message = Message::RegisterClient(RegisterClient { client_id, registration });
                let _ = cluster.tell(words.server()?, client_id.into(), message);
            }
            "propose" => {
                let command = words.rest.get(1).ok_or("which command?")?;
                let command = Bytes::copy_from_slice(command.as_bytes());
                let _ = cluster.step(words.server()?, Input::Propose(command));
            }
            "change" => {
                let changes = words.rest[1..].chunks(2).map(parse_change);
                let changes = changes.collect::<Result<_, _>>()?;
                let _ = cluster.step(words.server()?, Input::ChangeMembership(changes));
            }
            "transfer" => {
                let to = words.number("to")?.map(ServerId);
                let _ = cluster.step(words.server()?, Input::TransferLeadership { to });
            }
            "take-snapshot" => {
                let _ = cluster.step(words.server()?, Input::TakeSnapshot);
            }
            "read" => {
                let id = ReadId(words.number("id")?.ok_or("which read?")?);
                let mode = match words.value("mode") {
                    None => ReadMode::ReadIndex,
                    Some("lease") => ReadMode::Lease,
                    Some(other) => return Err(format!("no such mode: {other}")),
                };
                let _ = cluster.step(words.server()?, Input::Read { id, mode });
            }
            "heal" => cluster.heal(),
            "stabilize" => cluster.stabilize(),
            "client-request" => {
                let client = words.number("client")?.unwrap_or(1);
                let last = self.requests.get(&client).map_or(0, |last| last.sequence_number.0);
                let number = words.number("number")?.unwrap_or(last + 1);
                let command = words.rest.get(1).ok_or("which command?")?;
                let mut request = request(client, number, command);
                request.session = SessionId(words.number("session")?.unwrap_or(0));
                let first = words.number("first")?.unwrap_or(number);
                request.first_incomplete = SequenceNumber(first);
                self.requests.insert(client, request.clone());
                // A refusal is in the transcript.
                let _ = cluster.request(words.server()?, request);
            }
            "client-retry" => {
                let client = words.number("client")?.unwrap_or(1);
                let request = self.requests.get(&client).ok_or("it has asked for nothing")?;
                let _ = cluster.request(words.server()?, request.clone());
            }
            "hold-saves" => cluster.host_mut(words.server()?).holds_saves = true,
            "saved" => cluster.finish_saves(words.server()?, words.count()?),
            "hold-applies" => cluster.host_mut(words.server()?).holds_applies = true,
            "applies" => cluster.finish_applies(words.server()?, words.count()?),
            "crash" => cluster.crash(words.server()?),
            "restart" => {
                let id = words.server()?;
                cluster.restart(id);
                cluster.join(id).map_err(|error| error.to_string())?;
            }
            "applied" => {
                for id in words.servers(cluster)? {
                    let applied: Vec<_> = cluster.host(id).applied.iter().map(word).collect();
                    cluster.note(format!("{id} applied: {}", or_nothing(&applied.join(", "))));
                }
            }
            "status" => {
                for id in words.servers(cluster)? {
                    let status = cluster.server(id).status();
                    let leader = status.leader.map_or("none".to_owned(), |id| id.to_string());
                    cluster
                        .note(format!("{status} durable={} leader={leader}", status.durable_index));
                }
            }
            "configuration" => {
                for id in words.servers(cluster)? {
                    let status = cluster.server(id).status();
                    let index = status.configuration_index;
                    cluster.note(format!("{id} configuration {index}: {}", status.configuration));
                }
            }
            "log" => {
                for id in words.servers(cluster)? {
                    let log = cluster.server(id).log().iter();
                    let log: Vec<_> = log.map(ToString::to_string).collect();
                    cluster.note(format!("{id} log: {}", or_nothing(&log.join(", "))));
                }
            }
            "progress" => {
                let id = words.server()?;
                let Role::Leader(leader) = cluster.server(id).role() else {
                    return Err(format!("{id} does not lead"));
                };
                let progress: Vec<_> =
                    leader.progress.iter().map(|(&id, known)| (id, known.clone())).collect();
                for (follower, progress) in progress {
                    let state = match progress.state {
                        ProgressState::Probe { is_waiting: false } => "probe",
                        ProgressState::Probe { is_waiting: true } => "probe, waiting",
                        ProgressState::Replicate => "replicate",
                        ProgressState::Snapshot(_) => "snapshot",
                    };
                    let (matched, next) = (progress.match_index, progress.next_index);
                    let lost = if progress.has_lost_log { ", has lost its log" } else { "" };
                    cluster.note(format!(
                        "{id} of {follower}: match={matched} next={next} {state}{lost}"
                    ));
                }
            }
            "messages" => {
                let messages: Vec<_> = cluster.network.iter().map(ToString::to_string).collect();
                messages.into_iter().for_each(|message| cluster.note(message));
            }
            other => return Err(format!("no such command: {other}")),
        }
        Ok(())
    }

    fn start(&mut self, words: &Words<'_>) -> Result<(), String> {
        let servers = words.number("servers")?.ok_or("how many servers?")?;
        let voters = words.number("voters")?;
        let learners = words.number("learners")?.unwrap_or(0);
        let voters = voters.unwrap_or(servers.saturating_sub(learners));
        let mut settings = Config::new(ServerId(1), (1..=voters).map(ServerId));
        settings.learners = (voters + 1..=voters + learners).map(ServerId).collect();
        settings.pre_vote = words.flag("pre_vote")?;
        settings.check_quorum = words.flag("check_quorum")?;
        settings.lease_reads = words.flag("lease_reads")?;
        settings.announce_commits = words.flag("announce_commits")?;
        settings.forward_requests = words.flag("forward_requests")?;
        words.set("in_flight", &mut settings.in_flight_entries_max, |n| n)?;
        words.set("in_flight_messages", &mut settings.in_flight_messages_max, |n| n as usize)?;
        words.set("in_flight_bytes", &mut settings.in_flight_bytes_max, |n| n as usize)?;
        words.set("append_bytes", &mut settings.append_bytes_max, |n| n as usize)?;
        words.set("command_bytes", &mut settings.command_bytes_max, |n| n as usize)?;
        words.set("uncommitted_bytes", &mut settings.uncommitted_bytes_max, |n| n as usize)?;
        words.set("snapshot_entries", &mut settings.snapshot_entries, Some)?;
        words.set("snapshot_keep", &mut settings.snapshot_keep_entries, |n| n)?;
        words.set("sessions", &mut settings.sessions_max, |n| n as u32)?;
        words.set("catch_up", &mut settings.catch_up_entries_max, |n| n)?;
        let millis = |n| Some(std::time::Duration::from_millis(n));
        words.set("disk_stall", &mut settings.disk_stall_timeout, millis)?;
        for pair in words.value("priorities").unwrap_or_default().split(',') {
            if let Some((server, priority)) = pair.split_once(':') {
                settings.priorities.insert(ServerId(number(server)?), number(priority)? as u32);
            }
        }
        let mut cluster = Cluster::new(servers, |config| {
            *config = Config { server_id: config.server_id, ..settings.clone() };
        });
        if words.value("joined") != Some("no") {
            for id in cluster.ids() {
                cluster.join(id).map_err(|error| error.to_string())?;
            }
        }
        if let Some(leader) = words.number("leader")? {
            cluster.elect(ServerId(leader));
        }
        *self = Self { cluster: Some(cluster), transcript: self.transcript(), ..Self::default() };
        Ok(())
    }

    fn cluster(&mut self) -> &mut Cluster {
        self.cluster.as_mut().expect("it was there a moment ago")
    }

    /// The places of the messages that `TO [from FROM] [NAME] [first|last]` means, ascending.
    fn chosen(&mut self, words: &Words<'_>) -> Result<Vec<usize>, String> {
        let to = words.server()?;
        let (mut from, mut name, mut only) = (None, None, None);
        let mut rest = words.rest[1..].iter();
        while let Some(&word) = rest.next() {
            match word {
                "from" => from = Some(ServerId(number(rest.next().ok_or("from whom?")?)?)),
                "first" | "last" => only = Some(word),
                other => name = Some(other),
            }
        }
        let network = &self.cluster().network;
        let is_meant = |envelope: &Envelope| {
            envelope.to == Address::Server(to)
                && from.is_none_or(|from| envelope.from == Address::Server(from))
                && name.is_none_or(|name| envelope.message.name() == name)
        };
        let places = network.iter().enumerate().filter(|(_, envelope)| is_meant(envelope));
        let places: Vec<_> = places.map(|(place, _)| place).collect();
        let places = match only {
            Some("first") => places.first().copied().into_iter().collect(),
            Some(_) => places.last().copied().into_iter().collect(),
            None => places,
        };
        if places.is_empty() { Err("no such message".to_owned()) } else { Ok(places) }
    }
}

fn or_nothing(list: &str) -> &str {
    if list.is_empty() { "nothing" } else { list }
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("not a number: {word}"))
}

/// An entry on a disk: `2` or `2:x#1`.
fn parse_entry(index: u64, text: &str) -> Result<Entry, String> {
    let (term, payload) = match text.split_once(':') {
        None => (text, Payload::Noop),
        Some((term, command)) => {
            let (word, sequence) = command.split_once('#').ok_or("which number?")?;
            (term, Payload::Command(request(1, number(sequence)?, word).into()))
        }
    };
    Ok(Entry { term: Term(number(term)?), index: Index(index), payload })
}

/// A change of the cluster: a word and a server.
fn parse_change(words: &[&str]) -> Result<MembershipChange, String> {
    let &[change, server] = words else { return Err("which server?".to_owned()) };
    let server = ServerId(number(server)?);
    match change {
        "add-learner" => Ok(MembershipChange::AddLearner(server)),
        "add-voter" => Ok(MembershipChange::AddVoter(server)),
        "demote" => Ok(MembershipChange::Demote(server)),
        "remove" => Ok(MembershipChange::Remove(server)),
        other => Err(format!("no such change: {other}")),
    }
}

/// A command: its name, its plain words, and its `key=value` pairs.
struct Words<'a> {
    name: &'a str,
    rest: Vec<&'a str>,
    pairs: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn new(line: &'a str) -> Self {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        let (mut rest, mut pairs) = (Vec::new(), BTreeMap::new());
        for word in words {
            match word.split_once('=') {
                Some((key, value)) => drop(pairs.insert(key, value)),
                None => rest.push(word),
            }
        }
        Self { name, rest, pairs }
    }

    /// A switch, off unless it is `true`.
    fn flag(&self, key: &str) -> Result<bool, String> {
        match self.value(key) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(format!("{key} is true or false, not {other}")),
        }
    }

    /// Replaces a setting, if the line names it.
    fn set<T>(&self, key: &str, setting: &mut T, read: impl Fn(u64) -> T) -> Result<(), String> {
        if let Some(number) = self.number(key)? {
            *setting = read(number);
        }
        Ok(())
    }

    fn value(&self, key: &str) -> Option<&'a str> {
        self.pairs.get(key).copied()
    }

    fn number(&self, key: &str) -> Result<Option<u64>, String> {
        self.value(key).map(number).transpose()
    }

    /// The server that the first word names.
    fn server(&self) -> Result<ServerId, String> {
        number(self.rest.first().ok_or("which server?")?).map(ServerId)
    }

    /// The server that the first word names, or all that run.
    fn servers(&self, cluster: &Cluster) -> Result<Vec<ServerId>, String> {
        match self.rest.is_empty() {
            true => Ok(cluster.ids().into_iter().filter(|&id| cluster.is_up(id)).collect()),
            false => self.server().map(|id| vec![id]),
        }
    }

    fn count(&self) -> Result<usize, String> {
        match self.rest.get(1) {
            Some(word) => number(word).map(|count| count as usize),
            None => Ok(usize::MAX),
        }
    }
}
