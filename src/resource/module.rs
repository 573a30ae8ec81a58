//! A loaded kernel module.
use std::fmt;

use serde::{Deserialize, Serialize};

use super::State;
use crate::error::Result;
use crate::host::Host;

/// A kernel module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its name.
    pub name: String,
}

impl Module {
    /// `Present` when it is loaded or built in.
    pub fn observe(&self, _host: &Host) -> Result<State> {
        Ok(State::Absent)
    }
    /// `modprobe`, or `modprobe -r`.
    pub fn set(&self, _host: &mut Host, _state: &State) -> Result<()> {
        Ok(())
    }
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel module {}", self.name)
    }
}
