//! The command line.

use std::ffi::OsString;
use std::io::stderr;
use std::process::ExitCode;

use clap::Parser;
use mitigator_vpn::commands::gateway::{self, GatewayCommand};
use mitigator_vpn::gateway::multicall;

#[derive(Parser)]
#[command(name = "mitigator-vpn", version)]
struct Cli {
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// The container's side of the contract.
    #[command(subcommand)]
    Gateway(GatewayCommand),
}

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(stderr).with_target(false).init();
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let stands_for = multicall(&name).iter().map(OsString::from);
    let words: Vec<OsString> = std::iter::once(name.clone()).chain(stands_for).chain(words).collect();
    let cli = Cli::parse_from(words);
    let Command::Gateway(command) = cli.command;
    match gateway::run(&command, cli.json, &mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            if let Some(hint) = error.way_out() {
                tracing::error!("hint: {hint}");
            }
            ExitCode::from(error.class().exit_code())
        }
    }
}
