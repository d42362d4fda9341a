//! The rows of the table as the in-memory face does them: the same ids, on a bus without a network, in
//! virtual time.
//!
//! Guarantees: each row is a case here or says why it is none; a test holds the two lists together.

mod entities;
mod messages;

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use raft_mocking::broker::{
    BrokerError, BusMessage, Lock, LockToken, QueueId, QueueOptions, ReceiveMode, ReceivedMessage,
    SubscriptionOptions,
};
use raft_mocking::bus::{Bus, BusError};
use tokio::runtime::Runtime;

use super::clients::CaseResult;

/// What the in-memory face does about a row.
pub(super) enum Case {
    Run(fn(&Bench) -> Result<()>),
    /// It has no such thing.
    None(&'static str),
}

const NO_LINKS: Case = Case::None("there are no links, and no credit");
const NO_KEYS: Case = Case::None("there are no keys");
const NO_CONNECTIONS: Case = Case::None("there are no connections");

/// Rows that are about what only a network has.
const WITHOUT: [(&str, Case); 16] = [
    ("body-types", Case::None("a body is bytes")),
    ("drain", NO_LINKS),
    ("prefetch", NO_LINKS),
    ("auto-lock-renewal", Case::None("a client does this")),
    ("rules-over-amqp", Case::None("there is no AMQP; see the rules of the administration")),
    ("wrong-key", NO_KEYS),
    ("expired-token", NO_KEYS),
    ("rights", NO_KEYS),
    ("entity-key", NO_KEYS),
    ("idle-detach", NO_LINKS),
    ("token-expiry", NO_KEYS),
    ("broker-blip", NO_CONNECTIONS),
    ("websockets", NO_CONNECTIONS),
    ("tls", NO_CONNECTIONS),
    ("admin-namespace", Case::None("the bus is the namespace")),
    ("large-messages", Case::None("there are no frames; for the limit see the batches")),
];

fn cases() -> impl Iterator<Item = &'static (&'static str, Case)> {
    WITHOUT.iter().chain(messages::CASES).chain(entities::CASES)
}

/// Runs cases, and tells of each as soon as it is over.
pub(super) fn run(ids: &[&str], mut tell: impl FnMut(CaseResult)) {
    for id in ids {
        let started = Instant::now();
        let case = cases().find(|(known, _)| known == id).map(|(_, case)| case);
        let result = match case {
            Some(Case::Run(case)) => Bench::new().and_then(|bench| bench.run(*case)).map(|()| None),
            Some(Case::None(why)) => Ok(Some(*why)),
            None => Err(anyhow::anyhow!("nobody wrote this case")),
        };
        tell(CaseResult::new(id, result, started.elapsed()));
    }
}

/// A bus for one case, with a clock of its own.
pub(super) struct Bench {
    runtime: Runtime,
    bus: Bus,
}

const LOCK: Duration = Duration::from_secs(30);

impl Bench {
    fn new() -> Result<Self> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().context("no runtime")?;
        let bus = {
            let _context = runtime.enter();
            Bus::new()
        };
        runtime.spawn(bus.clone().keep_time());
        Ok(Self { runtime, bus })
    }

    fn run(&self, case: fn(&Self) -> Result<()>) -> Result<()> {
        let _context = self.runtime.enter();
        case(self)
    }

    /// Lets time go by, which takes none.
    fn pass(&self, seconds: u64) {
        self.runtime.block_on(tokio::time::sleep(Duration::from_secs(seconds)));
    }

    /// A queue `name` with locks of [`LOCK`].
    fn queue(&self, name: &str) -> Result<QueueId> {
        self.queue_with(name, delivery())
    }

    fn queue_with(&self, name: &str, delivery: SubscriptionOptions) -> Result<QueueId> {
        let options = QueueOptions { delivery, ..QueueOptions::default() };
        self.bus.create_queue(name, options)?;
        Ok(self.bus.with_broker(|broker, _| broker.queue_at(name))?)
    }

    /// A topic `t` with subscriptions.
    fn topic(&self, subscriptions: &[&str]) -> Result<()> {
        self.bus.create_topic("t", Default::default())?;
        subscriptions
            .iter()
            .try_for_each(|name| Ok(self.bus.create_subscription("t", name, delivery())?))
    }

    fn send(&self, entity: &str, bodies: &[&str]) -> Result<()> {
        bodies.iter().try_for_each(|body| self.send_message(entity, message(body)))
    }

    fn send_message(&self, entity: &str, message: BusMessage) -> Result<()> {
        self.bus.publish(entity, message)?;
        Ok(())
    }

    /// Receives and deletes all there is at an address.
    fn take(&self, address: &str) -> Result<Vec<String>> {
        let mut receiver = self.bus.receiver_at(address)?;
        let mut bodies = Vec::new();
        while let Some(received) = receiver.try_receive()? {
            bodies.push(body(&received));
        }
        Ok(bodies)
    }

    /// Locks the next message.
    fn lock(&self, queue: QueueId) -> Result<(ReceivedMessage, LockToken)> {
        let received = self.try_lock(queue)?.context("there is no message")?;
        let Lock { token, .. } = received.lock.context("it has no lock")?;
        Ok((received, token))
    }

    fn try_lock(&self, queue: QueueId) -> Result<Option<ReceivedMessage>> {
        let mode = ReceiveMode::PeekLock;
        Ok(self.bus.with_broker(|broker, now| broker.receive(now, queue, mode))?)
    }

    fn dead_letters(&self, entity: &str) -> Result<Vec<ReceivedMessage>> {
        let found = self.bus.with_broker(|broker, now| {
            let queue = broker.queue_at(&format!("{entity}/$DeadLetterQueue"))?;
            broker.peek(now, queue, 0, 100, None)
        });
        Ok(found?)
    }
}

fn delivery() -> SubscriptionOptions {
    SubscriptionOptions { lock_duration: LOCK, ..SubscriptionOptions::default() }
}

fn message(body: &str) -> BusMessage {
    BusMessage::new(body.to_owned())
}

fn body(received: &ReceivedMessage) -> String {
    String::from_utf8_lossy(&received.message.body).into_owned()
}

fn bodies(received: &[ReceivedMessage]) -> Vec<String> {
    received.iter().map(body).collect()
}

fn equal<T: PartialEq<U> + Debug, U: Debug>(found: T, expected: U) -> Result<()> {
    ensure!(found == expected, "found {found:?}, expected {expected:?}");
    Ok(())
}

/// The call must be refused, and for this reason.
fn refused<T: Debug>(
    result: Result<T, BrokerError>,
    is_it: fn(&BrokerError) -> bool,
) -> Result<()> {
    ensure!(result.as_ref().is_err_and(is_it), "{result:?} is not the refusal it should be");
    Ok(())
}

/// As [`refused`], of a call of the bus.
fn refused_by_bus<T: Debug>(
    result: Result<T, BusError>,
    is_it: fn(&BrokerError) -> bool,
) -> Result<()> {
    let is_refusal = matches!(&result, Err(BusError::Broker(error)) if is_it(error));
    ensure!(is_refusal, "{result:?} is not the refusal it should be");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::ROWS;
    use super::super::clients::Outcome;
    use super::*;

    #[test]
    fn every_row_holds_in_memory_or_says_why_it_is_none() {
        let ids: Vec<_> = ROWS.iter().map(|(id, _)| *id).collect();
        let mut failed = Vec::new();
        run(&ids, |result| {
            if result.outcome == Outcome::Fail {
                failed.push((result.case, result.detail));
            }
        });
        assert_eq!(failed, []);
    }

    #[test]
    fn no_case_is_without_a_row_and_none_is_there_twice() {
        let mut ids: Vec<_> = cases().map(|(id, _)| *id).collect();
        let mut rows: Vec<_> = ROWS.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        rows.sort_unstable();
        assert_eq!(ids, rows);
    }
}
