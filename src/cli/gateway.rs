//! Options of `gateway`.

use crate::gateway::{GatewaySettings, InterfaceFiles};

/// The commands of `gateway`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum GatewayCommand {
    /// Bring the tunnel up and stay until stopped; with an incomplete configuration, run without a tunnel
    Run(GatewaySettings),
    /// Apply the current content of both files to the live interface
    Reconfigure(InterfaceFiles),
    /// Show the live interface: for each peer its endpoint, last handshake and traffic
    Status(InterfaceFiles),
}
