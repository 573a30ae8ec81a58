//! How large a packet gets through the tunnel (FN-27).
//!
//! WireGuard's usual MTU of 1420 assumes that the whole path carries 1500 bytes. Where a cloud or a line carries less and
//! reports nothing, small packets pass, the handshake among them, and large ones are lost. So each peer is sent two echo
//! requests, a small one and one of the tunnel's full size. On a sound path that is all. Where only the small one comes
//! back, a binary search finds the largest size that gets there and back.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};

use super::echo::{Echo, Packet};
use super::{ProbedPeer, route_to, timings};
use crate::host::Host;
use crate::message::Message;
use crate::{lang, message};

/// What `explain` knows it by.
pub(crate) const ID: &str = "path-mtu";
/// Bytes of a packet that gets through wherever a handshake does.
const SMALL: u16 = 8 * STEP;
/// WireGuard pads what it sends to multiples of this many bytes, so no finer answer can be had.
const STEP: u16 = 16;
/// How often a packet is sent that doesn't come back: some are lost for other reasons than their size.
const TRIES: u32 = 3;
/// How often a size that was found is tried beside the full one.
const PAIRS: u32 = 6;

/// Fills in `path_mtu` of the peers that answer and to which the path is too narrow for the tunnel's own MTU. A peer that
/// answers no echo request at all stays unknown. So do all where the host doesn't let us measure, which is no failure of
/// the tunnel.
pub(crate) fn measure(host: &Host, gateway: u32, peers: &mut [ProbedPeer]) {
    let answering: Vec<Ipv4Addr> = peers.iter().filter(|peer| peer.answers()).map(|peer| peer.address).collect();
    let measured = host.inside(gateway, |_| narrow_paths(&answering)).and_then(|measured| measured);
    let narrow = measured.unwrap_or_else(|error| {
        lang::warn(&message!("the path MTU can't be measured: {error}", error));
        BTreeMap::new()
    });
    peers.iter_mut().for_each(|peer| peer.path_mtu = narrow.get(&peer.address).copied());
}

/// The finding for a path that carries no packet larger than this many bytes.
pub(crate) fn too_narrow(size: u16) -> Message {
    message!(
        "packets of more than {size} bytes get lost on the way (path MTU); mend it: set the tunnel's MTU to {size} on all \
         instances, see: {command}",
        size,
        command = format!("mitigator-vpn explain {ID}")
    )
}

/// The same for each peer that it applies to.
pub(crate) fn narrow_peers(peers: &[ProbedPeer]) -> Vec<Message> {
    let narrow = peers.iter().filter_map(|peer| Some((peer.address, peer.path_mtu?)));
    narrow.map(|(member, size)| message!("{member}: {reason}", member, reason = too_narrow(size))).collect()
}

/// The largest size in bytes that gets to each of these peers and back, for those where the full one doesn't.
fn narrow_paths(peers: &[Ipv4Addr]) -> io::Result<BTreeMap<Ipv4Addr, u16>> {
    let mut rounds = Rounds { echo: Echo::open()?, patience: timings::ECHO };
    let mtu =
        |peer| -> io::Result<u16> { Ok(getsockopt(&route_to(peer)?, sockopt::IpMtu)?.try_into().unwrap_or(u16::MAX)) };
    let full = peers.iter().map(|peer| Ok((*peer, mtu(*peer)?))).collect::<io::Result<BTreeMap<_, u16>>>()?;
    let back =
        rounds.returned(&full.iter().flat_map(|(member, size)| [(*member, *size), (*member, SMALL)]).collect())?;
    let narrow = full.iter().filter(|(m, size)| back.contains(&(**m, SMALL)) && !back.contains(&(**m, **size)));

    // The largest size known to fit and the smallest known not to, in units of STEP.
    let mut bounds: BTreeMap<Ipv4Addr, (u16, u16)> =
        narrow.map(|(member, size)| (*member, (SMALL / STEP, size.div_ceil(STEP)))).collect();
    loop {
        let open = bounds.iter().filter(|(_, (fits, fails))| fails - fits > 1);
        let middle: BTreeSet<Packet> = open.map(|(m, (fits, fails))| (*m, fits.midpoint(*fails) * STEP)).collect();
        if middle.is_empty() {
            break;
        }
        let back = rounds.returned(&middle)?;
        for packet in middle {
            let (fits, fails) = bounds.get_mut(&packet.0).expect("it is one of them");
            *(if back.contains(&packet) { fits } else { fails }) = packet.1 / STEP;
        }
    }
    let found: BTreeMap<Ipv4Addr, u16> = bounds.into_iter().map(|(member, (fits, _))| (member, fits * STEP)).collect();
    rounds.confirmed(found, &full)
}

/// Rounds of echo requests to many peers at once.
struct Rounds {
    echo: Echo,
    /// How long replies are waited for. It shrinks once it is known how long they take.
    patience: Duration,
}

impl Rounds {
    /// Sends these packets, those that don't come back more than once. Returns which came back.
    fn returned(&mut self, packets: &BTreeSet<Packet>) -> io::Result<BTreeSet<Packet>> {
        let mut back = BTreeSet::new();
        for _ in 0..TRIES {
            packets.difference(&back).for_each(|packet| self.echo.send(*packet));
            let start = Instant::now();
            while let Some(left) = self.patience.checked_sub(start.elapsed()).filter(|_| back.len() < packets.len()) {
                back.extend(self.echo.hear(left)?.filter(|packet| packets.contains(packet)));
            }
            if back.len() == packets.len() {
                self.patience = (start.elapsed() * 4).clamp(timings::QUICK_ECHO, timings::ECHO);
                break;
            }
        }
        Ok(back)
    }

    /// Those of the found sizes that hold. Busy hosts and lines lose packets of any size, larger ones a little more often.
    /// So both sizes are sent together, again and again: the full one must never come back, the one that was found nearly
    /// always.
    fn confirmed(
        &mut self,
        mut found: BTreeMap<Ipv4Addr, u16>,
        full: &BTreeMap<Ipv4Addr, u16>,
    ) -> io::Result<BTreeMap<Ipv4Addr, u16>> {
        let mut returned: BTreeMap<Ipv4Addr, u32> = BTreeMap::new();
        for pair in 1..=PAIRS {
            for (member, size) in &found {
                self.echo.send((*member, *size));
                self.echo.send((*member, full[member]));
            }
            let start = Instant::now();
            let time = if pair == PAIRS { timings::ECHO } else { timings::ECHO_PAIR };
            while let Some(left) = time.checked_sub(start.elapsed()).filter(|_| !found.is_empty()) {
                let Some((member, size)) = self.echo.hear(left)? else { break };
                if size == full[&member] {
                    found.remove(&member);
                } else if found.get(&member) == Some(&size) {
                    *returned.entry(member).or_default() += 1;
                }
            }
        }
        found.retain(|member, _| returned.get(member).is_some_and(|times| *times >= PAIRS - 1));
        Ok(found)
    }
}
