//! The compose stack: whether it runs, and whether it runs as its files say.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Liveness, Resource, ResourceKind, Source, State, Verb};
use crate::compose::{self, ComposeCommand, STACK_DEADLINE};
use crate::error::{Class, Error, Result};
use crate::host::{Cmd, Host, Job, Output, When};
use crate::message;
use crate::message::{Argument, Message};
use crate::product::PRODUCT;

/// The name of the job that restarts or stops a stack.
const JOB: &str = "stack";

/// The stack of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// The instance's directory.
    pub dir: PathBuf,
    /// The compose to call.
    pub compose: ComposeCommand,
    /// What a restart is of.
    pub restart: StackRestart,
}

/// What a restart is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StackRestart {
    /// `down`, then `up -d`.
    Full,
    /// The gateway's container is recreated, the others run on.
    Gateway,
}

impl Resource for Stack {
    type State = Liveness;
    const KIND: ResourceKind = ResourceKind::Stack;

    fn noun(&self) -> Message {
        message!("compose stack in {dir}", dir = self.dir.display())
    }

    fn paths(&self) -> Vec<&Path> {
        vec![&self.dir]
    }

    fn verb(&self, before: &Liveness, _after: &Liveness) -> Verb {
        if before.is_absence() { Verb::Start } else { Verb::Restart }
    }

    /// Compares compose's hash of the configuration (FN-57) and the files that the container sees at its mounts (FN-40). The
    /// content of the two `.conf` files is compared by the tunnel.
    fn observe(&self, host: &Host) -> Result<Liveness> {
        let (gateway, running) = compose::containers(host, &self.dir)?;
        match (Liveness::of_containers(gateway.as_ref(), running), gateway) {
            (Liveness::Running, Some(gateway)) => {
                let wanted = compose::config_hash(host, &self.compose, &self.dir)?;
                Ok(if gateway.config_hash == wanted { Liveness::Running } else { Liveness::Outdated })
            }
            (liveness, _) => Ok(liveness),
        }
    }

    /// Restarts it, or stops it by `down`.
    fn set(&self, host: &mut Host, state: &Liveness) -> Result<()> {
        let (down, up) = (self.compose.down(&self.dir), self.compose.up(&self.dir));
        match (state, self.restart) {
            (Liveness::Stopped, _) => return self.run(host, vec![down]),
            (Liveness::Running | Liveness::Outdated, StackRestart::Gateway) => {
                self.run(host, vec![self.compose.recreate_gateway(&self.dir)])?;
            }
            (Liveness::Running | Liveness::Outdated, StackRestart::Full) => {
                let runs = compose::containers(host, &self.dir)?.1 > 0;
                self.run(host, if runs { vec![down, up] } else { vec![up] })?;
            }
        }
        self.stays_up(host)
    }

    fn is_made_from(&self, source: Source<'_>) -> bool {
        Stack::is_shaped_by(source, &self.dir)
    }

    fn is_live(&self) -> bool {
        true
    }
}

impl Stack {
    /// Whether compose makes the containers of the instance in `dir` from this.
    pub(crate) fn is_shaped_by(source: Source<'_>, dir: &Path) -> bool {
        match source {
            Source::File(path) => {
                let is_compose_file = path.extension().is_some_and(|extension| extension == "yml");
                let is_env = path.file_name().is_some_and(|name| name == PRODUCT.files.env);
                path.starts_with(dir) && (is_compose_file || is_env)
            }
            Source::Image => true,
        }
    }

    /// Runs these as one job: once a stack is stopped, it is started again whatever becomes of this run, and whatever the
    /// stopping has said.
    fn run(&self, host: &mut Host, commands: Vec<Cmd>) -> Result<()> {
        let lines: Vec<String> = commands.iter().map(Cmd::to_string).collect();
        let job = Job { name: JOB.to_owned(), commands, when: When::Now };
        host.begin_job(&job)?;
        let outputs = host.finish_job(&job, 2 * STACK_DEADLINE)?;
        let failed = |(line, said): (&String, Output)| {
            // compose 1.x fails so on an image made by a recent Docker Engine (FN-35).
            let is_too_old = said.stdout.contains("ContainerConfig");
            said.success(format!("'{line}'")).err().map(|error| (error, is_too_old))
        };
        let failures: Vec<(Error, bool)> = lines.iter().zip(outputs).filter_map(failed).collect();
        let is_too_old = failures.iter().any(|(_, is_too_old)| *is_too_old);
        let Some(error) = failures
            .into_iter()
            .map(|(error, _)| error)
            .reduce(|first, second| Error::unexpected(message!("{first}; {second}", first = &first, second = &second)))
        else {
            return Ok(());
        };
        Err(error.hint(if is_too_old {
            message!(
                "this docker-compose 1.x is too old for the Docker Engine here; install the compose plugin of version 2"
            )
        } else {
            message!("see: {command}", command = logs(&self.dir, &self.compose))
        }))
    }

    /// compose reports success once a container has started, even if it exits at once.
    fn stays_up(&self, host: &Host) -> Result<()> {
        let state = match compose::containers(host, &self.dir)?.0 {
            Some(gateway) if gateway.state == "running" => return Ok(()),
            Some(gateway) => Argument::from(gateway.state),
            None => message!("gone").into(),
        };
        let error = Error::new(Class::Step, message!("the gateway doesn't stay up: its container is {state}", state));
        Err(error.hint(message!("see: {command}", command = logs(&self.dir, &self.compose))))
    }
}

/// The command that shows the gateway's log.
pub(super) fn logs(dir: &Path, compose: &ComposeCommand) -> String {
    format!("cd {} && {} logs gateway", dir.display(), compose.command_line())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::{GatewayContainer, Generation};

    #[test]
    fn a_stack_is_made_from_its_compose_files_its_env_and_the_image() {
        let compose = ComposeCommand { words: vec!["x".into()], generation: Generation::V2, version: "2".into() };
        let stack = Stack { dir: "/srv/m".into(), compose, restart: StackRestart::Full };
        let made_from = |path: &str| stack.is_made_from(Source::File(Path::new(path)));
        assert!(made_from("/srv/m/docker-compose.yml") && made_from("/srv/m/.env"));
        assert!(!made_from("/srv/m/vpn-public.conf") && !made_from("/srv/m/vpn-private.conf"));
        assert!(!made_from("/etc/docker-compose.yml"));
        assert!(stack.is_made_from(Source::Image));
    }

    #[test]
    fn a_stack_runs_only_if_its_gateway_runs_and_sees_the_files_of_today() {
        let container = |state: &str, stale: &[&str]| {
            let stale = stale.iter().map(|file| (*file).to_owned()).collect();
            Some(GatewayContainer { state: state.into(), stale, ..GatewayContainer::default() })
        };
        for (gateway, running, expected) in [
            (None, 0, Liveness::Stopped),
            (None, 7, Liveness::Outdated),
            (container("running", &[]), 8, Liveness::Running),
            (container("running", &["/srv/mitigator/vpn-public.conf"]), 8, Liveness::Outdated),
            (container("paused", &[]), 8, Liveness::Outdated),
            (container("restarting", &[]), 1, Liveness::Outdated),
        ] {
            assert_eq!(Liveness::of_containers(gateway.as_ref(), running), expected, "{gateway:?} of {running}");
        }
    }
}
