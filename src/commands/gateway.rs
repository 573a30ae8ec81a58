//! `gateway run | reconfigure | status`.

use crate::cli::gateway::GatewayCommand;
use crate::error::{Context, Result};
use crate::gateway;
use crate::host::Host;
use crate::report::Output;

/// Runs one of them.
pub fn run(command: &GatewayCommand, output: &Output) -> Result<()> {
    let mut host = Host::live();
    let text = match command {
        GatewayCommand::Run(settings) => return gateway::run(&mut host, settings),
        GatewayCommand::Reconfigure(place) => {
            let done = gateway::reconfigure(&mut host, place)?;
            if output.is_json() { document(&done)? } else { output.lang().say(&format!("{done}\n")) }
        }
        GatewayCommand::Status(place) => {
            let status = gateway::status(&host, place)?;
            if output.is_json() { document(&status)? } else { status.text(output.lang()) }
        }
    };
    output.bytes(text.as_bytes())
}

fn document(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").context("writing JSON")
}
