//! The end of a run: nothing goes wrong any more, and everything has to come to rest.
//!
//! Guarantees: no choice is made here, so the end follows from what came before it.
//! Relies on:  all servers coming back with their disks, and every message arriving: then Raft makes
//!             progress (Raft §5.6), and whatever is under way must end.

use raft_core::Server;

use super::host::SPEED;
use super::{Event, Host, World};
use crate::event::EventClass;
use crate::network::InFlight;
use crate::raft::scenario::Clocks;
use crate::raft::watch::Watch;

/// More time-outs than elections, changes, snapshots and retries take together.
const TIMEOUTS_MAX: usize = 600;
/// More events than can follow from one.
const EVENTS_MAX: usize = 5_000;

impl World {
    /// Starts all servers, delivers everything, and lets time pass until the members of the cluster
    /// agree on everything and nobody waits for anything.
    ///
    /// # Errors
    ///
    /// What does not end.
    pub(super) fn come_to_rest(&mut self, watch: &mut Watch<'_>) -> Result<(), String> {
        // Nobody's place is as large as this: it is about all of them.
        watch.begin_unchosen(EventClass::Partition, "everything works from now on", usize::MAX);
        self.cut = None;
        (self.scenario.timeouts_max, self.scenario.term_max) = (0, 0);
        for host in &mut self.hosts {
            host.stall(false);
            host.is_paused = false;
            host.speed = SPEED;
        }
        watch.observe(|| self.all_lanes());
        for place in self.places().filter(|&place| !self.hosts[place].is_up()).collect::<Vec<_>>() {
            self.happen_by_name(Event::Restart(place), watch);
        }
        // From here on time passes for all alike.
        let now = self.hosts.iter().map(|host| host.clock).max().unwrap_or_default();
        self.hosts.iter_mut().for_each(|host| host.clock = now);
        self.scenario.clocks = Clocks::Common;
        for _ in 0..TIMEOUTS_MAX {
            self.drain(watch)?;
            // One after the other, so that clients cannot end each other's sessions for ever.
            let waiting = self.clients.iter().position(|client| client.has_work());
            if let Some(place) = waiting {
                let is_new = self.clients[place].can_request();
                let event = if is_new { Event::Request(place) } else { Event::Retry(place) };
                self.happen_by_name(event, watch);
                self.drain(watch)?;
            }
            if watch.is_broken() || self.unrest().is_none() {
                return Ok(());
            }
            let next = self.due().next().expect("all servers are up");
            self.happen_by_name(Event::Timeout(next), watch);
        }
        self.unrest().map_or(Ok(()), Err)
    }

    /// Lets everything happen that needs no time, messages in the order in which they were sent.
    fn drain(&mut self, watch: &mut Watch<'_>) -> Result<(), String> {
        for _ in 0..EVENTS_MAX {
            if watch.is_broken() {
                return Ok(());
            }
            let place = |is_enabled: fn(&Host) -> bool| {
                self.places().find(|&place| is_enabled(&self.hosts[place]))
            };
            let next = if let Some(place) = place(Host::is_saving) {
                Event::Saved(place)
            } else if let Some(place) = place(Host::is_applying) {
                Event::Applied(place)
            } else if let Some(place) = place(Host::is_taking) {
                Event::Taken(place)
            } else if let Some(place) = place(Host::has_arrivals) {
                Event::Take(place)
            } else if let Some((place, InFlight { number, message, .. })) =
                self.network.take_first()
            {
                // In order: what overtakes is asked for again, over and over.
                if watch.is_tracing() {
                    let name = format!("deliver {message}");
                    watch.begin_unchosen(EventClass::Deliver, &name, place);
                }
                watch.delivered(number);
                self.arrive(place, message, watch);
                watch.observe(|| self.all_lanes());
                continue;
            } else {
                return Ok(());
            };
            self.happen_by_name(next, watch);
        }
        Err(format!("after {EVENTS_MAX} events messages still follow from messages"))
    }

    fn happen_by_name(&mut self, event: Event, watch: &mut Watch<'_>) {
        if watch.is_tracing() {
            let (name, place) = (self.event_name(event), self.place_among_all(event));
            watch.begin_unchosen(event.class(), &name, place);
        }
        self.happen(event, watch);
        watch.observe(|| self.all_lanes());
    }

    /// What is not at rest yet.
    fn unrest(&self) -> Option<String> {
        if let Some(client) = self.clients.iter().find(|client| client.has_work()) {
            return Some(format!("{} waits for an answer", client.id()));
        }
        let servers = || self.hosts.iter().filter_map(|host| host.server.as_ref());
        let leaders = servers().filter(|server| server.role().is_leader());
        let Some(leader) = leaders.max_by_key(|server| server.current_term()) else {
            return Some("nobody leads".to_owned());
        };
        let configuration = leader.configuration();
        if configuration.is_joint() {
            return Some(format!("{} does not leave {configuration}", leader.id()));
        }
        let last = leader.log().last_index();
        let digest = |server: &Server| {
            let host = self.hosts.iter().find(|host| host.id == server.id());
            host.map(|host| host.machine.digest())
        };
        for member in servers().filter(|server| configuration.contains(server.id())) {
            let (id, commit_index) = (member.id(), member.commit_index());
            if member.last_applied() < last || commit_index != last {
                return Some(format!("{id} has committed {commit_index} of {last}"));
            }
            if digest(member) != digest(leader) {
                return Some(format!("{id} is in another state than {}", leader.id()));
            }
            if let Some((read, _)) = self.reads.iter().find(|(_, asked)| **asked == id) {
                return Some(format!("{id} neither serves nor fails {read}"));
            }
        }
        if let Some(host) = self.hosts.iter().find(|host| !host.remembers_its_disk()) {
            return Some(format!("{} has another log on its disk than in memory", host.id));
        }
        let is_handing_over = leader.status().transfer.is_some();
        is_handing_over.then(|| format!("{} does not end handing over", leader.id()))
    }
}
