//! A whole cluster from one place: cluster.toml says which instances there are, one run makes them agree.
//!
//! Each module imports only those above it in this list:
//!
//! - [`inventory`]: cluster.toml, and edits of it that keep every other byte.
//! - [`remote`]: one ssh connection a host, a JSON line each way, and the agent at its far end: this very executable, which
//!   runs the same facts, plan and apply there.
//! - [`hosts`]: the hosts of a run, their connections, how each stands, and the requests that they are sent.
//! - [`membership`]: who is a member, by cluster.toml and by what hosts say, any of which may lie. Pure.
//! - [`merge`]: the list that all hosts are to have: the members, in the text that most hosts have. Pure.
//! - [`action`]: what each host needs for that. Pure, given the looks.
//! - [`rollout`]: waves of hosts, and the gates between them.
//! - [`rotate`] and [`status`]: a new key for a member; who reaches whom.
//!
//! Nothing is remembered here between runs: what hosts have is the actual state, cluster.toml the desired one. What has become of
//! members is remembered by the hosts, each beside its list.

pub(crate) mod action;
pub(crate) mod hosts;
pub(crate) mod inventory;
pub(crate) mod membership;
pub(crate) mod merge;
pub(crate) mod remote;
pub(crate) mod rollout;
pub(crate) mod rotate;
pub(crate) mod status;
