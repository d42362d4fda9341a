//! The search: from every start, over everything that can happen, to every state once.
//!
//! Guarantees: the same model gives the same search; a bug is told with the run that leads to it.

use std::collections::{HashMap, hash_map};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::ControlFlow;
use std::time::Instant;

use super::frontier::{Frontier, Waiting};
use super::script::Script;
use super::{Exhausted, Exhaustive, ExhaustiveError};
use crate::coverage_map::{CoverageMap, Novelty};
use crate::engine::{self, Record};
use crate::event::Pick;
use crate::model::{Model, ModelError, World};
use crate::oracle::{Choice, Oracle};
use crate::panic;
use crate::recording;
use crate::report::Bug;
use crate::sleep::{Publicity, SleepSet, Tried};
use crate::strategy::{MaxSteps, TapeReplay};
use crate::watch::Watch;

/// After so many states somebody is asked whether to go on.
const STATES_PER_LOOK: u64 = 1 << 10;

/// Of the worlds on the way to the one that was made again last, about so many are kept.
const WORLDS_ON_WAY: usize = 256;

/// How one state was first reached.
#[derive(Clone, Debug)]
struct Origin {
    /// The state before, by number; for a start, nothing.
    from: u32,
    depth: u32,
    /// The event between the two, and of how many that could happen it was one; none for a start.
    event: Option<(Pick, u32)>,
    /// What was chosen meanwhile; mostly nothing.
    chosen: Box<[Choice]>,
    /// What need not happen there.
    asleep: SleepSet,
    /// What may happen there has happened.
    is_left: bool,
}

/// States are hashes already.
#[derive(Debug, Default)]
struct Unchanged(u64);

impl Hasher for Unchanged {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.0 = self.0 << 8 | u64::from(byte));
    }

    fn write_u128(&mut self, state: u128) {
        self.0 = state as u64;
    }
}

/// Why a search ends before there is nothing left.
#[derive(Debug)]
enum End {
    /// A property is broken, in the state that was reached last.
    Broken,
    /// As many states as there may be were reached, or somebody said so.
    GivenUp,
    /// It cannot go on.
    Failed(ExhaustiveError),
}

impl<E: Into<ExhaustiveError>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

pub(super) struct Search<'a, M: Model> {
    setting: &'a Exhaustive<M>,
    /// Each state, and its number.
    visited: HashMap<u128, u32, BuildHasherDefault<Unchanged>>,
    origins: Vec<Origin>,
    frontier: Frontier<M::World>,
    /// Worlds on the way to the one that was made again last, with their numbers and depths.
    way: Vec<(u32, usize, M::World)>,
    /// How many states were gone on from.
    left: u64,
    exhausted: Exhausted,
}

impl<'a, M: Model> Search<'a, M> {
    pub(super) fn new(setting: &'a Exhaustive<M>) -> Self {
        Self {
            setting,
            visited: HashMap::default(),
            origins: Vec::new(),
            frontier: Frontier::new(setting.is_depth_first, setting.worlds_max),
            way: Vec::new(),
            left: 0,
            exhausted: Exhausted::default(),
        }
    }

    pub(super) fn explore(
        mut self,
        mut progress: impl FnMut(&Exhausted) -> ControlFlow<()>,
    ) -> Result<Exhausted, ExhaustiveError> {
        let started = Instant::now();
        let mut script = Script::default();
        let end = loop {
            let reached = self.start(&mut script);
            let mut progress = |exhausted: &mut Exhausted| {
                exhausted.elapsed = started.elapsed();
                progress(exhausted)
            };
            if let Err(end) = reached.and_then(|()| self.explore_start(&mut progress)) {
                break Some(end);
            }
            if !self.setting.has_all_starts || !script.advance() {
                break None;
            }
        };
        match end {
            None => self.exhausted.is_complete = true,
            Some(End::GivenUp) => {}
            Some(End::Broken) => self.exhausted.bug = Some(self.bug()?),
            Some(End::Failed(error)) => return Err(error),
        }
        self.exhausted.elapsed = started.elapsed();
        Ok(self.exhausted)
    }

    /// Begins as the script says.
    fn start(&mut self, script: &mut Script) -> Result<(), End> {
        let mut watch = Watch::new(false);
        let mut oracle = Oracle::new(script, false, Vec::new());
        let world = panic::catch(|| self.setting.model.start(&mut oracle, &mut watch));
        let (chosen, _) = oracle.into_parts();
        let origin = Origin {
            from: 0,
            depth: 0,
            event: None,
            chosen: chosen.into_boxed_slice(),
            asleep: SleepSet::default(),
            is_left: false,
        };
        self.exhausted.starts += 1;
        match world {
            Ok(world) => self.arrive(origin, world?, &watch),
            Err(_) => {
                self.origins.push(origin);
                Err(End::Broken)
            }
        }
    }

    /// Goes on from everything that is reached.
    fn explore_start(
        &mut self,
        progress: &mut impl FnMut(&mut Exhausted) -> ControlFlow<()>,
    ) -> Result<(), End> {
        while let Some(waiting) = self.frontier.pop() {
            self.left += 1;
            if self.left.is_multiple_of(STATES_PER_LOOK) && progress(&mut self.exhausted).is_break()
            {
                return Err(End::GivenUp);
            }
            self.leave(waiting)?;
        }
        Ok(())
    }

    /// Lets everything happen in a state that may happen there, and has to.
    fn leave(&mut self, Waiting { number, world, woken }: Waiting<M::World>) -> Result<(), End> {
        let world = world.map_or_else(|| self.remake(number), Ok)?;
        let origin = &mut self.origins[number as usize];
        origin.is_left = true;
        let (depth, mut asleep) = (origin.depth + 1, origin.asleep.clone());
        let enabled = world.enabled();
        let arity = u32::try_from(enabled.total()).expect("so much cannot happen at once");
        for pick in enabled.picks() {
            let action = world.action(pick).filter(|_| self.setting.reduces);
            let is_left_out = match (&action, &woken) {
                // Whoever has woken up may look redundant on this way here, and not on the one before.
                (Some(action), Some(woken)) => !woken.has(action) || asleep.has(action),
                (None, Some(_)) => true,
                (Some(action), None) => asleep.has(action) || world.is_redundant(pick),
                (None, None) => world.is_redundant(pick),
            };
            if is_left_out {
                continue;
            }
            let mut script = Script::default();
            let mut publicity = Publicity::Private;
            loop {
                let mut next = world.fork().ok_or(ExhaustiveError::Unknowable)?;
                let mut watch = Watch::new(false);
                let mut oracle = Oracle::new(&mut script, false, Vec::new());
                match panic::catch(|| next.perform(pick, &mut oracle, &mut watch)) {
                    Ok(outcome) => outcome.map_err(ModelError::from)?,
                    Err(message) => watch.panicked(message),
                }
                let (chosen, _) = oracle.into_parts();
                let exhausted = &mut self.exhausted;
                exhausted.transitions += 1;
                exhausted.faults.add_new(&world.faults(), &next.faults());
                exhausted.operations.add_new(&world.operations(), &next.operations());
                // What is left open is tried again on every way.
                let is_open = !chosen.is_empty();
                publicity = publicity.max(watch.publicity());
                publicity = if is_open { Publicity::Global } else { publicity };
                let tried = action.map(|action| Tried { action, publicity });
                let after = tried.map(|tried| asleep.after(&tried)).unwrap_or_default();
                let origin = Origin {
                    from: number,
                    depth,
                    event: Some((pick, arity)),
                    chosen: chosen.into_boxed_slice(),
                    asleep: after,
                    is_left: false,
                };
                self.arrive(origin, next, &watch)?;
                if !script.advance() {
                    break;
                }
            }
            if let Some(action) = action {
                asleep.add(Tried { action, publicity });
            }
        }
        Ok(())
    }

    /// A state was reached. It waits, if something is to happen there that has not.
    fn arrive(&mut self, origin: Origin, world: M::World, watch: &Watch) -> Result<(), End> {
        if watch.is_broken() {
            self.origins.push(origin);
            return Err(End::Broken);
        }
        self.exhausted.goals |= world.goals();
        let is_full = self.exhausted.states >= self.setting.states_max.min(u32::MAX.into());
        let state = world.exact_state().ok_or(ExhaustiveError::Unknowable)?;
        match self.visited.entry(state) {
            hash_map::Entry::Vacant(_) if is_full => return Err(End::GivenUp),
            hash_map::Entry::Vacant(entry) => {
                let number = self.origins.len() as u32;
                self.exhausted.states += 1;
                self.exhausted.depth = self.exhausted.depth.max(origin.depth);
                entry.insert(number);
                self.origins.push(origin);
                self.frontier.push(Waiting { number, world: Some(world), woken: None });
            }
            hash_map::Entry::Occupied(entry) => {
                let number = *entry.get();
                let known = &mut self.origins[number as usize];
                let woken = known.asleep.wake(&origin.asleep);
                if known.is_left && !woken.is_empty() {
                    // The events of this world may be counted in another order than of the one that was
                    // reached first, on whose way the run to a bug will go.
                    self.frontier.push(Waiting { number, world: None, woken: Some(woken) });
                }
            }
        }
        Ok(())
    }

    /// The numbers of the states on the way to one, from its start.
    fn way_to(&self, number: u32) -> Vec<u32> {
        let mut way = vec![number];
        loop {
            let origin = &self.origins[*way.last().expect("it ends somewhere") as usize];
            if origin.event.is_none() {
                way.reverse();
                return way;
            }
            way.push(origin.from);
        }
    }

    /// The world of a state that was reached before: everything on the way there happens again, from where
    /// that way leaves the last one.
    fn remake(&mut self, number: u32) -> Result<M::World, ExhaustiveError> {
        let way = self.way_to(number);
        let shared =
            self.way.iter().take_while(|(number, depth, _)| way.get(*depth) == Some(number));
        self.way.truncate(shared.count());
        let fork = |world: &M::World| world.fork().ok_or(ExhaustiveError::Unknowable);
        let (mut depth, mut world) = match self.way.last() {
            Some((_, depth, world)) => (*depth, fork(world)?),
            None => {
                let mut script = Script::again(&self.origins[way[0] as usize].chosen);
                let mut oracle = Oracle::new(&mut script, false, Vec::new());
                (0, self.setting.model.start(&mut oracle, &mut Watch::new(false))?)
            }
        };
        let apart = way.len() / WORLDS_ON_WAY + 1;
        while depth + 1 < way.len() {
            depth += 1;
            let Origin { event, chosen, .. } = &self.origins[way[depth] as usize];
            let (pick, _) = event.expect("only a start has none");
            let mut script = Script::again(chosen);
            let mut oracle = Oracle::new(&mut script, false, Vec::new());
            let mut watch = Watch::new(false);
            let outcome = panic::catch(|| world.perform(pick, &mut oracle, &mut watch));
            outcome.map_err(|_| ExhaustiveError::Unrepeatable)?.map_err(ModelError::from)?;
            if depth.is_multiple_of(apart) {
                self.way.push((way[depth], depth, fork(&world)?));
            }
        }
        Ok(world)
    }

    /// The run that leads to the state that was reached last.
    fn bug(&self) -> Result<Bug, ExhaustiveError> {
        let last = u32::try_from(self.origins.len() - 1).expect("there is a number for each");
        let mut tape = Vec::new();
        for number in self.way_to(last) {
            let Origin { event, chosen, .. } = &self.origins[number as usize];
            let event = event.map(|(pick, arity)| Choice::Event { pick, arity: arity as usize });
            tape.extend(event);
            tape.extend_from_slice(chosen);
        }
        let model = &self.setting.model;
        let setting = engine::Setting {
            model,
            max_steps: MaxSteps::all(usize::MAX),
            fails_at_max_steps: false,
            settles: false,
            record: Record::Trace,
            coverage: None,
        };
        let map = CoverageMap::empty();
        let mut replay = TapeReplay::new(&tape);
        let run = engine::run(&setting, &mut replay, Vec::new(), &mut Novelty::new(&map))?;
        if run.violation.is_none() {
            return Err(ExhaustiveError::Unrepeatable);
        }
        let name = if self.setting.is_depth_first { "dfs" } else { "bfs" };
        let full = recording::recording(model, false, name.to_owned(), (0, 0), run);
        let shrunk = recording::shrunk(model, &full);
        Ok(Bug::new(full, shrunk))
    }
}
