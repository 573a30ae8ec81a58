//! Which peers answer through the tunnel.
//!
//! **Reached** has one meaning: a completed handshake, and authenticated bytes from the peer since the probe began, or
//! since the tunnel was last changed where the caller says when that was ([`Baseline`]). WireGuard counts received bytes
//! only after it has checked the peer's key (FN-25). Handshake initiations don't count: a peer sends them as well when
//! nothing gets back to it. Everything else that comes proves both directions.
//!
//! Without traffic WireGuard makes no handshake, so peers are sent echo requests. A peer that answers none of them
//! replies with a keepalive of WireGuard's own.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::echo::{self, Echo};
use super::{mtu, observe, timings};
use crate::error::{Context, Result};
use crate::host::Host;
use crate::message;
use crate::wireguard::device::{self, Device, InterfaceName, ObservedPeer};
use crate::wireguard::{PeerList, PublicKey};

/// Bytes of a handshake initiation, the only message that comes from a peer to which nothing gets back.
const INITIATION: u64 = 148;

/// Whether a peer is reached, and if not, how far it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reachability {
    /// Authenticated bytes came from it: it is reached.
    Answers,
    /// There is a session that isn't dead yet, and nothing comes.
    Silent,
    /// There is no session: no handshake ever, or too long ago.
    NoHandshake,
    /// The device has no such peer, or there is no device.
    NotAPeer,
}

/// What a probe found of one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProbedPeer {
    /// Its address in the VPN.
    pub address: Ipv4Addr,
    /// The key that the device has for it.
    pub public_key: Option<PublicKey>,
    /// Where its packets go now.
    pub endpoint: Option<std::net::SocketAddr>,
    /// Seconds since the last handshake.
    pub handshake_age: Option<u64>,
    /// Bytes that came from it.
    pub received: u64,
    /// Bytes that went to it.
    pub sent: u64,
    /// Whether it is reached.
    pub reachability: Reachability,
    /// Bytes of the largest packet that gets there and back, where one of the tunnel's own MTU doesn't.
    pub path_mtu: Option<u16>,
}

impl ProbedPeer {
    /// Whether it is reached.
    pub(crate) fn answers(&self) -> bool {
        self.reachability == Reachability::Answers
    }
}

/// How the device's counters stood before something was changed or asked. The empty value is for a device that doesn't
/// exist yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Baseline(HashMap<PublicKey, Mark>);

#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    received: u64,
    last_handshake: Option<SystemTime>,
}

impl Baseline {
    pub fn of(device: Option<&Device>) -> Baseline {
        let mark = |peer: &ObservedPeer| Mark { received: peer.rx_bytes, last_handshake: peer.last_handshake };
        Baseline(device.into_iter().flat_map(|d| &d.peers).map(|peer| (peer.public_key, mark(peer))).collect())
    }

    /// Whether the peer has answered since.
    fn is_answered_by(&self, peer: &ObservedPeer) -> bool {
        let before = self.0.get(&peer.public_key).copied().unwrap_or_default();
        // A device that was made anew counts from zero again.
        let came = peer.rx_bytes.checked_sub(before.received).unwrap_or(peer.rx_bytes);
        let is_new_session = peer.last_handshake != before.last_handshake;
        peer.last_handshake.is_some() && came > 0 && (is_new_session || !came.is_multiple_of(INITIATION))
    }
}

/// Probes these peers of the gateway's tunnel until all of them answer, or WireGuard has had its time to recover by
/// itself, or `patience` is over. `gateway` gives the process of the running gateway, and is asked again each time: it may
/// be restarting. Without a running gateway there is nothing to wait for.
pub(crate) fn probe(
    host: &Host,
    gateway: impl Fn() -> Result<Option<u32>>,
    peers: &[Ipv4Addr],
    since: Option<&Baseline>,
    patience: Duration,
) -> Result<(Option<Device>, Vec<ProbedPeer>)> {
    let start = Instant::now();
    let mut probe = Probe::new(peers, since.cloned(), patience);
    let mut pause = timings::FIRST_TICK;
    loop {
        let process = gateway()?;
        let device = process.map(|process| observe(host, process)).transpose()?.flatten();
        let observation = Observation {
            device: device.as_ref(),
            now: SystemTime::now(),
            elapsed: start.elapsed(),
            own_address: || own_address(host, process?, &device.as_ref()?.name),
        };
        let next = probe.next(observation);
        match (next, process) {
            (Next::Speak(to), Some(process)) => speak(host, process, &to)?,
            (Next::Wait, Some(_)) => {}
            (Next::Done, _) | (_, None) => return Ok((device, probe.peers)),
        }
        thread::sleep(pause);
        pause = (pause * 2).min(timings::LONGEST_TICK);
    }
}

/// Probes all peers of the list but the one with the key `own`, and measures the path MTU to those that answer.
pub(crate) fn probe_list(
    host: &Host,
    gateway: impl Fn() -> Result<Option<u32>>,
    list: &PeerList,
    own: PublicKey,
    patience: Duration,
) -> Result<(Option<Device>, Vec<ProbedPeer>)> {
    let others: Vec<Ipv4Addr> = list.peers().filter(|peer| peer.public_key != own).map(|peer| peer.address).collect();
    let (device, mut peers) = probe(host, &gateway, &others, None, patience)?;
    if let Some(process) = gateway()? {
        mtu::measure(host, process, &mut peers);
    }
    Ok((device, peers))
}

/// The instance's own address in the VPN.
fn own_address(host: &Host, gateway: u32, interface: &InterfaceName) -> Option<Ipv4Addr> {
    let addresses = host.inside(gateway, |_| device::addresses(interface)).ok()?.ok()?;
    addresses.first().map(|address| address.address)
}

/// Sends each an echo request through the tunnel.
fn speak(host: &Host, gateway: u32, to: &[Ipv4Addr]) -> Result<()> {
    if to.is_empty() {
        return Ok(());
    }
    let send = |_: &Host| {
        let mut echo = Echo::open()?;
        to.iter().for_each(|address| echo.send((*address, echo::HEADERS)));
        Ok(())
    };
    host.inside(gateway, send).and_then(|sent| sent).context(message!("sending through the tunnel"))
}

/// A probe under way, without IO and without a clock of its own.
struct Probe {
    peers: Vec<ProbedPeer>,
    since: Option<Baseline>,
    patience: Duration,
    /// When peers are spoken to next; `None` before the first time.
    speak_at: Option<Duration>,
}

/// What a probe sees at one instant.
struct Observation<'d, F: FnOnce() -> Option<Ipv4Addr>> {
    device: Option<&'d Device>,
    /// By the wall clock, which handshakes are stamped with.
    now: SystemTime,
    /// Since the probe began.
    elapsed: Duration,
    own_address: F,
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Send these an echo request, then look again.
    Speak(Vec<Ipv4Addr>),
    /// Look again.
    Wait,
    Done,
}

impl Probe {
    fn new(peers: &[Ipv4Addr], since: Option<Baseline>, patience: Duration) -> Probe {
        let unknown = |address: &Ipv4Addr| ProbedPeer {
            address: *address,
            public_key: None,
            endpoint: None,
            handshake_age: None,
            received: 0,
            sent: 0,
            reachability: Reachability::NotAPeer,
            path_mtu: None,
        };
        Probe { peers: peers.iter().map(unknown).collect(), since, patience, speak_at: None }
    }

    fn next(&mut self, observation: Observation<impl FnOnce() -> Option<Ipv4Addr>>) -> Next {
        let Observation { device, now, elapsed, own_address } = observation;
        let since = self.since.get_or_insert_with(|| Baseline::of(device));
        for probed in &mut self.peers {
            probed.update(device.and_then(|device| device.peer_at(probed.address)), since, now);
        }
        let silent: Vec<&ProbedPeer> = self.peers.iter().filter(|peer| peer.is_worth_waiting_for(elapsed)).collect();
        if silent.is_empty() || elapsed >= self.patience {
            return Next::Done;
        }
        if device.is_none() {
            return Next::Wait;
        }
        match self.speak_at {
            // Of two without a session the one with the lower address begins, and the other only where nothing came of
            // it. Handshakes that cross end in a session for which either end has other keys, and it stays dead until
            // WireGuard gives it up.
            None => {
                let own_address = own_address();
                let begins = |peer: &&ProbedPeer| own_address.is_some_and(|own| own < peer.address);
                let first = silent.into_iter().filter(|peer| peer.has_fresh_session() || begins(peer));
                let next = Next::Speak(first.map(|peer| peer.address).collect());
                self.speak_at = Some(elapsed + timings::HEAD_START);
                next
            }
            Some(at) if elapsed >= at => {
                let next = Next::Speak(silent.into_iter().map(|peer| peer.address).collect());
                self.speak_at = Some(elapsed + timings::SPEAK_EVERY);
                next
            }
            Some(_) => Next::Wait,
        }
    }
}

impl ProbedPeer {
    fn update(&mut self, observed: Option<&ObservedPeer>, since: &Baseline, now: SystemTime) {
        self.public_key = observed.map(|peer| peer.public_key);
        self.endpoint = observed.and_then(|peer| peer.endpoint);
        self.handshake_age = observed.and_then(|peer| peer.handshake_age(now));
        self.received = observed.map_or(0, |peer| peer.rx_bytes);
        self.sent = observed.map_or(0, |peer| peer.tx_bytes);
        self.reachability = match observed {
            None => Reachability::NotAPeer,
            Some(peer) if since.is_answered_by(peer) => Reachability::Answers,
            Some(_) if self.handshake_age.is_some_and(|age| age <= timings::SESSION) => Reachability::Silent,
            Some(_) => Reachability::NoHandshake,
        };
    }

    /// Whether WireGuard may still recover by itself, so long after the beginning.
    fn is_worth_waiting_for(&self, elapsed: Duration) -> bool {
        match self.reachability {
            Reachability::Answers => false,
            Reachability::Silent => elapsed < timings::WITH_SESSION,
            Reachability::NoHandshake | Reachability::NotAPeer => elapsed < timings::WITHOUT_SESSION,
        }
    }

    /// Whether a packet to it needs no handshake first.
    fn has_fresh_session(&self) -> bool {
        self.handshake_age.is_some_and(|age| age < timings::REKEY)
    }
}

#[cfg(test)]
mod tests;
