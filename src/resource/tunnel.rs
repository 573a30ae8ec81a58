//! The live tunnel: whether the gateway's peers are those in vpn-public.conf. It is changed without a restart (C2).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::stack::logs;
use super::{Liveness, Resource, ResourceKind, Source, State, Verb};
use crate::compose::{self, ComposeCommand};
use crate::error::{Class, Error, Result};
use crate::host::Host;
use crate::message;
use crate::message::Message;
use crate::product::InstanceLayout;
use crate::tunnel;
use crate::wireguard::PeerList;

/// The tunnel of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// The instance's directory.
    pub dir: PathBuf,
    /// vpn-public.conf.
    pub public_conf: PathBuf,
    /// The compose to call.
    pub compose: ComposeCommand,
}

impl Resource for Tunnel {
    type State = Liveness;
    const KIND: ResourceKind = ResourceKind::Tunnel;

    fn noun(&self) -> Message {
        message!("live tunnel")
    }

    fn paths(&self) -> Vec<&Path> {
        vec![&self.dir, &self.public_conf]
    }

    fn verb(&self, before: &Liveness, _after: &Liveness) -> Verb {
        if before.is_absence() { Verb::Start } else { Verb::Reconfigure }
    }

    /// `Running` when the live peers are those of the file, `Outdated` when they aren't, `Stopped` without a gateway.
    fn observe(&self, host: &Host) -> Result<Liveness> {
        let (Some(gateway), _) = compose::containers(host, &self.dir)? else { return Ok(Liveness::Stopped) };
        let Some(live) = tunnel::observe(host, gateway.pid)? else { return Ok(Liveness::Stopped) };
        let Some(list) = PeerList::read(host, &self.public_conf)? else { return Ok(Liveness::Outdated) };
        let is_current = tunnel::difference(&live, &list).is_empty() && gateway.stale.is_empty();
        Ok(if is_current { Liveness::Running } else { Liveness::Outdated })
    }

    /// `reconfigure`, unless the container sees an old copy of a file (FN-40).
    fn set(&self, host: &mut Host, state: &Liveness) -> Result<()> {
        match state {
            Liveness::Running | Liveness::Outdated => {}
            // It stops with the stack.
            Liveness::Stopped => return Ok(()),
        }
        let (gateway, _) = compose::containers(host, &self.dir)?;
        let gateway = gateway.ok_or_else(|| {
            Error::unexpected(message!("the gateway doesn't run"))
                .hint(message!("see why: {command}", command = logs(&self.dir, &self.compose)))
        })?;
        if !gateway.stale.is_empty() {
            return Err(self.sees_old_copies(&gateway.stale));
        }
        let cmd = self.compose.exec_gateway(&self.dir, ["reconfigure"]);
        host.run(&cmd)?.success(format!("'{cmd}'"))?;
        Ok(())
    }

    fn is_made_from(&self, source: Source<'_>) -> bool {
        match source {
            Source::File(path) => path == self.public_conf || path == InstanceLayout::new(&self.dir).private_conf(),
            Source::Image => false,
        }
    }

    fn is_live(&self) -> bool {
        true
    }

    /// A stack that starts sets its tunnel up from the files.
    fn comes_with(&self) -> Option<ResourceKind> {
        Some(ResourceKind::Stack)
    }

    /// Endpoints can't be compared, because peers roam.
    fn is_observed_whole(&self) -> bool {
        false
    }
}

impl Tunnel {
    fn sees_old_copies(&self, files: &[String]) -> Error {
        let files = files.join(", ");
        let error = Error::new(
            Class::Step,
            message!("the gateway still sees an old copy of {files}: the file was replaced behind its mount", files),
        );
        let anew = self.compose.recreate_gateway(&self.dir);
        let command = format!("cd {} && {anew}", self.dir.display());
        error.hint(message!("only a new gateway container helps: {command}", command))
    }
}
