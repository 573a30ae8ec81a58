//! States of resources: the trait, and the two that several kinds share.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::compose::GatewayContainer;
use crate::message;
use crate::message::Message;

/// The state of a resource, observed or wanted.
pub trait State: Clone + fmt::Debug + PartialEq + Serialize + DeserializeOwned {
    /// In a few words.
    fn summary(&self) -> Message;

    /// Whether an observed state fulfils this wanted one.
    fn is_met_by(&self, observed: &Self) -> bool {
        self == observed
    }

    /// Whether there is nothing, or nothing that runs.
    fn is_absence(&self) -> bool;

    /// Whether it is what is left of something of ours, and nothing else: undo takes that back as well.
    fn is_remnant(&self) -> bool {
        false
    }

    /// The lines that a difference shows; empty for a state without text.
    fn text(&self) -> String {
        String::new()
    }
}

/// The state of a directory, a loaded module: there or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// Not there.
    Absent,
    /// There.
    Present,
}

impl Presence {
    pub(super) fn of(there: bool) -> Presence {
        if there { Presence::Present } else { Presence::Absent }
    }
}

impl State for Presence {
    fn summary(&self) -> Message {
        match self {
            Presence::Absent => message!("it is not there"),
            Presence::Present => message!("it is there"),
        }
    }

    fn is_absence(&self) -> bool {
        *self == Presence::Absent
    }
}

/// The state of an opened port, which consists of parts: the live rule, and what puts it back after a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Opening {
    /// No part is there.
    Absent,
    /// Some are there, or one of them twice. All of them are ours, for each has our name.
    Partial,
    /// Each is there, once.
    Present,
}

impl Opening {
    /// Of whether anything is there, and whether all is as it should be.
    pub(super) fn of(any: bool, whole: bool) -> Opening {
        match (any, whole) {
            (_, true) => Opening::Present,
            (true, false) => Opening::Partial,
            (false, false) => Opening::Absent,
        }
    }
}

impl State for Opening {
    fn summary(&self) -> Message {
        match self {
            Opening::Absent => message!("it is not there"),
            Opening::Partial => message!("a part of it is there"),
            Opening::Present => message!("it is there"),
        }
    }

    /// Nobody wants a part: where one was found, undo leaves nothing.
    fn is_met_by(&self, observed: &Self) -> bool {
        self == observed || *self == Opening::Partial && *observed == Opening::Absent
    }

    fn is_absence(&self) -> bool {
        *self == Opening::Absent
    }

    fn is_remnant(&self) -> bool {
        *self == Opening::Partial
    }
}

/// The state of something that runs and is made from files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Liveness {
    /// It doesn't run.
    Stopped,
    /// It runs, but not as its files say.
    Outdated,
    /// It runs as its files say.
    Running,
}

impl Liveness {
    /// The state of a stack as far as Docker tells, from its gateway's container and the number of its running containers.
    /// A gateway that is paused, restarting, or sees an old copy of a file (FN-40) is outdated.
    pub(crate) fn of_containers(gateway: Option<&GatewayContainer>, running: usize) -> Liveness {
        match gateway {
            Some(gateway) if gateway.state == "running" && gateway.stale.is_empty() => Liveness::Running,
            None if running == 0 => Liveness::Stopped,
            Some(_) | None => Liveness::Outdated,
        }
    }
}

impl State for Liveness {
    fn summary(&self) -> Message {
        match self {
            Liveness::Stopped => message!("it does not run"),
            Liveness::Outdated => message!("it runs with an older configuration"),
            Liveness::Running => message!("it runs as its files say"),
        }
    }

    fn is_absence(&self) -> bool {
        *self == Liveness::Stopped
    }
}
