//! The machinery on a crate of ten lines: every kind of mutant gets the verdict it deserves.

use std::path::Path;

use super::scratch::{Exploring, Scratch, Subject};
use super::suite::{Bench, Suite, Verdict};
use super::table::Table;

const MANIFEST: &str = "
[workspace]
members = ['tiny', 'elsewhere']

[workspace.dependencies]
elsewhere = { path = 'elsewhere', version = '0.1.0' }
";

const CRATE: &str = "
[package]
name = 'tiny'
version = '0.1.0'
edition = '2024'

[features]
more = []
";

const SOURCE: &str = "//! Counts.

/// Half of it, and one.
pub fn majority(voters: usize) -> usize {
    let half = voters / 2;
    half + 1
}
";

const TEST: &str = "//! Checks.

#[test]
fn more_than_half_decide() {
    for voters in [1, 2, 4, 7] {
        assert!(2 * tiny::majority(voters) > voters, \"{voters}\");
    }
}
";

const TABLE: &str = "
[[mutant]]
id = 'caught'
name = 'half-decides'
breaks = 'one too few'
file = 'lib.rs'
find = 'half + 1'
replace = 'half'

[[mutant]]
id = 'survived'
name = 'one-more-decides'
breaks = 'one too many'
file = 'lib.rs'
find = 'half + 1'
replace = 'half + 2'

[[mutant]]
id = 'hangs'
name = 'never-decides'
breaks = 'progress'
file = 'lib.rs'
find = 'half + 1'
replace = 'loop { std::hint::spin_loop() }'

[[mutant]]
id = 'grows'
name = 'remembers-everything'
breaks = 'memory'
file = 'lib.rs'
find = 'half + 1'
replace = '{ let mut all = vec![half]; loop { all.reserve(1 << 40); all.push(1) } }'

[[mutant]]
id = 'broken'
name = 'no-such-name'
breaks = 'nothing: it does not compile'
file = 'lib.rs'
find = 'half + 1'
replace = 'halves + 1'
";

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A workspace of two crates, of which one does not even compile: it must not be asked to.
fn workspace(root: &Path) -> Subject {
    write(root, "Cargo.toml", MANIFEST);
    write(root, "Cargo.lock", "version = 4\n");
    write(root, "tiny/Cargo.toml", CRATE);
    write(root, "tiny/src/lib.rs", SOURCE);
    write(root, "tiny/tests/checks.rs", TEST);
    write(root, "elsewhere/Cargo.toml", &CRATE.replace("tiny", "elsewhere"));
    write(root, "elsewhere/src/lib.rs", "this is no Rust");
    write(root, "xtask/mutants/all.toml", TABLE);
    Subject {
        root: root.to_owned(),
        members: vec!["tiny"],
        package: "tiny",
        features: "more",
        explorer: None,
        exploring: Exploring::default(),
        folder: root.join("target/score"),
    }
}

#[test]
fn every_mutant_gets_the_verdict_it_deserves_and_the_tree_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let subject = workspace(folder.path());
    let table = Table::read(&folder.path().join("xtask/mutants")).unwrap();
    table.check(&subject.source()).unwrap();
    let scratch = Scratch::create(&subject).unwrap();
    let busy = Scratch::create(&subject).unwrap_err().to_string();
    assert!(busy.starts_with("another score is being taken in "), "{busy}");

    let mut bench = Bench::new(&subject, &scratch);
    bench.patience_min = std::time::Duration::from_secs(2);
    assert_eq!(bench.run_unmutated(Suite::Tests).unwrap(), Verdict::Survived);
    let mut verdicts = Vec::new();
    for mutant in &table.mutants {
        scratch.apply(mutant).unwrap();
        verdicts.push(bench.run(Suite::Tests, &mutant.tests).unwrap().verdict);
        scratch.restore(mutant).unwrap();
    }
    let by = "checks: more_than_half_decide";
    assert_eq!(
        verdicts,
        [
            Verdict::Caught(by.to_owned()),
            Verdict::Survived,
            Verdict::Timeout(by.to_owned()),
            Verdict::Timeout(format!("{by} (out of memory)")),
            Verdict::Error("does not build: cannot find value `halves` in this scope".to_owned()),
        ]
    );
    assert_eq!(bench.run_unmutated(Suite::Tests).unwrap(), Verdict::Survived, "all is restored");
    let source = std::fs::read_to_string(subject.source().join("lib.rs")).unwrap();
    assert_eq!(source, SOURCE);
}

#[test]
fn a_suite_that_fails_without_a_mutant_judges_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let subject = workspace(folder.path());
    write(folder.path(), "tiny/src/lib.rs", &SOURCE.replace("half + 1", "half + 0"));
    let table = Table::read(&folder.path().join("xtask/mutants")).unwrap();
    let error = super::score(&subject, &table, super::SuiteChoice::Tests, false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the suite must be green before it can judge; without a mutant fails checks: \
         more_than_half_decide"
    );
}
