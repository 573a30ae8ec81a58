//! The compose command and what it makes of this instance.

use super::Stack;
use crate::host::Host;
use crate::settings::Settings;

/// Reads this part of the facts.
pub fn gather(_host: &Host, _settings: &Settings) -> Stack {
    Stack::default()
}
