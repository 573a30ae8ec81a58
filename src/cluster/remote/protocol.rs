//! The messages between the operator's side and the agent: one JSON value a line, a request and its reply in turn.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};

use crate::converge::impact::Impact;
use crate::error::{Class, Context, Error, Result};
use crate::message;
use crate::message::{Message, printable};
use crate::preflight::{self, Finding};
use crate::settings::Settings;
use crate::tunnel::ProbedPeer;
use crate::wireguard::{History, ListDigest, MAX_LIST, MembersDigest, PublicKey};

/// The version of these messages. Both sides are the same executable, so another version means a damaged copy.
pub(crate) const PROTOCOL: u32 = 1;

/// Bytes of the longest line: a list at its bound, whose line ends and quotes take two bytes each, and what is beside it.
pub(crate) const MAX_LINE: usize = 2 * MAX_LIST + (1 << 20);
/// Values in one line. As many empty messages take 180 MiB of memory once they are taken apart; 10,000 probed members are 170,000 values.
const MAX_VALUES: usize = 200_000;

/// Takes a line of the other side apart, unless it is larger than any that this program says.
pub(crate) fn decode<T: DeserializeOwned>(line: &str) -> Result<T> {
    if line.len() > MAX_LINE {
        return Err(too_long());
    }
    let mut within = false;
    let mut escaped = false;
    let mut values = 0;
    for byte in line.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if within => escaped = true,
            b'"' => within = !within,
            b',' | b':' | b'[' | b'{' if !within => values += 1,
            _ => {}
        }
    }
    if values > MAX_VALUES {
        return Err(Error::unexpected(message!("a line with more than {count} values in it", count = MAX_VALUES)));
    }
    serde_json::from_str(line).context(message!("a line that is no message of this program"))
}

/// Messages that are no longer together than a list.
fn messages<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Message>, D::Error> {
    let messages = Vec::<Message>::deserialize(deserializer)?;
    if messages.iter().map(Message::length).sum::<usize>() > MAX_LIST {
        return Err(D::Error::custom("more messages than any host has to send"));
    }
    Ok(messages)
}

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Vec::<String>::deserialize(deserializer)?.iter().map(|name| printable(name)).collect())
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.as_deref().map(printable))
}

/// No more findings than there are checks.
fn findings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Finding>, D::Error> {
    let findings = Vec::<Finding>::deserialize(deserializer)?;
    if findings.len() > preflight::checks().count() {
        return Err(D::Error::custom("more findings than there are checks"));
    }
    Ok(findings)
}

/// The other side sends a line that has no end.
pub(crate) fn too_long() -> Error {
    Error::unexpected(message!("a line of more than {size} MiB", size = MAX_LINE >> 20))
}

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
    /// Makes a private key if there is none yet, or if the one that is there is retired. It never leaves the host (FN-51).
    MakeKey {
        /// The end state.
        settings: Settings,
        /// In addition to what the host remembers.
        history: History,
    },
    /// Changes the host to what the settings say, if its list is still the one that was seen (FN-52).
    Apply {
        /// The end state; `peers` is the whole list.
        settings: Settings,
        /// The list that the operator's side has seen; `None` for no list.
        seen: Option<ListDigest>,
        /// How long a change that could cut off the connection may stay unconfirmed.
        guard: Duration,
        /// What the host is to remember from now on.
        history: History,
    },
    /// What the host is to remember from now on, where its list stays as it is.
    Remember {
        /// The instance's directory.
        settings: Settings,
        /// In addition to what it remembers.
        history: History,
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
        /// As for `Apply`.
        history: History,
    },
    /// Sent over a new connection: the change that is guarded under this name may stay.
    Confirm(String),
    /// All members have the key in use: the keys beside it are deleted, if they still are these.
    DropOldKey {
        /// The instance's directory.
        settings: Settings,
        /// What was seen.
        keys: HostKeys,
    },
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
        #[serde(deserialize_with = "messages")]
        steps: Vec<Message>,
        /// The name to confirm the change by; unconfirmed, it is taken back.
        #[serde(deserialize_with = "name")]
        guarded: Option<String>,
        /// Whether the instance got its VPN address in this run, so that a person has to enter it in the web interface.
        sets_vpn_address: bool,
    },
    /// To `Apply` and `SwitchKey`: the list is not the one that was seen. Nothing has changed.
    Conflict,
    /// To `Apply`: checks forbid it. Nothing has changed.
    Refused(#[serde(deserialize_with = "findings")] Vec<Finding>),
    /// To `Probe`.
    Probed(Vec<ProbedPeer>),
    /// To requests without a result.
    Done,
    /// To any request that failed.
    Failed(AgentError),
}

/// The public halves of a host's keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostKeys {
    /// The one in use.
    pub(crate) used: Option<PublicKey>,
    /// As in [`Look`].
    pub(crate) staged: Option<PublicKey>,
    /// As in [`Look`].
    pub(crate) previous: Option<PublicKey>,
}

impl Look {
    pub(crate) fn keys(&self) -> HostKeys {
        HostKeys { used: self.key, staged: self.staged, previous: self.previous }
    }
}

/// How a host stands, as far as the cluster is concerned.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Look {
    /// The public half of its key.
    pub(crate) key: Option<PublicKey>,
    /// The public half of the key that a rotation has staged and not finished with.
    pub(crate) staged: Option<PublicKey>,
    /// The public half of the key that a rotation has replaced and not deleted yet.
    pub(crate) previous: Option<PublicKey>,
    /// Whether a run is giving it a new key at this moment.
    pub(crate) rotating: bool,
    /// What it remembers of members.
    pub(crate) history: History,
    /// The text of vpn-public.conf.
    pub(crate) list: Option<String>,
    /// What else in the instance's directory is not as it should be: a step each.
    #[serde(deserialize_with = "messages")]
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
    #[serde(deserialize_with = "names")]
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
    #[serde(deserialize_with = "messages")]
    pub(crate) differences: Vec<Message>,
}

/// What a whole install would meet and change.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Survey {
    /// Checks that forbid it or warn.
    #[serde(deserialize_with = "findings")]
    pub(crate) findings: Vec<Finding>,
    /// Whether one of them forbids it.
    pub(crate) refused: bool,
    /// The steps, each in a few words.
    #[serde(deserialize_with = "messages")]
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
    #[serde(deserialize_with = "messages")]
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
    fn a_line_larger_than_any_message_is_refused_before_it_is_taken_apart() {
        let endless = format!("\"{}\"", "x".repeat(MAX_LINE));
        assert!(decode::<Reply>(&endless).unwrap_err().to_string().contains("5 MiB"));
        let many = format!(r#"{{"refused":[{}0]}}"#, "0,".repeat(MAX_VALUES));
        assert!(decode::<Reply>(&many).unwrap_err().to_string().contains("200000"));
        let look = |pending: &str| {
            let line = serde_json::to_string(&Reply::Look(Box::default())).unwrap();
            decode::<Reply>(&line.replace(r#""pending":[]"#, &format!(r#""pending":[{pending}]"#)))
        };
        assert!(look(r#""a \"b\" \\","c""#).is_ok());
        assert!(look(&[format!("\"{}\"", "x".repeat(60 << 10)).as_str(); 40].join(",")).is_err());
    }

    /// What a host says is shown to people as text, and in JSON: no string of a reply may keep what a terminal obeys.
    #[test]
    fn no_string_of_a_reply_keeps_what_a_terminal_obeys() {
        let evil = "a\u{1b}]52;c;x\u{7}\u{9b}2J\u{202e}\r";
        let message = || Message::foreign("EVIL");
        let finding = Finding {
            id: "EVIL".into(),
            outcome: crate::preflight::Severity::Fail,
            title: message(),
            detail: message!("x {reason}", reason = "EVIL"),
            hint: Some(message()),
            note: Some("EVIL".into()),
            ignored: false,
        };
        let tunnel =
            GatewayTunnel { key: None, members: MembersDigest::of(std::iter::empty()), differences: vec![message()] };
        let look = Look {
            pending: vec![message()],
            gateway: Some(RunningGateway { seen: None, stale: vec!["EVIL".into()], tunnel: Some(tunnel) }),
            ..Look::default()
        };
        let error = AgentError { class: Class::Step, message: message(), hints: vec![message()] };
        for reply in [
            Reply::Look(Box::new(look)),
            Reply::Survey(Survey { findings: vec![finding.clone()], steps: vec![message()], ..Survey::default() }),
            Reply::Applied { steps: vec![message()], guarded: Some("EVIL".into()), sets_vpn_address: false },
            Reply::Refused(vec![finding]),
            Reply::Failed(error),
        ] {
            let line = serde_json::to_string(&reply).unwrap();
            assert!(line.contains("EVIL"), "{line}");
            let line = line.replace("EVIL", serde_json::to_string(evil).unwrap().trim_matches('"'));
            let shown = format!("{:?}", decode::<Reply>(&line).unwrap());
            assert!(!shown.contains(r"\u{1b}") && !shown.contains(r"\u{202e}") && !shown.contains(r"\r"), "{shown}");
            assert!(!shown.contains(['\u{1b}', '\u{202e}', '\u{9b}', '\r']), "{shown}");
        }
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
