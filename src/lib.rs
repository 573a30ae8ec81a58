//! Sets up, checks and maintains the WireGuard VPN between BIFIT Mitigator instances.

#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "tests set up their own files"))]

pub mod commands;
pub mod compose;
pub mod distro;
pub mod error;
pub mod facts;
pub mod gateway;
pub mod host;
pub mod preflight;
pub mod resource;
pub mod settings;
pub mod wireguard;
