//! What each command does.

pub mod gateway;
