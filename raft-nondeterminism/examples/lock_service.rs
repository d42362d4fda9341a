//! A lock service with leases, which is not Raft, and the bug that leases invite: whoever held the lock
//! may believe for long that it still does. A fencing token cures it: the storage refuses a write that
//! comes with an older token than another one did.
//!
//! `cargo run --release -p raft-nondeterminism --example lock_service` finds nothing;
//! `cargo run --release -p raft-nondeterminism --example lock_service -- without-fencing` finds the bug,
//! shrinks it, and prints it with a test that keeps it out.
#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use raft_nondeterminism::node::{Context, Delivery, Node, NodeId, Simulation};
use raft_nondeterminism::{ExploreError, Explorer, Fault, FaultPlan, Report, testing};

const LOCKS: NodeId = NodeId(1);
const STORAGE: NodeId = NodeId(2);

#[derive(Clone, Debug)]
pub(crate) enum Message {
    Acquire,
    Granted { token: u64 },
    Write { token: u64 },
    Release { token: u64 },
}

#[derive(Clone, Debug)]
pub(crate) enum Party {
    /// Gives the lock to one client at a time, and takes it back when the lease is over.
    Locks { last_token: u64, is_held: bool, waiting: Vec<NodeId> },
    /// Keeps what clients write.
    Storage { is_fenced: bool, written: Vec<u64> },
    /// Writes once it has the lock.
    Client,
}

impl Party {
    fn grant(&mut self, ctx: &mut Context<'_, Self>) {
        let Self::Locks { last_token, is_held, waiting } = self else { return };
        if *is_held || waiting.is_empty() {
            return;
        }
        let client = waiting.remove(0);
        *last_token += 1;
        *is_held = true;
        let token = *last_token;
        // Saved before it is told, or a crash would give the same token to another.
        ctx.save(self);
        ctx.send(client, Message::Granted { token });
        ctx.set_timer("lease");
    }
}

impl Node for Party {
    type Message = Message;

    fn on_request(&mut self, ctx: &mut Context<'_, Self>, acquire: Message) {
        ctx.send(LOCKS, acquire);
    }

    fn on_message(&mut self, ctx: &mut Context<'_, Self>, from: NodeId, message: Message) {
        match (&mut *self, message) {
            (Self::Locks { waiting, .. }, Message::Acquire) => {
                waiting.push(from);
                self.grant(ctx);
            }
            (Self::Locks { last_token, is_held, .. }, Message::Release { token })
                if token == *last_token =>
            {
                *is_held = false;
                ctx.cancel_timer("lease");
                self.grant(ctx);
            }
            (Self::Client, Message::Granted { token }) => {
                ctx.send(STORAGE, Message::Write { token });
            }
            (Self::Storage { is_fenced, written }, Message::Write { token }) => {
                let newest = written.iter().max().copied().unwrap_or_default();
                if *is_fenced && token < newest {
                    ctx.note(format_args!("refuses token {token}: it has seen {newest}"));
                    ctx.reach("refused");
                } else {
                    written.push(token);
                    ctx.save(self);
                }
                ctx.send(LOCKS, Message::Release { token });
            }
            _ => {}
        }
    }

    fn on_timeout(&mut self, ctx: &mut Context<'_, Self>, _lease: &'static str) {
        if let Self::Locks { is_held, .. } = self {
            *is_held = false;
            self.grant(ctx);
        }
    }

    fn on_restart(&mut self, _ctx: &mut Context<'_, Self>) {
        // Who waited must ask again; who held the lock is waited for no longer.
        if let Self::Locks { is_held, waiting, .. } = self {
            *is_held = false;
            waiting.clear();
        }
    }
}

pub(crate) fn lock_service(is_fenced: bool) -> Simulation<Party> {
    let (ann, ben) = (NodeId(3), NodeId(4));
    let plan = [Fault::Crash, Fault::Drop, Fault::Duplicate, Fault::Pause];
    Simulation::new("lock-service")
        .node("locks", Party::Locks { last_token: 0, is_held: false, waiting: Vec::new() })
        .node("storage", Party::Storage { is_fenced, written: Vec::new() })
        .node("ann", Party::Client)
        .node("ben", Party::Client)
        .request(ann, Message::Acquire)
        .request(ben, Message::Acquire)
        // One connection for each pair of nodes: reordering is not to blame.
        .delivery(Delivery::Fifo)
        .faults(plan.into_iter().fold(FaultPlan::none(), |plan, fault| plan.allow(fault, 1)))
        .always("one-writer-at-a-time", |view| {
            let Some(Party::Storage { written, .. }) = view.node(STORAGE) else { return Ok(()) };
            match written.windows(2).find(|pair| pair[0] > pair[1]) {
                Some(pair) => Err(format!(
                    "token {} wrote after token {}, whose holder believes to be alone",
                    pair[1], pair[0]
                )),
                None => Ok(()),
            }
        })
        .sometimes("written-twice", |view| match view.node(STORAGE) {
            Some(Party::Storage { written, .. }) => written.len() > 1,
            _ => false,
        })
        .goal("refused")
}

pub(crate) fn explore(is_fenced: bool) -> Result<Report, ExploreError> {
    Explorer::of(lock_service(is_fenced)).iterations(5_000).max_steps(60).run()
}

/// What the example has to say.
pub(crate) fn tell(report: &Report) -> String {
    let Some(bug) = report.bug() else {
        let (runs, refused) = (report.iterations(), report.goals().count("refused"));
        return format!(
            "{report}\nNothing is wrong in {runs} runs, and in {refused} of them a late writer was \
             refused.\nTry it without-fencing."
        );
    };
    let schedule = bug.shrunk().schedule();
    let test = testing::regression_test(schedule, "lock_service(true)");
    format!(
        "Run {} went wrong after {} events, of which these {} are needed:\n\n{}\n\
         With this test it stays mended:\n\n{test}",
        bug.iteration(),
        bug.schedule().events(),
        schedule.events(),
        bug.shrunk().trace(),
    )
}

fn main() -> Result<(), ExploreError> {
    let is_fenced = std::env::args().all(|argument| argument != "without-fencing");
    println!("{}", tell(&explore(is_fenced)?));
    Ok(())
}
