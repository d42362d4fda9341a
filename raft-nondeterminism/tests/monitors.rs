//! A monitor that never fires proves nothing: here each is told of something that must not be.

use raft_core::{
    ClientId, ClientRequest, Config, Entry, HardState, Index, Log, LogId, Payload, Recovered,
    SequenceNumber, Server, ServerId, StepError, Term,
};
use raft_nondeterminism::{
    CommittedPrefix, ElectionSafety, ExactlyOnce, Explorer, Fact, LeaderCompleteness, Monitor,
    Scenario,
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
        Fact::Restarted { server: S1 },
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

/// Breaks down when a leader is elected.
#[derive(Debug)]
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
fn a_panic_during_a_run_is_a_bug_with_a_schedule() {
    let report = Explorer::new(Scenario::sample()).monitor(Fragile).run().unwrap();
    let bug = report.bug().unwrap();
    let violation = bug.violation().to_string();
    assert!(violation.starts_with("no-panic: monitors may panic ("), "{violation}");
    assert!(bug.shrunk().schedule().events() < 10, "an election of five needs five events");
    let mut explorer = Explorer::new(Scenario::sample()).monitor(Fragile);
    explorer.replay_watched(bug.schedule()).unwrap();
}
