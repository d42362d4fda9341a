//! A server against anything at all: it never panics, refuses without a trace, and does the same thing
//! twice.

use bytes::Bytes;
use proptest::prelude::*;
use raft_core::{
    Config, Effect, Effects, Envelope, HardState, Index, Input, MembershipChange, ReadId, ReadMode,
    Recovered, SaveNumber, Server, ServerId, Term, Timestamp,
};

use crate::any;
use crate::bench::entries;

#[derive(Clone, Debug)]
enum Event {
    Message(Envelope),
    /// The timer goes off, this long after the last event.
    Timer(u64),
    /// The oldest saves are confirmed, or the oldest apply is answered.
    Saved(usize),
    Applied,
    /// A driver gone wrong.
    WrongSave(u64),
    WrongApply(u64, usize),
    WrongSnapshot(u64),
    JoinAgain,
    /// What an operator or the application wants.
    Propose(usize),
    Change(Vec<MembershipChange>),
    Transfer(Option<u64>),
    TakeSnapshot,
    Read(u64, bool),
}

/// What the state machine was asked for.
#[derive(Clone, Debug)]
enum Task {
    Apply { through: Index, requests: usize },
    TakeSnapshot(Index),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        14 => any::envelope_for_server_1().prop_map(Event::Message),
        2 => (0..700_u64).prop_map(Event::Timer),
        4 => (1..4_usize).prop_map(Event::Saved),
        2 => Just(Event::Applied),
        1 => any::number().prop_map(Event::WrongSave),
        1 => (any::number(), 0..3_usize).prop_map(|(through, n)| Event::WrongApply(through, n)),
        1 => any::number().prop_map(Event::WrongSnapshot),
        1 => Just(Event::JoinAgain),
        2 => (0..101_usize).prop_map(Event::Propose),
        1 => prop::collection::vec(any::membership_change(), 0..3).prop_map(Event::Change),
        1 => prop::option::of(0..6_u64).prop_map(Event::Transfer),
        1 => Just(Event::TakeSnapshot),
        1 => (any::number(), any::<bool>()).prop_map(|(id, is_lease)| Event::Read(id, is_lease)),
    ]
}

/// Everything the server is, but for its count of refusals, which comes last.
fn without_refusals(server: &Server) -> String {
    let text = format!("{server:?}");
    let end = text.rfind("refusals: ").expect("a server counts refusals");
    text[..end].to_owned()
}

/// A driver that loses nothing and does what it is told.
struct Driver {
    server: Server,
    now: Timestamp,
    unsaved: Vec<SaveNumber>,
    unapplied: Vec<Task>,
}

impl Driver {
    fn step(&mut self, input: Input) -> Result<Vec<Effect>, TestCaseError> {
        let before = self.server.clone();
        let mut effects = Effects::new();
        let result = self.server.step(self.now, input.clone(), &mut effects);
        let effects: Vec<_> = effects.drain().collect();

        let mut twin = before.clone();
        let mut again = Effects::new();
        prop_assert_eq!(twin.step(self.now, input, &mut again), result);
        prop_assert_eq!(again.as_slice(), &effects[..], "the same again");
        prop_assert_eq!(format!("{twin:?}"), format!("{:?}", self.server));

        if let Err(error) = result {
            prop_assert_eq!(&effects, &[], "{}", error);
            prop_assert_eq!(without_refusals(&self.server), without_refusals(&before));
            let count = |server: &Server| server.refusals().get(error.reason()).copied();
            prop_assert_eq!(count(&self.server), Some(count(&before).unwrap_or(0) + 1));
        }
        let (old, new) = (before.status(), self.server.status());
        prop_assert!(new.current_term >= old.current_term, "terms never go back");
        prop_assert!(new.commit_index >= old.commit_index, "nor do commits");
        prop_assert!(new.last_applied >= old.last_applied && new.last_applied <= new.commit_index);
        if new.current_term == old.current_term && old.voted_for.is_some() {
            prop_assert_eq!(new.voted_for, old.voted_for, "one vote in a term");
        }
        let committed = before.log().iter().take_while(|entry| entry.index <= old.commit_index);
        for entry in committed.skip_while(|entry| entry.index <= new.log_start.index) {
            prop_assert_eq!(self.server.log().entry(entry.index), Some(entry), "it was committed");
        }
        self.note(&effects);
        for effect in &effects {
            match effect {
                // Only a term at the edge of what is taken leads to one beyond it.
                Effect::Send(envelope) if new.current_term < Term(1 << 60) => {
                    prop_assert!(envelope.check().is_ok(), "{}", envelope);
                }
                _ => {}
            }
        }
        Ok(effects)
    }

    /// Remembers what is to be answered.
    fn note(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Save(save) => self.unsaved.push(save.number),
                Effect::Apply(apply) => self.unapplied.push(Task::Apply {
                    through: apply.through,
                    requests: apply.requests().count(),
                }),
                Effect::RestoreSnapshot(snapshot) => {
                    let through = snapshot.last().index;
                    self.unapplied.push(Task::Apply { through, requests: 0 });
                }
                Effect::TakeSnapshot { through } => {
                    self.unapplied.push(Task::TakeSnapshot(*through));
                }
                _ => {}
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<(), TestCaseError> {
        match event {
            Event::Message(envelope) => drop(self.step(Input::Message(envelope))?),
            Event::Timer(millis) => {
                self.now = self.now + std::time::Duration::from_millis(millis);
                self.step(Input::TimerElapsed)?;
            }
            Event::Saved(count) => {
                let count = count.min(self.unsaved.len());
                let last = self.unsaved.drain(..count).next_back();
                if let Some(number) = last {
                    self.step(Input::Saved(number))?;
                }
            }
            Event::Applied => {
                if !self.unapplied.is_empty() {
                    let input = match self.unapplied.remove(0) {
                        Task::Apply { through, requests } => {
                            let responses = vec![Bytes::from_static(b"done"); requests];
                            Input::Applied { through, responses }
                        }
                        Task::TakeSnapshot(through) => {
                            Input::SnapshotTaken { through, data: Bytes::from_static(b"state") }
                        }
                    };
                    self.step(input)?;
                }
            }
            Event::WrongSave(number) => {
                // A number that was confirmed already does no harm; one never issued is refused.
                let is_known = self.unsaved.first().is_some_and(|first| number >= first.0);
                if !is_known {
                    self.step(Input::Saved(SaveNumber(number)))?;
                }
            }
            Event::WrongApply(through, count) => {
                let is_asked = |task: &Task| {
                    matches!(task, Task::Apply { through: asked, requests }
                        if asked.0 == through && *requests == count)
                };
                let tasks = &mut self.unapplied.iter();
                let first = tasks.find(|task| matches!(task, Task::Apply { .. }));
                if !first.is_some_and(is_asked) {
                    let responses = vec![Bytes::new(); count];
                    self.step(Input::Applied { through: Index(through), responses })?;
                }
            }
            Event::WrongSnapshot(through) => {
                let is_asked =
                    |task: &Task| matches!(task, Task::TakeSnapshot(asked) if asked.0 == through);
                if !self.unapplied.iter().any(is_asked) {
                    let data = Bytes::from_static(b"nonsense");
                    self.step(Input::SnapshotTaken { through: Index(through), data })?;
                }
            }
            Event::JoinAgain => drop(self.step(Input::NotifyJoinedService)?),
            Event::Propose(bytes) => drop(self.step(Input::Propose(vec![0; bytes].into()))?),
            Event::Change(changes) => drop(self.step(Input::ChangeMembership(changes))?),
            Event::Transfer(to) => {
                self.step(Input::TransferLeadership { to: to.map(ServerId) })?;
            }
            Event::TakeSnapshot => drop(self.step(Input::TakeSnapshot)?),
            Event::Read(id, is_lease) => {
                let mode = if is_lease { ReadMode::Lease } else { ReadMode::ReadIndex };
                self.step(Input::Read { id: ReadId(id), mode })?;
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(crate::cases(400))]

    #[test]
    fn no_input_makes_a_server_panic_and_a_refused_one_changes_nothing(
        servers in 1..5_u64,
        mut log in prop::collection::vec(1..4_u64, 0..4),
        in_flight in 1..4_u64,
        pre_vote in any::<bool>(),
        check_quorum in any::<bool>(),
        early in prop::collection::vec(event(), 0..4),
        events in prop::collection::vec(event(), 1..60),
    ) {
        log.sort_unstable();
        let mut config = Config::new(ServerId(1), (1..=servers).map(ServerId));
        config.in_flight_entries_max = in_flight;
        config.pre_vote = pre_vote;
        config.check_quorum = check_quorum;
        config.append_bytes_max = 60;
        config.command_bytes_max = 100;
        config.uncommitted_bytes_max = 150;
        config.lease_reads = check_quorum;
        config.snapshot_entries = (in_flight == 1).then_some(3);
        config.snapshot_keep_entries = in_flight - 1;
        config.forward_requests = pre_vote;
        config.announce_commits = check_quorum;
        let current_term = Term(log.last().copied().unwrap_or(0));
        let hard_state = HardState { current_term, voted_for: None };
        let recovered = Recovered { hard_state, entries: entries(1, &log), ..Recovered::default() };
        let server = Server::new(config, recovered).unwrap();
        let (unsaved, unapplied) = (Vec::new(), Vec::new());
        let mut driver = Driver { server, now: Timestamp::ZERO, unsaved, unapplied };
        for event in early {
            if let Event::Message(envelope) = event {
                driver.server.step(driver.now, Input::Message(envelope), &mut Effects::new())
                    .expect("it is deferred");
            }
        }
        let mut effects = Effects::new();
        // The worst of the deferred messages is told.
        let _ = driver.server.step(driver.now, Input::NotifyJoinedService, &mut effects);
        prop_assert_eq!(driver.server.deferred(), 0);
        driver.note(effects.as_slice());
        for event in events {
            driver.take(event)?;
        }
    }
}
