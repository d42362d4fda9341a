//! The management API, asked over HTTP by hand.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use raft_mocking::broker::{CorrelationFilter, Filter, OperationKind, Rule};
use raft_mocking::emulator::Emulator;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// For `sb://localhost/`, until 2100, made by Python's `hmac` with the public key of emulators.
const TOKEN: &str = "SharedAccessSignature sr=sb%3A%2F%2Flocalhost%2F&\
    sig=5GGjQ4mdeOTQW7GUEelp45QxxGybBWKv2rD49Ch3S5E%3D&se=4102444800&skn=RootManageSharedAccessKey";

const TOPIC: &str = r#"<entry xmlns="http://www.w3.org/2005/Atom"><content type="application/xml">
    <TopicDescription xmlns="http://schemas.microsoft.com/netservices/2010/10/servicebus/connect">
    <DefaultMessageTimeToLive>PT1M</DefaultMessageTimeToLive></TopicDescription></content></entry>"#;
const SUBSCRIPTION: &str = "<entry><content><SubscriptionDescription/></content></entry>";

/// Sends one request; returns status and body.
async fn ask_with(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

async fn ask(emulator: &Emulator, method: &str, path: &str, body: &str) -> (u16, String) {
    let headers = format!("Authorization: {TOKEN}\r\n");
    ask_with(emulator.amqp_address(), method, path, &headers, body).await
}

fn rule(filter: &str) -> String {
    format!("<entry><content><RuleDescription>{filter}</RuleDescription></content></entry>")
}

#[tokio::test]
async fn entities_are_created_read_listed_and_deleted() {
    let emulator = Emulator::start().await.unwrap();
    let filter = r#"<Filter i:type="CorrelationFilter"><To>server-1</To><Label>a &amp; b</Label>
        <Properties><KeyValueOfstringanyType><Key>term</Key><Value i:type="d:int">7</Value>
        </KeyValueOfstringanyType></Properties></Filter>"#;
    let steps = [
        ("PUT", "/rafttopic?api-version=2024-05", TOPIC.to_owned(), 201, "PT1M"),
        ("PUT", "/rafttopic", TOPIC.to_owned(), 409, "already exists"),
        ("GET", "/RaftTopic?enrich=false", String::new(), 200, "<TopicDescription xmlns="),
        ("GET", "/$Resources/topics?$skip=0&$top=100", String::new(), 200, ">rafttopic</title>"),
        ("GET", "/$Resources/topics?$skip=1", String::new(), 200, "<feed"),
        ("PUT", "/rafttopic/subscriptions/s", SUBSCRIPTION.to_owned(), 201, "<LockDuration>PT1M"),
        ("GET", "/rafttopic/Subscriptions", String::new(), 200, ">s</title>"),
        ("PUT", "/rafttopic/subscriptions/s/rules/me", rule(filter), 201, "CorrelationFilter"),
        ("GET", "/rafttopic/subscriptions/s/rules", String::new(), 200, "a &amp; b"),
        ("GET", "/rafttopic/subscriptions/s/rules/%24Default", String::new(), 200, "TrueFilter"),
        ("DELETE", "/rafttopic/subscriptions/s/rules/$Default", String::new(), 200, ""),
        ("DELETE", "/rafttopic/subscriptions/s/rules/$Default", String::new(), 404, "not be found"),
        ("GET", "/nope", String::new(), 404, "could not be found"),
        ("GET", "/$namespaceinfo", String::new(), 200, "NamespaceInfo"),
        ("POST", "/rafttopic", String::new(), 405, ""),
    ];
    for (method, path, body, status, text) in steps {
        let answer = ask(&emulator, method, path, &body).await;
        assert!(answer.0 == status && answer.1.contains(text), "{method} {path}: {answer:?}");
    }
    let filter = CorrelationFilter {
        to: Some("server-1".to_owned()),
        subject: Some("a & b".to_owned()),
        properties: [("term".to_owned(), 7.into())].into(),
        ..CorrelationFilter::default()
    };
    let rules = emulator.bus().with_broker(|broker, _| broker.rules("rafttopic", "s").unwrap());
    assert_eq!(rules, [Rule::new("me", filter)]);
    assert_eq!(ask(&emulator, "DELETE", "/rafttopic/subscriptions/s", "").await.0, 200);
    assert_eq!(ask(&emulator, "DELETE", "/rafttopic", "").await.0, 200);
    // Eleven calls succeeded besides the two at the end; failed ones are not billed.
    assert_eq!(emulator.meter().operations_of(OperationKind::Management), 11 + 2);
}

#[tokio::test]
async fn first_rule_may_come_with_the_subscription() {
    let emulator = Emulator::start().await.unwrap();
    ask(&emulator, "PUT", "/t", TOPIC).await;
    let body = r#"<entry><content><SubscriptionDescription><DefaultRuleDescription>
        <Filter i:type="FalseFilter"/><Name>none</Name></DefaultRuleDescription>
        </SubscriptionDescription></content></entry>"#;
    assert_eq!(ask(&emulator, "PUT", "/t/subscriptions/s", body).await.0, 201);
    let rules = emulator.bus().with_broker(|broker, _| broker.rules("t", "s").unwrap());
    assert_eq!(rules, [Rule::new("none", Filter::False)]);
}

#[tokio::test]
async fn update_needs_if_match_and_an_existing_entity() {
    let emulator = Emulator::start().await.unwrap();
    let headers = format!("Authorization: {TOKEN}\r\nIf-Match: *\r\n");
    let update = |body: String| {
        let headers = headers.clone();
        let address = emulator.amqp_address();
        async move { ask_with(address, "PUT", "/t", &headers, &body).await }
    };
    assert_eq!(update(TOPIC.to_owned()).await.0, 404);
    ask(&emulator, "PUT", "/t", TOPIC).await;
    let (status, body) = update(TOPIC.replace("PT1M", "PT2M")).await;
    assert!(status == 200 && body.contains("PT2M"), "{body}");
}

#[tokio::test]
async fn request_without_a_valid_token_is_refused() {
    let emulator = Emulator::start().await.unwrap();
    let wrong = TOKEN.replace("sig=5", "sig=6");
    let expired = TOKEN.replace("4102444800", "1");
    for token in ["", "nonsense", &wrong, &expired] {
        let headers =
            if token.is_empty() { String::new() } else { format!("Authorization: {token}\r\n") };
        let answer = ask_with(emulator.amqp_address(), "PUT", "/t", &headers, TOPIC).await;
        assert_eq!(answer.0, 401, "{token}: {answer:?}");
    }
    let lenient = Emulator::builder().check_keys(false).admin_port(0).start().await.unwrap();
    let admin = lenient.admin_address().unwrap();
    assert_eq!(ask_with(admin, "PUT", "/t", "", TOPIC).await.0, 201);
}

#[tokio::test]
async fn health_needs_no_token() {
    let emulator = Emulator::builder().admin_port(0).start().await.unwrap();
    for address in [emulator.amqp_address(), emulator.admin_address().unwrap()] {
        let (status, body) = ask_with(address, "GET", "/health", "", "").await;
        assert!(status == 200 && body.contains("healthy"));
    }
}

#[tokio::test]
async fn bad_requests_are_refused_and_change_nothing() {
    let emulator = Emulator::start().await.unwrap();
    ask(&emulator, "PUT", "/t", TOPIC).await;
    ask(&emulator, "PUT", "/t/subscriptions/s", SUBSCRIPTION).await;
    let sql = rule(r#"<Filter i:type="SqlFilter"><SqlExpression>a =</SqlExpression></Filter>"#);
    let action = rule(r#"<Action i:type="SqlRuleAction"/>"#);
    let with =
        |child: &str| SUBSCRIPTION.replace("/>", &format!(">{child}</SubscriptionDescription>"));
    let session = with("<RequiresSession>perhaps</RequiresSession>");
    let forward = with("<ForwardTo>nowhere</ForwardTo>");
    let idle = with("<AutoDeleteOnIdle>PT1M</AutoDeleteOnIdle>");
    let lock = with("<LockDuration>PT6M</LockDuration>");
    let huge = "x".repeat(300_000);
    let steps: [(&str, &str, u16); 13] = [
        ("/u", "not xml", 400),
        ("/u", "", 400),
        ("/u", SUBSCRIPTION, 400),
        ("/u", &TOPIC.replace("PT1M", "soon"), 400),
        ("/a%20b", TOPIC, 400),
        ("/u", &huge, 413),
        ("/t/subscriptions/u", &session, 400),
        ("/t/subscriptions/u", &forward, 404),
        ("/t/subscriptions/u", &idle, 400),
        ("/t/subscriptions/u", &lock, 400),
        ("/t/subscriptions/s/rules/u", &sql, 400),
        ("/t/subscriptions/s/rules/u", &action, 400),
        ("/$Resources/topics", TOPIC, 405),
    ];
    for (path, body, status) in steps {
        let answer = ask(&emulator, "PUT", path, body).await;
        assert_eq!(answer.0, status, "{path} {}: {answer:?}", &body[..body.len().min(80)]);
    }
    emulator.bus().with_broker(|broker, _| {
        assert_eq!(broker.topics().count(), 1);
        assert_eq!(broker.subscriptions("t").unwrap().len(), 1);
        assert_eq!(broker.rules("t", "s").unwrap().len(), 1);
    });
}

#[tokio::test]
async fn queue_keeps_what_its_description_says() {
    let emulator = Emulator::start().await.unwrap();
    let children = "<LockDuration>PT30S</LockDuration><RequiresSession>true</RequiresSession>\
        <RequiresDuplicateDetection>true</RequiresDuplicateDetection>\
        <MaxDeliveryCount>3</MaxDeliveryCount>\
        <DeadLetteringOnMessageExpiration>true</DeadLetteringOnMessageExpiration>\
        <AutoDeleteOnIdle>PT5M</AutoDeleteOnIdle><Status>SendDisabled</Status>";
    let queue = format!(
        "<entry><content><QueueDescription>{children}</QueueDescription></content></entry>"
    );
    assert_eq!(ask(&emulator, "PUT", "/q", &queue).await.0, 201);
    assert_eq!(ask(&emulator, "PUT", "/q", TOPIC).await.0, 409, "queues and topics share names");
    let (status, body) = ask(&emulator, "GET", "/Q", "").await;
    assert_eq!(status, 200);
    for part in [
        "<LockDuration>PT30S<",
        "<RequiresSession>true<",
        "<RequiresDuplicateDetection>true<",
        "<MaxDeliveryCount>3<",
        "<DeadLetteringOnMessageExpiration>true<",
        "<AutoDeleteOnIdle>PT5M",
        "<Status>SendDisabled<",
    ] {
        assert!(body.contains(part), "{part} is not in {body}");
    }
    let (_, list) = ask(&emulator, "GET", "/$Resources/queues", "").await;
    assert!(list.contains(">q</title>"), "{list}");
    assert_eq!(ask(&emulator, "DELETE", "/q", "").await.0, 200);
    assert_eq!(ask(&emulator, "GET", "/q", "").await.0, 404);
}

#[tokio::test]
async fn what_is_neither_amqp_nor_http_is_turned_away() {
    let emulator = Emulator::start().await.unwrap();
    for garbage in
        [&b"AMQX garbage"[..], b"\x16\x03\x01 hello tls", b"AMQP\x00\x01\x00\x00", b"\r\n\r\n\0\0"]
    {
        let mut stream = TcpStream::connect(emulator.amqp_address()).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        // Answered or not, the connection ends; a reset is an end, too.
        let mut rest = Vec::new();
        _ = stream.read_to_end(&mut rest).await;
    }
    assert_eq!(ask(&emulator, "GET", "/$Resources/topics", "").await.0, 200);
}
