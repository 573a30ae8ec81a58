//! Parse, dispatch, print the error with its way out, exit with its class.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use mitigator_vpn::cli::{Cli, Command, Json};
use mitigator_vpn::commands;
use mitigator_vpn::host::{harden, heed_signals};
use mitigator_vpn::lang;
use mitigator_vpn::message;
use mitigator_vpn::report::{FailureDocument, Output};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

fn main() -> ExitCode {
    let hardened = harden();
    if let Some(answer) = commands::completions::answer() {
        // A shell that has gone away needs no answer.
        let _ = std::io::stdout().write_all(answer.as_bytes());
        return ExitCode::SUCCESS;
    }
    let words = commands::multicall(std::env::args_os());
    let cli = match Cli::try_parse_from(&words) {
        Ok(cli) => cli,
        Err(error) => {
            if let Some(json) = Json::asked_for(&words).filter(|_| error.use_stderr()) {
                let _ = Output::of(json).document(&FailureDocument::of_command_line(&error.render().to_string()));
            }
            error.exit()
        }
    };
    // A container's log is where one looks after it; a person's terminal is not.
    let level = if matches!(cli.command, Command::Gateway(_)) { LevelFilter::INFO } else { LevelFilter::WARN };
    let filter = EnvFilter::builder().with_default_directive(level.into()).with_env_var("MITIGATOR_VPN_LOG");
    let output = Output::new(&cli.global);
    let lang = output.lang();
    lang::set_for_log(lang);
    lang::suit_locale(cli.global.lang);
    tracing_subscriber::fmt()
        .with_env_filter(filter.from_env_lossy())
        .with_writer(std::io::stderr)
        .with_target(false)
        // Nobody left to read the log is no reason to stop half way.
        .log_internal_errors(false)
        .init();
    // The gateway waits for its signals itself.
    let heeded = if matches!(cli.command, Command::Gateway(_)) { Ok(()) } else { heed_signals() };
    match hardened.and(heeded).and_then(|()| commands::run(cli, &output)) {
        Ok(code) => code,
        Err(error) => {
            if output.is_json() {
                let _ = output.document(&FailureDocument::from(&error));
            }
            let mut stderr = std::io::stderr().lock();
            let mark = console::style(lang.render(&message!("error:"))).for_stderr().red().bold();
            // Nobody left to read it is no reason to fail differently.
            let _ = writeln!(stderr, "{mark} {}", lang::shown(&lang.render(&(&error).into())));
            for hint in error.hints() {
                for line in lang.render(hint).lines() {
                    let arrow = console::style(lang::shown("→")).for_stderr().cyan();
                    let _ = writeln!(stderr, "  {arrow} {}", lang::shown(line));
                }
            }
            ExitCode::from(error.class().exit_code())
        }
    }
}
