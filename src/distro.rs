//! A release as data.

/// One supported release.
#[derive(Clone, Debug)]
pub struct Distro {}
