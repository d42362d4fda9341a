//! Connections, sessions and links without sockets: bytes in, bytes out (AMQP part 2).
//!
//! Guarantees: no input makes it panic; a peer that is wrong gets an error and a Close, not a lost
//! socket; memory is bounded, by the frame size, by the numbers of sessions, links and grants, by
//! the bytes of unfinished messages, and by not reading on while the output waits.
//! Relies on:  `now` from the bus's clock.
//! Elsewhere:  the socket is in [`super::listener`], bytes and messages in [`super::amqp`].

mod connection;
mod error;
mod incoming;
mod link;
mod outgoing;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod random_tests;
mod requests;
mod rules;
mod service;
mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;

pub(crate) use self::connection::Connection;
use super::amqp::frame::{self, FrameKind};
use super::sas::{Grant, KeyRing, Rights};
use crate::broker::{LockToken, QueueId};
use crate::bus::{Bus, Listener};

/// The largest frame we accept and announce; the service's own value.
pub(crate) const FRAME_BYTES_MAX: usize = 64 * 1024;
/// The smallest largest frame a peer may announce (part 2, section 2.7.1).
const PEER_FRAME_BYTES_MIN: u32 = 512;
/// While more output than this waits, no further message is sent.
const OUTPUT_BYTES_HIGH: usize = 128 * 1024;
/// While more output than this waits, no further frame is read.
pub(crate) const OUTPUT_BYTES_MAX: usize = 512 * 1024;
/// The highest channel number, so at most 1,024 sessions.
const CHANNEL_MAX: u16 = 1023;
/// The highest handle of a session.
const HANDLE_MAX: u32 = 1023;
/// The most grants of one connection.
const GRANTS_MAX: usize = 2048;

/// What all connections of one emulator share.
pub(crate) struct Settings {
    pub(crate) keys: KeyRing,
    /// A peer from which nothing came for this long is dead.
    pub(crate) idle_timeout: Duration,
    /// A link that was not used for this long is detached.
    pub(crate) link_idle_timeout: Duration,
    /// The most links of one connection.
    pub(crate) links_max: usize,
    /// Makes message ids and tracking ids differ.
    pub(crate) counter: AtomicU64,
}

impl Settings {
    fn next_number(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }
}

/// A session of an entity that a link holds.
#[derive(Debug, Clone)]
struct HeldSession {
    queue: QueueId,
    id: String,
    token: LockToken,
}

/// What the sessions of one connection share.
struct Context {
    bus: Bus,
    settings: Arc<Settings>,
    listener: Arc<Listener>,
    now: Duration,
    out: BytesMut,
    peer_frame_bytes_max: usize,
    message_bytes_max: u64,
    grants: Vec<Grant>,
    /// What a key allows that SASL PLAIN proved.
    plain: Option<Grant>,
    /// The sessions that links of this connection hold, by the names of the links.
    held_sessions: BTreeMap<String, HeldSession>,
    link_count: usize,
    /// Those of links, and of what was a link until we detached it.
    handle_count: usize,
    /// Bytes of messages that have not arrived completely.
    partial_bytes: usize,
    /// Some link may have something to send.
    is_pump_due: bool,
}

impl Context {
    fn put_frame(&mut self, channel: u16, body: impl FnOnce(&mut BytesMut)) {
        frame::put_frame(&mut self.out, FrameKind::Amqp, channel, body);
    }

    /// Whether some right of `wanted` was proved for `path`.
    fn is_authorised(&self, path: &str, wanted: Rights) -> bool {
        let is_allowed = |grant: &Grant| grant.rights.touch(wanted) && grant.covers(path, self.now);
        !self.settings.keys.is_checking || self.plain.iter().chain(&self.grants).any(is_allowed)
    }

    fn is_output_high(&self) -> bool {
        self.out.len() >= OUTPUT_BYTES_HIGH
    }
}

/// Serial numbers wrap around (RFC 1982): whether `id` lies in `first..=last`.
fn is_within(id: u32, first: u32, last: u32) -> bool {
    id.wrapping_sub(first) <= last.wrapping_sub(first)
}
