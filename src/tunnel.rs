//! The live tunnel seen from the host, whoever's gateway it is.
//!
//! The device is read from inside the gateway's namespaces: over netlink where the kernel drives it, by its socket where
//! wireguard-go does. Neither needs anything in the gateway's image, nor Docker.

mod echo;
pub mod mtu;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};

use self::echo::Echo;
use crate::compose::GatewayContainer;
use crate::error::{Context, Result};
use crate::gateway::INTERFACE;
use crate::host::Host;
use crate::report::MemberDocument;
use crate::wireguard::device::{Device, Implementation};
use crate::wireguard::{PeerList, PublicKey};

/// A session older than this is dead: WireGuard makes a new one every two minutes while there is traffic, and rejects
/// packets under one older than three.
pub const SESSION: u64 = 180;
/// For a member that is there and has a session: WireGuard gives one up after 15 s without an answer, and makes a new one.
/// Who has nothing to say to what it is sent answers by a keepalive after 10 s.
pub const SESSION_PATIENCE: Duration = Duration::from_secs(18);
/// For one that has none: WireGuard tries a handshake every 5 s, and this is time for three.
pub const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(12);
/// Seconds after which who sends something makes a new session first.
const REKEY: u64 = 120;
/// What the one that begins a handshake is ahead of the other: longer than a packet takes there and back.
const HEAD_START: Duration = Duration::from_millis(500);
/// A port like any other: the discard service.
const DISCARD: u16 = 9;

/// The tunnel as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// Who does the encryption.
    pub implementation: Implementation,
    /// The device's own public key.
    pub public_key: Option<PublicKey>,
    /// The UDP port it listens on.
    pub listen_port: Option<u16>,
    /// Its peers.
    pub peers: Vec<LiveMember>,
}

/// One peer of it.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveMember {
    /// Its key.
    pub public_key: PublicKey,
    /// Its address in the VPN.
    pub address: Option<Ipv4Addr>,
    /// Where its packets go now.
    pub endpoint: Option<SocketAddr>,
    /// Seconds since the last handshake.
    pub handshake_age: Option<u64>,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
}

/// The tunnel of a running gateway; `None` when it has none.
pub fn observe(host: &Host, gateway: &GatewayContainer) -> Result<Option<Live>> {
    let device = host.inside(gateway.pid, || -> Result<Option<Device>> {
        let mut names = Device::names(host);
        // In the host's own network there may be others, which are somebody else's.
        names.sort_by_key(|name| name.as_str() != INTERFACE);
        for name in names {
            if let Some(device) = Device::observe(host, &name)? {
                return Ok(Some(device));
            }
        }
        Ok(None)
    });
    Ok(device.context("looking into the gateway's container")??.map(Live::from))
}

/// What the live tunnel lacks of the list, or has beyond it: a line each. Endpoints don't count, for peers may roam.
pub fn difference(live: &Live, list: &PeerList) -> Vec<String> {
    let mut lines = Vec::new();
    for peer in list.peers().filter(|peer| Some(peer.public_key) != live.public_key) {
        match live.peers.iter().find(|l| l.public_key == peer.public_key) {
            None => lines.push(format!("{} is in vpn-public.conf, the live tunnel doesn't have it", peer.address)),
            Some(l) if l.address != Some(peer.address) => {
                lines.push(format!("{} has another address in the live tunnel", peer.address));
            }
            Some(_) => {}
        }
    }
    for l in live.peers.iter().filter(|l| !list.peers().any(|p| p.public_key == l.public_key)) {
        let name = l.address.map_or_else(|| l.public_key.short(), |a| a.to_string());
        lines.push(format!("the live tunnel still has {name}, vpn-public.conf doesn't"));
    }
    lines
}

/// SHA-256 of who is a member under which address, in no order and no spelling: equal for a list and for the device that
/// does what the list says.
pub fn digest(members: impl Iterator<Item = (Ipv4Addr, PublicKey)>) -> String {
    let members: BTreeSet<(Ipv4Addr, PublicKey)> = members.collect();
    let text: String = members.iter().map(|(address, key)| format!("{address} {key}\n")).collect();
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sends echo requests through the tunnel: without traffic WireGuard makes no handshake. A member that answers none of
/// them answers all the same, by a keepalive of WireGuard's own.
pub struct Provocation {
    every: Duration,
    begun: bool,
    due: Instant,
}

impl Provocation {
    /// One that is repeated.
    pub fn new(every: Duration) -> Provocation {
        Provocation { every, begun: false, due: Instant::now() }
    }

    /// Sends one to each of these, if it is time. Of two without a session the one with the lower address begins, and the
    /// other only where nothing has come of it: handshakes that cross end in a session that either end has other keys
    /// for, and it stays dead until WireGuard gives it up.
    pub fn send(
        &mut self,
        host: &Host,
        gateway: &GatewayContainer,
        live: Option<&Live>,
        to: &[Ipv4Addr],
    ) -> Result<()> {
        if Instant::now() < self.due {
            return Ok(());
        }
        let first = !std::mem::replace(&mut self.begun, true);
        self.due = Instant::now() + if first { HEAD_START } else { self.every };
        let session = |address: Ipv4Addr| {
            let peer = live.and_then(|live| live.peers.iter().find(|peer| peer.address == Some(address)));
            peer.and_then(|peer| peer.handshake_age).is_some_and(|age| age < REKEY)
        };
        let begins = |address: Ipv4Addr| {
            way_to(address).and_then(|way| way.local_addr()).is_ok_and(|own| own.ip() < IpAddr::V4(address))
        };
        let provoke = || {
            let mut echo = Echo::open()?;
            for address in to {
                if !first || session(*address) || begins(*address) {
                    echo.send((*address, echo::HEADERS));
                }
            }
            Ok(())
        };
        host.inside(gateway.pid, provoke).and_then(|sent| sent).context("sending through the tunnel")
    }
}

/// A socket that tells of the way to an address; nothing is sent.
fn way_to(address: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((address, DISCARD))?;
    Ok(socket)
}

/// The other members as seen through the tunnel, after provoking handshakes and waiting for those that don't come; of
/// those that are reached, how large a packet gets there.
pub fn members(
    host: &Host,
    gateway: Option<&GatewayContainer>,
    list: &PeerList,
    own: PublicKey,
    patience: Duration,
) -> Result<(Option<Live>, Vec<MemberDocument>)> {
    let deadline = Instant::now() + patience;
    let mut provocation = Provocation::new(Duration::from_secs(2));
    loop {
        let live = gateway.map(|gateway| observe(host, gateway)).transpose()?.flatten();
        let mut members = seen(live.as_ref(), list, own);
        let missing: Vec<Ipv4Addr> = members.iter().filter(|m| !m.reached).map(|m| m.vpn_address).collect();
        let (Some(gateway), true) = (gateway, live.is_some() && !missing.is_empty() && Instant::now() < deadline)
        else {
            let reached: Vec<Ipv4Addr> = members.iter().filter(|m| m.reached).map(|m| m.vpn_address).collect();
            let narrow = gateway.map_or_else(BTreeMap::new, |gateway| mtu::narrow_ways(host, gateway, &reached));
            members.iter_mut().for_each(|m| m.path_mtu = narrow.get(&m.vpn_address).copied());
            return Ok((live, members));
        };
        provocation.send(host, gateway, live.as_ref(), &missing)?;
        thread::sleep(Duration::from_millis(200));
    }
}

fn seen(live: Option<&Live>, list: &PeerList, own: PublicKey) -> Vec<MemberDocument> {
    let others = list.peers().filter(|peer| peer.public_key != own);
    others
        .map(|peer| {
            let live = live.and_then(|live| live.peers.iter().find(|l| l.public_key == peer.public_key));
            let handshake_age = live.and_then(|l| l.handshake_age);
            MemberDocument {
                vpn_address: peer.address,
                public_key: peer.public_key,
                endpoint: peer.endpoint,
                live_endpoint: live.and_then(|l| l.endpoint),
                handshake_age,
                received: live.map_or(0, |l| l.received),
                sent: live.map_or(0, |l| l.sent),
                reached: handshake_age.is_some_and(|age| age <= SESSION),
                path_mtu: None,
            }
        })
        .collect()
}

impl From<Device> for Live {
    fn from(device: Device) -> Self {
        let age = |at: SystemTime| SystemTime::now().duration_since(at).unwrap_or_default().as_secs();
        let peers = device.peers.iter().map(|peer| LiveMember {
            public_key: peer.public_key,
            address: peer.address(),
            endpoint: peer.endpoint,
            handshake_age: peer.last_handshake.map(age),
            received: peer.rx_bytes,
            sent: peer.tx_bytes,
        });
        Live {
            implementation: device.implementation,
            public_key: device.public_key,
            listen_port: device.listen_port,
            peers: peers.collect(),
        }
    }
}
