//! The table: feature × client, as text and in the README.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::clients::{CaseResult, Client, Outcome};

/// Between these lines of the README is the table.
const START: &str = "<!-- conformance: written by `cargo xtask conformance --write` -->";
const END: &str = "<!-- end of conformance -->";

/// Results by row and client.
pub(crate) struct Table {
    rows: Vec<(&'static str, &'static str)>,
    clients: Vec<String>,
    results: BTreeMap<(String, String), CaseResult>,
}

impl Table {
    pub(crate) fn new(rows: &[(&'static str, &'static str)]) -> Self {
        Self { rows: rows.to_vec(), clients: Vec::new(), results: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, client: &Client, result: CaseResult) {
        let title = client.title();
        if !self.clients.contains(&title) {
            self.clients.push(title.clone());
        }
        self.results.insert((result.case.clone(), title), result);
    }

    pub(crate) fn failures(&self) -> usize {
        self.results.values().filter(|result| result.outcome == Outcome::Fail).count()
    }

    /// The table in Markdown, which is read as text, too.
    pub(crate) fn text(&self) -> String {
        let mut lines = vec![
            format!("| Feature | {} |", self.clients.join(" | ")),
            format!("| --- |{}", " :-: |".repeat(self.clients.len())),
        ];
        for (id, title) in &self.rows {
            let cells: Vec<_> = self
                .clients
                .iter()
                .map(|client| match self.results.get(&((*id).to_owned(), client.clone())) {
                    Some(CaseResult { outcome: Outcome::Pass, .. }) => "yes",
                    Some(CaseResult { outcome: Outcome::Fail, .. }) => "**no**",
                    Some(CaseResult { outcome: Outcome::NotApplicable, .. }) | None => "–",
                })
                .collect();
            lines.push(format!("| {title} | {} |", cells.join(" | ")));
        }
        lines.join("\n")
    }

    pub(crate) fn write_into_readme(&self) -> Result<()> {
        let path = crate::root().join("raft-mocking").join("README.md");
        let readme = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let (before, rest) = readme.split_once(START).context("the README has no place for it")?;
        let (_, after) = rest.split_once(END).context("the README has no end of its place")?;
        let text = format!("{before}{START}\n{}\n{END}{after}", self.text());
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}
