//! What `gateway status` and `gateway reconfigure` have to say.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Document, SCHEMA, Text};
use crate::gateway::{GatewayStatus, Reconfigured};
use crate::lang::Lang;
use crate::message;
use crate::message::Message;
use crate::wireguard::device::{Device, Implementation, ObservedPeer};
use crate::wireguard::{ListDigest, PublicKey};

/// `gateway status --json`. The fields from `implementation` to `peers` are those of the live interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Status")]
pub struct GatewayStatusDocument {
    /// The version of this document.
    pub schema: u32,
    /// The interface.
    pub interface: String,
    /// Whether it is there: without a full configuration the gateway makes none.
    pub vpn: bool,
    /// Who does the encryption.
    pub implementation: Option<Implementation>,
    /// The interface's addresses, with the prefix length of their network.
    pub addresses: Vec<String>,
    /// This instance's public key.
    pub public_key: Option<PublicKey>,
    /// The UDP port it listens on.
    pub listen_port: Option<u16>,
    /// SHA-256 of the public list as the gateway sees it; `null` when it sees none.
    pub public_sha256: Option<ListDigest>,
    /// SHA-256 of the public list that was applied last: another one means that a `reconfigure` is due.
    pub applied_sha256: Option<ListDigest>,
    /// Whether the public list was replaced behind a bind mount, so that only a restart shows the new one.
    pub stale: bool,
    /// The other instances, by their VPN address.
    pub peers: Vec<PeerStatus>,
}

/// One other instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PeerStatus {
    /// Its key.
    pub public_key: PublicKey,
    /// Its address in the VPN.
    pub address: Option<Ipv4Addr>,
    /// Everything it may send from.
    pub allowed_ips: Vec<String>,
    /// Where its packets go now.
    #[schemars(with = "Option<String>")]
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keepalives; `null` when they are off.
    pub keepalive: Option<u16>,
    /// When the current session was agreed on, in seconds since 1970; `null` without one.
    pub last_handshake: Option<u64>,
    /// How many seconds ago that was.
    pub handshake_age: Option<u64>,
    /// Bytes that came from it.
    pub rx_bytes: u64,
    /// Bytes that went to it.
    pub tx_bytes: u64,
}

impl GatewayStatusDocument {
    pub(crate) fn new(status: &GatewayStatus, now: SystemTime) -> Self {
        let device = status.device.as_ref();
        let mut peers: Vec<PeerStatus> =
            device.into_iter().flat_map(|device| &device.peers).map(|peer| PeerStatus::new(peer, now)).collect();
        peers.sort_by_key(|peer| (peer.address, peer.public_key));
        GatewayStatusDocument {
            schema: SCHEMA,
            interface: status.interface.to_string(),
            vpn: device.is_some(),
            implementation: device.map(|device| device.implementation),
            addresses: status.addresses.iter().map(ToString::to_string).collect(),
            public_key: device.and_then(|device: &Device| device.public_key),
            listen_port: device.and_then(|device| device.listen_port),
            public_sha256: status.seen,
            applied_sha256: status.applied,
            stale: status.stale,
            peers,
        }
    }
}

impl PeerStatus {
    fn new(peer: &ObservedPeer, now: SystemTime) -> Self {
        let since_1970 = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|d| d.as_secs());
        PeerStatus {
            public_key: peer.public_key,
            address: peer.address(),
            allowed_ips: peer.allowed.iter().map(ToString::to_string).collect(),
            endpoint: peer.endpoint,
            keepalive: peer.keepalive,
            last_handshake: peer.last_handshake.and_then(since_1970),
            handshake_age: peer.handshake_age(now),
            rx_bytes: peer.rx_bytes,
            tx_bytes: peer.tx_bytes,
        }
    }
}

impl Document for GatewayStatusDocument {
    /// A line for the interface, and a table of the peers.
    fn text(&self, lang: Lang) -> String {
        let Some(implementation) = self.implementation else {
            return lang.render(&message!("{name}: no VPN", name = &self.interface)) + "\n";
        };
        let port = self.listen_port.map_or(message!("no UDP port"), |port| message!("UDP port {port}", port));
        let key = self.public_key.map_or(message!("no key"), |key| message!("public key {key}", key));
        let parts = [port, message!("{implementation} WireGuard", implementation), key].map(|part| lang.render(&part));
        let mut out = format!("{}: {}, {}\n", self.interface, self.addresses.join(", "), parts.join(", "));
        if let Some(drift) = self.drift() {
            let _ = writeln!(out, "{}", lang.render(&drift));
        }
        let heads = [
            message!("vpn address"),
            message!("endpoint"),
            message!("handshake"),
            message!("received"),
            message!("sent"),
            message!("public key"),
        ];
        let mut rows = vec![heads.map(|word| lang.render(&word))];
        for peer in &self.peers {
            let handshake = peer.handshake_age.map_or(message!("never"), |age| message!("{count} s ago", count = age));
            rows.push([
                peer.allowed_ips.join(",").replace("/32", ""),
                peer.endpoint.map_or("-".to_owned(), |endpoint| endpoint.to_string()),
                lang.render(&handshake),
                lang.render(&message!("{count} B", count = peer.rx_bytes)),
                lang.render(&message!("{count} B", count = peer.tx_bytes)),
                peer.public_key.to_string(),
            ]);
        }
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 6] = std::array::from_fn(width);
        for row in &rows {
            let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            let _ = writeln!(out, "{}", cells.join("  ").trim_end());
        }
        out
    }
}

impl GatewayStatusDocument {
    /// How the live interface has fallen behind the list.
    fn drift(&self) -> Option<Message> {
        if self.stale {
            Some(message!("the public list was replaced on the host: only a restart of the gateway shows the new one"))
        } else if self.public_sha256 != self.applied_sha256 {
            Some(message!("the public list has changed since it was applied: run reconfigure"))
        } else {
            None
        }
    }
}

/// `gateway reconfigure --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Reconfigured")]
pub struct ReconfiguredDocument {
    /// The version of this document.
    pub schema: u32,
    /// Whether there is a VPN; without one there was nothing to do.
    pub vpn: bool,
    /// Peers that were added.
    pub added: usize,
    /// Peers that were changed.
    pub changed: usize,
    /// Peers that were removed.
    pub removed: usize,
    /// The new UDP port, if it is new.
    pub port: Option<u16>,
    /// Whether this instance has a new key.
    pub key: bool,
    /// In a few words.
    pub summary: Text,
}

impl From<Reconfigured> for ReconfiguredDocument {
    fn from(reconfigured: Reconfigured) -> Self {
        let Reconfigured { vpn, changes, summary } = reconfigured;
        ReconfiguredDocument {
            schema: SCHEMA,
            vpn,
            added: changes.add.len(),
            changed: changes.change.len(),
            removed: changes.remove.len(),
            port: changes.port,
            key: changes.key.is_some(),
            summary: Text(summary),
        }
    }
}

impl Document for ReconfiguredDocument {
    fn text(&self, lang: Lang) -> String {
        lang.render(&self.summary.0) + "\n"
    }
}
