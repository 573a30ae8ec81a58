//! What follows from the facts and the settings: preflight announces it, desired and resource carry it out. Pure.

mod exposure;
mod firewall_rule;

use crate::compose;
use crate::facts::Facts;
use crate::settings::{Settings, StackKind};

pub(crate) use exposure::Exposure;
pub use firewall_rule::FirewallRule;

/// Whether `--stack default` has a stack to bring: an existing one is the vendor's and never changed.
pub(crate) fn uses_default_stack(facts: &Facts, settings: &Settings) -> bool {
    settings.stack == StackKind::Default
        && (facts.instance.default_stack || !compose::has_base(&facts.instance.compose_files))
}
