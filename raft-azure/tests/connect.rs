//! The first connect fails fast with one clear line, and TLS trusts only what it was told to.

mod support;

use std::time::Duration;

use raft_azure::admin::{Admin, AdminError, AdminOptions};
use raft_azure::{AmqpBus, AmqpOptions, BusMessage, TransportError, TrustedRoots};
use raft_mocking::emulator::Emulator;
use support::{TlsListener, connection_string};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

fn options() -> AmqpOptions {
    AmqpOptions { connect_timeout: Duration::from_secs(5), ..AmqpOptions::default() }
}

/// A port that nobody listens on.
async fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    listener.local_addr().expect("a bound port").port()
}

#[tokio::test]
async fn a_port_nobody_listens_on_is_named() {
    let port = free_port().await;
    let error = AmqpBus::connect(connection_string("127.0.0.1", port, true), options()).await;
    let line = error.unwrap_err().one_line();
    assert!(line.starts_with(&format!("cannot connect to 127.0.0.1:{port}: ")), "{line}");

    let admin =
        Admin::new(connection_string("127.0.0.1", port, true), AdminOptions::default()).unwrap();
    let error = admin.topic_exists("t").await.unwrap_err();
    let AdminError::Transport { source } = error else { panic!("{error}") };
    assert!(source.one_line().starts_with(&format!("cannot connect to 127.0.0.1:{port}: ")));
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_given_up_in_time() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let options =
        AmqpOptions { connect_timeout: Duration::from_millis(200), ..AmqpOptions::default() };
    let connect = AmqpBus::connect(connection_string("127.0.0.1", port, true), options);
    let (error, _held) = tokio::join!(connect, listener.accept());
    let line = error.unwrap_err().one_line();
    assert!(line.contains("no answer within 200ms"), "{line}");
}

#[tokio::test]
async fn a_peer_that_does_not_speak_amqp_is_told_apart() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        // Whatever the client still says does not matter.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let connect = AmqpBus::connect(connection_string("127.0.0.1", port, true), options());
    let (error, ()) = tokio::join!(connect, server);
    let error = error.unwrap_err();
    assert!(matches!(error, TransportError::Connect { .. }), "{}", error.one_line());
}

#[tokio::test]
async fn an_unknown_certificate_is_refused_by_the_default_roots() {
    let listener = TlsListener::bind().await;
    let port = listener.port;
    tokio::spawn(async move { listener.accept().await });

    let error = AmqpBus::connect(connection_string("localhost", port, false), options()).await;
    let error = error.unwrap_err();
    assert!(matches!(error, TransportError::Tls { .. }), "{}", error.one_line());
    let line = error.one_line();
    assert!(line.contains(&format!("localhost:{port}")), "{line}");
    assert!(line.contains("UnknownIssuer"), "{line}");

    let connection_string = connection_string("localhost", port, false).with_management_port(port);
    let admin = Admin::new(connection_string, AdminOptions::default()).unwrap();
    let error = admin.topic_exists("t").await.unwrap_err();
    assert!(matches!(error, AdminError::Transport { source: TransportError::Tls { .. } }));
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let listener = TlsListener::bind().await;
    let port = listener.port;
    let roots = TrustedRoots::Only(vec![listener.certificate.clone()]);
    tokio::spawn(async move { listener.accept().await });
    let options = AmqpOptions { trusted_roots: roots, ..options() };
    let error = AmqpBus::connect(connection_string("127.0.0.1", port, false), options).await;
    let error = error.unwrap_err();
    assert!(matches!(error, TransportError::Tls { .. }), "{}", error.one_line());
}

#[tokio::test]
async fn a_root_that_is_no_certificate_is_refused_before_connecting() {
    let roots = TrustedRoots::Only(vec![b"not a certificate".to_vec()]);
    let options = AmqpOptions { trusted_roots: roots, ..options() };
    let error = AmqpBus::connect(connection_string("localhost", 1, false), options).await;
    assert!(matches!(error, Err(TransportError::Tls { .. })));
}

#[tokio::test]
async fn messages_travel_over_tls_to_a_broker_we_trust() {
    let emulator = Emulator::start().await.unwrap();
    emulator.bus().create_topic("rafttopic", Default::default()).unwrap();
    emulator.bus().create_subscription("rafttopic", "server-1", Default::default()).unwrap();
    let listener = TlsListener::bind().await;
    let port = listener.port;
    let roots = TrustedRoots::Only(vec![listener.certificate.clone()]);
    let broker = emulator.amqp_address();
    tokio::spawn(async move {
        loop {
            let mut client = listener.accept().await;
            let mut server = TcpStream::connect(broker).await.expect("the emulator listens");
            tokio::spawn(async move {
                // Either side may end at any time.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });

    let entity = Some("rafttopic".to_owned());
    let options = AmqpOptions { trusted_roots: roots.clone(), entity, ..options() };
    let connection_string = connection_string("localhost", port, false);
    let bus = AmqpBus::connect(connection_string.clone(), options).await.unwrap();
    let mut subscriber = bus.subscriber("rafttopic", "server-1");
    let message = BusMessage { body: vec![7; 100_000].into(), ..BusMessage::default() };
    bus.publisher("rafttopic").publish(message.clone()).unwrap();
    assert_eq!(subscriber.receive().await.unwrap().message.body, message.body);
    bus.close().await;
}
