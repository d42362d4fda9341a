//! Provisioning leaves exactly what Raft needs, however often and from however many processes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use raft_azure::admin::{
    Admin, AdminError, AdminOptions, CorrelationFilter, Filter, Rule, SubscriptionOptions,
};
use raft_azure::provision::{
    ALL_SERVERS, ProvisionError, ProvisionOptions, provision, server_address,
};
use raft_azure::{AmqpBus, AmqpOptions, BusMessage};
use raft_mocking::emulator::Emulator;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const TOPIC: &str = "rafttopic";

fn admin(connection_string: &str) -> Admin {
    let connection_string = connection_string.parse().expect("a connection string");
    Admin::new(connection_string, AdminOptions::default()).expect("the default roots")
}

fn servers() -> Vec<String> {
    (1..=3).map(server_address).collect()
}

fn clients() -> Vec<String> {
    vec!["client-1".to_owned()]
}

fn options() -> ProvisionOptions {
    ProvisionOptions::with_time_to_live(Duration::from_secs(60))
}

fn to(name: &str, address: &str) -> Rule {
    Rule { name: name.to_owned(), filter: Filter::Correlation(CorrelationFilter::to(address)) }
}

async fn sorted_rules(admin: &Admin, subscription: &str) -> Vec<Rule> {
    let mut rules = admin.rules(TOPIC, subscription).await.expect("the rules");
    rules.sort_by(|a, b| a.name.cmp(&b.name));
    rules
}

/// Every subscription has its rules and no other.
async fn assert_provisioned(admin: &Admin) {
    let mut subscriptions = admin.subscriptions(TOPIC).await.expect("the subscriptions");
    subscriptions.sort();
    assert_eq!(subscriptions, ["client-1", "server-1", "server-2", "server-3"]);
    for server in servers() {
        let expected = [to("to-all", ALL_SERVERS), to("to-me", &server)];
        assert_eq!(sorted_rules(admin, &server).await, expected);
    }
    assert_eq!(sorted_rules(admin, "client-1").await, [to("to-me", "client-1")]);
}

#[tokio::test]
async fn the_second_time_changes_nothing() {
    let emulator = Emulator::start().await.unwrap();
    let admin = admin(&emulator.connection_string());
    let first = provision(&admin, TOPIC, &servers(), &clients(), &options()).await.unwrap();
    assert!(first.topic_created);
    assert_eq!(first.subscriptions_created.len(), 4);
    assert_provisioned(&admin).await;
    let second = provision(&admin, TOPIC, &servers(), &clients(), &options()).await.unwrap();
    assert_eq!(second, Default::default());
    assert_provisioned(&admin).await;
}

#[tokio::test]
async fn several_processes_at_once_leave_the_same() {
    let emulator = Emulator::start().await.unwrap();
    let text = emulator.connection_string();
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let admin = admin(&text);
            tokio::spawn(async move {
                provision(&admin, TOPIC, &servers(), &clients(), &options()).await
            })
        })
        .collect();
    let mut created = 0;
    for task in tasks {
        created += task.await.unwrap().unwrap().subscriptions_created.len();
    }
    assert_eq!(created, 4, "each subscription was created by one of them");
    assert_provisioned(&admin(&text)).await;
}

#[tokio::test]
async fn wrong_rules_are_put_right_and_right_ones_kept() {
    let emulator = Emulator::start().await.unwrap();
    let admin = admin(&emulator.connection_string());
    admin.create_topic(TOPIC, &Default::default()).await.unwrap();
    // As an old run, a curious human and another client may have left them.
    admin.create_subscription(TOPIC, "server-1", &Default::default()).await.unwrap();
    let others = Filter::Correlation(CorrelationFilter {
        to: Some("server-1".into()),
        subject: Some("raft".into()),
        properties: [("k<".to_owned(), "v&\"".to_owned())].into(),
        ..CorrelationFilter::default()
    });
    let wrong = Rule { name: "to-me".into(), filter: others };
    admin.create_rule(TOPIC, "server-1", &wrong).await.unwrap();
    admin.create_rule(TOPIC, "server-1", &to("to-all", ALL_SERVERS)).await.unwrap();
    assert!(admin.rules(TOPIC, "server-1").await.unwrap().contains(&wrong), "it reads back");

    let done = provision(&admin, TOPIC, &servers(), &clients(), &options()).await.unwrap();
    assert!(!done.topic_created);
    assert_eq!(done.subscriptions_created, ["server-2", "server-3", "client-1"]);
    assert_eq!(done.rules_deleted[..2], ["server-1/to-me", "server-1/$Default"]);
    assert!(done.rules_created.contains(&"server-1/to-me".to_owned()));
    assert!(!done.rules_created.contains(&"server-1/to-all".to_owned()), "it was right");
    assert_provisioned(&admin).await;
}

#[tokio::test]
async fn messages_follow_the_provisioned_rules() {
    let emulator = Emulator::start().await.unwrap();
    let text = emulator.connection_string();
    provision(&admin(&text), TOPIC, &servers(), &clients(), &options()).await.unwrap();
    let entity = Some(TOPIC.to_owned());
    let amqp_options = AmqpOptions { entity, ..AmqpOptions::default() };
    let bus = AmqpBus::connect(text.parse().unwrap(), amqp_options).await.unwrap();
    let publisher = bus.publisher(TOPIC);
    for address in ["server-2", ALL_SERVERS, "client-1", "server-1"] {
        let body = address.to_owned().into();
        let message = BusMessage { to: Some(address.into()), body, ..BusMessage::default() };
        publisher.publish(message).unwrap();
    }
    publisher.flush().await.unwrap();
    let expectations = [
        ("server-1", &[ALL_SERVERS, "server-1"][..]),
        ("server-2", &["server-2", ALL_SERVERS]),
        ("server-3", &[ALL_SERVERS]),
        ("client-1", &["client-1"]),
    ];
    for (name, expected) in expectations {
        let mut subscriber = bus.subscriber(TOPIC, name);
        for body in expected {
            assert_eq!(subscriber.receive().await.unwrap().body(), body, "{name}");
        }
    }
    // Four sent, six delivered: no copy was made that nobody wanted.
    let counters = bus.counters();
    assert_eq!((counters.sent, counters.received), (4, 6));
    bus.close().await;
}

#[tokio::test]
async fn management_errors_are_told_apart() {
    let emulator = Emulator::start().await.unwrap();
    let text = emulator.connection_string();
    let admin_ok = admin(&text);
    assert!(!admin_ok.topic_exists(TOPIC).await.unwrap());
    let error = admin_ok.subscriptions(TOPIC).await;
    assert!(matches!(error, Err(AdminError::NotFound { .. }) | Ok(_)), "{error:?}");
    let error = admin_ok.delete_topic(TOPIC).await.unwrap_err();
    assert!(matches!(error, AdminError::NotFound { .. }), "{error}");
    admin_ok.create_topic(TOPIC, &Default::default()).await.unwrap();
    let error = admin_ok.create_topic(TOPIC, &Default::default()).await.unwrap_err();
    assert!(matches!(error, AdminError::Conflict { .. }), "{error}");
    let options = SubscriptionOptions {
        lock_duration: Some(Duration::from_secs(30)),
        default_message_time_to_live: Some(Duration::from_secs(3600)),
        auto_delete_on_idle: Some(Duration::from_secs(300)),
        first_rule: None,
    };
    admin_ok.create_subscription(TOPIC, "s", &options).await.unwrap();
    assert_eq!(admin_ok.rules(TOPIC, "s").await.unwrap()[0].filter, Filter::True);
    admin_ok.delete_subscription(TOPIC, "s").await.unwrap();
    assert!(admin_ok.subscriptions(TOPIC).await.unwrap().is_empty());

    let wrong = admin(&text.replace("SAS_KEY_VALUE", "WRONG_KEY_VALUE"));
    let error = wrong.topic_exists(TOPIC).await.unwrap_err();
    assert!(matches!(error, AdminError::Unauthorized { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("WRONG_KEY_VALUE"));
}

#[tokio::test]
async fn lists_of_more_than_a_page_are_complete() {
    let emulator = Emulator::start().await.unwrap();
    let admin = admin(&emulator.connection_string());
    emulator.bus().create_topic(TOPIC, Default::default()).unwrap();
    for number in 0..230 {
        let name = format!("client-{number}");
        emulator.bus().create_subscription(TOPIC, &name, Default::default()).unwrap();
    }
    let mut subscriptions = admin.subscriptions(TOPIC).await.unwrap();
    subscriptions.sort();
    subscriptions.dedup();
    assert_eq!(subscriptions.len(), 230);
}

/// A management API that gives prepared answers and writes down what it was asked.
async fn answering(
    answers: &'static [(&'static str, &'static str)],
) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("a bound port").port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&asked);
    tokio::spawn(async move {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().await.expect("a listening socket");
            let mut request = vec![0; 65_536];
            let read = stream.read(&mut request).await.expect("a request");
            let request = String::from_utf8_lossy(&request[..read]);
            notes.lock().expect("no panic").push(request.lines().next().unwrap_or("").to_owned());
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.expect("an open socket");
        }
    });
    let text = format!(
        "Endpoint=sb://127.0.0.1:{port};SharedAccessKeyName=n;SharedAccessKey=k;\
         UseDevelopmentEmulator=true"
    );
    (text, asked)
}

#[tokio::test]
async fn a_missing_topic_and_a_key_that_may_not_create_it_are_one_clear_line() {
    let (text, _) = answering(&[
        ("404 Not Found", "<Error><Code>404</Code><Detail>No such topic</Detail></Error>"),
        ("401 Unauthorized", "<Error><Detail>Manage is required. sig=abc</Detail></Error>"),
    ])
    .await;
    let error = provision(&admin(&text), TOPIC, &servers(), &[], &options()).await.unwrap_err();
    assert!(matches!(error, ProvisionError::MayNotCreate { .. }), "{error}");
    assert_eq!(error.to_string(), "topic rafttopic does not exist and this key may not create it");
    assert!(!format!("{error:?}").contains("abc"));
}

#[tokio::test]
async fn a_busy_service_is_asked_again() {
    let (text, asked) = answering(&[
        ("429 Too Many Requests", ""),
        ("409 Conflict", "<Error><Detail>SubCode=40901. Another operation</Detail></Error>"),
        ("201 Created", "<entry/>"),
    ])
    .await;
    admin(&text).create_topic(TOPIC, &Default::default()).await.unwrap();
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|line| line.starts_with("PUT /rafttopic?api-version=")), "{asked:?}");
}

#[tokio::test]
async fn answers_that_make_no_sense_are_errors() {
    let (text, _) = answering(&[
        ("200 OK", "this is not XML"),
        ("418 I'm a teapot", "short and stout"),
        ("200 OK", "<feed/>"),
    ])
    .await;
    let admin = admin(&text);
    let error = admin.topic_exists(TOPIC).await.unwrap_err();
    assert!(error.to_string().contains("not XML"), "{error}");
    let error = admin.topic_exists(TOPIC).await.unwrap_err();
    assert_eq!(error.to_string(), "unexpected answer 418 about rafttopic: short and stout");
    assert!(!admin.topic_exists(TOPIC).await.unwrap(), "an empty feed means that there is none");
}
