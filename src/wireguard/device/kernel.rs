//! A device that the kernel drives, over netlink.

use std::collections::HashMap;
use std::io::{self, ErrorKind};

use nix::libc;
use wireguard_control::{Backend, DeviceUpdate, Key, PeerConfigBuilder, PeerInfo};
use zeroize::Zeroize;

use super::{AllowedIp, Device, DeviceChanges, Implementation, InterfaceName, ObservedPeer};
use crate::wireguard::PublicKey;

/// The interfaces of type wireguard.
pub(super) fn names() -> io::Result<Vec<InterfaceName>> {
    let names = wireguard_control::Device::list(Backend::Kernel)?;
    Ok(names.iter().filter_map(|name| name.as_str_lossy().parse().ok()).collect())
}

/// The device of this name; `None` when the kernel drives no such device.
pub(super) fn get(name: &InterfaceName) -> io::Result<Option<Device>> {
    let mut device = match wireguard_control::Device::get(&foreign(name)?, Backend::Kernel) {
        Ok(device) => device,
        // No WireGuard in this kernel, no such interface, an interface of another type.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP)) => return Ok(None),
        Err(e) => return Err(e),
    };
    if let Some(key) = &mut device.private_key {
        key.0.zeroize();
    }
    Ok(Some(Device {
        name: name.clone(),
        implementation: Implementation::Kernel,
        public_key: device.public_key.map(|key| PublicKey::from_bytes(key.0)),
        listen_port: device.listen_port.filter(|port| *port != 0),
        peers: merged(device.peers),
    }))
}

/// Makes a device; `false` when this kernel has no WireGuard.
pub(super) fn create(name: &InterfaceName) -> io::Result<bool> {
    match DeviceUpdate::new().apply(&foreign(name)?, Backend::Kernel) {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Applies the changes to the device.
pub(super) fn set(name: &InterfaceName, changes: &DeviceChanges) -> io::Result<()> {
    let mut update = DeviceUpdate::new();
    if let Some(key) = &changes.key {
        update = update.set_private_key(Key(*key.expose_bytes()));
    }
    if let Some(port) = changes.port {
        update = update.set_listen_port(port);
    }
    // Removals first, so that an address is free before somebody else gets it.
    for key in &changes.remove {
        update = update.remove_peer_by_key(&Key(*key.as_bytes()));
    }
    for change in &changes.change {
        let mut peer = PeerConfigBuilder::new(&Key(*change.public_key.as_bytes()));
        if change.drop_preshared {
            peer = peer.unset_preshared_key();
        }
        if let Some(endpoint) = change.endpoint {
            peer = peer.set_endpoint(endpoint);
        }
        if let Some(seconds) = change.keepalive {
            peer = peer.set_persistent_keepalive_interval(seconds);
        }
        if let Some(address) = change.address {
            peer = peer.replace_allowed_ips().add_allowed_ip(address.into(), 32);
        }
        update = update.add_peer(peer);
    }
    for member in &changes.add {
        let peer = PeerConfigBuilder::new(&Key(*member.public_key.as_bytes()))
            .set_endpoint(member.endpoint)
            .set_persistent_keepalive_interval(member.keepalive.unwrap_or(0))
            .replace_allowed_ips()
            .add_allowed_ip(member.address.into(), 32);
        update = update.add_peer(peer);
    }
    update.apply(&foreign(name)?, Backend::Kernel)
}

fn foreign(name: &InterfaceName) -> io::Result<wireguard_control::InterfaceName> {
    name.as_str().parse().map_err(|_| ErrorKind::InvalidInput.into())
}

/// Every peer once: the kernel spreads one with many addresses over several messages.
fn merged(infos: Vec<PeerInfo>) -> Vec<ObservedPeer> {
    let mut peers: Vec<ObservedPeer> = Vec::with_capacity(infos.len());
    let mut seen = HashMap::with_capacity(infos.len());
    for PeerInfo { config, stats } in infos {
        let key = PublicKey::from_bytes(config.public_key.0);
        let index = *seen.entry(key).or_insert(peers.len());
        let allowed = config.allowed_ips.iter().map(|ip| AllowedIp { address: ip.address, prefix: ip.cidr });
        match peers.get_mut(index) {
            // The following parts repeat the key and have more addresses.
            Some(peer) => peer.allowed.extend(allowed),
            None => peers.push(ObservedPeer {
                public_key: key,
                allowed: allowed.collect(),
                endpoint: config.endpoint,
                keepalive: config.persistent_keepalive_interval.filter(|seconds| *seconds != 0),
                preshared: config.preshared_key.is_some_and(|key| key.0 != [0; 32]),
                last_handshake: stats.last_handshake_time,
                rx_bytes: stats.rx_bytes,
                tx_bytes: stats.tx_bytes,
            }),
        }
    }
    peers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_spread_over_messages_is_one_peer() {
        let part = |key: u8, last: u8, endpoint: Option<&str>| {
            let mut info = PeerInfo::from_public_key(Key([key; 32]));
            info.config.allowed_ips = vec![wireguard_control::AllowedIp { address: [10, 8, 3, last].into(), cidr: 32 }];
            info.config.endpoint = endpoint.map(|e| e.parse().unwrap());
            info.config.persistent_keepalive_interval = Some(0);
            info.config.preshared_key = Some(Key([0; 32]));
            info
        };
        let parts = vec![part(1, 1, Some("192.0.2.1:1")), part(2, 2, None), part(2, 3, None)];
        let peers = merged(parts);
        assert_eq!(peers.len(), 2);
        assert_eq!(peers[1].allowed.len(), 2);
        assert_eq!((peers[0].keepalive, peers[0].preshared), (None, false));
        assert!(peers[0].endpoint.is_some());
    }
}
