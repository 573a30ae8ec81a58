//! docker-compose: its `.env`, its commands, what it resolves an instance to.

pub mod dotenv;
