//! What one server runs on: a clock, a disk, a state machine, and who carries out its effects.
//!
//! Guarantees: effects happen in order; what may take its time, saves and snapshots, is kept back until
//!             an event of its own completes it.

use std::collections::{BTreeSet, VecDeque};
use std::hash::Hash as _;
use std::mem;
use std::slice;
use std::time::Duration;

use bytes::Bytes;
use raft_core::{
    Apply, Defect, Effect, Index, Input, LogId, Message, NewServerError, Payload, Recovered, Save,
    SaveNumber, Server, ServerId, Snapshot, StepError, Term, Timestamp,
};

use super::World;
use super::files::Files;
use crate::fault::Fault;
use crate::fingerprint::StateHasher;
use crate::oracle::Oracle;
use crate::raft::coverage;
use crate::raft::machine::Machine;
use crate::raft::monitor::Fact;
use crate::raft::scenario::SaveMode;
use crate::raft::watch::Watch;
use crate::strategy::NotReproducible;

/// What one server runs on.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) id: ServerId,
    /// `None` while it is down.
    pub(super) server: Option<Server>,
    pub(super) clock: Timestamp,
    /// How fast its clock runs, in thousandths of real time.
    pub(super) speed: u64,
    /// It does nothing, and does not know.
    pub(super) is_paused: bool,
    /// What survives a crash.
    disk: Recovered,
    /// The files that must say the same, if there are files.
    files: Option<Files>,
    /// The disk does nothing.
    is_stalled: bool,
    /// It came back from a crash, and has written nothing since.
    is_fresh: bool,
    /// Where the configuration stands that its server uses.
    configured_at: Index,
    /// Saves that are not durable yet, oldest first; empty if saves are immediate.
    unsaved: VecDeque<Save>,
    /// What has arrived and was not taken yet; empty unless servers take what arrives together.
    pub(super) arrivals: Vec<Input>,
    pub(super) machine: Machine,
    /// What its state machine was asked and has not done, oldest first; empty unless it takes its time.
    tasks: VecDeque<Task>,
    /// The state that its state machine gives for a snapshot, and through which entry it is; kept back
    /// like a save.
    pub(super) taking: Option<(Index, Bytes)>,
}

/// Worlds with files are never copied, because their disks would be shared.
impl Clone for Host {
    fn clone(&self) -> Self {
        assert!(!self.has_files(), "no world with files is copied");
        let Self { id, clock, speed, is_paused, is_stalled, machine, .. } = *self;
        let Self { is_fresh, configured_at, .. } = *self;
        Self {
            id,
            server: self.server.clone(),
            clock,
            speed,
            is_paused,
            disk: self.disk.clone(),
            files: None,
            is_stalled,
            is_fresh,
            configured_at,
            unsaved: self.unsaved.clone(),
            arrivals: self.arrivals.clone(),
            machine,
            tasks: self.tasks.clone(),
            taking: self.taking.clone(),
        }
    }
}

/// What a state machine is asked.
#[derive(Clone, Debug, Hash)]
enum Task {
    Apply(Apply),
    TakeSnapshot(Index),
    Restore(Snapshot),
    /// It is done, and only the answer is late.
    Answer(Index, Vec<Bytes>),
}

/// The speed of a clock that shows real time.
pub(super) const SPEED: u64 = 1000;

/// The part of a save that a storage writes first.
fn without_log(save: &Save) -> Save {
    let Save { number, hard_state, snapshot, .. } = save;
    Save { number: *number, hard_state: *hard_state, snapshot: snapshot.clone(), ..Save::default() }
}

/// True if a snapshot takes the place of the log. One that a server took itself is saved before the log
/// is compacted.
fn is_install(server: &Server, save: &Save) -> bool {
    save.compacted.is_some_and(|to| to == server.log().start())
}

const CONTIGUOUS: &str = "a server saves entries without a gap";

impl Host {
    /// A server that was never started.
    pub(super) fn new(id: ServerId) -> Self {
        Self {
            id,
            server: None,
            clock: Timestamp::ZERO,
            speed: SPEED,
            is_paused: false,
            disk: Recovered::default(),
            files: None,
            is_stalled: false,
            is_fresh: false,
            configured_at: Index::ZERO,
            unsaved: VecDeque::new(),
            arrivals: Vec::new(),
            machine: Machine::default(),
            tasks: VecDeque::new(),
            taking: None,
        }
    }

    pub(super) fn has_files(&self) -> bool {
        self.files.is_some()
    }

    /// Takes everything that its future depends on into a hash.
    pub(super) fn hash_state(&self, state: &mut StateHasher) {
        // Whoever adds a field decides here whether it is state.
        let Self {
            id: _,
            server,
            clock,
            speed,
            is_paused,
            disk,
            files: _,
            is_stalled,
            // These only say where a crash is aimed: see `hash_aim`.
            is_fresh: _,
            configured_at: _,
            unsaved,
            arrivals,
            machine,
            tasks,
            taking,
        } = self;
        server.is_some().hash(state);
        server.iter().for_each(|server| server.hash_state(state));
        (clock, speed, is_paused, disk, is_stalled).hash(state);
        (unsaved, arrivals, machine, tasks, taking).hash(state);
    }

    pub(super) fn is_up(&self) -> bool {
        self.server.is_some()
    }

    /// True if it is up, and not paused.
    pub(super) fn runs(&self) -> bool {
        self.is_up() && !self.is_paused
    }

    pub(super) fn is_saving(&self) -> bool {
        !self.unsaved.is_empty()
    }

    /// True if a save can become durable next.
    pub(super) fn may_save(&self) -> bool {
        self.is_saving() && !self.is_stalled && !self.is_paused
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.is_stalled
    }

    pub(super) fn stall(&mut self, is_stalled: bool) {
        self.is_stalled = is_stalled;
        if let Some(files) = self.files.as_ref().filter(|_| is_stalled) {
            files.stalled();
        }
    }

    /// Takes in what only matters where crashes are aimed.
    pub(super) fn hash_aim(&self, state: &mut StateHasher) {
        (self.is_fresh, self.configured_at).hash(state);
    }

    /// True if a crash would come at a bad moment: it installs a snapshot, nothing is written since the last
    /// crash, or as a leader it has begun a change and does not know it to be committed.
    pub(super) fn is_delicate(&self) -> bool {
        let Some(server) = &self.server else { return false };
        let is_changing =
            || self.configured_at > server.commit_index() && server.role().is_leader();
        self.is_fresh || is_changing() || self.unsaved.iter().any(|save| is_install(server, save))
    }

    /// True if its files ended with a torn write when it started.
    pub(super) fn was_torn(&self) -> bool {
        self.files.as_ref().is_some_and(Files::was_torn)
    }

    /// What its disk holds.
    pub(super) fn disk(&self) -> &Recovered {
        &self.disk
    }

    /// How many saves are not durable yet.
    pub(super) fn saves_under_way(&self) -> usize {
        self.unsaved.len()
    }

    /// How many things its state machine was asked and has not done.
    pub(super) fn tasks_under_way(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn is_taking(&self) -> bool {
        self.taking.is_some() && !self.is_paused
    }

    pub(super) fn is_applying(&self) -> bool {
        !self.tasks.is_empty() && !self.is_paused
    }

    pub(super) fn has_arrivals(&self) -> bool {
        !self.arrivals.is_empty() && !self.is_paused
    }

    pub(super) fn knows_leader(&self) -> bool {
        let hint = self.server.as_ref().and_then(Server::leader_hint);
        hint.is_some() && !self.is_paused
    }

    /// The server, if it takes itself for the leader.
    pub(super) fn leader(&self) -> Option<&Server> {
        let server = self.server.as_ref().filter(|server| server.role().is_leader());
        server.filter(|_| !self.is_paused)
    }

    pub(super) fn leads(&self) -> bool {
        self.leader().is_some()
    }

    /// When its timer fires by its own clock, if it runs.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let server = self.server.as_ref().filter(|_| !self.is_paused);
        server.and_then(Server::next_timeout)
    }

    /// In how much real time its timer fires.
    pub(super) fn due_in(&self) -> Option<Duration> {
        let left = self.deadline()?.since(self.clock).as_nanos();
        let real = (left * u128::from(SPEED)).div_ceil(self.speed.into());
        Some(Duration::from_nanos(u64::try_from(real).unwrap_or(u64::MAX)))
    }

    /// Real time passes.
    pub(super) fn pass(&mut self, time: Duration) {
        let own = time.as_nanos() * u128::from(self.speed) / u128::from(SPEED);
        self.clock = self.clock + Duration::from_nanos(u64::try_from(own).unwrap_or(u64::MAX));
    }

    /// Makes its oldest save durable.
    pub(super) fn write_oldest(&mut self) -> SaveNumber {
        let save = self.unsaved.pop_front().expect("the event was enabled");
        let number = save.number;
        self.write(save);
        number
    }

    fn write(&mut self, save: Save) {
        self.is_fresh = false;
        if let Some(files) = &mut self.files {
            files.save(slice::from_ref(&save)).expect("a disk without a fault takes everything");
        }
        let is_kept = |to: LogId| self.disk.entry(to.index).is_some_and(|it| it.term == to.term);
        let is_install = save.compacted.is_some_and(|to| !is_kept(to));
        self.disk.replay(save).expect(CONTIGUOUS);
        if let Some(files) = self.files.as_ref().filter(|_| is_install) {
            files.check(&self.disk);
        }
    }

    /// What its disk holds, which it starts from.
    fn read_disk(&mut self) -> Recovered {
        if let Some(files) = &mut self.files {
            files.read_into(&mut self.disk);
        }
        self.disk.clone()
    }

    /// True if its disk holds what the server remembers, now that all is saved.
    pub(super) fn remembers_its_disk(&self) -> bool {
        self.server.as_ref().is_none_or(|server| {
            let disk = &self.disk;
            disk.hard_state == server.hard_state()
                && disk.start == server.log().start()
                && disk.snapshot.as_ref() == server.snapshot()
                && disk.entries.iter().eq(server.log().iter())
        })
    }

    /// True if its disk shows that it voted for `candidate` in `term`, or went on to a later one.
    fn has_voted(&self, candidate: ServerId, term: Term) -> bool {
        let saved = self.disk.hard_state;
        saved.current_term > term
            || saved.current_term == term && saved.voted_for == Some(candidate)
    }

    /// True if its disk holds this entry, or a snapshot that stands for it.
    fn has_saved(&self, index: Index, term: Term) -> bool {
        let snapshot = self.disk.snapshot.as_ref().map_or(Index::ZERO, |it| it.last().index);
        index <= snapshot || self.disk.entry(index).is_some_and(|entry| entry.term == term)
    }
}

impl World {
    /// Starts a server from its disk.
    pub(super) fn start(
        &mut self,
        place: usize,
        watch: &mut Watch<'_>,
    ) -> Result<(), NewServerError> {
        let config = self.config(self.hosts[place].id);
        let host = &mut self.hosts[place];
        if self.scenario.saves == SaveMode::Files && host.files.is_none() {
            host.files = Some(Files::new(&config, self.variant.first_start));
        }
        host.server = Some(Server::new(config, host.read_disk())?);
        host.machine = Machine::default();
        if let Some(server) = &host.server {
            watch.refine(|spec| spec.start(place, host.clock, server));
        }
        self.tell(place, Input::NotifyJoinedService, watch);
        let host = &mut self.hosts[place];
        if let Some(server) = &host.server {
            let status = server.status();
            let (index, configuration) = (status.configuration_index, &status.configuration);
            let log = server.log();
            watch.fact(&Fact::Configured { server: host.id, index, configuration, log });
            host.configured_at = index;
        }
        Ok(())
    }

    /// Stops a server. The oracle decides how many of its unfinished saves reached the disk: a disk
    /// may have written what it has not confirmed.
    pub(super) fn crash(
        &mut self,
        place: usize,
        oracle: &mut Oracle<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<(), NotReproducible> {
        let unsaved = self.hosts[place].unsaved.len();
        let kept = if unsaved > 0 && self.has_budget(Fault::LoseSaves) {
            oracle.choose(unsaved + 1, "saves_kept")?
        } else {
            unsaved
        };
        let host = &mut self.hosts[place];
        let mut saves = mem::take(&mut host.unsaved);
        saves.drain(..kept).for_each(|save| host.write(save));
        // A snapshot is durable before the log that it stands for is touched.
        if let Some(save) = saves.front().filter(|it| it.snapshot.is_some() && !host.has_files())
            && oracle.choose(2, "half_saved")? == 1
        {
            host.write(without_log(save));
        }
        if let Some(files) = &mut host.files {
            files.crash(saves.make_contiguous(), oracle)?;
        }
        self.cover_end(place, watch);
        self.end(place);
        self.faults.happened(Fault::Crash);
        if kept < unsaved {
            self.faults.happened(Fault::LoseSaves);
            let (id, lost) = (self.hosts[place].id, unsaved - kept);
            watch.line(format_args!("       {id} lost {lost} of {unsaved} unfinished saves"));
        }
        watch.fact(&Fact::Crashed { server: self.hosts[place].id });
        Ok(())
    }

    /// A server stops, and what it had in memory is gone.
    fn end(&mut self, place: usize) {
        let host = &mut self.hosts[place];
        host.server = None;
        host.is_fresh = true;
        host.taking = None;
        host.is_stalled = false;
        host.is_paused = false;
        host.tasks.clear();
        host.arrivals.clear();
        let id = host.id;
        self.reads.retain(|_, asked| *asked != id);
    }

    /// A disk fails while it writes all that waits for it; then its server stops, and a loss of power may
    /// be the reason.
    pub(super) fn fail_disk(
        &mut self,
        place: usize,
        oracle: &mut Oracle<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<(), NotReproducible> {
        let host = &mut self.hosts[place];
        let mut saves = mem::take(&mut host.unsaved);
        let saves = saves.make_contiguous();
        let files = host.files.as_mut().expect("only disks with files fail");
        if files.fail(saves, oracle)? {
            let number = saves.last().expect("the event was enabled").number;
            for save in saves {
                host.disk.replay(save.clone()).expect(CONTIGUOUS);
            }
            self.tell(place, Input::Saved(number), watch);
            return Ok(());
        }
        self.faults.happened(Fault::DiskError);
        self.cover_end(place, watch);
        self.end(place);
        watch.fact(&Fact::Crashed { server: self.hosts[place].id });
        Ok(())
    }

    /// Gives a server the inputs that stand together, in one step, and carries out what it asks for as
    /// far as that happens at once.
    ///
    /// # Errors
    ///
    /// If the server refuses one of the inputs. Whatever follows from it is told to the watchers.
    pub(super) fn step(&mut self, place: usize, watch: &mut Watch<'_>) -> Result<(), StepError> {
        let mut result = None;
        let mut inputs = mem::take(&mut self.inputs);
        let mut effects = mem::take(&mut self.effects);
        let mut together = mem::take(&mut self.together);
        loop {
            let host = &mut self.hosts[place];
            let (id, clock) = (host.id, host.clock);
            let server = host.server.as_mut().expect("only running servers take inputs");
            let before = watch.is_tracing().then(|| (server.current_term(), server.role().name()));
            let covered = watch.coverage().is_some().then(|| coverage::state_of(server));
            let refinement = &mut watch.observers.refinement;
            for input in &together {
                refinement.iter_mut().for_each(|refinement| refinement.hear(input));
                if covered.is_some() {
                    self.heard.push(coverage::event_of(input));
                }
            }
            let taken = |server: &Server, effects: &[Effect], outcome| {
                if let Some(refinement) = refinement {
                    refinement.took(place, clock, server, effects, outcome);
                }
            };
            let outcome = server.step_each(clock, together.drain(..), &mut effects, taken);
            if let (Some(before), Some(coverage)) = (covered, watch.coverage()) {
                let (states, heard) = ((before, coverage::state_of(server)), self.heard.drain(..));
                let (is_refused, effects) = (outcome.is_err(), effects.as_slice());
                coverage::cover_step(coverage, states, heard, is_refused, effects);
            }
            let (term, role) = (server.current_term(), server.role().name());
            if let Err(error) = outcome {
                watch.line(format_args!("       {id} refused: {error}"));
                if error.is_fatal() {
                    watch.fact(&Fact::Refused { server: id, error });
                }
            }
            result.get_or_insert(outcome);
            if let Some((term_before, role_before)) = before.filter(|before| before.1 != role) {
                watch.line(format_args!(
                    "       {id}@{term_before} {role_before} ⇨ {id}@{term} {role}"
                ));
            }
            watch.refine(|spec| spec.step(place, clock, server, effects.as_slice()));
            // Of several in one step, the last one counts: the log is as it is after the step.
            let is_configuration = |it: &Effect| matches!(it, Effect::NotifyConfiguration { .. });
            let last = effects.as_slice().iter().rposition(is_configuration);
            for (number, effect) in effects.drain().enumerate() {
                if watch.is_tracing() {
                    watch.line(format_args!("       {id}@{term} {effect}"));
                }
                if !is_configuration(&effect) || Some(number) == last {
                    self.carry_out(place, effect, &mut inputs, watch);
                }
            }
            match inputs.pop_front() {
                Some(input) => together.push(input),
                None => break,
            }
        }
        (self.inputs, self.effects, self.together) = (inputs, effects, together);
        result.expect("there was an input")
    }

    fn carry_out(
        &mut self,
        place: usize,
        effect: Effect,
        inputs: &mut VecDeque<Input>,
        watch: &mut Watch<'_>,
    ) {
        let is_aimed = self.variant.aims_crashes && self.has_budget(Fault::Crash);
        let Self { scenario, hosts, .. } = self;
        let host = &mut hosts[place];
        let id = host.id;
        let server = host.server.as_ref().expect("it has just taken an input");
        let (term, log) = (server.current_term(), server.log());
        match effect {
            Effect::Save(save) => match scenario.saves {
                SaveMode::Delayed | SaveMode::Files | SaveMode::Varied => {
                    // A planted bug: it is told that this is durable, which comes about later or never.
                    if self.defect == Some(Defect::AcknowledgedBeforeDurable) {
                        inputs.push_back(Input::Saved(save.number));
                    }
                    // Where crashes are aimed, there is time for one before a snapshot is installed.
                    let is_held = is_aimed && is_install(server, &save);
                    host.unsaved.push_back(save);
                    if is_held {
                        host.stall(true);
                    }
                }
                SaveMode::Immediate => {
                    if !self.variant.is_synchronous {
                        inputs.push_back(Input::Saved(save.number));
                    }
                    host.write(save);
                }
            },
            Effect::Send(envelope) => {
                if let Message::VoteRequest(request) = &envelope.message
                    && request.is_transfer
                {
                    watch.fact(&Fact::AskedToLead { server: id, term: request.term });
                }
                self.post(envelope, watch);
            }
            Effect::Apply(apply) => self.ask(place, Task::Apply(apply), inputs, watch),
            Effect::TakeSnapshot { through } => {
                self.ask(place, Task::TakeSnapshot(through), inputs, watch);
            }
            Effect::RestoreSnapshot(snapshot) => {
                self.ask(place, Task::Restore(snapshot), inputs, watch);
            }
            Effect::NotifyElectedLeader { term } => {
                watch.fact(&Fact::ElectedLeader { server: id, term, log });
                self.decided(place, "was elected", |host| host.has_voted(id, term), watch);
            }
            Effect::NotifyCommit { index } => {
                watch.fact(&Fact::Committed { server: id, term, index, log });
                let is_leader = server.role().is_leader();
                if let Some(term) = log.term_at(index).filter(|_| is_leader) {
                    self.decided(place, "committed", |host| host.has_saved(index, term), watch);
                }
            }
            Effect::NotifyConfiguration { index, configuration } => {
                let configuration = &*configuration;
                watch.fact(&Fact::Configured { server: id, index, configuration, log });
                host.configured_at = index;
            }
            Effect::ReadReady { id: read, index } => {
                self.reads.remove(&read);
                watch.fact(&Fact::ReadServed { server: id, id: read, index });
            }
            Effect::ReadFailed { id: read, .. } => {
                self.reads.remove(&read);
                watch.fact(&Fact::ReadFailed { server: id, id: read });
            }
            Effect::NotifyTransferAborted { .. } => {}
        }
    }

    /// Asks a state machine for something, which it does now or later.
    fn ask(
        &mut self,
        place: usize,
        task: Task,
        inputs: &mut VecDeque<Input>,
        watch: &mut Watch<'_>,
    ) {
        if self.variant.applies_slowly && !self.variant.is_synchronous {
            return self.hosts[place].tasks.push_back(task);
        }
        match self.perform_task(place, task, watch) {
            // Whatever a synchronous driver is asked, it has done before the next input.
            Some(Input::Applied { through, responses }) if self.variant.applies_slowly => {
                self.hosts[place].tasks.push_back(Task::Answer(through, responses));
            }
            answer => inputs.extend(answer),
        }
    }

    /// A state machine does the next thing it was asked.
    pub(super) fn work(&mut self, place: usize, watch: &mut Watch<'_>) {
        let task = self.hosts[place].tasks.pop_front().expect("the event was enabled");
        if let Some(input) = self.perform_task(place, task, watch) {
            self.tell(place, input, watch);
        }
    }

    fn perform_task(&mut self, place: usize, task: Task, watch: &mut Watch<'_>) -> Option<Input> {
        let host = &mut self.hosts[place];
        match task {
            Task::Apply(apply) => {
                let mut responses = Vec::new();
                for entry in apply.commands() {
                    let digest = host.machine.apply(entry);
                    watch.fact(&Fact::Applied { server: host.id, entry, digest });
                    if let Payload::Command(_) = &entry.payload {
                        responses.push(digest.to_le_bytes().to_vec().into());
                    }
                }
                let is_awaited = !self.variant.is_synchronous || !responses.is_empty();
                is_awaited.then_some(Input::Applied { through: apply.through, responses })
            }
            Task::TakeSnapshot(through) => {
                let data = host.machine.snapshot();
                match self.scenario.saves {
                    SaveMode::Delayed | SaveMode::Files | SaveMode::Varied => {
                        host.taking = Some((through, data));
                        None
                    }
                    SaveMode::Immediate => Some(Input::SnapshotTaken { through, data }),
                }
            }
            Task::Restore(snapshot) => {
                host.machine = Machine::restored(snapshot.data());
                let (last, digest) = (snapshot.last(), host.machine.digest());
                watch.fact(&Fact::Restored { server: host.id, last, digest });
                let restored = Input::Applied { through: last.index, responses: Vec::new() };
                (!self.variant.is_synchronous).then_some(restored)
            }
            Task::Answer(through, responses) => Some(Input::Applied { through, responses }),
        }
    }

    /// Tells whose disks support what a server says a majority has decided.
    fn decided(
        &self,
        place: usize,
        what: &'static str,
        supports: impl Fn(&Host) -> bool,
        watch: &mut Watch<'_>,
    ) {
        let supporters: BTreeSet<_> =
            self.hosts.iter().filter(|host| supports(host)).map(|host| host.id).collect();
        let host = &self.hosts[place];
        let server = host.server.as_ref().expect("it has just decided");
        let configuration = server.configuration();
        let supporters = &supporters;
        watch.fact(&Fact::Decided { server: host.id, what, configuration, supporters });
    }
}
