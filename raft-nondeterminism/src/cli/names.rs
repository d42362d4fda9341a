//! What people mean by a name that nothing has.

/// Finds what has this name, or says what there is.
pub(crate) fn find<'a, T>(
    things: &'a [T],
    what: &str,
    name: &str,
    name_of: impl Fn(&T) -> &str,
) -> anyhow::Result<&'a T> {
    if let Some(found) = things.iter().find(|thing| name_of(thing) == name) {
        return Ok(found);
    }
    let known: Vec<_> = things.iter().map(name_of).collect();
    let guess = nearest(name, &known).map(|guess| format!(", did you mean {guess}?"));
    let guess = guess.unwrap_or_default();
    Err(anyhow::anyhow!("no {what} is called {name:?}{guess} There is: {}", known.join(", ")))
}

/// The name that takes the fewest changes, if these are not most of it.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distances = known.iter().map(|known| (distance(name, known), *known));
    let (changes, guess) = distances.min_by_key(|(changes, _)| *changes)?;
    (changes <= guess.len() / 2).then_some(guess)
}

/// How many letters have to be inserted, removed or replaced (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<_> = other.chars().collect();
    let mut row: Vec<_> = (0..=other.len()).collect();
    for (place, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = place + 1;
        for (column, &wanted) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != wanted);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_the_number_of_changed_letters() {
        for (one, other, changes) in [
            ("", "", 0),
            ("sample", "sample", 0),
            ("", "abc", 3),
            ("sampel", "sample", 2),
            ("kitten", "sitting", 3),
            ("reads", "read", 1),
        ] {
            assert_eq!(distance(one, other), changes, "{one} {other}");
            assert_eq!(distance(other, one), changes, "{other} {one}");
        }
    }

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["weighted", "random"];
        assert_eq!(nearest("wieghted", &known), Some("weighted"));
        assert_eq!(nearest("rnd", &known), Some("random"));
        assert_eq!(nearest("q-learning", &known), None);
    }
}
