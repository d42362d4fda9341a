//! Names of entities: which are allowed, and when two are the same.
//!
//! Guarantees: two names that differ only in ASCII case name one entity, as in the service.

use std::borrow::Cow;

use super::error::{BrokerError, EntityKind, NameProblem};

/// The longest topic path.
const TOPIC_LENGTH_MAX: usize = 260;
/// The longest name of a subscription or rule.
const NAME_LENGTH_MAX: usize = 50;

/// The form under which an entity is filed; allocates only for names that are not lower-case.
pub(crate) fn key(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// Refuses names the service would refuse.
///
/// # Errors
/// [`BrokerError::InvalidName`] says what is wrong.
pub(crate) fn validate(kind: EntityKind, name: &str) -> Result<(), BrokerError> {
    // `$Default` is the one name with a dollar, and only the service's own rule has it.
    if kind == EntityKind::Rule && name.eq_ignore_ascii_case("$Default") {
        return Ok(());
    }
    problem_of(kind, name).map_or(Ok(()), |problem| {
        Err(BrokerError::InvalidName { kind, name: name.chars().take(64).collect(), problem })
    })
}

fn problem_of(kind: EntityKind, name: &str) -> Option<NameProblem> {
    let is_topic = matches!(kind, EntityKind::Topic | EntityKind::Queue);
    let length_max = if is_topic { TOPIC_LENGTH_MAX } else { NAME_LENGTH_MAX };
    if name.is_empty() {
        return Some(NameProblem::Empty);
    }
    if name.chars().count() > length_max {
        return Some(NameProblem::TooLong { length_max });
    }
    let is_allowed = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') || (is_topic && c == '/')
    };
    if let Some(character) = name.chars().find(|&c| !is_allowed(c)) {
        return Some(NameProblem::Character { character });
    }
    let is_edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if !is_edge(name.chars().next()) || !is_edge(name.chars().last()) {
        return Some(NameProblem::Edge);
    }
    // A topic called `a/subscriptions/b` could not be told from a subscription.
    let is_reserved =
        |segment: &str| segment.is_empty() || segment.eq_ignore_ascii_case("subscriptions");
    name.split('/').any(is_reserved).then_some(NameProblem::Segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_the_service() {
        let long_topic = "t".repeat(261);
        let long_name = "s".repeat(51);
        let table = [
            (EntityKind::Topic, "rafttopic", None),
            (EntityKind::Topic, "a/b.c-d_e", None),
            (EntityKind::Topic, "", Some(NameProblem::Empty)),
            (
                EntityKind::Topic,
                long_topic.as_str(),
                Some(NameProblem::TooLong { length_max: 260 }),
            ),
            (EntityKind::Topic, "a b", Some(NameProblem::Character { character: ' ' })),
            (EntityKind::Topic, "-a", Some(NameProblem::Edge)),
            (EntityKind::Topic, "a/", Some(NameProblem::Edge)),
            (EntityKind::Topic, "a//b", Some(NameProblem::Segment)),
            (EntityKind::Topic, "a/Subscriptions/b", Some(NameProblem::Segment)),
            (EntityKind::Subscription, "server-1", None),
            (EntityKind::Subscription, "a/b", Some(NameProblem::Character { character: '/' })),
            (EntityKind::Subscription, &long_name, Some(NameProblem::TooLong { length_max: 50 })),
            (EntityKind::Rule, "$Default", None),
            (EntityKind::Rule, "$other", Some(NameProblem::Character { character: '$' })),
        ];
        for (kind, name, expected) in table {
            assert_eq!(
                problem_of(kind, name).filter(|_| validate(kind, name).is_err()),
                expected,
                "{name}"
            );
        }
    }
}
