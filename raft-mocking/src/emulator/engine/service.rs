//! The nodes that are no entities: `$cbs` takes tokens, `$management` takes requests.

use bytes::Bytes;

use super::{Context, GRANTS_MAX, requests};
use crate::emulator::amqp::DecodeError;
use crate::emulator::amqp::message::Request;
use crate::emulator::amqp::value::Value;
use crate::emulator::sas::{self, Grant, TokenError};

/// A node that answers requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ServiceNode {
    /// Claims-based security: `put-token`.
    Cbs,
    /// Requests about one entity.
    Management { entity: String },
}

impl ServiceNode {
    pub(super) fn from_path(path: &str) -> Option<Self> {
        if path.eq_ignore_ascii_case("$cbs") {
            return Some(Self::Cbs);
        }
        let (entity, last) = path.rsplit_once('/').unwrap_or(("", path));
        let is_management = last.eq_ignore_ascii_case("$management");
        is_management.then(|| Self::Management { entity: entity.to_owned() })
    }

    /// Handles an encoded request; returns its reply address and the encoded answer.
    pub(super) fn answer(
        &self,
        cx: &mut Context,
        request: Bytes,
    ) -> Result<(Option<String>, Bytes), DecodeError> {
        let request = Request::decode(request)?;
        let answer = match self {
            Self::Cbs => {
                let (status, description) = put_token(cx, &request);
                let properties = vec![
                    ("status-code", Value::Int(status)),
                    ("status-description", Value::String(description)),
                ];
                request.answer(properties, &Value::Null)
            }
            Self::Management { entity } => requests::answer(cx, entity, &request),
        };
        Ok((request.reply_to, answer))
    }
}

/// The longest address of an entity, and more.
const NAME_BYTES_MAX: usize = 1_024;

fn put_token(cx: &mut Context, request: &Request) -> (i32, String) {
    if request.text("operation") != Some("put-token") {
        return (400, "The operation must be 'put-token'.".to_owned());
    }
    // The type says `jwt` or `servicebus.windows.net:sastoken`; Python says `jwt` for both.
    let is_known =
        |kind: &str| kind == "jwt" || kind.ends_with(":sastoken") || kind.ends_with(":jwt");
    if !request.text("type").is_some_and(is_known) {
        return (400, "The token type is not supported.".to_owned());
    }
    let Some(name) = request.text("name") else {
        return (400, "The request has no 'name'.".to_owned());
    };
    if name.len() > NAME_BYTES_MAX {
        return (400, "The 'name' is too long.".to_owned());
    }
    let path = sas::entity_path(name);
    let token = request.body.as_ref().and_then(Value::as_text).unwrap_or_default();
    match cx.settings.keys.verify(token, &path, cx.now) {
        Ok(grant) => {
            let is_same = |known: &Grant| known.path == grant.path && known.rights == grant.rights;
            cx.grants.retain(|known| !is_same(known));
            if cx.grants.len() >= GRANTS_MAX {
                return (403, "Too many tokens on one connection.".to_owned());
            }
            cx.grants.push(grant);
            (202, "Accepted".to_owned())
        }
        Err(error @ TokenError::Malformed) => (400, error.to_string()),
        Err(error) => {
            tracing::debug!(path, %error, "token refused");
            (401, error.to_string())
        }
    }
}
