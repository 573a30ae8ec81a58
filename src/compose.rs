//! docker-compose: its `.env`, its commands, what it resolves an instance to.

pub mod dotenv;
mod files;

pub use files::{extend_compose_file, split_compose_file};
