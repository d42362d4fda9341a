//! The search: from every start, over everything that can happen, to every state once.
//!
//! Guarantees: the same model gives the same search; a bug is told with the run that leads to it.
//! Elsewhere:  what may come next after one state is in `successors.rs`; how a state was reached, and how it
//!             is made again, in `origin.rs`.

use std::collections::{HashMap, hash_map};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::ControlFlow;
use std::time::Instant;

use super::frontier::{Frontier, Waiting};
use super::origin::{Origin, Remaker, way_to};
use super::script::Script;
use super::successors::{Arrival, Expansion};
use super::{Exhausted, Exhaustive, ExhaustiveError};
use crate::coverage_map::{CoverageMap, Novelty};
use crate::engine::{self, Record};
use crate::model::{Model, World};
use crate::oracle::{Choice, Oracle};
use crate::panic;
use crate::recording;
use crate::report::Bug;
use crate::strategy::{MaxSteps, TapeReplay};
use crate::watch::Watch;

/// Each state, and its number.
pub(super) type Visited = HashMap<u128, u32, BuildHasherDefault<Unchanged>>;

/// After so many states somebody is asked whether to go on.
const STATES_PER_LOOK: u64 = 1 << 10;

/// States are hashes already.
#[derive(Debug, Default)]
pub(super) struct Unchanged(u64);

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
    visited: Visited,
    origins: Vec<Origin>,
    frontier: Frontier<M::World>,
    remaker: Remaker<M::World>,
    /// Worlds that nobody needs any more.
    spares: Vec<Box<M::World>>,
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
            remaker: Remaker::new(),
            spares: Vec::new(),
            left: 0,
            exhausted: Exhausted::default(),
        }
    }

    pub(super) fn explore(
        mut self,
        mut progress: impl FnMut(&Exhausted) -> ControlFlow<()>,
    ) -> Result<Exhausted, ExhaustiveError> {
        let started = Instant::now();
        let mut progress = |exhausted: &mut Exhausted| {
            exhausted.elapsed = started.elapsed();
            progress(exhausted)
        };
        let mut script = Script::default();
        let end = loop {
            let began = self.start(&mut script);
            if let Err(end) = began.and_then(|()| self.explore_start(&mut progress)) {
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
        let origin = Origin::start(chosen);
        self.exhausted.starts += 1;
        let world = match world {
            Ok(world) => Some(world?).filter(|_| !watch.is_broken()),
            Err(_) => None,
        };
        let Some(world) = world else {
            self.origins.push(origin);
            return Err(End::Broken);
        };
        let state = world.exact_state().ok_or(ExhaustiveError::Unknowable)?;
        self.exhausted.goals |= world.goals();
        self.arrive(Arrival { origin, state, world: Some(Box::new(world)) })
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
            let expansion = self.leave(waiting)?;
            self.exhausted.transitions += expansion.transitions;
            self.exhausted.goals |= expansion.goals;
            self.exhausted.faults.add(&expansion.faults);
            self.exhausted.operations.add(&expansion.operations);
            for arrival in expansion.arrivals {
                self.arrive(arrival)?;
            }
            if let Some(origin) = expansion.broken {
                self.origins.push(origin);
                return Err(End::Broken);
            }
        }
        Ok(())
    }

    /// Lets everything happen in a state that may happen there, and has to.
    fn leave(
        &mut self,
        Waiting { number, world, woken }: Waiting<M::World>,
    ) -> Result<Expansion<M::World>, ExhaustiveError> {
        self.origins[number as usize].is_left = true;
        let Self { setting, visited, origins, remaker, spares, .. } = self;
        let remake = || remaker.remake(&setting.model, origins, number).map(Box::new);
        let world = world.map_or_else(remake, Ok)?;
        let after = (number, &**origins);
        let reduces = setting.reduces;
        let all = Expansion::of(&*world, after, woken.as_ref(), reduces, visited, spares)?;
        spares.push(world);
        Ok(all)
    }

    /// A state was reached. It waits, if something is to happen there that has not.
    fn arrive(&mut self, Arrival { origin, state, world }: Arrival<M::World>) -> Result<(), End> {
        let is_full = self.exhausted.states >= self.setting.states_max
            || self.origins.len() == u32::MAX as usize;
        match self.visited.entry(state) {
            hash_map::Entry::Vacant(_) if is_full => return Err(End::GivenUp),
            hash_map::Entry::Vacant(entry) => {
                let number = self.origins.len() as u32;
                self.exhausted.states += 1;
                self.exhausted.depth = self.exhausted.depth.max(origin.depth);
                entry.insert(number);
                self.origins.push(origin);
                self.frontier.push(Waiting { number, world, woken: None });
            }
            hash_map::Entry::Occupied(entry) => {
                let next = self.origins.len() as u32;
                let known = &mut self.origins[*entry.get() as usize];
                let woken = known.asleep.wake(&origin.asleep);
                if known.is_left && !woken.is_empty() {
                    // It has another number on this way: what can happen here may be counted in another
                    // order than on the first way.
                    let asleep = known.asleep.clone();
                    self.origins.push(Origin { asleep, ..origin });
                    self.frontier.push(Waiting { number: next, world, woken: Some(woken) });
                }
            }
        }
        Ok(())
    }

    /// The run that leads to the state that was reached last.
    fn bug(&self) -> Result<Bug, ExhaustiveError> {
        let last = u32::try_from(self.origins.len() - 1).expect("there is a number for each");
        let mut tape = Vec::new();
        for number in way_to(&self.origins, last) {
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
