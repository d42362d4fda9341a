//! What every chore needs that runs clusters of processes: the program, and a topic for them.
//!
//! Elsewhere: who starts which processes, and what they tell, is in `demo/` and `chaos/`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use raft_azure::{Admin, AdminOptions, ProvisionOptions, provision};
use raft_core::{Address, ClientId, ServerId};

/// The topic of a cluster of our own.
pub(crate) const TOPIC: &str = "rafttopic";

/// Builds the program of the processes beside this one, and says where it is. Cargo tells its progress.
///
/// With the planted bugs it goes into a folder of its own, so that nothing else ever runs a program that
/// has them.
pub(crate) fn build_server(has_defects: bool) -> Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find this program")?;
    let folder = this.parent().context("this program is in no folder")?;
    let profile = folder.file_name().context("this program is in no folder")?;
    // The folder above is the target folder, wherever this cargo was told to put it.
    let mut target = folder.parent().context("this program is in no folder")?.to_owned();
    let mut build = crate::cargo();
    build.args(["build", "--package", "raft-azure", "--bin", "raft-azure"]);
    if profile == "release" {
        build.arg("--release");
    }
    if has_defects {
        target.push("defects");
        build.args(["--features", "defects"]);
    }
    let status = build.arg("--target-dir").arg(&target).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("raft-azure does not build");
    }
    let name = format!("raft-azure{}", std::env::consts::EXE_SUFFIX);
    Ok(target.join(profile).join(name))
}

/// Makes the topic, and the subscriptions of so many servers and of these clients.
pub(crate) async fn provision_topic(
    connection_string: &str,
    servers: u64,
    clients: impl IntoIterator<Item = ClientId>,
) -> Result<()> {
    let admin = Admin::new(connection_string.parse()?, AdminOptions::default())?;
    let servers: Vec<_> =
        (1..=servers).map(|server| Address::Server(ServerId(server)).routing_name()).collect();
    let clients: Vec<_> =
        clients.into_iter().map(|client| Address::Client(client).routing_name()).collect();
    let options = ProvisionOptions::with_time_to_live(Duration::from_secs(60));
    provision(&admin, TOPIC, &servers, &clients, &options).await?;
    Ok(())
}
