//! Sockets: who knocks, what they speak, and one task for each.
//!
//! Guarantees: a peer that says nothing, half a word or too much costs one task for a bounded
//! time; a goodbye is delivered before the socket is closed, unless the peer does not read it;
//! stopping takes [`GOODBYE_TIMEOUT`] at most.

use std::future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::engine::{Connection, FRAME_BYTES_MAX, Settings};
use super::management;
use super::tls::{self, Tls};
use crate::bus::Bus;

/// How long a peer may take to show what it speaks.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a closed connection may go on talking before the socket is dropped.
const LINGER: Duration = Duration::from_millis(500);
/// How long connections may take to end when the emulator stops.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
/// Room for each read.
const READ_BYTES: usize = 32 * 1024;
/// How long accepting pauses when the system has no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Face {
    /// AMQP or HTTP, whichever the first bytes show.
    Any,
    /// HTTP alone.
    Management,
}

/// What connections are told while they run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Control {
    pub(super) is_stopping: bool,
    /// Each increment cuts all connections.
    pub(super) blips: u64,
    /// Each increment detaches all links.
    pub(super) detaches: u64,
    /// Each increment ends all tokens.
    pub(super) expiries: u64,
}

/// What goes wrong with connections on purpose, and how often it did.
#[derive(Debug, Default)]
pub(super) struct ConnectionFaults {
    pub(super) is_refusing: AtomicBool,
    pub(super) cut: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// What all connections share.
pub(super) struct Host {
    pub(super) bus: Bus,
    pub(super) settings: Arc<Settings>,
    pub(super) faults: Arc<ConnectionFaults>,
    pub(super) control: Arc<watch::Sender<Control>>,
    connections_max: usize,
    tls: Arc<Tls>,
}

impl Host {
    pub(super) fn new(
        bus: Bus,
        settings: Arc<Settings>,
        connections_max: usize,
        faults: Arc<ConnectionFaults>,
        control: Arc<watch::Sender<Control>>,
        tls: Arc<Tls>,
    ) -> Self {
        Self { bus, settings, faults, control, connections_max, tls }
    }
}

/// Accepts connections until told to stop; then waits for those that are left.
pub(super) async fn accept(
    listener: TcpListener,
    face: Face,
    host: Arc<Host>,
    mut control: watch::Receiver<Control>,
) {
    let mut connections = JoinSet::new();
    let watched = control.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(_) if host.faults.is_refusing.load(Ordering::Relaxed) => {
                    host.faults.refused.fetch_add(1, Ordering::Relaxed);
                }
                Ok((stream, _)) if connections.len() < host.connections_max => {
                    connections.spawn(serve(stream, face, Arc::clone(&host), watched.clone()));
                }
                Ok(_) => tracing::warn!("connection refused: there are too many"),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = stopped(&mut control) => break,
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(GOODBYE_TIMEOUT, all).await.is_err() {
        tracing::debug!(count = connections.len(), "connections cut: they did not end in time");
        connections.shutdown().await;
    }
}

async fn stopped(control: &mut watch::Receiver<Control>) {
    // An error means that the emulator is gone, which is as good a reason.
    _ = control.wait_for(|control| control.is_stopping).await;
}

async fn serve(
    stream: TcpStream,
    face: Face,
    host: Arc<Host>,
    mut control: watch::Receiver<Control>,
) {
    let blips = control.borrow_and_update().blips;
    serve_until_told(stream, face, Arc::clone(&host), control.clone()).await;
    let control = control.borrow();
    if control.blips > blips && !control.is_stopping {
        host.faults.cut.fetch_add(1, Ordering::Relaxed);
    }
}

async fn serve_until_told(
    mut stream: TcpStream,
    face: Face,
    host: Arc<Host>,
    mut control: watch::Receiver<Control>,
) {
    // Small frames must not wait for each other; without it everything merely is slower.
    _ = stream.set_nodelay(true);
    let Some(first) = first_in_time(&mut stream, &mut control).await else { return };
    let result = if first.first() == Some(&tls::FIRST_BYTE) {
        let stream = Prefixed { first, stream };
        serve_encrypted(stream, face, host, control).await
    } else {
        serve_plain(stream, first, face, host, control).await
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection lost");
    }
}

/// Serves what is under TLS.
async fn serve_encrypted(
    stream: Prefixed<TcpStream>,
    face: Face,
    host: Arc<Host>,
    mut control: watch::Receiver<Control>,
) -> io::Result<()> {
    let acceptor = host.tls.acceptor().map_err(io::Error::other)?;
    let accepted = tokio::select! {
        accepted = timeout(FIRST_BYTES_TIMEOUT, acceptor.accept(stream)) => accepted,
        () = cut(&mut control) => return Ok(()),
    };
    let mut stream = accepted.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let Some(first) = first_in_time(&mut stream, &mut control).await else { return Ok(()) };
    serve_plain(stream, first, face, host, control).await
}

async fn serve_plain<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    first: BytesMut,
    face: Face,
    host: Arc<Host>,
    control: watch::Receiver<Control>,
) -> io::Result<()> {
    if face == Face::Any && first.starts_with(b"AMQP") {
        return serve_amqp(stream, first, &host, control).await;
    }
    let stream = Prefixed { first, stream };
    match management::serve(stream, Arc::clone(&host), control.clone()).await? {
        // One that was upgraded carries AMQP.
        Some(socket) => serve_amqp(socket, BytesMut::new(), &host, control).await,
        None => Ok(()),
    }
}

/// The first bytes of a peer that shows what it speaks in time.
async fn first_in_time<S: AsyncRead + Unpin>(
    stream: &mut S,
    control: &mut watch::Receiver<Control>,
) -> Option<BytesMut> {
    tokio::select! {
        first = timeout(FIRST_BYTES_TIMEOUT, first_bytes(stream)) => first.ok()?.ok(),
        () = cut(control) => None,
    }
}

/// Waits until connections that have nothing to say goodbye to are to end.
pub(super) async fn cut(control: &mut watch::Receiver<Control>) {
    let blips = control.borrow().blips;
    // An error means that the emulator is gone, which is as good a reason.
    _ = control.wait_for(|told| told.is_stopping || told.blips > blips).await;
}

/// Reads until it is clear whether the peer speaks AMQP.
async fn first_bytes<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<BytesMut> {
    let mut first = BytesMut::with_capacity(READ_BYTES);
    while first.len() < 4 && b"AMQP".starts_with(&first) {
        if stream.read_buf(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(first)
}

async fn serve_amqp<S: AsyncRead + AsyncWrite>(
    stream: S,
    mut input: BytesMut,
    host: &Host,
    mut control: watch::Receiver<Control>,
) -> io::Result<()> {
    let bus = &host.bus;
    let mut connection = Connection::new(bus.clone(), Arc::clone(&host.settings));
    let told = connection.listener();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut known = *control.borrow_and_update();
    // When the rest of the output must have been written; known once nothing more is read.
    let mut write_until = None;
    loop {
        let now = bus.now();
        connection.read(now, &mut input);
        connection.pump(now);
        let has_output = connection.output().has_remaining();
        if connection.is_closed() && !has_output {
            break;
        }
        // With a whole frame in `input` the connection waits for its output to be written.
        let may_read = !connection.is_closed() && input.len() < FRAME_BYTES_MAX;
        input.reserve(if may_read { READ_BYTES } else { 0 });
        let deadline = if connection.is_closed() {
            // A peer that does not read must not hold its socket for ever.
            Some(*write_until.get_or_insert_with(|| Instant::now() + LINGER))
        } else {
            connection.next_timeout().map(|at| Instant::now() + at.saturating_sub(now))
        };
        tokio::select! {
            read = reader.read_buf(&mut input), if may_read => {
                if read? == 0 {
                    return Ok(());
                }
            }
            written = write_out(&mut writer, connection.output()), if has_output => {
                written?;
                connection.note_written(bus.now());
            }
            queues = told.told() => connection.tell(queues),
            () = sleep_or_never(deadline) => {
                if connection.is_closed() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                connection.handle_timeout(bus.now());
            }
            changed = control.changed() => {
                let told = *control.borrow_and_update();
                if changed.is_err() || (told.blips > known.blips && !told.is_stopping) {
                    return Ok(());
                }
                if told.detaches > known.detaches {
                    connection.detach_idle(bus.now());
                }
                if told.expiries > known.expiries {
                    connection.expire_tokens(bus.now());
                }
                if told.is_stopping {
                    connection.close(bus.now());
                }
                known = told;
            }
        }
    }
    // Closing a socket with unread input would reset it and lose our last frames.
    writer.shutdown().await?;
    let mut discarded = vec![0; 4096];
    let drain = async { while reader.read(&mut discarded).await.is_ok_and(|count| count > 0) {} };
    _ = timeout(LINGER, drain).await;
    Ok(())
}

/// Writes some of the output; what is under it may hold back nothing once all was written.
async fn write_out<W: AsyncWrite + Unpin>(writer: &mut W, out: &mut BytesMut) -> io::Result<()> {
    writer.write_buf(out).await?;
    if out.is_empty() { writer.flush().await } else { Ok(()) }
}

async fn sleep_or_never(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => future::pending().await,
    }
}

/// A stream of which the first bytes were read already.
pub(super) struct Prefixed<S> {
    first: BytesMut,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let count = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::super::sas::KeyRing;
    use super::*;
    use crate::broker::BrokerConfig;

    const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

    /// Control of a host, the host itself, and the two ends of a pipe that holds a few bytes.
    fn parts() -> (Arc<watch::Sender<Control>>, Arc<Host>, DuplexStream, DuplexStream) {
        let settings = Settings {
            keys: KeyRing { is_checking: false, keys: Vec::new() },
            idle_timeout: IDLE_TIMEOUT,
            link_idle_timeout: 10 * IDLE_TIMEOUT,
            links_max: 8,
            counter: AtomicU64::new(1),
        };
        let bus = Bus::with_config(BrokerConfig::default(), Duration::from_secs(1_000));
        let (near, far) = duplex(32);
        let control: Arc<watch::Sender<Control>> = Arc::default();
        let (faults, tls) = (Arc::default(), Arc::default());
        let host = Host::new(bus, Arc::new(settings), 8, faults, Arc::clone(&control), tls);
        (control, Arc::new(host), near, far)
    }

    /// As far as Open, without reading a byte of the answers.
    const OPENING: &[u8] = b"AMQP\x03\x01\x00\x00\
        \x00\x00\x00\x19\x02\x01\x00\x00\x00\x53\x41\xc0\x0c\x01\xa3\x09ANONYMOUS\
        AMQP\x00\x01\x00\x00\
        \x00\x00\x00\x11\x02\x00\x00\x00\x00\x53\x10\xc0\x04\x01\xa1\x01p";

    #[tokio::test(start_paused = true)]
    async fn peer_that_does_not_read_cannot_delay_the_stop() {
        let (control, host, near, mut far) = parts();
        let watched = control.subscribe();
        let served =
            tokio::spawn(async move { serve_amqp(near, BytesMut::new(), &host, watched).await });
        far.write_all(OPENING).await.unwrap();
        // More than the pipe holds: when it is written, what came before has been read.
        far.write_all(&[0, 0, 0, 8, 2, 0, 0, 0].repeat(8)).await.unwrap();
        let start = Instant::now();
        control.send_modify(|control| control.is_stopping = true);
        let ended = timeout(10 * GOODBYE_TIMEOUT, served).await.expect("it ends").unwrap();
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        // The time for the answer to our Close, and then that for writing.
        assert!(start.elapsed() < GOODBYE_TIMEOUT + 2 * LINGER, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn idle_peer_that_does_not_read_gives_its_place_back() {
        let (control, host, near, mut far) = parts();
        let watched = control.subscribe();
        let served =
            tokio::spawn(async move { serve_amqp(near, BytesMut::new(), &host, watched).await });
        let start = Instant::now();
        far.write_all(OPENING).await.unwrap();
        let ended = timeout(2 * IDLE_TIMEOUT, served).await.expect("it ends").unwrap();
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= IDLE_TIMEOUT, "it was opened, and idle");
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_request_cannot_delay_the_stop() {
        let halves = [
            &b"GET /health HTT"[..],
            b"PUT /t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf",
        ];
        for half in halves {
            let (control, host, near, _far) = parts();
            let stream = Prefixed { first: BytesMut::from(half), stream: near };
            let served = tokio::spawn(management::serve(stream, host, control.subscribe()));
            // The server waits for the rest as soon as it has had its turn.
            tokio::task::yield_now().await;
            let start = Instant::now();
            control.send_modify(|control| control.is_stopping = true);
            _ = timeout(10 * GOODBYE_TIMEOUT, served).await.expect("it ends").unwrap();
            assert!(start.elapsed() <= GOODBYE_TIMEOUT, "{:?}", start.elapsed());
        }
    }

    #[tokio::test]
    async fn stop_takes_two_seconds_at_most_though_the_peer_never_answers() {
        let emulator = crate::emulator::Emulator::start().await.unwrap();
        let mut peer = TcpStream::connect(emulator.amqp_address()).await.unwrap();
        peer.write_all(OPENING).await.unwrap();
        let mut answers = Vec::new();
        // The name of our container, in the answer to Open.
        while !answers.windows(8).any(|window| window == b"Emulator") {
            assert!(peer.read_buf(&mut answers).await.unwrap() > 0, "it was opened");
        }
        // From here on only timers matter.
        tokio::time::pause();
        let start = Instant::now();
        emulator.shutdown().await;
        let slack = Duration::from_millis(10);
        assert!(start.elapsed() <= Duration::from_secs(2) + slack, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn last_words_reach_a_peer_that_reads() {
        let (control, host, near, mut far) = parts();
        let watched = control.subscribe();
        let served =
            tokio::spawn(async move { serve_amqp(near, BytesMut::new(), &host, watched).await });
        far.write_all(b"AMQP\x02\x01\x00\x00").await.unwrap();
        let mut answer = [0; 8];
        far.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"AMQP\x03\x01\x00\x00");
        drop(far);
        served.await.unwrap().unwrap();
    }
}
