//! Any message-passing system can be explored: its nodes meet every fault, and its properties are judged.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};

use raft_nondeterminism::node::{Context, Delivery, Monitor, Node, NodeId, Simulation, View};
use raft_nondeterminism::{
    Bug, Exhaustive, ExploreError, Explorer, Fault, FaultPlan, Random, ReplayError, Schedule,
    StateHasher,
};

/// Counts what it is told, asks again, saves now and then: a bit of everything.
#[derive(Clone, Debug, Default)]
struct Counter {
    count: u32,
    asked: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Say {
    Add(u32),
    Added,
}

impl Node for Counter {
    type Message = Say;

    fn on_message(&mut self, ctx: &mut Context<'_, Self>, from: NodeId, message: Say) {
        match message {
            Say::Add(number) => {
                self.count += number;
                ctx.write(self);
                ctx.send(from, Say::Added);
            }
            Say::Added => {
                self.asked = false;
                ctx.cancel_timer("again");
                ctx.reach("answered");
            }
        }
    }

    fn on_request(&mut self, ctx: &mut Context<'_, Self>, request: Say) {
        self.asked = true;
        ctx.broadcast(request);
        ctx.set_timer("again");
    }

    fn on_timeout(&mut self, ctx: &mut Context<'_, Self>, timer: &'static str) {
        assert_eq!(timer, "again");
        ctx.broadcast(Say::Add(1));
        ctx.set_timer("again");
    }

    fn on_restart(&mut self, _ctx: &mut Context<'_, Self>) {
        self.asked = false;
    }

    fn state_name(&self) -> &str {
        if self.asked { "asking" } else { "idle" }
    }
}

fn all_faults() -> FaultPlan {
    let kinds = [
        Fault::Drop,
        Fault::Duplicate,
        Fault::Crash,
        Fault::LoseSaves,
        Fault::Partition,
        Fault::Pause,
    ];
    kinds.into_iter().fold(FaultPlan::none(), |plan, fault| plan.allow(fault, 2))
}

fn counters() -> Simulation<Counter> {
    let nodes = ["alice", "bob", "carol"];
    let simulation = Simulation::new("counters").goal("answered");
    let simulation = nodes.iter().fold(simulation, |it, name| it.node(name, Counter::default()));
    simulation.request(NodeId(1), Say::Add(1)).request(NodeId(2), Say::Add(1))
}

fn bug<N: Node>(simulation: Simulation<N>) -> Bug {
    let report = Explorer::of(simulation).run().expect("it can be explored");
    report.bug().unwrap_or_else(|| panic!("nothing is found:\n{report}")).clone()
}

#[test]
fn every_fault_happens_and_is_counted_when_it_does() {
    let simulation = counters().faults(all_faults());
    for delivery in [Delivery::Unordered, Delivery::Fifo] {
        let report = Explorer::of(simulation.clone().delivery(delivery)).iterations(300).run();
        let report = report.unwrap();
        report.check().unwrap();
        assert!(report.goals().count("answered") > 0);
        assert_eq!(report.faults().count(Fault::DiskError), 0);
    }
    let report = Explorer::of(counters()).iterations(300).run().unwrap();
    assert_eq!(report.faults(), &raft_nondeterminism::FaultCounts::default());
}

#[test]
fn a_run_replays_from_its_text_choice_by_choice() {
    for iteration in 0..50 {
        let explorer = || Explorer::of(counters().faults(all_faults())).strategy(Random::new());
        let recording = explorer().settle().record(iteration).unwrap();
        let schedule: Schedule = recording.schedule().to_string().parse().unwrap();
        assert_eq!(explorer().replay_watched(&schedule).unwrap(), recording);
    }
}

#[test]
fn what_is_found_does_not_depend_on_the_number_of_workers() {
    let explore = |workers| {
        let simulation = counters().faults(all_faults()).always("few", |view| {
            let count = view.nodes().map(|(_, node)| node.count).max().unwrap_or_default();
            if count > 6 { Err(format!("{count} are many")) } else { Ok(()) }
        });
        let workers = NonZeroUsize::new(workers).unwrap();
        let report = Explorer::of(simulation).workers(workers).count_bugs().run().unwrap();
        let bug = report.bug().unwrap();
        (report.buggy_iterations(), report.unique_states(), bug.full().clone(), *report.faults())
    };
    assert_eq!(explore(1), explore(3));
}

#[test]
fn messages_arrive_in_order_only_over_fifo() {
    #[derive(Clone, Debug, Default)]
    struct Orderly(Vec<u32>);
    impl Node for Orderly {
        type Message = u32;
        fn on_start(&mut self, ctx: &mut Context<'_, Self>) {
            (1..=3).for_each(|number| ctx.broadcast(number));
        }
        fn on_message(&mut self, _ctx: &mut Context<'_, Self>, _from: NodeId, number: u32) {
            self.0.push(number);
        }
    }
    let simulation = Simulation::new("orderly")
        .nodes([Orderly::default(), Orderly::default()])
        .faults(FaultPlan::none().allow(Fault::Drop, 1).allow(Fault::Duplicate, 1))
        .always("in-order", |view| match view.nodes().find(|(_, node)| !node.0.is_sorted()) {
            Some((id, node)) => Err(format!("{id} heard {:?}", node.0)),
            None => Ok(()),
        });
    assert_eq!(bug(simulation.clone()).property(), "in-order");
    let report = Explorer::of(simulation.delivery(Delivery::Fifo)).run().unwrap();
    report.check().unwrap();
}

/// Says that it has something, and saves that it does, one way or another.
#[derive(Clone, Debug, Default)]
struct Promiser {
    way: Way,
    has: bool,
    told: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Way {
    #[default]
    SavesFirst,
    OnlyWrites,
    SavesLast,
    SavesNothing,
}

impl Node for Promiser {
    type Message = ();
    fn on_message(&mut self, _ctx: &mut Context<'_, Self>, _from: NodeId, (): ()) {
        self.told = true;
    }
    fn on_request(&mut self, ctx: &mut Context<'_, Self>, (): ()) {
        self.has = true;
        match self.way {
            Way::SavesFirst => ctx.save(self),
            Way::OnlyWrites => ctx.write(self),
            Way::SavesLast | Way::SavesNothing => {}
        }
        ctx.broadcast(());
        if self.way == Way::SavesLast {
            ctx.save(self);
        }
    }
}

fn promises(way: Way, faults: FaultPlan) -> Simulation<Promiser> {
    let promiser = Promiser { way, ..Promiser::default() };
    Simulation::new("promises")
        .nodes([promiser, Promiser::default()])
        .request(NodeId(1), ())
        .faults(faults)
        .always("promise-kept", |view| {
            let is_told = view.node(NodeId(2)).is_some_and(|node| node.told);
            let is_kept = view.node(NodeId(1)).is_none_or(|node| node.has);
            if is_told && !is_kept { Err("it is forgotten".to_owned()) } else { Ok(()) }
        })
}

#[test]
fn a_crash_takes_what_was_not_saved_before_it_was_promised() {
    let one = |plan: FaultPlan, fault| plan.allow(fault, 1);
    let crash = one(FaultPlan::none(), Fault::Crash);
    let losing = one(crash, Fault::LoseSaves);
    for (way, faults) in
        [(Way::OnlyWrites, losing), (Way::SavesLast, losing), (Way::SavesNothing, crash)]
    {
        assert_eq!(bug(promises(way, faults)).property(), "promise-kept", "{way:?}");
    }
    for (way, faults) in [(Way::SavesFirst, losing), (Way::OnlyWrites, crash)] {
        let report = Explorer::of(promises(way, faults)).run().unwrap();
        assert!(report.bug().is_none(), "{way:?}:\n{report}");
        assert!(report.faults().count(Fault::Crash) > 0);
    }
}

#[test]
fn the_trace_of_a_promise_that_is_forgotten_says_why() {
    let faults = FaultPlan::none().allow(Fault::Crash, 1).allow(Fault::LoseSaves, 1);
    let bug = bug(promises(Way::SavesLast, faults));
    let trace = bug.shrunk().trace();
    assert!(trace.contains("n1 crashes before it is saved"), "{trace}");
    assert!(bug.shrunk().schedule().to_string().contains("choose crash_before_save=1 of 8"));
}

/// Sends a ball back and forth; what it does besides is up to `kind`.
#[derive(Clone, Debug)]
struct Player {
    kind: Kind,
    seen: u32,
    is_done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Fair,
    Panics,
    Livelock,
    Dice,
    Clock,
    Calendar,
}

static CLOCK: AtomicU64 = AtomicU64::new(0);
static RUNS: AtomicU64 = AtomicU64::new(0);

impl Node for Player {
    type Message = u64;
    fn on_request(&mut self, ctx: &mut Context<'_, Self>, ball: u64) {
        ctx.broadcast(ball);
    }
    fn on_message(&mut self, ctx: &mut Context<'_, Self>, from: NodeId, ball: u64) {
        self.seen += 1;
        match self.kind {
            Kind::Fair if self.seen > 3 => self.is_done = true,
            Kind::Fair => ctx.send(from, ball + 1),
            Kind::Panics => {
                let balls: Vec<u64> = Vec::new();
                ctx.send(from, balls[self.seen as usize]);
            }
            Kind::Livelock => ctx.send(from, (ball + 1) % 3),
            Kind::Dice => {
                let numbers: HashMap<u64, ()> = (0..100).map(|number| (number, ())).collect();
                ctx.send(from, *numbers.keys().next().expect("there are many"));
            }
            Kind::Clock => ctx.send(from, CLOCK.fetch_add(1, Ordering::Relaxed)),
            // Alike in a few runs, and never alike.
            Kind::Calendar if self.seen == 1 => {
                ctx.send(from, RUNS.fetch_add(1, Ordering::Relaxed) / 5);
            }
            Kind::Calendar => ctx.send(from, RUNS.load(Ordering::Relaxed)),
        }
    }
}

fn players(kind: Kind) -> Simulation<Player> {
    let fair = Player { kind: Kind::Fair, seen: 0, is_done: false };
    let other = Player { kind, ..fair.clone() };
    let is_over = |view: &View<'_, Player>| view.nodes().any(|(_, node)| node.is_done);
    Simulation::new("players")
        .node("ann", fair)
        .node("ben", other)
        .request(NodeId(1), 0)
        .eventually("game-over", is_over)
}

#[test]
fn a_panic_in_a_node_is_a_violation_that_names_the_node() {
    let violation = bug(players(Kind::Panics)).violation().to_string();
    assert!(violation.starts_with("no-panic: ben: index out of bounds"), "{violation}");
    assert!(violation.contains("nodes.rs:"), "{violation}");
}

#[test]
fn a_panic_in_a_node_that_starts_is_a_violation_too() {
    #[derive(Clone, Debug)]
    struct StillBorn;
    impl Node for StillBorn {
        type Message = ();
        fn on_start(&mut self, ctx: &mut Context<'_, Self>) {
            ctx.send(NodeId(2), ());
        }
        fn on_message(&mut self, _ctx: &mut Context<'_, Self>, _from: NodeId, (): ()) {}
    }
    let violation = bug(Simulation::new("still-born").nodes([StillBorn])).violation().to_string();
    assert!(violation.starts_with("no-panic: n1: n2 is one of the nodes n1 to n1"), "{violation}");
}

#[test]
fn a_monitor_that_panics_is_named_and_the_nodes_are_not_blamed() {
    let simulation =
        players(Kind::Fair).always("arithmetic", |view| match view.in_flight().count() {
            0 => Ok(()),
            count => panic!("{count} is odd"),
        });
    let violation = bug(simulation).violation().to_string();
    let expected = "monitor-panic: the monitor of arithmetic panicked: 1 is odd";
    assert!(violation.starts_with(expected), "{violation}");
}

#[test]
fn a_goal_that_nobody_declared_is_named() {
    let simulation = Simulation::new("counters").nodes([Counter::default(), Counter::default()]);
    let violation = bug(simulation.request(NodeId(1), Say::Add(1))).violation().to_string();
    let expected = "no-panic: n1: the simulation does not know the goal \"answered\"";
    assert!(violation.starts_with(expected), "{violation}");
}

#[test]
fn a_world_in_which_nothing_can_happen_and_something_should_is_a_deadlock() {
    let faults = FaultPlan::none().allow(Fault::Drop, 1).allow(Fault::Crash, 1);
    let bug = bug(players(Kind::Fair).faults(faults));
    let expected = "deadlock: nothing can happen any more, and game-over is not true";
    assert_eq!(bug.violation().to_string(), expected);
    let report = Explorer::of(players(Kind::Fair)).run().unwrap();
    report.check().unwrap();
}

#[test]
fn what_never_becomes_true_is_found_when_a_run_settles() {
    let mut explorer = Explorer::of(players(Kind::Livelock)).iterations(20).max_steps(3);
    assert!(explorer.run().unwrap().bug().is_none(), "three steps prove nothing");
    let mut explorer = Explorer::of(lossy_askers()).iterations(20).max_steps(30).settle();
    let bug = explorer.run().unwrap().bug().unwrap().clone();
    let expected = "answered: nothing goes wrong any more, and it does not become true";
    assert_eq!(bug.violation().to_string(), expected);
    assert_eq!(bug.shrunk().schedule().events(), 2, "{bug}");
}

/// One asks when it is asked to, and then only waits, while another timer keeps the world busy.
fn lossy_askers() -> Simulation<Asker> {
    Simulation::new("askers")
        .nodes([Asker::default(), Asker::default()])
        .request(NodeId(1), "ask")
        .faults(FaultPlan::none().allow(Fault::Drop, 1))
        .eventually("answered", |view| view.nodes().all(|(_, node)| !node.is_waiting))
}

#[derive(Clone, Debug, Default)]
struct Asker {
    is_waiting: bool,
}

impl Node for Asker {
    type Message = &'static str;
    fn on_start(&mut self, ctx: &mut Context<'_, Self>) {
        ctx.set_timer("tick");
    }
    fn on_request(&mut self, ctx: &mut Context<'_, Self>, request: &'static str) {
        self.is_waiting = true;
        ctx.broadcast(request);
    }
    fn on_message(&mut self, ctx: &mut Context<'_, Self>, from: NodeId, text: &'static str) {
        match text {
            "ask" => ctx.send(from, "answer"),
            _ => self.is_waiting = false,
        }
    }
    fn on_timeout(&mut self, ctx: &mut Context<'_, Self>, timer: &'static str) {
        ctx.set_timer(timer);
    }
}

#[test]
fn what_stays_false_too_long_is_found_unless_the_schedule_was_unfair() {
    let within = |kind| {
        let is_over = |view: &View<'_, Player>| view.nodes().any(|(_, node)| node.is_done);
        Simulation::new("players")
            .nodes([
                Player { kind: Kind::Livelock, seen: 0, is_done: false },
                Player { kind, seen: 0, is_done: false },
            ])
            .request(NodeId(1), 0)
            .eventually_within("game-over", 40, is_over)
    };
    let bug = bug(within(Kind::Livelock));
    assert_eq!(bug.property(), "game-over");
    assert!(bug.violation().message.contains("in the last 41 events"), "{bug}");
    let report = Explorer::of(within(Kind::Fair)).run().unwrap();
    report.check().unwrap();

    // Two timers that always fire first keep a message from its receiver: that is the scheduler's fault.
    let askers =
        lossy_askers().faults(FaultPlan::none()).eventually_within("answered-soon", 5, |view| {
            view.nodes().all(|(_, node)| !node.is_waiting)
        });
    let timers_first =
        raft_nondeterminism::Weighted::new().weight(raft_nondeterminism::EventClass::Deliver, 0);
    let report = Explorer::of(askers).strategy(timers_first).run().unwrap();
    report.check().unwrap();
}

#[test]
fn a_node_that_throws_dice_of_its_own_is_named_with_the_event() {
    for kind in [Kind::Dice, Kind::Clock, Kind::Calendar] {
        let error = Explorer::of(players(kind)).run().unwrap_err();
        assert!(matches!(error, ExploreError::Nondeterminism { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("ben") && text.contains("deliver ann → ben 0"), "{kind:?}: {text}");
    }
}

#[test]
fn a_monitor_that_throws_dice_of_its_own_is_named() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static DICE: AtomicU32 = AtomicU32::new(1);
    let moody = lossy_askers().always("moody", |_| {
        let thrown = DICE.fetch_add(1, Ordering::Relaxed).wrapping_mul(2_654_435_761) >> 28;
        if thrown == 0 { Err("not today".to_owned()) } else { Ok(()) }
    });
    let text = Explorer::of(moody).run().unwrap_err().to_string();
    assert!(text.contains("the monitor of moody does not do the same again"), "{text}");
}

#[test]
fn a_choice_inside_a_handler_stands_in_the_schedule() {
    #[derive(Clone, Debug, Default)]
    struct Chooser(usize);
    impl Node for Chooser {
        type Message = ();
        fn on_message(&mut self, _ctx: &mut Context<'_, Self>, _from: NodeId, (): ()) {}
        fn on_request(&mut self, ctx: &mut Context<'_, Self>, (): ()) {
            self.0 = ctx.choose(5, "batch");
            ctx.note(format_args!("takes {}", self.0));
        }
    }
    let simulation = Simulation::new("choosers")
        .nodes([Chooser::default()])
        .request(NodeId(1), ())
        .always("not-three", |view| match view.nodes().any(|(_, node)| node.0 == 3) {
            true => Err("three".to_owned()),
            false => Ok(()),
        });
    let bug = bug(simulation.clone());
    assert!(bug.schedule().to_string().contains("choose batch=3 of 5"), "{bug}");
    assert!(bug.full().trace().contains("n1 takes 3"), "{bug}");
    let again = Explorer::of(simulation).replay_watched(bug.shrunk().schedule()).unwrap();
    assert_eq!(&again, bug.shrunk());
}

#[test]
fn a_simulation_that_makes_no_sense_is_refused() {
    let refused =
        |simulation: Simulation<Counter>| Explorer::of(simulation).run().unwrap_err().to_string();
    let named = |name| Simulation::new("x").node(name, Counter::default());
    for (simulation, expected) in [
        (Simulation::new("x"), "a simulation has 1 to 64 nodes, not 0"),
        (named("a b"), "\"a b\" is not one word, and cannot be a name"),
        (
            named("a").node("a", Counter::default()),
            "\"a\" is the name of two nodes, properties or goals",
        ),
        (
            named("a").request(NodeId(2), Say::Added),
            "a request is for n2, but there is no such node",
        ),
        (named("a").in_flight_max(0), "in_flight_max must be more than zero"),
        (named("a").label("bug", "a\nb"), "the label bug has more than one line"),
        (named("a").label("two words", 1), "\"two words\" is not one word, and cannot be a name"),
    ] {
        assert_eq!(refused(simulation), expected);
    }
}

#[test]
fn a_schedule_of_other_nodes_is_refused() {
    let recording = Explorer::of(counters().label("bug", "on")).record(0).unwrap();
    let refused = |simulation| {
        let error = Explorer::of(simulation).replay_watched(recording.schedule()).unwrap_err();
        assert!(matches!(error, ReplayError::Schedule(_)), "{error}");
        error.to_string()
    };
    let others = Simulation::new("counters").node("dave", Counter::default());
    assert!(refused(others).contains("\"nodes alice bob carol\" is not `nodes`"));
    let fixed = refused(counters().label("bug", "off"));
    assert!(fixed.contains("\"bug on\" is not `bug` and what this simulation says"), "{fixed}");
}

#[test]
fn a_monitor_with_a_memory_begins_each_run_without_one() {
    #[derive(Clone, Debug, Default)]
    struct EachOnce(BTreeSet<String>);
    impl Monitor<Teller> for EachOnce {
        fn property(&self) -> &'static str {
            "each-once"
        }
        fn observe(&mut self, view: &View<'_, Teller>) -> Result<(), String> {
            let again = view.facts().iter().find(|fact| !self.0.insert(fact.value.clone()));
            again.map_or(Ok(()), |fact| Err(format!("{} tells {} again", fact.node, fact.value)))
        }
    }
    #[derive(Clone, Debug, Hash)]
    struct Teller;
    impl Node for Teller {
        type Message = u8;
        fn on_message(&mut self, _ctx: &mut Context<'_, Self>, _from: NodeId, _message: u8) {}
        fn on_request(&mut self, ctx: &mut Context<'_, Self>, number: u8) {
            ctx.fact("told", number);
        }
        fn hash_state(&self, state: &mut StateHasher) {
            std::hash::Hash::hash(self, state);
        }
    }
    let teller = Simulation::new("tellers").nodes([Teller]).monitor(EachOnce::default());
    let different = teller.clone().request(NodeId(1), 1).request(NodeId(1), 2);
    Explorer::of(different).iterations(50).run().unwrap().check().unwrap();
    let same = teller.request(NodeId(1), 1).request(NodeId(1), 1);
    assert_eq!(bug(same).violation().message, "n1 tells 1 again");
}

#[test]
fn a_node_that_begins_to_differ_late_is_found_when_the_64th_run_is_made_again() {
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    #[derive(Clone, Debug, Default)]
    struct Tired(u64);
    impl Node for Tired {
        type Message = ();
        fn on_message(&mut self, _ctx: &mut Context<'_, Self>, _from: NodeId, (): ()) {}
        fn on_request(&mut self, _ctx: &mut Context<'_, Self>, (): ()) {
            let request = REQUESTS.fetch_add(1, Ordering::Relaxed);
            self.0 = if request < 60 { 0 } else { request % 2 };
        }
    }
    let tired = Simulation::new("tired").nodes([Tired::default()]).request(NodeId(1), ());
    // Up to there each run does the same, and from there on each second one.
    let error = Explorer::of(tired).run().unwrap_err();
    assert!(
        matches!(error, ExploreError::Nondeterminism { iteration, .. } if iteration > 0),
        "{error}"
    );
}

#[test]
fn a_small_simulation_is_explored_exhaustively() {
    let losing = FaultPlan::none().allow(Fault::Crash, 1).allow(Fault::LoseSaves, 1);
    let exhausted = Exhaustive::new(&promises(Way::SavesFirst, losing)).run().unwrap();
    assert!(exhausted.is_complete() && exhausted.bug().is_none(), "{exhausted:?}");
    assert!(exhausted.states() > 10);
    for way in [Way::OnlyWrites, Way::SavesLast, Way::SavesNothing] {
        let exhausted = Exhaustive::new(&promises(way, losing)).run().unwrap();
        let bug = exhausted.bug().expect("it is reached");
        assert_eq!(bug.property(), "promise-kept");
        let events = if way == Way::SavesLast { 3 } else { 4 };
        assert_eq!(bug.schedule().events(), events, "{way:?}: the shortest way");
    }
    let timed = promises(Way::SavesFirst, losing).eventually_within("soon", 5, |_| true);
    assert!(Exhaustive::new(&timed).run().is_err(), "how long something is false is no state");
}

/// Says something that does not print on one line.
#[derive(Clone, Debug)]
struct Rambler;

/// Prints itself as it likes.
#[derive(Clone, PartialEq)]
struct Ramble(&'static str);

impl std::fmt::Debug for Ramble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl Node for Rambler {
    type Message = Ramble;

    fn on_message(&mut self, _ctx: &mut Context<'_, Self>, _from: NodeId, said: Ramble) {
        assert!(said.0.len() > 100, "a short word");
    }

    fn on_start(&mut self, ctx: &mut Context<'_, Self>) {
        for said in ["", " ", "two\nlines", "a blank ", "\r\n#", "last\u{2028}"] {
            ctx.send(NodeId(1), Ramble(said));
        }
    }
}

#[test]
fn messages_that_print_on_many_lines_or_on_none_replay_all_the_same() {
    for seed in 0..20 {
        let simulation = Simulation::new("ramblers").node("one", Rambler);
        let mut explorer = Explorer::of(simulation).seed(seed);
        let report = explorer.run().unwrap();
        let bug = report.bug().expect("every word is short");
        for recording in [bug.full(), bug.shrunk()] {
            let text = recording.schedule().to_string();
            let schedule: Schedule = text.parse().unwrap();
            assert_eq!(schedule.to_string(), text);
            assert!(explorer.replay_watched(&schedule).unwrap() == *recording, "{text}");
        }
    }
}

#[test]
fn a_property_that_is_no_line_is_refused() {
    for name in ["", "two\nlines", " blank", "blank "] {
        let simulation = Simulation::new("ramblers").node("one", Rambler);
        let error = Explorer::of(simulation.always(name, |_| Ok(()))).run().unwrap_err();
        assert!(error.to_string().contains("is not one line"), "{error}");
    }
}
