//! When a connection is really gone: when the library has let go of its socket.
//!
//! An attach or a token that is under way when the connection breaks gets no answer and, in some
//! states of the library, no error either. So every wait ends with the life of the socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

/// Ends when its [`Guarded`] socket is dropped.
#[derive(Debug, Clone)]
pub(super) struct Life(watch::Receiver<()>);

impl Life {
    /// Returns when the socket is gone. Cancel-safe.
    pub(super) async fn ended(&mut self) {
        // Nothing is ever sent: the sender goes with the socket.
        while self.0.changed().await.is_ok() {}
    }
}

/// A stream that tells when it is dropped.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    _life: watch::Sender<()>,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S) -> (Self, Life) {
        let (sender, receiver) = watch::channel(());
        (Self { stream, _life: sender }, Life(receiver))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
