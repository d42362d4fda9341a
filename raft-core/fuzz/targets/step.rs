//! A server and all that may happen to it: messages that fit and messages that do not, a clock, a disk
//! that takes its time, crashes, clients, reads, snapshots, changes of the cluster and transfers.
//!
//! Wrong is: a panic; a promise that leaves before its save; an input that is refused and has effects;
//! a disk from which the server does not start again; the same input with another outcome; a timer that
//! does not move on.

use std::collections::BTreeMap;
use std::time::Duration;

use raft_core::{
    Config, Effects, Input, MembershipChange, ReadId, ReadMode, SaveNumber, Server, ServerId,
    StepError, Timestamp,
};

use super::Seen;
use super::host::Host;
use super::message;
use super::source::Source;

/// Longer inputs find nothing more, and take time.
const INPUTS_MAX: usize = 400;

pub(crate) fn run(data: &[u8], seen: &mut Seen) {
    let mut source = Source::new(data);
    let config = config(&mut source);
    let Ok(server) = Server::new(config.clone(), raft_core::Recovered::default()) else {
        return seen.note("server", "configuration", "refused");
    };
    let mut bench = Bench {
        server,
        host: Host::new(config.synchronous_driver),
        config,
        now: Timestamp::ZERO,
        effects: Effects::new(),
        rounds: 0,
    };
    bench.step(Input::NotifyJoinedService, seen);
    for _ in 0..INPUTS_MAX {
        if source.is_empty() {
            return;
        }
        bench.act(&mut source, seen);
    }
}

fn config(source: &mut Source<'_>) -> Config {
    let (servers, flags, limits) = (1 + source.below(5), source.byte(), source.byte());
    let flag = |bit: u8| flags >> bit & 1 == 1;
    let mut config = Config::new(ServerId(1), (1..=servers).map(ServerId));
    if servers > 2 && flag(7) {
        config.voters.pop();
        config.learners.push(ServerId(servers));
    }
    config.pre_vote = flag(0);
    config.check_quorum = flag(1);
    config.lease_reads = flag(1) && flag(2);
    config.announce_commits = flag(3);
    config.forward_requests = flag(4);
    config.snapshot_entries = flag(5).then_some(1 + u64::from(limits % 3));
    config.snapshot_keep_entries = u64::from(limits >> 2 & 3);
    config.disk_stall_timeout = flag(6).then_some(Duration::from_millis(400));
    config.sessions_max = 1 + u32::from(limits >> 4 & 1);
    config.catch_up_entries_max = 4;
    config.seed = u64::from(limits);
    if limits >> 5 & 1 == 1 {
        config.append_bytes_max = 70;
        config.in_flight_entries_max = 3;
        config.in_flight_messages_max = 2;
        config.in_flight_bytes_max = 200;
        config.uncommitted_bytes_max = 20;
        config.command_bytes_max = 16;
    }
    config.synchronous_driver = limits >> 7 & 1 == 1;
    if limits >> 6 & 1 == 1 {
        config.priorities = BTreeMap::from([(ServerId(2), 2), (ServerId(1), 1)]);
    }
    config
}

struct Bench {
    server: Server,
    config: Config,
    host: Host,
    now: Timestamp,
    effects: Effects,
    /// About how many rounds of heartbeats there were.
    rounds: u64,
}

impl Bench {
    /// Does what the next bytes say.
    fn act(&mut self, source: &mut Source<'_>, seen: &mut Seen) {
        match source.below(32) {
            0..8 => {
                let Self { server, host, rounds, .. } = self;
                let envelope = message::envelope(source, server, &host.snapshots, *rounds);
                self.step(Input::Message(envelope), seen);
            }
            8..13 => self.answer_honestly(source, seen),
            13..16 => self.elapse(source, seen),
            16..19 => {
                let count = if source.flag() { usize::MAX } else { 1 };
                if let Some(number) = self.host.finish_saves(count) {
                    self.step(Input::Saved(number), seen);
                }
            }
            19..22 => {
                let state = source.bytes();
                if let Some(input) = self.host.finish_task(state) {
                    self.step(input, seen);
                }
            }
            22 => self.crash(source, seen),
            23 => self.step(Input::Propose(source.bytes()), seen),
            24 => {
                let changes = (0..source.below(4)).map(|_| change(source)).collect();
                self.step(Input::ChangeMembership(changes), seen);
            }
            25 => {
                let to = source.flag().then(|| ServerId(source.below(7)));
                self.step(Input::TransferLeadership { to }, seen);
            }
            26 => self.step(Input::TakeSnapshot, seen),
            27 => {
                let id = ReadId(source.below(4));
                let mode = if source.flag() { ReadMode::Lease } else { ReadMode::ReadIndex };
                self.step(Input::Read { id, mode }, seen);
            }
            28 => self.step_together(source, seen),
            29 => self.lie(source, seen),
            30 => {
                // Enough answers to come to a decision.
                for _ in 0..4 {
                    self.answer_honestly(source, seen);
                }
            }
            _ => {
                seen.trace(|| format!("{} {:?}", self.server.status(), self.host.disk));
                let status = self.server.status();
                assert!(!status.to_string().is_empty() && !format!("{status:?}").is_empty());
                let kind = if self.host.has_configuration() { "changed" } else { "first" };
                seen.note(status.role, "status", kind);
            }
        }
    }

    /// Another server says what a correct one would to one of the last messages.
    fn answer_honestly(&mut self, source: &mut Source<'_>, seen: &mut Seen) {
        let back = 1 + source.below(8) as usize;
        let Some(place) = self.host.sent.len().checked_sub(back) else { return };
        let question = self.host.sent[place].clone();
        let from = match question.to {
            raft_core::Address::Server(server) => server,
            _ => ServerId(2 + source.below(4)),
        };
        let is_empty = source.byte() > 200;
        if let Some(answer) = message::honest_answer(&question, from, is_empty) {
            self.step(Input::Message(answer), seen);
        }
    }

    fn elapse(&mut self, source: &mut Source<'_>, seen: &mut Seen) {
        let deadline = self.server.next_timeout().expect("it has joined");
        let wait = match source.byte() {
            0..192 => Duration::ZERO,
            byte => Duration::from_millis(u64::from(byte - 192) * 20),
        };
        if source.byte() < 200 {
            self.now = self.now.max(deadline) + wait;
            self.rounds += 1;
        } else {
            self.now = self.now + wait;
        }
        self.step(Input::TimerElapsed, seen);
        let next = self.server.next_timeout().expect("it has joined");
        assert!(next > self.now, "a timer that elapsed is set again");
    }

    /// Loses what is not on the disk, and starts again.
    fn crash(&mut self, source: &mut Source<'_>, seen: &mut Seen) {
        let count = source.below(4) as usize;
        self.host.finish_saves(count);
        self.host.crash();
        let recovered = self.host.disk.clone();
        seen.trace(|| format!("crash, and restart from {recovered:?}"));
        self.server = Server::new(self.config.clone(), recovered).expect("its own disk will do");
        self.step(Input::NotifyJoinedService, seen);
        seen.note("server", "crash", "restarted");
    }

    /// A host or a state machine that says what it was not asked for.
    fn lie(&mut self, source: &mut Source<'_>, seen: &mut Seen) {
        let near = |source: &mut Source<'_>, index: raft_core::Index| {
            raft_core::Index(source.near(index.0))
        };
        let input = match source.below(4) {
            // A save that is not durable is never confirmed, so this one has not been asked for.
            0 => Input::Saved(SaveNumber(self.host.saves.0.saturating_add(1 + source.below(3)))),
            1 if self.host.tasks.is_empty() => Input::Applied {
                through: near(source, self.server.last_applied()),
                responses: vec![source.bytes(); source.below(3) as usize],
            },
            2 if self.host.tasks.is_empty() => Input::SnapshotTaken {
                through: near(source, self.server.last_applied()),
                data: source.bytes(),
            },
            _ => Input::NotifyJoinedService,
        };
        self.step(input, seen);
    }

    /// Several inputs in one step.
    fn step_together(&mut self, source: &mut Source<'_>, seen: &mut Seen) {
        let mut inputs = Vec::new();
        for _ in 0..source.below(5) {
            inputs.push(match source.below(4) {
                0 => Input::Propose(source.bytes()),
                1 => Input::TimerElapsed,
                _ => {
                    let Self { server, host, rounds, .. } = self;
                    let envelope = message::envelope(source, server, &host.snapshots, *rounds);
                    Input::Message(envelope)
                }
            });
        }
        seen.trace(|| format!("{} together:", inputs.len()));
        inputs.iter().for_each(|input| seen.trace(|| format!("  {input:?}")));
        let result = self.server.step_all(self.now, inputs, &mut self.effects);
        self.conclude(result, seen);
    }

    fn step(&mut self, input: Input, seen: &mut Seen) {
        seen.trace(|| format!("{}: {input:?}", self.server.role()));
        if let Input::Message(envelope) = &input {
            seen.sample_message(envelope);
        }
        let name = match &input {
            Input::NotifyJoinedService => "join",
            Input::Message(envelope) => envelope.message.name(),
            Input::TimerElapsed => "timer",
            Input::Saved(_) => "saved",
            Input::Applied { .. } => "applied",
            Input::Propose(_) => "propose",
            Input::ChangeMembership(_) => "change",
            Input::TransferLeadership { .. } => "transfer",
            Input::TakeSnapshot => "take snapshot",
            Input::SnapshotTaken { .. } => "snapshot taken",
            Input::Read { .. } => "read",
        };
        let role = self.server.role().name();
        // A clone is as good as the server itself.
        let twin =
            self.host.saves.0.is_multiple_of(8).then(|| (self.server.clone(), input.clone()));
        let result = self.server.step(self.now, input, &mut self.effects);
        if let Some((mut twin, input)) = twin {
            let mut effects = Effects::new();
            let again = twin.step(self.now, input, &mut effects);
            assert_eq!((again, &effects), (result, &self.effects), "one input has one outcome");
        }
        let outcome = match &result {
            Ok(()) => "taken",
            Err(error) => {
                let is_clean = self.effects.is_empty() || name == "join";
                assert!(is_clean, "a refused input has no effect: {:?}", self.effects);
                error.reason()
            }
        };
        seen.note(role, name, outcome);
        self.conclude(result, seen);
    }

    /// Carries out the effects of a step.
    fn conclude(&mut self, result: Result<(), StepError>, seen: &mut Seen) {
        if let Err(error) = &result {
            seen.trace(|| format!("  refused: {error}"));
        }
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain() {
            seen.trace(|| format!("  {effect}"));
            seen.sample_effect(&effect);
            self.host.carry_out(&self.server, effect, seen);
        }
        self.effects = effects;
        if result.is_err_and(|error| error.is_fatal()) {
            // Whoever goes on from here does not stop the server as it should, but starts it again.
            self.host.crash();
            let recovered = self.host.disk.clone();
            let server = Server::new(self.config.clone(), recovered);
            self.server = server.expect("its own disk will do");
            seen.trace(|| "stopped, and started again".to_owned());
            self.step(Input::NotifyJoinedService, seen);
        }
    }
}

fn change(source: &mut Source<'_>) -> MembershipChange {
    let server_id = ServerId(1 + source.below(6));
    match source.below(4) {
        0 => MembershipChange::AddLearner(server_id),
        1 => MembershipChange::AddVoter(server_id),
        2 => MembershipChange::Demote(server_id),
        _ => MembershipChange::Remove(server_id),
    }
}
