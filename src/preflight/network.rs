//! Checks of: addresses, ports, the packet filter.

use super::Check;

/// The rows, in the order they are reported.
pub const CHECKS: &[Check] = &[];
