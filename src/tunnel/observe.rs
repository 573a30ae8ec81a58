//! One observation of the live device, and how it compares with a list.

use crate::error::{Context, Result};
use crate::gateway::INTERFACE;
use crate::host::Host;
use crate::message;
use crate::message::Message;
use crate::wireguard::PeerList;
use crate::wireguard::device::Device;

/// The WireGuard device in the namespaces of the gateway's process; `None` when it has none.
pub(crate) fn observe(host: &Host, gateway: u32) -> Result<Option<Device>> {
    let device = host.inside(gateway, |host: &Host| -> Result<Option<Device>> {
        let mut names = Device::names(host)?;
        // In the host's own network there may be other devices, which belong to somebody else.
        names.sort_by_key(|name| name.as_str() != INTERFACE);
        for name in names {
            if let Some(device) = Device::observe(host, &name)? {
                return Ok(Some(device));
            }
        }
        Ok(None)
    });
    device.context(message!("looking into the gateway's container"))?
}

/// What the device lacks of the list, or has beyond it: a line each. Endpoints don't count, for peers may roam.
pub(crate) fn difference(device: &Device, list: &PeerList) -> Vec<Message> {
    let mut lines = Vec::new();
    for peer in list.peers().filter(|peer| Some(peer.public_key) != device.public_key) {
        match device.peer(peer.public_key) {
            None => lines.push(message!(
                "{member} is in vpn-public.conf, the live tunnel doesn't have it",
                member = peer.address
            )),
            Some(observed) if observed.address() != Some(peer.address) => {
                lines.push(message!("{member} has another address in the live tunnel", member = peer.address));
            }
            Some(_) => {}
        }
    }
    for observed in device.peers.iter().filter(|o| !list.peers().any(|peer| peer.public_key == o.public_key)) {
        let name = observed.address().map_or_else(|| observed.public_key.short(), |a| a.to_string());
        lines.push(message!("the live tunnel still has {member}, vpn-public.conf doesn't", member = name));
    }
    lines
}
