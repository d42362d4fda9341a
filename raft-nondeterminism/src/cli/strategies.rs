//! The strategies by name.

use raft_nondeterminism::{Random, Strategy, Weighted};

use super::names;

/// A strategy with a name.
pub(crate) struct Named {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    build: fn() -> Box<dyn Strategy>,
}

/// The strategy whoever names none gets.
pub(crate) const DEFAULT: &str = "weighted";

/// Every strategy.
pub(crate) const ALL: [Named; 2] = [
    Named {
        name: "weighted",
        description: "chooses the kind of event by weight first, then any of that kind",
        build: || Box::new(Weighted::new()),
    },
    Named {
        name: "random",
        description: "chooses any event with the same probability",
        build: || Box::new(Random::new()),
    },
];

/// The strategy with this name.
pub(crate) fn build(name: &str, bound: Option<u64>) -> anyhow::Result<Box<dyn Strategy>> {
    let named = names::find(&ALL, "strategy", name, |named| named.name)?;
    if bound.is_some() {
        anyhow::bail!("the strategy {name} has no bound: --strategy-bound means nothing to it");
    }
    Ok((named.build)())
}
