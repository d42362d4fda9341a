//! Linearizability: whether a history can be explained by operations that take effect at one moment
//! each (Herlihy and Wing 1990).
//!
//! Guarantees: the verdict is that of trying every order, and the same each time; time and memory are
//!             bounded, and a bound that is reached is a verdict of its own.
//! Relies on:  a history that [`crate::history`] accepted.
//! Elsewhere:  the hints and the search are in `linearizability/sweep.rs`, the drawing of a violation is
//!             in [`crate::picture`].
//!
//! Every register holds `null` at first, and one is independent of the other, so each is checked alone
//! (Herlihy and Wing's locality; Horn and Kroening 2015 call it P-compositionality):
//! - `write` puts its value there.
//! - `read`, if it is ok, found its value there.
//! - `cas`, if it is ok, found `expected` there and put `value` there. One that failed may have failed
//!   for any reason, so it says nothing.
//! - `append` makes `null` a list of one, a list longer by one, and a string longer by a string. On
//!   anything else it is impossible, so it cannot have been ok.
//!
//! Operations that failed had no effect; those that ended in `info` or never took effect at some time
//! after their invocation, or not at all.
//!
//! If every operation that was completed says where in the log it took effect, that order is tried
//! first: it either explains the register in linear time, or was only a hint.

mod configuration;
mod minimize;
mod register;
mod state;
mod sweep;

use std::fmt;

use serde_json::Value;

use crate::history::{Disturbance, History, Operation, Outcome};
use crate::picture;
use minimize::{Core, minimize};
use register::{Register, Step, registers};
use sweep::{Budget, Impossible, Stuck, follows_order, search};

/// Checks a history with the default bounds.
///
/// ```
/// use raft_nondeterminism::history::History;
/// use raft_nondeterminism::linearizability::check;
///
/// let stale = r#"
///     {"process":0,"type":"invoke","f":"write","value":1}
///     {"process":0,"type":"ok","f":"write"}
///     {"process":1,"type":"invoke","f":"read"}
///     {"process":1,"type":"ok","f":"read","value":null}
/// "#;
/// let check = check(&History::parse(stale)?);
/// assert!(!check.verdict.is_linearizable());
/// println!("{}", check.verdict);
/// # Ok::<(), raft_nondeterminism::history::HistoryError>(())
/// ```
#[must_use]
pub fn check(history: &History) -> Check {
    Checker::new().check(history)
}

/// Checks histories, within bounds.
#[derive(Clone, Debug)]
pub struct Checker {
    steps_max: u64,
    configurations_max: usize,
}

impl Default for Checker {
    fn default() -> Self {
        Self::new()
    }
}

impl Checker {
    /// With bounds that end a search after some tens of seconds and some hundred megabytes.
    #[must_use]
    pub fn new() -> Self {
        Self { steps_max: 4_000_000_000, configurations_max: 1_000_000 }
    }

    /// How long the search may take, for all keys together. A step is a look at one operation under way
    /// in one attempt to explain what happened so far, or something that takes as long.
    #[must_use]
    pub fn steps_max(mut self, steps_max: u64) -> Self {
        self.steps_max = steps_max;
        self
    }

    /// How many ways to explain one key the search may have in memory. One counts once more for each
    /// 256 operations under way.
    #[must_use]
    pub fn configurations_max(mut self, configurations_max: usize) -> Self {
        self.configurations_max = configurations_max;
        self
    }

    /// Looks for an order of all operations that explains what the clients were told.
    #[must_use]
    pub fn check(&self, history: &History) -> Check {
        let mut budget =
            Budget { steps: self.steps_max, configurations_max: self.configurations_max };
        let registers = registers(history);
        let incomplete = |operation: &&Operation| operation.outcome == Outcome::Info;
        let mut check = Check {
            verdict: Verdict::Linearizable,
            operations: history.operations().len(),
            incomplete: history.operations().iter().filter(incomplete).count(),
            keys: registers.len(),
            keys_by_order: 0,
            steps: 0,
        };
        for register in &registers {
            if follows_order(&register.values, &register.steps) {
                check.keys_by_order += 1;
                continue;
            }
            let reason = match search(&register.values, &register.steps, &mut budget) {
                Ok(()) => continue,
                Err(Stuck::OutOfSteps) => Bound::Steps(self.steps_max),
                Err(Stuck::OutOfMemory) => Bound::Configurations(self.configurations_max),
                Err(Stuck::Impossible(impossible)) => {
                    let violation = violation(history, register, impossible);
                    check.verdict = Verdict::NotLinearizable(Box::new(violation));
                    break;
                }
            };
            // Another key may still be wrong, and that would be the more useful verdict.
            if check.verdict.is_linearizable() {
                check.verdict = Verdict::Undecided(Undecided { key: register.key.clone(), reason });
            }
        }
        check.steps = self.steps_max - budget.steps;
        check
    }
}

/// What a check found, and what it took.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Check {
    /// The verdict on all keys.
    pub verdict: Verdict,
    /// How many operations there are, however they ended.
    pub operations: usize,
    /// Of how many nobody knows whether they took effect.
    pub incomplete: usize,
    /// How many registers there are.
    pub keys: usize,
    /// How many of them the hints explained.
    pub keys_by_order: usize,
    /// How many steps the search took, see [`Checker::steps_max`].
    pub steps: u64,
}

/// Whether a history can be explained.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none, and here is why.
    NotLinearizable(Box<Violation>),
    /// Nobody knows: a bound was reached first.
    Undecided(Undecided),
}

impl Verdict {
    /// Whether there is an order. Not to know is not enough.
    #[must_use]
    pub fn is_linearizable(&self) -> bool {
        matches!(self, Self::Linearizable)
    }
}

/// For people: of a violation, the whole picture.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable => f.write_str("linearizable"),
            Self::NotLinearizable(violation) => f.write_str(&picture::text(violation)),
            Self::Undecided(undecided) => write!(f, "{undecided}"),
        }
    }
}

/// Which bound ended a search, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Undecided {
    /// The first register that was too much.
    pub key: Value,
    /// The bound.
    pub reason: Bound,
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, reason } = self;
        write!(f, "undecided: key {key} needs more than {reason}")
    }
}

/// What a check may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// See [`Checker::steps_max`].
    Steps(u64),
    /// See [`Checker::configurations_max`].
    Configurations(usize),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(most) => write!(f, "{most} steps"),
            Self::Configurations(most) => write!(f, "{most} configurations at once"),
        }
    }
}

/// Why a history cannot be explained.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Violation {
    /// The register.
    pub key: Value,
    /// The operation that cannot have taken effect before it completed. Everything that completed
    /// earlier can be explained.
    pub impossible: Operation,
    /// Few operations of this register that cannot be explained by themselves, in the order of their
    /// invocations; `impossible` is one of them.
    pub core: Vec<Operation>,
    /// Other operations of this register that were under way together with the impossible one.
    pub around: Vec<Operation>,
    /// What the register may have held when the impossible operation had to take effect, as far as the
    /// core tells.
    pub possible: Vec<Possible>,
    /// How many operations of this register are in neither list.
    pub left_out: usize,
    /// What somebody did to the system between the first and the last operation of the core.
    pub disturbances: Vec<Disturbance>,
}

/// What a register may have held, and who put it there.
#[derive(Clone, Debug, PartialEq)]
pub struct Possible {
    /// The operation; `None` is the beginning.
    pub writer: Option<Operation>,
    /// Whether it was under way and nothing depended on it yet.
    pub is_under_way: bool,
}

/// What it held: `3`, or `… + 4` after an append.
impl fmt::Display for Possible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::history::Action;
        match self.writer.as_ref().map(|writer| &writer.action) {
            None => f.write_str("null"),
            Some(Action::Read(value)) => write!(f, "{}", value.as_ref().unwrap_or(&Value::Null)),
            Some(Action::Write(value) | Action::Cas { value, .. }) => write!(f, "{value}"),
            Some(Action::Append(value)) => write!(f, "… + {value}"),
        }
    }
}

/// Steps that explaining a violation may take beside finding it.
const EXPLAINING_STEPS_MAX: u64 = 400_000_000;
/// Configurations that explaining a violation may take.
const EXPLAINING_CONFIGURATIONS_MAX: usize = 100_000;

fn violation(history: &History, register: &Register<'_>, impossible: Impossible) -> Violation {
    let mut budget =
        Budget { steps: EXPLAINING_STEPS_MAX, configurations_max: EXPLAINING_CONFIGURATIONS_MAX };
    let operations = history.operations();
    let operation = |step: &Step| operations[step.place].clone();
    let Core { steps, impossible } =
        minimize(&register.values, &register.steps, impossible, &mut budget);
    let culprit = &operations[steps[impossible.step].place];
    let writers = impossible.writers.iter().map(|writer| (*writer, false));
    let under_way = impossible.under_way.iter().map(|&step| (Some(step), true));
    let mut possible: Vec<Possible> = Vec::new();
    for (writer, is_under_way) in writers.chain(under_way) {
        let writer = writer.map(|step| operation(&steps[step]));
        if possible.iter().all(|known| known.writer != writer) {
            possible.push(Possible { writer, is_under_way });
        }
    }
    let is_core = |step: &Step| steps.iter().any(|other| other.place == step.place);
    let is_around = |step: &&Step| {
        let begins_before = culprit.completed.is_none_or(|end| step.invoked <= end);
        let ends_after = step.completed.is_none_or(|end| end >= culprit.invoked);
        begins_before && ends_after && step.completed.is_some() && !is_core(step)
    };
    let around: Vec<_> = register.steps.iter().filter(is_around).map(operation).collect();
    let from = steps.iter().map(|step| step.invoked).min().unwrap_or(0);
    let meanwhile = |other: &&Disturbance| {
        other.moment >= from && culprit.completed.is_none_or(|end| other.moment <= end)
    };
    Violation {
        key: register.key.clone(),
        impossible: culprit.clone(),
        possible,
        left_out: register.steps.len() - steps.len() - around.len(),
        core: steps.iter().map(operation).collect(),
        around,
        disturbances: history.disturbances().iter().filter(meanwhile).cloned().collect(),
    }
}
