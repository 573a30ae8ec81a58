//! Wanted states and changes, of one kind and of any kind, and the form of a change in the journal:
//! `"resource":{"file":{"path":"/f"}},"before":"absent","after":{"text":"x"}`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::{Resource, ResourceKind, Source, State, Step, Wanted, each_kind, step_of_kind};
use crate::error;
use crate::host::Host;
use crate::message;
use crate::message::Message;
use crate::product::PRODUCT;

/// A resource of one kind, and how it should stand.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal<K: Resource> {
    /// Which one.
    pub resource: K,
    /// How it should stand.
    pub state: K::State,
}

/// A change of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition<K: Resource> {
    /// What changes.
    pub resource: K,
    /// How it stands.
    pub before: K::State,
    /// How it will stand.
    pub after: K::State,
}

impl<K: Resource> Goal<K> {
    /// The change from the current state.
    pub(crate) fn transition(self, host: &Host) -> error::Result<Transition<K>> {
        let before = self.resource.observe(host)?;
        Ok(Transition { resource: self.resource, before, after: self.state })
    }
}

/// What a step does to its resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "they are plain words")]
pub enum Verb {
    Create,
    Change,
    Install,
    Load,
    Open,
    Start,
    Restart,
    Reconfigure,
}

impl Verb {
    /// The word alone.
    pub(crate) fn message(self) -> Message {
        match self {
            Verb::Create => message!("create"),
            Verb::Change => message!("change"),
            Verb::Install => message!("install"),
            Verb::Load => message!("load"),
            Verb::Open => message!("open"),
            Verb::Start => message!("start"),
            Verb::Restart => message!("restart"),
            Verb::Reconfigure => message!("reconfigure"),
        }
    }

    /// The verb with its object.
    fn with(self, resource: Message) -> Message {
        match self {
            Verb::Create => message!("create {resource}", resource),
            Verb::Change => message!("change {resource}", resource),
            Verb::Install => message!("install {resource}", resource),
            Verb::Load => message!("load {resource}", resource),
            Verb::Open => message!("open {resource}", resource),
            Verb::Start => message!("start {resource}", resource),
            Verb::Restart => message!("restart {resource}", resource),
            Verb::Reconfigure => message!("reconfigure {resource}", resource),
        }
    }
}

impl Wanted {
    /// Which resource.
    pub fn noun(&self) -> Message {
        each_kind!(Wanted, self, goal => goal.resource.noun())
    }

    /// The lines of the state, as a difference shows them.
    pub fn text(&self) -> String {
        each_kind!(Wanted, self, goal => goal.state.text())
    }
}

impl Step {
    /// The kind of its resource.
    pub(crate) fn kind(&self) -> ResourceKind {
        each_kind!(Step, self, step => step.kind())
    }

    /// Which resource.
    pub fn noun(&self) -> Message {
        each_kind!(Step, self, step => step.resource.noun())
    }

    /// What it does to it.
    pub(crate) fn verb(&self) -> Verb {
        each_kind!(Step, self, step => step.resource.verb(&step.before, &step.after))
    }

    /// Verb and resource.
    pub(crate) fn message(&self) -> Message {
        self.verb().with(self.noun())
    }

    /// See [`Resource::source`].
    pub(crate) fn source(&self) -> Option<Source<'_>> {
        each_kind!(Step, self, step => step.resource.source())
    }

    /// The file it is kept in, if it is kept in one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self.source()? {
            Source::File(path) => Some(path),
            Source::Image => None,
        }
    }

    /// See [`Resource::paths`].
    pub(crate) fn paths(&self) -> Vec<&Path> {
        each_kind!(Step, self, step => step.resource.paths())
    }

    /// The directory of the instance that it is part of, if it can only be part of one.
    pub(crate) fn instance(&self) -> Option<&Path> {
        match self {
            Step::PrivateFile(step) => step.resource.path.parent(),
            Step::EnvKey(step) => step.resource.path.parent(),
            Step::Stack(step) => Some(&step.resource.dir),
            Step::Tunnel(step) => Some(&step.resource.dir),
            Step::AptSource(_)
            | Step::Packages(_)
            | Step::Module(_)
            | Step::FirewallRule(_)
            | Step::Directory(_)
            | Step::File(_)
            | Step::GatewayImage(_) => None,
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        each_kind!(Step, self, step => step.resource.is_live())
    }

    pub(crate) fn reveals_others(&self) -> bool {
        each_kind!(Step, self, step => step.resource.reveals_others())
    }

    pub(crate) fn may_cut_connections(&self) -> bool {
        each_kind!(Step, self, step => step.resource.may_cut_connections())
    }

    pub(crate) fn packages(&self) -> &[String] {
        each_kind!(Step, self, step => step.resource.packages())
    }

    /// Whether it sets the instance's VPN address. A person has to enter that address in the web interface (P13); nothing on
    /// the host tells whether that has been done.
    pub(crate) fn sets_vpn_address(&self) -> bool {
        matches!(self, Step::EnvKey(step) if step.resource.key == PRODUCT.env.vpn_address)
    }

    /// Whether there was nothing before it, or nothing that ran.
    pub(crate) fn starts_from_nothing(&self) -> bool {
        each_kind!(Step, self, step => step.before.is_absence())
    }

    /// The lines that change, `-` before the old ones and `+` before the new ones; empty for states without text.
    pub(crate) fn diff(&self) -> Vec<String> {
        let (old, new) = each_kind!(Step, self, step => (step.before.text(), step.after.text()));
        TextDiff::from_lines(&old, &new)
            .iter_all_changes()
            .filter_map(|change| match change.tag() {
                ChangeTag::Equal => None,
                ChangeTag::Delete => Some(format!("- {}", change.value().trim_end())),
                ChangeTag::Insert => Some(format!("+ {}", change.value().trim_end())),
            })
            .collect()
    }
}

impl<K: Resource> Transition<K> {
    fn kind(&self) -> ResourceKind {
        K::KIND
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        each_kind!(Step, self, step => step.serialize(serializer))
    }
}

impl<K: Resource> Serialize for Transition<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut parts = serializer.serialize_struct("Step", 3)?;
        parts.serialize_field("resource", &BTreeMap::from([(K::KIND, &self.resource)]))?;
        parts.serialize_field("before", &self.before)?;
        parts.serialize_field("after", &self.after)?;
        parts.end()
    }
}

/// A step as it is read. The types of its states follow from its kind.
#[derive(Deserialize)]
pub(super) struct RawStep {
    resource: BTreeMap<ResourceKind, Value>,
    before: Value,
    after: Value,
}

impl RawStep {
    pub(super) fn typed<K: Resource>(mut self) -> serde_json::Result<Transition<K>> {
        Ok(Transition {
            resource: serde_json::from_value(self.resource.remove(&K::KIND).unwrap_or_default())?,
            before: serde_json::from_value(self.before)?,
            after: serde_json::from_value(self.after)?,
        })
    }
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawStep::deserialize(deserializer)?;
        let kinds: Vec<ResourceKind> = raw.resource.keys().copied().collect();
        let [kind] = kinds[..] else { return Err(de::Error::custom("a resource has one kind")) };
        step_of_kind(kind, raw).map_err(|error| de::Error::custom(format!("{}: {error}", kind.word())))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message().fmt(f)
    }
}
