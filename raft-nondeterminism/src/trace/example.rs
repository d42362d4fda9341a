//! A run made by hand that has everything a trace can have, for the tests of what is made of traces.

use super::{Detail, Lane, LaneLog, LaneState, Message, MessageId, Trace, TraceRecorder};
use crate::violation::Violation;

pub(crate) fn state(role: &str, term: u64, entries: &[&str], committed: u64) -> LaneState {
    let log = entries.iter().map(|entry| format!(" {entry}")).collect::<String>();
    LaneState {
        role: role.to_owned(),
        term: Some(term),
        is_up: role != "down",
        summary: format!("log{log} | commit {committed}"),
        log: Some(LaneLog {
            start: 1,
            entries: entries.iter().map(|&entry| entry.to_owned()).collect(),
            committed,
        }),
        details: vec![Detail { key: "voted_for".to_owned(), value: "none".to_owned() }],
    }
}

fn server(name: &str) -> Lane {
    let start = state("follower", 0, &[], 0);
    Lane { name: name.to_owned(), kind: "server".to_owned(), start }
}

fn send(
    recorder: &mut TraceRecorder,
    id: u64,
    (from, to): (usize, usize),
    label: &str,
    term: Option<u64>,
) -> MessageId {
    let (id, label) = (MessageId(id), label.to_owned());
    recorder.sent(Message { id, from, to, label, term, twin_of: None });
    id
}

/// Two servers that both lead, and a client.
pub(crate) fn two_leaders() -> Trace {
    let client = LaneState { is_up: true, summary: "idle".to_owned(), ..LaneState::default() };
    let client = Lane { name: "c1".to_owned(), kind: "client".to_owned(), start: client };
    let mut recorder = TraceRecorder::new();
    recorder.observe(vec![server("s1"), server("s2"), server("s3"), client]);

    recorder.begin("timeout", "timeout s1", Some(0));
    recorder.state(0, state("candidate", 1, &[], 0));
    recorder.note("s1@0 follower ⇨ s1@1 candidate");
    let first = send(&mut recorder, 1, (0, 1), "VoteRequest last=0@0", Some(1));
    let second = send(&mut recorder, 2, (0, 2), "VoteRequest last=0@0", Some(1));
    recorder.begin("deliver", "deliver s1@1 → s2 VoteRequest last=0@0", Some(1));
    recorder.taken(first, false);
    recorder.state(1, state("follower", 1, &[], 0));
    recorder.note("s2@1 → s1 VoteResponse granted");
    let vote = send(&mut recorder, 3, (1, 0), "VoteResponse granted", Some(1));
    recorder.begin("duplicate", "duplicate s2@1 → s1 VoteResponse granted", Some(0));
    let twin = MessageId(4);
    recorder.doubled(vote, twin);
    recorder.begin("drop", "drop s1@1 ⇥ s3 VoteRequest last=0@0", Some(2));
    recorder.taken(second, true);
    recorder.begin("deliver", "deliver s2@1 → s1 VoteResponse granted", Some(0));
    recorder.taken(vote, false);
    recorder.state(0, state("leader", 1, &["1@1"], 0));
    recorder.note("s1@1 candidate ⇨ s1@1 leader");
    send(&mut recorder, 5, (0, 1), "AppendEntriesRequest prev=0@0 entry=1@1 commit=0", Some(1));
    recorder.begin("crash", "crash s2", Some(1));
    recorder.state(1, state("down", 1, &[], 0));
    recorder.begin("client", "request c1", Some(3));
    let request = send(&mut recorder, 6, (3, 0), "ClientRequest c1#1 (3 bytes)", None);
    recorder.begin("restart", "restart s2", Some(1));
    recorder.state(1, state("follower", 1, &[], 0));
    recorder.begin("deliver", "deliver c1 → s1 ClientRequest c1#1 (3 bytes)", Some(0));
    recorder.taken(request, false);
    recorder.state(0, state("leader", 1, &["1@1", "2@1"], 0));
    recorder.begin("deliver", "deliver s2@1 → s1 VoteResponse granted", Some(0));
    recorder.taken(twin, false);
    recorder.begin("timeout", "timeout s3", Some(2));
    recorder.state(2, state("leader", 1, &["1@1"], 1));
    recorder.note("s3@0 follower ⇨ s3@1 leader");

    let message = "s1 and s3 both lead term 1".to_owned();
    let broken = Violation { property: "election-safety".to_owned(), message };
    let mut trace = recorder.finish(Some(broken));
    trace.title = "two leaders".to_owned();
    trace.model = "by-hand".to_owned();
    trace.strategy = "hand".to_owned();
    trace.seed = 7;
    trace.iteration = 33;
    trace.roles = ["follower", "candidate", "leader", "down"].map(str::to_owned).to_vec();
    trace.matters = Some([1, 2, 5, 11].into());
    trace.replay = "replay with: raft-explore replay two-leaders.txt".to_owned();
    trace
}

/// The same run, in which every word is meant to break out of the file it is written to.
pub(crate) fn hostile() -> Trace {
    let mut trace = two_leaders();
    let evil =
        "</script><script>throw new Error('out')</script><!-- \" ' & ` ${x} \u{2028} ; # %% :";
    trace.title = format!("title {evil}");
    trace.model = format!("model {evil}");
    trace.strategy = evil.to_owned();
    trace.defect = Some(evil.to_owned());
    trace.lanes[0].name = format!("s1{evil}");
    trace.lanes[1].start.role = evil.to_owned();
    trace.lanes[1].start.details[0].value = evil.to_owned();
    trace.steps[0].name = format!("timeout {evil}");
    trace.steps[0].notes.push(evil.to_owned());
    trace.steps[0].sent[0].label = evil.to_owned();
    let message = evil.to_owned();
    trace.violation = Some(Violation { property: evil.to_owned(), message });
    trace
}
