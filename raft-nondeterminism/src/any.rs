//! Plans and settings for property tests: strategies for the crate `proptest`.
//!
//! Guarantees: what comes out makes sense, and shrinks towards fewer faults and fewer nodes, so that a
//!             failing case names what it takes.
//!
//! With the feature `proptest`; here a protocol is tried under plans that nobody has thought of:
//!
//! ```
//! use proptest::prelude::*;
//! use raft_nondeterminism::{Explorer, Scenario, any};
//!
//! proptest!(ProptestConfig::with_cases(5), |(plan in any::fault_plans(any::NODE_FAULTS, 3))| {
//!     let scenario = Scenario::sample().faults(plan);
//!     let report = Explorer::new(scenario).iterations(20).run().expect("it makes sense");
//!     prop_assert!(report.bug().is_none(), "{report}");
//! });
//! ```

use proptest::collection::vec;
use proptest::strategy::Strategy;

use crate::fault::{Fault, FaultPlan};
use crate::network::Delivery;

/// The faults that happen to nodes of a [`Simulation`](crate::node::Simulation).
pub const NODE_FAULTS: &[Fault] = &[
    Fault::Drop,
    Fault::Duplicate,
    Fault::Crash,
    Fault::LoseSaves,
    Fault::Partition,
    Fault::Pause,
];

/// Plans that allow each of these faults at most so often, and nothing else.
pub fn fault_plans(faults: &'static [Fault], budget_max: u32) -> impl Strategy<Value = FaultPlan> {
    vec(0..=budget_max, faults.len()).prop_map(move |budgets| {
        let pairs = faults.iter().zip(budgets);
        pairs.fold(FaultPlan::none(), |plan, (&fault, budget)| plan.allow(fault, budget))
    })
}

/// The surroundings of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// How many nodes there are.
    pub nodes: usize,
    /// What may go wrong.
    pub faults: FaultPlan,
    /// In which order messages arrive.
    pub delivery: Delivery,
    /// How many messages may be in flight.
    pub in_flight_max: usize,
}

/// Surroundings for this many nodes, with at most so many faults of each kind.
pub fn surroundings(
    nodes: std::ops::RangeInclusive<usize>,
    budget_max: u32,
) -> impl Strategy<Value = Surroundings> {
    let delivery = proptest::sample::select(&Delivery::ALL[..]);
    let parts = (nodes, fault_plans(NODE_FAULTS, budget_max), delivery, 4..=64usize);
    parts.prop_map(|(nodes, faults, delivery, in_flight_max)| Surroundings {
        nodes,
        faults,
        delivery,
        in_flight_max,
    })
}

#[cfg(test)]
mod tests {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;
    use crate::plan::Kind;

    #[test]
    fn a_plan_allows_what_was_asked_for_and_shrinks_to_nothing() {
        let mut runner = TestRunner::new_with_rng(
            Config::default(),
            proptest::test_runner::TestRng::deterministic_rng(
                proptest::test_runner::RngAlgorithm::ChaCha,
            ),
        );
        let mut seen = FaultPlan::none();
        for _ in 0..200 {
            let mut tree = fault_plans(NODE_FAULTS, 3).new_tree(&mut runner).expect("one is there");
            let plan = tree.current();
            for &fault in Fault::ALL {
                assert!(plan.budget(fault) <= if NODE_FAULTS.contains(&fault) { 3 } else { 0 });
                seen = seen.allow(fault, seen.budget(fault).max(plan.budget(fault)));
            }
            while tree.simplify() {}
            assert_eq!(tree.current(), FaultPlan::none());
        }
        assert!(NODE_FAULTS.iter().all(|&fault| seen.budget(fault) == 3), "{seen}");
    }
}
