//! What `gateway` takes.

use crate::gateway::{Place, Settings};

/// The container's side.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum GatewayCommand {
    /// Brings the VPN up and stays until it is told to stop; without a full configuration it makes no VPN.
    Run(Settings),
    /// Applies the current content of both files to the live interface.
    Reconfigure(Place),
    /// Says what the live interface does: per peer endpoint, last handshake, bytes.
    Status(Place),
}
