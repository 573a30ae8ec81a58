//! vpn-private.conf.

/// The private file.
#[derive(Debug)]
pub struct PrivateConf {}
