//! AMQP over WebSockets (the OASIS binding): a stream of bytes in binary messages.
//!
//! Guarantees: a peer that sends anything but binary messages, or too large ones, is disconnected.
//! Elsewhere:  the handshake is one request of the [`super::management`] face.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{Sink, Stream};
use hyper::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    UPGRADE,
};
use hyper::{Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

/// Where clients of the service ask for WebSockets.
const PATH: &str = "/$servicebus/websocket";
/// What they say they will speak.
const PROTOCOL: &str = "AMQPWSB10";
/// No client sends as much in one message; frames are far smaller.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// What is put into one message at most.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// Whether a request asks for WebSockets.
pub(super) fn is_asked_for<B>(request: &Request<B>) -> bool {
    request.uri().path().trim_end_matches('/').eq_ignore_ascii_case(PATH)
}

/// The answer that begins the WebSocket; `Err` is one that says why not.
pub(super) fn answer<B, R: Default>(request: &Request<B>) -> Result<Response<R>, Response<R>> {
    let status = |status: StatusCode| {
        let mut response = Response::new(R::default());
        *response.status_mut() = status;
        response
    };
    let headers = request.headers();
    let has = |name, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|v| v.trim().eq_ignore_ascii_case(word))
    };
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| has(UPGRADE, "websocket"));
    let Some(key) = key else { return Err(status(StatusCode::UPGRADE_REQUIRED)) };
    if !has(SEC_WEBSOCKET_PROTOCOL, PROTOCOL) {
        return Err(status(StatusCode::BAD_REQUEST));
    }
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    let Ok(accept) = accept else { return Err(status(StatusCode::BAD_REQUEST)) };
    let mut response = status(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}

/// The bytes in the messages of a WebSocket.
pub(super) struct WebSocketBytes<S> {
    socket: WebSocketStream<S>,
    /// What has come and was not read yet.
    left: Bytes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocketBytes<S> {
    pub(super) async fn new(stream: S) -> Self {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
        Self { socket, left: Bytes::new() }
    }
}

fn failed(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocketBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.left.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                None | Some(Ok(Message::Close(_))) => return Poll::Ready(Ok(())),
                Some(Ok(Message::Binary(bytes))) => self.left = bytes,
                // The library answers pings itself.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(_)) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                Some(Err(Error::ConnectionClosed)) => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(failed(error))),
            }
        }
        let count = self.left.len().min(buffer.remaining());
        buffer.put_slice(&self.left.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocketBytes<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(failed)?;
        let count = bytes.len().min(WRITE_BYTES_MAX);
        let message = Message::Binary(Bytes::copy_from_slice(&bytes[..count]));
        Pin::new(&mut self.socket).start_send(message).map_err(failed)?;
        // Whoever writes does not flush: what can leave now leaves now, the rest with the next write.
        if let Poll::Ready(flushed) = Pin::new(&mut self.socket).poll_flush(cx) {
            flushed.map_err(failed)?;
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(failed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(failed)
    }
}
