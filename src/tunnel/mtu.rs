//! How large a packet gets through the tunnel (FN-27).
//!
//! WireGuard's usual MTU of 1420 supposes that the whole way carries 1500. Where a cloud or a line carries less and says
//! nothing of it, small packets pass, the handshake among them, and large ones vanish. So members are sent two echo
//! requests, a small one and one of the tunnel's full size, and on a sound way that is all. Where only the small one comes
//! back, ever closer sizes tell the largest that gets there and back.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};

use super::echo::{Echo, Packet};
use super::way_to;
use crate::compose::GatewayContainer;
use crate::host::Host;
use crate::report::MemberDocument;

/// What `explain` knows it by.
pub(crate) const ID: &str = "path-mtu";
/// A size that gets through wherever a handshake does.
const SMALL: u16 = 8 * STEP;
/// WireGuard pads what it sends to multiples of this, so no finer answer can be had.
const STEP: u16 = 16;
/// How often a packet is sent that doesn't come back: some are lost for no reason of size.
const TRIES: u32 = 3;
/// The longest that a packet may take there and back.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a size that was found is tried beside the full one.
const PAIRS: u32 = 6;

/// The members to which the way is too narrow for the tunnel's own MTU, with the size in bytes of the largest packet that
/// gets there and back. One that answers no echo request at all is not among them: nothing is known of it. Nor is anything
/// known where a host doesn't let us measure, which is no failure of the tunnel.
pub fn narrow_ways(host: &Host, gateway: &GatewayContainer, members: &[Ipv4Addr]) -> BTreeMap<Ipv4Addr, u16> {
    let measured = host.inside(gateway.pid, || measure(members)).and_then(|measured| measured);
    measured.unwrap_or_else(|error| {
        tracing::warn!("the path MTU can't be measured: {error}");
        BTreeMap::new()
    })
}

/// What to say of such a way.
pub fn words(size: u16) -> String {
    format!(
        "packets of more than {size} bytes get lost on the way (path MTU); mend it: set the tunnel's MTU to {size} on all \
         instances, see: mitigator-vpn explain {ID}"
    )
}

/// The same for each member that it is true of.
pub fn narrow_members(members: &[MemberDocument]) -> Vec<String> {
    let narrow = members.iter().filter_map(|member| Some((member.vpn_address, member.path_mtu?)));
    narrow.map(|(member, size)| format!("{member}: {}", words(size))).collect()
}

fn measure(members: &[Ipv4Addr]) -> io::Result<BTreeMap<Ipv4Addr, u16>> {
    let mut probe = Probe { echo: Echo::open()?, patience: PATIENCE };
    let mtu = |member| -> io::Result<u16> {
        Ok(getsockopt(&way_to(member)?, sockopt::IpMtu)?.try_into().unwrap_or(u16::MAX))
    };
    let full = members.iter().map(|member| Ok((*member, mtu(*member)?))).collect::<io::Result<BTreeMap<_, u16>>>()?;
    let back =
        probe.returned(&full.iter().flat_map(|(member, size)| [(*member, *size), (*member, SMALL)]).collect())?;
    let narrow = full.iter().filter(|(m, size)| back.contains(&(**m, SMALL)) && !back.contains(&(**m, **size)));

    // In steps: the largest known to fit, and the smallest known not to.
    let mut bounds: BTreeMap<Ipv4Addr, (u16, u16)> =
        narrow.map(|(member, size)| (*member, (SMALL / STEP, size.div_ceil(STEP)))).collect();
    loop {
        let open = bounds.iter().filter(|(_, (fits, fails))| fails - fits > 1);
        let middle: BTreeSet<Packet> = open.map(|(m, (fits, fails))| (*m, fits.midpoint(*fails) * STEP)).collect();
        if middle.is_empty() {
            break;
        }
        let back = probe.returned(&middle)?;
        for packet in middle {
            let (fits, fails) = bounds.get_mut(&packet.0).expect("it is one of them");
            *(if back.contains(&packet) { fits } else { fails }) = packet.1 / STEP;
        }
    }
    let found: BTreeMap<Ipv4Addr, u16> = bounds.into_iter().map(|(member, (fits, _))| (member, fits * STEP)).collect();
    probe.confirmed(found, &full)
}

struct Probe {
    echo: Echo,
    /// How long an answer is waited for, once it is known how long they take.
    patience: Duration,
}

impl Probe {
    /// Sends these packets, some of them more than once; says which came back.
    fn returned(&mut self, packets: &BTreeSet<Packet>) -> io::Result<BTreeSet<Packet>> {
        let mut back = BTreeSet::new();
        for _ in 0..TRIES {
            packets.difference(&back).for_each(|packet| self.echo.send(*packet));
            let start = Instant::now();
            while let Some(left) = self.patience.checked_sub(start.elapsed()).filter(|_| back.len() < packets.len()) {
                back.extend(self.echo.hear(left)?.filter(|packet| packets.contains(packet)));
            }
            if back.len() == packets.len() {
                self.patience = (start.elapsed() * 4).clamp(PATIENCE / 5, PATIENCE);
                break;
            }
        }
        Ok(back)
    }

    /// Which of them it really is the size of. Busy hosts and lines lose packets of any size, the larger ones a little
    /// sooner, so both sizes are sent together, again and again: never may the full one come back, the one that was found
    /// nearly always.
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
            let time = if pair == PAIRS { PATIENCE } else { PATIENCE / 4 };
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
