//! Files and directories.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Presence, Resource, ResourceKind, Source, State};
use crate::compose::dotenv::Dotenv;
use crate::compose::split_compose_file;
use crate::counted;
use crate::error::Result;
use crate::host::{Host, Mode};
use crate::message;
use crate::message::Message;
use crate::product::PRODUCT;

/// A text file whose whole content is decided here. [`Host::write`] writes a file in place if a container has it mounted,
/// and replaces any other by rename.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// There is no file.
    Absent,
    /// This text.
    Text(String),
}

impl State for Content {
    fn summary(&self) -> Message {
        match self {
            Content::Absent => message!("it is not there"),
            Content::Text(text) => other_text(text),
        }
    }

    fn is_absence(&self) -> bool {
        *self == Content::Absent
    }

    fn text(&self) -> String {
        match self {
            Content::Absent => String::new(),
            Content::Text(text) => text.clone(),
        }
    }
}

/// The summary of a file whose text is not the expected one.
pub(super) fn other_text(text: &str) -> Message {
    counted!("it has {count} byte of other text" | "it has {count} bytes of other text", count = text.len())
}

impl Resource for File {
    type State = Content;
    const KIND: ResourceKind = ResourceKind::File;

    fn noun(&self) -> Message {
        message!("file {path}", path = self.path.display())
    }

    fn paths(&self) -> Vec<&Path> {
        vec![&self.path]
    }

    fn observe(&self, host: &Host) -> Result<Content> {
        Ok(host.read_text(&self.path)?.map_or(Content::Absent, Content::Text))
    }

    fn set(&self, host: &mut Host, state: &Content) -> Result<()> {
        match state {
            Content::Text(text) => host.write(&self.path, text.as_bytes(), Mode::PUBLIC),
            Content::Absent => host.remove(&self.path),
        }
    }

    fn source(&self) -> Option<Source<'_>> {
        Some(Source::File(&self.path))
    }

    /// A compose file that `.env` names is not removed: compose could do nothing any more, neither `down` nor `up`.
    fn must_stay(&self, host: &Host, before: &Content) -> Result<Option<Message>> {
        let (Some(dir), Some(name)) = (self.path.parent(), self.path.file_name()) else { return Ok(None) };
        if !before.is_absence() {
            return Ok(None);
        }
        let env = dir.join(PRODUCT.files.env);
        let Some(bytes) = host.read(&env)? else { return Ok(None) };
        let parsed = Dotenv::parse(&bytes);
        let files = parsed.get(PRODUCT.env.compose_file).unwrap_or_default();
        let separator = parsed.get(PRODUCT.env.compose_separator);
        let is_named = split_compose_file(&files, separator.as_deref()).any(|file| dir.join(file) == dir.join(name));
        let key = PRODUCT.env.compose_file;
        Ok(is_named.then(|| message!("{key} in {path} names it", key, path = env.display())))
    }
}

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// Where it is.
    pub path: PathBuf,
}

impl Resource for Directory {
    type State = Presence;
    const KIND: ResourceKind = ResourceKind::Directory;

    fn noun(&self) -> Message {
        message!("directory {path}", path = self.path.display())
    }

    fn paths(&self) -> Vec<&Path> {
        vec![&self.path]
    }

    fn observe(&self, host: &Host) -> Result<Presence> {
        Ok(Presence::of(host.stat(&self.path)?.is_some()))
    }

    /// Creates it, or removes it if it is empty.
    fn set(&self, host: &mut Host, state: &Presence) -> Result<()> {
        match state {
            Presence::Present => host.create_dir(&self.path, Mode::DIRECTORY),
            Presence::Absent => host.remove_dir(&self.path).map(drop),
        }
    }

    fn must_stay(&self, host: &Host, _before: &Presence) -> Result<Option<Message>> {
        Ok((!host.list(&self.path)?.is_empty()).then(|| message!("there is something in it")))
    }
}
