//! What an engine has to do to be measured, and the state machine that all of them apply to.

/// Applied logs are discarded after this many commands, so that memory does not grow without bound.
pub const COMPACT_EVERY: u64 = 8192;

/// Counts commands and adds their numbers up: enough to notice a lost, doubled or damaged one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// How many commands were applied.
    pub count: u64,
    /// The sum of their numbers.
    pub sum: u64,
}

impl Machine {
    /// Applies a command, whose first eight bytes are its number.
    ///
    /// # Panics
    ///
    /// If it has fewer.
    pub fn apply(&mut self, command: &[u8]) {
        let number = command.first_chunk().expect("a command starts with its number");
        self.count += 1;
        self.sum = self.sum.wrapping_add(u64::from_le_bytes(*number));
    }

    /// What the commands from 0 to `count`, without that one, come to.
    #[must_use]
    pub fn after(count: u64) -> Self {
        Self { count, sum: (0..count).sum() }
    }
}

/// The command with this number, as a client makes it: in memory of its own.
///
/// # Panics
///
/// If `bytes` is below eight.
#[must_use]
pub fn command(number: u64, bytes: usize) -> Vec<u8> {
    let mut command = vec![0; bytes];
    command[..8].copy_from_slice(&number.to_le_bytes());
    command
}

/// A cluster in one thread; its servers are named by their places, from 0.
///
/// Messages are moved, not encoded: see [`crate::codec`] for that.
pub trait Cluster: Sized {
    /// A cluster with a leader and nothing to do.
    fn start(servers: usize) -> Self;

    /// A new cluster, run just until one of its servers leads.
    fn elect(servers: usize) -> Self {
        Self::start(servers)
    }

    /// Who leads.
    fn leader(&self) -> usize {
        0
    }

    /// Hands commands to the leader. What follows is done in [`Cluster::run`].
    fn propose(&mut self, commands: impl Iterator<Item = Vec<u8>>);

    /// Runs until nothing is under way and every server that can be reached has applied everything.
    fn run(&mut self);

    /// What a server has applied.
    fn machine(&self, server: usize) -> Machine;

    /// Discards what was applied, on every server.
    fn compact(&mut self);

    /// Lets the time between two heartbeats pass, and runs.
    fn heartbeat(&mut self);

    /// Loses every message to and from this server from now on.
    fn cut_off(&mut self, server: usize);

    /// Loses no message any more.
    fn reconnect(&mut self, server: usize);
}

/// Puts `count` commands through, numbered from `first`, with `outstanding` at a time.
pub fn drive<C: Cluster>(cluster: &mut C, first: u64, load: Load) {
    let Load { count, bytes, outstanding, compacts } = load;
    let end = first + count;
    let mut since_compaction = 0;
    let mut next = first;
    while next < end {
        let batch = outstanding.min(end - next);
        cluster.propose((next..next + batch).map(|number| command(number, bytes)));
        cluster.run();
        next += batch;
        since_compaction += batch;
        if compacts && since_compaction >= COMPACT_EVERY {
            cluster.compact();
            since_compaction = 0;
        }
    }
}

/// What is put through a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many commands.
    pub count: u64,
    /// The size of each.
    pub bytes: usize,
    /// How many are proposed before the cluster runs.
    pub outstanding: u64,
    /// Whether applied logs are discarded now and then.
    pub compacts: bool,
}

/// Makes sure that every server has applied the commands 0 to `count`, each once.
///
/// # Panics
///
/// If one has not.
pub fn check<C: Cluster>(cluster: &C, servers: usize, count: u64) {
    for server in 0..servers {
        assert_eq!(cluster.machine(server), Machine::after(count), "applied by server {server}");
    }
}
