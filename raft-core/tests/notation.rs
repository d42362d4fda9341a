//! The one notation in which everything is printed: `s1@2`, `7@2`, `→`.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as it does")]

#[path = "support/bench.rs"]
mod bench;

use bench::{
    Bench, append, append_all, client_envelope, command, conflict, entries, envelope, request,
    stale, success, vote, vote_request,
};
use bytes::Bytes;
use raft_core::{
    Address, Apply, ClientId, ClientResponse, ClientResult, Effect, Effects, Entry, HardState,
    Index, Input, LogId, Message, Payload, Save, SaveNumber, SequenceNumber, ServerId, Term,
};

fn answer(result: ClientResult) -> Message {
    let (client_id, sequence_number) = (ClientId(7), SequenceNumber(3));
    Message::ClientResponse(ClientResponse { client_id, sequence_number, result })
}

#[test]
fn messages_say_what_matters() {
    let applied = ClientResult::Applied {
        log_id: LogId::new(Term(2), Index(7)),
        response: Bytes::from_static(b"ok"),
    };
    let table = [
        (vote_request(2, 2, (7, 1)), "s2@2 → s1 VoteRequest last=7@1"),
        (vote(2, true), "s2@2 → s1 VoteResponse granted"),
        (vote(2, false), "s2@2 → s1 VoteResponse refused"),
        (append(2, 2, (7, 1), &[], 5), "s2@2 → s1 AppendEntriesRequest prev=7@1 commit=5"),
        (
            append(2, 2, (7, 1), &[2], 5),
            "s2@2 → s1 AppendEntriesRequest prev=7@1 entry=8@2 commit=5",
        ),
        (
            append_all(2, 2, (7, 1), entries(8, &[1, 1, 2]), 5),
            "s2@2 → s1 AppendEntriesRequest prev=7@1 entries=8@1..10@2 commit=5",
        ),
        (success(2, 7), "s2@2 → s1 AppendEntriesResponse match=7"),
        (conflict(2, 7, 5, None), "s2@2 → s1 AppendEntriesResponse conflict prev=7 hint=5"),
        (conflict(2, 7, 5, Some(1)), "s2@2 → s1 AppendEntriesResponse conflict prev=7 hint=5@1"),
        (stale(2), "s2@2 → s1 AppendEntriesResponse stale term"),
        (answer(applied), "s2 → s1 ClientResponse c7#3 applied 7@2"),
        (
            answer(ClientResult::NotLeader { leader: Some(ServerId(3)) }),
            "s2 → s1 ClientResponse c7#3 not leader, try s3",
        ),
        (
            answer(ClientResult::NotLeader { leader: None }),
            "s2 → s1 ClientResponse c7#3 not leader",
        ),
        (answer(ClientResult::Superseded), "s2 → s1 ClientResponse c7#3 superseded"),
        (
            answer(ClientResult::TooLarge { command_bytes: 9, command_bytes_max: 8 }),
            "s2 → s1 ClientResponse c7#3 too large: 9 bytes, at most 8",
        ),
    ];
    for (message, text) in table {
        assert_eq!(envelope(2, message).to_string(), text);
    }
    assert_eq!(client_envelope(7, 3, "xyz").to_string(), "c7 → s1 ClientRequest c7#3 (3 bytes)");
    assert_eq!(Address::AllServers.to_string(), "all");
}

#[test]
fn entries_show_a_command_that_reads_as_a_word() {
    let shown = |text: &str| command((7, 2), 3, text).to_string();
    assert_eq!(entries(7, &[2])[0].to_string(), "7@2 noop");
    assert_eq!(shown("x=1"), "7@2 c1#3 x=1");
    assert_eq!(shown(&"x".repeat(32)), format!("7@2 c1#3 {}", "x".repeat(32)));
    assert_eq!(shown(&"x".repeat(33)), "7@2 c1#3 (33 bytes)");
    assert_eq!(shown("two words"), "7@2 c1#3 (9 bytes)");
    assert_eq!(shown("\u{e9}"), "7@2 c1#3 (2 bytes)");
    let mut no_text = request(1, 3, "");
    no_text.command = Bytes::from_static(b"\xff");
    let no_text =
        Entry { term: Term(2), index: Index(7), payload: Payload::Command(no_text.into()) };
    assert_eq!(no_text.to_string(), "7@2 c1#3 (1 bytes)");
}

#[test]
fn effects_say_what_is_asked() {
    let hard_state = HardState { current_term: Term(2), voted_for: Some(ServerId(3)) };
    let save = |hard_state, entries: Vec<Entry>| {
        let (number, entries) = (SaveNumber(1), entries.into());
        Effect::Save(Save { number, hard_state, entries, ..Save::default() })
    };
    let apply = |entries: Vec<Entry>, through| {
        let (entries, through) = (entries.into(), Index(through));
        Effect::Apply(Apply { entries, skipped: Vec::new(), through })
    };
    let (a, b) = (command((2, 1), 1, "a"), command((3, 1), 2, "b"));
    let table = [
        (save(Some(hard_state), vec![]), "save term=2 voted_for=s3"),
        (save(None, entries(2, &[2])), "save entry=2@2"),
        (save(None, entries(2, &[2, 2, 3])), "save entries=2@2..4@3"),
        (save(Some(hard_state), entries(2, &[2])), "save term=2 voted_for=s3 entry=2@2"),
        (Effect::Send(envelope(2, stale(4))), "→ s1 AppendEntriesResponse stale term"),
        (apply(vec![], 4), "apply through 4"),
        (apply(vec![a.clone()], 4), "apply 2@1 c1#1 a, through 4"),
        (apply(vec![a, b], 4), "apply 2@1 c1#1 a, 3@1 c1#2 b, through 4"),
        (Effect::NotifyElectedLeader { term: Term(2) }, "elected leader of term 2"),
        (Effect::NotifyCommit { index: Index(7) }, "commit 7"),
    ];
    for (effect, text) in table {
        assert_eq!(effect.to_string(), text);
    }
    let nobody = HardState { current_term: Term(2), voted_for: None };
    assert_eq!(nobody.to_string(), "term=2 voted_for=none");
}

#[test]
fn a_status_tells_what_an_operator_asks() {
    let mut bench = Bench::leader(3, 1, &[1]);
    bench.receive(2, success(2, 2));
    bench.refuse(2, success(2, 9));
    let status = bench.server.status();
    assert_eq!(status.to_string(), "s1@2 leader last=2@2 commit=2 applied=2");
    assert_eq!((status.voted_for, status.leader), (Some(ServerId(1)), Some(ServerId(1))));
    assert_eq!((status.durable_index, status.refusals["malformed"]), (Index(2), 1));
    let followers: Vec<_> = status.progress.keys().copied().collect();
    assert_eq!(followers, [ServerId(2), ServerId(3)]);
    assert_eq!(status.progress[&ServerId(2)].match_index, Index(2));
    assert!(Bench::follower(3, 1, &[1]).server.status().progress.is_empty());
}

/// The buffer belongs to the caller: effects are appended, and it can be emptied and used again.
#[test]
fn a_buffer_of_effects_is_reusable() {
    let mut effects = Effects::new();
    assert!(effects.is_empty());
    let mut server = Bench::follower(3, 1, &[]).server;
    let late = server.next_timeout().unwrap();
    server.step(late, Input::TimerElapsed, &mut effects).unwrap();
    let later = server.next_timeout().unwrap();
    server.step(later, Input::TimerElapsed, &mut effects).unwrap();
    let texts: Vec<_> = effects.as_slice().iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["save term=2 voted_for=s1", "save term=3 voted_for=s1"], "in order");
    let copy = effects.clone();
    assert_eq!(effects.drain().count(), 2);
    assert!(effects.is_empty() && !copy.is_empty());
    let mut copy = copy;
    copy.clear();
    assert_eq!(copy, effects);
}
