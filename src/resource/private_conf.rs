//! vpn-private.conf. Its states name the key by its public half and hold the text around it, so a journal can give
//! back every byte of the file without ever having held the key.

use std::fmt;
use std::path::PathBuf;

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
        Ok(match self.read(host)? {
            Some(conf) => State::Private { public: conf.key.public(), template: conf.template },
            None => State::Absent,
        })
    }

    /// Writes the text around the key it names. That key is either the fresh one or the one already in the file; there
    /// is no other place a key could come from.
    pub fn set(&self, host: &mut Host, state: &State) -> Result<()> {
        let (template, public) = match state {
            State::Private { template, public } => (template, *public),
            State::Absent => return host.remove(&self.path),
            other => return Err(mismatch(self, other)),
        };
        let in_file = self.read(host).ok().flatten().map(|conf| conf.key);
        let key = [self.fresh.clone(), in_file].into_iter().flatten().find(|key| key.public() == public);
        let Some(key) = key else {
            return Err(Error::unexpected(format!(
                "{}: the private key of {public} is not on this host any more",
                self.path.display()
            )));
        };
        let text = PrivateConf::fill(template, &key);
        host.write(&self.path, text.as_bytes(), Mode::SECRET)
    }

    fn read(&self, host: &Host) -> Result<Option<PrivateConf>> {
        let Some(text) = host.read_text(&self.path)? else { return Ok(None) };
        let text = zeroize::Zeroizing::new(text);
        PrivateConf::parse(&text).map(Some).with_context(|| self.path.display().to_string())
    }
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
