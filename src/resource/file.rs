//! Files and directories.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{State, mismatch};
use crate::error::Result;
use crate::host::{Host, Mode};

/// A text file whose whole content is ours to decide. One that a container has mounted is written in place, any other
/// replaced by rename: [`Host::write`] chooses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
}

impl File {
    /// `Text`, or `Absent`.
    pub fn observe(&self, host: &Host) -> Result<State> {
        Ok(host.read_text(&self.path)?.map_or(State::Absent, State::Text))
    }

    /// Writes or removes it.
    pub fn set(&self, host: &mut Host, state: &State) -> Result<()> {
        match state {
            State::Text(text) => host.write(&self.path, text.as_bytes(), Mode::PUBLIC),
            State::Absent => host.remove(&self.path),
            other => Err(mismatch(self, other)),
        }
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file {}", self.path.display())
    }
}

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// Where it is.
    pub path: PathBuf,
}

impl Directory {
    /// `Present`, or `Absent`.
    pub fn observe(&self, host: &Host) -> Result<State> {
        Ok(if host.stat(&self.path)?.is_some() { State::Present } else { State::Absent })
    }

    /// Makes it, or removes it if it is empty: what others put into it stays.
    pub fn set(&self, host: &mut Host, state: &State) -> Result<()> {
        match state {
            State::Present => host.create_dir(&self.path, Mode::DIRECTORY),
            State::Absent => host.remove_dir(&self.path).map(drop),
            other => Err(mismatch(self, other)),
        }
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "directory {}", self.path.display())
    }
}
