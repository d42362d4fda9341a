//! How a state was reached, and how it is reached again.

use super::ExhaustiveError;
use super::script::Script;
use crate::event::Pick;
use crate::model::{Model, ModelError, World};
use crate::oracle::{Choice, Oracle};
use crate::panic;
use crate::sleep::SleepSet;
use crate::watch::Watch;

/// Of the worlds on the way to the one that was made again last, about so many are kept.
const WORLDS_ON_WAY: usize = 256;

/// How one state was first reached.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// The state before, by number; for a start, nothing.
    pub(super) from: u32,
    pub(super) depth: u32,
    /// The event between the two, and of how many that could happen it was one; none for a start.
    pub(super) event: Option<(Pick, u32)>,
    /// What was chosen meanwhile; mostly nothing.
    pub(super) chosen: Box<[Choice]>,
    /// What need not happen there.
    pub(super) asleep: SleepSet,
    /// What may happen there has happened.
    pub(super) is_left: bool,
}

impl Origin {
    pub(super) fn start(chosen: Vec<Choice>) -> Self {
        let chosen = chosen.into_boxed_slice();
        let asleep = SleepSet::default();
        Self { from: 0, depth: 0, event: None, chosen, asleep, is_left: false }
    }
}

/// The numbers of the states on the way to one, from its start.
pub(super) fn way_to(origins: &[Origin], number: u32) -> Vec<u32> {
    let mut way = vec![number];
    loop {
        let origin = &origins[*way.last().expect("it ends somewhere") as usize];
        if origin.event.is_none() {
            way.reverse();
            return way;
        }
        way.push(origin.from);
    }
}

/// Makes worlds again that were not kept.
#[derive(Debug)]
pub(super) struct Remaker<W> {
    /// Worlds on the way to the last one, with their numbers and depths.
    way: Vec<(u32, usize, W)>,
}

impl<W: World> Remaker<W> {
    pub(super) fn new() -> Self {
        Self { way: Vec::new() }
    }

    /// The world of a state that was reached before: everything on the way there happens again, from where
    /// that way leaves the last one.
    pub(super) fn remake<M: Model<World = W>>(
        &mut self,
        model: &M,
        origins: &[Origin],
        number: u32,
    ) -> Result<W, ExhaustiveError> {
        let way = way_to(origins, number);
        let is_shared = |&&(number, depth, _): &&(u32, usize, W)| way.get(depth) == Some(&number);
        self.way.truncate(self.way.iter().take_while(is_shared).count());
        let fork = |world: &W| world.fork().ok_or(ExhaustiveError::Unknowable);
        let (mut depth, mut world) = match self.way.last() {
            Some((_, depth, world)) => (*depth, fork(world)?),
            None => {
                let mut script = Script::again(&origins[way[0] as usize].chosen);
                let mut oracle = Oracle::new(&mut script, false, Vec::new());
                let mut watch = Watch::new(false);
                let world = panic::catch(|| model.start(&mut oracle, &mut watch));
                (0, world.map_err(|_| ExhaustiveError::Unrepeatable)??)
            }
        };
        let apart = way.len() / WORLDS_ON_WAY + 1;
        while depth + 1 < way.len() {
            depth += 1;
            let Origin { event, chosen, .. } = &origins[way[depth] as usize];
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
}
