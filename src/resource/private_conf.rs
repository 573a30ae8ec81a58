//! vpn-private.conf. Its states name the key by its public half and hold the text around it, so a journal can give
//! back every byte of the file without ever having held the key.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{State, mismatch};
use crate::error::{Context, Error, Result};
use crate::host::{Host, Mode};
use crate::wireguard::{PrivateConf, PrivateKey};

/// The private file of an instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PrivateFile {
    /// Where it is.
    pub path: PathBuf,
    /// A key made in this run, not written yet. It lives in memory only.
    #[serde(skip)]
    pub fresh: Option<PrivateKey>,
}

impl PrivateFile {
    /// `Private`, or `Absent`.
    pub fn observe(&self, host: &Host) -> Result<State> {
        Ok(match read(host, &self.path)? {
            Some(conf) => State::Private { public: conf.key.public(), template: conf.template },
            None => State::Absent,
        })
    }

    /// Where a rotation keeps the key that comes next, until it is in use.
    pub fn next(&self) -> PathBuf {
        self.path.with_extension("conf.next")
    }

    /// Where a rotation keeps the key that was in use, until the new one is proven.
    pub fn previous(&self) -> PathBuf {
        self.path.with_extension("conf.previous")
    }

    /// Writes the text around the key it names. That key is the fresh one, the one already in the file, or one that a
    /// rotation keeps; there is no other place a key could come from.
    pub fn set(&self, host: &mut Host, state: &State) -> Result<()> {
        let (template, public) = match state {
            State::Private { template, public } => (template, *public),
            State::Absent => {
                return [self.next(), self.previous(), self.path.clone()].iter().try_for_each(|path| host.remove(path));
            }
            other => return Err(mismatch(self, other)),
        };
        let in_file = |path: PathBuf| read(host, &path).ok().flatten().map(|conf| conf.key);
        let kept = [self.path.clone(), self.next(), self.previous()].into_iter().filter_map(in_file);
        let key = self.fresh.clone().into_iter().chain(kept).find(|key| key.public() == public);
        let Some(key) = key else {
            return Err(Error::unexpected(format!(
                "{}: the private key of {public} is not on this host any more",
                self.path.display()
            )));
        };
        let text = PrivateConf::fill(template, &key);
        host.write(&self.path, text.as_bytes(), Mode::SECRET)
    }
}

fn read(host: &Host, path: &Path) -> Result<Option<PrivateConf>> {
    let Some(text) = host.read_text(path)? else { return Ok(None) };
    let text = zeroize::Zeroizing::new(text);
    PrivateConf::parse(&text).map(Some).with_context(|| path.display().to_string())
}

// The fresh key is no part of which file this is.
impl PartialEq for PrivateFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for PrivateFile {}

impl fmt::Display for PrivateFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file {}", self.path.display())
    }
}
