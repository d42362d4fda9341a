//! The emulator as a real AMQP client sees it, one that shares no code with it.
#![cfg(feature = "emulator")]

use std::time::Duration;

use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::link::{Receiver, Sender};
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::definitions::SenderSettleMode;
use fe2o3_amqp::types::messaging::{ApplicationProperties, Body, Data, Message, Properties};
use fe2o3_amqp::types::primitives::Value;
use fe2o3_amqp::{Connection, Session};
use raft_mocking::emulator::Emulator;

const WITHIN: Duration = Duration::from_secs(20);

async fn emulator() -> Emulator {
    let emulator = Emulator::start().await.unwrap();
    emulator.bus().create_topic("rafttopic", Default::default()).unwrap();
    emulator.bus().create_subscription("rafttopic", "server-1", Default::default()).unwrap();
    emulator
}

async fn connect(emulator: &Emulator) -> (ConnectionHandle<()>, SessionHandle<()>) {
    let plain = SaslProfile::Plain {
        username: "RootManageSharedAccessKey".to_owned(),
        password: "SAS_KEY_VALUE".to_owned(),
    };
    let url = format!("amqp://{}", emulator.amqp_address());
    let mut connection = Connection::builder()
        .container_id("test")
        .sasl_profile(plain)
        .open(&url[..])
        .await
        .unwrap();
    let session = Session::begin(&mut connection).await.unwrap();
    (connection, session)
}

async fn receiver(session: &mut SessionHandle<()>, address: &str) -> Receiver {
    Receiver::builder()
        .name(format!("from {address}"))
        .source(address)
        .sender_settle_mode(SenderSettleMode::Settled)
        .attach(session)
        .await
        .unwrap()
}

fn message(body: Vec<u8>) -> Message<Data> {
    Message::builder()
        .properties(
            Properties::builder()
                .message_id("id".to_owned())
                .to("server-1")
                .subject("vote")
                .build(),
        )
        .application_properties(ApplicationProperties::builder().insert("term", 7).build())
        .data(body)
        .build()
}

async fn next(receiver: &mut Receiver) -> Message<Body<Value>> {
    let delivery =
        tokio::time::timeout(WITHIN, receiver.recv::<Body<Value>>()).await.unwrap().unwrap();
    receiver.accept(&delivery).await.unwrap();
    delivery.into_message()
}

fn body(message: &Message<Body<Value>>) -> Vec<u8> {
    match &message.body {
        Body::Data(batch) => batch.iter().flat_map(|data| data.0.to_vec()).collect(),
        other => panic!("unexpected body {other:?}"),
    }
}

#[tokio::test]
async fn message_arrives_as_it_was_sent() {
    let emulator = emulator().await;
    let (_connection, mut session) = connect(&emulator).await;
    let mut sender =
        Sender::attach(&mut session, "s", "amqps://localhost/rafttopic").await.unwrap();
    let mut receiver = receiver(&mut session, "rafttopic/subscriptions/server-1").await;

    let outcome = sender.send(message(b"hello".to_vec())).await.unwrap();
    assert!(outcome.is_accepted());

    let received = next(&mut receiver).await;
    assert_eq!(body(&received), b"hello");
    let properties = received.properties.unwrap();
    assert_eq!(properties.to.as_deref(), Some("server-1"));
    assert_eq!(properties.subject.as_deref(), Some("vote"));
    assert_eq!(received.application_properties.unwrap().0.get("term"), Some(&7.into()));
}
