//! The default gateway's image in the Docker daemon.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{State, mismatch};
use crate::error::{Error, Result};
use crate::gateway::image::{self, Image, Ingredients};
use crate::host::{Cmd, Host};

/// An image made from the running executable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayImage {
    /// Its name and tag, which name the executable.
    pub reference: String,
    /// Whether wireguard-go is in it.
    pub userspace: bool,
}

impl GatewayImage {
    /// The image that the executable with this digest makes.
    pub fn of_executable(digest: &str, userspace: bool) -> Self {
        GatewayImage { reference: image::reference(digest, userspace), userspace }
    }

    /// `Present` when the daemon has it. The tag names the executable, so there is no more to compare.
    pub fn observe(&self, host: &Host) -> Result<State> {
        let cmd = Cmd::new("docker").args(["image", "ls", "--quiet", &self.reference]);
        let listed = host.query(&cmd)?.success(format!("'{cmd}'"))?;
        Ok(if listed.stdout.trim().is_empty() { State::Absent } else { State::Present })
    }

    /// `docker load`, or `docker image rm`.
    pub fn set(&self, host: &mut Host, state: &State) -> Result<()> {
        let cmd = match state {
            State::Present => {
                Cmd::new("docker").arg("load").stdin(self.archive(host)?).deadline(Duration::from_secs(300))
            }
            State::Absent if self.observe(host)? == State::Absent => return Ok(()),
            State::Absent => Cmd::new("docker").args(["image", "rm", &self.reference]),
            other => return Err(mismatch(self, other)),
        };
        host.run(&cmd)?.success(format!("'{cmd}'")).map(drop)
    }

    fn archive(&self, host: &Host) -> Result<Vec<u8>> {
        let image = Image::new(host, &Ingredients::of_this_host(host, self.userspace)?)?;
        if image.reference() != self.reference {
            return Err(Error::unexpected(format!(
                "this executable makes the image {}, not {}: it was replaced since the plan was made",
                image.reference(),
                self.reference
            ))
            .hint("run it again: mitigator-vpn install"));
        }
        let mut archive = Vec::new();
        image.write(&mut archive)?;
        Ok(archive)
    }
}

impl fmt::Display for GatewayImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "image {}", self.reference)
    }
}
