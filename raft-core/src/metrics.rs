//! A server's status as metrics of the [`metrics`] facade (feature `metrics`): the application installs
//! whichever recorder it likes.
//!
//! | Metric | What |
//! | --- | --- |
//! | `raft_term` | the latest term |
//! | `raft_role{role}` | 1 for the role the server has, 0 for the others |
//! | `raft_last_index`, `raft_durable_index`, `raft_commit_index`, `raft_applied_index` | how far its log has come |
//! | `raft_follower_lag_entries{follower}`, `raft_follower_silence_seconds{follower}` | what a leader knows of each other server |
//! | `raft_uncommitted_bytes` | what a leader has taken and not committed |
//! | `raft_save_latency_seconds` | how long the last save took |
//! | `raft_sessions` | how many sessions of clients are open |
//! | `raft_refusals_total{reason}` | how often inputs were refused |
//!
//! All have a label `server`. A server that leads no more says nothing of followers; the last values
//! stay until another leader's are looked at instead.

use metrics::{counter, gauge};

use crate::status::Status;

const ROLES: [&str; 4] = ["follower", "pre-candidate", "candidate", "leader"];

impl Status {
    /// Sets the metrics of this server, in the recorder that the application has installed. The driver
    /// does so whenever its timer fires; whoever runs a [`Server`](crate::Server) without it may do so
    /// at any time.
    pub fn record(&self) {
        let server = self.server_id.to_string();
        let set = |name: &'static str, value: f64| {
            gauge!(name, "server" => server.clone()).set(value);
        };
        for role in ROLES {
            let is_it = f64::from(u8::from(role == self.role));
            gauge!("raft_role", "server" => server.clone(), "role" => role).set(is_it);
        }
        set("raft_term", self.current_term.0 as f64);
        set("raft_last_index", self.last.index.0 as f64);
        set("raft_durable_index", self.durable_index.0 as f64);
        set("raft_commit_index", self.commit_index.0 as f64);
        set("raft_applied_index", self.last_applied.0 as f64);
        set("raft_uncommitted_bytes", self.uncommitted_bytes as f64);
        set("raft_sessions", self.sessions as f64);
        if let Some(latency) = self.save_latency {
            set("raft_save_latency_seconds", latency.as_secs_f64());
        }
        for &follower in self.progress.keys() {
            let of_follower = |name: &'static str, value: f64| {
                let follower = follower.to_string();
                gauge!(name, "server" => server.clone(), "follower" => follower).set(value);
            };
            let (lag, silence) = (self.lag(follower), self.silence(follower));
            of_follower("raft_follower_lag_entries", lag.unwrap_or_default() as f64);
            let silence = silence.unwrap_or_default().as_secs_f64();
            of_follower("raft_follower_silence_seconds", silence);
        }
        for (&reason, &count) in &self.refusals {
            let labels = [("server", server.clone()), ("reason", reason.to_owned())];
            counter!("raft_refusals_total", &labels).absolute(count);
        }
    }
}
