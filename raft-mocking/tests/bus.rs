//! The async face of the broker, on paused time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use raft_mocking::broker::{BrokerError, BusMessage};
use raft_mocking::bus::{Bus, BusError};
use tokio::time::{Instant, advance, timeout};

fn bus() -> Bus {
    let bus = Bus::new();
    bus.create_topic("t", Default::default()).unwrap();
    bus.create_subscription("t", "s", Default::default()).unwrap();
    bus
}

#[tokio::test(start_paused = true)]
async fn waiting_receiver_is_woken_by_the_message() {
    let bus = bus();
    let mut receiver = bus.receiver("t", "s").unwrap();
    let sender = bus.clone();
    let started = Instant::now();
    let send = async move {
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        sender.publish("t", BusMessage::new("a")).unwrap();
    };
    let (received, ()) = tokio::join!(receiver.receive(), send);
    assert_eq!(&received.unwrap().message.body[..], b"a");
    assert_eq!(started.elapsed(), Duration::from_secs(3_600));
}

#[tokio::test(start_paused = true)]
async fn cancelled_receive_loses_no_message() {
    let bus = bus();
    let mut receiver = bus.receiver("t", "s").unwrap();
    for number in 0..100_u8 {
        timeout(Duration::from_millis(1), receiver.receive()).await.unwrap_err();
        bus.publish("t", BusMessage::new(vec![number])).unwrap();
        // Woken, but dropped before it runs again.
        drop(receiver.receive());
        assert_eq!(&receiver.receive().await.unwrap().message.body[..], [number]);
    }
}

#[tokio::test(start_paused = true)]
async fn competing_receivers_share_the_messages() {
    let bus = bus();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut receiver = bus.receiver("t", "s").unwrap();
        tasks.spawn(async move {
            let mut count = 0;
            while receiver.receive().await.is_ok() {
                count += 1;
                tokio::task::yield_now().await;
            }
            count
        });
    }
    for _ in 0..100 {
        bus.publish("t", BusMessage::new("a")).unwrap();
        tokio::task::yield_now().await;
    }
    bus.close();
    assert_eq!(tasks.join_all().await.iter().sum::<i32>(), 100);
}

#[tokio::test(start_paused = true)]
async fn expired_message_is_not_received() {
    let bus = bus();
    let mut receiver = bus.receiver("t", "s").unwrap();
    let mortal = || BusMessage::new("a").with_time_to_live(Duration::from_secs(5));
    bus.publish("t", mortal()).unwrap();
    bus.publish("t", mortal()).unwrap();
    advance(Duration::from_millis(4_999)).await;
    assert!(receiver.try_receive().unwrap().is_some());
    advance(Duration::from_millis(1)).await;
    assert_eq!(receiver.try_receive(), Ok(None));
}

#[tokio::test(start_paused = true)]
async fn closed_bus_refuses_senders_and_empties_its_receivers() {
    let bus = bus();
    let mut receiver = bus.receiver("t", "s").unwrap();
    bus.publish("t", BusMessage::new("left")).unwrap();
    bus.close();
    assert_eq!(bus.publish("t", BusMessage::new("late")), Err(BusError::Closed));
    assert!(receiver.receive().await.is_ok());
    assert_eq!(receiver.receive().await, Err(BusError::Closed));
}

#[tokio::test(start_paused = true)]
async fn waiting_receiver_learns_that_its_subscription_is_gone() {
    let bus = bus();
    let mut receiver = bus.receiver("t", "s").unwrap();
    let (received, ()) = tokio::join!(receiver.receive(), async {
        bus.delete_subscription("t", "s").unwrap();
    });
    assert_eq!(received, Err(BusError::Broker(BrokerError::Deleted)));
}
