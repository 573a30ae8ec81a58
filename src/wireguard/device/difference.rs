//! The smallest set of changes from a device as it stands to what it should do.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};

use super::{AllowedIp, Device, ObservedPeer};
use crate::message::Message;
use crate::wireguard::{Peer, PeerList, PrivateKey, PublicKey};
use crate::{counted, message};

/// What the two files of an instance say about its device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WantedDevice<'a> {
    pub key: &'a PrivateKey,
    pub port: u16,
    /// All members, the instance itself among them or not: a device is not its own peer (FN-41).
    pub members: &'a PeerList,
}

/// Changes to a device. The empty value changes nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeviceChanges {
    pub key: Option<PrivateKey>,
    pub port: Option<u16>,
    /// Peers it doesn't have.
    pub add: Vec<Peer>,
    /// Peers it has with other settings.
    pub change: Vec<PeerChange>,
    /// Peers it has and shouldn't have.
    pub remove: Vec<PublicKey>,
}

/// What changes for one peer; everything else about it, its session above all, stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerChange {
    pub public_key: PublicKey,
    /// The one address it may send from.
    pub address: Option<Ipv4Addr>,
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keepalives; 0 turns them off.
    pub keepalive: Option<u16>,
    /// Whether to drop its preshared key: the files have none.
    pub drop_preshared: bool,
}

impl PeerChange {
    fn is_empty(&self) -> bool {
        let PeerChange { public_key: _, address, endpoint, keepalive, drop_preshared } = self;
        address.is_none() && endpoint.is_none() && keepalive.is_none() && !drop_preshared
    }
}

impl DeviceChanges {
    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        let DeviceChanges { key, port, add, change, remove } = self;
        key.is_none() && port.is_none() && add.is_empty() && change.is_empty() && remove.is_empty()
    }
}

impl From<&DeviceChanges> for Message {
    /// One line for a log: `1 peer added, 2 peers removed, port 4567`.
    fn from(changes: &DeviceChanges) -> Self {
        let DeviceChanges { key, port, add, change, remove } = changes;
        let some = |count: usize, message: fn(usize) -> Message| (count > 0).then(|| message(count));
        let parts = [
            some(add.len(), |count| counted!("{count} peer added" | "{count} peers added", count = count)),
            some(change.len(), |count| counted!("{count} peer changed" | "{count} peers changed", count = count)),
            some(remove.len(), |count| counted!("{count} peer removed" | "{count} peers removed", count = count)),
            port.map(|port| message!("port {port}", port)),
            key.as_ref().map(|key| message!("own key {key}…", key = key.public().short())),
        ];
        let parts: Vec<Message> = parts.into_iter().flatten().collect();
        if parts.is_empty() { message!("nothing") } else { Message::joined(parts, ", ") }
    }
}

/// The changes that make `live` what is `wanted`. `before` are the members as they were applied last time: a
/// peer may have roamed since, and only a changed line in the file sends its packets elsewhere.
pub(crate) fn difference(live: &Device, wanted: &WantedDevice, before: &PeerList) -> DeviceChanges {
    let own = wanted.key.public();
    let before: HashMap<PublicKey, SocketAddr> = before.peers().map(|p| (p.public_key, p.endpoint)).collect();
    let peers: HashMap<PublicKey, &ObservedPeer> = live.peers.iter().map(|p| (p.public_key, p)).collect();
    let mut changes = DeviceChanges {
        key: (live.public_key != Some(own)).then(|| wanted.key.clone()),
        port: (live.listen_port != Some(wanted.port)).then_some(wanted.port),
        ..DeviceChanges::default()
    };
    let mut kept = HashSet::new();
    for member in wanted.members.peers().filter(|m| m.public_key != own) {
        kept.insert(member.public_key);
        match peers.get(&member.public_key) {
            None => changes.add.push(member.clone()),
            Some(live) => {
                let change = peer_difference(live, member, before.get(&member.public_key).copied());
                if !change.is_empty() {
                    changes.change.push(change);
                }
            }
        }
    }
    changes.remove = live.peers.iter().map(|p| p.public_key).filter(|key| !kept.contains(key)).collect();
    changes
}

fn peer_difference(live: &ObservedPeer, wanted: &Peer, before: Option<SocketAddr>) -> PeerChange {
    let endpoint = match live.endpoint {
        Some(endpoint) if endpoint == wanted.endpoint || before == Some(wanted.endpoint) => None,
        _ => Some(wanted.endpoint),
    };
    // Two forms of "off": the kernel reports 0, a userspace implementation may leave it out.
    let keepalive = |k: Option<u16>| k.unwrap_or(0);
    PeerChange {
        public_key: wanted.public_key,
        address: (live.allowed != [AllowedIp::from(wanted.address)]).then_some(wanted.address),
        endpoint,
        keepalive: (keepalive(live.keepalive) != keepalive(wanted.keepalive)).then(|| keepalive(wanted.keepalive)),
        drop_preshared: live.preshared,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wireguard::device::Implementation;

    fn member(last: u8) -> Peer {
        Peer {
            public_key: PublicKey::from_bytes([last; 32]),
            address: Ipv4Addr::new(10, 8, 3, last),
            endpoint: SocketAddr::from(([192, 0, 2, last], 4567)),
            keepalive: None,
        }
    }

    fn live(peer: &Peer) -> ObservedPeer {
        ObservedPeer {
            allowed: vec![peer.address.into()],
            endpoint: Some(peer.endpoint),
            keepalive: peer.keepalive,
            ..ObservedPeer::new(peer.public_key)
        }
    }

    fn device(key: &PrivateKey, peers: Vec<ObservedPeer>) -> Device {
        Device {
            name: "wg0".parse().unwrap(),
            implementation: Implementation::Userspace,
            public_key: Some(key.public()),
            listen_port: Some(4567),
            peers,
        }
    }

    fn list(members: &[Peer]) -> PeerList {
        let mut list = PeerList::default();
        members.iter().for_each(|member| list.add(member.clone()).unwrap());
        list
    }

    /// What has to change on a device with these peers for it to have those members.
    fn changes(peers: Vec<ObservedPeer>, members: &[Peer], before: &[Peer]) -> DeviceChanges {
        let key = PrivateKey::generate();
        let wanted = WantedDevice { key: &key, port: 4567, members: &list(members) };
        difference(&device(&key, peers), &wanted, &list(before))
    }

    #[test]
    fn what_is_already_right_is_not_sent_again() {
        let members = [member(1), member(2)];
        assert!(changes(vec![live(&members[1]), live(&members[0])], &members, &[]).is_empty());
    }

    #[test]
    fn only_what_differs_is_sent() {
        let mut stays = member(1);
        stays.keepalive = Some(25);
        let mut moves = member(2);
        let was = live(&moves);
        moves.address = Ipv4Addr::new(10, 8, 3, 22);
        let changes = changes(vec![live(&stays), was, live(&member(3))], &[stays, moves.clone(), member(4)], &[]);
        assert_eq!(changes.add, [member(4)]);
        assert_eq!(changes.remove, [member(3).public_key]);
        assert_eq!(changes.change.len(), 1);
        let change = &changes.change[0];
        assert_eq!((change.public_key, change.address), (moves.public_key, Some(moves.address)));
        assert_eq!((change.endpoint, change.keepalive, change.drop_preshared), (None, None, false));
    }

    #[test]
    fn a_device_is_not_its_own_peer() {
        let key = PrivateKey::generate();
        let mut own = member(1);
        own.public_key = key.public();
        let wanted = WantedDevice { key: &key, port: 4567, members: &list(&[own]) };
        assert!(difference(&device(&key, vec![]), &wanted, &PeerList::default()).is_empty());
    }

    #[test]
    fn a_fresh_device_gets_key_and_port() {
        let key = PrivateKey::generate();
        let fresh = Device { public_key: None, listen_port: None, ..device(&key, vec![]) };
        let wanted = WantedDevice { key: &key, port: 4567, members: &list(&[member(1)]) };
        let changes = difference(&fresh, &wanted, &PeerList::default());
        assert_eq!(changes.key, Some(key));
        assert_eq!((changes.port, changes.add.len()), (Some(4567), 1));
    }

    #[test]
    fn keepalive_zero_is_no_keepalive() {
        let mut peer = live(&member(1));
        peer.keepalive = Some(0);
        assert!(changes(vec![peer], &[member(1)], &[]).is_empty());
        let mut peer = live(&member(1));
        peer.keepalive = Some(25);
        assert_eq!(changes(vec![peer], &[member(1)], &[]).change[0].keepalive, Some(0));
    }

    #[test]
    fn a_preshared_key_that_no_file_knows_goes() {
        let mut peer = live(&member(1));
        peer.preshared = true;
        assert!(changes(vec![peer], &[member(1)], &[]).change[0].drop_preshared);
    }

    #[test]
    fn a_peer_that_roamed_is_left_where_it_is_until_its_line_changes() {
        let mut roamed = live(&member(1));
        roamed.endpoint = Some("198.51.100.7:40000".parse().unwrap());
        assert!(changes(vec![roamed.clone()], &[member(1)], &[member(1)]).is_empty());
        let mut moved = member(1);
        moved.endpoint = "203.0.113.9:4567".parse().unwrap();
        let changes = changes(vec![roamed], std::slice::from_ref(&moved), &[member(1)]);
        assert_eq!(changes.change[0].endpoint, Some(moved.endpoint));
    }

    #[test]
    fn a_peer_that_lost_its_endpoint_gets_it_back() {
        let mut peer = live(&member(1));
        peer.endpoint = None;
        assert_eq!(changes(vec![peer], &[member(1)], &[member(1)]).change[0].endpoint, Some(member(1).endpoint));
    }

    #[test]
    fn the_log_line_holds_no_private_key() {
        let key = PrivateKey::generate();
        let changes =
            DeviceChanges { key: Some(key.clone()), port: Some(1), add: vec![member(1)], ..DeviceChanges::default() };
        let line = format!("{} {changes:?}", Message::from(&changes));
        assert!(line.starts_with("1 peer added, port 1, own key ") && !line.contains(&*key.expose()), "{line}");
    }
}
