//! The end of a run: nothing more goes wrong, and everything has to come to rest, twice: first for those
//! that are left, if they are enough, and then for all.
//!
//! Guarantees: no choice is made here, so the end follows from what came before it.
//! Relies on:  a majority that runs and whose members hear each other making progress (Raft §5.6), whoever
//!             else there is; then all servers coming back with their disks, and every message arriving.

use std::sync::Arc;

use raft_core::{Server, ServerId};

use super::host::SPEED;
use super::{Event, Host, World};
use crate::event::EventClass;
use crate::network::InFlight;
use crate::operation::Operation;
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
        let scenario = Arc::make_mut(&mut self.scenario);
        (scenario.timeouts_max, scenario.term_max) = (0, 0);
        for host in &mut self.hosts {
            host.stall(false);
            host.is_paused = false;
            host.speed = SPEED;
        }
        // From here on time passes for all alike.
        self.level_clocks();
        Arc::make_mut(&mut self.scenario).clocks = Clocks::Common;
        Arc::make_mut(&mut self.variant).oversleeps = false;
        if self.goes_on_without_others() {
            self.announce("who is cut off or down stays so, and the others go on", watch);
            self.wait_until(Self::unrest_of_majority, watch)?;
        }
        self.cut = None;
        self.announce("everything works from now on", watch);
        for place in self.places().filter(|&place| !self.hosts[place].is_up()).collect::<Vec<_>>() {
            self.happen_by_name(Event::Restart(place), watch);
        }
        self.level_clocks();
        self.wait_until(Self::unrest, watch)
    }

    /// Has all clocks show what the one that is furthest shows.
    fn level_clocks(&mut self) {
        let now = self.hosts.iter().map(|host| host.clock).max().unwrap_or_default();
        self.hosts.iter_mut().for_each(|host| host.clock = now);
    }

    fn announce(&self, what: &str, watch: &mut Watch<'_>) {
        // Nobody's place is as large as this: it is about all of them.
        watch.begin_unchosen(EventClass::Partition, what, usize::MAX);
        watch.observe(|| self.all_lanes());
    }

    /// Lets everything happen, and time pass, until nothing is `unrest` any more.
    fn wait_until(
        &mut self,
        unrest: impl Fn(&Self) -> Option<String>,
        watch: &mut Watch<'_>,
    ) -> Result<(), String> {
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
            if watch.is_broken() || unrest(self).is_none() {
                return Ok(());
            }
            let next = self.due().next().expect("some servers are up");
            self.happen_by_name(Event::Timeout(next), watch);
        }
        unrest(self).map_or(Ok(()), Err)
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
                if !self.is_heard(place, &message) {
                    if watch.is_tracing() {
                        let name = format!("drop {message}");
                        watch.begin_unchosen(EventClass::Drop, &name, place);
                    }
                    watch.lost(number);
                    continue;
                }
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

    /// True if some servers are missing, and the others have to go on all the same.
    fn goes_on_without_others(&self) -> bool {
        let is_anyone_missing = self.cut.is_some() || self.hosts.iter().any(|host| !host.is_up());
        // Without check-quorum a leader that is cut off keeps its clients waiting, and without pre-vote
        // terms rise for ever where one hears and is not heard (dissertation §6.2, §9.6).
        let config = self.config(ServerId(1));
        let is_bearable = self.cut.is_none() || config.pre_vote && config.check_quorum;
        // After a change of membership, who has to agree depends on what is still under way.
        let is_settled = self.operations.count(Operation::ChangeMembership) == 0;
        let voters = self.scenario.servers;
        let is_majority =
            |group: &Vec<usize>| 2 * group.iter().filter(|&&place| place < voters).count() > voters;
        is_anyone_missing && is_bearable && is_settled && self.groups().iter().any(is_majority)
    }

    /// Servers that run and hear each other.
    fn groups(&self) -> Vec<Vec<usize>> {
        let mut groups = Vec::new();
        for first in self.places().filter(|&place| self.hosts[place].is_up()) {
            // Everyone of a side hears everyone of it; a bridge belongs to both.
            let mut group = vec![first];
            for place in self.places().filter(|&place| place != first && self.hosts[place].is_up())
            {
                if group.iter().all(|&member| self.hear_each_other(member, place)) {
                    group.push(place);
                }
            }
            groups.push(group);
        }
        groups
    }

    /// True unless a cut keeps the servers at these places from hearing each other.
    fn hear_each_other(&self, one: usize, two: usize) -> bool {
        self.cut.is_none_or(|cut| cut.hears(one, two) && cut.hears(two, one))
    }

    /// What the servers that are left have not done yet.
    fn unrest_of_majority(&self) -> Option<String> {
        let leader = match self.leader() {
            Ok(leader) => leader,
            Err(unrest) => return Some(unrest),
        };
        let at = self.hosts.iter().position(|host| host.id == leader.id());
        let is_left = |place: usize| at.is_some_and(|at| self.hear_each_other(at, place));
        let last = leader.log().last_index();
        let voters = leader.configuration().voters();
        let done = self.places().filter(|&place| is_left(place)).filter(|&place| {
            let server = self.hosts[place].server.as_ref();
            server.is_some_and(|it| it.commit_index() >= last && voters.contains(&it.id()))
        });
        let done = done.count();
        let has_majority = 2 * done > voters.len();
        (!has_majority).then(|| format!("{done} of {} have committed {last}", voters.len()))
    }

    /// The leader, if nobody waits for anything.
    fn leader(&self) -> Result<&Server, String> {
        if let Some(client) = self.clients.iter().find(|client| client.has_work()) {
            return Err(format!("{} waits for an answer", client.id()));
        }
        let servers = self.hosts.iter().filter_map(|host| host.server.as_ref());
        let leaders = servers.filter(|server| server.role().is_leader());
        let newest = leaders.max_by_key(|server| server.current_term());
        newest.ok_or_else(|| "nobody leads".to_owned())
    }

    /// What is not at rest yet.
    fn unrest(&self) -> Option<String> {
        let leader = match self.leader() {
            Ok(leader) => leader,
            Err(unrest) => return Some(unrest),
        };
        let servers = || self.hosts.iter().filter_map(|host| host.server.as_ref());
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
