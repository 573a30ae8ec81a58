//! apt and dpkg.

use super::Packages;
use crate::distro::Distro;
use crate::host::Host;

/// Reads this part of the facts.
pub fn gather(_host: &Host, _distro: Option<&Distro>) -> Packages {
    Packages::default()
}
