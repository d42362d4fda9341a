//! The management API: entities as Atom over HTTP, and a sign of health.
//!
//! Guarantees: each request is authorised like a link (unless keys are not checked), billed as one
//! management call if it succeeds, and answered with the service's status code.
//! Elsewhere:  the documents are in [`atom`].

mod atom;
mod entity;
mod operations;
mod rule;
pub(super) mod time;
mod xml;

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, IF_MATCH};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;

use self::operations::{Page, delete, get, put};
use self::xml::{Element, XmlWriter};
use super::control;
use super::listener::{Control, Host, Prefixed, cut};
use super::sas::TokenError;
use super::websocket::{self, WebSocketBytes};
use crate::broker::BrokerError;

/// No description comes near this.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// How long a peer may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a request may go on when the emulator stops.
const GRACE: Duration = Duration::from_secs(1);

/// A connection that carries AMQP from here on.
pub(super) type Upgraded = WebSocketBytes<TokioIo<hyper::upgrade::Upgraded>>;

/// Serves one HTTP connection, until it ends or becomes a WebSocket.
pub(super) async fn serve<S>(
    stream: Prefixed<S>,
    host: Arc<Host>,
    mut control: watch::Receiver<Control>,
) -> io::Result<Option<Upgraded>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let upgrade = Arc::new(Mutex::new(None));
    let service = {
        let upgrade = Arc::clone(&upgrade);
        service_fn(move |mut request| {
            let (host, upgrade) = (Arc::clone(&host), Arc::clone(&upgrade));
            async move {
                if !websocket::is_asked_for(&request) {
                    return Ok::<_, Infallible>(respond(&host, request).await);
                }
                Ok(match websocket::answer(&request) {
                    Ok(response) => {
                        let place = &mut *upgrade.lock().unwrap_or_else(PoisonError::into_inner);
                        *place = Some(hyper::upgrade::on(&mut request));
                        response
                    }
                    Err(response) => response,
                })
            }
        })
    };
    let mut http = hyper::server::conn::http1::Builder::new();
    // The timer ends connections whose request never gets complete.
    http.timer(TokioTimer::new());
    let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        served = connection.as_mut() => served.map_err(io::Error::other)?,
        () = cut(&mut control) => {
            if !control.borrow().is_stopping {
                return Ok(None);
            }
            connection.as_mut().graceful_shutdown();
            // A request that comes in full is answered; half of one is not waited for.
            return match timeout(GRACE, connection).await {
                Ok(served) => served.map(|()| None).map_err(io::Error::other),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
        }
    }
    let upgrade = upgrade.lock().unwrap_or_else(PoisonError::into_inner).take();
    match upgrade {
        None => Ok(None),
        Some(upgrade) => {
            let stream = upgrade.await.map_err(io::Error::other)?;
            Ok(Some(WebSocketBytes::new(TokioIo::new(stream)).await))
        }
    }
}

/// Why a request failed.
#[derive(Debug)]
struct ApiError {
    status: StatusCode,
    detail: String,
}

impl ApiError {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    fn bad_request(detail: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("SubCode=40000. {detail}"))
    }

    fn bad_value(name: &str, value: &str) -> Self {
        let value: String = value.chars().take(64).collect();
        Self::bad_request(format!("The value '{value}' of '{name}' is invalid."))
    }

    fn not_implemented(what: &str) -> Self {
        let detail = format!("'{what}' is not implemented by this emulator.");
        Self::new(StatusCode::NOT_IMPLEMENTED, detail)
    }
}

impl From<BrokerError> for ApiError {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::NotFound { path } => Self::new(
                StatusCode::NOT_FOUND,
                format!(
                    "SubCode=40400. Not Found. The messaging entity '{path}' could not be found."
                ),
            ),
            BrokerError::AlreadyExists { path } => Self::new(
                StatusCode::CONFLICT,
                format!("SubCode=40900. Conflict. The messaging entity '{path}' already exists."),
            ),
            BrokerError::TooManyEntities { .. } | BrokerError::QuotaExceeded { .. } => {
                Self::new(StatusCode::FORBIDDEN, format!("SubCode=40300. {error}."))
            }
            BrokerError::ServerBusy => {
                let detail =
                    format!("SubCode=50004. {error}. Please wait 2 seconds and try again.");
                Self::new(StatusCode::TOO_MANY_REQUESTS, detail)
            }
            other => Self::bad_request(format!("{other}.")),
        }
    }
}

impl From<xml::XmlError> for ApiError {
    fn from(error: xml::XmlError) -> Self {
        Self::bad_request(format!("{error}."))
    }
}

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Resource {
    Namespace,
    Topics,
    Queues,
    /// A queue or a topic.
    Entity(String),
    Subscriptions(String),
    Subscription(String, String),
    Rules(String, String),
    Rule(String, String, String),
}

impl Resource {
    fn from_path(path: &str) -> Option<Self> {
        let path = percent_decode_str(path).decode_utf8().ok()?;
        let path = path.trim_matches('/');
        match path.to_ascii_lowercase().as_str() {
            "" => return None,
            "$namespaceinfo" => return Some(Self::Namespace),
            "$resources/topics" => return Some(Self::Topics),
            "$resources/queues" => return Some(Self::Queues),
            _ => {}
        }
        let segments: Vec<_> = path.split('/').collect();
        let is_word = |segment: &str, word: &str| segment.eq_ignore_ascii_case(word);
        let Some(place) = segments.iter().position(|s| is_word(s, "subscriptions")) else {
            return Some(Self::Entity(path.to_owned()));
        };
        let topic = segments[..place].join("/");
        match &segments[place + 1..] {
            [] => Some(Self::Subscriptions(topic)),
            [name] => Some(Self::Subscription(topic, (*name).to_owned())),
            [name, rules] if is_word(rules, "rules") => {
                Some(Self::Rules(topic, (*name).to_owned()))
            }
            [name, rules, rule] if is_word(rules, "rules") => {
                Some(Self::Rule(topic, (*name).to_owned(), (*rule).to_owned()))
            }
            _ => None,
        }
    }

    /// The entity whose token the request needs, and that is billed.
    fn entity(&self) -> String {
        match self {
            Self::Namespace | Self::Topics | Self::Queues => String::new(),
            Self::Entity(topic) | Self::Subscriptions(topic) => topic.clone(),
            Self::Subscription(topic, name)
            | Self::Rules(topic, name)
            | Self::Rule(topic, name, _) => {
                format!("{topic}/Subscriptions/{name}")
            }
        }
    }
}

async fn respond(host: &Host, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let result = handle(host, request).await;
    let (status, body) = match result {
        Ok((status, body)) => (status, body),
        Err(error) => {
            let mut xml = XmlWriter::default();
            xml.element("Error", &[], |xml| {
                xml.leaf("Code", error.status.as_str());
                xml.leaf("Detail", &error.detail);
            });
            (error.status, xml.finish())
        }
    };
    tracing::debug!(%method, path, status = status.as_u16(), "management call");
    let kind = match body.as_bytes().first() {
        Some(b'{' | b'n') => "application/json",
        _ => "application/atom+xml;type=entry;charset=utf-8",
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

async fn handle(host: &Host, request: Request<Incoming>) -> Result<(StatusCode, String), ApiError> {
    let path = request.uri().path();
    if path == "/health" {
        return Ok((
            StatusCode::OK,
            r#"{"status":"healthy","message":"Service is healthy."}"#.into(),
        ));
    }
    if let Some(rest) = control::rest_of(path) {
        let (rest, method) = (rest.to_owned(), request.method().clone());
        let body = body_of(request).await?;
        let (status, answer) = control::handle(host, &method, &rest, &body);
        return Ok((status, answer.to_string()));
    }
    let resource = Resource::from_path(path)
        .ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "SubCode=40400. No such resource."))?;
    // A token may be for the very resource, or for what it is below.
    let path = percent_decode_str(path.trim_matches('/')).decode_utf8_lossy().into_owned();
    authorise(host, &request, &path)?;
    let method = request.method().clone();
    let is_update = request.headers().contains_key(IF_MATCH);
    let page = Page::from_query(request.uri().query().unwrap_or_default());
    let body = body_of(request).await?;
    host.bus.with_broker(|broker, now| broker.admit_management(now))?;
    match method {
        Method::GET => get(host, &resource, page),
        Method::PUT => {
            let text = std::str::from_utf8(&body);
            let text = text.map_err(|_| ApiError::bad_request("The body is not UTF-8.".into()))?;
            put(host, &resource, &Element::parse(text)?, is_update)
        }
        Method::DELETE => delete(host, &resource),
        _ => Err(not_allowed()),
    }
}

async fn body_of(request: Request<Incoming>) -> Result<Bytes, ApiError> {
    let limited = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let limited = timeout(BODY_TIMEOUT, limited).await;
    let body = limited
        .map_err(|_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "The body did not come in time."))?
        .map_err(|_| {
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large or broken.")
        })?;
    Ok(body.to_bytes())
}

fn not_allowed() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "SubCode=40500. The resource has no such method.")
}

fn authorise(host: &Host, request: &Request<Incoming>, entity: &str) -> Result<(), ApiError> {
    let keys = &host.settings.keys;
    if !keys.is_checking {
        return Ok(());
    }
    let refused = |detail: String| ApiError::new(StatusCode::UNAUTHORIZED, detail);
    let Some(token) = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok())
    else {
        return Err(refused("MissingToken: The request has no authorization header.".into()));
    };
    let token = token.strip_prefix("Bearer ").unwrap_or(token);
    let grant = keys
        .verify(token, &entity.to_ascii_lowercase(), host.bus.now())
        .map_err(|error: TokenError| refused(format!("SubCode=40100. Unauthorized. {error}")))?;
    if !grant.rights.manage {
        let detail = "SubCode=40100. Unauthorized. 'Manage' claim is required for this operation.";
        return Err(refused(detail.to_owned()));
    }
    Ok(())
}
