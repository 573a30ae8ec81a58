//! docker-compose: its `.env`, its commands, the files we write for it.
//!
//! Two generations are in use, and each may be called in two ways. Every call goes through [`ComposeCommand`]: in the instance's
//! directory, with the scrubbed environment of [`Cmd`] (FN-32), never with `-v` (FN-5), `exec` always with `-T` (FN-37).

mod command;
mod config;
mod containers;
pub mod dotenv;
mod files;
mod installed;

pub use command::{ComposeCommand, Generation};
pub use config::{GatewayService, ResolvedConfig};
pub use containers::GatewayContainer;
pub use files::{OVERLAY_NAME, extend_compose_file, has_base, split_compose_file};

pub(crate) use config::{config_hash, resolve};
pub(crate) use containers::containers;
pub(crate) use installed::{InstalledCompose, command_for};

/// Our overlay, byte for byte as the vendor documents it.
pub const OVERLAY: &str = include_str!("compose/docker-compose.vpn.yml");
/// The stack's own file.
pub const BASE_NAME: &str = "docker-compose.yml";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overlay_is_the_documented_one() {
        assert!(OVERLAY.starts_with("version: \"2.2\"\nservices:\n  gateway:\n    environment:\n"));
        assert!(OVERLAY.ends_with("    - ./vpn-private.conf:/srv/private.conf:ro\n"));
    }
}
