//! The documents of `cluster`.

mod text;

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::Serialize;

use super::documents::{FindingDocument, Outcome, Text};
use crate::cluster::action::Need;
use crate::cluster::rollout::HostOutcome;
use crate::cluster::status::{Cause, PairVerdict};
use crate::wireguard::{ListChange, ListDigest, MembersDigest};

/// The list that all instances are to have.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ClusterList {
    /// Its SHA-256; nothing while keys are still to be made.
    pub digest: Option<ListDigest>,
    /// How many members it has.
    pub members: usize,
    /// What changes against the list that most hosts have.
    pub changes: Vec<ListChange>,
    /// Members that what hosts say doesn't agree on, or that aren't accepted, with the way out.
    pub disputes: Vec<Text>,
}

/// `cluster plan --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ClusterPlanDocument {
    /// The version of this document.
    pub schema: u32,
    /// The list that all instances are to have.
    pub list: ClusterList,
    /// What has to be done to each host.
    pub hosts: Vec<PlannedHost>,
    /// `pass` when all can be brought about, `warn` when a host is out of reach, `fail` when a check forbids one.
    pub outcome: Outcome,
}

/// What has to be done to a host.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlannedHost {
    /// What it is called.
    pub name: String,
    /// Its address in the VPN.
    pub vpn_address: Ipv4Addr,
    /// What it needs.
    pub need: Need,
    /// Whether only comments and order change in its list.
    pub text_only: bool,
    /// The steps of an install.
    pub steps: Vec<Text>,
    /// The outage it means.
    pub outage: Option<Text>,
    /// The checks that forbid it or warn.
    pub findings: Vec<FindingDocument>,
    /// Why it can't be reached, or is left as it is.
    pub reason: Option<Text>,
    /// SHA-256 of the list it has.
    pub digest: Option<ListDigest>,
}

impl ClusterPlanDocument {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        !self.hosts.iter().any(|host| matches!(host.need, Need::List | Need::Install))
    }
}

/// `cluster apply --json`, and that of `add`, `remove` and `rotate`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ClusterApplyDocument {
    /// The version of this document.
    pub schema: u32,
    /// SHA-256 of the list that all are to have.
    pub digest: Option<ListDigest>,
    /// How each host stands now, by looking at it once more.
    pub hosts: Vec<AppliedHost>,
    /// Why the run stopped before its end.
    pub stopped: Option<Text>,
    /// What is left for a person to do.
    pub next: Vec<Text>,
    /// `pass` when all have the list and answer each other, otherwise `fail`.
    pub outcome: Outcome,
}

/// How a host stands after a run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AppliedHost {
    /// What it is called.
    pub name: String,
    /// Its address in the VPN.
    pub vpn_address: Ipv4Addr,
    /// What became of it.
    pub fate: HostOutcome,
    /// What was done.
    pub steps: Vec<Text>,
    /// Why it isn't as it should be.
    pub reason: Option<Text>,
    /// Members that don't answer it, though they should.
    pub silent: Vec<Ipv4Addr>,
    /// SHA-256 of the list it has now.
    pub digest: Option<ListDigest>,
}

/// `cluster status --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ClusterStatusDocument {
    /// The version of this document.
    pub schema: u32,
    /// SHA-256 of the list that all should have.
    pub digest: Option<ListDigest>,
    /// Each host.
    pub hosts: Vec<HostStatusDocument>,
    /// Each pair of members that was looked at from one side at least.
    pub cells: Vec<Cell>,
    /// What differs: a sentence each.
    pub differences: Vec<Text>,
    /// `pass` when nothing differs.
    pub outcome: Outcome,
}

/// How a host stands.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "HostStatus")]
pub struct HostStatusDocument {
    /// What it is called.
    pub name: String,
    /// Its address in the VPN.
    pub vpn_address: Ipv4Addr,
    /// Whether it could be looked at.
    pub seen: bool,
    /// SHA-256 of vpn-public.conf on its disk.
    pub disk: Option<ListDigest>,
    /// SHA-256 of the same as the gateway's container sees it.
    pub container: Option<ListDigest>,
    /// SHA-256 of the live device's members: keys and addresses, in no order.
    pub live: Option<MembersDigest>,
    /// What `live` is if the device does what the list on disk says.
    pub live_expected: Option<MembersDigest>,
    /// How far its clock is ahead of the median, in milliseconds.
    pub clock_offset: Option<i64>,
}

/// One direction of a pair.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Cell {
    /// The host that was asked.
    pub from: Ipv4Addr,
    /// The member that it was asked about.
    pub to: Ipv4Addr,
    /// Seconds since the last handshake.
    pub handshake_age: Option<u64>,
    /// Whether the member answers.
    pub verdict: PairVerdict,
    /// The likely cause of no answer.
    pub cause: Option<Cause>,
    /// Bytes of the largest packet that gets there and back, where one of the tunnel's own MTU doesn't.
    pub path_mtu: Option<u16>,
}
