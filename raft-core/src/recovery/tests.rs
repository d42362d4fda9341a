//! Which log a plan chooses, what it reports, and what it refuses.

use bytes::Bytes;

use super::*;
use crate::session::Sessions;

/// Server `id` of five that stored a term and entries of these terms behind `start`.
fn stored(id: u64, term: u64, start: (u64, u64), terms: &[u64]) -> (Config, Recovered) {
    let start = LogId::new(Term(start.1), Index(start.0));
    let entry = |(place, &term)| Entry {
        term: Term(term),
        index: start.index.next() + place,
        payload: Payload::Noop,
    };
    let hard_state = HardState { current_term: Term(term), voted_for: None };
    let entries = (0..).zip(terms).map(entry).collect();
    let snapshot = (start != LogId::ZERO).then(|| snapshot_of(start, 5));
    let config = Config::new(ServerId(id), (1..=5).map(ServerId));
    (config, Recovered { hard_state, snapshot, start, entries })
}

fn snapshot_of(last: LogId, voters: u64) -> Snapshot {
    let configuration = Configuration::new((1..=voters).map(ServerId), []);
    Snapshot::new(last, configuration.into(), Sessions::default(), Bytes::from_static(b"state"))
}

fn plan<const N: usize>(
    survivors: [(Config, Recovered); N],
) -> Result<RecoveryPlan, RecoveryError> {
    RecoveryPlan::new(survivors)
}

fn refusal<const N: usize>(survivors: [(Config, Recovered); N]) -> String {
    plan(survivors).unwrap_err().to_string()
}

fn terms(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| entry.log_id().to_string()).collect()
}

#[test]
fn the_log_that_is_most_up_to_date_is_chosen() {
    let choose = |one: &[u64], two: &[u64]| {
        plan([stored(1, 9, (0, 0), one), stored(2, 9, (0, 0), two)]).unwrap().chosen().0
    };
    assert_eq!(choose(&[1, 1, 1], &[1, 2]), 2, "the later term wins with the shorter log");
    assert_eq!(choose(&[1, 1, 1], &[1, 1]), 1, "the longer log wins with the same term");
    assert_eq!(choose(&[1, 1], &[1, 1]), 1, "of equal logs the lower id's, whoever is named first");
    let named = [stored(2, 9, (0, 0), &[1]), stored(1, 9, (0, 0), &[1])];
    assert_eq!(plan(named).unwrap().chosen(), ServerId(1));
}

/// Entry 3 of term 1 was committed by way of an entry of term 4 that is lost. A leader of term 2
/// left a later entry behind, and by §5.4.1 alone its log would be chosen.
#[test]
fn a_later_term_does_not_win_over_what_a_snapshot_proves_to_be_committed() {
    let with_snapshot = stored(1, 4, (3, 1), &[]);
    let stale = stored(2, 4, (0, 0), &[1, 1, 2, 2]);
    let plan = plan([with_snapshot, stale]).unwrap();
    assert_eq!((plan.chosen(), plan.committed()), (ServerId(1), LogId::new(Term(1), Index(3))));
    let discarded = &plan.survivors()[&ServerId(2)].discarded;
    assert_eq!(terms(discarded), ["4@2"], "what differs before was never committed");
    assert!(plan.undecided().is_empty());
}

#[test]
fn what_others_hold_and_the_chosen_log_does_not_is_thrown_away() {
    let base = stored(1, 5, (0, 0), &[1, 1, 3, 4]);
    let plan = plan([base, stored(2, 5, (0, 0), &[1, 1, 2, 2, 2])]).unwrap();
    assert_eq!(plan.chosen(), ServerId(1));
    assert_eq!(terms(&plan.survivors()[&ServerId(2)].discarded), ["3@2", "4@2", "5@2"]);
    assert!(plan.survivors()[&ServerId(1)].discarded.is_empty());
    assert_eq!(terms(plan.undecided()), ["1@1", "2@1", "3@3", "4@4"]);
}

#[test]
fn the_term_is_above_every_survivors_and_only_the_chosen_one_gets_an_entry() {
    let plan = plan([stored(1, 7, (0, 0), &[1, 5]), stored(2, 9, (0, 0), &[1])]).unwrap();
    let term = Term(9 + TERMS_AHEAD);
    let hard_state = Some(HardState { current_term: term, voted_for: None });
    assert_eq!(plan.configuration_at(), LogId::new(term, Index(3)));
    let configuration = Configuration::new([1, 2].map(ServerId), []);
    let payload = Payload::Configuration(configuration.into());
    let entries = [Entry { term, index: Index(3), payload }].into_iter().collect();
    let save = Save { hard_state, entries, ..Save::default() };
    assert_eq!(plan.save(ServerId(1)), Some(&save));
    assert_eq!(plan.save(ServerId(2)), Some(&Save { hard_state, ..Save::default() }));
    assert_eq!(plan.save(ServerId(3)), None);
}

#[test]
fn a_snapshot_whose_log_a_crash_left_behind_is_saved_with_its_log() {
    let mut torn = stored(1, 4, (3, 2), &[]);
    let rest = stored(1, 4, (0, 0), &[1, 1]);
    (torn.1.start, torn.1.entries) = (rest.1.start, rest.1.entries.clone());
    let last = LogId::new(Term(2), Index(3));
    let plan = plan([torn.clone(), stored(2, 4, (0, 0), &[1])]).unwrap();
    let save = plan.save(ServerId(1)).unwrap();
    assert_eq!((save.compacted, save.entries[0].index), (Some(last), Index(4)));
    torn.1.replay(save.clone()).unwrap();
    assert_eq!((torn.1.start, torn.1.entries.len()), (last, 1));
    let server = Server::new(torn.0, torn.1).unwrap();
    assert_eq!(server.configuration().to_string(), "voters s1 s2");
}

/// The end of the log is where the snapshot's is, so that the index alone tells nothing.
#[test]
fn a_log_that_ends_where_the_snapshot_does_may_still_be_another_one() {
    let mut torn = stored(1, 4, (3, 2), &[]);
    let rest = stored(1, 4, (0, 0), &[1, 1, 1]);
    (torn.1.start, torn.1.entries) = (rest.1.start, rest.1.entries);
    let plan = plan([torn.clone(), stored(2, 4, (0, 0), &[1])]).unwrap();
    torn.1.replay(plan.save(ServerId(1)).unwrap().clone()).unwrap();
    assert_eq!(terms(&torn.1.entries), [plan.configuration_at().to_string()]);
    assert!(Server::new(torn.0, torn.1).is_ok());
}

#[test]
fn entries_kept_behind_a_snapshot_are_decided() {
    let mut kept = stored(1, 4, (0, 0), &[1, 1, 2, 4]);
    kept.1.snapshot = Some(snapshot_of(LogId::new(Term(1), Index(2)), 5));
    let plan = plan([kept, stored(2, 4, (0, 0), &[1])]).unwrap();
    assert_eq!(terms(plan.undecided()), ["3@2", "4@4"]);
}

#[test]
fn how_a_survivor_was_to_start_does_not_matter() {
    for start in [Start::Any, Start::Found, Start::Join, Start::Rejoin] {
        let survivors = [stored(1, 4, (0, 0), &[1]), stored(2, 0, (0, 0), &[])];
        let survivors =
            survivors.map(|(config, recovered)| (Config { start, ..config }, recovered));
        assert_eq!(plan(survivors).unwrap().chosen(), ServerId(1), "{start:?}");
    }
}

#[test]
fn a_learner_is_never_said_to_be_electable() {
    let with_learner = |id, terms: &[u64]| {
        let (config, recovered) = stored(id, 9, (0, 0), terms);
        let (voters, learners) = ([2, 3, 4].map(ServerId).into(), vec![ServerId(1)]);
        (Config { voters, learners, ..config }, recovered)
    };
    let survivors = [with_learner(1, &[1, 1]), with_learner(2, &[1]), with_learner(3, &[])];
    assert!(refusal(survivors).contains("the survivors can elect s2"));
}

#[test]
fn a_plan_that_is_not_needed_or_makes_no_sense_is_refused() {
    let at = |id, terms: &[u64]| stored(id, 9, (0, 0), terms);
    assert_eq!(refusal([]), "no server has survived");
    assert_eq!(refusal([at(1, &[]), at(1, &[1])]), "s1 is named twice");
    let three = [at(1, &[1]), at(2, &[1, 2]), at(3, &[1])];
    assert_eq!(refusal(three), "no recovery is needed: the survivors can elect s2");
    let foreign = Config { cluster_id: ClusterId(7), ..at(2, &[]).0 };
    let error = refusal([at(1, &[1]), (foreign, at(2, &[]).1)]);
    assert!(error.starts_with("s2 is of cluster 0000000000000007"), "{error}");
    assert_eq!(refusal([at(1, &[1]), at(6, &[])]), "s6 is no member of voters s1 s2 s3 s4 s5");
    assert_eq!(refusal([at(1, &[2, 1])]), "what s1 has stored cannot be used");
    for absurd in [(ABSURD, 1), (u64::MAX, 1), (1, 0), (0, 1)] {
        let stored = stored(1, 9, absurd, &[]);
        assert_eq!(refusal([stored]), "what s1 has stored cannot be used", "{absurd:?}");
    }
    let last = ABSURD - TERMS_AHEAD;
    assert_eq!(refusal([stored(1, last, (0, 0), &[])]), format!("no term is left after {last}"));
    assert!(plan([stored(1, last - 1, (0, 0), &[])]).is_ok());
}

/// The chosen log's configuration alone does not say whether a plan is needed: a survivor that does
/// not know of the latest change yet may be elected by the configuration before.
#[test]
fn a_survivor_whose_own_configuration_can_elect_it_needs_no_plan() {
    let all = Configuration::new((1..=5).map(ServerId), []);
    let config = |id| Config::new(ServerId(id), [1, 2, 3].map(ServerId));
    let mut first = stored(1, 2, (0, 0), &[1, 2]).1;
    first.entries[1].payload = Payload::Configuration(all.into());
    let others = |id| (config(id), stored(id, 2, (0, 0), &[1]).1);
    let survivors = || [(config(1), first.clone()), others(2), others(3)];
    assert!(refusal(survivors()).contains("the survivors can elect s1"), "three of five");
    let two = [(config(1), first.clone()), others(2)];
    let plan = plan(two).unwrap();
    assert_eq!(plan.old_configuration().to_string(), "voters s1 s2 s3 s4 s5");
    let [_, two, three] = survivors();
    assert!(refusal([two, three]).contains("the survivors can elect s2"), "two of three");
}

#[test]
fn logs_that_contradict_each_other_are_refused() {
    let contradict = |one: (Config, Recovered), two| {
        let error = plan([one, two]).unwrap_err();
        match error {
            RecoveryError::Contradiction { index, .. } => index.0,
            other => panic!("{other}"),
        }
    };
    let two_at_3 = contradict(stored(1, 9, (3, 1), &[]), stored(2, 9, (3, 2), &[]));
    assert_eq!(two_at_3, 3, "two entries are committed in one place");
    let kept = |term| {
        // A snapshot through entry 4, with the entries behind 2 still there.
        let (config, mut recovered) = stored(2, 9, (0, 0), &[1, 1, term, 4]);
        recovered.snapshot = Some(snapshot_of(LogId::new(Term(4), Index(4)), 5));
        (config, recovered)
    };
    assert_eq!(contradict(stored(1, 9, (3, 1), &[]), kept(2)), 3, "the log says otherwise");
    assert!(plan([stored(1, 9, (3, 2), &[]), kept(2)]).is_ok());
    let later = contradict(stored(1, 9, (3, 5), &[]), stored(2, 9, (4, 4), &[]));
    assert_eq!(later, 3, "terms never decrease");
    let mut other_voters = stored(2, 9, (3, 1), &[]);
    other_voters.1.snapshot = Some(snapshot_of(LogId::new(Term(1), Index(3)), 4));
    assert_eq!(contradict(stored(1, 9, (3, 1), &[]), other_voters), 3);
    let mut other_payload = stored(2, 9, (0, 0), &[1, 1]);
    other_payload.1.entries[1].payload = Payload::Proposal(Bytes::from_static(b"x"));
    assert_eq!(contradict(stored(1, 9, (0, 0), &[1, 1]), other_payload), 2);
    let gap = contradict(stored(1, 9, (0, 0), &[1, 1, 3]), stored(2, 9, (0, 0), &[1, 2, 3]));
    assert_eq!(gap, 2, "Log Matching");
}
