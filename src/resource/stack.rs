//! The compose stack: whether it runs, and whether it runs as its files say.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{State, mismatch};
use crate::compose::{self, ComposeCommand};
use crate::error::{Class, Error, Result};
use crate::host::Host;
use crate::settings::Restart;

/// The stack of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// The instance's directory.
    pub dir: PathBuf,
    /// The compose to call.
    pub compose: ComposeCommand,
    /// How far a restart may go.
    pub restart: Restart,
}

impl Stack {
    /// `Stopped`, `Outdated` or `Running`. Compared by compose's own hash of the configuration (FN-57) and by what the
    /// container sees at its mounts (FN-40); the content of the two `.conf` files is the tunnel's matter.
    pub fn observe(&self, host: &Host) -> Result<State> {
        let (gateway, running) = compose::containers(host, &self.dir);
        let Some(gateway) = gateway.filter(|gateway| gateway.state == "running") else {
            return Ok(if running == 0 { State::Stopped } else { State::Outdated });
        };
        let wanted = compose::config_hash(host, &self.compose, &self.dir)?;
        Ok(if gateway.config_hash == wanted && gateway.stale.is_empty() { State::Running } else { State::Outdated })
    }

    /// Restarts it, or takes it down.
    pub fn set(&self, host: &mut Host, state: &State) -> Result<()> {
        let down = self.compose.down(&self.dir);
        match (state, self.restart) {
            (State::Running | State::Outdated, Restart::Gateway) => {
                self.run(host, self.compose.recreate_gateway(&self.dir))?;
                self.stays_up(host)
            }
            (State::Running | State::Outdated, _) => {
                if compose::containers(host, &self.dir).1 > 0 {
                    self.run(host, down)?;
                }
                self.run(host, self.compose.up(&self.dir))?;
                self.stays_up(host)
            }
            (State::Stopped, _) => self.run(host, down),
            (other, _) => Err(mismatch(self, other)),
        }
    }

    fn run(&self, host: &mut Host, cmd: crate::host::Cmd) -> Result<()> {
        host.run(&cmd)?.success(format!("'{cmd}'")).map(drop).map_err(|error| {
            if error.to_string().contains("ContainerConfig") {
                // v1 reading an image made by a recent engine (FN-35).
                return error.hint("this docker-compose 1.x is too old for the Docker Engine here; install the compose plugin of version 2");
            }
            error.hint(self.logs())
        })
    }

    /// Compose is content once a container has started, whatever becomes of it.
    fn stays_up(&self, host: &Host) -> Result<()> {
        match compose::containers(host, &self.dir).0.map(|gateway| gateway.state) {
            Some(state) if state == "running" => Ok(()),
            state => Err(Error::new(
                Class::Step,
                format!("the gateway doesn't stay up: its container is {}", state.as_deref().unwrap_or("gone")),
            )
            .hint(self.logs())),
        }
    }

    fn logs(&self) -> String {
        format!("see: cd {} && {} logs gateway", self.dir.display(), self.compose.command_line())
    }
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "compose stack in {}", self.dir.display())
    }
}

/// What a failed `reconfigure` leads to; also the answer to a mount gone stale.
pub(super) fn restart_hint(dir: &std::path::Path, compose: &ComposeCommand) -> String {
    format!(
        "only a new gateway container helps: cd {} && {} up -d --force-recreate --no-deps gateway",
        dir.display(),
        compose.command_line()
    )
}

/// A stale mount, as an error.
pub(super) fn stale_error(files: &[String], dir: &std::path::Path, compose: &ComposeCommand) -> Error {
    Error::new(
        Class::Step,
        format!("the gateway still sees an old copy of {}: the file was replaced behind its mount", files.join(", ")),
    )
    .hint(restart_hint(dir, compose))
}
