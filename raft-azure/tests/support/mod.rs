//! What the tests of the bus share.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A connection string for a loopback port; the key is not one of anybody's.
pub(crate) fn connection_string(
    host: &str,
    port: u16,
    emulator: bool,
) -> raft_azure::ConnectionString {
    let text = format!(
        "Endpoint=sb://{host}:{port};SharedAccessKeyName=RootManageSharedAccessKey;\
         SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator={emulator};"
    );
    text.parse().expect("a valid connection string")
}

/// A TLS listener for `localhost` with a certificate made on the spot (returned as DER).
pub(crate) struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    pub(crate) port: u16,
    pub(crate) certificate: Vec<u8>,
}

impl TlsListener {
    pub(crate) async fn bind() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
            .expect("a certificate for localhost");
        let certificate = made.cert.der().to_vec();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(certificate.clone())], key)
            .expect("key and certificate belong together");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("a bound port").port();
        Self { listener, acceptor: TlsAcceptor::from(Arc::new(config)), port, certificate }
    }

    /// The next connection that finishes the handshake.
    pub(crate) async fn accept(&self) -> tokio_rustls::server::TlsStream<TcpStream> {
        loop {
            let (stream, _) = self.listener.accept().await.expect("a listening socket");
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return stream;
            }
        }
    }
}
