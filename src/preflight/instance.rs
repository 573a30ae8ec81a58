//! Checks of: the instance's files and its place in the cluster.

use super::Check;

/// The rows, in the order they are reported.
pub const CHECKS: &[Check] = &[];
