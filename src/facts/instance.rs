//! The files in the instance's directory.

use super::Instance;
use crate::host::Host;
use crate::settings::Settings;

/// Reads this part of the facts.
pub fn gather(_host: &Host, _settings: &Settings) -> Instance {
    Instance::default()
}
