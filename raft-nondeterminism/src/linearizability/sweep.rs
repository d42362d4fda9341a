//! The search: all ways to explain a register's history at once, from its first event to its last.
//!
//! Guarantees: a history is refused exactly if no order of its operations explains it; the answer and
//!             the work it takes are the same each time.
//! Relies on:  [`super::state`] for what can be told apart, [`super::configuration`] for which ways
//!             are as good as others.
//!
//! This is Lowe's just-in-time linearization (2017), a form of the algorithm of Wing and Gong (1993):
//! it goes through the invocations and completions and keeps the set of configurations, which are pairs
//! of the register's state and of the operations under way that took effect. Nothing takes effect
//! before it must, which is when some operation completes. Only the configurations of one moment are in
//! memory, not all that there ever were, and when none is left, that moment is where the longest
//! explainable beginning ends.
//!
//! What keeps the set small, and why each loses nothing. In every case, take an order that explains the
//! history, and change it as said: it still explains the history.
//! - An operation that would leave the state as it is takes effect at no cost, so it is *free*: it may
//!   count as done from then on. Reads always do this, as early as they can.
//! - A write makes all other writes under way free, because each could come directly before it, where
//!   nobody sees it.
//! - So a write takes effect before its own completion only for the sake of somebody who looks, that
//!   is, if a read, `cas` or append under way is possible on it.
//! - Of several operations under way that do the same, the one that completes first comes first; those
//!   that never complete come last.
//! - A configuration that another one covers is dropped.
//! - Where no write or `cas` is left, what is dead stays so, and whatever a read has still to find is not
//!   found: such a configuration is given up. That is sooner than it is stuck, so a search that fails
//!   after it was done is made again without, to say where.
//! - An operation that never completes is dropped when it ceases to matter
//!   ([`States::matters_until`]), or when it was used in every configuration.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::configuration::{Bits, Configuration};
use super::register::{Action, NULL, Step, Values};
use super::state::{FOR_EVER, State, States, Until};

/// A configuration is compared with so many others of its state; to compare all with all would cost more
/// than it saves.
const COMPARED_MAX: usize = 1_000;

/// What it may take to find out how far a history that cannot be explained can be explained.
const FURTHER_STEPS_MAX: u64 = 200_000_000;

/// What a search may cost.
#[derive(Debug)]
pub(super) struct Budget {
    /// How much may still be looked at: configurations, and what is under way in each.
    pub(super) steps: u64,
    /// Configurations that may be in memory, see [`Configuration::weight`].
    pub(super) configurations_max: usize,
}

impl Budget {
    fn spend(&mut self, cost: u64) -> Result<(), Stuck> {
        let left = self.steps.checked_sub(cost);
        self.steps = left.unwrap_or(0);
        left.map(|_| ()).ok_or(Stuck::OutOfSteps)
    }
}

/// Why a search ended without an order.
#[derive(Debug)]
pub(super) enum Stuck {
    /// There is none.
    Impossible(Impossible),
    /// The budget is spent.
    OutOfSteps,
    /// Too many ways at once.
    OutOfMemory,
}

/// The moment at which no way is left.
#[derive(Debug)]
pub(super) struct Impossible {
    /// The step that cannot take effect before it completes.
    pub(super) step: usize,
    /// Which steps may have put there what the register held just before; `None` is the beginning.
    pub(super) writers: BTreeSet<Option<usize>>,
    /// The steps under way that may have changed that in time.
    pub(super) under_way: Vec<usize>,
}

/// What happens, in order: a step is invoked, or it completes.
#[derive(Clone, Copy, Debug)]
struct Event {
    step: usize,
    is_completion: bool,
}

fn events(steps: &[Step]) -> Vec<Event> {
    let mut timed = Vec::with_capacity(2 * steps.len());
    for (step, &Step { invoked, completed, .. }) in steps.iter().enumerate() {
        timed.push((invoked, false, step));
        timed.extend(completed.map(|completed| (completed, true, step)));
    }
    timed.sort_unstable();
    timed.into_iter().map(|(_, is_completion, step)| Event { step, is_completion }).collect()
}

/// When each step completes, as a place among the events. Zero is free: nothing completes first.
fn completions(steps: &[Step], events: &[Event]) -> Vec<Option<Until>> {
    let mut completions = vec![None; steps.len()];
    for (place, event) in events.iter().enumerate() {
        if event.is_completion {
            completions[event.step] = Some(place as Until);
        }
    }
    completions
}

/// Explains the history by the order that its hints give, if they do: writes before reads of the same
/// place. Takes time in proportion to the history.
pub(super) fn follows_order(values: &Values<'_>, steps: &[Step]) -> bool {
    // Without a hint, what was completed cannot be placed, and nothing else need take effect.
    if steps.iter().any(|step| step.completed.is_some() && step.order.is_none()) {
        return false;
    }
    let mut ordered: Vec<_> = steps.iter().filter(|step| step.order.is_some()).collect();
    ordered.sort_by_key(|step| (step.order, matches!(step.action, Action::Read(_))));
    let mut last_invoked = 0;
    for step in &ordered {
        last_invoked = last_invoked.max(step.invoked);
        // One that comes earlier was invoked after this one was over.
        if step.completed.is_some_and(|completed| completed < last_invoked) {
            return false;
        }
    }
    let mut states = States::new(values, steps, &completions(steps, &events(steps)));
    let mut state = NULL;
    ordered.iter().all(|step| match states.apply(state, step.action, 0) {
        Some(next) => {
            state = next;
            true
        }
        None => false,
    })
}

/// Looks for an order that explains the history.
pub(super) fn search(
    values: &Values<'_>,
    steps: &[Step],
    budget: &mut Budget,
) -> Result<(), Stuck> {
    let mut has_given_up = false;
    match sweep(values, steps, budget, &mut has_given_up, true) {
        // There is no order, but what was given up may have come further. To know how far is only for
        // people, so it may not take as long as the verdict.
        Err(Stuck::Impossible(early)) if has_given_up => {
            let steps_max = budget.steps.min(FURTHER_STEPS_MAX);
            let mut further = Budget { steps: steps_max, ..*budget };
            let late = sweep(values, steps, &mut further, &mut has_given_up, false);
            budget.steps -= steps_max - further.steps;
            match late {
                Err(Stuck::Impossible(late)) => Err(Stuck::Impossible(late)),
                Err(Stuck::OutOfSteps | Stuck::OutOfMemory) | Ok(()) => {
                    Err(Stuck::Impossible(early))
                }
            }
        }
        ended => ended,
    }
}

/// One search. It may give up ways that explain what has happened so far and will not explain what
/// follows; without that it takes longer, and is stuck where no way is left at all.
fn sweep(
    values: &Values<'_>,
    steps: &[Step],
    budget: &mut Budget,
    has_given_up: &mut bool,
    looks_ahead: bool,
) -> Result<(), Stuck> {
    let events = events(steps);
    let completions = completions(steps, &events);
    let states = States::new(values, steps, &completions);
    let start =
        Configuration { state: NULL, done: Bits::default(), free: Bits::default(), writer: None };
    let is_read = |event: &&Event| {
        !event.is_completion && matches!(steps[event.step].action, Action::Read(_))
    };
    let read_until = events.iter().rposition(|event| is_read(&event)).unwrap_or(0) as Until;
    let mut sweep = Sweep {
        states,
        read_until,
        looks_ahead,
        has_given_up,
        steps,
        completions,
        now: 0,
        live: Vec::new(),
        under_way: 0,
        slots: vec![0; steps.len()],
        taken: Bits::default(),
        open: Bits::default(),
        open_until: FOR_EVER,
        ways: vec![start],
        budget,
    };
    for (place, event) in events.into_iter().enumerate() {
        sweep.now = place as Until;
        if event.is_completion {
            sweep.complete(event.step)?;
        } else {
            sweep.invoke(event.step)?;
        }
    }
    Ok(())
}

/// Operations under way that do the same.
#[derive(Debug)]
struct Alike {
    action: Action,
    /// In the order of their completions, those that never complete last.
    members: Vec<Member>,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    completion: Until,
    step: usize,
    slot: usize,
}

impl Member {
    fn is_open(self) -> bool {
        self.completion == FOR_EVER
    }
}

struct Sweep<'a, 'h> {
    states: States<'a, 'h>,
    steps: &'a [Step],
    completions: Vec<Option<Until>>,
    /// The event that invokes the last read.
    read_until: Until,
    /// Whether ways that will not explain what follows are given up, and whether one was.
    looks_ahead: bool,
    has_given_up: &'a mut bool,
    /// The event under way.
    now: Until,
    /// What is under way.
    live: Vec<Alike>,
    /// How many operations these are.
    under_way: usize,
    /// The slot of each step under way.
    slots: Vec<usize>,
    /// The slots in use.
    taken: Bits,
    /// The slots of operations that never complete.
    open: Bits,
    /// When the first of these ceases to matter.
    open_until: Until,
    /// Every way to explain what has happened so far.
    ways: Vec<Configuration>,
    budget: &'a mut Budget,
}

impl Sweep<'_, '_> {
    fn invoke(&mut self, step: usize) -> Result<(), Stuck> {
        self.spend(self.ways.len() + self.live.len() / 8)?;
        let action = self.steps[step].action;
        let completion = self.completions[step].unwrap_or(FOR_EVER);
        if completion == FOR_EVER {
            let until = self.states.matters_until(action);
            if until <= self.now {
                return Ok(());
            }
            self.open_until = self.open_until.min(until);
        }
        let slot = self.taken.first_missing();
        self.taken.insert(slot);
        self.slots[step] = slot;
        self.under_way += 1;
        let member = Member { completion, step, slot };
        match self.live.iter_mut().find(|alike| alike.action == action) {
            Some(alike) => {
                let place = alike.members.partition_point(|other| other.completion <= completion);
                alike.members.insert(place, member);
            }
            None => self.live.push(Alike { action, members: vec![member] }),
        }
        if member.is_open() {
            self.open.insert(slot);
            return Ok(());
        }
        for way in &mut self.ways {
            if self.states.apply(way.state, action, self.now) == Some(way.state) {
                way.free.insert(slot);
            }
        }
        Ok(())
    }

    /// Charges for what was looked at, and for what the states looked at meanwhile.
    fn spend(&mut self, looks: usize) -> Result<(), Stuck> {
        self.budget.spend(1 + looks as u64 + std::mem::take(&mut self.states.work))
    }

    /// How much it takes to look at everything under way in one configuration.
    fn looks(&self) -> usize {
        self.under_way + self.live.len()
    }

    fn complete(&mut self, step: usize) -> Result<(), Stuck> {
        let slot = self.slots[step];
        let is_read = matches!(self.steps[step].action, Action::Read(_));
        self.spend(self.ways.len())?;
        let mut ways = Vec::with_capacity(self.ways.len());
        let mut waiting = Vec::new();
        for way in std::mem::take(&mut self.ways) {
            // What is free may count as done, but this is the last moment at which it can take effect,
            // which only a read has no reason to wish.
            match (way.done.contains(slot), way.free.contains(slot)) {
                (true, _) => ways.push(way),
                (false, true) if is_read => ways.push(way),
                (false, true) => {
                    ways.push(way.clone());
                    waiting.push(way);
                }
                (false, false) => waiting.push(way),
            }
        }
        if !waiting.is_empty() {
            self.extend(&waiting, step, &mut ways)?;
        }
        if ways.is_empty() {
            return Err(Stuck::Impossible(self.impossible(step, &waiting)));
        }
        for way in &mut ways {
            way.done.remove(slot);
            way.free.remove(slot);
        }
        self.ways = ways;
        self.forget(step, slot);
        self.bury()?;
        self.drop_covered()
    }

    /// Finds every way to let `target` take effect, perhaps after others.
    fn extend(
        &mut self,
        waiting: &[Configuration],
        target: usize,
        ways: &mut Vec<Configuration>,
    ) -> Result<(), Stuck> {
        let slot = self.slots[target];
        let mut known: BTreeSet<_> = waiting.iter().cloned().collect();
        let mut held: usize = known.iter().chain(&*ways).map(Configuration::weight).sum();
        let mut work = waiting.to_vec();
        let mut candidates = Vec::new();
        while let Some(way) = work.pop() {
            candidates.clear();
            self.spend(self.looks())?;
            self.candidates(&way, target, &mut candidates)?;
            for &(action, member, state) in &candidates {
                let next = self.after(&way, action, member, state);
                self.spend(self.looks())?;
                let weight = next.weight();
                if next.done.contains(slot) {
                    ways.push(next);
                    held += weight;
                } else {
                    if next.free.contains(slot) && !way.free.contains(slot) {
                        ways.push(next.clone());
                        held += weight;
                    }
                    if known.insert(next.clone()) {
                        work.push(next);
                        held += weight;
                    }
                }
                if held > self.budget.configurations_max {
                    return Err(Stuck::OutOfMemory);
                }
            }
        }
        Ok(())
    }

    /// What may take effect next, and the states that follow.
    fn candidates(
        &mut self,
        way: &Configuration,
        target: usize,
        candidates: &mut Vec<(Action, Member, State)>,
    ) -> Result<(), Stuck> {
        let mut is_awaited = None;
        for alike in 0..self.live.len() {
            let action = self.live[alike].action;
            // A read that is possible is free already.
            if matches!(action, Action::Read(_)) {
                continue;
            }
            let Some(state) = self.states.apply(way.state, action, self.now) else { continue };
            // What changes nothing is free already, or need not happen; only a write sets others free.
            let is_write = matches!(action, Action::Write(_));
            if state == way.state && !is_write {
                continue;
            }
            if self.looks_ahead
                && self.states.is_dead_for_ever(state, self.now)
                && *is_awaited.get_or_insert_with(|| self.awaits_read(way))
            {
                *self.has_given_up = true;
                continue;
            }
            let mut unused =
                self.live[alike].members.iter().filter(|member| !way.done.contains(member.slot));
            let Some(&first) = unused.next() else { continue };
            // One that is free need not be used at all, so one that has to be may be the better choice
            // although it completes later.
            let first_due = match way.free.contains(first.slot) {
                true => unused.find(|one| !one.is_open() && !way.free.contains(one.slot)).copied(),
                false => None,
            };
            let is_target = |member: Member| member.step == target;
            let is_due = is_target(first) || first_due.is_some_and(is_target);
            if is_write && !is_due {
                self.spend(self.looks())?;
                if !self.is_looked_at(way, state) {
                    continue;
                }
            }
            candidates.push((action, first, state));
            candidates.extend(first_due.map(|member| (action, member, state)));
        }
        Ok(())
    }

    /// Whether some read, under way or yet to come, has still to find what it found.
    fn awaits_read(&self, way: &Configuration) -> bool {
        let is_waiting = |alike: &Alike| {
            matches!(alike.action, Action::Read(_))
                && alike.members.iter().any(|member| !way.free.contains(member.slot))
        };
        self.read_until > self.now || self.live.iter().any(is_waiting)
    }

    /// Whether something under way has been waiting for a state.
    fn is_looked_at(&mut self, way: &Configuration, state: State) -> bool {
        let (states, now) = (&mut self.states, self.now);
        self.live.iter().any(|alike| {
            let is_waiting = match alike.action {
                Action::Write(_) => false,
                Action::Read(_) => {
                    alike.members.iter().any(|member| !way.free.contains(member.slot))
                }
                Action::Cas { .. } | Action::Append(_) => {
                    alike.members.iter().any(|member| !way.done.contains(member.slot))
                }
            };
            is_waiting && states.apply(state, alike.action, now).is_some()
        })
    }

    fn after(
        &mut self,
        way: &Configuration,
        action: Action,
        member: Member,
        state: State,
    ) -> Configuration {
        let mut next = way.clone();
        next.state = state;
        next.writer = Some(member.step);
        next.done.insert(member.slot);
        next.free.remove(member.slot);
        let is_write = matches!(action, Action::Write(_));
        for alike in &self.live {
            let is_free = is_write && matches!(alike.action, Action::Write(_))
                || self.states.apply(state, alike.action, self.now) == Some(state);
            if is_free {
                set_free(&mut next, alike);
            }
        }
        next
    }

    /// A step is over: its slot is for another one.
    fn forget(&mut self, step: usize, slot: usize) {
        self.taken.remove(slot);
        self.open.remove(slot);
        let action = self.steps[step].action;
        let Some(at) = self.live.iter().position(|alike| alike.action == action) else { return };
        let members = &mut self.live[at].members;
        let before = members.len();
        members.retain(|member| member.step != step);
        self.under_way -= before - members.len();
        if members.is_empty() {
            self.live.remove(at);
        }
    }

    /// After an event, some values are dead, and some operations that never complete can be forgotten.
    fn bury(&mut self) -> Result<(), Stuck> {
        let next = self.now + 1;
        let mut looks = self.ways.len() + self.under_way / 8;
        let looks_each = self.looks();
        for way in &mut self.ways {
            let state = self.states.alive(way.state, next);
            if state != way.state {
                way.state = state;
                looks += looks_each;
                for alike in &self.live {
                    if self.states.apply(state, alike.action, next) == Some(state) {
                        set_free(way, alike);
                    }
                }
            }
        }
        if self.open == Bits::default() {
            return self.spend(looks);
        }
        let mut over: Vec<Member> = Vec::new();
        let is_expiring = self.open_until < next;
        self.open_until = if is_expiring { FOR_EVER } else { self.open_until };
        for alike in &self.live {
            let until = match is_expiring && alike.members.iter().any(|one| one.is_open()) {
                true => self.states.matters_until(alike.action),
                false => FOR_EVER,
            };
            if until >= next {
                self.open_until = self.open_until.min(until);
            }
            let open = alike.members.iter().filter(|member| member.is_open());
            over.extend(open.filter(|member| {
                if until < next {
                    return true;
                }
                let unused = self.ways.iter().position(|way| !way.done.contains(member.slot));
                looks += unused.unwrap_or(self.ways.len());
                unused.is_none()
            }));
        }
        looks += over.len() * self.ways.len();
        for member in over {
            self.forget(member.step, member.slot);
            self.ways.iter_mut().for_each(|way| way.done.remove(member.slot));
        }
        self.spend(looks)
    }

    /// Drops each way that another one covers.
    fn drop_covered(&mut self) -> Result<(), Stuck> {
        let mut looks = 0;
        let open = &self.open;
        // Whatever covers a way comes before it: it has used fewer open operations, or as many and has
        // more free ones.
        let mut ways: Vec<_> = std::mem::take(&mut self.ways)
            .into_iter()
            .map(|way| (way.state, way.done.common(open), Reverse(way.free.count()), way))
            .collect();
        ways.sort_unstable();
        ways.dedup();
        let mut begin = 0;
        for (.., way) in ways {
            if self.ways.last().is_some_and(|last| last.state != way.state) {
                begin = self.ways.len();
            }
            let mut kept = self.ways[begin..].iter().take(COMPARED_MAX);
            let covering = kept.position(|other| other.covers(&way, open));
            looks += way.weight() * covering.unwrap_or((self.ways.len() - begin).min(COMPARED_MAX));
            if covering.is_none() {
                self.ways.push(way);
            }
        }
        self.spend(looks)
    }

    fn impossible(&self, step: usize, waiting: &[Configuration]) -> Impossible {
        let writers = waiting.iter().map(|way| way.writer).collect();
        let mut under_way: Vec<_> = self
            .live
            .iter()
            .filter(|alike| !matches!(alike.action, Action::Read(_)))
            .flat_map(|alike| &alike.members)
            .filter(|one| {
                one.step != step && !waiting.iter().all(|way| way.done.contains(one.slot))
            })
            .map(|member| member.step)
            .collect();
        under_way.sort_unstable();
        Impossible { step, writers, under_way }
    }
}

/// Lets operations under way count as done from now on, if they have to be done at all.
fn set_free(way: &mut Configuration, alike: &Alike) {
    for member in &alike.members {
        if !member.is_open() && !way.done.contains(member.slot) {
            way.free.insert(member.slot);
        }
    }
}
