//! What the two sides say to each other: one JSON value a line, a request and its reply in turn.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::converge::impact::Impact;
use crate::error::{Class, Error};
use crate::preflight::Finding;
use crate::settings::Settings;
use crate::tunnel::ProbedPeer;
use crate::wireguard::PublicKey;

/// The version of these messages. Both sides are the same executable, so another one means a damaged copy.
pub const PROTOCOL: u32 = 1;

/// The far side's first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the messages.
    pub protocol: u32,
    /// The program's version.
    pub version: String,
    /// The far side's clock, in milliseconds since 1970.
    pub now: u64,
}

/// What the operator's side asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// How the host stands. Changes nothing.
    Look(Settings),
    /// What a whole install would meet and change. Changes nothing.
    Survey(Settings),
    /// A private key, if there is none yet; it stays where it is made (FN-51).
    MakeKey(Settings),
    /// Make it so, if the list is still the one that was seen (FN-52).
    Apply {
        /// What to make so; `peers` is the whole list.
        settings: Settings,
        /// The digest of the list that the operator's side has seen; `None` for no list.
        seen: Option<String>,
        /// How long the way in may stay unproven, if the change could cut it off.
        guard: Duration,
    },
    /// The key that comes next, made now and kept beside the one in use (see [`crate::cluster::rotate`]).
    StageKey(Settings),
    /// As `Apply`, with the staged key taken into use together with the list that has it.
    SwitchKey {
        /// What to make so.
        settings: Settings,
        /// The digest of the list that the operator's side has seen.
        seen: Option<String>,
        /// As for `Apply`.
        guard: Duration,
    },
    /// Over a new connection: the way in still works, what is guarded under this name may stay.
    Confirm(String),
    /// The new key is proven: the one before it goes for good.
    DropOldKey(Settings),
    /// Which of these members answer through the tunnel.
    Probe {
        /// The instance's directory.
        settings: Settings,
        /// The members, by VPN address.
        members: Vec<Ipv4Addr>,
        /// How long to wait for those that don't.
        patience: Duration,
        /// Whether to find out how large a packet gets to those that do.
        sizes: bool,
    },
    /// Take back what this session has changed.
    TakeBack,
}

/// What the far side answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// To `Look`.
    Look(Box<Look>),
    /// To `Survey`.
    Survey(Survey),
    /// To `MakeKey` and `StageKey`: the public half.
    Key(PublicKey),
    /// To `Apply` and `SwitchKey`.
    Applied {
        /// The steps, each in a few words.
        steps: Vec<String>,
        /// The name to confirm by: without that it is taken back.
        guarded: Option<String>,
    },
    /// To `Apply`: somebody else was faster; the list as it is now.
    Conflict(Option<String>),
    /// To `Apply`: checks forbid it. Nothing has changed.
    Refused(Vec<Finding>),
    /// To `Probe`.
    Probed(Vec<ProbedPeer>),
    /// It is done.
    Done,
    /// It failed.
    Failed(Failure),
}

/// How a host stands, as far as the cluster is concerned.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Look {
    /// The public half of its key.
    pub key: Option<PublicKey>,
    /// The public half of the key that a rotation has staged and not finished with.
    pub staged: Option<PublicKey>,
    /// The text of vpn-public.conf.
    pub list: Option<String>,
    /// What else in the instance's directory is not as it should be: a step each.
    pub pending: Vec<String>,
    /// The running gateway.
    pub gateway: Option<Gateway>,
    /// What the host itself would do with the list that it has. Another list is never less than [`Impact::List`].
    pub impact: Impact,
    /// Whether it was reached through the VPN itself.
    pub through_vpn: bool,
}

/// A running gateway.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Gateway {
    /// SHA-256 of the list as the container sees it.
    pub seen: Option<String>,
    /// Files that it sees in an outdated copy (FN-40).
    pub stale: Vec<String>,
    /// Its tunnel.
    pub tunnel: Option<Tunnel>,
}

/// A live tunnel.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tunnel {
    /// The device's own key.
    pub key: Option<PublicKey>,
    /// SHA-256 of the members that the device has, itself among them; see [`crate::tunnel::digest`].
    pub members: String,
    /// What the device lacks of the list on disk, or has beyond it.
    pub differences: Vec<String>,
}

/// What a whole install would meet and change.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Survey {
    /// Checks that forbid it or warn.
    pub findings: Vec<Finding>,
    /// Whether one of them forbids it.
    pub refused: bool,
    /// The steps, each in a few words.
    pub steps: Vec<String>,
    /// What they mean, as the host itself judges it.
    pub impact: Impact,
}

/// A failure on its way over the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The exit code of its class.
    pub exit: u8,
    /// What failed.
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let hint = error.way_out();
        Failure { exit: error.class().exit_code(), message: error.to_string(), hint }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        const CLASSES: [Class; 6] =
            [Class::Input, Class::Refused, Class::Reboot, Class::Unproven, Class::Step, Class::Locked];
        let class = CLASSES.into_iter().find(|class| class.exit_code() == failure.exit);
        let error = Error::new(class.unwrap_or(Class::Unexpected), failure.message);
        match failure.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}
