//! The compose commands of this host, and the state of this instance's stack.
//!
//! Starting docker-compose 1.x costs a quarter of a second each time, more than everything else a preflight does. So it
//! is started once, and all questions are asked at the same time.

use std::path::Path;
use std::thread;

use serde::{Deserialize, Serialize};

use super::Reading;
use crate::compose::{self, ComposeCommand, GatewayContainer, InstalledCompose, ResolvedConfig};
use crate::host::Host;
use crate::message::Message;
use crate::settings::Settings;

/// The compose commands of this host, and the state of this instance's stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StackFacts {
    /// The commands found, the preferred one first: of the generation that made the running containers, else the newest.
    pub commands: Vec<ComposeCommand>,
    /// The resolved configuration, or why compose can't resolve it; `None` without a compose file.
    pub config: Option<Result<ResolvedConfig, Message>>,
    /// The running gateway container.
    pub gateway: Option<GatewayContainer>,
    /// How many containers of this project run.
    pub running: usize,
}

impl StackFacts {
    /// The words by which compose is called here.
    pub(crate) fn compose_command_line(&self) -> String {
        self.commands.first().map_or("docker-compose".to_owned(), ComposeCommand::command_line)
    }
}

/// Reads this part of the facts.
pub(crate) fn gather(reading: &Reading, settings: &Settings) -> StackFacts {
    let host = reading.host;
    if !host.is_live() {
        return StackFacts::default();
    }
    let dir = settings.dir.as_path();
    let configured = compose::has_base(&reading.list(dir));
    let installed = reading.known(InstalledCompose::all(host));
    thread::scope(|scope| {
        let containers = scope.spawn(|| compose::containers(host, dir));
        let answers: Vec<_> =
            installed.into_iter().map(|installed| scope.spawn(move || ask(host, installed, dir, configured))).collect();
        let mut found: Vec<(ComposeCommand, Option<Result<ResolvedConfig, Message>>)> =
            answers.into_iter().filter_map(|answer| answer.join().expect("a reader doesn't panic")).collect();
        let (gateway, running) = reading.known(containers.join().expect("a reader doesn't panic"));
        // The generation that made the running containers knows them by its own hashes and names (FN-35, FN-57).
        let made_by = gateway.as_ref().and_then(GatewayContainer::made_by);
        found.sort_by_key(|(command, _)| command.generation.rank(made_by));
        StackFacts {
            config: found.first().and_then(|(_, config)| config.clone()),
            commands: found.into_iter().map(|(command, _)| command).collect(),
            gateway,
            running,
        }
    })
}

/// Asks one installation for its version and, with a compose file, for the configuration; `None` if it doesn't work.
fn ask(
    host: &Host,
    installed: InstalledCompose,
    dir: &Path,
    configured: bool,
) -> Option<(ComposeCommand, Option<Result<ResolvedConfig, Message>>)> {
    let (config, of_file) = thread::scope(|scope| {
        let config = configured.then(|| scope.spawn(|| compose::resolve(host, &installed, dir)));
        let of_file = if configured { installed.version_of_file(host) } else { None };
        (config.map(|config| config.join().expect("a reader doesn't panic")), of_file)
    });
    // A call that has resolved the configuration works, so the version of its file is its version.
    let proven = of_file.filter(|_| matches!(config, Some(Ok(_))));
    let version = proven.or_else(|| installed.version(host))?;
    Some((installed.into_command(version), config))
}
