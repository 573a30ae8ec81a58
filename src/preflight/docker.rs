//! Checks of: docker and compose.

use super::Check;

/// The rows, in the order they are reported.
pub const CHECKS: &[Check] = &[];
