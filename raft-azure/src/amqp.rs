//! Service Bus over AMQP 1.0, with `fe2o3-amqp` behind our own traits.
//!
//! Guarantees: every wait is bounded; a token is put on `$cbs` before its link is attached; no
//!             error shows a token.
//! Relies on:  [`crate::bus`] to reconnect, renew tokens and count: everything here is tried once.
//! Elsewhere:  what a message is on the wire in `message`, what an error means in `error`.

mod cbs;
mod error;
mod life;
mod link;
mod message;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use fe2o3_amqp::connection::{ConnectionHandle, OpenError};
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Connection as Fe2o3Connection, Session};
use tokio::net::TcpStream;

use self::error::cause;
use self::life::{Guarded, Life};
pub use self::link::{AmqpReceiver, AmqpSender};
use crate::bus::{Bus, BusOptions};
use crate::connection_string::ConnectionString;
use crate::sas;
use crate::tls::{Tls, TrustedRoots};
use crate::transport::{BrokerError, Connection, Connector, TransportError};

/// The bus over AMQP; what [`Bus::connect`] returns.
pub type AmqpBus = Bus;

/// How to talk AMQP. The defaults suit a real namespace and the emulator alike.
#[derive(Debug, Clone)]
pub struct AmqpOptions {
    /// Topic whose token is put while connecting, so that a wrong key is noticed at once. Defaults
    /// to the `EntityPath` of the connection string; without either the key is first proved by
    /// the first link.
    pub entity: Option<String>,
    /// Name of this process in the broker's logs.
    pub container_id: String,
    /// Whose certificates to trust.
    pub trusted_roots: TrustedRoots,
    /// Limit for TCP, TLS and AMQP handshakes together.
    pub connect_timeout: Duration,
    /// Limit for each attach, token and polite good-bye.
    pub operation_timeout: Duration,
    /// A peer that is silent for so long is gone; it is asked to send something twice as often.
    pub idle_timeout: Duration,
    /// How long a token of ours is valid. The bus renews it after three quarters of that.
    pub token_lifetime: Duration,
    /// Messages the broker may send ahead of our reading them.
    pub credit: u32,
    /// Buffers, limits and back-off above AMQP.
    pub bus: BusOptions,
}

impl Default for AmqpOptions {
    fn default() -> Self {
        Self {
            entity: None,
            container_id: "raft-azure".to_owned(),
            trusted_roots: TrustedRoots::default(),
            connect_timeout: Duration::from_secs(10),
            operation_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            token_lifetime: Duration::from_secs(3600),
            credit: 1000,
            bus: BusOptions::default(),
        }
    }
}

impl Bus {
    /// Connects to the namespace of a connection string. Tries once, so that a typing error is
    /// told within seconds; from then on the bus reconnects by itself.
    ///
    /// # Errors
    /// [`TransportError::Connect`] or [`TransportError::Tls`] if nobody fit to talk to answers,
    /// [`TransportError::Unauthorized`] if the key is wrong (see [`AmqpOptions::entity`]).
    pub async fn connect(
        connection_string: ConnectionString,
        options: AmqpOptions,
    ) -> Result<Self, TransportError> {
        let bus_options = options.bus.clone();
        let connector = AmqpConnector::new(connection_string, options)?;
        Self::start(connector, bus_options).await
    }
}

/// Opens AMQP connections to one namespace.
#[derive(Debug)]
pub struct AmqpConnector {
    endpoint: Arc<Endpoint>,
}

/// What connections and links share.
#[derive(Debug)]
struct Endpoint {
    connection_string: ConnectionString,
    options: AmqpOptions,
    tls: Option<Tls>,
    /// Makes link names unique, also across reconnects.
    next_link: AtomicU64,
}

impl AmqpConnector {
    /// Prepares; nothing is sent yet.
    ///
    /// # Errors
    /// [`TransportError::Tls`] if a trusted certificate cannot be read.
    pub fn new(
        connection_string: ConnectionString,
        mut options: AmqpOptions,
    ) -> Result<Self, TransportError> {
        if options.entity.is_none() {
            options.entity = connection_string.entity_path().map(str::to_owned);
        }
        let tls = if connection_string.uses_tls() {
            let tls = Tls::new(&options.trusted_roots).map_err(|error| TransportError::Tls {
                host: connection_string.host().to_owned(),
                port: connection_string.amqp_port(),
                source: Arc::new(error),
            })?;
            Some(tls)
        } else {
            None
        };
        let endpoint = Endpoint { connection_string, options, tls, next_link: AtomicU64::new(0) };
        Ok(Self { endpoint: Arc::new(endpoint) })
    }
}

impl Endpoint {
    fn connect_error(&self, source: crate::transport::Cause) -> TransportError {
        TransportError::Connect {
            host: self.connection_string.host().to_owned(),
            port: self.connection_string.amqp_port(),
            source,
        }
    }

    fn link_name(&self, kind: &str) -> String {
        let number = self.next_link.fetch_add(1, Ordering::Relaxed);
        format!("{}-{kind}-{number}", self.options.container_id)
    }

    /// The entity as a URL, which is what tokens are for.
    fn audience(&self, entity: &str) -> String {
        format!("sb://{}/{entity}", self.connection_string.url_host())
    }

    /// Waits for an answer, but neither too long nor longer than the connection lives.
    async fn within<T>(
        &self,
        life: &Life,
        operation: &'static str,
        future: impl Future<Output = T>,
    ) -> Result<T, TransportError> {
        let after = self.options.operation_timeout;
        let mut life = life.clone();
        tokio::select! {
            biased;
            answer = tokio::time::timeout(after, future) => {
                answer.map_err(|_| TransportError::Timeout { operation, after })
            }
            () = life.ended() => Err(connection_ended()),
        }
    }

    async fn open(self: &Arc<Self>) -> Result<AmqpConnection, TransportError> {
        let host = self.connection_string.host();
        let port = self.connection_string.amqp_port();
        let stream = TcpStream::connect((host, port))
            .await
            .map_err(|error| self.connect_error(Arc::new(error)))?;
        // Raft's messages are small and wait for each other: never hold them back.
        stream.set_nodelay(true).map_err(|error| self.connect_error(Arc::new(error)))?;
        let (stream, socket) =
            keep_socket(stream).map_err(|error| self.connect_error(Arc::new(error)))?;
        let life;
        let builder = Fe2o3Connection::builder()
            .container_id(self.options.container_id.as_str())
            .hostname(host)
            .sasl_hostname(host)
            .scheme("amqp")
            .domain(host)
            .idle_time_out(milliseconds(self.options.idle_timeout))
            .sasl_profile(SaslProfile::Anonymous);
        let opened = match &self.tls {
            Some(tls) => {
                let (stream, its_life) = Guarded::new(tls.encrypt(stream, host, port).await?);
                life = its_life;
                builder.open_with_stream(stream).await
            }
            None => {
                let (stream, its_life) = Guarded::new(stream);
                life = its_life;
                builder.open_with_stream(stream).await
            }
        };
        match opened {
            Ok(handle) => {
                let endpoint = Arc::clone(self);
                Ok(AmqpConnection { handle, socket, life, endpoint })
            }
            Err(error) => Err(self.open_error(&error)),
        }
    }

    fn open_error(&self, error: &OpenError) -> TransportError {
        let host = self.connection_string.host();
        match error {
            OpenError::SaslError { code, .. } => TransportError::Unauthorized {
                entity: host.to_owned(),
                source: BrokerError {
                    condition: format!("SASL {code:?}"),
                    description: String::new(),
                },
            },
            OpenError::RemoteClosedWithError(error) => match error::from_broker(host, error) {
                TransportError::Detached { source, .. } => self.connect_error(source),
                error => error,
            },
            error => self.connect_error(cause(error)),
        }
    }
}

/// Keeps a second handle of the socket, to cut a connection whose peer no longer answers.
fn keep_socket(stream: TcpStream) -> std::io::Result<(TcpStream, std::net::TcpStream)> {
    let stream = stream.into_std()?;
    let socket = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, socket))
}

fn connection_ended() -> TransportError {
    TransportError::ConnectionLost { source: cause("the connection ended") }
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

impl Connector for AmqpConnector {
    type Connection = AmqpConnection;

    async fn connect(&self) -> Result<AmqpConnection, TransportError> {
        let endpoint = Arc::clone(&self.endpoint);
        let after = endpoint.options.connect_timeout;
        let mut connection = match tokio::time::timeout(after, endpoint.open()).await {
            Ok(opened) => opened?,
            Err(_) => {
                return Err(endpoint.connect_error(cause(format!("no answer within {after:?}"))));
            }
        };
        if let Some(entity) = connection.endpoint.options.entity.clone() {
            connection.authorize(&entity).await?;
        }
        Ok(connection)
    }
}

/// One AMQP connection to the namespace.
#[derive(Debug)]
pub struct AmqpConnection {
    handle: ConnectionHandle<()>,
    socket: std::net::TcpStream,
    life: Life,
    endpoint: Arc<Endpoint>,
}

impl AmqpConnection {
    /// Each link has its own session: one that a refused attach touched is not used again.
    async fn begin(&mut self) -> Result<SessionHandle<()>, TransportError> {
        let endpoint = Arc::clone(&self.endpoint);
        let begin = Session::begin(&mut self.handle);
        match endpoint.within(&self.life, "begin", begin).await? {
            Ok(session) => Ok(session),
            Err(error) => Err(TransportError::ConnectionLost { source: cause(error) }),
        }
    }
}

impl Drop for AmqpConnection {
    fn drop(&mut self) {
        // The library would wait for a peer that may be gone. An error means that it is.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

impl Connection for AmqpConnection {
    type Sender = AmqpSender;
    type Receiver = AmqpReceiver;

    async fn authorize(&mut self, entity: &str) -> Result<Duration, TransportError> {
        let endpoint = Arc::clone(&self.endpoint);
        let lifetime = endpoint.options.token_lifetime;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // Whole seconds, rounded up: the token must not die before we think it does.
        let expires_at = (now + lifetime).as_secs() + 1;
        let audience = endpoint.audience(entity);
        let credential = endpoint.connection_string.credential();
        let token = sas::token(credential, &audience, expires_at);
        let session = self.begin().await?;
        cbs::put_token(&endpoint, &self.life, session, entity, &audience, &token).await?;
        Ok(Duration::from_secs(token.expires_at).saturating_sub(now).min(lifetime))
    }

    async fn open_sender(&mut self, topic: &str) -> Result<AmqpSender, TransportError> {
        let session = self.begin().await?;
        match AmqpSender::attach(&self.endpoint, &self.life, session, topic).await? {
            Ok(sender) => Ok(sender),
            Err(refused) if refused.reason_is_lost => {
                let session = self.begin().await?;
                AmqpSender::attach(&self.endpoint, &self.life, session, topic)
                    .await?
                    .map_err(|e| e.error)
            }
            Err(refused) => Err(refused.error),
        }
    }

    async fn open_receiver(&mut self, subscription: &str) -> Result<AmqpReceiver, TransportError> {
        // The library loses the reason of about one refusal in three; asking again finds it.
        let mut attempts_left = 4;
        loop {
            let session = self.begin().await?;
            match AmqpReceiver::attach(&self.endpoint, &self.life, session, subscription).await? {
                Ok(receiver) => return Ok(receiver),
                Err(refused) if refused.reason_is_lost && attempts_left > 0 => attempts_left -= 1,
                Err(refused) => return Err(refused.error),
            }
        }
    }

    async fn closed(&mut self) -> TransportError {
        tokio::select! {
            biased;
            closed = self.handle.on_close() => {
                let source = match closed {
                    Ok(()) => cause("closed by the broker"),
                    Err(error) => cause(error),
                };
                TransportError::ConnectionLost { source }
            }
            () = self.life.ended() => connection_ended(),
        }
    }

    async fn close(mut self) {
        // Good-bye is a courtesy: an error or a time-out changes nothing.
        let endpoint = Arc::clone(&self.endpoint);
        let _ = endpoint.within(&self.life, "close", self.handle.close()).await;
    }
}
