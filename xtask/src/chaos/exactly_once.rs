//! Whether every append took effect as often as its client was told.
//!
//! Each element is appended once in the whole run, so a list says of each how often that was done.

use std::collections::BTreeMap;

use serde_json::Value;

use super::history::Kind;

/// Says what breaks exactly-once, in words: an acknowledged append that is missing, a refused one that
/// is there, one that is there twice, and elements that nobody appended.
pub(super) fn breaches(
    appends: &BTreeMap<(String, i64), Kind>,
    lists: &BTreeMap<String, Value>,
) -> Vec<String> {
    let mut found: BTreeMap<(String, i64), u64> = BTreeMap::new();
    let mut breaches = Vec::new();
    for (key, list) in lists {
        for element in list.as_array().into_iter().flatten() {
            match element.as_i64() {
                Some(element) => *found.entry((key.clone(), element)).or_default() += 1,
                None => breaches.push(format!("{key} holds {element}, which nobody appended")),
            }
        }
    }
    for (of @ (key, element), kind) in appends {
        let count = found.remove(of).unwrap_or_default();
        let is_sound = match kind {
            Kind::Ok => count == 1,
            Kind::Fail => count == 0,
            Kind::Info | Kind::Invoke => count <= 1,
        };
        if !is_sound {
            let told = match kind {
                Kind::Ok => "was acknowledged",
                Kind::Fail => "was refused",
                Kind::Info | Kind::Invoke => "was not answered",
            };
            breaches.push(format!("{element} in {key} {told}, and is there {count} times"));
        }
    }
    let strangers = found.keys();
    breaches.extend(
        strangers.map(|(key, element)| format!("{key} holds {element}, which nobody appended")),
    );
    breaches
}

/// The lists among the lines of a state: `key = [1,2]`.
pub(super) fn lists(lines: &[String]) -> BTreeMap<String, Value> {
    let lists = lines.iter().filter_map(|line| {
        let (key, value) = line.split_once(" = ")?;
        let value: Value = serde_json::from_str(value).ok()?;
        value.is_array().then(|| (key.to_owned(), value))
    });
    lists.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_break_it_is_named() {
        let append = |element, kind| (("l".to_owned(), element), kind);
        let appends = BTreeMap::from([
            append(1, Kind::Ok),
            append(2, Kind::Ok),
            append(3, Kind::Ok),
            append(4, Kind::Fail),
            append(5, Kind::Fail),
            append(6, Kind::Info),
            append(7, Kind::Info),
            append(8, Kind::Info),
        ]);
        let lines = ["a = 7", r#"l = [1,3,3,5,7,8,8,9,"x"]"#].map(str::to_owned);
        let expected = [
            "l holds \"x\", which nobody appended",
            "2 in l was acknowledged, and is there 0 times",
            "3 in l was acknowledged, and is there 2 times",
            "5 in l was refused, and is there 1 times",
            "8 in l was not answered, and is there 2 times",
            "l holds 9, which nobody appended",
        ];
        assert_eq!(breaches(&appends, &lists(&lines)), expected);
    }

    #[test]
    fn what_was_told_is_what_is_there() {
        let appends = BTreeMap::from([
            (("l".to_owned(), 1), Kind::Ok),
            (("m".to_owned(), 2), Kind::Fail),
            (("m".to_owned(), 3), Kind::Info),
        ]);
        let lines = ["l = [1]".to_owned()];
        assert_eq!(breaches(&appends, &lists(&lines)), Vec::<String>::new());
    }
}
