//! The documents: what each command has to say, as data. [`super::schema`] publishes their shape.

use std::net::{Ipv4Addr, SocketAddr};

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use super::SCHEMA;
use crate::converge::impact::Outage;
use crate::converge::plan::Plan;
use crate::converge::standing::Seen;
use crate::converge::undo::{Fate, Undone};
use crate::facts::Facts;
use crate::lang::Lang;
use crate::message;
use crate::message::{Message, printable};
use crate::preflight::{Finding, Severity};
use crate::resource::Step;
use crate::tunnel::ProbedPeer;
use crate::wireguard::device::Implementation;
use crate::wireguard::{ListDigest, Peer, PeerList, PublicKey};

/// A result that can be shown to people and to programs.
pub trait Document: Serialize {
    /// For people, in their language.
    fn text(&self, lang: Lang) -> String;
}

/// Which host it is about.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct HostId {
    /// os-release `ID`.
    pub id: String,
    /// os-release `VERSION_ID`.
    pub version: String,
    /// `uname -r`; empty for a mounted tree.
    pub kernel: String,
}

impl From<&Facts> for HostId {
    fn from(facts: &Facts) -> Self {
        HostId { id: facts.os.id.clone(), version: facts.os.version_id.clone(), kernel: facts.kernel.release.clone() }
    }
}

/// A message in a document: to programs it is the English string, to people the sentence in their language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub Message);

impl<M: Into<Message>> From<M> for Text {
    fn from(message: M) -> Self {
        Text(message.into())
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        String::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

/// The result of one check, ready to print.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Finding")]
pub struct FindingDocument {
    /// The check's id.
    pub id: String,
    /// The verdict, after `--ignore`.
    pub outcome: Severity,
    /// The promise that was checked.
    pub title: Text,
    /// What was seen.
    pub detail: Text,
    /// What to type; empty when it passed.
    pub hint: Text,
    /// The field note.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
    /// Whether this was a failure that `--ignore` turned into a warning.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub ignored: bool,
}

impl From<&Finding> for FindingDocument {
    fn from(finding: &Finding) -> Self {
        let Finding { id, outcome, title, detail, hint, note, ignored } = finding.clone();
        let hint = hint.unwrap_or(Message::fixed(""));
        let (title, detail, hint) = (Text(title), Text(detail), Text(hint));
        FindingDocument { id, outcome, title, detail, hint, note, ignored }
    }
}

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All is well.
    Pass,
    /// It works, with reservations.
    Warn,
    /// It doesn't.
    Fail,
}

/// `preflight --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PreflightDocument {
    /// The version of this document.
    pub schema: u32,
    /// Which host.
    pub host: HostId,
    /// One finding for each check.
    pub findings: Vec<FindingDocument>,
    /// The worst of them.
    pub outcome: Outcome,
    /// Whether people are shown only what stands in the way or worries.
    #[serde(skip)]
    pub brief: bool,
}

impl PreflightDocument {
    /// From what the checks found.
    pub fn new(facts: &Facts, findings: &[Finding]) -> Self {
        let findings: Vec<FindingDocument> = findings.iter().map(FindingDocument::from).collect();
        let outcome = match findings.iter().map(|f| f.outcome).max() {
            Some(Severity::Fail) => Outcome::Fail,
            Some(Severity::Warn) => Outcome::Warn,
            _ => Outcome::Pass,
        };
        PreflightDocument { schema: SCHEMA, host: facts.into(), findings, outcome, brief: false }
    }
}

/// How many findings there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Failures.
    pub fail: usize,
    /// Warnings.
    pub warn: usize,
    /// What can't be known here.
    pub unknown: usize,
    /// What is as it should be.
    pub pass: usize,
}

impl Counts {
    /// Of these findings.
    pub fn of(findings: &[FindingDocument]) -> Self {
        let count = |verdict| findings.iter().filter(|f| f.outcome == verdict).count();
        Counts {
            fail: count(Severity::Fail),
            warn: count(Severity::Warn),
            unknown: count(Severity::Unknown),
            pass: count(Severity::Pass),
        }
    }
}

/// One step of a plan.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StepDocument {
    /// The kind of resource: `file`, `env-key`, `packages`, `stack`.
    pub kind: String,
    /// Which one: `file /srv/mitigator/vpn-public.conf`.
    pub resource: Text,
    /// `create`, `change`, `install`, `load`, `open`, `start`, `restart`, `reconfigure`.
    pub verb: Text,
    /// Lines that go (`- …`) and come (`+ …`); a private key is never among them.
    pub diff: Vec<String>,
}

impl From<&Step> for StepDocument {
    fn from(step: &Step) -> Self {
        StepDocument {
            kind: step.kind().word().to_owned(),
            resource: Text(step.noun()),
            verb: Text(step.verb().message()),
            // Lines of files that others may have written.
            diff: step.diff().iter().map(|line| printable(line)).collect(),
        }
    }
}

/// `plan --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlanDocument {
    /// The version of this document.
    pub schema: u32,
    /// Which host.
    pub host: HostId,
    /// What `install` would change, in order; empty when nothing.
    pub steps: Vec<StepDocument>,
    /// The outage the restart among the steps means, if there is one.
    pub outage: Option<Text>,
    /// What was left out and why, and what a person has to do.
    pub notes: Vec<Text>,
    /// Checks that stand in the way or worry.
    pub findings: Vec<FindingDocument>,
    /// `pass`, or `fail` when a check forbids it.
    pub outcome: Outcome,
}

impl PlanDocument {
    /// From a plan and the checks before it.
    pub(crate) fn new(
        facts: &Facts,
        plan: &Plan,
        outage: Option<Outage>,
        notes: Vec<Message>,
        preflight: &PreflightDocument,
    ) -> Self {
        let mut findings = preflight.findings.clone();
        findings.retain(|f| matches!(f.outcome, Severity::Fail | Severity::Warn));
        PlanDocument {
            schema: SCHEMA,
            host: facts.into(),
            steps: plan.steps.iter().map(StepDocument::from).collect(),
            outage: outage.map(|outage| Text(outage.message())),
            notes: notes.into_iter().map(Text).collect(),
            findings,
            outcome: preflight.outcome,
        }
    }
}

/// `install --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct InstallDocument {
    /// The version of this document.
    pub schema: u32,
    /// Which host.
    pub host: HostId,
    /// What was changed, in order; empty when nothing had to be.
    pub steps: Vec<StepDocument>,
    /// How the instance stands now.
    pub instance: Option<InstanceDocument>,
    /// What is left for a person to do.
    pub next: Vec<Text>,
    /// `pass` when it is proven, `warn` when members still lack this instance's key or large packets don't get to them,
    /// `fail` when the proof failed.
    pub outcome: Outcome,
}

/// The instance and its tunnel.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct InstanceDocument {
    /// Whether anything of a VPN is set up here: `yes`, `no`, or `unknown` where that couldn't be read.
    pub set_up: Seen,
    /// Its address inside the VPN.
    pub vpn_address: Option<Ipv4Addr>,
    /// Its public key.
    pub public_key: Option<PublicKey>,
    /// SHA-256 of vpn-public.conf: equal on all instances, or the lists have drifted apart.
    pub list_digest: Option<ListDigest>,
    /// Whether a tunnel is up: `yes`, `no`, or `unknown` where that couldn't be looked at.
    pub tunnel: Seen,
    /// `kernel` or `userspace`; nothing when no tunnel is seen.
    pub implementation: Option<Implementation>,
    /// The other members.
    pub members: Vec<MemberDocument>,
}

/// One other member, as seen from here.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MemberDocument {
    /// Its address inside the VPN.
    pub vpn_address: Ipv4Addr,
    /// Its key.
    pub public_key: PublicKey,
    /// Where packets to it go, by the list.
    #[schemars(with = "String")]
    pub endpoint: SocketAddr,
    /// Where they go now: a peer may roam.
    #[schemars(with = "Option<String>")]
    pub live_endpoint: Option<SocketAddr>,
    /// Seconds since the last handshake; nothing if there was none.
    pub handshake_age: Option<u64>,
    /// Bytes received from it.
    pub received: u64,
    /// Bytes sent to it.
    pub sent: u64,
    /// Whether it answers: a completed handshake, and authenticated bytes from it since it was asked.
    pub reached: bool,
    /// Bytes of the largest packet that gets there and back, where one of the tunnel's own MTU doesn't.
    pub path_mtu: Option<u16>,
}

impl MemberDocument {
    /// All members of the list but the one with the key `own`, with what a probe found of them.
    pub(crate) fn all(list: &PeerList, own: PublicKey, probed: &[ProbedPeer]) -> Vec<MemberDocument> {
        let others = list.peers().filter(|peer| peer.public_key != own);
        let member = |peer: &Peer| {
            let probed = probed.iter().find(|probed| probed.public_key == Some(peer.public_key));
            MemberDocument {
                vpn_address: peer.address,
                public_key: peer.public_key,
                endpoint: peer.endpoint,
                live_endpoint: probed.and_then(|probed| probed.endpoint),
                handshake_age: probed.and_then(|probed| probed.handshake_age),
                received: probed.map_or(0, |probed| probed.received),
                sent: probed.map_or(0, |probed| probed.sent),
                reached: probed.is_some_and(ProbedPeer::answers),
                path_mtu: probed.and_then(|probed| probed.path_mtu),
            }
        };
        others.map(member).collect()
    }
}

/// `status --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StatusDocument {
    /// The version of this document.
    pub schema: u32,
    /// Which host.
    pub host: HostId,
    /// How the instance stands.
    pub instance: InstanceDocument,
    /// What differs from how it should be: a sentence each, with its way out.
    pub differences: Vec<Text>,
    /// `pass` when nothing differs.
    pub outcome: Outcome,
}

/// `undo --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct UndoDocument {
    /// The version of this document.
    pub schema: u32,
    /// What was dealt with, in order.
    pub changes: Vec<UndoneDocument>,
    /// `pass` when all is as before, `warn` when something was kept, `fail` when something could not be taken back.
    pub outcome: Outcome,
}

/// One change that undo dealt with.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct UndoneDocument {
    /// Which resource.
    pub resource: Text,
    /// What became of it.
    pub fate: UndoFate,
    /// Why, unless it was taken back.
    pub reason: Option<Text>,
    /// What to do about a failure, one thing after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<Text>,
}

/// What became of a change that undo dealt with. The order is that of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UndoFate {
    /// It is as it was before.
    TakenBack,
    /// It stays.
    Kept,
    /// It could not be taken back.
    Failed,
}

impl UndoDocument {
    /// From what undo did.
    pub(crate) fn new(undone: Vec<Undone>) -> Self {
        let changes = undone.into_iter().map(|Undone { resource, fate, hints }| {
            let (fate, reason) = match fate {
                Fate::TakenBack => (UndoFate::TakenBack, None),
                Fate::Kept(now) => (UndoFate::Kept, Some(message!("somebody has changed it since: {now}", now))),
                Fate::Needed(reason) => (UndoFate::Kept, Some(reason)),
                Fate::Failed(reason) => (UndoFate::Failed, Some(reason)),
            };
            let hints = hints.into_iter().map(Text).collect();
            UndoneDocument { resource: Text(resource), fate, reason: reason.map(Text), hints }
        });
        let changes: Vec<UndoneDocument> = changes.collect();
        let outcome = match changes.iter().map(|change| change.fate).max() {
            Some(UndoFate::Failed) => Outcome::Fail,
            Some(UndoFate::Kept) => Outcome::Warn,
            Some(UndoFate::TakenBack) | None => Outcome::Pass,
        };
        UndoDocument { schema: SCHEMA, changes, outcome }
    }
}
