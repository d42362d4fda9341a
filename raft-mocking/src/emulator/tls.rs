//! TLS on every port: recognised by its first byte, with a certificate that is given or made.
//!
//! Guarantees: a certificate is made when it is needed first, for `localhost` and 127.0.0.1, and never
//! again; its key stays in this process.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// What a TLS connection starts with: a handshake record.
pub(super) const FIRST_BYTE: u8 = 0x16;

/// Why there is no TLS.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file does not hold what it should.
    #[error("cannot read {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key do not fit, or none could be made.
    #[error("the certificate cannot be used: {reason}")]
    Certificate {
        /// What the library says.
        reason: String,
    },
}

/// The server's side of TLS.
#[derive(Default)]
pub(super) struct Tls {
    identity: OnceLock<Result<Identity, TlsError>>,
}

struct Identity {
    acceptor: TlsAcceptor,
    certificate_pem: String,
}

impl Tls {
    /// With a certificate and key in PEM.
    pub(super) fn from_files(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let failed = |path: &Path, reason: &dyn std::fmt::Display| TlsError::File {
            path: path.display().to_string(),
            reason: reason.to_string(),
        };
        let certificate_pem =
            std::fs::read_to_string(certificate).map_err(|error| failed(certificate, &error))?;
        let chain = CertificateDer::pem_slice_iter(certificate_pem.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|e| failed(certificate, &e))?;
        if chain.is_empty() {
            return Err(failed(certificate, &"it holds no certificate"));
        }
        let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
        let identity = Identity::new(chain, key_der, certificate_pem)?;
        Ok(Self { identity: OnceLock::from(Ok(identity)) })
    }

    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        self.identity().map(|identity| identity.acceptor.clone())
    }

    /// What a client is to trust.
    pub(super) fn certificate_pem(&self) -> Result<&str, TlsError> {
        self.identity().map(|identity| identity.certificate_pem.as_str())
    }

    fn identity(&self) -> Result<&Identity, TlsError> {
        self.identity.get_or_init(Identity::made).as_ref().map_err(Clone::clone)
    }
}

impl Identity {
    fn made() -> Result<Self, TlsError> {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names);
        let made = made.map_err(|error| TlsError::Certificate { reason: error.to_string() })?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der());
        let key = key.map_err(|reason| TlsError::Certificate { reason: reason.to_owned() })?;
        Self::new(vec![made.cert.der().clone()], key, made.cert.pem())
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        certificate_pem: String,
    ) -> Result<Self, TlsError> {
        let failed = |error: rustls::Error| TlsError::Certificate { reason: error.to_string() };
        // Named, so that no other crate in the process can make the choice ambiguous.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(failed)?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), certificate_pem })
    }
}
