//! What time does to a broker: locks end, messages expire, arrive and become due, entities idle away.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Broker, QueueId};

/// Expired messages are looked for this often at most; receiving never hands one out.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Time.
impl Broker {
    /// Drops or dead-letters every expired message, ends every expired lock, lets in what was late or
    /// scheduled, deletes what is idle; returns the queues that have messages again.
    pub fn expire(&mut self, now: Duration) -> Vec<QueueId> {
        let woken_before = std::mem::take(&mut self.woken);
        self.let_in_scheduled(now);
        let queues: Vec<_> = self.queues.keys().copied().collect();
        for id in queues {
            let Some(entry) = self.queues.get_mut(&id) else { continue };
            let has_arrived = entry.queue.let_in(now);
            if entry.queue.expire_locks(now) || has_arrived {
                self.wake(id);
            }
            if let Some(entry) = self.queues.get_mut(&id) {
                entry.queue.sweep(now);
            }
            self.after(now, id);
        }
        self.delete_idle(now);
        if self.faults.no_credit_until(now).is_none() {
            self.woken.append(&mut self.starving);
        }
        self.next_due = self.find_next_due(now);
        std::mem::replace(&mut self.woken, woken_before).into_iter().collect()
    }

    /// The earliest time at which [`Broker::expire`] may have work; it may turn out to have none.
    pub fn next_due(&self) -> Option<Duration> {
        self.next_due
    }

    /// When the next late message arrives, if any is late: [`Broker::expire`] has work then.
    pub fn next_arrival(&self) -> Option<Duration> {
        self.queues.values().filter_map(|entry| entry.queue.next_arrival()).min()
    }

    /// When the next lock ends, if any message is locked: [`Broker::expire`] has work then.
    pub fn next_lock_expiry(&self) -> Option<Duration> {
        self.queues.values().filter_map(|entry| entry.queue.next_lock_expiry()).min()
    }

    /// The queues that may have messages since the last call: whoever waits for them should look.
    pub fn take_woken(&mut self) -> BTreeSet<QueueId> {
        std::mem::take(&mut self.woken)
    }

    /// Notes that somebody waits for messages of a queue, so that it is not idle.
    pub fn touch(&mut self, now: Duration, queue: QueueId) {
        if let Some(entry) = self.queues.get_mut(&queue) {
            entry.accessed_at = now;
        }
    }

    pub(super) fn wake(&mut self, queue: QueueId) {
        self.woken.insert(queue);
    }

    pub(super) fn note_due(&mut self, at: Duration) {
        if self.next_due.is_none_or(|due| at < due) {
            self.next_due = Some(at);
        }
    }

    fn find_next_due(&mut self, now: Duration) -> Option<Duration> {
        let is_starving = !self.starving.is_empty();
        let credit = is_starving.then(|| self.faults.no_credit_until(now)).flatten();
        let queues = self.queues.values().flat_map(|entry| {
            let expiry =
                entry.queue.next_expiry().map(|at| at.max(now).saturating_add(SWEEP_EVERY));
            [entry.queue.next_arrival(), entry.queue.next_lock_expiry(), expiry]
        });
        let scheduled = self.topics.values().map(|topic| topic.intake.next_due());
        let scheduled = scheduled.chain(self.queue_entities.values().map(|q| q.intake.next_due()));
        let idle = self.idle_ends().map(|(_, at)| Some(at));
        queues.chain(scheduled).chain(idle).chain([credit]).flatten().min()
    }

    /// When each entity that is deleted when idle would be.
    fn idle_ends(&self) -> impl Iterator<Item = (Idle, Duration)> {
        let topics = self.topics.values().filter_map(|topic| {
            let idle = topic.options.auto_delete_on_idle?;
            let used = topic.subscriptions.values().filter_map(|s| self.queues.get(&s.queue));
            let used = used.map(|entry| entry.accessed_at).max().unwrap_or_default();
            let at = topic.accessed_at.max(used).saturating_add(idle);
            Some((Idle::Topic(topic.name.clone()), at))
        });
        let queues = self.queue_entities.values().filter_map(|queue| {
            let entry = self.queues.get(&queue.queue)?;
            let at = entry.accessed_at.saturating_add(entry.options.auto_delete_on_idle?);
            Some((Idle::Queue(queue.name.clone()), at))
        });
        let subscriptions = self.topics.values().flat_map(|topic| {
            topic.subscriptions.values().filter_map(|subscription| {
                let entry = self.queues.get(&subscription.queue)?;
                let at = entry.accessed_at.saturating_add(entry.options.auto_delete_on_idle?);
                Some((Idle::Subscription(topic.name.clone(), subscription.name.clone()), at))
            })
        });
        topics.chain(queues).chain(subscriptions)
    }

    fn delete_idle(&mut self, now: Duration) {
        let idle: Vec<_> = self.idle_ends().filter(|(_, at)| *at <= now).collect();
        for (entity, _) in idle {
            // What went with its topic is gone already.
            _ = match entity {
                Idle::Topic(name) => self.remove_topic(&name).map(drop),
                Idle::Queue(name) => self.remove_queue(&name).map(drop),
                Idle::Subscription(topic, name) => {
                    self.remove_subscription(&topic, &name).map(drop)
                }
            };
        }
    }
}

/// An entity that may be deleted for being idle.
enum Idle {
    Topic(String),
    Queue(String),
    Subscription(String, String),
}
