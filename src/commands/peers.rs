//! placeholder until the peers command lands
use std::path::Path;

use crate::error::Result;
use crate::host::Host;
use crate::report::Output;

/// The peers command.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum PeersCommand {
    /// List.
    List,
}

/// Runs.
pub fn run(_c: PeersCommand, _h: &mut Host, _d: &Path, _o: &Output) -> Result<()> {
    Ok(())
}
