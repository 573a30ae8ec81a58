//! A cluster of many, on hosts in namespaces of this machine: what becomes of everybody's list and live tunnel when some
//! of them are down, broken, or killed, when operators are killed or work at the same time.

mod bed;
pub mod cluster;
mod contract;
mod faults;
mod history;
mod killed;
mod lies;
mod members;
mod toml;
mod way_in;
