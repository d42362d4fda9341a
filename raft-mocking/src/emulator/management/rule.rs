//! Rules in Atom: filters and actions, read and written.

use super::atom::{DESCRIPTION, SCHEMA};
use super::xml::{Element, XmlWriter};
use super::{ApiError, time};
use crate::broker::{CorrelationFilter, Filter, PropertyValue, Rule, SqlAction, SqlFilter};

pub(super) fn put_rule(xml: &mut XmlWriter, created_at: &str, rule: &Rule) {
    xml.element("RuleDescription", &DESCRIPTION, |xml| {
        match &rule.filter {
            Filter::True => put_sql_filter(xml, "TrueFilter", "1=1"),
            Filter::False => put_sql_filter(xml, "FalseFilter", "1=0"),
            Filter::Sql(filter) => put_sql_filter(xml, "SqlFilter", filter.text()),
            Filter::Correlation(filter) => put_correlation_filter(xml, filter),
        }
        match &rule.action {
            None => xml.element("Action", &[("i:type", "EmptyRuleAction")], |_| {}),
            Some(action) => xml.element("Action", &[("i:type", "SqlRuleAction")], |xml| {
                xml.leaf("SqlExpression", action.text());
                xml.leaf("CompatibilityLevel", "20");
            }),
        }
        xml.leaf("CreatedAt", created_at);
        xml.leaf("Name", &rule.name);
    });
}

fn put_sql_filter(xml: &mut XmlWriter, kind: &str, expression: &str) {
    xml.element("Filter", &[("i:type", kind)], |xml| {
        xml.leaf("SqlExpression", expression);
        xml.leaf("CompatibilityLevel", "20");
    });
}

fn put_correlation_filter(xml: &mut XmlWriter, filter: &CorrelationFilter) {
    xml.element("Filter", &[("i:type", "CorrelationFilter")], |xml| {
        xml.optional_leaf("CorrelationId", filter.correlation_id.as_deref());
        xml.optional_leaf("MessageId", filter.message_id.as_deref());
        xml.optional_leaf("To", filter.to.as_deref());
        xml.optional_leaf("ReplyTo", filter.reply_to.as_deref());
        xml.optional_leaf("Label", filter.subject.as_deref());
        xml.optional_leaf("SessionId", filter.session_id.as_deref());
        xml.optional_leaf("ReplyToSessionId", filter.reply_to_session_id.as_deref());
        xml.optional_leaf("ContentType", filter.content_type.as_deref());
        if filter.properties.is_empty() {
            return;
        }
        xml.element("Properties", &[], |xml| {
            for (name, value) in &filter.properties {
                xml.element("KeyValueOfstringanyType", &[], |xml| {
                    xml.leaf("Key", name);
                    let (kind, text) = property_text(value);
                    let kind = format!("d6p1:{kind}");
                    let attributes = [("i:type", kind.as_str()), ("xmlns:d6p1", SCHEMA)];
                    xml.element("Value", &attributes, |xml| xml.text(&text));
                });
            }
        });
    });
}

fn property_text(value: &PropertyValue) -> (&'static str, String) {
    match value {
        PropertyValue::Bool(value) => ("boolean", value.to_string()),
        PropertyValue::Int(value) => match i32::try_from(*value) {
            Ok(value) => ("int", value.to_string()),
            Err(_) => ("long", value.to_string()),
        },
        PropertyValue::UInt(value) => ("unsignedLong", value.to_string()),
        PropertyValue::Double(value) => ("double", value.to_string()),
        PropertyValue::String(value) => ("string", value.clone()),
        PropertyValue::Timestamp(ms) => {
            let at = std::time::Duration::from_millis(u64::try_from(*ms).unwrap_or(0));
            ("dateTime", time::date_time(at))
        }
        // Filters with these values can only be made in this process.
        other => ("string", format!("{other:?}")),
    }
}

/// The rule in a description; `name` is what the path says, if it does.
pub(super) fn rule(description: &Element, name: Option<&str>) -> Result<Rule, ApiError> {
    let action = description.child("Action").map_or("EmptyRuleAction", Element::type_name);
    let action = match (action, description.child("Action")) {
        ("EmptyRuleAction" | "", _) | (_, None) => None,
        ("SqlRuleAction", Some(action)) => {
            refuse_parameters(action)?;
            let text = action.child_text("SqlExpression").unwrap_or_default();
            Some(SqlAction::new(text).map_err(|error| ApiError::bad_request(format!("{error}.")))?)
        }
        (other, _) => return Err(ApiError::not_implemented(other)),
    };
    let name = name.or_else(|| description.child_text("Name")).unwrap_or(Rule::DEFAULT_NAME);
    let filter = match description.child("Filter") {
        None => Filter::True,
        Some(filter) => self::filter(filter)?,
    };
    let rule = Rule::new(name, filter);
    Ok(match action {
        Some(action) => rule.with_action(action),
        None => rule,
    })
}

fn filter(filter: &Element) -> Result<Filter, ApiError> {
    match filter.type_name() {
        "TrueFilter" => Ok(Filter::True),
        "FalseFilter" => Ok(Filter::False),
        "CorrelationFilter" => correlation_filter(filter).map(Filter::from),
        "SqlFilter" => {
            refuse_parameters(filter)?;
            // Some clients write the constant filters as SQL.
            let expression = filter.child_text("SqlExpression").unwrap_or_default();
            match expression.replace(' ', "").as_str() {
                "1=1" => Ok(Filter::True),
                "1=0" => Ok(Filter::False),
                _ => match SqlFilter::new(expression) {
                    Ok(filter) => Ok(filter.into()),
                    Err(error) => Err(ApiError::bad_request(format!("{error}."))),
                },
            }
        }
        other => Err(ApiError::bad_value("Filter", other)),
    }
}

/// Values for names in an expression: written by nobody we know, so refused rather than ignored.
fn refuse_parameters(element: &Element) -> Result<(), ApiError> {
    match element.child("Parameters") {
        Some(parameters) if !parameters.children.is_empty() => {
            Err(ApiError::not_implemented("Parameters"))
        }
        _ => Ok(()),
    }
}

fn correlation_filter(filter: &Element) -> Result<CorrelationFilter, ApiError> {
    let text =
        |name: &str| filter.child(name).map(|child| child.text.clone()).filter(|t| !t.is_empty());
    let mut properties = std::collections::BTreeMap::new();
    for pair in filter.child("Properties").map_or(&[][..], |properties| &properties.children) {
        let (Some(key), Some(value)) = (pair.child("Key"), pair.child("Value")) else {
            return Err(ApiError::bad_value("Properties", &pair.name));
        };
        properties.insert(key.text.clone(), property_value(value)?);
    }
    Ok(CorrelationFilter {
        correlation_id: text("CorrelationId"),
        message_id: text("MessageId"),
        to: text("To"),
        reply_to: text("ReplyTo"),
        subject: text("Label"),
        session_id: text("SessionId"),
        reply_to_session_id: text("ReplyToSessionId"),
        content_type: text("ContentType"),
        properties,
    })
}

fn property_value(value: &Element) -> Result<PropertyValue, ApiError> {
    let text = value.text.as_str();
    let bad = || ApiError::bad_value("Value", text);
    Ok(match value.type_name() {
        "string" | "char" | "guid" | "duration" | "" => PropertyValue::from(text),
        "boolean" => PropertyValue::Bool(matches!(text.trim(), "true" | "True" | "1")),
        "byte" | "short" | "int" | "long" | "unsignedByte" | "unsignedShort" | "unsignedInt" => {
            PropertyValue::Int(text.trim().parse().map_err(|_| bad())?)
        }
        "unsignedLong" => PropertyValue::from(text.trim().parse::<u64>().map_err(|_| bad())?),
        "dateTime" => {
            let at = time::parse_date_time(text.trim()).ok_or_else(bad)?;
            PropertyValue::Timestamp(i64::try_from(at.as_millis()).map_err(|_| bad())?)
        }
        "double" | "float" => PropertyValue::Double(text.trim().parse().map_err(|_| bad())?),
        other => return Err(ApiError::not_implemented(other)),
    })
}
