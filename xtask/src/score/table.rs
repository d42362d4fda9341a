//! The table of mutants: `xtask/mutants/*.toml`, one file per group.
//!
//! Guarantees: a table that was checked fits the code: each text to be replaced is there exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// One line of the protocol gone wrong.
///
/// ```toml
/// [[mutant]]
/// id = "E13"
/// name = "vote-given-twice"
/// breaks = "Election Safety: a second candidate of the same term gets the vote too"
/// tests = ["golden"]                 # optional: the cheapest targets that notice; `lib` is one, and
///                                    # `PACKAGE/TARGET` is a target of another package
/// equivalent = "nothing can tell"    # optional: why no suite can notice
/// beyond_explorer = "no world does that"    # optional: why only tests can
/// file = "election.rs"
/// find = '''voted_for.is_none_or('''
/// replace = '''true || voted_for.is_none_or('''
/// [[mutant.also]]                    # optional: a further place; `file` is the same unless named
/// find = …
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mutant {
    pub(super) id: String,
    pub(super) name: String,
    /// What goes wrong, for whom.
    pub(super) breaks: String,
    #[serde(default)]
    pub(super) tests: Vec<String>,
    pub(super) equivalent: Option<String>,
    pub(super) beyond_explorer: Option<String>,
    file: String,
    find: String,
    replace: String,
    #[serde(default)]
    also: Vec<Also>,
}

/// A further place that has to change.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Also {
    file: Option<String>,
    find: String,
    replace: String,
}

/// A file of the table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    mutant: Vec<Mutant>,
}

#[derive(Debug)]
pub(super) struct Table {
    pub(super) mutants: Vec<Mutant>,
}

impl Table {
    /// Reads every file of the folder, by name.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let listed = || format!("cannot read the table in {}", folder.display());
        let mut files = Vec::new();
        for file in std::fs::read_dir(folder).with_context(listed)? {
            let path = file.with_context(listed)?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                files.push(path);
            }
        }
        files.sort();
        let mut mutants = Vec::new();
        for path in files {
            let named = || format!("in {}", path.display());
            let text = std::fs::read_to_string(&path).with_context(named)?;
            mutants.extend(Self::parse(&text).with_context(named)?.mutants);
        }
        let table = Self { mutants };
        table.check_names()?;
        Ok(table)
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let Group { mutant: mutants } = toml::from_str(text)?;
        Ok(Self { mutants })
    }

    /// The mutants with these ids, in the order of the table; all, if none is named.
    pub(super) fn only(mut self, ids: &[String]) -> Result<Self> {
        for id in ids {
            if !self.mutants.iter().any(|mutant| mutant.id == *id) {
                bail!("no mutant has the id {id:?}; cargo xtask score --list names them all");
            }
        }
        self.mutants.retain(|mutant| ids.is_empty() || ids.contains(&mutant.id));
        Ok(self)
    }

    /// Checks every row against the code in `source`, and names all that do not fit.
    pub(super) fn check(&self, source: &Path) -> Result<()> {
        let mut findings = Vec::new();
        for mutant in &self.mutants {
            if let Err(error) = mutant.mutated(source) {
                findings.push(format!("{}: {error:#}", mutant.id));
            }
        }
        match findings.len() {
            0 => Ok(()),
            count => bail!("{count} mutants do not fit the code:\n{}", findings.join("\n")),
        }
    }

    fn check_names(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        for Mutant { id, name, breaks, equivalent, beyond_explorer, .. } in &self.mutants {
            for label in [id, name] {
                if !seen.insert(label) {
                    bail!("two mutants are called {label}");
                }
            }
            let is_kebab =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
            if name.is_empty() || !name.chars().all(is_kebab) {
                bail!("{id}: {name:?} is not written-like-this");
            }
            let is_unsaid = |reason: &Option<String>| reason.as_ref().is_some_and(String::is_empty);
            if breaks.is_empty() || is_unsaid(equivalent) || is_unsaid(beyond_explorer) {
                bail!("{id} does not say what it breaks, or why nobody notices");
            }
        }
        Ok(())
    }
}

impl Mutant {
    /// The files that change, by name, each with its new text.
    pub(super) fn mutated(&self, source: &Path) -> Result<BTreeMap<&str, String>> {
        let first = (self.file.as_str(), &self.find, &self.replace);
        let also = self
            .also
            .iter()
            .map(|also| (also.file.as_deref().unwrap_or(&self.file), &also.find, &also.replace));
        let mut files = BTreeMap::new();
        for (file, find, replace) in std::iter::once(first).chain(also) {
            let text = match files.remove(file) {
                Some(text) => text,
                None => std::fs::read_to_string(source.join(file))
                    .with_context(|| format!("cannot read {file}"))?,
            };
            if find == replace {
                bail!("{file}: nothing changes: {find:?}");
            }
            match text.matches(find.as_str()).count() {
                1 => files.insert(file, text.replacen(find.as_str(), replace, 1)),
                count => bail!("{file}: found {count} times instead of once: {find:?}"),
            };
        }
        Ok(files)
    }

    /// The files that change.
    pub(super) fn files(&self) -> BTreeSet<&str> {
        let also = self.also.iter().filter_map(|also| also.file.as_deref());
        std::iter::once(self.file.as_str()).chain(also).collect()
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<5} {:<44} {}", self.id, self.name, self.breaks)?;
        if let Some(reason) = &self.equivalent {
            write!(f, " (equivalent: {reason})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "
[[mutant]]
id = 'E13'
name = 'vote-given-twice'
breaks = 'Election Safety'
file = 'election.rs'
find = 'is_free'
replace = 'true'
";

    fn checked(text: &str) -> Result<Table> {
        let table = Table::parse(text)?;
        table.check_names()?;
        Ok(table)
    }

    fn source(text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("election.rs"), text).unwrap();
        folder
    }

    #[test]
    fn a_text_that_is_there_once_is_replaced() {
        let table = checked(ROW).unwrap();
        let source = source("let is_free = 1;\n");
        let files = table.mutants[0].mutated(source.path()).unwrap();
        assert_eq!(files["election.rs"], "let true = 1;\n");
        table.check(source.path()).unwrap();
    }

    #[test]
    fn a_text_that_is_missing_or_there_twice_is_an_error_that_names_the_row() {
        let table = checked(ROW).unwrap();
        for (text, count) in [("", 0), ("is_free is_free", 2)] {
            let error = table.check(source(text).path()).unwrap_err().to_string();
            assert!(error.contains("E13: election.rs: found "), "{error}");
            assert!(error.contains(&format!("found {count} times instead of once")), "{error}");
        }
        let error = table.check(tempfile::tempdir().unwrap().path()).unwrap_err().to_string();
        assert!(error.contains("E13: cannot read election.rs"), "{error}");
    }

    #[test]
    fn several_places_of_one_file_change_together() {
        let also = "[[mutant.also]]\nfind = 'one'\nreplace = 'two'\n";
        let table = checked(&format!("{ROW}{also}")).unwrap();
        let files = table.mutants[0].mutated(source("is_free one").path()).unwrap();
        assert_eq!(files["election.rs"], "true two");
        assert_eq!(table.mutants[0].files().len(), 1);
    }

    #[test]
    fn a_row_that_changes_nothing_or_has_no_clear_name_is_an_error() {
        let same = ROW.replace("'true'", "'is_free'");
        let error = checked(&same).unwrap().check(source("is_free").path()).unwrap_err();
        assert!(error.to_string().contains("nothing changes"), "{error}");
        let error = |text: &str| checked(text).unwrap_err().to_string();
        assert_eq!(error(&format!("{ROW}{ROW}")), "two mutants are called E13");
        let shouted = error(&ROW.replace("vote-given-twice", "Vote Twice"));
        assert_eq!(shouted, "E13: \"Vote Twice\" is not written-like-this");
        assert!(checked(&ROW.replace("find", "fnid")).is_err(), "an unknown field is a typo");
    }

    #[test]
    fn an_unknown_id_is_an_error_that_says_where_the_ids_are() {
        let error = checked(ROW).unwrap().only(&["E99".to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "no mutant has the id \"E99\"; cargo xtask score --list names them all");
        assert_eq!(checked(ROW).unwrap().only(&["E13".to_owned()]).unwrap().mutants.len(), 1);
        assert_eq!(checked(ROW).unwrap().only(&[]).unwrap().mutants.len(), 1);
    }
}
