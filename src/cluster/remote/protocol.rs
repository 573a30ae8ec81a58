//! The messages between the operator's side and the agent: one JSON value a line, a request and its reply in turn.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::converge::impact::Impact;
use crate::error::{Class, Error};
use crate::message::Message;
use crate::preflight::Finding;
use crate::settings::Settings;
use crate::tunnel::ProbedPeer;
use crate::wireguard::{ListDigest, MembersDigest, PublicKey};

/// The version of these messages. Both sides are the same executable, so another version means a damaged copy.
pub(crate) const PROTOCOL: u32 = 1;

/// The agent's first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// See [`PROTOCOL`].
    pub(crate) protocol: u32,
    /// The program's version.
    pub(crate) version: String,
    /// The host's clock, in milliseconds since 1970.
    pub(crate) now: u64,
}

/// What the operator's side asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    /// How the host stands. Changes nothing.
    Look(Settings),
    /// What a whole install would meet and change. Changes nothing.
    Survey(Settings),
    /// Makes a private key if there is none yet. It never leaves the host (FN-51).
    MakeKey(Settings),
    /// Changes the host to what the settings say, if its list is still the one that was seen (FN-52).
    Apply {
        /// The end state; `peers` is the whole list.
        settings: Settings,
        /// The list that the operator's side has seen; `None` for no list.
        seen: Option<ListDigest>,
        /// How long a change that could cut off the connection may stay unconfirmed.
        guard: Duration,
    },
    /// Makes the next key and keeps it beside the one in use (see [`crate::cluster::rotate`]).
    StageKey(Settings),
    /// As `Apply`; the staged key is taken into use together with the list that has it.
    SwitchKey {
        /// The end state.
        settings: Settings,
        /// The list that the operator's side has seen.
        seen: Option<ListDigest>,
        /// As for `Apply`.
        guard: Duration,
    },
    /// Sent over a new connection: the change that is guarded under this name may stay.
    Confirm(String),
    /// The new key is proven: the key before it is deleted.
    DropOldKey(Settings),
    /// Which of these members answer through the tunnel.
    Probe {
        /// The instance's directory.
        settings: Settings,
        /// The members, by VPN address.
        members: Vec<Ipv4Addr>,
        /// How long to wait for those that don't answer.
        patience: Duration,
        /// Whether to measure the path MTU to those that answer.
        sizes: bool,
    },
    /// Takes back what was changed over this connection.
    TakeBack,
}

/// What the agent answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    /// To `Look`.
    Look(Box<Look>),
    /// To `Survey`.
    Survey(Survey),
    /// To `MakeKey` and `StageKey`: the public half.
    Key(PublicKey),
    /// To `Apply` and `SwitchKey`.
    Applied {
        /// The steps, each in a few words.
        steps: Vec<Message>,
        /// The name to confirm the change by; unconfirmed, it is taken back.
        guarded: Option<String>,
        /// Whether the instance got its VPN address in this run, so that a person has to enter it in the web interface.
        sets_vpn_address: bool,
    },
    /// To `Apply` and `SwitchKey`: the list is not the one that was seen. Nothing has changed.
    Conflict,
    /// To `Apply`: checks forbid it. Nothing has changed.
    Refused(Vec<Finding>),
    /// To `Probe`.
    Probed(Vec<ProbedPeer>),
    /// To requests without a result.
    Done,
    /// To any request that failed.
    Failed(AgentError),
}

/// How a host stands, as far as the cluster is concerned.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Look {
    /// The public half of its key.
    pub(crate) key: Option<PublicKey>,
    /// The public half of the key that a rotation has staged and not finished with.
    pub(crate) staged: Option<PublicKey>,
    /// The text of vpn-public.conf.
    pub(crate) list: Option<String>,
    /// What else in the instance's directory is not as it should be: a step each.
    pub(crate) pending: Vec<Message>,
    /// The running gateway.
    pub(crate) gateway: Option<RunningGateway>,
    /// What the host itself would do with the list that it has. Another list is never less than [`Impact::List`].
    pub(crate) impact: Impact,
    /// Whether the connection to it goes through the VPN itself.
    pub(crate) through_vpn: bool,
}

/// A running gateway.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct RunningGateway {
    /// The list as the container sees it.
    pub(crate) seen: Option<ListDigest>,
    /// Files that the container sees in an outdated copy (FN-40).
    pub(crate) stale: Vec<String>,
    /// Its tunnel, if it has one.
    pub(crate) tunnel: Option<GatewayTunnel>,
}

/// The tunnel of a running gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GatewayTunnel {
    /// The device's own key.
    pub(crate) key: Option<PublicKey>,
    /// The members that the device has, itself among them.
    pub(crate) members: MembersDigest,
    /// What the device lacks of the list on disk, or has beyond it.
    pub(crate) differences: Vec<Message>,
}

/// What a whole install would meet and change.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Survey {
    /// Checks that forbid it or warn.
    pub(crate) findings: Vec<Finding>,
    /// Whether one of them forbids it.
    pub(crate) refused: bool,
    /// The steps, each in a few words.
    pub(crate) steps: Vec<Message>,
    /// What they mean, as the host itself judges it.
    pub(crate) impact: Impact,
}

/// An error on its way to the operator's side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AgentError {
    pub(crate) class: Class,
    /// The whole chain.
    pub(crate) message: Message,
    pub(crate) hints: Vec<Message>,
}

impl From<&Error> for AgentError {
    fn from(error: &Error) -> Self {
        AgentError { class: error.class(), message: error.into(), hints: error.hints().to_vec() }
    }
}

impl From<AgentError> for Error {
    fn from(AgentError { class, message, hints }: AgentError) -> Self {
        hints.into_iter().fold(Error::new(class, message), Error::then)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::Lang;
    use crate::message;

    #[test]
    fn a_digest_that_is_not_one_is_refused_where_it_enters() {
        let reply = |digest: &str| {
            let gateway = RunningGateway { seen: None, ..RunningGateway::default() };
            let look = Look { gateway: Some(gateway), ..Look::default() };
            let line = serde_json::to_string(&Reply::Look(Box::new(look))).unwrap();
            serde_json::from_str::<Reply>(&line.replace(r#""seen":null"#, &format!(r#""seen":"{digest}""#)))
        };
        assert!(reply("aéééé").is_err() && reply("").is_err());
        assert!(reply(&ListDigest::of("x").to_string()).is_ok());
    }

    #[test]
    fn an_error_arrives_with_its_class_and_in_sentences_that_can_be_translated() {
        let error = Error::new(Class::Step, message!("no such file")).hint(message!("apply?")).then(message!("key"));
        let line = serde_json::to_string(&AgentError::from(&error)).unwrap();
        let arrived = Error::from(serde_json::from_str::<AgentError>(&line).unwrap());
        assert_eq!((arrived.class(), arrived.to_string()), (error.class(), error.to_string()));
        assert_eq!(arrived.hints(), error.hints());
        assert_eq!(Lang::Ru.render(&Message::from(&arrived)), "нет такого файла");
    }
}
