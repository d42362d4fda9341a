//! What a server tells the application's log: a change of role and a refusal, each with its fields.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as it does")]

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use raft_core::{Config, Effects, Input, Recovered, SaveNumber, Server, ServerId, Timestamp};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps every event as a line.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
}

#[test]
fn changes_of_role_and_refusals_are_logged_once_each() {
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || {
        let config = Config::new(ServerId(1), [ServerId(1)]);
        let mut server = Server::new(config, Recovered::default()).unwrap();
        let mut step = |millis, input| {
            let _ = server.step(Timestamp::from_millis(millis), input, &mut Effects::new());
        };
        step(0, Input::NotifyJoinedService);
        step(600, Input::TimerElapsed);
        // Still a candidate, of the next term: that is no change.
        step(1200, Input::TimerElapsed);
        step(1200, Input::Saved(SaveNumber(9)));
        step(1200, Input::Saved(SaveNumber(2)));
    });
    let lines = lines.0.lock().unwrap();
    assert_eq!(
        *lines,
        [
            "INFO message=role changed server=s1 term=1 from=follower to=candidate",
            "DEBUG message=refused server=s1 error=save 9 was confirmed, but only save 2 was issued",
            "INFO message=role changed server=s1 term=2 from=candidate to=leader",
        ]
    );
}
