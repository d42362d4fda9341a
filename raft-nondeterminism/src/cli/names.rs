//! What people mean by a name that nothing has.

use std::iter;

use raft_nondeterminism::{Strategy, StrategyInfo, UnknownStrategy, strategies};

use super::exhaust;

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
    Err(unknown(what, name, &known))
}

/// The strategy with this name. If there is none, it says what there is, also what visits everything.
pub(crate) fn strategy(name: &str, bound: Option<u32>) -> anyhow::Result<Box<dyn Strategy>> {
    match raft_nondeterminism::strategy(name, bound) {
        Err(UnknownStrategy::Name { .. }) => {
            let all = |info: &'static StrategyInfo| {
                iter::once(info.name()).chain(info.aliases().iter().copied())
            };
            let known = strategies().iter().flat_map(all);
            let known: Vec<_> = known.chain(exhaust::ORDERS.map(|(order, _)| order)).collect();
            let word = name.split(':').next().unwrap_or(name);
            Err(unknown("strategy", word, &known))
        }
        made => Ok(made?),
    }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> anyhow::Error {
    let guess = nearest(name, known).map(|guess| format!(", did you mean {guess}?"));
    let guess = guess.unwrap_or_else(|| ".".to_owned());
    anyhow::anyhow!("no {what} is called {name:?}{guess} There is: {}", known.join(", "))
}

/// The name that takes the fewest changes, if these are not most of it.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distances = known.iter().map(|known| (strsim::levenshtein(name, known), *known));
    let (changes, guess) = distances.min_by_key(|(changes, _)| *changes)?;
    (changes <= guess.len() / 2).then_some(guess)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["weighted", "random"];
        assert_eq!(nearest("wieghted", &known), Some("weighted"));
        assert_eq!(nearest("rnd", &known), Some("random"));
        assert_eq!(nearest("q-learning", &known), None);
    }
}
