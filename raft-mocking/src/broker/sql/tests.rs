//! The language, by example.

use super::*;
use crate::broker::PropertyValue;

fn message() -> BusMessage {
    let mut message = BusMessage::new("body")
        .with_to("server-1")
        .with_subject("vote")
        .with_message_id("m-1")
        .with_property("term", 7)
        .with_property("rate", 0.5)
        .with_property("kind", "request")
        .with_property("is_new", true)
        .with_property("a name", "spaced")
        .with_property("nothing", PropertyValue::Null);
    message.application_properties.insert("Term".to_owned(), 8.into());
    message
}

#[test]
fn conditions_are_true_when_the_documentation_says_so() {
    let table = [
        ("1=1", true),
        ("1 = 0", false),
        ("sys.To = 'server-1'", true),
        ("sys.to = 'SERVER-1'", false),
        ("sys.Label='vote' AND sys.MessageId LIKE 'm-%'", true),
        ("sys.Subject = 'vote'", true),
        ("sys.CorrelationId IS NULL", true),
        ("sys.To IS NOT NULL", true),
        ("term = 7", true),
        ("user.term = 7.0", true),
        ("Term = 8", true),
        ("term <> 7", false),
        ("term != 8", true),
        ("term > 6 AND term >= 7 AND term < 8 AND term <= 7", true),
        ("term + 1 = 8 AND term - 1 = 6 AND term * 2 = 14 AND term / 2 = 3 AND term % 4 = 3", true),
        ("1 + 2 * 3 = 7", true),
        ("(1 + 2) * 3 = 9", true),
        ("-term = -7", true),
        ("- -term = 7", true),
        ("rate * 2 = 1", true),
        ("kind + '!' = 'request!'", true),
        ("kind IN ('vote', 'request')", true),
        ("kind NOT IN ('vote', 'answer')", true),
        ("term IN (1, 2, 7)", true),
        ("kind LIKE 'r_quest'", true),
        ("kind LIKE '%que%'", true),
        ("kind LIKE '%x'", false),
        ("kind NOT LIKE 'x%'", true),
        ("'50%' LIKE '50!%' ESCAPE '!'", true),
        ("'505' LIKE '50!%' ESCAPE '!'", false),
        ("EXISTS(term)", true),
        ("EXISTS (absent)", false),
        ("NOT EXISTS(absent)", true),
        ("EXISTS(nothing)", true),
        ("nothing IS NULL", true),
        ("is_new", true),
        ("is_new = TRUE", true),
        ("NOT is_new", false),
        ("[a name] = 'spaced'", true),
        ("\"a name\" = 'spaced'", true),
        ("property('a name') = 'spaced' AND p('term') = 7", true),
        ("'it''s' = 'it''s'", true),
        ("1.5e1 = 15", true),
        ("term = 7 OR absent = 1", true),
        ("(term = 1 OR term = 7) AND (sys.To = 'server-1')", true),
        ("((term)) = 7", true),
        ("(term = 7)", true),
        // What is unknown is neither true nor false.
        ("absent = 1", false),
        ("NOT absent = 1", false),
        ("absent <> 1", false),
        ("absent IS NULL", true),
        ("absent IN (1)", false),
        ("NOT (absent IN (1))", false),
        ("absent = 1 OR term = 7", true),
        ("absent = NULL", false),
        ("term = '7'", false),
        ("sys.Size > 0", true),
    ];
    for (text, expected) in table {
        let filter = SqlFilter::new(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(filter.matches(&message()), Ok(expected), "{text}");
        assert_eq!(filter.text(), text);
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    let table = [
        ("", 0, SqlProblem::Expected("a value or a property")),
        ("term =", 6, SqlProblem::Expected("a value or a property")),
        ("term = 'x", 7, SqlProblem::Unclosed),
        ("term = 7 7", 9, SqlProblem::Expected("the end")),
        ("sys.Colour = 1", 4, SqlProblem::SystemProperty("Colour".to_owned())),
        ("term ? 7", 5, SqlProblem::Character('?')),
        ("term IN 7", 8, SqlProblem::Expected("'(' after IN")),
        ("term NOT 7", 9, SqlProblem::Expected("IN or LIKE after NOT")),
        ("EXISTS term", 7, SqlProblem::Expected("'(' after EXISTS")),
        ("99999999999999999999 = 1", 0, SqlProblem::Number),
    ];
    for (text, place, problem) in table {
        assert_eq!(SqlFilter::new(text), Err(SqlError { place, problem }), "{text}");
    }
    let deep = format!("{}1=1{}", "(".repeat(300), ")".repeat(300));
    assert_eq!(SqlFilter::new(deep).map_err(|error| error.problem), Err(SqlProblem::TooDeep));
    let long = format!("term = '{}'", "x".repeat(1_100));
    assert_eq!(SqlFilter::new(long).map_err(|error| error.problem), Err(SqlProblem::TooLong));
}

#[test]
fn what_cannot_be_computed_is_an_error_and_no_answer() {
    let table = [
        ("term / 0 = 1", EvaluationError::DivisionByZero),
        ("9223372036854775807 * 9223372036854775807 = 1", EvaluationError::Overflow),
        ("kind - 1 = 1", EvaluationError::Operands),
        ("term LIKE 'x'", EvaluationError::Operands),
        ("kind", EvaluationError::Operands),
        ("kind LIKE 'x' ESCAPE '!!'", EvaluationError::Escape),
    ];
    for (text, error) in table {
        assert_eq!(SqlFilter::new(text).unwrap().matches(&message()), Err(error), "{text}");
    }
}

#[test]
fn actions_set_and_remove_properties() {
    let mut message = message();
    let text = "SET sys.To = 'server-2'; SET term = term + 1; SET fresh = sys.Label + '!' ; \
                REMOVE kind; SET id = newid(); REMOVE sys.Label;";
    SqlAction::new(text).unwrap().apply(&mut message).unwrap();
    assert_eq!(message.to.as_deref(), Some("server-2"));
    assert_eq!(message.subject, None);
    let property = |name: &str| message.application_properties.get(name);
    assert_eq!(property("term"), Some(&8.into()));
    assert_eq!(property("fresh"), Some(&"vote!".into()));
    assert_eq!(property("kind"), None);
    assert!(matches!(property("id"), Some(PropertyValue::Uuid(_))));
    assert!(message.is_changed);
    for wrong in ["", "SET", "SET term", "SET sys.Size = 1", "DROP term", "SET a = 1 SET b = 2"] {
        assert!(SqlAction::new(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn any_text_is_read_or_refused() {
    use proptest::prelude::*;
    let words =
        ["(", ")", "NOT", "term", "=", "7", "'x'", "AND", "LIKE", "IN", ",", "-", "sys.", "[a]"];
    let text = prop::collection::vec(prop::sample::select(words.to_vec()), 0..40);
    proptest!(|(parts in text, noise in ".{0,40}")| {
        for text in [parts.join(" "), noise] {
            if let Ok(filter) = SqlFilter::new(text) {
                // Whether true, false or an error: it comes to something.
                _ = filter.matches(&message());
            }
        }
    });
}
