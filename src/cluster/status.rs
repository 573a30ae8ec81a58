//! How a cluster stands: who reaches whom, where the copies of the list differ, and the likely cause.

mod narrow;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use schemars::JsonSchema;
use serde::Serialize;

use self::narrow::{Narrow, narrow};
use super::hosts::{Fleet, HostState, Node, reason};
use super::membership::{Dispute, Weight};
use super::merge::Merged;
use crate::message;
use crate::message::Message;
use crate::tunnel::timings::WITH_SESSION;
use crate::tunnel::{ProbedPeer, mtu};
use crate::wireguard::{ListDigest, MembersDigest, PeerList};

/// Milliseconds. Clocks that are further apart are reported (FN-30).
const CLOCK: i64 = 5_000;
/// What mends most differences.
const APPLY: &str = "cluster apply";

/// What each host that could be asked found out about the other members.
pub(crate) type Probes = BTreeMap<Ipv4Addr, Vec<ProbedPeer>>;

/// How a cluster stands.
pub(crate) struct ClusterStatus {
    pub(crate) hosts: Vec<HostStatus>,
    /// Each direction of each pair of members.
    pub(crate) pairs: Vec<Pair>,
    /// What differs: a sentence each.
    pub(crate) differences: Vec<Message>,
}

pub(crate) struct HostStatus {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    /// Whether it could be looked at.
    pub(crate) seen: bool,
    /// The list on its disk.
    pub(crate) disk: Option<ListDigest>,
    /// The list as its gateway's container sees it.
    pub(crate) container: Option<ListDigest>,
    /// The members of the live device.
    pub(crate) live: Option<MembersDigest>,
    /// What `live` is if the device does what the list on disk says.
    pub(crate) live_expected: Option<MembersDigest>,
    /// How far its clock is ahead of the median, in milliseconds.
    pub(crate) clock_offset: Option<i64>,
}

/// One direction of a pair of members.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// The host that was asked.
    pub(crate) from: Ipv4Addr,
    /// The member that it was asked about.
    pub(crate) to: Ipv4Addr,
    /// Seconds since the last handshake.
    pub(crate) handshake_age: Option<u64>,
    pub(crate) verdict: PairVerdict,
    /// The likely cause of no answer.
    pub(crate) cause: Option<Cause>,
    /// Bytes of the largest packet that gets there and back, where one of the tunnel's own MTU doesn't.
    pub(crate) path_mtu: Option<u16>,
}

/// Whether a member is reached from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum PairVerdict {
    /// It answers.
    Ok,
    /// Small packets get there, large ones don't.
    Narrow,
    /// It doesn't answer.
    NoAnswer,
}

/// Why a member doesn't answer another, as far as can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Cause {
    /// Nothing else is wrong: packets get lost on the way.
    Blocked,
    /// Others hear it from another address than its endpoint.
    WrongEndpoint,
    /// One of the two doesn't have the other's key in its list.
    LacksKey,
    /// A gateway sees an old copy of the list.
    StaleMount,
    /// A gateway has no tunnel.
    NoTunnel,
    /// The two clocks are far apart.
    Clock,
    /// The host can't be reached.
    Down,
}

impl Cause {
    pub(crate) fn message(self) -> Message {
        match self {
            Cause::Blocked => message!("blocked"),
            Cause::WrongEndpoint => message!("wrong-endpoint"),
            Cause::LacksKey => message!("lacks-key"),
            Cause::StaleMount => message!("stale-mount"),
            Cause::NoTunnel => message!("no-tunnel"),
            Cause::Clock => message!("clock"),
            Cause::Down => message!("down"),
        }
    }
}

/// Asks each host which members answer it, and how large a packet gets there.
pub(crate) fn probe_all(fleet: &mut Fleet, list: &PeerList) -> Probes {
    let members: Vec<Ipv4Addr> = list.peers().map(|peer| peer.address).collect();
    let probes = fleet.each_by_address(
        |node| node.seen().is_some(),
        |node| {
            let own = node.instance.address;
            let others: Vec<Ipv4Addr> = members.iter().copied().filter(|other| *other != own).collect();
            node.probe(&others, WITH_SESSION, true)
        },
    );
    probes.into_iter().filter_map(|(address, probed)| Some((address, probed.ok()?))).collect()
}

impl ClusterStatus {
    /// From what was seen and probed. `list` is what all should have. Pure.
    pub(crate) fn new(fleet: &Fleet, probes: &Probes, merged: &Merged) -> ClusterStatus {
        let list = &merged.list;
        let median = median(fleet.nodes.iter().filter_map(|node| node.clock).collect());
        let clock = |node: &Node| Some(node.clock? - median?);
        let mut differences: Vec<Message> = Vec::new();
        for node in &fleet.nodes {
            let name = &node.instance.name;
            let of_host = host_differences(node, clock(node), merged).into_iter();
            differences.extend(of_host.map(|difference| message!("{name}: {difference}", name, difference)));
        }
        let disputed = merged.disputes.iter().filter(|dispute| dispute.weight != Weight::Note);
        differences.extend(disputed.map(Dispute::message));
        let view = Observations { fleet, probes, list };
        let pairs: Vec<Pair> =
            fleet.nodes.iter().filter(|node| node.seen().is_some()).flat_map(|n| view.pairs(n)).collect();
        let name = |address: Ipv4Addr| {
            fleet.by_address(address).map_or_else(|| address.to_string(), |node| node.instance.name.clone())
        };
        differences.extend(pairs.iter().filter_map(|pair| {
            let (from, to, cause) = (name(pair.from), name(pair.to), pair.cause?.message());
            Some(message!("{from} gets no answer from {to}: {cause}", from, to, cause))
        }));
        differences.extend(narrow(&pairs).into_iter().map(|Narrow { at, others, size }| {
            let others: Vec<String> = others.into_iter().map(name).collect();
            let words = mtu::too_narrow(size);
            message!("between {one} and {others}: {words}", one = name(at), others = others.join(", "), words)
        }));
        let hosts = fleet.nodes.iter().map(|node| host(node, clock(node))).collect();
        ClusterStatus { hosts, pairs, differences }
    }
}

fn host(node: &Node, clock_offset: Option<i64>) -> HostStatus {
    let gateway = node.seen().and_then(|seen| seen.look.gateway.as_ref());
    let members = |list: &PeerList| MembersDigest::of(list.peers().map(|peer| (peer.address, peer.public_key)));
    HostStatus {
        name: node.instance.name.clone(),
        address: node.instance.address,
        seen: node.seen().is_some(),
        disk: node.digest(),
        container: gateway.and_then(|gateway| gateway.seen),
        live: gateway.and_then(|gateway| gateway.tunnel.as_ref()).map(|tunnel| tunnel.members),
        live_expected: node.list().map(members),
        clock_offset,
    }
}

/// What differs on one host.
fn host_differences(node: &Node, clock: Option<i64>, merged: &Merged) -> Vec<Message> {
    let seen = match &node.state {
        HostState::Unreachable(error) => {
            return vec![message!("can't be looked at: {reason}", reason = reason(error))];
        }
        HostState::Seen(seen) => seen,
    };
    let mut differences = Vec::new();
    let target = merged.target(node).map(|list| list.digest());
    match node.digest() {
        None => differences.push(message!("it has no vpn-public.conf; mend it: {command}", command = APPLY)),
        Some(digest) if target.is_ok_and(|target| target != digest) => differences.push(message!(
            "its list {digest}… is an older one; mend it: {command}",
            digest = format!("{digest:.12}"),
            command = APPLY
        )),
        Some(_) => {}
    }
    let pending = seen.look.pending.iter();
    differences.extend(
        pending.map(|step| {
            message!("install would {step}; mend it: {command}", step = step.on_one_line(), command = APPLY)
        }),
    );
    match &seen.look.gateway {
        None => differences.push(message!("its gateway doesn't run; mend it: {command}", command = APPLY)),
        Some(gateway) if !gateway.stale.is_empty() => differences.push(message!(
            "its gateway sees an old copy of the list, only a new container helps; mend it: {command}",
            command = APPLY
        )),
        Some(gateway) => match &gateway.tunnel {
            None => differences.push(message!(
                "its gateway has no tunnel; look there: {command}",
                command = "docker-compose logs gateway"
            )),
            Some(tunnel) => differences.extend(tunnel.differences.iter().map(Message::on_one_line)),
        },
    }
    if let Some(offset) = clock.filter(|offset| offset.abs() > CLOCK) {
        let (seconds, command) = (offset.unsigned_abs() / 1000, "timedatectl set-ntp true");
        differences.push(if offset > 0 {
            message!("its clock is {seconds} s ahead of the others'; mend it: {command}", seconds, command)
        } else {
            message!("its clock is {seconds} s behind the others'; mend it: {command}", seconds, command)
        });
    }
    differences
}

/// What all hosts were seen to have, and found out.
struct Observations<'a> {
    fleet: &'a Fleet,
    probes: &'a Probes,
    list: &'a PeerList,
}

impl Observations<'_> {
    /// How one host reaches each other member.
    fn pairs(&self, from: &Node) -> Vec<Pair> {
        let probed = self.probes.get(&from.instance.address).map_or(&[][..], Vec::as_slice);
        let others = self.list.peers().filter(|peer| peer.address != from.instance.address);
        let pairs = others.map(|peer| {
            let probed = probed.iter().find(|probed| probed.address == peer.address);
            let answers = probed.is_some_and(ProbedPeer::answers);
            let path_mtu = probed.and_then(|probed| probed.path_mtu);
            Pair {
                from: from.instance.address,
                to: peer.address,
                handshake_age: probed.and_then(|probed| probed.handshake_age),
                verdict: verdict(answers, path_mtu),
                cause: (!answers).then(|| self.cause(from, peer.address)),
                path_mtu,
            }
        });
        pairs.collect()
    }

    /// Why one host doesn't reach a member, the plainest reason first.
    fn cause(&self, from: &Node, to: Ipv4Addr) -> Cause {
        let is_stale = |node: &Node| {
            node.seen().is_some_and(|seen| seen.look.gateway.as_ref().is_some_and(|gateway| !gateway.stale.is_empty()))
        };
        let other = self.fleet.by_address(to);
        match other {
            Some(_) | None if !from.has_tunnel() => Cause::NoTunnel,
            Some(_) | None if is_stale(from) => Cause::StaleMount,
            Some(other) if other.seen().is_none() => Cause::Down,
            Some(other) if is_stale(other) => Cause::StaleMount,
            Some(other) if !other.has_tunnel() => Cause::NoTunnel,
            Some(other) if !has_key_of(other, from) || !has_key_of(from, other) => Cause::LacksKey,
            Some(_) | None if self.is_elsewhere(to) => Cause::WrongEndpoint,
            Some(other) if clocks_differ(from, other) => Cause::Clock,
            Some(_) | None => Cause::Blocked,
        }
    }

    /// Whether a host has this member at another address than the list says.
    fn is_elsewhere(&self, to: Ipv4Addr) -> bool {
        let listed: Option<IpAddr> = self.list.by_address(to).map(|peer| peer.endpoint.ip());
        let answers = self.probes.values().flatten().filter(|probed| probed.address == to && probed.answers());
        answers.filter_map(|probed| probed.endpoint).any(|endpoint| Some(endpoint.ip()) != listed)
    }
}

fn clocks_differ(one: &Node, other: &Node) -> bool {
    one.clock.zip(other.clock).is_some_and(|(a, b)| (a - b).abs() > CLOCK)
}

/// Whether one host's list has the other with the key that it uses.
fn has_key_of(one: &Node, other: &Node) -> bool {
    let listed = one.list().and_then(|list| list.by_address(other.instance.address));
    let own = other.seen().and_then(|seen| seen.look.key);
    own.is_some() && listed.map(|peer| peer.public_key) == own
}

fn verdict(answers: bool, path_mtu: Option<u16>) -> PairVerdict {
    match path_mtu {
        Some(_) | None if !answers => PairVerdict::NoAnswer,
        Some(_) => PairVerdict::Narrow,
        None => PairVerdict::Ok,
    }
}

fn median(mut values: Vec<i64>) -> Option<i64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_clock_that_is_off_does_not_move_the_median() {
        assert_eq!(median(vec![10, -20, 86_400_000]), Some(10));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn a_cause_reads_as_in_json() {
        for cause in [
            Cause::Blocked,
            Cause::WrongEndpoint,
            Cause::LacksKey,
            Cause::StaleMount,
            Cause::NoTunnel,
            Cause::Clock,
            Cause::Down,
        ] {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.message().to_string());
        }
    }
}
