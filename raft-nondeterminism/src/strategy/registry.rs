//! Strategies by name, as the command line and tests ask for them.

use super::{
    CoverageGuided, DelayBounding, FairSuffix, PartialOrderSampling, Portfolio, Prioritization,
    Probabilistic, QLearning, Random, Strategy, Swarm, UniformWalk, Weighted,
};

/// A strategy that has a name.
#[derive(Clone, Copy, Debug)]
pub struct StrategyInfo {
    name: &'static str,
    aliases: &'static [&'static str],
    about: &'static str,
    bound: Option<u32>,
    make: fn(u32) -> Box<dyn Strategy>,
}

impl StrategyInfo {
    /// Its name: one word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Other names it has.
    #[must_use]
    pub fn aliases(&self) -> &'static [&'static str] {
        self.aliases
    }

    /// What it does, in one line.
    #[must_use]
    pub fn about(&self) -> &'static str {
        self.about
    }

    /// The bound it has if none is given; `None` if it takes none.
    #[must_use]
    pub fn default_bound(&self) -> Option<u32> {
        self.bound
    }
}

/// Every strategy that has a name. The first one is what the command takes unless told otherwise.
const STRATEGIES: [StrategyInfo; 15] = [
    StrategyInfo {
        name: "portfolio",
        aliases: &[],
        about: "several of the others, more of those that find more",
        bound: None,
        make: |_| Box::new(Portfolio::usual()),
    },
    StrategyInfo {
        name: "fair-portfolio",
        aliases: &[],
        about: "several that let nobody wait for ever",
        bound: None,
        make: |_| Box::new(Portfolio::fair()),
    },
    StrategyInfo {
        name: "unfair-portfolio",
        aliases: &[],
        about: "several that do",
        bound: None,
        make: |_| Box::new(Portfolio::unfair()),
    },
    StrategyInfo {
        name: "random",
        aliases: &[],
        about: "any enabled event, all equally likely",
        bound: None,
        make: |_| Box::new(Random::new()),
    },
    StrategyInfo {
        name: "weighted",
        aliases: &[],
        about: "the class of the event by weight, then any of that class",
        bound: None,
        make: |_| Box::new(Weighted::new()),
    },
    StrategyInfo {
        name: "probabilistic",
        aliases: &[],
        about: "stays with one server, and goes to another one time in 2^BOUND",
        bound: Some(3),
        make: |bound| Box::new(Probabilistic::new(bound)),
    },
    StrategyInfo {
        name: "prioritization",
        aliases: &["pct"],
        about: "whoever has the highest priority goes first, with BOUND changes of priority (PCT)",
        bound: Some(10),
        make: |bound| Box::new(Prioritization::new(bound)),
    },
    StrategyInfo {
        name: "fair-prioritization",
        aliases: &["fair-pct"],
        about: "the same for half of the steps, then weighted",
        bound: Some(10),
        make: |bound| Box::new(FairSuffix::new(Prioritization::new(bound))),
    },
    StrategyInfo {
        name: "delay-bounding",
        aliases: &[],
        about: "everyone in turn and oldest first, but for BOUND delays",
        bound: Some(10),
        make: |bound| Box::new(DelayBounding::new(bound)),
    },
    StrategyInfo {
        name: "fair-delay-bounding",
        aliases: &[],
        about: "the same for half of the steps, then weighted",
        bound: Some(10),
        make: |bound| Box::new(FairSuffix::new(DelayBounding::new(bound))),
    },
    StrategyInfo {
        name: "q-learning",
        aliases: &[],
        about: "what led to states rarely seen in the runs before",
        bound: None,
        make: |_| Box::new(QLearning::new()),
    },
    StrategyInfo {
        name: "pos",
        aliases: &[],
        about: "a random priority for each event, drawn again when it races (POS)",
        bound: None,
        make: |_| Box::new(PartialOrderSampling::new()),
    },
    StrategyInfo {
        name: "urw",
        aliases: &[],
        about: "whoever is expected to have most left to do (uniform random walk)",
        bound: None,
        make: |_| Box::new(UniformWalk::new()),
    },
    StrategyInfo {
        name: "swarm",
        aliases: &[],
        about: "weighted, with other weights, faults and habits in each run",
        bound: None,
        make: |_| Box::new(Swarm::new()),
    },
    StrategyInfo {
        name: "coverage",
        aliases: &[],
        about: "goes on from runs that saw something new",
        bound: None,
        make: |_| Box::new(CoverageGuided::new()),
    },
];

/// Every strategy that has a name; first the one that the command takes unless told otherwise.
#[must_use]
pub fn strategies() -> &'static [StrategyInfo] {
    &STRATEGIES
}

/// The strategy with this name, which may end in a bound: `pct:3`. A `bound` that is given besides counts
/// more than that, and one that the strategy has no use for is an error.
///
/// ```
/// use raft_nondeterminism::strategy;
///
/// assert_eq!(strategy("pct", Some(3))?.describe(), "prioritization:3");
/// assert_eq!(strategy("prioritization:3", None)?.describe(), "prioritization:3");
/// let error = strategy("piroritization", None).unwrap_err();
/// assert!(error.to_string().contains("did you mean prioritization?"), "{error}");
/// # Ok::<(), raft_nondeterminism::UnknownStrategy>(())
/// ```
///
/// # Errors
///
/// If no strategy has this name, or the bound is no number or not asked for.
pub fn strategy(name: &str, bound: Option<u32>) -> Result<Box<dyn Strategy>, UnknownStrategy> {
    let (word, suffix) = match name.split_once(':') {
        Some((word, suffix)) => (word, Some(suffix)),
        None => (name, None),
    };
    let is_meant = |info: &&StrategyInfo| info.name == word || info.aliases.contains(&word);
    let Some(info) = STRATEGIES.iter().find(is_meant) else {
        return Err(UnknownStrategy::Name { name: name.to_owned(), nearest: nearest(word) });
    };
    let own = match suffix.map(str::parse) {
        Some(Ok(bound)) => Some(bound),
        Some(Err(_)) => {
            return Err(UnknownStrategy::Bound { name: name.to_owned() });
        }
        None => None,
    };
    match (info.bound, bound.or(own)) {
        (None, Some(_)) => Err(UnknownStrategy::NoBound { name: info.name }),
        (default, bound) => Ok((info.make)(bound.or(default).unwrap_or_default())),
    }
}

/// Why there is no such strategy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownStrategy {
    /// No strategy has this name.
    #[error("there is no strategy {name:?}; did you mean {nearest}? There are: {}", names())]
    Name {
        /// What was asked for.
        name: String,
        /// The name that is most like it.
        nearest: &'static str,
    },
    /// What follows the colon is no number.
    #[error("{name:?} does not end in a bound, which is a number")]
    Bound {
        /// What was asked for.
        name: String,
    },
    /// The strategy has nothing to bound.
    #[error("{name} takes no bound")]
    NoBound {
        /// Its name.
        name: &'static str,
    },
}

/// Every name that is known here.
fn names() -> String {
    let names = |info: &StrategyInfo| [&[info.name], info.aliases].concat();
    STRATEGIES.iter().flat_map(names).collect::<Vec<_>>().join(", ")
}

/// The name that takes the fewest changes of a letter.
fn nearest(word: &str) -> &'static str {
    let distance = |info: &&StrategyInfo| {
        let names = [info.name].into_iter().chain(info.aliases.iter().copied());
        names.map(|name| strsim::levenshtein(word, name)).min()
    };
    STRATEGIES.iter().min_by_key(distance).map_or("portfolio", |info| info.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_and_alias_is_known() {
        for info in strategies() {
            for name in [info.name()].into_iter().chain(info.aliases().iter().copied()) {
                let made = strategy(name, None).unwrap();
                let bound = info.default_bound().map(|bound| format!(":{bound}"));
                let expected = format!("{}{}", info.name(), bound.unwrap_or_default());
                assert_eq!(made.describe(), expected);
                assert!(strategy(&made.describe(), None).is_ok(), "what it says is a name too");
            }
            assert!(!info.about().is_empty());
        }
    }

    #[test]
    fn names_and_bounds_that_make_no_sense_are_refused() {
        let error = strategy("pos:3", None).unwrap_err();
        assert_eq!(error, UnknownStrategy::NoBound { name: "pos" });
        let error = strategy("pct:many", None).unwrap_err();
        assert_eq!(error, UnknownStrategy::Bound { name: "pct:many".to_owned() });
        for (word, meant) in
            [("wieghted", "weighted"), ("pcr", "prioritization"), ("swam", "swarm")]
        {
            let error = strategy(word, None).unwrap_err();
            let UnknownStrategy::Name { nearest, .. } = &error else { panic!("{error}") };
            assert_eq!(*nearest, meant, "for {word:?}");
            let said = error.to_string();
            let (_, known) = said.split_once("There are: ").expect("it says what there is");
            let known: Vec<_> = known.split(", ").collect();
            for info in strategies() {
                assert!(known.contains(&info.name()), "{error}");
                assert!(info.aliases().iter().all(|alias| known.contains(alias)), "{error}");
            }
        }
    }
}
