//! vpn-private.conf. Its states hold the public half of the key and the text around it: the journal can restore every byte
//! of the file without holding the key.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Resource, ResourceKind, Source, State};
use crate::error::{Context, Error, Result};
use crate::host::{Host, Mode};
use crate::message;
use crate::message::Message;
use crate::wireguard::{PLACEHOLDER, PrivateConf, PrivateKey, PublicKey};

/// The private file of an instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PrivateFile {
    /// Where it is.
    pub path: PathBuf,
    /// A key made in this run, not written yet. It lives in memory only.
    #[serde(skip)]
    pub fresh: Option<PrivateKey>,
}

/// What vpn-private.conf holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrivateContent {
    /// There is no file.
    Absent,
    /// A key, and a text around it.
    Private {
        /// The file's text with the key cut out.
        template: String,
        /// The public half of the key.
        public: PublicKey,
    },
}

impl State for PrivateContent {
    fn summary(&self) -> Message {
        match self {
            PrivateContent::Absent => message!("it is not there"),
            PrivateContent::Private { public, .. } => message!("it holds the key of {key}", key = public.to_string()),
        }
    }

    fn is_absence(&self) -> bool {
        *self == PrivateContent::Absent
    }

    fn text(&self) -> String {
        match self {
            PrivateContent::Absent => String::new(),
            PrivateContent::Private { template, public } => {
                template.replace(PLACEHOLDER, &format!("(secret, its public key is {public})"))
            }
        }
    }
}

impl PrivateFile {
    /// Where a rotation keeps the key that comes next, until it is in use.
    pub(crate) fn next(&self) -> PathBuf {
        self.path.with_extension("conf.next")
    }

    /// Where a rotation keeps the key that was in use, until the new one is proven.
    pub(crate) fn previous(&self) -> PathBuf {
        self.path.with_extension("conf.previous")
    }
}

impl Resource for PrivateFile {
    type State = PrivateContent;
    const KIND: ResourceKind = ResourceKind::PrivateFile;

    fn noun(&self) -> Message {
        message!("file {path}", path = self.path.display())
    }

    fn paths(&self) -> Vec<&Path> {
        vec![&self.path]
    }

    fn observe(&self, host: &Host) -> Result<PrivateContent> {
        Ok(match read(host, &self.path)? {
            Some(conf) => PrivateContent::Private { public: conf.key.public(), template: conf.template },
            None => PrivateContent::Absent,
        })
    }

    /// Writes the text with the key whose public half the state names: the fresh one, the one in the file, or one that a
    /// rotation keeps beside it.
    fn set(&self, host: &mut Host, state: &PrivateContent) -> Result<()> {
        let (template, public) = match state {
            PrivateContent::Private { template, public } => (template, *public),
            PrivateContent::Absent => {
                return [self.next(), self.previous(), self.path.clone()].iter().try_for_each(|path| host.remove(path));
            }
        };
        let in_file = |path: PathBuf| read(host, &path).ok().flatten().map(|conf| conf.key);
        let kept = [self.path.clone(), self.next(), self.previous()].into_iter().filter_map(in_file);
        let key = self.fresh.clone().into_iter().chain(kept).find(|key| key.public() == public);
        let Some(key) = key else {
            return Err(Error::unexpected(message!(
                "{file}: the private key of {key} is not on this host any more",
                file = self.path.display(),
                key = public.to_string()
            )));
        };
        let text = PrivateConf::fill(template, &key);
        host.write(&self.path, text.as_bytes(), Mode::SECRET)
    }

    fn source(&self) -> Option<Source<'_>> {
        Some(Source::File(&self.path))
    }
}

fn read(host: &Host, path: &Path) -> Result<Option<PrivateConf>> {
    let Some(text) = host.read_text(path)? else { return Ok(None) };
    let text = zeroize::Zeroizing::new(text);
    PrivateConf::parse(&text).map(Some).with_context(|| Message::foreign(path.display()))
}

// The fresh key doesn't count: it is not what identifies the file.
impl PartialEq for PrivateFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for PrivateFile {}
