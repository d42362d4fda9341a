//! Who waits for whom when an election is due.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::collections::BTreeMap;
use std::time::Duration;

use raft_core::{Config, Effects, Input, Recovered, Server, ServerId, Timestamp};

/// How long server 3 of three waits for a leader after it has joined, for some seeds.
fn waits(priorities: &[(u64, u32)]) -> Vec<Duration> {
    let wait = |seed| {
        let mut config = Config { seed, ..Config::new(ServerId(3), [1, 2, 3].map(ServerId)) };
        let priorities = priorities.iter().map(|&(id, priority)| (ServerId(id), priority));
        config.priorities = priorities.collect::<BTreeMap<_, _>>();
        let mut server = Server::new(config, Recovered::default()).unwrap();
        let mut effects = Effects::new();
        server.step(Timestamp::ZERO, Input::NotifyJoinedService, &mut effects).unwrap();
        server.next_timeout().unwrap().since(Timestamp::ZERO)
    };
    (0..50).map(wait).collect()
}

#[test]
fn a_server_lets_each_that_is_preferred_try_before_it() {
    let spread = Duration::from_millis(300);
    let alike = waits(&[]);
    assert!(alike.iter().all(|&wait| wait >= spread && wait <= 2 * spread), "{alike:?}");
    for (priorities, preferred) in
        [(&[(1, 9), (2, 9)][..], 2), (&[(1, 9), (3, 5)], 1), (&[(1, 9), (3, 9)], 0)]
    {
        let expected: Vec<_> = alike.iter().map(|&wait| wait + preferred * spread).collect();
        assert_eq!(waits(priorities), expected, "{priorities:?}");
    }
}
