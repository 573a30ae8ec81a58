//! The kinds of things an instance is made of. A resource is two functions: `observe` says how it stands, `set` makes
//! it stand so. Apply is `set(desired)`, undo is `set(before)`, and one law holds for every kind: after `set(s)`,
//! `observe()` is `s`.
//!
//! Resources and states go into the journal, so they hold no secret and name everything `set` needs to work from the
//! journal alone.

mod firewall;
mod image;
mod module;
mod packages;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use firewall::FirewallRule;
pub use image::GatewayImage;
pub use module::Module;
pub use packages::Packages;

use crate::error::{Error, Result};
use crate::host::Host;
use crate::wireguard::PublicKey;

/// One thing on the host that can be observed and set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// Installed packages.
    Packages(Packages),
    /// A loaded kernel module.
    Module(Module),
    /// An opened UDP port.
    FirewallRule(FirewallRule),
    /// The default gateway's image.
    GatewayImage(GatewayImage),
}

/// How a resource stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not there.
    Absent,
    /// There, and there is no more to say: a directory, a loaded module, an opened port.
    Present,
    /// A file's text.
    Text(String),
    /// A `.env` line, raw.
    Line(String),
    /// vpn-private.conf: the text around the key, and the key's public half.
    Private {
        /// The file's text with the key cut out.
        template: String,
        /// The public half of the key.
        public: PublicKey,
    },
    /// Versions of packages; `None` for one that isn't installed.
    Packages(BTreeMap<String, Option<String>>),
    /// The compose stack.
    Stack(StackState),
}

/// How the compose stack stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StackState {
    /// No container of it runs.
    Down,
    /// It runs, with an older configuration than the files say.
    Stale,
    /// It runs as the files say.
    Current,
}

impl State {
    /// Whether nothing has to be done to get from this state to `wanted`. Packages are compared by presence: any
    /// version will do (see [`Packages`]).
    pub fn meets(&self, wanted: &State) -> bool {
        match (self, wanted) {
            (State::Packages(seen), State::Packages(wanted)) => {
                wanted.iter().all(|(name, version)| seen.get(name).is_some_and(|v| v.is_some()) == version.is_some())
            }
            (seen, wanted) => seen == wanted,
        }
    }
}

impl Resource {
    /// How it stands now. Reads only.
    pub fn observe(&self, host: &Host) -> Result<State> {
        match self {
            Resource::Packages(r) => r.observe(host),
            Resource::Module(r) => r.observe(host),
            Resource::FirewallRule(r) => r.observe(host),
            Resource::GatewayImage(r) => r.observe(host),
        }
    }

    /// Makes it stand as `state` says.
    pub fn set(&self, host: &mut Host, state: &State) -> Result<()> {
        match self {
            Resource::Packages(r) => r.set(host, state),
            Resource::Module(r) => r.set(host, state),
            Resource::FirewallRule(r) => r.set(host, state),
            Resource::GatewayImage(r) => r.set(host, state),
        }
    }
}

impl fmt::Display for Resource {
    /// A noun phrase: `package wireguard-tools`, `file /srv/mitigator/.env`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Packages(r) => r.fmt(f),
            Resource::Module(r) => r.fmt(f),
            Resource::FirewallRule(r) => r.fmt(f),
            Resource::GatewayImage(r) => r.fmt(f),
        }
    }
}

/// A state that doesn't belong to this kind of resource: only a damaged journal can hold one.
fn mismatch(resource: &impl fmt::Display, state: &State) -> Error {
    Error::unexpected(format!("{resource} can't be set to {state:?}"))
}
