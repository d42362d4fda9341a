//! One HTTP/1.1 request at a time, each on its own connection: provisioning makes a few dozen.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{AdminError, AdminOptions};
use crate::connection_string::ConnectionString;
use crate::sas;
use crate::tls::Tls;
use crate::transport::{Cause, TransportError};

/// Larger than any answer of the service.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long the token of one request is valid.
const TOKEN_LIFETIME: Duration = Duration::from_secs(300);

/// What the service answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: String,
}

/// The management endpoint of one namespace.
#[derive(Debug, Clone)]
pub(super) struct Http {
    connection_string: ConnectionString,
    tls: Option<Tls>,
    timeout: Duration,
}

impl Http {
    pub(super) fn new(
        connection_string: ConnectionString,
        options: &AdminOptions,
    ) -> Result<Self, AdminError> {
        let tls = if connection_string.uses_tls() {
            let tls = Tls::new(&options.trusted_roots).map_err(|error| TransportError::Tls {
                host: connection_string.host().to_owned(),
                port: connection_string.management_port(),
                source: Arc::new(error),
            })?;
            Some(tls)
        } else {
            None
        };
        Ok(Self { connection_string, tls, timeout: options.request_timeout })
    }

    /// Sends one request with a token for `entity`; `target` is URL-encoded and starts with `/`.
    pub(super) async fn request(
        &self,
        method: Method,
        entity: &str,
        target: &str,
        body: String,
    ) -> Result<Answer, AdminError> {
        let request = self.build(method, entity, target, body)?;
        match tokio::time::timeout(self.timeout, self.send(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(TransportError::Timeout {
                operation: "a management request",
                after: self.timeout,
            }
            .into()),
        }
    }

    fn build(
        &self,
        method: Method,
        entity: &str,
        target: &str,
        body: String,
    ) -> Result<Request<Full<Bytes>>, AdminError> {
        let host = self.connection_string.url_host();
        let port = self.connection_string.management_port();
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since_epoch| since_epoch.as_secs());
        let token = sas::token(
            self.connection_string.credential(),
            &format!("{scheme}://{host}/{entity}"),
            now + TOKEN_LIFETIME.as_secs(),
        );
        let failed = |source: Cause| TransportError::Other { operation: "a request", source };
        let mut authorization =
            HeaderValue::from_str(token.text.expose()).map_err(|error| failed(Arc::new(error)))?;
        authorization.set_sensitive(true);
        let is_default_port = self.tls.is_some() && port == 443;
        let host_header = if is_default_port { host } else { format!("{host}:{port}") };
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, host_header)
            .header(CONNECTION, "close")
            .header(AUTHORIZATION, authorization);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/atom+xml;type=entry;charset=utf-8");
        }
        request.body(Full::new(Bytes::from(body))).map_err(|error| failed(Arc::new(error)).into())
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, AdminError> {
        let host = self.connection_string.host();
        let port = self.connection_string.management_port();
        let stream = TcpStream::connect((host, port))
            .await
            .map_err(|error| self.connect_error(Arc::new(error)))?;
        match &self.tls {
            Some(tls) => {
                let stream = tls.encrypt(stream, host, port).await?;
                self.exchange(stream, request).await
            }
            None => self.exchange(stream, request).await,
        }
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, AdminError> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.connect_error(Arc::new(error)))?;
        let exchange = async {
            let response = sender
                .send_request(request)
                .await
                .map_err(|error| self.connect_error(Arc::new(error)))?;
            let status = response.status();
            let retry_after = response.headers().get(RETRY_AFTER);
            let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
            let body = Limited::new(response.into_body(), BODY_BYTES_MAX)
                .collect()
                .await
                .map_err(|error| self.connect_error(Arc::from(error)))?;
            let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            Ok(Answer { status, retry_after: retry_after.map(Duration::from_secs), body })
        };
        // The connection is driven here, so that nothing outlives the request.
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            // Whether it ended well or not, the exchange knows what arrived.
            _ = connection => exchange.await,
        }
    }

    fn connect_error(&self, source: Cause) -> AdminError {
        TransportError::Connect {
            host: self.connection_string.host().to_owned(),
            port: self.connection_string.management_port(),
            source,
        }
        .into()
    }
}
