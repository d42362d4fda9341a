//! What the program says of words that it does not know.

use super::{folder, refusal};

#[test]
fn an_unknown_strategy_is_answered_with_every_name_it_could_be() {
    let folder = folder("strategies");
    let said = refusal(&folder, "test sample --strategy dfss");
    assert!(said.contains("no strategy is called \"dfss\", did you mean dfs?"), "{said}");
    let (_, known) = said.trim_end().split_once("There is: ").unwrap();
    let known: Vec<_> = known.split(", ").collect();
    for name in ["portfolio", "prioritization", "pct", "fair-pct", "bfs", "dfs", "dpor"] {
        assert!(known.contains(&name), "{name}: {said}");
    }
    let said = refusal(&folder, "test sample --strategy pcd:3");
    assert!(said.contains("no strategy is called \"pcd\", did you mean pct?"), "{said}");
}
