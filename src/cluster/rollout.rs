//! From the merged list to a proven cluster: waves of hosts, each gated on which members still answer afterwards (FN-6).
//!
//! Everything is taken from what hosts say, again and again: a list that another operator has changed meanwhile is merged
//! with ours, and the run goes on with the result. A host that can't be reached, or can't be changed, does not hold up the
//! others; one that no longer reaches the others stops the run, and its wave gets back what it had.
//!
//! Each module imports only those above it: [`record`] (what has become of each host), [`waves`] and
//! [`decide`] (which hosts are changed next; pure), [`gate`] (who must answer whom), [`run`], [`outcome`] (how each host stands
//! afterwards; pure). [`spent`]: keys that rotations have left.

mod decide;
pub(crate) mod gate;
mod outcome;
mod record;
mod run;
pub(crate) mod spent;
mod waves;

pub use self::outcome::HostOutcome;
pub(crate) use self::outcome::{HostResult, RolloutResult};
pub(crate) use self::record::RolloutRecord;
pub(crate) use self::run::{Rollout, plan};
