//! How much may happen next.
//!
//! Elsewhere: which of it a pick stands for is in `world.rs`, in the same order.

use super::World;
use super::client::ClientHost;
use super::view::Trait;
use crate::event::EventClass;
use crate::fault::Fault;
use crate::links::Cut;
use crate::operation::Operation;

impl World {
    pub(super) fn count(&self, class: EventClass) -> usize {
        self.counts_by_class()[class as usize]
    }

    /// How many events of each class may happen next.
    pub(super) fn counts_by_class(&self) -> [usize; EventClass::COUNT] {
        let Self { traits, network, .. } = self;
        let hosts = |which| traits.count(which);
        let is_crowded = self.is_crowded();
        let in_flight = network.in_flight();
        let mut counts = [0; EventClass::COUNT];
        let mut set = |class: EventClass, count| counts[class as usize] = count;
        let runs = hosts(Trait::Runs);
        let deliverable = if self.is_choosy() {
            network.count_where(|slot| self.is_deliverable(slot))
        } else if runs == self.hosts.len() {
            in_flight
        } else {
            let is_down = |&place: &usize| !self.hosts[place].runs();
            let waiting = self.places().filter(is_down);
            in_flight - waiting.map(|place| network.in_flight_to(place)).sum::<usize>()
        };
        set(EventClass::Deliver, deliverable + hosts(Trait::HasArrivals));
        set(
            EventClass::Save,
            hosts(Trait::MaySave) + hosts(Trait::Taking) + hosts(Trait::Applying),
        );
        set(EventClass::Restart, self.hosts.len() - runs);
        let within = |fault, count| if self.has_budget(fault) { count } else { 0 };
        set(EventClass::Drop, within(Fault::Drop, in_flight));
        let targets = if self.variant.aims_crashes { Trait::Delicate } else { Trait::Up };
        let crashes = within(Fault::Crash, hosts(targets));
        set(EventClass::Crash, crashes + within(Fault::Pause, runs));
        set(
            EventClass::Partition,
            match self.cut {
                Some(_) => 1,
                None => within(Fault::Partition, Cut::count(self.hosts.len())),
            },
        );
        let failing = within(Fault::DiskError, hosts(Trait::MaySave));
        let stalling = within(Fault::DiskStall, hosts(Trait::MaySave));
        set(EventClass::Disk, failing + stalling + hosts(Trait::Stalled));
        if is_crowded {
            return counts;
        }
        // What begins something new.
        if self.timeouts_left() > 0 {
            set(EventClass::Timeout, self.due_count());
        }
        let asks = |client: &ClientHost| {
            usize::from(client.can_request()) + usize::from(client.can_retry())
        };
        set(EventClass::Client, self.clients.iter().map(asks).sum());
        set(EventClass::Duplicate, within(Fault::Duplicate, in_flight));
        if self.scenario.operations.is_empty() {
            return counts;
        }
        let may = |operation| self.operations.is_below(&self.scenario.operations, operation);
        if may(Operation::TakeSnapshot) {
            set(EventClass::Snapshot, runs);
        }
        if may(Operation::ChangeMembership) {
            let changes = self.places().map(|place| self.change_count(place));
            set(EventClass::Change, changes.sum());
        }
        if may(Operation::TransferLeadership) {
            let transfers = self.places().map(|place| self.successor_count(place));
            set(EventClass::Transfer, transfers.sum());
        }
        if may(Operation::Propose) {
            set(EventClass::Propose, hosts(Trait::Leads));
        }
        if may(Operation::Read) {
            set(EventClass::Read, hosts(Trait::KnowsLeader));
        }
        counts
    }
}
