//! Two-phase commit, which is not Raft: a coordinator asks participants whether they can commit, and
//! tells them whether all could. Nobody may commit while somebody aborts, whatever is lost, comes twice
//! or crashes; but whoever has promised to commit must wait for a coordinator that is down.
//!
//! `cargo run --release -p raft-nondeterminism --example two_phase_commit`
#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use std::collections::BTreeSet;

use raft_nondeterminism::node::{Context, Node, NodeId, Simulation, View};
use raft_nondeterminism::{ExploreError, Explorer, Fault, FaultPlan, Report};

const COORDINATOR: NodeId = NodeId(1);

#[derive(Clone, Debug)]
pub(crate) enum Message {
    Begin,
    Prepare,
    Vote { can_commit: bool },
    AskAgain,
    Decide { commit: bool },
}

/// Nodes of two kinds are one enum. Whatever they save is all they are, so a crash takes nothing that a
/// restart has to set back.
#[derive(Clone, Debug)]
pub(crate) enum Party {
    Coordinator { has_begun: bool, votes: BTreeSet<NodeId>, decision: Option<bool> },
    Participant(Phase),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Phase {
    Working,
    Prepared,
    Committed,
    Aborted,
}

impl Party {
    /// The coordinator makes up its mind, once and for all.
    fn decide(&mut self, ctx: &mut Context<'_, Self>, commit: bool) {
        if let Self::Coordinator { decision, .. } = self {
            let commit = *decision.get_or_insert(commit);
            ctx.save(self);
            ctx.broadcast(Message::Decide { commit });
        }
    }

    /// A participant tells what it can do, and has saved it before.
    fn vote(&mut self, ctx: &mut Context<'_, Self>) {
        let Self::Participant(phase) = self else { return };
        if *phase == Phase::Working {
            let is_able = ctx.choose(4, "is_able") > 0;
            *phase = if is_able { Phase::Prepared } else { Phase::Aborted };
            ctx.save(self);
        }
        let Self::Participant(phase) = self else { return };
        ctx.send(COORDINATOR, Message::Vote { can_commit: *phase != Phase::Aborted });
        if *phase == Phase::Prepared {
            ctx.set_timer("ask-again");
        }
    }
}

impl Node for Party {
    type Message = Message;

    fn on_request(&mut self, ctx: &mut Context<'_, Self>, _begin: Message) {
        if let Self::Coordinator { has_begun, .. } = self {
            *has_begun = true;
            ctx.save(self);
            ctx.broadcast(Message::Prepare);
            ctx.set_timer("give-up");
        }
    }

    fn on_message(&mut self, ctx: &mut Context<'_, Self>, from: NodeId, message: Message) {
        let others = ctx.others().count();
        match (&mut *self, message) {
            (Self::Participant(_), Message::Prepare) => self.vote(ctx),
            (Self::Participant(phase), Message::Decide { commit }) => {
                *phase = if commit { Phase::Committed } else { Phase::Aborted };
                ctx.save(self);
                ctx.cancel_timer("ask-again");
            }
            (
                Self::Coordinator { votes, decision: None, .. },
                Message::Vote { can_commit: true },
            ) => {
                votes.insert(from);
                if votes.len() == others {
                    self.decide(ctx, true);
                }
            }
            (Self::Coordinator { .. }, Message::Vote { can_commit: false }) => {
                self.decide(ctx, false);
            }
            (Self::Coordinator { decision: Some(commit), .. }, Message::AskAgain) => {
                ctx.send(from, Message::Decide { commit: *commit });
            }
            _ => {}
        }
    }

    fn on_timeout(&mut self, ctx: &mut Context<'_, Self>, timer: &'static str) {
        if timer == "give-up" {
            self.decide(ctx, false);
        } else {
            ctx.send(COORDINATOR, Message::AskAgain);
            ctx.set_timer("ask-again");
        }
    }

    fn on_restart(&mut self, ctx: &mut Context<'_, Self>) {
        match self {
            // Who is not known to have agreed may have refused: that is called presumed abort.
            Self::Coordinator { has_begun: true, .. } => self.decide(ctx, false),
            Self::Participant(Phase::Prepared) => ctx.set_timer("ask-again"),
            Self::Coordinator { .. } | Self::Participant(_) => {}
        }
    }

    fn kind_name(&self) -> &str {
        if matches!(self, Self::Coordinator { .. }) { "coordinator" } else { "participant" }
    }

    fn state_name(&self) -> &str {
        match self {
            Self::Coordinator { decision: None, .. } => "undecided",
            Self::Coordinator { decision: Some(true), .. } => "decided-to-commit",
            Self::Coordinator { decision: Some(false), .. } => "decided-to-abort",
            Self::Participant(Phase::Working) => "working",
            Self::Participant(Phase::Prepared) => "prepared",
            Self::Participant(Phase::Committed) => "committed",
            Self::Participant(Phase::Aborted) => "aborted",
        }
    }
}

/// True if some participant is there, in memory or at least on its disk.
fn is_any(view: &View<'_, Party>, phase: Phase) -> bool {
    let is_there = |party: &Party| matches!(party, Party::Participant(it) if *it == phase);
    view.nodes().chain(view.saved()).any(|(_, party)| is_there(party))
}

pub(crate) fn two_phase_commit() -> Simulation<Party> {
    let coordinator =
        Party::Coordinator { has_begun: false, votes: BTreeSet::new(), decision: None };
    let kinds = [Fault::Drop, Fault::Duplicate, Fault::Crash, Fault::Partition];
    Simulation::new("two-phase-commit")
        .node("coordinator", coordinator)
        .node("alice", Party::Participant(Phase::Working))
        .node("bob", Party::Participant(Phase::Working))
        .node("carol", Party::Participant(Phase::Working))
        .request(COORDINATOR, Message::Begin)
        .faults(kinds.into_iter().fold(FaultPlan::none(), |plan, fault| plan.allow(fault, 2)))
        .always("atomicity", |view| {
            if is_any(view, Phase::Committed) && is_any(view, Phase::Aborted) {
                return Err("one has committed, and another has aborted".to_owned());
            }
            Ok(())
        })
        .eventually("everyone-knows", |view| !is_any(view, Phase::Prepared))
        .sometimes("committed", |view| is_any(view, Phase::Committed))
        .sometimes("aborted", |view| is_any(view, Phase::Aborted))
        // The price of two-phase commit: nobody but the coordinator can tell how it ends.
        .sometimes("blocked", |view| {
            let is_down = view.node(COORDINATOR).is_none();
            let is_silent = view.in_flight().all(|(from, _, _)| from != COORDINATOR);
            is_down && is_silent && is_any(view, Phase::Prepared)
        })
}

pub(crate) fn explore(iterations: u64) -> Result<Report, ExploreError> {
    Explorer::of(two_phase_commit()).iterations(iterations).max_steps(100).settle().cover().run()
}

fn main() -> Result<(), ExploreError> {
    let report = explore(20_000)?;
    println!("{report}");
    if report.bug().is_none() {
        let (runs, goals) = (report.iterations(), report.goals());
        println!("In {runs} runs nobody committed while another aborted.");
        println!(
            "{} ended in a commit, {} in an abort,",
            goals.count("committed"),
            goals.count("aborted")
        );
        println!(
            "and in {} somebody had to wait for a coordinator that was down.",
            goals.count("blocked")
        );
    }
    Ok(())
}
