//! A Service Bus namespace on loopback: AMQP 1.0 and the Atom management API on one port.
//!
//! Guarantees: everything stops when the [`Emulator`] is dropped; nothing listens beyond
//! 127.0.0.1; a wrong key is refused unless [`EmulatorBuilder::check_keys`] says otherwise.
//! Relies on:  a tokio runtime with I/O and time.
//! Elsewhere:  what topics and subscriptions do is in [`crate::broker`]; [`Emulator::bus`] is a
//! face of the same broker without the network.

mod amqp;
mod config;
mod control;
mod engine;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod listener;
mod management;
mod sas;
mod tls;
mod trace;
mod websocket;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::config::{Config, ConfigError};
use self::engine::Settings;
use self::listener::{ConnectionFaults, Control, Face, Host};
pub use self::sas::Rights;
use self::sas::{DEFAULT_KEY, DEFAULT_KEY_NAME, Key, KeyRing};
use self::tls::Tls;
pub use self::tls::TlsError;
use crate::broker::{BrokerConfig, FaultCounts, Faults, Meter};
use crate::bus::Bus;

/// A running emulator. Dropping it stops everything.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), raft_mocking::emulator::EmulatorError> {
/// use raft_mocking::emulator::Emulator;
///
/// let emulator = Emulator::start().await?;
/// let connection_string = emulator.connection_string(); // for any Service Bus client
/// # assert!(connection_string.starts_with("Endpoint=sb://localhost:"));
/// # Ok(())
/// # }
/// ```
pub struct Emulator {
    bus: Bus,
    amqp_address: SocketAddr,
    admin_address: Option<SocketAddr>,
    key: (String, String),
    control: Arc<watch::Sender<Control>>,
    connections: Arc<ConnectionFaults>,
    tls: Arc<Tls>,
    tasks: Vec<JoinHandle<()>>,
    late: JoinHandle<()>,
}

/// Why an emulator did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmulatorError {
    /// Another program listens on the port.
    #[error("port {port} on 127.0.0.1 is taken; choose another, or 0 for any free one")]
    PortTaken {
        /// The port that was asked for.
        port: u16,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The certificate that was given cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The entities to start with are refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The trace cannot be written.
    #[error("cannot write the trace {path}")]
    Trace {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The port cannot be listened on for another reason.
    #[error("cannot listen on port {port} of 127.0.0.1")]
    Listen {
        /// The port that was asked for.
        port: u16,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// How an emulator is to be started; see [`Emulator::builder`].
#[derive(Clone)]
pub struct EmulatorBuilder {
    amqp_port: u16,
    admin_port: Option<u16>,
    is_checking_keys: bool,
    key: Option<(String, String)>,
    more_keys: Vec<Key>,
    tls_files: Option<(PathBuf, PathBuf)>,
    config: Option<Config>,
    trace: Option<PathBuf>,
    broker: BrokerConfig,
    idle_timeout: Duration,
    link_idle_timeout: Duration,
    links_max: usize,
    connections_max: usize,
}

impl fmt::Debug for EmulatorBuilder {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmulatorBuilder")
            .field("amqp_port", &self.amqp_port)
            .field("admin_port", &self.admin_port)
            .field("broker", &self.broker)
            .finish_non_exhaustive()
    }
}

impl Default for EmulatorBuilder {
    fn default() -> Self {
        Self {
            amqp_port: 0,
            admin_port: None,
            is_checking_keys: true,
            key: None,
            more_keys: Vec::new(),
            tls_files: None,
            config: None,
            trace: None,
            broker: BrokerConfig::default(),
            idle_timeout: Duration::from_secs(240),
            link_idle_timeout: Duration::from_secs(600),
            links_max: 1_000,
            connections_max: 5_000,
        }
    }
}

impl EmulatorBuilder {
    /// The port for AMQP and management alike; 0, the default, takes any free one.
    #[must_use]
    pub fn amqp_port(mut self, port: u16) -> Self {
        self.amqp_port = port;
        self
    }

    /// One more port for management alone, as Microsoft's emulator has (5300); 0 for any.
    #[must_use]
    pub fn admin_port(mut self, port: u16) -> Self {
        self.admin_port = Some(port);
        self
    }

    /// Whether tokens must be signed with a known key; on by default.
    #[must_use]
    pub fn check_keys(mut self, is_checking: bool) -> Self {
        self.is_checking_keys = is_checking;
        self
    }

    /// A key of your own, which [`Emulator::connection_string`] then shows. The public key of
    /// emulators is known besides.
    #[must_use]
    pub fn key(mut self, name: impl Into<String>, key: impl Into<String>) -> Self {
        self.key = Some((name.into(), key.into()));
        self
    }

    /// Entities to start with.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// A file for what happens to every message, as one JSON object per line.
    #[must_use]
    pub fn trace(mut self, path: impl Into<PathBuf>) -> Self {
        self.trace = Some(path.into());
        self
    }

    /// A certificate and its key, in PEM; without them one is made for `localhost` when a client
    /// wants TLS.
    #[must_use]
    pub fn tls_files(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls_files = Some((certificate.into(), key.into()));
        self
    }

    /// One more key, which allows no more than these rights.
    #[must_use]
    pub fn key_with_rights(
        self,
        name: impl Into<String>,
        key: impl Into<String>,
        rights: Rights,
    ) -> Self {
        self.key_of_entity("", name, key, rights)
    }

    /// One more key, for one queue or topic and what is below it. To any other it is a wrong key.
    #[must_use]
    pub fn key_of_entity(
        mut self,
        entity: impl AsRef<str>,
        name: impl Into<String>,
        key: impl Into<String>,
        rights: Rights,
    ) -> Self {
        let path = sas::entity_path(entity.as_ref());
        self.more_keys.push(Key { name: name.into(), key: key.into(), rights, path });
        self
    }

    /// The largest message or batch, in bytes; 256 KB by default.
    #[must_use]
    pub fn message_bytes_max(mut self, bytes: u64) -> Self {
        self.broker.message_bytes_max = bytes;
        self
    }

    /// All limits of the broker, and its seed.
    #[must_use]
    pub fn broker(mut self, config: BrokerConfig) -> Self {
        self.broker = config;
        self
    }

    /// When a silent connection is taken for dead; 240 s by default.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// When an unused link is detached; 10 minutes by default, as in the service.
    #[must_use]
    pub fn link_idle_timeout(mut self, timeout: Duration) -> Self {
        self.link_idle_timeout = timeout;
        self
    }

    /// The most links of one connection; 1,000 by default.
    #[must_use]
    pub fn links_max(mut self, count: usize) -> Self {
        self.links_max = count;
        self
    }

    /// The most connections; 5,000 by default, as in the service.
    #[must_use]
    pub fn connections_max(mut self, count: usize) -> Self {
        self.connections_max = count;
        self
    }

    /// Starts the emulator.
    ///
    /// # Errors
    /// A port cannot be listened on.
    pub async fn start(self) -> Result<Emulator, EmulatorError> {
        let amqp = listen(self.amqp_port).await?;
        let admin = match self.admin_port {
            Some(port) => Some(listen(port).await?),
            None => None,
        };
        let (amqp, amqp_address) = amqp;
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let bus = Bus::with_config(self.broker, epoch);
        if let Some(config) = &self.config {
            bus.with_broker(|broker, now| config.create(broker, now))?;
        }
        if let Some(path) = &self.trace {
            let failed = |source| EmulatorError::Trace { path: path.display().to_string(), source };
            trace::write(&bus, path).map_err(failed)?;
        }
        let default_key = (DEFAULT_KEY_NAME.to_owned(), DEFAULT_KEY.to_owned());
        let key = self.key.unwrap_or_else(|| default_key.clone());
        let settings = Settings {
            keys: KeyRing {
                is_checking: self.is_checking_keys,
                keys: [&key, &default_key]
                    .map(|(name, key)| Key::root(name.clone(), key.clone()))
                    .into_iter()
                    .chain(self.more_keys)
                    .collect(),
            },
            link_idle_timeout: self.link_idle_timeout,
            idle_timeout: self.idle_timeout,
            links_max: self.links_max,
            counter: AtomicU64::new(1),
        };
        let tls = match &self.tls_files {
            Some((certificate, key)) => Tls::from_files(certificate, key)?,
            None => Tls::default(),
        };
        let tls = Arc::new(tls);
        let control = Arc::new(watch::Sender::new(Control::default()));
        let watched = control.subscribe();
        let connections = Arc::new(ConnectionFaults::default());
        let host = Host::new(
            bus.clone(),
            Arc::new(settings),
            self.connections_max,
            Arc::clone(&connections),
            Arc::clone(&control),
            Arc::clone(&tls),
        );
        let host = Arc::new(host);
        let accept = |listener, face| {
            tokio::spawn(listener::accept(listener, face, Arc::clone(&host), watched.clone()))
        };
        let mut tasks = vec![accept(amqp, Face::Any)];
        let admin_address = admin.map(|(listener, address)| {
            tasks.push(accept(listener, Face::Management));
            address
        });
        tracing::info!(%amqp_address, ?admin_address, "listening");
        let late = tokio::spawn(bus.clone().keep_time());
        Ok(Emulator {
            bus,
            amqp_address,
            admin_address,
            key,
            control,
            connections,
            tls,
            tasks,
            late,
        })
    }
}

impl Emulator {
    /// Starts an emulator on a free port, with the limits of the Standard tier.
    ///
    /// # Errors
    /// The system has no free port.
    pub async fn start() -> Result<Self, EmulatorError> {
        Self::builder().start().await
    }

    /// An emulator that is not started yet.
    pub fn builder() -> EmulatorBuilder {
        EmulatorBuilder::default()
    }

    /// What a Service Bus client needs to connect.
    pub fn connection_string(&self) -> String {
        let (name, key) = &self.key;
        format!(
            "Endpoint=sb://localhost:{};SharedAccessKeyName={name};SharedAccessKey={key};\
             UseDevelopmentEmulator=true;",
            self.amqp_address.port()
        )
    }

    /// Where AMQP and management are served.
    pub fn amqp_address(&self) -> SocketAddr {
        self.amqp_address
    }

    /// Where management alone is served, if that was asked for.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// The certificate in PEM that clients are to trust who want TLS, which every port understands.
    ///
    /// # Errors
    /// None could be made.
    pub fn certificate_pem(&self) -> Result<&str, TlsError> {
        self.tls.certificate_pem()
    }

    /// The same broker without the network: to create entities, send, receive.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// What has been billed so far.
    pub fn meter(&self) -> Meter {
        self.bus.meter()
    }

    /// The bill as JSON: by entity and kind, and what it would cost.
    pub fn bill(&self) -> String {
        control::bill(&self.bus.meter()).to_string()
    }

    /// Cuts every connection without a word, as a broker that is moved does. New ones are welcome.
    pub fn drop_connections(&self) {
        self.control.send_modify(|control| control.blips += 1);
    }

    /// Detaches every link as the service does with one that nobody used for 10 minutes.
    pub fn detach_links(&self) {
        self.control.send_modify(|control| control.detaches += 1);
    }

    /// Has every token that was put expire now; clients are to put new ones.
    pub fn expire_tokens(&self) {
        self.control.send_modify(|control| control.expiries += 1);
    }

    /// What goes wrong with deliveries from now on; [`BrokerConfig::seed`] says with which.
    pub fn set_faults(&self, faults: Faults) {
        self.bus.with_broker(|broker, _| broker.set_faults(faults));
    }

    /// Whether new connections are closed as soon as they are accepted, from now on.
    pub fn refuse_connections(&self, is_refusing: bool) {
        self.connections.is_refusing.store(is_refusing, Ordering::Relaxed);
    }

    /// How often something went wrong on purpose so far.
    pub fn fault_counts(&self) -> FaultCounts {
        FaultCounts {
            connections_cut: self.connections.cut.load(Ordering::Relaxed),
            connections_refused: self.connections.refused.load(Ordering::Relaxed),
            ..self.bus.with_broker(|broker, _| broker.fault_counts())
        }
    }

    /// Stops: says goodbye to each connection and waits, 2 s at most, for their answers.
    pub async fn shutdown(mut self) {
        self.control.send_modify(|control| control.is_stopping = true);
        self.bus.close();
        for task in std::mem::take(&mut self.tasks) {
            // A task that panicked has stopped, too.
            _ = task.await;
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // The tasks own their connections, which end with them.
        self.tasks.iter().for_each(JoinHandle::abort);
        self.late.abort();
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator")
            .field("amqp_address", &self.amqp_address)
            .field("admin_address", &self.admin_address)
            .finish_non_exhaustive()
    }
}

async fn listen(port: u16) -> Result<(TcpListener, SocketAddr), EmulatorError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => EmulatorError::PortTaken { port, source },
        _ => EmulatorError::Listen { port, source },
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}
