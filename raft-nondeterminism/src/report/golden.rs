//! Files that say what a report looks like. `UPDATE_GOLDENFILES=1` writes them, and the difference is
//! read before it is kept.

use std::fs;
use std::path::Path;

/// Compares what was made with the file of this name.
pub(crate) fn check(name: &str, made: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/reports");
    let file = folder.join(name);
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        fs::create_dir_all(&folder).unwrap();
        fs::write(&file, made).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(made, expected, "{name} is not as it was");
}
