//! docker-compose: its commands, its containers, the configuration it resolves, its `.env` and `COMPOSE_FILE`.
//!
//! Two generations are in use, called as `docker-compose` or `docker compose`. Every call goes through [`ComposeCommand`]:
//! in the instance's directory, with the reduced environment of [`crate::host::Cmd`] (FN-32), never with `-v` (FN-5), `exec`
//! always with `-T` (FN-37).

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

pub(crate) use command::STACK_DEADLINE;
pub(crate) use config::{config_hash, resolve};
#[cfg(any(test, fuzzing))]
pub(crate) use config::{parse_config, without_values};
pub(crate) use containers::containers;
pub(crate) use installed::{InstalledCompose, command_for};
