//! Faults on purpose: what the broker does to deliveries, and the emulator to connections.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use raft_mocking::broker::{
    Broker, BrokerConfig, BrokerError, BusMessage, FaultCounts, Faults, QueueId, ReceiveMode,
};

const NOW: Duration = Duration::from_secs(1_000);

fn at(milliseconds: u64) -> Duration {
    NOW + Duration::from_millis(milliseconds)
}

/// A topic with one subscription, whose deliveries go wrong like this.
fn broker(faults: Faults) -> (Broker, QueueId) {
    let mut broker = Broker::new(BrokerConfig { seed: 7, ..BrokerConfig::default() });
    broker.create_topic(NOW, "t", Default::default()).unwrap();
    let queue = broker.create_subscription(NOW, "t", "s", Default::default()).unwrap();
    broker.set_faults(faults);
    (broker, queue)
}

fn late(drop: f64, duplicate: f64) -> Faults {
    let delay_range = Duration::from_millis(10)..Duration::from_millis(20);
    Faults { drop, duplicate, delay: 1.0, delay_range, ..Faults::default() }
}

fn receive(broker: &mut Broker, now: Duration, queue: QueueId) -> Option<(u64, String)> {
    let received = broker.receive(now, queue, ReceiveMode::ReceiveAndDelete).unwrap()?;
    let body = String::from_utf8(received.message.body.to_vec()).unwrap();
    Some((received.sequence_number, body))
}

#[test]
fn dropped_copy_never_arrives_and_the_sender_hears_nothing_of_it() {
    let (mut broker, queue) = broker(Faults { drop: 1.0, ..Faults::default() });
    let published = broker.publish(NOW, "t", BusMessage::new("a")).unwrap();
    assert_eq!((published.copies, published.queues), (0, vec![]));
    assert_eq!(receive(&mut broker, at(60_000), queue), None);
    assert_eq!(broker.fault_counts(), FaultCounts { dropped: 1, ..FaultCounts::default() });
}

#[test]
fn duplicated_copy_arrives_twice() {
    let (mut broker, queue) = broker(Faults { duplicate: 1.0, ..Faults::default() });
    broker.publish(NOW, "t", BusMessage::new("a")).unwrap();
    assert_eq!(receive(&mut broker, NOW, queue), Some((1, "a".to_owned())));
    assert_eq!(receive(&mut broker, NOW, queue), Some((2, "a".to_owned())));
    assert_eq!(receive(&mut broker, NOW, queue), None);
    assert_eq!(broker.fault_counts(), FaultCounts { duplicated: 1, ..FaultCounts::default() });
}

#[test]
fn late_copy_is_overtaken_and_takes_its_number_when_it_arrives() {
    let (mut broker, queue) = broker(late(0.0, 0.0));
    let published = broker.publish(NOW, "t", BusMessage::new("late")).unwrap();
    assert_eq!((published.copies, published.late), (1, 1));
    broker.set_faults(Faults::default());
    broker.publish(at(1), "t", BusMessage::new("prompt")).unwrap();
    assert_eq!(receive(&mut broker, at(9), queue), Some((1, "prompt".to_owned())));
    assert_eq!(receive(&mut broker, at(9), queue), None, "the other is not there yet");
    assert_eq!(broker.subscription("t", "s").unwrap().message_count, 1, "but it is held");
    let arrival = broker.next_arrival().unwrap();
    assert!((at(10)..at(20)).contains(&arrival), "{arrival:?}");
    assert_eq!(broker.expire(arrival), [queue], "whoever waits is to be woken");
    assert_eq!(broker.next_arrival(), None);
    assert_eq!(receive(&mut broker, arrival, queue), Some((2, "late".to_owned())));
    assert_eq!(broker.topic("t").unwrap().bytes, 0);
}

#[test]
fn late_copy_that_expires_on_its_way_never_arrives() {
    let (mut broker, queue) = broker(late(0.0, 0.0));
    let message = BusMessage::new("a").with_time_to_live(Duration::from_millis(5));
    broker.publish(NOW, "t", message).unwrap();
    broker.expire(at(6));
    assert_eq!(broker.topic("t").unwrap().bytes, 0, "it is swept away before it arrives");
    assert_eq!(receive(&mut broker, at(30), queue), None);
}

#[test]
fn same_seed_makes_the_same_faults() {
    let run = || {
        let (mut broker, queue) = broker(late(0.3, 0.3));
        for number in 0..100 {
            broker.publish(at(number), "t", BusMessage::new(number.to_string())).unwrap();
        }
        let received: Vec<_> =
            std::iter::from_fn(|| receive(&mut broker, at(200), queue)).collect();
        (received, broker.fault_counts())
    };
    let (received, counts) = run();
    assert_eq!((&received, counts), (&run().0, run().1));
    assert!(counts.dropped > 10 && counts.duplicated > 10, "{counts:?}");
    assert_eq!(received.len() as u64, 100 - counts.dropped + counts.duplicated);
}

#[test]
fn busy_broker_refuses_sends_and_holds_nothing_of_them() {
    let (mut broker, queue) = broker(Faults { is_busy: true, ..Faults::default() });
    let refused = broker.publish(NOW, "t", BusMessage::new("a")).unwrap_err();
    assert_eq!(refused, BrokerError::ServerBusy);
    broker.set_faults(Faults::default());
    assert_eq!(receive(&mut broker, NOW, queue), None);
    broker.publish(NOW, "t", BusMessage::new("b")).unwrap();
    assert_eq!(receive(&mut broker, NOW, queue), Some((1, "b".to_owned())));
    assert_eq!(broker.fault_counts(), FaultCounts { throttled: 1, ..FaultCounts::default() });
}

#[test]
fn a_tier_is_kept_by_credits() {
    // A message and the filter: two credits.
    let (mut broker, _) = broker(Faults { credits_per_second: Some(6), ..Faults::default() });
    let mut send = |now| broker.publish(now, "t", BusMessage::new("a")).map(|_| ());
    assert_eq!([send(NOW), send(NOW), send(NOW)], [Ok(()), Ok(()), Ok(())]);
    assert_eq!(send(NOW), Err(BrokerError::ServerBusy));
    assert_eq!(send(at(334)), Ok(()), "a third of a second later there is credit for one");
    assert_eq!(send(at(335)), Err(BrokerError::ServerBusy));
}

#[test]
fn delivery_without_credit_waits_and_what_was_asked_for_is_refused() {
    let (mut broker, queue) = broker(Faults { credits_per_second: Some(5), ..Faults::default() });
    broker.publish(NOW, "t", BusMessage::new("a")).unwrap();
    broker.publish(NOW, "t", BusMessage::new("b")).unwrap();
    assert_eq!(receive(&mut broker, NOW, queue), Some((1, "a".to_owned())));
    assert_eq!(receive(&mut broker, NOW, queue), None, "two sends, two filters and a receive");
    assert_eq!(broker.peek(NOW, queue, 0, 1, None), Err(BrokerError::ServerBusy));
    assert_eq!(broker.admit_management(NOW), Err(BrokerError::ServerBusy));
    assert_eq!(broker.next_due(), Some(at(200)), "there is a credit each fifth of a second");
    broker.take_woken();
    assert_eq!(broker.expire(at(199)), []);
    assert_eq!(broker.expire(at(200)), [queue], "whoever waits is to be woken");
    assert_eq!(receive(&mut broker, at(200), queue), Some((2, "b".to_owned())));
    let counts = broker.fault_counts();
    assert_eq!((counts.held_back, counts.throttled), (1, 2));
}

#[test]
fn delivery_that_waits_for_credit_is_woken_when_there_is_no_limit_any_more() {
    let (mut broker, queue) = broker(Faults { credits_per_second: Some(2), ..Faults::default() });
    broker.publish(NOW, "t", BusMessage::new("a")).unwrap();
    assert_eq!(receive(&mut broker, NOW, queue), None);
    broker.take_woken();
    broker.set_faults(Faults::default());
    assert_eq!(broker.take_woken(), [queue].into());
    assert_eq!(receive(&mut broker, NOW, queue), Some((1, "a".to_owned())));
}

#[cfg(feature = "emulator")]
mod emulator {
    use fe2o3_amqp::{Connection, Sender, Session};
    use raft_mocking::emulator::Emulator;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(20);

    async fn emulator() -> Emulator {
        let emulator = Emulator::builder().check_keys(false).start().await.unwrap();
        emulator.bus().create_topic("t", Default::default()).unwrap();
        emulator.bus().create_subscription("t", "s", Default::default()).unwrap();
        emulator
    }

    #[tokio::test]
    async fn waiting_receiver_is_woken_by_a_late_message() {
        let emulator = emulator().await;
        let mut receiver = emulator.bus().receiver("t", "s").unwrap();
        emulator.set_faults(late(0.0, 0.0));
        emulator.bus().publish("t", BusMessage::new("a")).unwrap();
        let received = timeout(WITHIN, receiver.receive()).await.unwrap().unwrap();
        assert_eq!(&received.message.body[..], b"a");
        assert_eq!(emulator.fault_counts().delayed, 1);
    }

    #[tokio::test]
    async fn busy_broker_says_so_in_the_words_of_the_service() {
        let emulator = emulator().await;
        let url = format!("amqp://guest:guest@{}", emulator.amqp_address());
        let mut connection = Connection::builder()
            .container_id("test")
            .sasl_profile(fe2o3_amqp::sasl_profile::SaslProfile::Anonymous)
            .open(url.as_str())
            .await
            .unwrap();
        let mut session = Session::begin(&mut connection).await.unwrap();
        let mut sender = Sender::attach(&mut session, "s", "t").await.unwrap();
        emulator.set_faults(Faults { is_busy: true, ..Faults::default() });
        let outcome = format!("{:?}", sender.send("a").await.unwrap());
        assert!(outcome.contains("com.microsoft:server-busy"), "{outcome}");
        assert!(outcome.contains("50009"), "{outcome}");
        emulator.set_faults(Faults::default());
        assert!(sender.send("b").await.unwrap().is_accepted());
        assert_eq!(emulator.fault_counts().throttled, 1);
    }

    #[tokio::test]
    async fn refused_and_cut_connections_are_counted() {
        let emulator = emulator().await;
        let connect = || TcpStream::connect(emulator.amqp_address());
        let closed = async |mut stream: TcpStream| {
            // However it ends, it ends.
            _ = timeout(WITHIN, stream.read_to_end(&mut Vec::new())).await.unwrap();
        };
        emulator.refuse_connections(true);
        closed(connect().await.unwrap()).await;
        assert_eq!(emulator.fault_counts().connections_refused, 1);
        emulator.refuse_connections(false);

        let mut stream = connect().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"AMQP\x00\x01\x00\x00").await.unwrap();
        let mut header = [0; 8];
        stream.read_exact(&mut header).await.unwrap();
        assert_eq!(emulator.fault_counts().connections_cut, 0);
        emulator.drop_connections();
        closed(stream).await;
        // The socket closes a moment before it is counted.
        let counted = async {
            while emulator.fault_counts().connections_cut == 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(WITHIN, counted).await.unwrap();
    }
}
