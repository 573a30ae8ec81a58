//! One key of compose's `.env`. The other lines belong to the operator and the vendor: every byte of them stays.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{State, mismatch};
use crate::compose::dotenv::Dotenv;
use crate::error::Result;
use crate::host::{Host, Mode};

/// One key of a `.env` file. Its states are raw lines, so that undo gives back quotes, comments and all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvKey {
    /// The `.env` file.
    pub path: PathBuf,
    /// The key.
    pub key: String,
}

impl EnvKey {
    /// `Line` when the key is set, `Empty` when it isn't, `Absent` when there is no file.
    pub fn observe(&self, host: &Host) -> Result<State> {
        let Some(bytes) = host.read(&self.path)? else { return Ok(State::Absent) };
        Ok(Dotenv::parse(&bytes).line(&self.key).map_or(State::Empty, State::Line))
    }

    /// Replaces, adds or removes the line; removes the file when nothing is left of one that wasn't there before.
    pub fn set(&self, host: &mut Host, state: &State) -> Result<()> {
        let line = match state {
            State::Line(line) => Some(line.as_str()),
            State::Absent | State::Empty => None,
            other => return Err(mismatch(self, other)),
        };
        let before = host.read(&self.path)?;
        let mut env = Dotenv::parse(before.as_deref().unwrap_or_default());
        env.set_line(&self.key, line)?;
        let after = env.to_bytes();
        if *state == State::Absent && after.is_empty() {
            return host.remove(&self.path);
        }
        // Its other values may be secrets: a new file is for root alone.
        host.write(&self.path, after, Mode::SECRET)
    }
}

impl fmt::Display for EnvKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.key, self.path.display())
    }
}
