//! What each command does, from the command line's types to an exit code.

mod cluster;
pub mod completions;
pub mod explain;
mod facts;
pub mod gateway;
mod install;
pub mod peers;
mod resolve;
mod status;
mod undo;

use std::ffi::OsString;
use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::{Cli, Command};
use crate::converge;
use crate::converge::journal::RunId;
use crate::error::{Class, Context, Error, Result};
use crate::host::Host;
use crate::lang;
use crate::message;
use crate::message::Message;
use crate::report::{self, Output};

/// Runs one command line.
pub fn run(cli: Cli, output: &Output) -> Result<ExitCode> {
    let mut host = match &cli.global.root {
        Some(root) => Host::at(root)?,
        None => Host::live(),
    };
    let global = &cli.global;
    explain::known_ids(&global.ignore)?;
    match cli.command {
        Command::Preflight(options) => install::preflight(&host, global, &options, output),
        Command::Plan(options) => install::plan(&host, global, &options, output),
        Command::Install(options) => install::install(&mut host, global, &options, output),
        Command::Status => status::run(&host, global, output),
        Command::Undo => undo::run(&mut host, global, output),
        Command::Peers(command) => peers::run(command, &mut host, &global.dir, output),
        Command::Cluster(command) => cluster::run(command, global, output),
        Command::Session { way_in } => cluster::session(&mut host, &way_in),
        Command::Guard { run } => {
            let run = RunId::try_from(run).map_err(|error| Error::input(Message::foreign(error)))?;
            converge::guard::watch(&mut host, &run).map(done)
        }
        Command::Gateway(command) => gateway::run(&command, output).map(done),
        Command::Explain { id } => explain::run(id.as_deref(), output).map(done),
        Command::Facts => facts::run(&host, global, output).map(done),
        Command::Completions { shell } => output.bytes(&completions::script(shell)).map(done),
        Command::Man { command } => output.bytes(&man_page(&command)?).map(done),
        Command::Schema => output.bytes(report::schema().as_bytes()).map(done),
    }
}

/// The command line behind a program name: the gateway's image has links that stand for its commands.
pub fn multicall(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words = words.into_iter();
    let name = words.next().unwrap_or_default();
    let stands_for = crate::gateway::multicall(&name).iter().map(OsString::from);
    std::iter::once(name.clone()).chain(stands_for).chain(words).collect()
}

fn done(_: ()) -> ExitCode {
    ExitCode::SUCCESS
}

/// The manual page of the program, or of one of its commands.
fn man_page(command: &[String]) -> Result<Vec<u8>> {
    let mut page = Cli::command();
    page.build();
    for name in command {
        let found = page.get_subcommands().find(|sub| sub.get_name() == name).cloned();
        page = found.ok_or_else(|| {
            let list = std::iter::once("mitigator-vpn")
                .chain(command.iter().map(String::as_str).take_while(|word| *word != name));
            let list = list.chain(["--help"]).collect::<Vec<_>>().join(" ");
            Error::input(message!("there is no command '{name}'", name))
                .hint(message!("list them: {command}", command = list))
        })?;
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text).context(message!("rendering the manual page"))?;
    Ok(text)
}

/// Asks before something changes: first what it is about, then the question. Without a terminal to ask on, that is bad
/// input with the way out.
fn confirm(question: &Message, output: &Output, show: impl FnOnce() -> Result<()>) -> Result<()> {
    confirm_or(message!("review what it would do with 'plan', then run it again with --yes"), question, output, show)
}

/// As [`confirm`], with the way out where no plan shows what it is about.
fn confirm_or(way_out: Message, question: &Message, output: &Output, show: impl FnOnce() -> Result<()>) -> Result<()> {
    let stdin = std::io::stdin();
    if output.is_json() || !stdin.is_terminal() {
        return Err(
            Error::input(message!("a confirmation is needed, and standard input is not a terminal")).hint(way_out)
        );
    }
    show()?;
    let mut answer = String::new();
    let lang = output.lang();
    let question = lang.render(question);
    let _ = write!(std::io::stderr(), "\n{} {} ", lang::shown(&question), lang.render(&message!("[y/N]")));
    stdin.lock().read_line(&mut answer).context(message!("reading the answer"))?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" | "д" | "да" => Ok(()),
        _ => Err(Error::new(Class::Refused, message!("not confirmed; nothing changed"))),
    }
}
