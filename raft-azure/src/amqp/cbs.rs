//! Claims-based security: a token is a message to the node `$cbs`, answered by a status code.
//!
//! Links to `$cbs` live for one token only, since the broker detaches idle links anyway.
//! Source: <https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-protocol-guide>.

use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Receiver, Sender};
use fe2o3_amqp_types::messaging::{
    AmqpValue, ApplicationProperties, Body, Message, MessageId, Outcome, Properties,
};
use fe2o3_amqp_types::primitives::{SimpleValue, Timestamp, Value};

use super::Endpoint;
use super::error::{self, cause};
use super::life::Life;
use crate::sas::{Token, without_signatures};
use crate::transport::{BrokerError, TransportError};

const NODE: &str = "$cbs";
const SAS_TOKEN_TYPE: &str = "servicebus.windows.net:sastoken";

/// Puts a token for `audience`, the URL of `entity`, and waits for the broker's verdict.
pub(super) async fn put_token(
    endpoint: &Endpoint,
    life: &Life,
    mut session: SessionHandle<()>,
    entity: &str,
    audience: &str,
    token: &Token,
) -> Result<(), TransportError> {
    let exchange = exchange(endpoint, &mut session, audience, token);
    let response = endpoint.within(life, "put-token", exchange).await??;
    let result = verdict(entity, response);
    // A courtesy again: the session is not used any more.
    let _ = endpoint.within(life, "end", session.end()).await;
    result
}

async fn exchange(
    endpoint: &Endpoint,
    session: &mut SessionHandle<()>,
    audience: &str,
    token: &Token,
) -> Result<Message<Body<Value>>, TransportError> {
    let name = endpoint.link_name("cbs");
    let mut sender = Sender::attach(session, format!("{name}-sender"), NODE)
        .await
        .map_err(|error| error::from_sender_attach(NODE, &error).error)?;
    let mut receiver = Receiver::builder()
        .name(format!("{name}-receiver"))
        .source(NODE)
        .target(name.clone())
        .attach(session)
        .await
        .map_err(|error| error::from_receiver_attach(NODE, &error).error)?;
    let outcome = sender
        .send(request(&name, audience, token))
        .await
        .map_err(|error| error::from_send(NODE, &error))?;
    if let Outcome::Rejected(_) | Outcome::Released(_) | Outcome::Modified(_) = outcome {
        error::from_outcome(NODE, outcome)?;
    }
    let delivery =
        receiver.recv::<Body<Value>>().await.map_err(|error| error::from_receive(NODE, &error))?;
    receiver
        .accept(&delivery)
        .await
        .map_err(|error| TransportError::Other { operation: "put-token", source: cause(error) })?;
    Ok(delivery.into_message())
}

fn request(reply_to: &str, audience: &str, token: &Token) -> Message<AmqpValue<String>> {
    let expiry = i64::try_from(token.expires_at.saturating_mul(1000)).unwrap_or(i64::MAX);
    Message::builder()
        .properties(Properties {
            message_id: Some(MessageId::String(reply_to.to_owned())),
            to: Some(NODE.to_owned()),
            reply_to: Some(reply_to.to_owned()),
            ..Properties::default()
        })
        .application_properties(
            ApplicationProperties::builder()
                .insert("operation", "put-token")
                .insert("type", SAS_TOKEN_TYPE)
                .insert("name", audience)
                .insert("expiration", SimpleValue::Timestamp(Timestamp::from(expiry)))
                .build(),
        )
        .value(token.text.expose().to_owned())
        .build()
}

fn verdict(entity: &str, response: Message<Body<Value>>) -> Result<(), TransportError> {
    let properties = response.application_properties.unwrap_or_default().0;
    let code = match properties.get("status-code") {
        Some(SimpleValue::Int(code)) => *code,
        Some(SimpleValue::Uint(code)) => i32::try_from(*code).unwrap_or_default(),
        Some(SimpleValue::Long(code)) => i32::try_from(*code).unwrap_or_default(),
        _ => 0,
    };
    let description = match properties.get("status-description") {
        Some(SimpleValue::String(text)) => without_signatures(text),
        _ => String::new(),
    };
    let source = BrokerError { condition: format!("status {code}"), description };
    let entity = entity.to_owned();
    match code {
        200..=299 => Ok(()),
        401 | 403 => Err(TransportError::Unauthorized { entity, source }),
        404 => Err(TransportError::NotFound { entity, source }),
        429 | 503 => Err(TransportError::Throttled { entity, source }),
        _ => Err(TransportError::Other {
            operation: "put-token",
            source: std::sync::Arc::new(source),
        }),
    }
}
