//! A cluster of many, on hosts in namespaces of this machine: what becomes of everybody's list and live tunnel when some
//! of them are down, broken, or killed, when operators are killed or work at the same time.

#![expect(clippy::disallowed_methods, reason = "a look at hosts from outside, between two moments")]
#![expect(clippy::print_stderr, reason = "the seed is printed")]

#[path = "fleet/bed.rs"]
mod bed;
#[path = "fleet/cluster.rs"]
mod cluster;
#[path = "fleet/faults.rs"]
mod faults;
#[path = "fleet/killed.rs"]
mod killed;
#[path = "fleet/members.rs"]
mod members;
mod support;
#[path = "fleet/way_in.rs"]
mod way_in;
