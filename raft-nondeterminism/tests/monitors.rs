//! A monitor that never fires proves nothing: here each is told of something that must not be.

use std::collections::BTreeSet;

use raft_core::{
    ClientId, ClientRequest, ClientResult, Config, Configuration, Entry, HardState, Index, Log,
    LogId, Payload, ReadId, Recovered, SequenceNumber, Server, ServerId, StepError, Term,
};
use raft_nondeterminism::{
    CommittedPrefix, ConfigurationSafety, DurableMajority, ElectionSafety, ExactlyOnce, Explorer,
    Fact, LeaderCompleteness, LinearizableReads, Monitor, Scenario, StateMachineSafety,
};

const S1: ServerId = ServerId(1);
const S2: ServerId = ServerId(2);
const C1: ClientId = ClientId(1);

fn command(term: u64, index: u64, number: u64) -> Entry {
    let request = ClientRequest::new(C1, SequenceNumber(number), "x".into());
    Entry { term: Term(term), index: Index(index), payload: Payload::Command(request.into()) }
}

/// A log of commands numbered as their indices, with these terms.
fn log(terms: &[u64]) -> Log {
    let numbered = terms.iter().zip(1..);
    let entries: Vec<_> = numbered.map(|(&term, index)| command(term, index, index)).collect();
    let current_term = entries.last().map_or(Term(0), |entry| entry.term);
    let hard_state = HardState { current_term, voted_for: None };
    let recovered = Recovered { hard_state, entries, ..Recovered::default() };
    let server = Server::new(Config::new(S1, [S1]), recovered).expect("the log is in order");
    server.log().clone()
}

fn elected<'a>(server: ServerId, term: u64, log: &'a Log) -> Fact<'a> {
    Fact::ElectedLeader { server, term: Term(term), log }
}

fn committed<'a>(server: ServerId, term: u64, index: u64, log: &'a Log) -> Fact<'a> {
    Fact::Committed { server, term: Term(term), index: Index(index), log }
}

/// Tells a monitor of facts that are all right, and then of one that is not.
fn refused(monitor: &mut dyn Monitor, good: &[Fact<'_>], bad: &Fact<'_>) -> String {
    monitor.begin();
    for fact in good {
        assert_eq!(monitor.observe(fact), Ok(()), "{fact:?}");
    }
    let message = monitor.observe(bad).expect_err("the last fact breaks the property");
    monitor.begin();
    assert_eq!(monitor.observe(&Fact::Crashed { server: S1 }), Ok(()), "a new run is clean");
    message
}

#[test]
fn election_safety_is_broken_by_two_leaders_of_one_term() {
    let (log, mut monitor) = (log(&[]), ElectionSafety::default());
    let good = [elected(S1, 1, &log), elected(S2, 2, &log), elected(S1, 3, &log)];
    let message = refused(&mut monitor, &good, &elected(S1, 2, &log));
    assert_eq!(message, "s2 and s1 were both elected in term 2");
    let error = StepError::TwoLeaders { term: Term(2), known: S1, other: S2 };
    let message = refused(&mut monitor, &[], &Fact::Refused { server: ServerId(3), error });
    assert_eq!(message, "s3 was told so: s1 and s2 both lead term 2");
}

#[test]
fn leader_completeness_is_broken_by_a_leader_without_a_committed_entry() {
    let (short, long) = (log(&[1]), log(&[1, 1]));
    let mut monitor = LeaderCompleteness::default();
    let good = [
        elected(S1, 1, &short),
        committed(S1, 1, 1, &long),
        elected(S2, 2, &short),
        committed(S1, 1, 2, &long),
        // Elected late in an earlier term: nobody promised it anything of this one.
        elected(S2, 1, &short),
    ];
    let message = refused(&mut monitor, &good, &elected(S2, 3, &short));
    assert_eq!(message, "s2 was elected in term 3 without 2@1, which was committed");
}

#[test]
fn the_committed_prefix_is_broken_by_another_entry_at_a_committed_place() {
    let (one, other) = (log(&[1, 1]), log(&[1, 2]));
    let good = [committed(S1, 1, 2, &one), committed(S2, 2, 1, &other)];
    let mut monitor = CommittedPrefix::default();
    let message = refused(&mut monitor, &good, &committed(S2, 2, 2, &other));
    assert_eq!(message, "s2 committed 2@2 c1#2 x, but 2@1 c1#2 x was before");
}

#[test]
fn the_committed_prefix_is_broken_by_a_commit_index_that_does_not_grow() {
    let log = log(&[1, 1]);
    let restarted = [
        committed(S1, 1, 2, &log),
        Fact::Crashed { server: S1 },
        Fact::Restarted { was_torn: false, server: S1 },
        committed(S1, 1, 1, &log),
    ];
    let mut monitor = CommittedPrefix::default();
    let message = refused(&mut monitor, &restarted, &committed(S1, 1, 1, &log));
    assert_eq!(message, "s1 committed 1 after 1");
    let message = refused(&mut monitor, &[], &committed(S1, 1, 3, &log));
    assert_eq!(message, "s1 committed 3, but its log ends at 2");
}

#[test]
fn the_committed_prefix_is_broken_by_an_answer_or_an_application_of_something_else() {
    let log = log(&[1, 1]);
    let good = [committed(S1, 1, 1, &log)];
    let mut monitor = CommittedPrefix::default();
    let entry = command(1, 2, 2);
    let message =
        refused(&mut monitor, &good, &Fact::Applied { server: S2, entry: &entry, digest: 0 });
    assert_eq!(message, "s2 applied 2@1 c1#2 x before it was committed");
    let entry = command(2, 1, 1);
    let message =
        refused(&mut monitor, &good, &Fact::Applied { server: S2, entry: &entry, digest: 0 });
    assert_eq!(message, "s2 applied 1@2 c1#1 x, but 1@1 c1#1 x is committed there");
    let log_id = LogId::new(Term(1), Index(2));
    let answer =
        Fact::Answered { client: C1, sequence_number: SequenceNumber(2), log_id, response: 0 };
    let message = refused(&mut monitor, &good, &answer);
    assert_eq!(message, "c1#2 was answered at 2@1, where it is not");
    let error =
        StepError::CommittedConflict { leader: S2, index: Index(1), commit_index: Index(2) };
    let message = refused(&mut monitor, &good, &Fact::Refused { server: S1, error });
    assert_eq!(
        message,
        "s1 was asked to forget: s2 asks to replace entry 1, but all up to 2 are committed"
    );
}

#[test]
fn exactly_once_is_broken_by_a_request_applied_twice() {
    let (first, second, again) = (command(1, 1, 1), command(1, 2, 2), command(2, 3, 1));
    let applied = |server, entry| Fact::Applied { server, entry, digest: 0 };
    let good = [
        applied(S1, &first),
        applied(S2, &first),
        applied(S1, &second),
        Fact::Crashed { server: S1 },
        // The state machine is rebuilt after a restart.
        applied(S1, &first),
    ];
    let mut monitor = ExactlyOnce::default();
    let message = refused(&mut monitor, &good, &applied(S1, &again));
    assert_eq!(message, "s1 applied c1#1 twice, now as 3@2 c1#1 x");
    let message = refused(&mut monitor, &[applied(S1, &second)], &applied(S1, &first));
    assert_eq!(message, "s1 applied 1@1 c1#1 x after 2");
}

#[test]
fn exactly_once_is_broken_by_a_state_that_goes_back_and_by_a_forgotten_answer() {
    let (first, second) = (command(1, 1, 1), command(1, 2, 2));
    let applied = |server, entry| Fact::Applied { server, entry, digest: 0 };
    let restored = |server, index| Fact::Restored {
        server,
        last: LogId::new(Term(1), Index(index)),
        digest: 0,
    };
    let mut monitor = ExactlyOnce::default();
    let good = [applied(S1, &first), applied(S1, &second), restored(S2, 2)];
    let message = refused(&mut monitor, &good, &restored(S1, 2));
    assert_eq!(message, "s1 was restored to 2@1 after 2");
    let again = command(2, 3, 2);
    let message = refused(&mut monitor, &good, &applied(S2, &again));
    assert_eq!(message, "s2 applied c1#2 twice, now as 3@2 c1#2 x", "the snapshot has it");
    let (client, sequence_number) = (C1, SequenceNumber(1));
    let result = &ClientResult::SessionExpired;
    let good = [Fact::RequestRefused { client, sequence_number, result }];
    let result = &ClientResult::Superseded;
    let forgotten = Fact::RequestRefused { client, sequence_number, result };
    let message = refused(&mut monitor, &good, &forgotten);
    assert_eq!(message, "the answer to c1#1 was forgotten too early");
}

#[test]
fn state_machine_safety_is_broken_by_two_states_after_one_command() {
    let (first, second) = (command(1, 1, 1), command(1, 2, 2));
    let applied = |server, entry, digest| Fact::Applied { server, entry, digest };
    let restored = |index, digest| Fact::Restored {
        server: S2,
        last: LogId::new(Term(1), Index(index)),
        digest,
    };
    let mut monitor = StateMachineSafety::default();
    let good = [applied(S1, &first, 7), applied(S2, &first, 7), applied(S1, &second, 8)];
    let message = refused(&mut monitor, &good, &applied(S2, &second, 9));
    assert_eq!(message, "s2 is in another state after 2@1 c1#2 x than s1 was");
    let good = [applied(S1, &first, 7), applied(S1, &second, 8), restored(1, 7), restored(3, 8)];
    let message = refused(&mut monitor, &good, &restored(1, 8));
    assert_eq!(message, "s2 was restored to 1@1, but is in another state than that");
    let log_id = LogId::new(Term(1), Index(1));
    let answer = |response| Fact::Answered {
        client: C1,
        sequence_number: SequenceNumber(1),
        log_id,
        response,
    };
    let message = refused(&mut monitor, &[applied(S1, &first, 7), answer(7)], &answer(8));
    assert_eq!(message, "c1#1 was told of a state that 1@1 did not make");
}

#[test]
fn the_committed_prefix_is_broken_by_a_snapshot_of_something_else() {
    let log = log(&[1, 1]);
    let restored = |term, index| Fact::Restored {
        server: S2,
        last: LogId::new(Term(term), Index(index)),
        digest: 0,
    };
    let good = [committed(S1, 1, 1, &log), restored(1, 1)];
    let mut monitor = CommittedPrefix::default();
    let message = refused(&mut monitor, &good, &restored(2, 1));
    assert_eq!(message, "s2 has a snapshot up to 1@2, but 1@1 is committed there");
    let message = refused(&mut monitor, &good, &restored(1, 2));
    assert_eq!(message, "s2 has a snapshot up to 2@1, which nobody committed");
}

/// A log with one configuration at index 1, and another at index 2.
fn reconfigured(first: &Configuration, second: &Configuration) -> Log {
    let entries = [first, second].into_iter().zip(1..).map(|(configuration, index)| Entry {
        term: Term(1),
        index: Index(index),
        payload: Payload::Configuration(configuration.clone().into()),
    });
    let hard_state = HardState { current_term: Term(1), voted_for: None };
    let recovered = Recovered { hard_state, entries: entries.collect(), ..Recovered::default() };
    let server = Server::new(Config::new(S1, [S1]), recovered).expect("the log is in order");
    server.log().clone()
}

fn configured<'a>(index: u64, configuration: &'a Configuration, log: &'a Log) -> Fact<'a> {
    Fact::Configured { server: S1, index: Index(index), configuration, log }
}

#[test]
fn configuration_safety_is_broken_by_a_change_that_shares_no_majority_or_comes_too_early() {
    let ids = |ids: &[u64]| ids.iter().copied().map(ServerId).collect::<Vec<_>>();
    let start = Configuration::new(ids(&[1, 2, 3]), []);
    let joint = Configuration::joint(ids(&[1, 2, 3]), ids(&[1, 2, 4]), []);
    let end = Configuration::new(ids(&[1, 2, 4]), []);
    let (fine, direct) = (reconfigured(&joint, &end), reconfigured(&end, &start));
    let begin = log(&[]);
    let mut monitor = ConfigurationSafety::default();
    let good = [
        configured(0, &start, &begin),
        configured(1, &joint, &fine),
        committed(S1, 1, 1, &fine),
        configured(2, &end, &fine),
        committed(S1, 1, 2, &fine),
    ];
    let message = refused(&mut monitor, &good[..2], &good[3]);
    let expected =
        "s1 uses voters s1 s2 s4 at 2, but voters s1 s2 s4 old s1 s2 s3 at 1 is not committed";
    assert_eq!(message, expected);
    let message = refused(&mut monitor, &good[..1], &configured(1, &end, &direct));
    assert_eq!(message, "s1 uses voters s1 s2 s4 at 1 after voters s1 s2 s3 at 0");
    let message = refused(&mut monitor, &good[..1], &committed(S1, 1, 1, &direct));
    assert_eq!(message, "1@1 voters s1 s2 s4 was committed after voters s1 s2 s3 at 0");
    let message = refused(&mut monitor, &good, &configured(7, &start, &begin));
    assert_eq!(message, "s1 uses voters s1 s2 s3 at 7, not voters s1 s2 s4", "of a snapshot");
}

#[test]
fn a_durable_majority_is_one_of_both_halves_of_a_joint_configuration() {
    let ids = |ids: &[u64]| ids.iter().copied().map(ServerId).collect::<Vec<_>>();
    let joint = Configuration::joint(ids(&[1, 2, 3]), ids(&[3, 4, 5]), []);
    let decided = |supporters| Fact::Decided {
        server: S1,
        what: "committed",
        configuration: &joint,
        supporters,
    };
    let both = BTreeSet::from([1, 3, 4].map(ServerId));
    let one = BTreeSet::from([1, 2, 3].map(ServerId));
    let message = refused(&mut DurableMajority, &[decided(&both)], &decided(&one));
    assert!(message.starts_with("s1 committed, but of voters s3 s4 s5 old s1 s2 s3 only"));
}

#[test]
fn linearizable_reads_are_broken_by_a_read_that_misses_what_was_told_before() {
    let log_id = LogId::new(Term(1), Index(5));
    let answer =
        Fact::Answered { client: C1, sequence_number: SequenceNumber(1), log_id, response: 0 };
    let asked = |id| Fact::ReadAsked { server: S1, id: ReadId(id) };
    let served = |id, index| Fact::ReadServed { server: S1, id: ReadId(id), index: Index(index) };
    let mut monitor = LinearizableReads::default();
    let good = [asked(1), answer, asked(2), served(1, 4)];
    let message = refused(&mut monitor, &good, &served(2, 4));
    assert_eq!(message, "s1 served read 2 at 4, but 5 was known when it was asked");
    let message = refused(&mut monitor, &[asked(1), served(1, 7), asked(2)], &served(2, 6));
    assert_eq!(message, "s1 served read 2 at 6, but 7 was known when it was asked");
    let failed = Fact::ReadFailed { server: S1, id: ReadId(1) };
    let message = refused(&mut monitor, &[asked(1), served(1, 0)], &failed);
    assert_eq!(message, "s1 failed read 1, which nobody asked, or twice");
}

/// Breaks down when a leader is elected.
#[derive(Clone, Debug)]
struct Fragile;

impl Monitor for Fragile {
    fn property(&self) -> &'static str {
        "fragile"
    }

    fn begin(&mut self) {}

    fn observe(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        assert!(!matches!(fact, Fact::ElectedLeader { .. }), "monitors may panic");
        Ok(())
    }
}

#[test]
fn a_monitor_that_panics_is_named_and_its_schedule_replays() {
    let report = Explorer::new(Scenario::sample()).monitor(Fragile).run().unwrap();
    let bug = report.bug().unwrap();
    let violation = bug.violation().to_string();
    let expected = "monitor-panic: the monitor of fragile panicked: monitors may panic (";
    assert!(violation.starts_with(expected), "{violation}");
    assert!(bug.shrunk().schedule().events() < 10, "an election of five needs five events");
    let mut explorer = Explorer::new(Scenario::sample()).monitor(Fragile);
    explorer.replay_watched(bug.schedule()).unwrap();
}
