//! Coverage of systems that are not Raft: names are learned as they turn up, and what was never met is
//! told.

use std::num::NonZeroUsize;

use raft_nondeterminism::coverage::{Coverage, Meeting, NodeKind};
use raft_nondeterminism::node::{Context, Node, NodeId, Simulation};
use raft_nondeterminism::{Explorer, Fault, FaultPlan, Report};

/// A lamp that a switch turns on and off; a broken one would be `broken`.
#[derive(Clone, Debug)]
enum Part {
    Switch,
    Lamp { is_on: bool },
}

#[derive(Clone, Debug)]
enum Message {
    Press,
    Turn {
        on: bool,
    },
    Done,
    #[expect(dead_code, reason = "nobody says it, which is the point")]
    Smash,
}

impl Node for Part {
    type Message = Message;

    fn on_start(&mut self, ctx: &mut Context<'_, Self>) {
        if let Self::Lamp { .. } = self {
            ctx.set_timer("save-energy");
        }
    }

    fn on_request(&mut self, ctx: &mut Context<'_, Self>, _press: Message) {
        ctx.broadcast(Message::Turn { on: true });
    }

    fn on_message(&mut self, ctx: &mut Context<'_, Self>, from: NodeId, message: Message) {
        if let (Self::Lamp { is_on }, Message::Turn { on }) = (self, message) {
            *is_on = on;
            ctx.send(from, Message::Done);
        }
    }

    fn on_timeout(&mut self, _ctx: &mut Context<'_, Self>, _timer: &'static str) {
        if let Self::Lamp { is_on } = self {
            *is_on = false;
        }
    }

    fn kind_name(&self) -> &str {
        if matches!(self, Self::Switch) { "switch" } else { "lamp" }
    }

    fn state_name(&self) -> &str {
        match self {
            Self::Switch => "",
            Self::Lamp { is_on: true } => "on",
            Self::Lamp { is_on: false } => "off",
        }
    }
}

fn lamps() -> Simulation<Part> {
    Simulation::new("lamps")
        .node("switch", Part::Switch)
        .node("one", Part::Lamp { is_on: false })
        .node("two", Part::Lamp { is_on: false })
        .request(NodeId(1), Message::Press)
        .faults(FaultPlan::none().allow(Fault::Crash, 1).allow(Fault::Drop, 1))
}

fn explore(simulation: Simulation<Part>, workers: usize) -> Report {
    let workers = NonZeroUsize::new(workers).expect("somebody works");
    let mut explorer = Explorer::of(simulation).iterations(400).max_steps(30).workers(workers);
    explorer = explorer.cover();
    let report = explorer.run().expect("it repeats");
    let again = explorer.run().expect("it repeats");
    assert_eq!(report.coverage(), again.coverage(), "what is learned is forgotten in the end");
    report
}

/// The names of the events that are listed for a state.
fn listed(coverage: &Coverage, kind: &str, state: &str, title: &str) -> String {
    let text = coverage.to_string();
    let kind = text.split("StateMachine: ").find(|part| part.starts_with(&format!("{kind}\n")));
    let state = format!("State: {state}");
    let is_meant = |part: &&str| {
        part.starts_with(&format!("{state}\n"))
            || part.starts_with(&format!("{state} is uncovered"))
    };
    let kind = kind.unwrap_or_else(|| panic!("{text}"));
    let parts: Vec<_> = kind.match_indices("State: ").map(|(place, _)| &kind[place..]).collect();
    let part = parts.iter().copied().find(is_meant).unwrap_or_else(|| panic!("{state}:\n{text}"));
    let part = part[1..].split("State: ").next().unwrap_or_default();
    let title = format!("\t\t{title}: ");
    part.lines().find_map(|line| line.strip_prefix(&title)).unwrap_or_default().to_owned()
}

#[test]
fn names_are_learned_and_what_was_never_received_is_told() {
    let report = explore(lamps(), 1);
    let coverage = report.coverage().unwrap();
    let received = |kind, state| listed(coverage, kind, state, "Events received");
    assert_eq!(received("lamp", "off"), "Turn, crash, timeout save-energy");
    assert_eq!(received("lamp", "on"), "crash, timeout save-energy");
    assert_eq!(received("lamp", "down"), "restart");
    assert_eq!(received("switch", "up"), "Done, crash, request Press");
    let missing = |kind, state| listed(coverage, kind, state, "Events not covered");
    assert_eq!(missing("lamp", "on"), "Turn", "the switch is pressed once");
    assert_eq!(missing("lamp", "off"), "", "what a lamp only sends is not missed");
    assert_eq!(listed(coverage, "lamp", "off", "Events sent"), "");
    assert_eq!(listed(coverage, "lamp", "on", "Events sent"), "Done");
    assert_eq!(listed(coverage, "switch", "up", "Events only ignored"), "Done");
    assert_eq!(listed(coverage, "lamp", "on", "Next states"), "down, off");
    assert_eq!(listed(coverage, "lamp", "off", "Events only ignored"), "timeout save-energy");
    assert!(report.to_string().ends_with(&coverage.to_string()), "{report}");
}

#[test]
fn what_was_declared_and_never_met_is_missed() {
    let lamp = NodeKind::new("lamp", &["on", "off", "broken"], &["Turn", "Smash"])
        .without(&["on"], &["Turn"]);
    let report = explore(lamps().declare(lamp), 1);
    let coverage = report.coverage().unwrap();
    let missing = |state| listed(coverage, "lamp", state, "Events not covered");
    assert_eq!(missing("off"), "Smash");
    assert_eq!(missing("on"), "Smash");
    assert_eq!(missing("broken"), "Smash, Turn, crash, timeout save-energy");
    assert!(coverage.to_string().contains("State: broken is uncovered\n"));
}

#[test]
fn coverage_does_not_depend_on_the_workers_and_changes_nothing() {
    let (one, three) = (explore(lamps(), 1), explore(lamps(), 3));
    assert_eq!(one.coverage(), three.coverage());
    let mut plain = Explorer::of(lamps()).iterations(400).max_steps(30);
    let plain = plain.run().unwrap();
    assert!(plain.coverage().is_none());
    let figures = |report: &Report| (report.steps(), report.unique_paths(), *report.faults());
    assert_eq!(figures(&plain), figures(&one));
}

#[test]
fn every_crash_is_counted_also_one_in_the_middle_of_a_handler() {
    #[derive(Clone, Debug, Default)]
    struct Hasty(u8);

    impl Node for Hasty {
        type Message = u8;

        fn on_request(&mut self, ctx: &mut Context<'_, Self>, number: u8) {
            self.0 += number;
            ctx.send(ctx.id(), number);
            ctx.save(self);
        }

        fn on_message(&mut self, _ctx: &mut Context<'_, Self>, _from: NodeId, _number: u8) {}
    }

    let faults = FaultPlan::none().allow(Fault::Crash, 1).allow(Fault::LoseSaves, 1);
    let hasty = Simulation::new("hasty").node("it", Hasty(0)).request(NodeId(1), 1).faults(faults);
    let report = Explorer::of(hasty).iterations(300).max_steps(20).cover().run().unwrap();
    let coverage = report.coverage().unwrap();
    let kind = &coverage.plan().kinds()[0];
    let place = |names: &[String], name: &str| names.iter().position(|it| it == name).unwrap();
    let (up, down) = (place(kind.states(), "up"), place(kind.states(), "down"));
    let crashes = coverage.count(0, up, place(kind.events(), "crash"), Meeting::Handled);
    assert_eq!(crashes, report.faults().count(Fault::Crash));
    assert_eq!(coverage.move_count(0, up, down), crashes);
    assert!(report.faults().count(Fault::LoseSaves) > 0, "{report}");
    assert!(kind.events().iter().any(|name| name == "message"), "numbers have no name");
}

/// A node whose names are anybody's: it goes on to its state, sets its timer and sends its message.
#[derive(Clone, Debug)]
struct Named {
    kind: &'static str,
    state: &'static str,
    message: &'static str,
    timer: &'static str,
    has_started: bool,
}

impl Named {
    const GOOD: Self =
        Self { kind: "node", state: "busy", message: "Vote", timer: "t", has_started: false };
}

impl Node for Named {
    type Message = &'static str;

    fn on_start(&mut self, ctx: &mut Context<'_, Self>) {
        ctx.set_timer(self.timer);
    }

    fn on_timeout(&mut self, ctx: &mut Context<'_, Self>, _timer: &'static str) {
        self.has_started = true;
        ctx.broadcast(self.message);
    }

    fn on_message(&mut self, _ctx: &mut Context<'_, Self>, _from: NodeId, _text: &'static str) {}

    fn kind_name(&self) -> &str {
        self.kind
    }

    fn state_name(&self) -> &str {
        if self.has_started { self.state } else { "" }
    }

    fn message_name(message: &&'static str) -> String {
        (*message).to_owned()
    }
}

fn named(node: &Named) -> Simulation<Named> {
    Simulation::new("named").nodes([node.clone(), node.clone()])
}

#[test]
fn a_name_that_cannot_stand_in_coverage_is_refused_where_it_is_learned() {
    let good = Named::GOOD;
    for (node, refused) in [
        (
            Named { state: "down", ..good },
            "the state of a node that is up cannot be called \"down\"",
        ),
        (
            Named { state: "a\nb", ..good },
            "\"a\\nb\" is not one line, and cannot be the name of a state",
        ),
        (
            Named { message: "", ..good },
            "\"\" is not one line, and cannot be the name of a message",
        ),
        (Named { message: "crash", ..good }, "a message cannot be called \"crash\" in coverage"),
        (Named { message: "timeout t", ..good }, "a message cannot be called \"timeout t\""),
        (Named { message: "request Vote", ..good }, "a message cannot be called \"request Vote\""),
        (Named { timer: "", ..good }, "\"\" is not one line, and cannot be the name of a timer"),
    ] {
        let errors = [1, 3].map(|workers| {
            let workers = NonZeroUsize::new(workers).expect("somebody works");
            let mut explorer = Explorer::of(named(&node)).iterations(50).workers(workers).cover();
            explorer.run().expect_err("it cannot be told").to_string()
        });
        assert!(errors[0].starts_with(refused), "{}", errors[0]);
        assert_eq!(errors[0], errors[1]);
        let plain = Explorer::of(named(&node)).iterations(50).run();
        assert!(plain.is_ok(), "who asks for no coverage need not care: {plain:?}");
        // A bug counts more.
        let broken = named(&node).always("quiet", |view| {
            let is_busy = view.nodes().any(|(_, node)| node.has_started);
            if is_busy { Err("somebody is busy".to_owned()) } else { Ok(()) }
        });
        let report = Explorer::of(broken).iterations(50).cover().run();
        match report {
            Ok(report) => assert_eq!(report.bug().unwrap().property(), "quiet"),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(Explorer::of(named(&good)).iterations(50).cover().run().is_ok());
}

#[test]
fn what_is_declared_has_names_and_nodes() {
    let refused = |simulation: Simulation<Named>| {
        Explorer::of(simulation).iterations(1).run().unwrap_err().to_string()
    };
    let declared = |kind| refused(named(&Named::GOOD).declare(kind));
    let not_a_line = "is not one line, and cannot be the name of";
    for (kind, expected) in [
        (NodeKind::new("node", &["up", ""], &[]), format!("\"\" {not_a_line} a state")),
        (NodeKind::new("node", &[], &["a\rb"]), format!("\"a\\rb\" {not_a_line} an event")),
        (NodeKind::new("", &[], &[]), format!("\"\" {not_a_line} a kind of node")),
        (
            NodeKind::new("noed", &["up"], &["Vote"]),
            "no node is of the kind \"noed\", which is declared; there is: node".to_owned(),
        ),
    ] {
        let error = declared(kind);
        assert!(error.starts_with(&expected), "{error}");
    }
    let error = refused(named(&Named { kind: "a\nb", ..Named::GOOD }));
    assert!(error.contains(&format!("\"a\\nb\" {not_a_line} a kind of node")), "{error}");
    // What is no message may be declared by its name, and what is down too.
    let kind = NodeKind::new("node", &["busy", "down"], &["crash", "restart", "timeout t"]);
    let kind = kind.only(&["down"], &["restart"]);
    assert!(Explorer::of(named(&Named::GOOD).declare(kind)).iterations(9).cover().run().is_ok());
}
