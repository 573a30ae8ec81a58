//! The live tunnel: whether the gateway's peers are the ones in vpn-public.conf. Applied without a restart (C2).

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::stack::stale_error;
use super::{State, mismatch};
use crate::compose::{self, ComposeCommand};
use crate::error::{Error, Result};
use crate::host::Host;
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

impl Tunnel {
    /// `Running` when the live peers are those of the file, `Outdated` when they aren't, `Stopped` without a gateway.
    pub fn observe(&self, host: &Host) -> Result<State> {
        let (Some(gateway), _) = compose::containers(host, &self.dir) else { return Ok(State::Stopped) };
        let Some(live) = tunnel::observe(host, gateway.pid)? else { return Ok(State::Stopped) };
        let list = PeerList::read(host, &self.public_conf)?;
        let Some(list) = list else { return Ok(State::Outdated) };
        Ok(if tunnel::difference(&live, &list).is_empty() && gateway.stale.is_empty() {
            State::Running
        } else {
            State::Outdated
        })
    }

    /// `reconfigure`, after a look at whether the container sees the file at all (FN-40).
    pub fn set(&self, host: &mut Host, state: &State) -> Result<()> {
        match state {
            State::Running | State::Outdated => {}
            // The stack takes the tunnel down with it.
            State::Stopped => return Ok(()),
            other => return Err(mismatch(self, other)),
        }
        let (gateway, _) = compose::containers(host, &self.dir);
        let gateway = gateway.ok_or_else(|| {
            Error::unexpected("the gateway doesn't run").hint(format!(
                "see why: cd {} && {} logs gateway",
                self.dir.display(),
                self.compose.command_line()
            ))
        })?;
        if !gateway.stale.is_empty() {
            return Err(stale_error(&gateway.stale, &self.dir, &self.compose));
        }
        let cmd = self.compose.exec_gateway(&self.dir, ["reconfigure"]);
        host.run(&cmd)?.success(format!("'{cmd}'"))?;
        Ok(())
    }

    /// The instance's directory, for messages.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("live tunnel")
    }
}
