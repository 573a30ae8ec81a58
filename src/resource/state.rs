//! How resources stand: what every state can tell, and the two that several kinds share.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::compose::GatewayContainer;
use crate::message;
use crate::message::Message;

/// How a resource of one kind stands, or should.
pub trait State: Clone + fmt::Debug + PartialEq + Serialize + DeserializeOwned {
    /// In a few words.
    fn summary(&self) -> Message;

    /// Whether something that stands as `observed` is as this wish says.
    fn is_met_by(&self, observed: &Self) -> bool {
        self == observed
    }

    /// Whether there is nothing, or nothing that runs.
    fn is_absence(&self) -> bool;

    /// Its lines, as a difference shows them: none where a noun says it all.
    fn text(&self) -> String {
        String::new()
    }
}

/// Of a thing about which there is no more to say: a directory, a loaded module, an opened port.
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

/// Of something that runs, made from files.
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
    /// Of a stack, as far as Docker alone tells: from its gateway's container and the number of its containers that run.
    /// A gateway that is paused, restarts, or sees an old copy of a file (FN-40) doesn't run as its files say.
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
