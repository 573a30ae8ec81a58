//! What follows from the facts and the settings: preflight announces it, desired and resource carry it out. Pure.

mod exposure;
mod firewall_rule;
mod requirements;

use crate::compose;
use crate::facts::Facts;
use crate::settings::{Settings, StackKind};

pub(crate) use exposure::Exposure;
pub use firewall_rule::FirewallRule;
pub(crate) use requirements::{ModuleSource, lacks_suite, missing_packages, module_route, module_source};

/// Whether `--stack default` has a stack to bring: an existing one is the vendor's and never changed.
pub(crate) fn uses_default_stack(facts: &Facts, settings: &Settings) -> bool {
    settings.stack == StackKind::Default
        && (facts.instance.default_stack || !compose::has_base(&facts.instance.compose_files))
}
