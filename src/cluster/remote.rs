//! The two ends of one ssh connection: the operator's side, what they say to each other, and the agent on the host.

pub mod agent;
pub mod protocol;
pub mod ssh;
