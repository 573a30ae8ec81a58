//! The kinds of things that an instance consists of. A kind is one file with a state type of its own and two functions:
//! `observe` returns the current state, `set` brings it about. Apply is `set(desired)`, undo is `set(before)`. One law
//! holds for every kind: after `set(s)`, `observe()` meets `s`.
//!
//! Resources and states are written to the journal. They hold no secret, and everything that `set` needs.

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
mod state;
mod step;
mod tunnel;

#[cfg(test)]
mod law;

use std::fmt;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use apt_source::{AptSource, SourceFile};
pub use env_key::{EnvKey, EnvLine};
pub use file::{Content, Directory, File};
pub use firewall::FirewallRule;
pub use image::GatewayImage;
pub use module::Module;
pub use packages::{Packages, Versions};
pub use private_conf::{PrivateContent, PrivateFile};
pub use stack::{Stack, StackRestart};
pub use state::{Liveness, Opening, Presence, State};
pub use step::{Goal, Transition, Verb};
pub use tunnel::Tunnel;

use crate::error::Result;
use crate::host::Host;
use crate::message::Message;

/// One kind of thing on a host that can be observed and set.
pub trait Resource: Clone + fmt::Debug + PartialEq + Serialize + DeserializeOwned {
    /// The states it can be in.
    type State: State;
    /// Its name in the closed list.
    const KIND: ResourceKind;

    /// What it is called: `package wireguard-tools`, `file /srv/mitigator/.env`.
    fn noun(&self) -> Message;

    /// The files and directories that it is, or is in.
    fn paths(&self) -> Vec<&Path>;

    /// Its current state. Reads only.
    fn observe(&self, host: &Host) -> Result<Self::State>;

    /// Brings this state about.
    fn set(&self, host: &mut Host, state: &Self::State) -> Result<()>;

    /// The verb for a change from one state to another.
    fn verb(&self, before: &Self::State, _after: &Self::State) -> Verb {
        if before.is_absence() { Verb::Create } else { Verb::Change }
    }

    /// What other resources may be made from, if this is such a thing.
    fn source(&self) -> Option<Source<'_>> {
        None
    }

    /// Whether it has to be made again when `source` changes.
    fn is_made_from(&self, _source: Source<'_>) -> bool {
        false
    }

    /// Whether it is something that runs, made from other resources. Undo stops it before those are removed, or restarts
    /// it after they are restored, whatever has changed since.
    fn is_live(&self) -> bool {
        false
    }

    /// The kind with which it starts and stops. Where a resource of that kind is set, it needs no step of its own.
    fn comes_with(&self) -> Option<ResourceKind> {
        None
    }

    /// Whether the observed state is complete. If not, a planned step is carried out even if its state is already met.
    fn is_observed_whole(&self) -> bool {
        true
    }

    /// Whether the steps after it can be planned only once it is set.
    fn reveals_others(&self) -> bool {
        false
    }

    /// Whether setting it could cut off connections to the host.
    fn may_cut_connections(&self) -> bool {
        false
    }

    /// The packages it asks for.
    fn packages(&self) -> &[String] {
        &[]
    }

    /// The resource with what else setting it would bring along, as far as that is known without a change.
    fn preview(&self, _host: &Host) -> Result<Self> {
        Ok(self.clone())
    }

    /// As [`Resource::preview`], just before it is set, when package lists may be fetched. The result goes into the journal,
    /// so that undo knows everything that came along.
    fn expand(&self, _host: &mut Host, after: &Self::State) -> Result<(Self, Self::State)> {
        Ok((self.clone(), after.clone()))
    }

    /// Why undo must not go back to `_before`, if there is a reason.
    fn must_stay(&self, _host: &Host, _before: &Self::State) -> Result<Option<Message>> {
        Ok(None)
    }
}

/// What a live resource can be made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'r> {
    /// A file.
    File(&'r Path),
    /// The gateway's image.
    Image,
}

/// The closed list of kinds, with their words in journal and documents. Everything that differs by kind is a method of
/// [`Resource`]: a new kind is one file, and one line here.
macro_rules! kinds {
    ($d:tt $($kind:ident $word:literal,)*) => {
        /// Which kind of resource.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "each is the type of this name")]
        pub enum ResourceKind {
            $(#[serde(rename = $word)] $kind,)*
        }

        impl ResourceKind {
            #[cfg(test)]
            pub(crate) const ALL: &[ResourceKind] = &[$(ResourceKind::$kind),*];

            /// Its word in journal and documents.
            pub(crate) fn word(self) -> &'static str {
                match self {
                    $(ResourceKind::$kind => $word,)*
                }
            }
        }

        /// A resource, and how it should stand.
        #[derive(Clone, Debug, PartialEq)]
        #[expect(missing_docs, reason = "each is of the kind of this name")]
        pub enum Wanted {
            $($kind(Goal<$kind>),)*
        }

        /// One change: a resource, how it stands before it and after it.
        #[derive(Clone, Debug, PartialEq)]
        #[expect(missing_docs, reason = "each is of the kind of this name")]
        pub enum Step {
            $($kind(Transition<$kind>),)*
        }

        $(
            impl From<Goal<$kind>> for Wanted {
                fn from(goal: Goal<$kind>) -> Self {
                    Wanted::$kind(goal)
                }
            }

            impl From<Transition<$kind>> for Step {
                fn from(transition: Transition<$kind>) -> Self {
                    Step::$kind(transition)
                }
            }
        )*

        /// Evaluates an expression for the kind of a [`Wanted`] or [`Step`]: `each_kind!(Step, step, t => t.noun())`.
        macro_rules! each_kind {
            ($d of:ident, $d value:expr, $d name:ident => $d call:expr) => {
                match $d value {
                    $($d of::$kind($d name) => $d call,)*
                }
            };
        }
        pub(crate) use each_kind;

        /// The step of this kind whose parts are in `raw`.
        fn step_of_kind(kind: ResourceKind, raw: step::RawStep) -> serde_json::Result<Step> {
            match kind {
                $(ResourceKind::$kind => raw.typed::<$kind>().map(Step::$kind),)*
            }
        }
    };
}

kinds! { $
    AptSource "apt-source",
    Packages "packages",
    Module "module",
    FirewallRule "firewall-rule",
    Directory "directory",
    File "file",
    PrivateFile "private-file",
    EnvKey "env-key",
    GatewayImage "gateway-image",
    Stack "stack",
    Tunnel "tunnel",
}
