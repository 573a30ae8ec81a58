//! Checks of: the release, the machine and the kernel.

use super::Check;

/// The rows, in the order they are reported.
pub const CHECKS: &[Check] = &[];
