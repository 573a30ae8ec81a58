//! How a cluster stands: who hears whom, where the copies differ, and the likely cause. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use super::hosts::{Fleet, Node, State};
use super::rollout::told;
use crate::report::{Cell, HostStatus};
use crate::tunnel::{self, ProbedPeer, mtu};
use crate::wireguard::PeerList;

/// Clocks that are further apart than this are worth a word (FN-30).
const CLOCK: i64 = 5_000;

/// What each host that was asked heard of the others.
pub type Heard = BTreeMap<Ipv4Addr, Vec<ProbedPeer>>;

/// Everything that is to be said.
pub struct Picture {
    /// Each host.
    pub hosts: Vec<HostStatus>,
    /// Each direction of each pair.
    pub cells: Vec<Cell>,
    /// What differs: a sentence each.
    pub differences: Vec<String>,
}

impl Picture {
    /// Puts together what was seen and heard. `list` is what all should have.
    pub fn new(fleet: &Fleet, heard: &Heard, list: &PeerList) -> Picture {
        let median = median(fleet.nodes.iter().filter_map(|node| node.clock).collect());
        let clock = |node: &Node| Some(node.clock? - median?);
        let hosts = fleet.nodes.iter().map(|node| host(node, clock(node))).collect();
        let mut differences: Vec<String> = Vec::new();
        for node in &fleet.nodes {
            differences
                .extend(of_host(node, clock(node), list).into_iter().map(|d| format!("{}: {d}", node.instance.name)));
        }
        let ears = Ears { fleet, heard, list };
        let cells: Vec<Cell> =
            fleet.nodes.iter().filter(|node| node.seen().is_some()).flat_map(|n| ears.cells(n)).collect();
        let name = |address: Ipv4Addr| {
            fleet.by_address(address).map_or_else(|| address.to_string(), |node| node.instance.name.clone())
        };
        for cell in cells.iter().filter(|cell| cell.verdict == "no-answer") {
            let cause = cell.cause.as_deref().unwrap_or("unknown");
            differences.push(format!("{} gets no answer from {}: {cause}", name(cell.from), name(cell.to)));
        }
        differences.extend(narrow(&cells).into_iter().map(|Narrow { at, others, size }| {
            let others: Vec<String> = others.into_iter().map(name).collect();
            format!("between {} and {}: {}", name(at), others.join(", "), mtu::words(size))
        }));
        Picture { hosts, cells, differences }
    }
}

/// A member at which large packets get lost.
#[derive(Debug, PartialEq, Eq)]
struct Narrow {
    at: Ipv4Addr,
    /// The members that it exchanges none with.
    others: Vec<Ipv4Addr>,
    /// Bytes of the largest packet that gets through everywhere in the cluster: a tunnel has one MTU for all its ways.
    size: u16,
}

/// Where large packets get lost, by as few members as explain it: one with a narrow line is in as many pairs as there are
/// others. Both ends of a pair tell the same, since what came back has gone both ways.
fn narrow(cells: &[Cell]) -> Vec<Narrow> {
    let Some(size) = cells.iter().filter_map(|cell| cell.path_mtu).min() else { return Vec::new() };
    let narrow = cells.iter().filter(|cell| cell.path_mtu.is_some());
    let mut pairs: BTreeSet<[Ipv4Addr; 2]> =
        narrow.flat_map(|cell| [[cell.from, cell.to], [cell.to, cell.from]]).collect();
    let mut found = Vec::new();
    while !pairs.is_empty() {
        let mut of: BTreeMap<Ipv4Addr, Vec<Ipv4Addr>> = BTreeMap::new();
        pairs.iter().for_each(|[at, other]| of.entry(*at).or_default().push(*other));
        let most = of.into_iter().max_by_key(|(at, others)| (others.len(), Reverse(*at)));
        let (at, others) = most.expect("there is a pair");
        pairs.retain(|pair| !pair.contains(&at));
        found.push(Narrow { at, others, size });
    }
    found
}

fn host(node: &Node, clock_offset: Option<i64>) -> HostStatus {
    let seen = node.seen();
    let gateway = seen.and_then(|seen| seen.look.gateway.as_ref());
    let list = seen.and_then(|seen| seen.list.as_ref());
    HostStatus {
        name: node.instance.name.clone(),
        vpn_address: node.instance.address,
        seen: seen.is_some(),
        disk: node.digest(),
        container: gateway.and_then(|gateway| gateway.seen.clone()),
        live: gateway.and_then(|gateway| gateway.tunnel.as_ref()).map(|tunnel| tunnel.members.clone()),
        live_expected: list.map(|list| tunnel::digest(list.peers().map(|peer| (peer.address, peer.public_key)))),
        clock_offset,
    }
}

/// What differs on one host.
fn of_host(node: &Node, clock: Option<i64>, list: &PeerList) -> Vec<String> {
    let seen = match &node.state {
        State::Down(error) => return vec![format!("can't be looked at: {}", told(error))],
        State::Seen(seen) => seen,
    };
    let mut differences = Vec::new();
    match node.digest() {
        None => differences.push("it has no vpn-public.conf; mend it: cluster apply".to_owned()),
        Some(digest) if digest != list.digest() => {
            differences.push(format!("its list {}… is an older one; mend it: cluster apply", &digest[..12]));
        }
        Some(_) => {}
    }
    differences.extend(seen.look.pending.iter().map(|step| format!("install would {step}; mend it: cluster apply")));
    match &seen.look.gateway {
        None => differences.push("its gateway doesn't run; mend it: cluster apply".to_owned()),
        Some(gateway) if !gateway.stale.is_empty() => {
            differences.push(
                "its gateway sees an old copy of the list, only a new container helps; mend it: cluster apply"
                    .to_owned(),
            );
        }
        Some(gateway) => match &gateway.tunnel {
            None => differences.push("its gateway has no tunnel; look there: docker-compose logs gateway".to_owned()),
            Some(tunnel) => differences.extend(tunnel.differences.iter().cloned()),
        },
    }
    if let Some(offset) = clock.filter(|offset| offset.abs() > CLOCK) {
        let direction = if offset > 0 { "ahead of" } else { "behind" };
        differences.push(format!(
            "its clock is {} s {direction} the others'; mend it: timedatectl set-ntp true",
            offset.abs() / 1000
        ));
    }
    differences
}

struct Ears<'a> {
    fleet: &'a Fleet,
    heard: &'a Heard,
    list: &'a PeerList,
}

impl Ears<'_> {
    /// What one host hears of each other member.
    fn cells(&self, from: &Node) -> Vec<Cell> {
        let heard = self.heard.get(&from.instance.address).map_or(&[][..], Vec::as_slice);
        let others = self.list.peers().filter(|peer| peer.address != from.instance.address);
        let cells = others.map(|peer| {
            let probed = heard.iter().find(|probed| probed.address == peer.address);
            let answers = probed.is_some_and(ProbedPeer::answers);
            let path_mtu = probed.and_then(|probed| probed.path_mtu);
            Cell {
                from: from.instance.address,
                to: peer.address,
                handshake_age: probed.and_then(|probed| probed.handshake_age),
                verdict: verdict(answers, path_mtu).to_owned(),
                cause: (!answers).then(|| self.cause(from, peer.address).to_owned()),
                path_mtu,
            }
        });
        cells.collect()
    }

    /// Why one doesn't hear the other, the plainest reason first.
    fn cause(&self, from: &Node, to: Ipv4Addr) -> &'static str {
        let tunnel = |node: &Node| {
            node.seen().is_some_and(|seen| seen.look.gateway.as_ref().is_some_and(|gateway| gateway.tunnel.is_some()))
        };
        let stale = |node: &Node| {
            node.seen().is_some_and(|seen| seen.look.gateway.as_ref().is_some_and(|gateway| !gateway.stale.is_empty()))
        };
        let other = self.fleet.by_address(to);
        match other {
            _ if !tunnel(from) => "no-tunnel",
            _ if stale(from) => "stale-mount",
            Some(other) if other.seen().is_none() => "down",
            Some(other) if stale(other) => "stale-mount",
            Some(other) if !tunnel(other) => "no-tunnel",
            Some(other) if !knows(other, from) || !knows(from, other) => "lacks-key",
            _ if self.is_elsewhere(to) => "wrong-endpoint",
            Some(other) if self.clocks_differ(from, other) => "clock",
            _ => "blocked",
        }
    }

    /// Whether somebody hears it from another address than the list says.
    fn is_elsewhere(&self, to: Ipv4Addr) -> bool {
        let listed: Option<IpAddr> = self.list.by_address(to).map(|peer| peer.endpoint.ip());
        let answers = self.heard.values().flatten().filter(|probed| probed.address == to && probed.answers());
        answers.filter_map(|probed| probed.endpoint).any(|endpoint| Some(endpoint.ip()) != listed)
    }

    fn clocks_differ(&self, from: &Node, to: &Node) -> bool {
        from.clock.zip(to.clock).is_some_and(|(a, b)| (a - b).abs() > CLOCK)
    }
}

/// Whether one host's list has the other with the key that it has.
fn knows(one: &Node, other: &Node) -> bool {
    let listed = one.seen().and_then(|seen| seen.list.as_ref()?.by_address(other.instance.address));
    let own = other.seen().and_then(|seen| seen.look.key);
    listed.map(|peer| peer.public_key) == own && own.is_some()
}

fn verdict(answers: bool, path_mtu: Option<u16>) -> &'static str {
    match path_mtu {
        _ if !answers => "no-answer",
        Some(_) => "narrow",
        None => "ok",
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
    fn a_narrow_line_is_said_of_the_member_that_has_it() {
        let address = |n: u8| Ipv4Addr::new(10, 8, 3, n);
        let cell = |from: u8, to: u8, path_mtu: Option<u16>| Cell {
            from: address(from),
            to: address(to),
            handshake_age: Some(1),
            verdict: verdict(true, path_mtu).to_owned(),
            cause: None,
            path_mtu,
        };
        // The third's line is narrow, and that between the first and the second a little.
        let cells = [
            cell(1, 2, Some(1408)),
            cell(1, 3, Some(1312)),
            cell(2, 3, Some(1328)),
            cell(3, 1, Some(1312)),
            cell(4, 1, None),
        ];
        let said = narrow(&cells);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said.iter().all(|narrow| narrow.size == 1312), "{said:?}");
        let cells = [cell(1, 2, None), cell(1, 3, Some(1328)), cell(3, 2, Some(1328)), cell(4, 3, Some(1328))];
        let said = narrow(&cells);
        assert_eq!(said, [Narrow { at: address(3), others: vec![address(1), address(2), address(4)], size: 1328 }]);
        assert_eq!(narrow(&[cell(1, 2, None)]), []);
    }

    #[test]
    fn one_clock_that_is_off_does_not_move_the_median() {
        assert_eq!(median(vec![10, -20, 86_400_000]), Some(10));
        assert_eq!(median(vec![]), None);
    }
}
