//! One key of compose's `.env`. The other lines belong to the operator and the vendor: every byte of them stays.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Resource, ResourceKind, Source, State};
use crate::compose::dotenv::Dotenv;
use crate::error::Result;
use crate::host::{Host, Mode};
use crate::message;
use crate::message::Message;

/// One key of a `.env` file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvKey {
    /// The `.env` file.
    pub path: PathBuf,
    /// The key.
    pub key: String,
}

/// What a `.env` says of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnvLine {
    /// There is no file.
    Absent,
    /// There is a file without the key.
    Empty,
    /// This line as it is, so that undo restores quotes and comments.
    Line(String),
}

impl State for EnvLine {
    fn summary(&self) -> Message {
        match self {
            EnvLine::Absent => message!("it is not there"),
            EnvLine::Empty => message!("it is not set"),
            EnvLine::Line(line) => message!("it reads '{line}'", line),
        }
    }

    fn is_absence(&self) -> bool {
        match self {
            EnvLine::Absent | EnvLine::Empty => true,
            EnvLine::Line(_) => false,
        }
    }

    fn text(&self) -> String {
        match self {
            EnvLine::Absent | EnvLine::Empty => String::new(),
            EnvLine::Line(line) => line.clone(),
        }
    }
}

impl Resource for EnvKey {
    type State = EnvLine;
    const KIND: ResourceKind = ResourceKind::EnvKey;

    fn noun(&self) -> Message {
        message!("{key} in {path}", key = &self.key, path = self.path.display())
    }

    fn paths(&self) -> Vec<&Path> {
        vec![&self.path]
    }

    fn observe(&self, host: &Host) -> Result<EnvLine> {
        let Some(bytes) = host.read(&self.path)? else { return Ok(EnvLine::Absent) };
        Ok(Dotenv::parse(&bytes).line(&self.key).map_or(EnvLine::Empty, EnvLine::Line))
    }

    /// Replaces, adds or removes the line; removes the file when nothing is left of one that wasn't there before.
    fn set(&self, host: &mut Host, state: &EnvLine) -> Result<()> {
        let line = match state {
            EnvLine::Line(line) => Some(line.as_str()),
            EnvLine::Absent | EnvLine::Empty => None,
        };
        let before = host.read(&self.path)?;
        let mut env = Dotenv::parse(before.as_deref().unwrap_or_default());
        env.set_line(&self.key, line)?;
        let after = env.to_bytes();
        if *state == EnvLine::Absent && after.is_empty() {
            return host.remove(&self.path);
        }
        // Its other values may be secrets: a new file is for root alone.
        host.write(&self.path, after, Mode::SECRET)
    }

    fn source(&self) -> Option<Source<'_>> {
        Some(Source::File(&self.path))
    }
}
