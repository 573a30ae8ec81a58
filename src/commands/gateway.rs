//! `gateway run | reconfigure | status`.

use crate::error::{Context, Result};
use crate::gateway::{self, Place, Settings};
use crate::host::Host;
use crate::report::Output;

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

/// Runs one of them.
pub fn run(command: &GatewayCommand, output: &Output) -> Result<()> {
    let mut host = Host::live();
    let text = match command {
        GatewayCommand::Run(settings) => return gateway::run(&mut host, settings),
        GatewayCommand::Reconfigure(place) => {
            let done = gateway::reconfigure(&mut host, place)?;
            if output.is_json() { document(&done)? } else { format!("{done}\n") }
        }
        GatewayCommand::Status(place) => {
            let status = gateway::status(&host, place)?;
            if output.is_json() { document(&status)? } else { status.to_string() }
        }
    };
    output.bytes(text.as_bytes())
}

fn document(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").context("writing JSON")
}
