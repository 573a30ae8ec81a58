//! Whether a path could be written, asked without writing it.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{AccessFlags, faccessat};
use serde::{Deserialize, Serialize};

use super::Host;
use crate::error::{Context, Result};
use crate::message;
use crate::message::Message;

/// A path that can't be written, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unwritable {
    /// As a person on this machine would type it.
    pub path: PathBuf,
    /// What the system says.
    pub reason: Obstacle,
}

/// What keeps a path from being written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Obstacle {
    /// Its file system is mounted read-only.
    ReadOnly,
    /// The permissions don't let this user.
    Permission,
    /// It has the attribute that `lsattr` shows as `i`.
    Immutable,
    /// The system's own words.
    Other(String),
}

impl Unwritable {
    /// What a report says of it.
    pub(crate) fn message(&self) -> Message {
        let path = self.path.display();
        match &self.reason {
            Obstacle::ReadOnly => message!("{path} is on a read-only file system", path),
            Obstacle::Permission => message!("{path} can't be written: permission denied", path),
            Obstacle::Immutable => message!("{path} is marked immutable", path),
            Obstacle::Other(words) => message!("{path} can't be written: {words}", path, words),
        }
    }
}

impl Host {
    /// Why `path`, or the nearest existing directory above it, can't be written; `None` when it can.
    pub(crate) fn why_unwritable(&self, path: &Path) -> Result<Option<Unwritable>> {
        let existing = |path| self.existing(path).map(|place| place.map(|place| (path, place))).transpose();
        let Some(nearest) = path.ancestors().find_map(existing) else { return Ok(None) };
        let (path, place) = nearest.with_context(|| message!("looking at {path}", path = self.display(path)))?;
        let reason = match faccessat(place.dir(), place.name(), AccessFlags::W_OK, AtFlags::empty()) {
            Ok(()) => return Ok(None),
            Err(Errno::EROFS) => Obstacle::ReadOnly,
            Err(Errno::EACCES) => Obstacle::Permission,
            Err(Errno::EPERM) => Obstacle::Immutable,
            Err(error) => Obstacle::Other(error.desc().to_lowercase()),
        };
        Ok(Some(Unwritable { path: self.display(path).into(), reason }))
    }
}
