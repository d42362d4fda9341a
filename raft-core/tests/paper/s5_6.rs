//! Timing and availability (§5.6).

use raft_core::{Config, ConfigError, ServerId};

/// "broadcastTime ≪ electionTimeout": a heartbeat that comes less often than elections are called is
/// refused before it does harm.
#[test]
fn heartbeats_must_be_more_frequent_than_elections() {
    let mut config = Config::new(ServerId(1), [1, 2, 3].map(ServerId));
    assert_eq!(config.validate(), Ok(()));
    assert!(config.heartbeat_interval * 2 < config.election_timeout_min);
    config.heartbeat_interval = config.election_timeout_min;
    assert!(matches!(config.validate(), Err(ConfigError::HeartbeatTooSlow { .. })));
}
