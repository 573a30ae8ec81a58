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
pub(crate) use files::{extend_compose_file, has_base, split_compose_file};

pub(crate) use config::{config_hash, resolve};
pub(crate) use containers::containers;
pub(crate) use installed::{InstalledCompose, command_for};
