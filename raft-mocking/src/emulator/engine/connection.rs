//! Connections: protocol headers, SASL, open and close, sessions, signs of life (part 2, section
//! 2.4; part 5).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::error::{
    CONNECTION_FORCED, DECODE_ERROR, FRAMING_ERROR, Failure, ILLEGAL_STATE, NOT_IMPLEMENTED,
};
use super::session::Session;
use super::{
    CHANNEL_MAX, Context, FRAME_BYTES_MAX, OUTPUT_BYTES_MAX, PEER_FRAME_BYTES_MIN, Settings,
};
use crate::broker::QueueId;
use crate::bus::{Bus, Listener};
use crate::emulator::amqp::frame::{
    self, AMQP_HEADER, Frame, FrameError, FrameKind, SASL_HEADER, take_frame,
};
use crate::emulator::amqp::outcome::AmqpError;
use crate::emulator::amqp::performative::{Begin, Open, Performative, SaslInit, put_ending};

/// The mechanisms of the service.
const SASL_MECHANISMS: [&str; 4] = ["MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL"];
/// The largest SASL frame (part 5, section 5.3.1).
const SASL_FRAME_BYTES_MAX: usize = 4096;
/// How long a peer may take to get as far as Open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a connection may have no link.
const UNUSED_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a peer may take to answer our Close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// One connection, from the first byte to the last.
pub(crate) struct Connection {
    cx: Context,
    phase: Phase,
    has_sent_open: bool,
    sessions: BTreeMap<u16, Session>,
    /// Queues that may have messages for us.
    told: BTreeSet<QueueId>,
    /// The link that had the last turn.
    last_turn: (u16, u32),
    started: Duration,
    last_read: Duration,
    last_write: Duration,
    /// The peer wants a sign of life this often.
    heartbeat: Option<Duration>,
    /// Since when there is no link; `None` while there is one.
    unused_since: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A protocol header is due.
    Header {
        is_authenticated: bool,
    },
    /// The SASL header was exchanged and our mechanisms are out.
    Sasl,
    /// The AMQP header was exchanged.
    Open,
    Opened,
    /// Our Close is out; the peer's is due by then.
    Closing {
        until: Duration,
    },
    /// Nothing more is read or sent.
    Closed,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn new(bus: Bus, settings: Arc<Settings>) -> Self {
        let now = bus.now();
        let message_bytes_max = bus.with_broker(|broker, _| broker.config().message_bytes_max);
        let cx = Context {
            bus,
            settings,
            listener: Arc::new(Listener::default()),
            now,
            out: BytesMut::new(),
            peer_frame_bytes_max: PEER_FRAME_BYTES_MIN as usize,
            message_bytes_max,
            grants: Vec::new(),
            plain: None,
            held_sessions: BTreeMap::new(),
            link_count: 0,
            handle_count: 0,
            partial_bytes: 0,
            is_pump_due: false,
        };
        Self {
            cx,
            phase: Phase::Header { is_authenticated: false },
            has_sent_open: false,
            sessions: BTreeMap::new(),
            told: BTreeSet::new(),
            last_turn: (0, 0),
            started: now,
            last_read: now,
            last_write: now,
            heartbeat: None,
            unused_since: Some(now),
        }
    }

    /// Who is told when messages arrive; pass on what it is told to [`Connection::tell`].
    pub(crate) fn listener(&self) -> Arc<Listener> {
        Arc::clone(&self.cx.listener)
    }

    /// Notes that these queues may have messages.
    pub(crate) fn tell(&mut self, queues: BTreeSet<QueueId>) {
        self.told.extend(queues);
    }

    /// Bytes for the peer. Take them from the front as they are written.
    pub(crate) fn output(&mut self) -> &mut BytesMut {
        &mut self.cx.out
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Handles what came, as far as it is complete; the rest stays in `input`.
    ///
    /// Stops early while too much output waits: call again after writing.
    pub(crate) fn read(&mut self, now: Duration, input: &mut BytesMut) {
        self.cx.now = now;
        while self.cx.out.len() < OUTPUT_BYTES_MAX && self.read_one(input) {
            self.last_read = now;
        }
        for session in self.sessions.values_mut() {
            session.flush_accepted(&mut self.cx);
        }
        let has_links = self.sessions.values().any(Session::has_links);
        self.unused_since = (!has_links).then(|| self.unused_since.unwrap_or(now));
    }

    /// Sends messages to the links that have credit.
    pub(crate) fn pump(&mut self, now: Duration) {
        self.cx.now = now;
        if self.phase != Phase::Opened || (!self.cx.is_pump_due && self.told.is_empty()) {
            return;
        }
        let (told, is_pump_due) = (std::mem::take(&mut self.told), self.cx.is_pump_due);
        self.cx.is_pump_due = false;
        let is_wanted =
            |queue: Option<QueueId>| is_pump_due || queue.is_none_or(|queue| told.contains(&queue));
        let ready = self.sessions.iter().flat_map(|(&channel, session)| {
            session.ready_links().map(move |(handle, queue)| ((channel, handle), queue))
        });
        let mut links: Vec<_> =
            ready.filter(|(_, queue)| is_wanted(*queue)).map(|(link, _)| link).collect();
        // Whoever comes after the last turn is first, so that nobody starves.
        let first = links.partition_point(|&link| link <= self.last_turn);
        links.rotate_left(first);
        while !links.is_empty() {
            links.retain(|&(channel, handle)| {
                if self.cx.is_output_high() {
                    return true;
                }
                self.last_turn = (channel, handle);
                let session = self.sessions.get_mut(&channel);
                session
                    .is_some_and(|session| session.pump(&mut self.cx, handle) && session.can_send())
            });
            if self.cx.is_output_high() {
                self.cx.is_pump_due = true;
                return;
            }
        }
    }

    /// When [`Connection::handle_timeout`] has work, if nothing happens before.
    pub(crate) fn next_timeout(&self) -> Option<Duration> {
        let is_opened = self.phase == Phase::Opened;
        let phase = match self.phase {
            Phase::Closed => return None,
            Phase::Closing { until } => until,
            Phase::Opened => self.last_read + self.cx.settings.idle_timeout,
            Phase::Header { .. } | Phase::Sasl | Phase::Open => self.started + OPEN_TIMEOUT,
        };
        let heartbeat = self.heartbeat.filter(|_| is_opened).map(|every| self.last_write + every);
        let grant = self.cx.grants.iter().filter_map(|grant| grant.expires_at).min();
        let limit = self.cx.settings.link_idle_timeout;
        let late = self.sessions.values().filter_map(|session| session.next_late(limit)).min();
        let unused = self.unused_since.filter(|_| is_opened).map(|since| since + UNUSED_TIMEOUT);
        [Some(phase), heartbeat, grant, late, unused].into_iter().flatten().min()
    }

    /// Does what is due by `now`.
    pub(crate) fn handle_timeout(&mut self, now: Duration) {
        self.cx.now = now;
        match self.phase {
            Phase::Closed => return,
            Phase::Closing { until } if until <= now => return self.finish(),
            Phase::Header { .. } | Phase::Sasl | Phase::Open
                if self.started + OPEN_TIMEOUT <= now =>
            {
                let error = "The connection was not opened in time.";
                return self.fail(AmqpError::new(CONNECTION_FORCED, error));
            }
            Phase::Opened if self.last_read + self.cx.settings.idle_timeout <= now => {
                let allowed_ms = self.cx.settings.idle_timeout.as_millis();
                let error = format!(
                    "The connection was inactive for more than the allowed {allowed_ms} milliseconds \
                     and is closed by container 'LocalServiceBusEmulator'."
                );
                return self.fail(AmqpError::new(CONNECTION_FORCED, error));
            }
            _ => {}
        }
        if self.cx.grants.iter().any(|grant| grant.expires_at.is_some_and(|at| at <= now)) {
            for session in self.sessions.values_mut() {
                session.detach_unauthorised(&mut self.cx);
            }
            self.cx.grants.retain(|grant| grant.expires_at.is_none_or(|at| at > now));
        }
        let limit = self.cx.settings.link_idle_timeout;
        for session in self.sessions.values_mut() {
            session.detach_late(&mut self.cx, limit);
        }
        if self.phase == Phase::Opened
            && self.unused_since.is_some_and(|since| since + UNUSED_TIMEOUT <= now)
        {
            let error = "The connection was closed by container 'LocalServiceBusEmulator' because it \
                         did not have any active links in the past 300000 milliseconds.";
            return self.fail(AmqpError::new(CONNECTION_FORCED, error));
        }
        if self.phase == Phase::Opened
            && self.heartbeat.is_some_and(|every| self.last_write + every <= now)
        {
            self.cx.put_frame(0, |_| {});
            self.last_write = now;
        }
    }

    /// Notes that output left, which counts as a sign of life.
    pub(crate) fn note_written(&mut self, now: Duration) {
        self.last_write = now;
    }

    /// Detaches every link as if nobody had used it for too long.
    pub(crate) fn detach_idle(&mut self, now: Duration) {
        self.cx.now = now;
        for session in self.sessions.values_mut() {
            session.detach_late(&mut self.cx, Duration::ZERO);
        }
    }

    /// Forgets every token as if it had expired.
    pub(crate) fn expire_tokens(&mut self, now: Duration) {
        self.cx.now = now;
        self.cx.grants.clear();
        self.cx.plain = None;
        for session in self.sessions.values_mut() {
            session.detach_unauthorised(&mut self.cx);
        }
    }

    /// Says goodbye: the emulator stops.
    pub(crate) fn close(&mut self, now: Duration) {
        self.cx.now = now;
        if !matches!(self.phase, Phase::Closing { .. } | Phase::Closed) {
            self.fail(AmqpError::new(CONNECTION_FORCED, "The emulator is stopping."));
        }
    }

    /// Handles one header or frame; `false` if there is none.
    fn read_one(&mut self, input: &mut BytesMut) -> bool {
        match self.phase {
            Phase::Closed => {
                input.clear();
                false
            }
            Phase::Header { is_authenticated } => self.read_header(input, is_authenticated),
            Phase::Sasl | Phase::Open | Phase::Opened | Phase::Closing { .. } => {
                let bytes_max =
                    if self.phase == Phase::Sasl { SASL_FRAME_BYTES_MAX } else { FRAME_BYTES_MAX };
                match take_frame(input, bytes_max) {
                    Ok(None) => return false,
                    Ok(Some(frame)) => {
                        if let Err(error) = self.handle_frame(frame) {
                            self.fail(error);
                        }
                    }
                    Err(error) => {
                        // Where the next frame starts is unknown from here on.
                        input.clear();
                        let condition = match error {
                            FrameError::TooLarge { .. } => FRAMING_ERROR,
                            FrameError::Malformed(_) => DECODE_ERROR,
                        };
                        self.fail(AmqpError::new(condition, error.to_string()));
                        self.finish();
                    }
                }
                true
            }
        }
    }

    fn read_header(&mut self, input: &mut BytesMut, is_authenticated: bool) -> bool {
        let Some(&header) = input.first_chunk::<8>() else { return false };
        input.advance(8);
        match (header, is_authenticated) {
            (SASL_HEADER, false) => {
                self.cx.out.extend_from_slice(&SASL_HEADER);
                frame::put_sasl_mechanisms(&mut self.cx.out, &SASL_MECHANISMS);
                self.phase = Phase::Sasl;
            }
            // JavaScript leaves SASL out when it was given a token instead of a key. Nothing is lost: who
            // the peer is, it tells `$cbs`.
            (AMQP_HEADER, _) => {
                self.cx.out.extend_from_slice(&AMQP_HEADER);
                self.phase = Phase::Open;
            }
            // Part 2, section 2.2: answer with what we would accept, then close.
            (_, false) => {
                tracing::debug!(?header, "protocol refused");
                self.cx.out.extend_from_slice(&SASL_HEADER);
                self.finish();
            }
            (_, true) => {
                self.cx.out.extend_from_slice(&AMQP_HEADER);
                self.finish();
            }
        }
        true
    }

    fn handle_frame(&mut self, frame: Frame) -> Result<(), AmqpError> {
        if frame.body.is_empty() {
            return Ok(());
        }
        let is_sasl = self.phase == Phase::Sasl;
        if is_sasl != (frame.kind == FrameKind::Sasl) {
            return Err(AmqpError::new(FRAMING_ERROR, "a frame of this type is not expected now"));
        }
        let decoded = Performative::decode(frame.body);
        let (performative, payload) =
            decoded.map_err(|error| AmqpError::new(DECODE_ERROR, error.to_string()))?;
        match (self.phase, performative) {
            (Phase::Sasl, Performative::SaslInit(init)) => {
                self.handle_sasl_init(&init);
                Ok(())
            }
            (Phase::Sasl, _) => {
                self.finish();
                Ok(())
            }
            (_, Performative::Close(_)) => {
                if !matches!(self.phase, Phase::Closing { .. }) {
                    self.put_open();
                    self.cx.put_frame(0, |out| put_ending(out, 0x18, None));
                }
                self.finish();
                Ok(())
            }
            (Phase::Closing { .. }, _) => Ok(()),
            (Phase::Open, Performative::Open(open)) => self.handle_open(&open),
            (Phase::Opened, performative) => {
                self.handle_session_frame(frame.channel, performative, &payload)
            }
            (_, _) => Err(AmqpError::new(ILLEGAL_STATE, "the connection is not open yet")),
        }
    }

    fn handle_sasl_init(&mut self, init: &SaslInit) {
        let is_accepted = match init.mechanism.as_str() {
            "ANONYMOUS" | "MSSBCBS" | "EXTERNAL" => true,
            "PLAIN" => {
                let mut parts = init.initial_response.split(|&byte| byte == 0);
                let mut text = || parts.next().and_then(|part| std::str::from_utf8(part).ok());
                let (_, name, key) = (text(), text(), text());
                let (name, key) = (name.unwrap_or_default(), key.unwrap_or_default());
                self.cx.plain = self.cx.settings.keys.grant_of(name, key);
                self.cx.plain.is_some()
            }
            _ => false,
        };
        frame::put_sasl_outcome(&mut self.cx.out, u8::from(!is_accepted));
        if is_accepted {
            self.phase = Phase::Header { is_authenticated: true };
        } else {
            tracing::debug!(init.mechanism, "authentication failed");
            self.finish();
        }
    }

    fn handle_open(&mut self, open: &Open) -> Result<(), AmqpError> {
        let announced = open.max_frame_size.unwrap_or(u32::MAX).max(PEER_FRAME_BYTES_MIN);
        self.cx.peer_frame_bytes_max = FRAME_BYTES_MAX.min(announced as usize);
        // Half of what the peer waits for, so that one late frame does no harm.
        let timeout_ms = open.idle_time_out_ms.filter(|&ms| ms > 0);
        self.heartbeat = timeout_ms.map(|ms| Duration::from_millis(u64::from(ms / 2).max(10)));
        self.put_open();
        self.phase = Phase::Opened;
        Ok(())
    }

    fn handle_session_frame(
        &mut self,
        channel: u16,
        performative: Performative,
        payload: &Bytes,
    ) -> Result<(), AmqpError> {
        let cx = &mut self.cx;
        let session = match (self.sessions.get_mut(&channel), performative) {
            (None, Performative::Begin(begin)) => return self.handle_begin(channel, &begin),
            (None, Performative::End) => return Ok(()),
            (None, _) => {
                let description = format!("no session on channel {channel}");
                return Err(AmqpError::new(ILLEGAL_STATE, description));
            }
            (Some(session), Performative::End) => {
                if !session.is_ending {
                    session.flush_accepted(cx);
                    cx.put_frame(channel, |out| put_ending(out, 0x17, None));
                }
                session.release(cx);
                self.sessions.remove(&channel);
                return Ok(());
            }
            (Some(session), _) if session.is_ending => return Ok(()),
            (Some(session), performative) => (session, performative),
        };
        let (session, performative) = session;
        let result = match performative {
            Performative::Attach(attach) => {
                cx.is_pump_due = true;
                session.handle_attach(cx, *attach)
            }
            Performative::Flow(flow) => {
                cx.is_pump_due = true;
                session.handle_flow(cx, &flow)
            }
            Performative::Transfer(transfer) => session.handle_transfer(cx, transfer, payload),
            Performative::Disposition(disposition) => {
                session.handle_disposition(cx, &disposition);
                Ok(())
            }
            Performative::Detach(detach) => {
                session.handle_detach(cx, &detach);
                Ok(())
            }
            Performative::Unknown(code) => {
                let description = format!("0x{code:x} is no performative");
                Err(Failure::connection(NOT_IMPLEMENTED, description))
            }
            Performative::Open(_)
            | Performative::Begin(_)
            | Performative::End
            | Performative::Close(_)
            | Performative::SaslInit(_) => {
                Err(Failure::connection(ILLEGAL_STATE, "this performative is not expected now"))
            }
        };
        match result {
            Ok(()) => Ok(()),
            Err(Failure::Connection(error)) => Err(error),
            Err(Failure::Session(error)) => {
                session.flush_accepted(cx);
                session.release(cx);
                session.is_ending = true;
                cx.put_frame(channel, |out| put_ending(out, 0x17, Some(&error)));
                Ok(())
            }
        }
    }

    fn handle_begin(&mut self, channel: u16, begin: &Begin) -> Result<(), AmqpError> {
        if channel > CHANNEL_MAX {
            let description = format!("channel {channel} exceeds the limit of {CHANNEL_MAX}");
            return Err(AmqpError::new(FRAMING_ERROR, description));
        }
        let session = Session::begin(&mut self.cx, channel, begin);
        self.sessions.insert(channel, session);
        Ok(())
    }

    fn put_open(&mut self) {
        if self.has_sent_open {
            return;
        }
        self.has_sent_open = true;
        let idle_timeout_ms = self.cx.settings.idle_timeout.as_millis();
        let open = Open {
            container_id: "LocalServiceBusEmulator".to_owned(),
            hostname: None,
            max_frame_size: Some(FRAME_BYTES_MAX as u32),
            channel_max: Some(CHANNEL_MAX),
            // Half of what we wait for (part 2, section 2.4.5).
            idle_time_out_ms: Some(u32::try_from(idle_timeout_ms / 2).unwrap_or(u32::MAX)),
        };
        self.cx.put_frame(0, |out| open.encode(out));
    }

    /// Closes the connection with an error, as far as the peer can understand one by now.
    fn fail(&mut self, error: AmqpError) {
        tracing::debug!(condition = error.condition, error.description, "connection closed");
        match self.phase {
            Phase::Closing { .. } | Phase::Closed => {}
            Phase::Header { .. } | Phase::Sasl => self.finish(),
            Phase::Open | Phase::Opened => {
                self.put_open();
                self.cx.put_frame(0, |out| put_ending(out, 0x18, Some(&error)));
                self.release();
                self.phase = Phase::Closing { until: self.cx.now + CLOSE_TIMEOUT };
            }
        }
    }

    fn finish(&mut self) {
        self.release();
        self.phase = Phase::Closed;
    }

    fn release(&mut self) {
        for session in self.sessions.values_mut() {
            session.flush_accepted(&mut self.cx);
            session.release(&mut self.cx);
        }
        self.sessions.clear();
    }
}

impl Drop for Connection {
    /// A lost socket gives back the locks like a proper end does.
    fn drop(&mut self) {
        self.release();
    }
}
