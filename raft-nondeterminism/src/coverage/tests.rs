//! What coverage says, keeps and refuses.

use super::*;
use crate::report::golden;

fn plan() -> Arc<CoveragePlan> {
    let server =
        NodeKind::new("server", &["follower", "leader", "down"], &["Vote", "Crash", "Restart"])
            .only(&["down"], &["Restart"])
            .without(&["follower", "leader"], &["Restart"]);
    let client = NodeKind::new("client <&>", &["idle"], &["Answer"]);
    Arc::new(CoveragePlan::new(vec![server, client]))
}

fn example() -> Coverage {
    let mut coverage = Coverage::new(plan());
    coverage.meet(0, 0, 0, Meeting::Handled);
    coverage.meet(0, 0, 0, Meeting::Ignored);
    coverage.meet(0, 1, 0, Meeting::Ignored);
    coverage.meet(0, 0, 0, Meeting::Sent);
    coverage.moves(0, 0, 1);
    coverage.meet(0, 1, 1, Meeting::Handled);
    coverage.moves(0, 1, 2);
    coverage
}

#[test]
fn what_was_never_received_is_told() {
    golden::check("coverage.txt", &example().to_string());
    golden::check("coverage.dgml", &example().to_dgml());
}

#[test]
fn nothing_declared_is_not_available() {
    let coverage = Coverage::new(Arc::new(CoveragePlan::default()));
    assert!(coverage.to_string().starts_with("Total actor coverage: N/A\n==="));
    assert_eq!(coverage.total_covered(), (0, 0));
}

#[test]
fn counts_add_up_in_any_order() {
    let mut other = Coverage::new(plan());
    other.meet(1, 0, 0, Meeting::Handled);
    other.moves(0, 2, 0);
    let (mut one, mut two) = (example(), other.clone());
    one.merge(&other).unwrap();
    two.merge(&example()).unwrap();
    assert_eq!(one, two);
    assert_eq!(one.total_covered(), (4, 6));
    assert_eq!(one.covered(0, Some(2)), (0, 1));
    assert_eq!(one.move_count(0, 2, 0), 1);
}

#[test]
fn coverage_of_another_system_is_not_added() {
    let kind = NodeKind::new("server", &["up"], &["Vote"]);
    let other = Coverage::new(Arc::new(CoveragePlan::new(vec![kind])));
    let mut coverage = example();
    let error = coverage.merge(&other).unwrap_err();
    assert_eq!(error.to_string(), "the two coverages are of different states and events");
    assert_eq!(coverage, example());
}

#[test]
fn what_was_written_is_read_back_and_still_merges() {
    let read = Coverage::from_json(&example().to_json()).unwrap();
    assert_eq!(read, example());
    let mut sum = example();
    sum.merge(&read).unwrap();
    assert_eq!(sum.received(0, 0, 0), 4);
}

#[test]
fn a_file_that_is_cut_or_edited_is_refused() {
    let text = example().to_json();
    for end in (0..text.len()).filter(|&end| text.is_char_boundary(end)) {
        assert!(Coverage::from_json(&text[..end]).is_err(), "cut at {end}");
    }
    let error = |text: &str| Coverage::from_json(text).unwrap_err().to_string();
    let other = text.replacen("\"version\":1", "\"version\":7", 1);
    assert_eq!(error(&other), "the coverage has version 7, this build reads version 1");
    let edited = text.replacen("\"state\":0", "\"state\":9", 1);
    let expected = "the coverage of server speaks of a state or an event that it does not name";
    assert_eq!(error(&edited), expected);
}

#[test]
fn the_page_shows_every_pair_and_no_name_becomes_a_tag() {
    let page = example().to_html("<b>");
    assert_eq!(page.matches("<td class").count(), 9 + 1);
    assert!(page.contains("client &lt;&amp;&gt;") && !page.contains("<b>:"));
    assert!(page.contains("handled 1, ignored 1, sent 1"));
    assert_eq!(page.matches(">never</td>").count(), 3, "{page}");
}

/// A run under an open plan, in which these are met.
fn learned(met: &[(&str, &str, Meeting)]) -> Coverage {
    let declared = NodeKind::new("server", &["up", "old"], &["Vote", "Ask"]);
    let plan = CoveragePlan::open(vec![declared.without(&["old"], &["Ask"])]);
    let mut coverage = Coverage::new(Arc::new(plan));
    met.iter().for_each(|&(state, event, how)| coverage.meet_by_name("server", state, event, how));
    coverage
}

#[test]
fn names_that_are_learned_add_up_in_any_order() {
    let one = learned(&[("up", "Zap", Meeting::Handled), ("late", "Vote", Meeting::Sent)]);
    let mut two =
        learned(&[("down", "restart", Meeting::Handled), ("up", "Answer", Meeting::Sent)]);
    two.moves_by_name("client", "idle", "busy");
    let three = learned(&[("early", "Answer", Meeting::Ignored), ("up", "Zap", Meeting::Handled)]);
    let sum = |runs: [&Coverage; 3]| {
        let mut sum = runs[0].clone();
        runs[1..].iter().for_each(|run| sum.merge(run).unwrap());
        sum
    };
    let all = sum([&one, &two, &three]);
    for runs in [[&three, &two, &one], [&two, &one, &three], [&two, &three, &one]] {
        assert_eq!(sum(runs), all);
    }
    let names: Vec<_> = all.plan().kinds().iter().map(NodeKind::name).collect();
    assert_eq!(names, ["client", "server"]);
    let server = &all.plan().kinds()[1];
    assert_eq!(server.states(), ["down", "early", "late", "old", "up"]);
    assert_eq!(server.events(), ["Answer", "Ask", "Vote", "Zap", "restart"]);
    assert_eq!(all.received(1, 4, 3), 2);
    assert_eq!(Coverage::from_json(&all.to_json()).unwrap(), all);
}

#[test]
fn what_is_only_sent_is_not_missed_and_what_was_excluded_stays_so() {
    let mut coverage = learned(&[("up", "Answer", Meeting::Sent)]);
    let place = |coverage: &Coverage, event: &str| {
        let mut events = coverage.plan().kinds()[0].events().iter();
        events.position(|name| name == event).unwrap()
    };
    let is_missed = |coverage: &Coverage, state: usize, event: &str| {
        coverage.is_declared(0, state, place(coverage, event))
    };
    assert!(!is_missed(&coverage, 1, "Answer"), "servers only send it");
    assert_eq!(Coverage::from_json(&coverage.to_json()).unwrap(), coverage);
    coverage.learn("server", &[], &["Answer"]);
    assert!(is_missed(&coverage, 0, "Answer") && is_missed(&coverage, 1, "Answer"));
    assert!(is_missed(&coverage, 1, "Ask") && !is_missed(&coverage, 0, "Ask"), "none in `old`");
}

#[test]
fn a_closed_plan_and_an_open_one_are_not_added() {
    assert!(learned(&[]).merge(&example()).is_err());
    assert!(example().merge(&learned(&[])).is_err());
}

#[test]
fn every_name_is_shown_on_one_line() {
    let kind = NodeKind::new("two\nlines", &["", "up"], &["a\nState: b", "Vote"]);
    let mut coverage = Coverage::new(Arc::new(CoveragePlan::new(vec![kind])));
    coverage.meet(0, 1, 0, Meeting::Handled);
    let text = coverage.to_string();
    for line in [
        "StateMachine: two\\nlines",
        "\tState: \"\" is uncovered",
        "\t\tEvents received: a\\nState: b",
        "\t\tEvents not covered: Vote, a\\nState: b",
    ] {
        assert!(text.lines().any(|it| it == line), "{line:?} is missing in:\n{text}");
    }
    assert!(coverage.to_html("it").contains("<h2>two\\nlines "));
    assert!(coverage.to_dgml().contains("Label=\"two\\nlines\""));
    assert_eq!(Coverage::from_json(&coverage.to_json()).unwrap(), coverage);
}
