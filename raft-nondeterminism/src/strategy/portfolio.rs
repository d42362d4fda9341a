//! Several strategies in one: each run has another, and who finds more gets more runs.
//!
//! Guarantees: no member has less than its floor; the shares follow from the runs before the epoch,
//!             in their order, so they do not depend on the number of workers.

use super::{
    CoverageGuided, DelayBounding, FairSuffix, Lesson, MaxSteps, NotReproducible,
    PartialOrderSampling, Prioritization, Probabilistic, Random, Step, Strategy, Swarm, Weighted,
};
use crate::event::{EnabledView, Pick};
use crate::rng::{Rng, mixed};

/// All shares together.
const WHOLE: u64 = 1 << 16;
/// What was found loses one part in so many with each run of the same member.
const INERTIA: u64 = 256;
/// What one new state counts.
const ONE: u64 = 1 << 20;

/// A few strategies, of which one chooses in each run. The shares follow what each has found of late: new
/// abstract states per event.
///
/// ```
/// use raft_nondeterminism::{Explorer, Portfolio, Random, Scenario, Strategy, Weighted};
///
/// let two: Vec<Box<dyn Strategy>> = vec![Box::new(Weighted::new()), Box::new(Random::new())];
/// let report = Explorer::new(Scenario::sample()).strategy(Portfolio::new(two)).run()?;
/// assert_eq!(report.members().len(), 2);
/// # Ok::<(), raft_nondeterminism::ExploreError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Portfolio {
    name: &'static str,
    members: Vec<Member>,
    /// Who chooses in this run.
    current: usize,
    max_steps: MaxSteps,
    /// After so many events this run ends.
    last: usize,
    step: usize,
}

#[derive(Clone, Debug)]
struct Member {
    strategy: Box<dyn Strategy>,
    /// What it is trusted with before anything is known; half of that it keeps.
    trust: u64,
    share: u64,
    /// What its runs found, and how many events they had, those of late more than those before.
    found: u64,
    events: u64,
}

impl Portfolio {
    /// These members, with equal shares at first.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    pub fn new(members: Vec<Box<dyn Strategy>>) -> Self {
        Self::with_trust(members.into_iter().map(|member| (1, member)).collect())
    }

    /// These members, each trusted so much more than the others at first. Half of that it keeps, whatever
    /// it finds.
    ///
    /// # Panics
    ///
    /// If nobody is trusted.
    #[must_use]
    pub fn with_trust(members: Vec<(u32, Box<dyn Strategy>)>) -> Self {
        let total: u64 = members.iter().map(|(trust, _)| u64::from(*trust)).sum();
        assert!(total > 0, "somebody has to choose");
        let member = |(trust, strategy)| {
            let trust = u64::from(trust) * WHOLE / total;
            Member { strategy, trust, share: trust, found: 0, events: 0 }
        };
        let members = members.into_iter().map(member).collect();
        let max_steps = MaxSteps::all(200);
        Self { name: "portfolio", members, current: 0, max_steps, last: 200, step: 0 }
    }

    /// All that has found something, each trusted by how much that was: see the table in the README.
    #[must_use]
    pub fn usual() -> Self {
        Self::with_trust(vec![
            (6, Box::new(Weighted::new())),
            (5, Box::new(FairSuffix::new(DelayBounding::new(10)))),
            (4, Box::new(FairSuffix::new(Prioritization::between(3, 10)))),
            (4, Box::new(Prioritization::between(3, 10))),
            (3, Box::new(PartialOrderSampling::new())),
            (3, Box::new(Probabilistic::new(3))),
            (2, Box::new(Swarm::new())),
            (1, Box::new(CoverageGuided::new())),
            (1, Box::new(Random::new())),
        ])
    }

    /// The same with fair members only: what is not fair of itself is so in the end.
    #[must_use]
    pub fn fair() -> Self {
        let members = Self::with_trust(vec![
            (6, Box::new(Weighted::new())),
            (5, Box::new(FairSuffix::new(DelayBounding::new(10)))),
            (4, Box::new(FairSuffix::new(Prioritization::between(3, 10)))),
            (3, Box::new(FairSuffix::new(PartialOrderSampling::new()))),
            (3, Box::new(Probabilistic::new(3))),
            (1, Box::new(Random::new())),
        ]);
        Self { name: "fair-portfolio", ..members }
    }

    /// The same with members that let some wait for ever.
    #[must_use]
    pub fn unfair() -> Self {
        let members = Self::with_trust(vec![
            (5, Box::new(DelayBounding::new(10))),
            (4, Box::new(Prioritization::between(3, 10))),
            (3, Box::new(PartialOrderSampling::new())),
            (2, Box::new(Swarm::new())),
            (1, Box::new(CoverageGuided::new())),
        ]);
        Self { name: "unfair-portfolio", ..members }
    }

    /// The share of the runs of each member, by its name; together they are nearly 1.
    pub fn shares(&self) -> impl Iterator<Item = (String, f64)> + '_ {
        let share = |member: &Member| member.share as f64 / WHOLE as f64;
        self.members.iter().map(move |member| (member.strategy.describe(), share(member)))
    }

    /// Half of the runs go as the members are trusted, the others also as they find.
    fn share_out(&mut self) {
        let merit = |member: &Member| member.trust * (member.found / member.events.max(1));
        let total: u64 = self.members.iter().map(merit).sum();
        for member in &mut self.members {
            // While nobody finds anything, trust is all there is.
            let earned = (u128::from(WHOLE / 2) * u128::from(merit(member)))
                .checked_div(u128::from(total))
                .map_or(member.trust / 2, |earned| earned as u64);
            member.share = member.trust / 2 + earned;
        }
    }

    fn current(&mut self) -> &mut Box<dyn Strategy> {
        &mut self.members[self.current].strategy
    }
}

impl Strategy for Portfolio {
    fn expect(&mut self, max_steps: MaxSteps) {
        self.max_steps = max_steps;
        self.members.iter_mut().for_each(|member| member.strategy.expect(max_steps));
    }

    fn begin(&mut self, seed: u64) {
        let mut rng = Rng::new(seed);
        let total = self.members.iter().map(|member| member.share).sum::<u64>();
        let mut ticket = rng.below(total as usize) as u64;
        self.current = 0;
        for (place, member) in self.members.iter().enumerate() {
            if ticket < member.share {
                self.current = place;
                break;
            }
            ticket -= member.share;
        }
        self.step = 0;
        // What shows early is found by many short runs, what needs a long story by none of them.
        let steps = self.max_steps.of(self.is_fair());
        self.last = match rng.below(16) {
            0 => steps.div_ceil(4),
            1 => steps.div_ceil(2),
            _ => steps,
        };
        self.current().begin(mixed(seed));
    }

    fn pick(&mut self, enabled: &EnabledView<'_>) -> Result<Option<Pick>, NotReproducible> {
        if self.step == self.last {
            return Ok(None);
        }
        self.step += 1;
        self.current().pick(enabled)
    }

    fn choose(&mut self, arity: usize, label: &str) -> Result<usize, NotReproducible> {
        self.current().choose(arity, label)
    }

    fn observe(&mut self, step: &Step) {
        self.current().observe(step);
    }

    /// The member and the number of its events come first.
    fn notes(&mut self) -> Vec<u64> {
        let mut notes = vec![self.current as u64, self.step as u64];
        notes.append(&mut self.current().notes());
        notes
    }

    fn learn(&mut self, lesson: &Lesson<'_>) {
        let &[current, step, ref notes @ ..] = lesson.notes else { return };
        let Some(member) = self.members.get_mut(current as usize) else { return };
        member.strategy.learn(&Lesson { notes, ..*lesson });
        member.found += lesson.new_states * ONE;
        member.found -= member.found / INERTIA;
        member.events += step;
        member.events -= member.events / INERTIA;
        self.share_out();
    }

    fn is_fair(&self) -> bool {
        self.members[self.current].strategy.is_fair()
    }

    fn describe(&self) -> String {
        self.name.to_owned()
    }

    fn member(&self) -> String {
        self.members[self.current].strategy.describe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::pending::Pending;

    fn two() -> Portfolio {
        Portfolio::new(vec![Box::new(Weighted::new()), Box::new(Random::new())])
    }

    /// Teaches a portfolio of one run of 100 events by this member.
    fn teach(portfolio: &mut Portfolio, member: u64, new_states: u64) {
        let (iteration, seed, tape, goals) = (0, 0, &[][..], 0);
        let notes = &[member, 100][..];
        let is_buggy = false;
        portfolio.learn(&Lesson { iteration, seed, tape, new_states, goals, notes, is_buggy });
    }

    fn shares(portfolio: &Portfolio) -> Vec<f64> {
        portfolio.shares().map(|(_, share)| share).collect()
    }

    #[test]
    fn shares_move_to_whoever_finds_more_and_never_below_the_floor() {
        let mut portfolio = two();
        assert_eq!(shares(&portfolio), [0.5, 0.5]);
        for _ in 0..1_000 {
            teach(&mut portfolio, 0, 9);
            teach(&mut portfolio, 1, 1);
        }
        let found = shares(&portfolio);
        assert!(found[0] > 0.65 && found[1] >= 0.25, "{found:?}");
        for _ in 0..5_000 {
            teach(&mut portfolio, 0, 0);
            teach(&mut portfolio, 1, 9);
        }
        let found = shares(&portfolio);
        assert!(found[0] >= 0.25 && found[1] > 0.7, "{found:?}");
    }

    #[test]
    fn members_choose_in_proportion_to_their_shares() {
        let mut portfolio = two();
        for _ in 0..1_000 {
            teach(&mut portfolio, 0, 9);
            teach(&mut portfolio, 1, 0);
        }
        let mut runs = 0;
        for seed in 0..10_000 {
            portfolio.begin(mixed(seed));
            runs += u32::from(portfolio.member() == "weighted");
        }
        assert!((7_300..7_700).contains(&runs), "{runs} of 10,000 for three quarters");
    }

    #[test]
    fn a_few_runs_are_short_and_most_use_all_steps() {
        let pending = Pending::messages(3);
        let mut portfolio = two();
        portfolio.expect(MaxSteps::all(80));
        let mut lengths = [0; 81];
        for seed in 0..800 {
            portfolio.begin(mixed(seed));
            lengths[pending.places(&mut portfolio, 100).len()] += 1;
        }
        assert_eq!(lengths[20] + lengths[40] + lengths[80], 800);
        assert!(lengths[20] > 20 && lengths[40] > 20 && lengths[80] > 600);
    }

    #[test]
    fn who_finds_nothing_is_as_good_as_the_others_who_do_not() {
        let mut portfolio = Portfolio::usual();
        let before = shares(&portfolio);
        for member in 0..before.len() as u64 {
            teach(&mut portfolio, member, 0);
        }
        let after = shares(&portfolio);
        assert!(before.iter().zip(&after).all(|(one, other)| (one - other).abs() < 0.001));
    }
}
