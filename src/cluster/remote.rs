//! The two ends of one ssh connection: the operator's side, what they say to each other, and the agent on the host.

pub(crate) mod agent;
pub(crate) mod protocol;
pub(crate) mod ssh;
