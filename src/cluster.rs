//! A whole cluster from one place: cluster.toml says which instances there are, one run makes them agree.
//!
//! ```text
//! file ─► fleet (ssh, one session a host) ─► look ─► members (the union) ─► rollout (waves, gates) ─► look
//!            │ wire: a JSON line each way
//!            └► session: this very executable on the host, running the same facts, plan and apply there
//! ```
//!
//! Nothing is remembered here between runs: what hosts have is the state, cluster.toml is the wish.

pub mod action;
pub mod hosts;
pub mod inventory;
pub mod merge;
pub mod remote;
pub mod rollout;
pub mod rotate;
pub mod status;
