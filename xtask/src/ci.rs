//! Placeholder.
#[derive(Debug, clap::Args)]
pub(crate) struct CiArgs {}
pub(crate) fn run(_args: &CiArgs) -> anyhow::Result<()> {
    Ok(())
}
