//! Topics, subscriptions and rules as Atom entries.
//!
//! Source: the XML the official SDKs send and accept; the service wants elements in their order.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::xml::{Element, push_text};
use super::{CorrelationFilter, Filter, Rule, SubscriptionOptions, TopicOptions};

const SERVICE_BUS: &str = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect";
const XML_SCHEMA: &str = "http://www.w3.org/2001/XMLSchema";

/// An Atom entry around a description.
fn entry(description: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
         <entry xmlns=\"http://www.w3.org/2005/Atom\"><content type=\"application/xml\">\
         {description}</content></entry>"
    )
}

fn description(name: &str, content: &str) -> String {
    format!(
        "<{name} xmlns=\"{SERVICE_BUS}\" xmlns:i=\"http://www.w3.org/2001/XMLSchema-instance\">\
         {content}</{name}>"
    )
}

pub(super) fn topic_entry(options: &TopicOptions) -> String {
    let mut xml = String::new();
    if let Some(ttl) = options.default_message_time_to_live {
        push_text(&mut xml, "DefaultMessageTimeToLive", &iso_duration(ttl));
    }
    if let Some(size) = options.size_megabytes_max {
        push_text(&mut xml, "MaxSizeInMegabytes", &size.to_string());
    }
    entry(&description("TopicDescription", &xml))
}

pub(super) fn subscription_entry(options: &SubscriptionOptions) -> String {
    let mut xml = String::new();
    if let Some(duration) = options.lock_duration {
        push_text(&mut xml, "LockDuration", &iso_duration(duration));
    }
    if let Some(ttl) = options.default_message_time_to_live {
        push_text(&mut xml, "DefaultMessageTimeToLive", &iso_duration(ttl));
    }
    if let Some(rule) = &options.first_rule {
        let content = rule_content(rule);
        // Writing to a string cannot fail.
        let _ = write!(xml, "<DefaultRuleDescription>{content}</DefaultRuleDescription>");
    }
    if let Some(duration) = options.auto_delete_on_idle {
        push_text(&mut xml, "AutoDeleteOnIdle", &iso_duration(duration));
    }
    entry(&description("SubscriptionDescription", &xml))
}

pub(super) fn rule_entry(rule: &Rule) -> String {
    entry(&description("RuleDescription", &rule_content(rule)))
}

fn rule_content(rule: &Rule) -> String {
    let mut xml = match &rule.filter {
        Filter::Correlation(filter) => correlation_filter(filter),
        Filter::True | Filter::Other(_) => {
            "<Filter i:type=\"TrueFilter\"><SqlExpression>1=1</SqlExpression>\
             <CompatibilityLevel>20</CompatibilityLevel></Filter>"
                .to_owned()
        }
    };
    xml.push_str("<Action i:type=\"EmptyRuleAction\"/>");
    push_text(&mut xml, "Name", &rule.name);
    xml
}

fn correlation_filter(filter: &CorrelationFilter) -> String {
    let mut xml = "<Filter i:type=\"CorrelationFilter\">".to_owned();
    for (name, value) in filter.fields() {
        if let Some(value) = value {
            push_text(&mut xml, name, value);
        }
    }
    if !filter.properties.is_empty() {
        xml.push_str("<Properties>");
        for (name, value) in &filter.properties {
            xml.push_str("<KeyValueOfstringanyType>");
            push_text(&mut xml, "Key", name);
            let value = quick_xml::escape::escape(value.as_str());
            // Writing to a string cannot fail.
            let _ =
                write!(xml, "<Value i:type=\"d:string\" xmlns:d=\"{XML_SCHEMA}\">{value}</Value>");
            xml.push_str("</KeyValueOfstringanyType>");
        }
        xml.push_str("</Properties>");
    }
    xml.push_str("</Filter>");
    xml
}

/// Entries of an answer: of a feed all, of an entry itself. A feed without any means that what was
/// asked for does not exist.
pub(super) fn entries(answer: &Element) -> Vec<&Element> {
    match answer.name.as_str() {
        "entry" => vec![answer],
        _ => answer.children_named("entry").collect(),
    }
}

/// The name of an entry.
pub(super) fn title(entry: &Element) -> Option<&str> {
    // A title may be a path; the name is what comes last.
    entry.child_text("title").map(|title| title.rsplit('/').next().unwrap_or(title))
}

pub(super) fn rule(entry: &Element) -> Option<Rule> {
    let description = entry.child("content")?.child("RuleDescription")?;
    let name = description.child_text("Name").or_else(|| title(entry))?.to_owned();
    let action = description.child("Action").and_then(Element::type_name);
    let filter = match (description.child("Filter"), action) {
        (_, Some(action)) if action != "EmptyRuleAction" => Filter::Other(action.to_owned()),
        (Some(filter), _) => read_filter(filter),
        (None, _) => Filter::Other("none".to_owned()),
    };
    Some(Rule { name, filter })
}

fn read_filter(filter: &Element) -> Filter {
    match filter.type_name() {
        Some("TrueFilter") => Filter::True,
        Some("CorrelationFilter") => {
            read_correlation_filter(filter).unwrap_or(Filter::Other("CorrelationFilter".to_owned()))
        }
        other => Filter::Other(other.unwrap_or("unknown").to_owned()),
    }
}

/// `None` if the filter compares something we do not know.
fn read_correlation_filter(filter: &Element) -> Option<Filter> {
    let mut read = CorrelationFilter::default();
    for child in &filter.children {
        let text = (!child.text.is_empty()).then(|| child.text.clone());
        match (child.name.as_str(), text) {
            ("To", text) => read.to = text,
            ("ReplyTo", text) => read.reply_to = text,
            ("Label", text) => read.subject = text,
            ("MessageId", text) => read.message_id = text,
            ("CorrelationId", text) => read.correlation_id = text,
            ("ContentType", text) => read.content_type = text,
            ("Properties", _) => read.properties = read_properties(child)?,
            (_, None) => {}
            (_, Some(_)) => return None,
        }
    }
    Some(Filter::Correlation(read))
}

fn read_properties(properties: &Element) -> Option<BTreeMap<String, String>> {
    let read = |pair: &Element| {
        let value = pair.child("Value")?;
        let is_text = value.type_name().is_none_or(|kind| kind == "string");
        is_text.then(|| (pair.child_text("Key").unwrap_or_default().to_owned(), value.text.clone()))
    };
    properties.children.iter().map(read).collect()
}

/// A duration as XML Schema writes it, to the millisecond.
fn iso_duration(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (hours, minutes, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
    let fraction = if millis == 0 { String::new() } else { format!(".{millis:03}") };
    let days = if days == 0 { String::new() } else { format!("{days}D") };
    format!("P{days}T{hours}H{minutes}M{seconds}{fraction}S")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_xml_schema_wants() {
        let table = [
            (0, "PT0H0M0S"),
            (30_000, "PT0H0M30S"),
            (90_500, "PT0H1M30.500S"),
            (86_400_000 * 14 + 3_600_000, "P14DT1H0M0S"),
        ];
        for (millis, expected) in table {
            assert_eq!(iso_duration(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn a_rule_survives_writing_and_reading() {
        let filters = [
            Filter::True,
            Filter::Correlation(CorrelationFilter {
                to: Some("a<b>&\"c\"".into()),
                subject: Some("raft".into()),
                properties: [("k'".to_owned(), "v&".to_owned())].into(),
                ..CorrelationFilter::default()
            }),
        ];
        for filter in filters {
            let written = Rule { name: "to-me".into(), filter };
            let entry = Element::parse(&rule_entry(&written)).expect("well-formed");
            assert_eq!(rule(&entry), Some(written));
        }
    }

    #[test]
    fn filters_we_cannot_compare_are_other() {
        let with = |inner: &str| {
            let xml = entry(&description("RuleDescription", &format!("{inner}<Name>r</Name>")));
            rule(&Element::parse(&xml).expect("well-formed")).expect("a rule").filter
        };
        let others = [
            "<Filter i:type=\"SqlFilter\"><SqlExpression>1=1</SqlExpression></Filter>",
            "<Filter i:type=\"CorrelationFilter\"><SessionId>s</SessionId></Filter>",
            "<Filter i:type=\"TrueFilter\"/><Action i:type=\"SqlRuleAction\"/>",
            "",
        ];
        for inner in others {
            assert!(matches!(with(inner), Filter::Other(_)), "{inner}");
        }
    }

    #[test]
    fn an_empty_feed_has_no_entries() {
        let feed = Element::parse("<feed xmlns='http://www.w3.org/2005/Atom'/>").expect("xml");
        assert!(entries(&feed).is_empty());
    }
}
