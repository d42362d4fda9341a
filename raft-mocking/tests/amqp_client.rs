//! The emulator as a real AMQP client sees it, one that shares no code with it.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use fe2o3_amqp::connection::{ConnectionHandle, OpenError};
use fe2o3_amqp::link::{Receiver, Sender};
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::definitions::SenderSettleMode;
use fe2o3_amqp::types::messaging::{ApplicationProperties, Body, Data, Message, Properties};
use fe2o3_amqp::types::primitives::Value;
use fe2o3_amqp::{Connection, Session};
use raft_mocking::broker::{BrokerConfig, BusMessage, CorrelationFilter, OperationKind, Rule};
use raft_mocking::emulator::{Emulator, EmulatorError};

const WITHIN: Duration = Duration::from_secs(20);

async fn emulator() -> Emulator {
    let emulator = Emulator::start().await.unwrap();
    emulator.bus().create_topic("rafttopic", Default::default()).unwrap();
    emulator.bus().create_subscription("rafttopic", "server-1", Default::default()).unwrap();
    emulator
}

fn plain(key: &str) -> SaslProfile {
    let (username, password) = ("RootManageSharedAccessKey".to_owned(), key.to_owned());
    SaslProfile::Plain { username, password }
}

async fn open(emulator: &Emulator, sasl: SaslProfile) -> Result<ConnectionHandle<()>, OpenError> {
    let url = format!("amqp://{}", emulator.amqp_address());
    let builder = Connection::builder().container_id("test").max_frame_size(1_024);
    builder.sasl_profile(sasl).open(&url[..]).await
}

async fn connect(emulator: &Emulator) -> (ConnectionHandle<()>, SessionHandle<()>) {
    let mut connection = open(emulator, plain("SAS_KEY_VALUE")).await.unwrap();
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

#[tokio::test]
async fn unknown_entity_is_refused_with_the_words_of_the_service() {
    let emulator = emulator().await;
    let (mut connection, mut session) = connect(&emulator).await;
    let refused = Sender::attach(&mut session, "s", "nope").await.unwrap_err();
    let words = "The messaging entity 'sb://localhost/nope' could not be found";
    assert!(format!("{refused:?}").contains(words), "{refused:?}");
    let mut session = Session::begin(&mut connection).await.unwrap();
    Sender::attach(&mut session, "s", "rafttopic").await.unwrap();
}

#[tokio::test]
async fn wrong_key_is_refused_unless_keys_are_not_checked() {
    let strict = emulator().await;
    let refused = open(&strict, plain("wrong")).await.unwrap_err();
    assert!(matches!(refused, OpenError::SaslError { .. }), "{refused:?}");

    let mut anonymous = open(&strict, SaslProfile::Anonymous).await.unwrap();
    let mut session = Session::begin(&mut anonymous).await.unwrap();
    let refused = Sender::attach(&mut session, "s", "rafttopic").await.unwrap_err();
    assert!(format!("{refused:?}").contains("'Send' claim(s) are required"), "{refused:?}");

    let lenient = Emulator::builder().check_keys(false).start().await.unwrap();
    lenient.bus().create_topic("rafttopic", Default::default()).unwrap();
    for sasl in [plain("wrong"), SaslProfile::Anonymous] {
        let mut connection = open(&lenient, sasl).await.unwrap();
        let mut session = Session::begin(&mut connection).await.unwrap();
        Sender::attach(&mut session, "s", "rafttopic").await.unwrap();
    }
}

#[tokio::test]
async fn large_message_passes_in_many_small_frames() {
    let emulator = emulator().await;
    let (_connection, mut session) = connect(&emulator).await;
    let mut sender = Sender::attach(&mut session, "s", "rafttopic").await.unwrap();
    let mut receiver = receiver(&mut session, "rafttopic/Subscriptions/server-1").await;
    let large: Vec<u8> = (0..200_000_u32).map(|number| number as u8).collect();
    for _ in 0..3 {
        assert!(sender.send(message(large.clone())).await.unwrap().is_accepted());
        assert_eq!(body(&next(&mut receiver).await), large);
    }
    // 200 KB starts four blocks of 64 KB, as sender and as receiver.
    let meter = emulator.meter();
    assert_eq!(meter.operations_of(OperationKind::Send), 12);
    assert_eq!(meter.operations_of(OperationKind::Receive), 12);
}

#[tokio::test]
async fn thousand_messages_arrive_in_order() {
    let emulator = emulator().await;
    let (_connection, mut session) = connect(&emulator).await;
    let mut sender = Sender::attach(&mut session, "s", "rafttopic").await.unwrap();
    let mut receiver = receiver(&mut session, "rafttopic/Subscriptions/server-1").await;
    let send = async {
        for number in 0..1_000_u32 {
            let outcome = sender.send(message(number.to_be_bytes().to_vec())).await.unwrap();
            assert!(outcome.is_accepted());
        }
    };
    let receive = async {
        for number in 0..1_000_u32 {
            assert_eq!(body(&next(&mut receiver).await), number.to_be_bytes());
        }
    };
    tokio::join!(send, receive);
}

#[tokio::test]
async fn rule_keeps_out_what_is_for_others() {
    let emulator = emulator().await;
    let bus = emulator.bus();
    bus.remove_rule("rafttopic", "server-1", Rule::DEFAULT_NAME).unwrap();
    bus.add_rule("rafttopic", "server-1", Rule::new("me", CorrelationFilter::to("server-1")))
        .unwrap();
    let (_connection, mut session) = connect(&emulator).await;
    let mut sender = Sender::attach(&mut session, "s", "rafttopic").await.unwrap();
    let mut receiver = receiver(&mut session, "rafttopic/Subscriptions/server-1").await;
    let stranger = Properties::builder().to("server-2").build();
    let stranger = Message::builder().properties(stranger).data(b"other".to_vec()).build();
    sender.send(stranger).await.unwrap();
    sender.send(message(b"mine".to_vec())).await.unwrap();
    assert_eq!(body(&next(&mut receiver).await), b"mine");
}

#[tokio::test]
async fn full_topic_rejects_and_the_sender_goes_on() {
    let config = BrokerConfig { topic_messages_max: 1, ..BrokerConfig::default() };
    let emulator = Emulator::builder().broker(config).start().await.unwrap();
    emulator.bus().create_topic("rafttopic", Default::default()).unwrap();
    emulator.bus().create_subscription("rafttopic", "server-1", Default::default()).unwrap();
    let (_connection, mut session) = connect(&emulator).await;
    let mut sender = Sender::attach(&mut session, "s", "rafttopic").await.unwrap();
    assert!(sender.send(message(b"a".to_vec())).await.unwrap().is_accepted());
    let rejected = sender.send(message(b"b".to_vec())).await.unwrap();
    assert!(format!("{rejected:?}").contains("ResourceLimitExceeded"), "{rejected:?}");
    emulator.bus().receiver("rafttopic", "server-1").unwrap().receive().await.unwrap();
    assert!(sender.send(message(b"c".to_vec())).await.unwrap().is_accepted());
}

#[tokio::test]
async fn both_faces_show_one_broker() {
    let emulator = emulator().await;
    let (_connection, mut session) = connect(&emulator).await;
    let mut sender = Sender::attach(&mut session, "s", "rafttopic").await.unwrap();
    let mut inside = emulator.bus().receiver("rafttopic", "server-1").unwrap();
    sender.send(message(b"from outside".to_vec())).await.unwrap();
    let received = inside.receive().await.unwrap();
    assert_eq!(&received.message.body[..], b"from outside");
    assert_eq!(received.message.to.as_deref(), Some("server-1"));
    assert_eq!(received.message.application_properties["term"], 7.into());

    let mut outside = receiver(&mut session, "rafttopic/Subscriptions/server-1").await;
    let sent = BusMessage::new("from inside").with_subject("vote").with_property("term", 8);
    emulator.bus().publish("rafttopic", sent).unwrap();
    let received = next(&mut outside).await;
    assert_eq!(body(&received), b"from inside");
    assert_eq!(received.properties.unwrap().subject.as_deref(), Some("vote"));
    let properties = received.application_properties.unwrap();
    assert_eq!(properties.0.get("term"), Some(&8_i64.into()));
}

#[tokio::test]
async fn dropped_connections_are_cut_and_new_ones_welcome() {
    let emulator = emulator().await;
    let (mut connection, mut session) = connect(&emulator).await;
    let _sender = Sender::attach(&mut session, "s", "rafttopic").await.unwrap();
    emulator.drop_connections();
    tokio::time::timeout(WITHIN, connection.on_close()).await.unwrap().unwrap_err();
    let (_connection, mut session) = connect(&emulator).await;
    let mut sender = Sender::attach(&mut session, "s", "rafttopic").await.unwrap();
    assert!(sender.send(message(b"a".to_vec())).await.unwrap().is_accepted());
}

#[tokio::test]
async fn shutdown_says_goodbye() {
    let emulator = emulator().await;
    let (mut connection, _session) = connect(&emulator).await;
    tokio::time::timeout(WITHIN, emulator.shutdown()).await.unwrap();
    let error = tokio::time::timeout(WITHIN, connection.on_close()).await.unwrap().unwrap_err();
    assert!(format!("{error:?}").contains("ConnectionForced"), "{error:?}");
}

#[tokio::test]
async fn dropped_emulator_frees_its_port_and_a_taken_port_is_named() {
    let first = emulator().await;
    let port = first.amqp_address().port();
    let taken = Emulator::builder().amqp_port(port).start().await.unwrap_err();
    assert!(matches!(taken, EmulatorError::PortTaken { port: named, .. } if named == port));
    assert!(taken.to_string().contains(&port.to_string()));
    let mut silent = tokio::net::TcpStream::connect(first.amqp_address()).await.unwrap();
    drop(first);
    // The socket ends once its task was stopped, and so the listener was, too.
    let mut rest = Vec::new();
    let ended = tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut rest);
    _ = tokio::time::timeout(WITHIN, ended).await.unwrap();
    Emulator::builder().amqp_port(port).start().await.unwrap();
}
