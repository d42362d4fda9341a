//! Nodes that are not Raft: what they choose, break and hide from a search.

use std::sync::atomic::{AtomicU32, Ordering};

use raft_nondeterminism::node::{Context, Node, NodeId, Simulation, View};
use raft_nondeterminism::{Exhaustive, ExhaustiveError, Explorer};

/// Picks a number when it starts, and another when it is told to.
#[derive(Clone, Debug, Default)]
struct Picker {
    first: usize,
    second: usize,
}

impl Node for Picker {
    type Message = ();

    fn on_start(&mut self, ctx: &mut Context<'_, Self>) {
        self.first = ctx.choose(3, "first");
        if self.first == 2 {
            self.second = ctx.choose(2, "second");
        }
        ctx.set_timer("pick");
    }

    fn on_message(&mut self, _ctx: &mut Context<'_, Self>, _from: NodeId, (): ()) {}

    fn on_timeout(&mut self, ctx: &mut Context<'_, Self>, _timer: &'static str) {
        self.second = ctx.choose(3, "second");
    }
}

fn pickers(count: usize) -> Simulation<Picker> {
    Simulation::new("pickers").nodes(vec![Picker::default(); count])
}

fn picked(view: &View<'_, Picker>) -> (usize, usize) {
    view.node(NodeId(1)).map_or((0, 0), |it| (it.first, it.second))
}

#[test]
fn what_a_node_chooses_when_it_starts_is_gone_through() {
    let found = Exhaustive::new(&pickers(1)).run().expect("it is explored");
    assert!(found.is_complete());
    // Before the timer four states, after it nine.
    assert_eq!((found.starts(), found.states(), found.transitions()), (4, 13, 12));
    let found = Exhaustive::new(&pickers(2)).run().expect("it is explored");
    assert_eq!((found.starts(), found.states()), (16, 13 * 13));
    // Only one start of four leads there.
    let never = |view: &View<'_, Picker>| match picked(view) {
        (2, 2) => Err("two and two".to_owned()),
        _ => Ok(()),
    };
    let simulation = pickers(1).always("never-two-and-two", never);
    for search in [Exhaustive::new(&simulation), Exhaustive::new(&simulation).depth_first()] {
        let found = search.run().expect("it is explored");
        let bug = found.bug().expect("it is reached").clone();
        assert_eq!((bug.property(), bug.schedule().events()), ("never-two-and-two", 1));
        let again = Explorer::of(simulation.clone()).replay_watched(bug.full().schedule());
        assert_eq!(again.expect("it replays").violation(), Some(bug.violation()));
    }
}

#[test]
fn what_is_broken_in_a_start_is_a_bug() {
    let early = |view: &View<'_, Picker>| match picked(view) {
        (1, _) => Err("one at once".to_owned()),
        _ => Ok(()),
    };
    let found = Exhaustive::new(&pickers(1).always("not-yet", early)).run().expect("it starts");
    let bug = found.bug().expect("it breaks");
    assert_eq!((bug.property(), bug.schedule().events(), found.starts()), ("not-yet", 0, 2));
}

/// Does not start, if it chooses so.
#[derive(Clone, Debug)]
struct Fragile;

impl Node for Fragile {
    type Message = ();

    fn on_start(&mut self, ctx: &mut Context<'_, Self>) {
        assert!(ctx.choose(2, "breaks") == 0, "it breaks");
    }

    fn on_message(&mut self, _ctx: &mut Context<'_, Self>, _from: NodeId, (): ()) {}
}

#[test]
fn a_panic_in_a_start_is_a_bug() {
    let found = Exhaustive::new(&Simulation::new("fragile").nodes([Fragile])).run();
    let bug = found.expect("it is told").bug().cloned().expect("the second start panics");
    assert_eq!(bug.property(), "no-panic");
    assert!(bug.violation().message.contains("it breaks"), "{}", bug.violation());
}

/// Counts what all copies of it have done, which is none of its state.
static TICKS: AtomicU32 = AtomicU32::new(0);

#[derive(Clone, Debug, Default)]
struct Forgetful {
    ticks: u32,
}

impl Node for Forgetful {
    type Message = ();

    fn on_start(&mut self, ctx: &mut Context<'_, Self>) {
        ctx.set_timer("tick");
    }

    fn on_message(&mut self, _ctx: &mut Context<'_, Self>, _from: NodeId, (): ()) {}

    fn on_timeout(&mut self, _ctx: &mut Context<'_, Self>, _timer: &'static str) {
        self.ticks = TICKS.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_node_that_goes_by_more_than_its_state_is_told_so() {
    let first = |view: &View<'_, Forgetful>| match view.nodes().any(|(_, node)| node.ticks == 1) {
        true => Err("the second tick".to_owned()),
        false => Ok(()),
    };
    let nodes = vec![Forgetful::default(); 2];
    let simulation = Simulation::new("forgetful").nodes(nodes).always("one-tick", first);
    let error = Exhaustive::new(&simulation).depth_first().run().expect_err("it cannot be shown");
    assert_eq!(error, ExhaustiveError::Unrepeatable);
}

/// How often it was started, which is none of its state.
static STARTS: AtomicU32 = AtomicU32::new(0);

#[derive(Clone, Debug)]
struct Once;

impl Node for Once {
    type Message = ();

    fn on_start(&mut self, ctx: &mut Context<'_, Self>) {
        assert_eq!(STARTS.fetch_add(1, Ordering::Relaxed), 0, "it starts once");
        ctx.set_timer("tick");
    }

    fn on_message(&mut self, _ctx: &mut Context<'_, Self>, _from: NodeId, (): ()) {}
}

#[test]
fn a_node_that_starts_once_only_is_told_so_where_worlds_are_made_again() {
    let search = Exhaustive::new(&Simulation::new("once").nodes([Once])).worlds_max(0);
    assert_eq!(search.run().expect_err("it cannot go on"), ExhaustiveError::Unrepeatable);
}
