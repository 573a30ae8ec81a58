//! The kinds of things an instance is made of. A resource is two functions: `observe` says how it stands, `set` makes
//! it stand so. Apply is `set(desired)`, undo is `set(before)`, and one law holds for every kind: after `set(s)`,
//! `s` is met by what `observe()` says.
//!
//! Resources and states go into the journal, so they hold no secret and name everything `set` needs to work from the
//! journal alone.

mod apt_source;
mod dkms;
mod env_key;
mod file;
mod firewall;
mod image;
mod module;
mod packages;
mod private_conf;
mod stack;
mod tunnel;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use apt_source::AptSource;
pub use env_key::EnvKey;
pub use file::{Directory, File};
pub use firewall::FirewallRule;
pub use image::GatewayImage;
pub use module::Module;
pub use packages::Packages;
pub use private_conf::PrivateFile;
pub use stack::Stack;
pub use tunnel::Tunnel;

use crate::error::{Error, Result};
use crate::host::Host;
use crate::wireguard::PublicKey;

/// One thing on the host that can be observed and set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// An apt source.
    AptSource(AptSource),
    /// Installed packages.
    Packages(Packages),
    /// A loaded kernel module.
    Module(Module),
    /// An opened UDP port.
    FirewallRule(FirewallRule),
    /// A directory.
    Directory(Directory),
    /// A text file.
    File(File),
    /// vpn-private.conf.
    PrivateFile(PrivateFile),
    /// One key of `.env`.
    EnvKey(EnvKey),
    /// The default gateway's image.
    GatewayImage(GatewayImage),
    /// The compose stack.
    Stack(Stack),
    /// The live tunnel.
    Tunnel(Tunnel),
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
    /// A `.env` without the key.
    Empty,
    /// A `.env` line, raw.
    Line(String),
    /// vpn-private.conf: the text around the key, and the key's public half.
    Private {
        /// The file's text with the key cut out.
        template: String,
        /// The public half of the key.
        public: PublicKey,
    },
    /// Versions of packages: `None` for one that isn't installed; as a wish, a version means any version.
    Packages(BTreeMap<String, Option<String>>),
    /// A stack or tunnel that doesn't run.
    Stopped,
    /// One that runs, but not as its files say.
    Outdated,
    /// One that runs as its files say.
    Running,
}

/// Passes a call on to whichever kind this is: a new kind is a compile error here until it is named.
macro_rules! each_kind {
    ($resource:expr, $r:ident => $call:expr) => {
        match $resource {
            Resource::AptSource($r) => $call,
            Resource::Packages($r) => $call,
            Resource::Module($r) => $call,
            Resource::FirewallRule($r) => $call,
            Resource::Directory($r) => $call,
            Resource::File($r) => $call,
            Resource::PrivateFile($r) => $call,
            Resource::EnvKey($r) => $call,
            Resource::GatewayImage($r) => $call,
            Resource::Stack($r) => $call,
            Resource::Tunnel($r) => $call,
        }
    };
}

impl Resource {
    /// How it stands now. Reads only.
    pub fn observe(&self, host: &Host) -> Result<State> {
        each_kind!(self, r => r.observe(host))
    }

    /// Makes it stand as `state` says.
    pub fn set(&self, host: &mut Host, state: &State) -> Result<()> {
        each_kind!(self, r => r.set(host, state))
    }

    /// The file it is kept in, if it is kept in one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Resource::File(file) => Some(&file.path),
            Resource::PrivateFile(file) => Some(&file.path),
            Resource::EnvKey(key) => Some(&key.path),
            _ => None,
        }
    }

    /// Why an undo has to leave it.
    pub fn must_stay(&self) -> Option<String> {
        match self {
            Resource::Packages(packages) => packages.must_stay(),
            _ => None,
        }
    }

    /// Whether it is something that runs, made from the other resources.
    pub fn is_live(&self) -> bool {
        matches!(self, Resource::Stack(_) | Resource::Tunnel(_))
    }

    /// Whether it has to be made anew when `other` changes.
    pub fn is_made_from(&self, other: &Resource) -> bool {
        match (self, other) {
            (Resource::Stack(stack), other) => other.shapes_stack_in(&stack.dir),
            (Resource::Tunnel(_), Resource::PrivateFile(_)) => true,
            (Resource::Tunnel(tunnel), Resource::File(file)) => file.path == tunnel.public_conf,
            _ => false,
        }
    }

    /// Whether the containers of the stack in this directory are made from it.
    pub fn shapes_stack_in(&self, dir: &Path) -> bool {
        match self {
            Resource::EnvKey(_) | Resource::GatewayImage(_) => true,
            Resource::File(file) => file.path.starts_with(dir) && file.path.extension().is_some_and(|e| e == "yml"),
            _ => false,
        }
    }

    /// Whether both are of one kind.
    pub fn is_same_kind(&self, other: &Resource) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl fmt::Display for Resource {
    /// A noun phrase: `package wireguard-tools`, `file /srv/mitigator/.env`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        each_kind!(self, r => r.fmt(f))
    }
}

impl State {
    /// Whether something that stands as `observed` is as this wish says.
    pub fn is_met_by(&self, observed: &State) -> bool {
        match (self, observed) {
            // In whatever version: what is there is never upgraded or downgraded.
            (State::Packages(wanted), State::Packages(have)) => {
                wanted.iter().all(|(name, version)| version.is_some() == have.get(name).is_some_and(Option::is_some))
            }
            (wanted, have) => wanted == have,
        }
    }

    /// Its lines, as a difference shows them.
    pub fn text(&self) -> String {
        match self {
            State::Text(text) => text.clone(),
            State::Line(line) => line.clone(),
            State::Private { template, public } => {
                template.replace(crate::wireguard::PLACEHOLDER, &format!("(secret, its public key is {public})"))
            }
            _ => String::new(),
        }
    }

    /// In a few words.
    pub fn summary(&self) -> String {
        match self {
            State::Absent => "it is not there".to_owned(),
            State::Present => "it is there".to_owned(),
            State::Text(text) => format!("it has {} bytes of other text", text.len()),
            State::Empty => "it is not set".to_owned(),
            State::Line(line) => format!("it reads '{line}'"),
            State::Private { public, .. } => format!("it holds the key of {public}"),
            State::Packages(have) => {
                let missing: Vec<&str> = have.iter().filter(|(_, v)| v.is_none()).map(|(n, _)| n.as_str()).collect();
                if missing.is_empty() {
                    "all are installed".into()
                } else {
                    format!("not installed: {}", missing.join(", "))
                }
            }
            State::Stopped => "it does not run".to_owned(),
            State::Outdated => "it runs with an older configuration".to_owned(),
            State::Running => "it runs as its files say".to_owned(),
        }
    }
}

/// A state that doesn't belong to this kind of resource: only a damaged journal can hold one.
fn mismatch(resource: &impl fmt::Display, state: &State) -> Error {
    Error::unexpected(format!("{resource} can't be set to a state of another kind: {}", state.summary()))
}
