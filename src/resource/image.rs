//! The default gateway's image in the Docker daemon.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Presence, Resource, ResourceKind, Source};
use crate::error::{Error, Result};
use crate::gateway::image::{self, Image, Ingredients};
use crate::host::{Cmd, Host};
use crate::message;
use crate::message::Message;

/// How long loading it and flushing the disk may take.
const PATIENCE: Duration = Duration::from_secs(300);

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

    /// Docker records an image before the files of its layer are on the disk; after a power cut they exist and are empty. So
    /// the image gets its name only after they have been flushed.
    fn load(&self, host: &mut Host) -> Result<()> {
        let unflushed = self.unflushed();
        let archive = self.archive(host, &unflushed)?;
        for cmd in [
            Cmd::new("docker").arg("load").stdin(archive).deadline(PATIENCE),
            Cmd::new("sync").deadline(PATIENCE),
            Cmd::new("docker").args(["tag", &unflushed, &self.reference]),
        ] {
            host.run(&cmd)?.success(format!("'{cmd}'"))?;
        }
        remove(host, &unflushed)
    }

    fn unflushed(&self) -> String {
        format!("{}-unflushed", self.reference)
    }

    fn archive(&self, host: &Host, name: &str) -> Result<Vec<u8>> {
        let image = Image::new(host, &Ingredients::of_this_host(host, self.userspace)?)?;
        if image.reference() != self.reference {
            return Err(Error::unexpected(message!(
                "this executable makes the image {one}, not {other}: it was replaced since the plan was made",
                one = image.reference(),
                other = &self.reference
            ))
            .hint(message!("run it again")));
        }
        let mut archive = Vec::new();
        image.write(&mut archive, name)?;
        Ok(archive)
    }
}

impl Resource for GatewayImage {
    type State = Presence;
    const KIND: ResourceKind = ResourceKind::GatewayImage;

    fn noun(&self) -> Message {
        message!("image {name}", name = &self.reference)
    }

    fn paths(&self) -> Vec<&std::path::Path> {
        Vec::new()
    }

    /// The tag names the executable, so an image with this tag is the right one.
    fn observe(&self, host: &Host) -> Result<Presence> {
        is_there(host, &self.reference).map(Presence::of)
    }

    /// `docker load`, or `docker image rm`.
    fn set(&self, host: &mut Host, state: &Presence) -> Result<()> {
        // An image with this name was not flushed to disk: loading it again would keep its torn files.
        remove(host, &self.unflushed())?;
        match state {
            Presence::Present => self.load(host),
            Presence::Absent => remove(host, &self.reference),
        }
    }

    fn source(&self) -> Option<Source<'_>> {
        Some(Source::Image)
    }
}

fn is_there(host: &Host, reference: &str) -> Result<bool> {
    let cmd = Cmd::new("docker").args(["image", "ls", "--quiet", reference]);
    let listed = host.query(&cmd)?.success(format!("'{cmd}'"))?;
    Ok(!listed.stdout.trim().is_empty())
}

/// Removes the name; Docker removes an image with its last name.
fn remove(host: &mut Host, reference: &str) -> Result<()> {
    if !is_there(host, reference)? {
        return Ok(());
    }
    let cmd = Cmd::new("docker").args(["image", "rm", reference]);
    host.run(&cmd)?.success(format!("'{cmd}'")).map(drop)
}
