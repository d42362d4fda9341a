//! A server against anything at all: it never panics, refuses without a trace, and does the same thing
//! twice.

use bytes::Bytes;
use proptest::prelude::*;
use raft_core::{
    Apply, Config, Effect, Effects, Envelope, HardState, Index, Input, Recovered, SaveNumber,
    Server, ServerId, Term, Timestamp,
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
    JoinAgain,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        14 => any::envelope_for_server_1().prop_map(Event::Message),
        2 => (0..700_u64).prop_map(Event::Timer),
        4 => (1..4_usize).prop_map(Event::Saved),
        2 => Just(Event::Applied),
        1 => any::number().prop_map(Event::WrongSave),
        1 => (any::number(), 0..3_usize).prop_map(|(through, n)| Event::WrongApply(through, n)),
        1 => Just(Event::JoinAgain),
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
    unapplied: Vec<Apply>,
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
        let committed = old.commit_index.0 as usize;
        let logs = (before.log().entries(), self.server.log().entries());
        prop_assert_eq!(&logs.1[..committed], &logs.0[..committed], "committed entries stay");
        for effect in &effects {
            match effect {
                Effect::Save(save) => self.unsaved.push(save.number),
                Effect::Apply(apply) => self.unapplied.push(apply.clone()),
                // Only a term at the edge of what is taken leads to one beyond it.
                Effect::Send(envelope) if new.current_term < Term(1 << 60) => {
                    prop_assert!(envelope.check().is_ok(), "{}", envelope);
                }
                Effect::Send(_) => {}
                Effect::NotifyElectedLeader { .. } | Effect::NotifyCommit { .. } => {}
            }
        }
        Ok(effects)
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
                    let Apply { entries, through } = self.unapplied.remove(0);
                    let responses = vec![Bytes::from_static(b"done"); entries.len()];
                    self.step(Input::Applied { through, responses })?;
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
                let is_asked =
                    |apply: &Apply| apply.through.0 == through && apply.entries.len() == count;
                if !self.unapplied.first().is_some_and(is_asked) {
                    let responses = vec![Bytes::new(); count];
                    self.step(Input::Applied { through: Index(through), responses })?;
                }
            }
            Event::JoinAgain => drop(self.step(Input::NotifyJoinedService)?),
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
        for effect in effects.drain() {
            match effect {
                Effect::Save(save) => driver.unsaved.push(save.number),
                Effect::Apply(apply) => driver.unapplied.push(apply),
                Effect::Send(_) | Effect::NotifyElectedLeader { .. } | Effect::NotifyCommit { .. } => {}
            }
        }
        for event in events {
            driver.take(event)?;
        }
    }
}
