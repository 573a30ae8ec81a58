//! What the VPN does now, for people and for the host's own status.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, applied};
use crate::error::Result;
use crate::host::Host;
use crate::lang::Lang;
use crate::wireguard::device::{self, Device, Implementation, ObservedPeer};
use crate::wireguard::{ListDigest, PublicKey};

/// `gateway status`. The fields from `implementation` to `peers` are those of the live interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// Reads the live interface and the public list. Changes nothing.
pub fn status(host: &Host, place: &Place) -> Result<Status> {
    let live = Device::observe(host, &place.interface)?;
    let bytes = host.read(&place.public)?;
    let now = SystemTime::now();
    let mut status = Status {
        schema: 1,
        interface: place.interface.to_string(),
        vpn: live.is_some(),
        implementation: None,
        addresses: Vec::new(),
        public_key: None,
        listen_port: None,
        public_sha256: bytes.map(ListDigest::of),
        applied_sha256: None,
        stale: host.stat(&place.public)?.is_some_and(|stat| stat.links == 0),
        peers: Vec::new(),
    };
    if let Some(live) = live {
        status.implementation = Some(live.implementation);
        status.addresses = device::addresses(&live.name)?.iter().map(ToString::to_string).collect();
        status.public_key = live.public_key;
        status.listen_port = live.listen_port;
        status.applied_sha256 = applied::recall(host, &live.name).map(|list| list.digest());
        status.peers = live.peers.iter().map(|peer| PeerStatus::of(peer, now)).collect();
        status.peers.sort_by_key(|peer| (peer.address, peer.public_key));
    }
    Ok(status)
}

impl PeerStatus {
    fn of(peer: &ObservedPeer, now: SystemTime) -> Self {
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

impl Status {
    /// For people: a line for the interface, and a table of the peers.
    pub fn text(&self, lang: Lang) -> String {
        let (Some(implementation), true) = (self.implementation, self.vpn) else {
            return lang.say(&format!("{}: no VPN\n", self.interface));
        };
        let key = self.public_key.map_or("no key".to_owned(), |key| format!("public key {key}"));
        let port = self.listen_port.map_or("no UDP port".to_owned(), |port| format!("UDP port {port}"));
        let [port, kind, key] = [port, format!("{implementation} WireGuard"), key].map(|part| lang.say(&part));
        let mut out = format!("{}: {}, {port}, {kind}, {key}\n", self.interface, self.addresses.join(", "));
        let drift = if self.stale {
            "the public list was replaced on the host: only a restart of the gateway shows the new one\n"
        } else if self.public_sha256 != self.applied_sha256 {
            "the public list has changed since it was applied: run reconfigure\n"
        } else {
            ""
        };
        out.push_str(&lang.say(drift));
        let mut rows =
            vec![["vpn address", "endpoint", "handshake", "received", "sent", "public key"].map(|word| lang.say(word))];
        for peer in &self.peers {
            rows.push([
                peer.allowed_ips.join(",").replace("/32", ""),
                peer.endpoint.map_or("-".to_owned(), |endpoint| endpoint.to_string()),
                lang.say(&peer.handshake_age.map_or("never".to_owned(), |age| format!("{age} s ago"))),
                lang.say(&format!("{} B", peer.rx_bytes)),
                lang.say(&format!("{} B", peer.tx_bytes)),
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
