//! `raft-explore list`: what can be explored, how, and with which planted bugs.

use clap::Args;
use raft_core::Defect;
use raft_nondeterminism::{Goal, Model, Raft, Scenario, StrategyInfo, strategies};
use serde::Serialize;

use super::exhaust;
use super::scenario::PROPERTIES;
use super::summary::Counted;
use super::{Exit, say};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  raft-explore list
  raft-explore list --json | jq -r '.scenarios[].name'

The row of a planted defect is its row in the table of mutants.")]
pub(crate) struct ListArgs {
    /// Print everything as one JSON object on one line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Listed {
    scenarios: Vec<ListedScenario>,
    strategies: Vec<ListedStrategy>,
    defects: Vec<ListedDefect>,
    properties: Vec<ListedProperty>,
}

#[derive(Debug, Serialize)]
struct ListedScenario {
    name: String,
    description: &'static str,
    servers: u64,
    /// If this is more, each run has between the two.
    servers_max: u64,
    spares: u64,
    clients: u64,
    requests: u64,
    saves: String,
    faults: Counted,
    operations: Counted,
    goals: Vec<&'static str>,
    /// The servers in words.
    #[serde(skip)]
    size: String,
}

#[derive(Debug, Serialize)]
struct ListedStrategy {
    name: &'static str,
    description: &'static str,
    aliases: &'static [&'static str],
    /// What it takes as its bound if nobody says otherwise; `None` if it has no bound.
    bound: Option<u32>,
    is_default: bool,
}

#[derive(Debug, Serialize)]
struct ListedDefect {
    name: &'static str,
    row: &'static str,
    description: &'static str,
}

#[derive(Debug, Serialize)]
struct ListedProperty {
    name: &'static str,
    description: &'static str,
    is_standard: bool,
}

pub(crate) fn run(args: &ListArgs) -> anyhow::Result<Exit> {
    let listed = Listed {
        scenarios: Scenario::all().iter().map(ListedScenario::new).collect(),
        strategies: listed_strategies(),
        defects: Defect::ALL.map(ListedDefect::new).into(),
        properties: properties(),
    };
    let said = match args.json {
        true => serde_json::to_string(&listed)? + "\n",
        false => text(&listed),
    };
    say(&said)?;
    Ok(Exit::Holds)
}

impl ListedScenario {
    fn new(scenario: &Scenario) -> Self {
        let model = Raft::new(scenario.clone());
        let settings = model.settings();
        let setting = |key: &str| {
            let found = settings.iter().find(|(name, _)| *name == key);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let number = |key: &str| setting(key).parse().unwrap_or_default();
        Self {
            name: scenario.name().to_owned(),
            description: scenario.description(),
            servers: number("servers"),
            servers_max: number("servers_max"),
            spares: number("spares"),
            clients: number("clients"),
            requests: number("requests"),
            saves: setting("saves"),
            faults: Counted::budgets(&model.faults()),
            operations: Counted::budgets(&model.operations()),
            size: model.describe(),
            goals: Goal::ALL
                .into_iter()
                .filter(|&goal| scenario.can_reach(goal))
                .map(Goal::name)
                .collect(),
        }
    }
}

impl ListedDefect {
    fn new(defect: Defect) -> Self {
        let (name, row, description) = (defect.name(), defect.row(), defect.description());
        Self { name, row, description }
    }
}

fn listed_strategies() -> Vec<ListedStrategy> {
    let listed = |(place, info): (usize, &StrategyInfo)| ListedStrategy {
        name: info.name(),
        description: info.about(),
        aliases: info.aliases(),
        bound: info.default_bound(),
        is_default: place == 0,
    };
    let orders = exhaust::ORDERS.iter().map(|&(name, description)| ListedStrategy {
        name,
        description,
        aliases: &[],
        bound: Some(exhaust::STATES_MAX),
        is_default: false,
    });
    strategies().iter().enumerate().map(listed).chain(orders).collect()
}

fn properties() -> Vec<ListedProperty> {
    let listed = |property: &super::scenario::Property| ListedProperty {
        name: property.name,
        description: property.description,
        is_standard: property.is_standard,
    };
    PROPERTIES.iter().map(listed).collect()
}

fn text(listed: &Listed) -> String {
    let mut text = String::new();
    let mut line = |said: String| {
        text += &said;
        text.push('\n');
    };
    line("Scenarios:".to_owned());
    for scenario in &listed.scenarios {
        let ListedScenario { name, description, clients, requests, .. } = scenario;
        line(format!("  {name:<32}{description}"));
        let spares = match scenario.spares {
            0 => String::new(),
            spares => format!(" and {spares} spare"),
        };
        let (servers, clients) = (&scenario.size, super::count(*clients, "client"));
        line(format!("{:34}{servers}{spares}; {clients} with {requests} requests each", ""));
        line(format!("{:34}faults: {}", "", scenario.faults.list()));
        if scenario.operations.0.iter().any(|(_, budget)| *budget > 0) {
            line(format!("{:34}operations: {}", "", scenario.operations.list()));
        }
    }
    line("\nStrategies:".to_owned());
    for ListedStrategy { name, description, aliases, bound, is_default } in &listed.strategies {
        let default = if *is_default { "; the default" } else { "" };
        let bound = bound.map(|bound| format!("; BOUND is {bound}")).unwrap_or_default();
        let names = [&[*name], *aliases].concat().join(", ");
        line(format!("  {names:<32}{description}{bound}{default}"));
    }
    line("\nPlanted defects:".to_owned());
    for ListedDefect { name, row, description } in &listed.defects {
        line(format!("  {name:<32}{row}: {description}"));
    }
    line("\nProperties:".to_owned());
    for ListedProperty { name, description, is_standard } in &listed.properties {
        let asked = if *is_standard { "" } else { " (only if asked for)" };
        line(format!("  {name:<32}{description}{asked}"));
    }
    text
}
