//! Load for an emulator: as many messages as it takes, from a client that does as little as it can.
//!
//! It is what `cargo xtask bench emulator` runs. It writes its own frames, so that what is measured is
//! the emulator and not a client: frames of a fixed shape out, and a look at the first bytes of each in.
//!
//! Relies on:  an emulator that has the topic `load` with five subscriptions `s1` to `s5`, and the queue
//! `pile`, and that checks no keys.
#![expect(clippy::print_stdout, reason = "it prints its results")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What each message carries.
const BODY_BYTES: usize = 200;
/// Credit of each receiver; renewed when half of it is used.
const CREDIT: u32 = 5_000;
const SUBSCRIPTIONS: u32 = 5;
/// Nothing takes longer unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many messages receivers may be behind: beyond that, what is measured is a queue.
const BEHIND_MAX: u64 = 2_000;
/// Messages a second, when the latency at the goal is measured.
const PACE: u64 = 100_000;
/// How long receivers wait for more at the end.
const PAUSE: Duration = Duration::from_millis(200);

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let usage =
        || io::Error::other("usage: emulator-load ADDRESS fan-out|paced|pile|connections NUMBER");
    let [_, address, what, number] = &arguments[..] else { return Err(usage()) };
    let address: SocketAddr = address.parse().map_err(|_| usage())?;
    let number: u64 = number.parse().map_err(|_| usage())?;
    match what.as_str() {
        "fan-out" => fan_out(address, Duration::from_secs(number), u64::MAX),
        "paced" => fan_out(address, Duration::from_secs(number), PACE),
        "pile" => pile(address, number),
        "connections" => connections(address, number),
        _ => Err(usage()),
    }
}

/// One sender with 64 outstanding to one topic, five subscriptions, for a time, at a pace.
fn fan_out(address: SocketAddr, time: Duration, pace: u64) -> io::Result<()> {
    let started = Instant::now();
    let is_over = AtomicBool::new(false);
    let arrived = AtomicU64::new(0);
    let mut receiver = Peer::connect(address)?;
    for handle in 0..SUBSCRIPTIONS {
        receiver.attach(handle, true, &format!("load/Subscriptions/s{}", handle + 1))?;
        receiver.put_credit(handle, 0);
    }
    receiver.flush()?;
    let mut sender = Peer::connect(address)?;
    sender.attach(0, false, "load")?;
    std::thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(&mut receiver, started, &is_over, &arrived));
        let begun = Instant::now();
        let is_due = |sent: u64| {
            let elapsed = begun.elapsed();
            let behind = sent - arrived.load(Ordering::Relaxed) / u64::from(SUBSCRIPTIONS);
            if elapsed >= time {
                Due::Over
            } else if behind > BEHIND_MAX || sent as f64 >= elapsed.as_secs_f64() * pace as f64 {
                Due::Later
            } else {
                Due::Now
            }
        };
        let sent = send(&mut sender, "load", started, is_due, 64);
        let elapsed = begun.elapsed();
        is_over.store(true, Ordering::Relaxed);
        let (received, mut latencies) =
            receiving.join().map_err(|_| io::Error::other("panic"))??;
        let sent = sent?;
        latencies.sort_unstable();
        let percentile = |share: f64| {
            let place = (latencies.len() as f64 * share) as usize;
            latencies.get(place.min(latencies.len().saturating_sub(1))).copied().unwrap_or(0)
        };
        let (p50, p99) = (percentile(0.5), percentile(0.99));
        println!(
            r#"{{"seconds":{:.3},"sent":{sent},"received":{received},"p50_us":{p50},"p99_us":{p99}}}"#,
            elapsed.as_secs_f64(),
        );
        Ok(())
    })
}

/// So many messages that nobody receives.
fn pile(address: SocketAddr, count: u64) -> io::Result<()> {
    let mut sender = Peer::connect(address)?;
    sender.attach(0, false, "pile")?;
    let begun = Instant::now();
    let sent = send(&mut sender, "pile", begun, until(count), 500)?;
    println!(r#"{{"seconds":{:.3},"sent":{sent}}}"#, begun.elapsed().as_secs_f64());
    hold()
}

/// So many connections at a time, each of which sends a message.
fn connections(address: SocketAddr, count: u64) -> io::Result<()> {
    let begun = Instant::now();
    let mut peers = (0..count).map(|_| Peer::connect(address)).collect::<io::Result<Vec<_>>>()?;
    for peer in &mut peers {
        peer.attach(0, false, "pile")?;
    }
    let opened = begun.elapsed();
    let mut sent = 0;
    for peer in &mut peers {
        sent += send(peer, "pile", begun, until(1), 1)?;
    }
    println!(
        r#"{{"opened":{count},"sent":{sent},"open_seconds":{:.3},"seconds":{:.3}}}"#,
        opened.as_secs_f64(),
        begun.elapsed().as_secs_f64()
    );
    hold()
}

/// What is to be done about the next message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Now,
    Later,
    Over,
}

/// So many, as fast as they go.
fn until(count: u64) -> impl FnMut(u64) -> Due {
    move |sent| if sent < count { Due::Now } else { Due::Over }
}

/// Stays until whoever measures has measured.
fn hold() -> io::Result<()> {
    io::stdin().read(&mut [0]).map(drop)
}

/// Sends until it is over, and waits for every answer.
fn send(
    peer: &mut Peer,
    to: &str,
    started: Instant,
    mut due: impl FnMut(u64) -> Due,
    outstanding_max: u64,
) -> io::Result<u64> {
    let payload = payload(to);
    let stamp = payload.len() - BODY_BYTES;
    let (mut sent, mut settled) = (0_u64, 0_u64);
    loop {
        let mut next = Due::Now;
        while sent - settled < outstanding_max {
            next = due(sent);
            if next != Due::Now {
                break;
            }
            let id = sent as u32;
            peer.put_frame(0, |out| {
                // transfer(handle, delivery-id, delivery-tag, message-format, settled)
                out.extend_from_slice(b"\x00\x53\x14\xc0\x0f\x05\x43\x70");
                out.extend_from_slice(&id.to_be_bytes());
                out.extend_from_slice(b"\xa0\x04");
                out.extend_from_slice(&id.to_be_bytes());
                out.extend_from_slice(b"\x43\x42");
                let start = out.len();
                out.extend_from_slice(&payload);
                let nanos = started.elapsed().as_nanos() as u64;
                out[start + stamp..start + stamp + 8].copy_from_slice(&nanos.to_be_bytes());
            });
            sent += 1;
        }
        peer.flush()?;
        if settled == sent && next != Due::Now {
            if next == Due::Over {
                return Ok(sent);
            }
            std::thread::sleep(Duration::from_micros(50));
            continue;
        }
        peer.read(|frame| {
            if frame.code == 0x15 {
                // disposition(role, first, last, …)
                let mut fields = Fields::of(frame.body);
                fields.skip();
                let first = fields.uint();
                let last = fields.uint().max(first);
                settled += u64::from(last - first) + 1;
            }
            frame.refuse_errors()
        })?;
    }
}

/// Receives until it is over and nothing more comes; returns how many came, and latencies in µs.
fn receive(
    peer: &mut Peer,
    started: Instant,
    is_over: &AtomicBool,
    arrived: &AtomicU64,
) -> io::Result<(u64, Vec<u32>)> {
    let mut latencies = Vec::new();
    let mut counts = [0_u32; SUBSCRIPTIONS as usize];
    let mut granted = counts;
    let mut received = 0_u64;
    peer.stream.set_read_timeout(Some(PAUSE))?;
    loop {
        let result = peer.read(|frame| {
            if frame.code == 0x14 {
                let handle = Fields::of(frame.body).uint() as usize;
                counts[handle] += 1;
                received += 1;
                // One in sixteen: to look at all would cost more than to receive them.
                if received.is_multiple_of(16) {
                    let body = &frame.body[frame.body.len() - BODY_BYTES..];
                    let stamp = body.first_chunk::<8>().copied().unwrap_or_default();
                    let sent_at = Duration::from_nanos(u64::from_be_bytes(stamp));
                    let late = started.elapsed().saturating_sub(sent_at);
                    latencies.push(late.as_micros() as u32);
                }
            }
            frame.refuse_errors()
        });
        arrived.store(received, Ordering::Relaxed);
        match result {
            Ok(()) => {}
            Err(error) if is_pause(&error) && is_over.load(Ordering::Relaxed) => {
                return Ok((received, latencies));
            }
            Err(error) if is_pause(&error) => {}
            Err(error) => return Err(error),
        }
        for (handle, (&count, granted)) in (0..).zip(counts.iter().zip(&mut granted)) {
            if count - *granted >= CREDIT / 2 {
                *granted = count;
                peer.put_credit(handle, count);
            }
        }
        peer.flush()?;
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// An encoded message: properties with an id and an address, and a body.
fn payload(to: &str) -> Vec<u8> {
    let mut properties = vec![3];
    put_text(&mut properties, "message-0001");
    properties.push(0x40);
    put_text(&mut properties, to);
    let mut out = b"\x00\x53\x73\xc0".to_vec();
    out.push(properties.len() as u8);
    out.extend_from_slice(&properties);
    out.extend_from_slice(&[0x00, 0x53, 0x75, 0xa0, BODY_BYTES as u8]);
    out.extend_from_slice(&[7; BODY_BYTES]);
    out
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&[0xa1, text.len() as u8]);
    out.extend_from_slice(text.as_bytes());
}

/// One frame: its performative, and what comes after its descriptor.
struct Frame<'a> {
    code: u8,
    body: &'a [u8],
}

impl Frame<'_> {
    /// Nothing is to be detached, ended or closed, and nothing rejected.
    fn refuse_errors(&self) -> io::Result<()> {
        // disposition(role, first, last, settled, state): 0x25 is rejected.
        let mut fields = Fields::of(self.body);
        fields.skip();
        _ = (fields.uint(), fields.uint());
        fields.skip();
        let is_rejected = self.code == 0x15 && fields.0.starts_with(b"\x00\x53\x25");
        if is_rejected || matches!(self.code, 0x16..=0x18) {
            let text = String::from_utf8_lossy(self.body).into_owned();
            return Err(io::Error::other(format!("performative {:x}: {text}", self.code)));
        }
        Ok(())
    }
}

/// The fields of a list that the emulator writes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Those of an encoded list.
    fn of(body: &'a [u8]) -> Self {
        Self(match body.first() {
            Some(0xc0) => &body[3..],
            Some(0xd0) => &body[9..],
            _ => &[],
        })
    }

    fn skip(&mut self) {
        self.0 = self.0.get(1..).unwrap_or_default();
    }

    fn uint(&mut self) -> u32 {
        let (value, used) = match self.0 {
            [0x52, value, ..] => (u32::from(*value), 2),
            [0x70, a, b, c, d, ..] => (u32::from_be_bytes([*a, *b, *c, *d]), 5),
            _ => (0, 1),
        };
        self.0 = self.0.get(used..).unwrap_or_default();
        value
    }
}

/// A connection with one session.
struct Peer {
    stream: TcpStream,
    out: Vec<u8>,
    input: Vec<u8>,
    filled: usize,
}

impl Peer {
    fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut peer = Self { stream, out: Vec::new(), input: vec![0; 64 * 1024], filled: 0 };
        peer.out.extend_from_slice(b"AMQP\x03\x01\x00\x00");
        peer.put_frame(1, |out| {
            out.extend_from_slice(b"\x00\x53\x41\xc0\x0c\x01\xa3\x09ANONYMOUS")
        });
        peer.out.extend_from_slice(b"AMQP\x00\x01\x00\x00");
        // open(container-id), begin(-, next-outgoing-id, incoming-window, outgoing-window)
        peer.put_frame(0, |out| out.extend_from_slice(b"\x00\x53\x10\xc0\x07\x01\xa1\x04load"));
        peer.put_frame(0, |out| {
            out.extend_from_slice(b"\x00\x53\x11\xc0\x0d\x04\x40\x43");
            out.extend_from_slice(b"\x70\x7f\xff\xff\xff\x70\x7f\xff\xff\xff");
        });
        peer.flush()?;
        // The emulator's headers are no frames; two SASL frames lie between them.
        let mut header = [0; 8];
        peer.stream.read_exact(&mut header)?;
        for _ in 0..2 {
            let mut size = [0; 4];
            peer.stream.read_exact(&mut size)?;
            let mut rest = vec![0; (u32::from_be_bytes(size) as usize).saturating_sub(4)];
            peer.stream.read_exact(&mut rest)?;
        }
        peer.stream.read_exact(&mut header)?;
        peer.wait_for(0x11)?;
        Ok(peer)
    }

    fn attach(&mut self, handle: u32, is_receiver: bool, address: &str) -> io::Result<()> {
        let mut terminus = vec![0x00, 0x53, 0x28, 0xc0, address.len() as u8 + 3, 1];
        put_text(&mut terminus, address);
        // attach(name, handle, role, snd-settle-mode, rcv-settle-mode, source, target, -, -, count)
        let mut fields = Vec::new();
        put_text(&mut fields, &format!("link-{handle}"));
        fields.extend_from_slice(&[0x52, handle as u8, if is_receiver { 0x41 } else { 0x42 }]);
        // A receiver wants settled messages.
        fields.extend_from_slice(&[0x50, u8::from(is_receiver), 0x50, 0]);
        fields.extend_from_slice(&terminus);
        fields.extend_from_slice(&terminus);
        fields.extend_from_slice(&[0x40, 0x40, 0x43]);
        self.put_frame(0, |out| {
            out.extend_from_slice(&[0x00, 0x53, 0x12, 0xd0]);
            out.extend_from_slice(&(fields.len() as u32 + 4).to_be_bytes());
            out.extend_from_slice(&[0, 0, 0, 10]);
            out.extend_from_slice(&fields);
        });
        self.flush()?;
        self.wait_for(0x12)
    }

    /// Fresh credit for a receiver that has had so many.
    fn put_credit(&mut self, handle: u32, delivery_count: u32) {
        self.put_frame(0, |out| {
            // flow(next-incoming-id, incoming-window, next-outgoing-id, outgoing-window, handle,
            // delivery-count, link-credit); the window is never the limit.
            out.extend_from_slice(b"\x00\x53\x13\xc0\x15\x07\x40\x70\x7f\xff\xff\xff\x43\x43\x52");
            out.push(handle as u8);
            for value in [delivery_count, CREDIT] {
                out.push(0x70);
                out.extend_from_slice(&value.to_be_bytes());
            }
        });
    }

    fn put_frame(&mut self, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
        let start = self.out.len();
        self.out.extend_from_slice(&[0, 0, 0, 0, 2, kind, 0, 0]);
        body(&mut self.out);
        let size = (self.out.len() - start) as u32;
        self.out[start..start + 4].copy_from_slice(&size.to_be_bytes());
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Reads once, and handles every frame that is complete.
    fn read(&mut self, mut handle: impl FnMut(Frame<'_>) -> io::Result<()>) -> io::Result<()> {
        let count = self.stream.read(&mut self.input[self.filled..])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.filled += count;
        let mut place = 0;
        while let Some(size) = self.input[place..self.filled].first_chunk::<4>() {
            let size = u32::from_be_bytes(*size) as usize;
            if self.filled - place < size {
                break;
            }
            // An empty frame is a sign of life.
            if size > 11 {
                let body = &self.input[place + 8..place + size];
                handle(Frame { code: body[2], body: &body[3..] })?;
            }
            place += size;
        }
        self.input.copy_within(place..self.filled, 0);
        self.filled -= place;
        Ok(())
    }

    fn wait_for(&mut self, code: u8) -> io::Result<()> {
        let mut is_there = false;
        while !is_there {
            self.read(|frame| {
                is_there |= frame.code == code;
                frame.refuse_errors()
            })?;
        }
        Ok(())
    }
}
