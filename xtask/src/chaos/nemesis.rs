//! Carries out the schedule, and counts what really happened.
//!
//! Guarantees: a fault is counted when it was done to a process that ran or a message that was sent;
//!             after [`Nemesis::heal`] nothing is wrong any more but what the servers make of it.
//! Relies on:  real time between faults; everything else is waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use raft_mocking::broker::Faults;
use raft_mocking::emulator::Emulator;
use tokio::time::timeout;

use super::dice::Dice;
use super::plan::{Fault, Step};
use super::report::Progress;
use super::servers::Servers;

/// How long anything may take once nothing goes wrong any more.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);
/// How long a leader is waited for while something goes wrong.
const IMPATIENCE: Duration = Duration::from_secs(3);
/// How long new connections are refused at most: a client that gives up later has done its best.
const REFUSE_TIME: Duration = Duration::from_millis(700);
/// How long the broker is busy at most.
const THROTTLE_TIME: Duration = Duration::from_millis(900);
/// How much a disk that is about to be full takes at least: less than the next snapshot.
const DISK_BYTES_MIN: u64 = 512;
/// How long two candidates of one term are waited for.
const RACE_TIME: Duration = Duration::from_millis(2_500);

/// Does harm, in order.
#[derive(Debug)]
pub(super) struct Nemesis {
    servers: Arc<Servers>,
    emulator: Arc<Emulator>,
    progress: Progress,
    done: BTreeMap<Fault, u64>,
    /// Of these, each is one server that was killed.
    kills: u64,
    leader_kills: u64,
    starts: u64,
}

/// What really happened.
#[derive(Clone, Debug, Default)]
pub(super) struct Happened {
    /// By kind.
    pub(super) faults: BTreeMap<Fault, u64>,
    /// Servers killed, by whatever kind of fault.
    pub(super) kills: u64,
    /// Of these, leaders.
    pub(super) leader_kills: u64,
    /// Servers started again.
    pub(super) starts: u64,
}

impl Nemesis {
    pub(super) fn new(servers: Arc<Servers>, emulator: Arc<Emulator>, progress: Progress) -> Self {
        let done = BTreeMap::new();
        Self { servers, emulator, progress, done, kills: 0, leader_kills: 0, starts: 0 }
    }

    /// What really happened so far.
    pub(super) fn happened(&self) -> Happened {
        let counts = self.emulator.fault_counts();
        let mut faults = self.done.clone();
        let of_bus = [
            (Fault::Drop, counts.dropped),
            (Fault::Delay, counts.delayed),
            (Fault::Duplicate, counts.duplicated),
            (Fault::Throttle, counts.throttled),
            (Fault::Cut, counts.connections_cut),
            (Fault::Refuse, counts.connections_refused),
        ];
        faults.extend(of_bus);
        let Self { kills, leader_kills, starts, .. } = *self;
        Happened { faults, kills, leader_kills, starts }
    }

    /// Carries out one step, and waits until somebody leads again.
    pub(super) async fn carry_out(&mut self, step: &Step) -> Result<()> {
        let mut dice = Dice::new(step.choice, 0);
        if let Some(fault) = step.bus {
            self.begin_on_bus(fault, &mut dice);
        }
        match step.servers {
            Some(fault) => self.befall(fault, step, &mut dice).await?,
            None => tokio::time::sleep(step.hold).await,
        }
        self.heal(PATIENCE).await?;
        self.servers.leader(PATIENCE).await?;
        tokio::time::sleep(step.rest).await;
        Ok(())
    }

    /// Ends every fault, starts everybody who does not run, and waits until all have joined.
    pub(super) async fn heal(&mut self, within: Duration) -> Result<()> {
        self.emulator.set_faults(Faults::default());
        self.emulator.refuse_connections(false);
        self.servers.resume().await;
        self.starts += self.servers.start_missing(within).await?;
        Ok(())
    }

    fn begin_on_bus(&mut self, fault: Fault, dice: &mut Dice) {
        let millis = Duration::from_millis;
        let share = |dice: &mut Dice, percent| (1 + dice.below(percent)) as f64 / 100.0;
        let mut faults = Faults::default();
        let what = match fault {
            Fault::Drop => {
                faults.drop = share(dice, 15);
                format!("drops {:.0} % of deliveries", faults.drop * 100.0)
            }
            Fault::Delay => {
                faults.delay = share(dice, 60);
                faults.delay_range = millis(1)..millis(20 + dice.below(400));
                format!(
                    "delays {:.0} % of deliveries by up to {:?}",
                    faults.delay * 100.0,
                    faults.delay_range.end
                )
            }
            Fault::Duplicate => {
                // The copy is worth something if it comes when nobody expects it any more.
                (faults.duplicate, faults.delay) = (share(dice, 40), 0.3);
                faults.delay_range = millis(1)..millis(20 + dice.below(900));
                format!("repeats {:.0} % of deliveries, some late", faults.duplicate * 100.0)
            }
            Fault::Throttle => {
                faults.is_busy = true;
                self.end_soon(THROTTLE_TIME);
                "is too busy for anybody".to_owned()
            }
            Fault::Cut | Fault::Refuse => {
                self.emulator.refuse_connections(fault == Fault::Refuse);
                self.emulator.drop_connections();
                self.end_soon(REFUSE_TIME);
                match fault {
                    Fault::Cut => "cuts all connections".to_owned(),
                    _ => "cuts all connections and refuses new ones".to_owned(),
                }
            }
            of_servers => unreachable!("{of_servers} befalls no bus"),
        };
        self.progress.say(&format!("the broker {what}"), fault, None);
        self.emulator.set_faults(faults);
    }

    /// What makes the whole cluster wait ends by itself, whatever else is under way.
    fn end_soon(&self, after: Duration) {
        let emulator = Arc::clone(&self.emulator);
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            emulator.set_faults(Faults::default());
            emulator.refuse_connections(false);
        });
    }

    async fn befall(&mut self, fault: Fault, step: &Step, dice: &mut Dice) -> Result<()> {
        let leader = self.leader().await?;
        let others: Vec<_> = self.servers.ids().filter(|&id| id != leader).collect();
        let minority = others.len() / 2;
        match fault {
            Fault::LeaderKill => self.kill(fault, &[leader]).await,
            Fault::KillAll => {
                let all: Vec<_> = self.servers.ids().collect();
                self.kill(fault, &all).await;
                // Nobody runs, so nothing can happen: time only passes.
                return Ok(());
            }
            Fault::Kill => {
                let mut chosen = others;
                dice.shuffle(&mut chosen);
                chosen.truncate(1 + usize::try_from(dice.below(minority as u64)).unwrap_or(0));
                self.kill(fault, &chosen).await;
            }
            Fault::LeaderPause | Fault::Pause => {
                let chosen = match fault {
                    Fault::LeaderPause => Some(leader),
                    _ => dice.pick(&others),
                };
                let chosen = chosen.unwrap_or(leader);
                let count = self.servers.pause(&[chosen]).await;
                *self.done.entry(fault).or_default() += count;
                self.progress.say("is paused", fault, Some(chosen));
            }
            Fault::Restart => {
                let chosen = dice.pick(&others).unwrap_or(leader);
                self.progress.say("is asked to stop", fault, Some(chosen));
                if self.servers.stop(chosen).await {
                    *self.done.entry(fault).or_default() += 1;
                }
            }
            Fault::DiskFull => {
                let chosen = dice.pick(&others).unwrap_or(leader);
                self.kills += self.servers.kill(&[chosen]).await.len() as u64;
                let quota = DISK_BYTES_MIN + dice.below(DISK_BYTES_MIN);
                let error = self.servers.fill_disk(chosen, quota, PATIENCE).await?;
                *self.done.entry(fault).or_default() += 1;
                self.progress.say(&format!("has a full disk: {error}"), fault, Some(chosen));
                return Ok(());
            }
            Fault::VoteRace => return self.race(leader).await,
            of_bus => unreachable!("{of_bus} befalls no server"),
        }
        tokio::time::sleep(step.hold).await;
        Ok(())
    }

    /// Who leads. While the bus fails nobody may; then it has to go on first.
    async fn leader(&mut self) -> Result<u64> {
        if let Ok((_, leader)) = self.servers.leader(IMPATIENCE).await {
            return Ok(leader);
        }
        self.heal(PATIENCE).await?;
        Ok(self.servers.leader(PATIENCE).await?.1)
    }

    async fn kill(&mut self, fault: Fault, chosen: &[u64]) {
        let leader = self.servers.view().borrow().leader.map(|(_, leader)| leader);
        for &server in chosen {
            self.progress.say("is killed", fault, Some(server));
        }
        let killed = self.servers.kill(chosen).await;
        self.kills += killed.len() as u64;
        self.leader_kills += u64::from(leader.is_some_and(|leader| killed.contains(&leader)));
        if !killed.is_empty() {
            *self.done.entry(fault).or_default() += 1;
        }
    }

    /// Has an election between candidates of one term, if two come up; whoever was elected is paused
    /// before it can tell, and all who may have voted are killed and started again while requests for
    /// their votes are still on their way. Whoever forgot a vote then gives it twice.
    async fn race(&mut self, leader: u64) -> Result<()> {
        let millis = Duration::from_millis;
        self.emulator.set_faults(Faults {
            duplicate: 1.0,
            delay: 1.0,
            delay_range: millis(20)..millis(400),
            ..Faults::default()
        });
        self.kill(Fault::LeaderKill, &[leader]).await;
        // One more to give a vote.
        self.servers.start(leader, &[]).await?;
        self.starts += 1;
        let mut view = self.servers.view();
        let raced = view.wait_for(|view| view.leader.is_some());
        let Ok(raced) = timeout(RACE_TIME, raced).await else { return Ok(()) };
        let (candidates, elected) = {
            let view = raced?;
            let elected = view.leader;
            let term = elected.map_or(0, |(term, _)| term);
            (view.candidates.get(&term).cloned().unwrap_or_default(), elected)
        };
        let Some((_, elected)) = elected else { return Ok(()) };
        let paused = self.servers.pause(&[elected]).await;
        *self.done.entry(Fault::LeaderPause).or_default() += paused;
        let rivals: BTreeSet<_> = candidates.into_iter().filter(|&id| id != elected).collect();
        let voters: Vec<_> = self
            .servers
            .running()
            .await
            .into_iter()
            .filter(|id| *id != elected && !rivals.contains(id))
            .collect();
        self.kill(Fault::VoteRace, &voters).await;
        for voter in voters {
            self.servers.start(voter, &[]).await?;
            self.starts += 1;
        }
        // Until somebody else leads, or every late copy has come.
        let mut view = self.servers.view();
        let other = |view: &super::servers::View| view.leader.is_some_and(|(_, id)| id != elected);
        let _ = timeout(RACE_TIME, view.wait_for(other)).await;
        Ok(())
    }
}
