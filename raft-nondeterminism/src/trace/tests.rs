//! Traces as files, and what they know of themselves.

use std::error::Error;

use super::example::{hostile, two_leaders};
use super::*;

#[test]
fn a_trace_that_was_written_is_read_back() {
    for trace in [two_leaders(), hostile(), TraceRecorder::new().finish(None)] {
        assert_eq!(Trace::from_json(&trace.to_json()).unwrap(), trace);
    }
}

#[test]
fn a_trace_that_is_cut_anywhere_is_refused() {
    let text = two_leaders().to_json();
    for (end, _) in text.char_indices() {
        let error = Trace::from_json(&text[..end]).unwrap_err();
        assert!(matches!(error, TraceError::Cut { .. }), "cut at {end}: {error}");
        assert!(error.to_string().starts_with("the trace is cut off after line"));
    }
}

#[test]
fn another_version_is_named() {
    let text = two_leaders().to_json().replacen("\"version\":1", "\"version\":2", 1);
    let error = Trace::from_json(&text).unwrap_err();
    assert_eq!(error.to_string(), "the trace has version 2, this build reads version 1");
    // What another version looks like is not known, so nothing else is read before that.
    let error = Trace::from_json(r#"{"version":9,"unknown":{}}"#).unwrap_err();
    assert_eq!(error.to_string(), "the trace has version 9, this build reads version 1");
}

#[test]
fn what_is_no_trace_is_refused() {
    for text in ["[]", "raft-nondeterminism schedule, format 2", r#"{"version":1}"#, "{}"] {
        let error = Trace::from_json(text).unwrap_err();
        assert_eq!(error.to_string(), "not a trace");
        // What is wrong is told once by whoever tells the sources too.
        assert!(error.source().is_some_and(|source| !source.to_string().is_empty()));
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_trace() {
    let trace = two_leaders();
    assert_eq!(Trace::from_json(&format!("\u{feff}{}", trace.to_json())).unwrap(), trace);
}

#[test]
fn an_edited_trace_is_refused() {
    type Edit = fn(&mut Trace);
    let edits: [(Edit, &str); 8] = [
        (|it| drop(it.steps.remove(2)), "step 3 is missing: the next one is 4"),
        (|it| it.steps[1].lane = Some(9), "step 2 is about lane 9, which does not exist"),
        (|it| it.steps[0].changes[0].lane = 4, "step 1 is about lane 4, which does not exist"),
        (|it| it.steps[0].sent[0].to = 4, "step 1 is about lane 4, which does not exist"),
        (
            |it| it.steps[1].sent[0].id = MessageId(1),
            "step 2 sends message 1, which is not a new one",
        ),
        (
            |it| it.steps[9].carried = it.steps[4].carried,
            "step 10 needs message 3, which is not in flight",
        ),
        (|it| drop(it.steps[6].sent.pop()), "step 9 needs message 6, which is not in flight"),
        (|it| it.matters = Some([12].into()), "step 12 is said to matter, but it does not exist"),
    ];
    for (edit, expected) in edits {
        let mut trace = two_leaders();
        edit(&mut trace);
        assert_eq!(Trace::from_json(&trace.to_json()).unwrap_err().to_string(), expected);
    }
}

#[test]
fn each_message_has_one_end_or_none() {
    let trace = two_leaders();
    let ends: Vec<_> =
        trace.flights().iter().map(|it| (it.message.id.0, it.sent_at, it.end)).collect();
    let expected = [
        (1, 1, Some((2, Fate::Delivered))),
        (2, 1, Some((4, Fate::Lost))),
        (3, 2, Some((5, Fate::Delivered))),
        (4, 3, Some((10, Fate::Delivered))),
        (5, 5, None),
        (6, 7, Some((9, Fate::Delivered))),
    ];
    assert_eq!(ends, expected);
}

#[test]
fn a_full_run_knows_what_its_shrunk_one_has_kept() {
    let full = two_leaders();
    let mut shrunk = full.clone();
    shrunk.steps.retain(|step| [1, 2, 5, 11].contains(&step.number));
    let full = Trace { matters: None, ..full };
    assert_eq!(full.clone().matter_as_in(&shrunk).matters, Some([1, 2, 5, 11].into()));
    assert!(!full.does_matter(1));
    assert!(full.all_matter().does_matter(11));
}

#[test]
fn what_is_not_different_is_not_written_down() {
    let trace = two_leaders();
    let mut recorder = TraceRecorder::new();
    recorder.observe(trace.lanes.clone());
    recorder.begin("timeout", "timeout s1", Some(0));
    recorder.observe(trace.lanes.clone());
    recorder.state(1, example::state("leader", 1, &[], 0));
    recorder.state(1, example::state("leader", 2, &[], 0));
    let trace = recorder.finish(None);
    assert_eq!(trace.steps[0].changes.len(), 1);
    assert_eq!(trace.steps[0].changes[0].state.term, Some(2));
}

#[test]
fn of_equal_messages_the_first_one_comes_first() {
    let run = |order: [u64; 2]| {
        let mut recorder = TraceRecorder::new();
        recorder.observe(two_leaders().lanes);
        recorder.begin("timeout", "timeout s1", Some(0));
        let label = "VoteRequest".to_owned();
        let message =
            Message { id: MessageId(1), from: 0, to: 1, label, term: Some(1), twin_of: None };
        recorder.sent(message);
        recorder.begin("duplicate", "duplicate s1@1 → s2 VoteRequest", Some(1));
        recorder.doubled(MessageId(1), MessageId(2));
        for taken in order {
            recorder.begin("deliver", "deliver s1@1 → s2 VoteRequest", Some(1));
            recorder.taken(MessageId(taken), false);
        }
        recorder.finish(None)
    };
    assert_eq!(run([1, 2]), run([2, 1]));
    run([2, 1]).check().unwrap();
}
