//! The machine and who we are on it.

use super::Machine;
use crate::host::Host;
use crate::settings::Settings;

/// Reads this part of the facts.
pub fn gather(_host: &Host, _settings: &Settings) -> Machine {
    Machine::default()
}
