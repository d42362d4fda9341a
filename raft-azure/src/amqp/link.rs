//! The two kinds of link: one that publishes to a topic, one that receives from a subscription.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use fe2o3_amqp::link::delivery::DeliveryFut;
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::link::{RecvError, SendError};
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Receiver, Sender};
use fe2o3_amqp_types::definitions::{ReceiverSettleMode, SenderSettleMode};
use fe2o3_amqp_types::messaging::{Body, Outcome};
use fe2o3_amqp_types::primitives::Value;

use super::error::{self, AttachRefused};
use super::life::Life;
use super::{Endpoint, connection_ended, message};
use crate::transport::{BusMessage, LinkReceiver, LinkSender, ReceivedMessage, TransportError};

/// A link that publishes to a topic.
#[derive(Debug)]
pub struct AmqpSender {
    // Before the session: it is detached before the session ends.
    link: Sender,
    _session: SessionHandle<()>,
    topic: Arc<str>,
    life: Life,
    endpoint: Arc<Endpoint>,
}

impl AmqpSender {
    pub(super) async fn attach(
        endpoint: &Arc<Endpoint>,
        life: &Life,
        mut session: SessionHandle<()>,
        topic: &str,
    ) -> Result<Result<Self, AttachRefused>, TransportError> {
        let attach = Sender::builder()
            .name(endpoint.link_name("sender"))
            .target(topic)
            .sender_settle_mode(SenderSettleMode::Mixed)
            .receiver_settle_mode(ReceiverSettleMode::First)
            .attach(&mut session);
        Ok(match endpoint.within(life, "attach", attach).await? {
            Ok(link) => Ok(Self {
                link,
                _session: session,
                topic: topic.into(),
                life: life.clone(),
                endpoint: Arc::clone(endpoint),
            }),
            Err(error) => Err(error::from_sender_attach(topic, &error)),
        })
    }
}

impl LinkSender for AmqpSender {
    type Outcome = SendOutcome;

    fn max_message_size(&self) -> Option<u64> {
        self.link.max_message_size()
    }

    async fn send(&mut self, message: BusMessage) -> Result<SendOutcome, TransportError> {
        match self.link.send_batchable(message::encode(message)).await {
            Ok(delivery) => Ok(SendOutcome { delivery, topic: Arc::clone(&self.topic) }),
            Err(error) => Err(error::from_send(&self.topic, &error)),
        }
    }

    async fn closed(&mut self) -> TransportError {
        tokio::select! {
            biased;
            detached = self.link.on_detach() => error::from_detach(&self.topic, &detached),
            () = self.life.ended() => connection_ended(),
        }
    }

    async fn close(self) {
        // Good-bye is a courtesy: an error or a time-out changes nothing.
        let _ = self.endpoint.within(&self.life, "detach", self.link.close()).await;
    }
}

/// Resolves when the broker took or refused one message.
pub struct SendOutcome {
    delivery: DeliveryFut<Result<Outcome, SendError>>,
    topic: Arc<str>,
}

impl fmt::Debug for SendOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendOutcome").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Future for SendOutcome {
    type Output = Result<(), TransportError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.delivery).poll(context).map(|outcome| match outcome {
            Ok(outcome) => error::from_outcome(&self.topic, outcome),
            Err(error) => Err(error::from_send(&self.topic, &error)),
        })
    }
}

/// A link that receives from a subscription and deletes what it received.
#[derive(Debug)]
pub struct AmqpReceiver {
    // Before the session: it is detached before the session ends.
    link: Receiver,
    _session: SessionHandle<()>,
    subscription: Arc<str>,
    life: Life,
    endpoint: Arc<Endpoint>,
}

impl AmqpReceiver {
    pub(super) async fn attach(
        endpoint: &Arc<Endpoint>,
        life: &Life,
        mut session: SessionHandle<()>,
        subscription: &str,
    ) -> Result<Result<Self, AttachRefused>, TransportError> {
        let attach = Receiver::builder()
            .name(endpoint.link_name("receiver"))
            .source(subscription)
            // Both together are what Service Bus calls ReceiveAndDelete.
            .sender_settle_mode(SenderSettleMode::Settled)
            .receiver_settle_mode(ReceiverSettleMode::First)
            .credit_mode(CreditMode::Auto(endpoint.options.credit))
            // Sends nothing for a settled message, but the library counts it towards new credit.
            .auto_accept(true)
            .attach(&mut session);
        Ok(match endpoint.within(life, "attach", attach).await? {
            Ok(link) => Ok(Self {
                link,
                _session: session,
                subscription: subscription.into(),
                life: life.clone(),
                endpoint: Arc::clone(endpoint),
            }),
            Err(error) => Err(error::from_receiver_attach(subscription, &error)),
        })
    }

    fn undecodable(&self) -> TransportError {
        TransportError::Undecodable { entity: self.subscription.to_string() }
    }
}

impl LinkReceiver for AmqpReceiver {
    async fn receive(&mut self) -> Result<ReceivedMessage, TransportError> {
        let received = tokio::select! {
            // What arrived before the end is still ours.
            biased;
            received = self.link.recv::<Body<Value>>() => received,
            () = self.life.ended() => return Err(connection_ended()),
        };
        match received {
            Ok(delivery) => {
                message::decode(delivery.into_message()).ok_or_else(|| self.undecodable())
            }
            Err(RecvError::MessageDecode(_)) => {
                // The library does not count it, so enough of them would use up the credit.
                let credit = self.endpoint.options.credit;
                match self.link.set_credit(credit).await {
                    Ok(()) => Err(self.undecodable()),
                    Err(error) => Err(TransportError::Detached {
                        entity: self.subscription.to_string(),
                        source: error::cause(error),
                    }),
                }
            }
            Err(error) => Err(error::from_receive(&self.subscription, &error)),
        }
    }

    async fn close(self) {
        // Good-bye is a courtesy: an error or a time-out changes nothing.
        let _ = self.endpoint.within(&self.life, "detach", self.link.close()).await;
    }
}
