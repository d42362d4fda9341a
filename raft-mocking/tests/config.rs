//! `Config.json`: every setting that the file of Microsoft's emulator knows comes to an entity.
#![cfg(feature = "emulator")]

use std::time::Duration;

use raft_mocking::broker::{Filter, PropertyValue};
use raft_mocking::emulator::{Config, Emulator, EmulatorError};

const CONFIG: &str = r#"{
  "UserConfig": {
    "Namespaces": [
      {
        "Name": "sbemulatorns",
        "Queues": [
          {
            "Name": "jobs",
            "Properties": {
              "DeadLetteringOnMessageExpiration": true,
              "DefaultMessageTimeToLive": "PT1H",
              "DuplicateDetectionHistoryTimeWindow": "PT20S",
              "ForwardDeadLetteredMessagesTo": "graveyard",
              "ForwardTo": "",
              "LockDuration": "PT1M",
              "MaxDeliveryCount": 3,
              "RequiresDuplicateDetection": true,
              "RequiresSession": true
            }
          },
          { "Name": "graveyard" }
        ],
        "Topics": [
          {
            "Name": "news",
            "Properties": {
              "DefaultMessageTimeToLive": "PT1H",
              "DuplicateDetectionHistoryTimeWindow": "PT20S",
              "RequiresDuplicateDetection": false
            },
            "Subscriptions": [
              {
                "Name": "some",
                "Properties": { "MaxDeliveryCount": 5, "RequiresSession": false },
                "Rules": [
                  {
                    "Name": "by-property",
                    "Properties": {
                      "FilterType": "Correlation",
                      "CorrelationFilter": {
                        "ContentType": "application/text",
                        "Label": "subject1",
                        "Properties": { "prop1": "value1", "term": 7 }
                      }
                    }
                  },
                  {
                    "Name": "by-sql",
                    "Properties": {
                      "FilterType": "Sql",
                      "SqlFilter": { "SqlExpression": "sys.MessageId LIKE '%123%' AND term > 1" },
                      "Action": { "SqlExpression": "SET sys.To = 'Entity'" }
                    }
                  }
                ]
              },
              { "Name": "all", "Properties": { "ForwardTo": "graveyard" } }
            ]
          }
        ]
      }
    ],
    "Logging": { "Type": "File" }
  }
}"#;

#[tokio::test]
async fn every_setting_comes_to_an_entity() {
    let config = Config::from_json(CONFIG).unwrap();
    let emulator = Emulator::builder().config(config).start().await.unwrap();
    emulator.bus().with_broker(|broker, _| {
        let jobs = broker.queue("jobs").unwrap().options;
        let seconds = Duration::from_secs;
        assert_eq!(jobs.duplicate_window, Some(seconds(20)));
        let delivery = jobs.delivery;
        assert_eq!(delivery.default_message_time_to_live, Some(seconds(3_600)));
        assert_eq!((delivery.lock_duration, delivery.max_delivery_count), (seconds(60), 3));
        assert!(delivery.requires_session && delivery.dead_letters_expired);
        assert_eq!(delivery.forward_to, None);
        assert_eq!(delivery.forward_dead_letters_to.as_deref(), Some("graveyard"));

        assert_eq!(broker.topic("news").unwrap().options.duplicate_window, None);
        assert_eq!(broker.subscription("news", "some").unwrap().options.max_delivery_count, 5);
        let rules = broker.rules("news", "some").unwrap();
        let names: Vec<_> = rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names, ["by-property", "by-sql"], "without the rule that lets all through");
        let Filter::Correlation(filter) = &rules[0].filter else { panic!("{rules:?}") };
        assert_eq!(filter.subject.as_deref(), Some("subject1"));
        assert_eq!(filter.properties.get("term"), Some(&PropertyValue::Int(7)));
        assert_eq!(rules[1].action.as_ref().unwrap().text(), "SET sys.To = 'Entity'");
        let all = broker.subscription("news", "all").unwrap();
        assert_eq!(all.options.forward_to.as_deref(), Some("graveyard"));
        assert_eq!(broker.rules("news", "all").unwrap().len(), 1);
    });
}

#[tokio::test]
async fn what_is_refused_is_named_with_its_line() {
    let table = [
        ("\"PT20S\"", "\"PT10S\"", 8, "jobs"),
        ("\"Name\": \"graveyard\"", "\"Name\": \"grave yard\"", 21, "grave yard"),
        ("\"ForwardTo\": \"graveyard\"", "\"ForwardTo\": \"nowhere\"", 57, "all"),
    ];
    for (old, new, line, entity) in table {
        let config = Config::from_json(&CONFIG.replace(old, new)).unwrap();
        let error = Emulator::builder().config(config).start().await.unwrap_err();
        assert!(matches!(error, EmulatorError::Config(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&format!("line {line}: '{entity}'")), "{text}");
    }
    let sql = CONFIG.replace("AND term > 1", "AND term >");
    let error = Config::from_json(&sql).unwrap_err().to_string();
    assert!(error.starts_with("line 5") && error.contains("expected a value"), "{error}");
}
