//! Parse, dispatch, print the error with its way out, exit with its class.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use mitigator_vpn::cli::Cli;
use mitigator_vpn::commands;
use mitigator_vpn::report::Output;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("MITIGATOR_VPN_LOG"))
        .with_writer(std::io::stderr)
        .init();
    let cli = Cli::parse_from(commands::multicall(std::env::args_os()));
    let output = Output::new(&cli.global);
    match commands::run(cli, &output) {
        Ok(code) => code,
        Err(error) => {
            let mut stderr = std::io::stderr().lock();
            let mark = console::style("error:").for_stderr().red().bold();
            // Nobody left to read it is no reason to fail differently.
            let _ = writeln!(stderr, "{mark} {error}");
            if let Some(hint) = error.way_out() {
                for line in hint.lines() {
                    let _ = writeln!(stderr, "  {} {line}", console::style("→").for_stderr().cyan());
                }
            }
            ExitCode::from(error.class().exit_code())
        }
    }
}
