//! A recorder sees what a server's status says (feature `metrics`).
#![cfg(feature = "metrics")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

#[path = "support/cluster.rs"]
mod cluster;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use cluster::Cluster;
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
    Unit,
};
use raft_core::{Input, ServerId};

/// Remembers the last value of each metric, by name and labels.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<String, f64>>>);

struct One {
    seen: Seen,
    name: String,
}

impl One {
    fn put(&self, value: f64) {
        self.seen.0.lock().unwrap().insert(self.name.clone(), value);
    }
}

impl GaugeFn for One {
    fn increment(&self, _: f64) {
        unreachable!("gauges are set")
    }

    fn decrement(&self, _: f64) {
        unreachable!("gauges are set")
    }

    fn set(&self, value: f64) {
        self.put(value);
    }
}

impl CounterFn for One {
    fn increment(&self, _: u64) {
        unreachable!("the server counts by itself")
    }

    fn absolute(&self, value: u64) {
        self.put(value as f64);
    }
}

impl Seen {
    fn one(&self, key: &Key) -> Arc<One> {
        let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
        let name = format!("{}{}", key.name(), labels.collect::<String>());
        Arc::new(One { seen: self.clone(), name })
    }
}

impl Recorder for Seen {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.one(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.one(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        unreachable!("there is none")
    }
}

#[test]
fn a_recorder_sees_the_status_of_a_leader() {
    let mut cluster = Cluster::new(3, |_| {});
    for id in cluster.ids() {
        cluster.join(id).unwrap();
    }
    cluster.elect(ServerId(1));
    cluster.partition(&[ServerId(3)]);
    let register = raft_core::RegisterClient {
        client_id: raft_core::ClientId(1),
        registration: raft_core::SequenceNumber(1),
    };
    let message = raft_core::Message::RegisterClient(register);
    cluster.tell(ServerId(1), raft_core::ClientId(1).into(), message).unwrap();
    cluster.stabilize();
    let millis = std::time::Duration::from_millis(40);
    cluster.now = cluster.now + millis;
    // Joining twice is refused.
    cluster.join(ServerId(1)).unwrap_err();
    cluster.step(ServerId(1), Input::Propose("x".into())).unwrap();

    let seen = Seen::default();
    let status = cluster.server(ServerId(1)).status();
    metrics::with_local_recorder(&seen, || status.record());
    let seen = seen.0.lock().unwrap();
    let expected = [
        ("raft_term server=s1", 1.0),
        ("raft_role server=s1 role=leader", 1.0),
        ("raft_role server=s1 role=follower", 0.0),
        ("raft_last_index server=s1", 3.0),
        ("raft_durable_index server=s1", 3.0),
        ("raft_commit_index server=s1", 2.0),
        ("raft_applied_index server=s1", 2.0),
        ("raft_uncommitted_bytes server=s1", 57.0),
        ("raft_sessions server=s1", 1.0),
        ("raft_save_latency_seconds server=s1", 0.0),
        ("raft_follower_lag_entries server=s1 follower=s2", 1.0),
        ("raft_follower_lag_entries server=s1 follower=s3", 2.0),
        ("raft_follower_silence_seconds server=s1 follower=s2", 0.04),
        ("raft_refusals_total server=s1 reason=joined-twice", 1.0),
    ];
    for (name, value) in expected {
        assert_eq!(seen.get(name), Some(&value), "{name} in {seen:#?}");
    }
}
