//! What the VPN does now.

use super::{InterfaceFiles, applied};
use crate::error::Result;
use crate::host::Host;
use crate::wireguard::ListDigest;
use crate::wireguard::device::{self, Address, Device, InterfaceName};

/// The live interface and the public list.
#[derive(Debug)]
pub(crate) struct GatewayStatus {
    pub interface: InterfaceName,
    /// `None` where the gateway makes none: there is no full configuration.
    pub device: Option<Device>,
    pub addresses: Vec<Address>,
    /// The public list as the gateway sees it; `None` when it sees none.
    pub seen: Option<ListDigest>,
    /// The public list that was applied last.
    pub applied: Option<ListDigest>,
    /// Whether the public list was replaced behind a bind mount, so that only a restart shows the new one.
    pub stale: bool,
}

/// Reads the live interface and the public list. Changes nothing.
pub(crate) fn status(host: &Host, files: &InterfaceFiles) -> Result<GatewayStatus> {
    let device = Device::observe(host, &files.interface)?;
    let list = host.read(&files.public)?;
    let (addresses, applied) = match &device {
        Some(device) => (device::addresses(&device.name)?, applied::recall(host, &device.name)?),
        None => (Vec::new(), None),
    };
    Ok(GatewayStatus {
        interface: files.interface.clone(),
        device,
        addresses,
        seen: list.map(ListDigest::of),
        applied: applied.map(|list| list.digest()),
        stale: host.stat(&files.public)?.is_some_and(|stat| stat.links == 0),
    })
}
