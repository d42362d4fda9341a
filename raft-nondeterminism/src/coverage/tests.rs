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
