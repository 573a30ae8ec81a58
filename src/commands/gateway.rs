//! `gateway run | reconfigure | status`.

use std::time::SystemTime;

use crate::cli::gateway::GatewayCommand;
use crate::error::Result;
use crate::gateway;
use crate::host::Host;
use crate::report::{GatewayStatusDocument, Output, ReconfiguredDocument};

pub(crate) fn run(command: &GatewayCommand, output: &Output) -> Result<()> {
    let mut host = Host::live();
    match command {
        GatewayCommand::Run(settings) => gateway::run(&mut host, settings),
        GatewayCommand::Reconfigure(files) => {
            let done = gateway::reconfigure(&mut host, files)?;
            output.document(&ReconfiguredDocument::from(done))
        }
        GatewayCommand::Status(files) => {
            let status = gateway::status(&host, files)?;
            output.document(&GatewayStatusDocument::new(&status, SystemTime::now()))
        }
    }
}
