//! How large a packet gets through the tunnel (FN-27).
//!
//! WireGuard's usual MTU of 1420 supposes that the whole way carries 1500. Where a cloud or a line carries less and says
//! nothing of it, small packets pass, the handshake among them, and large ones vanish. So members are sent two echo
//! requests, a small one and one of the tunnel's full size, and on a sound way that is all. Where only the small one comes
//! back, ever closer sizes tell the largest that gets there and back.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, getsockopt, setsockopt, socket, sockopt};

use super::DISCARD;
use crate::facts::Container;
use crate::host::Host;
use crate::report::MemberDocument;

/// What to call it, and `explain` by.
pub const ID: &str = "path-mtu";
/// What `explain` says of it.
pub const EXPLAIN: &str = "
WireGuard's usual MTU is 1420, for ways that carry 1500 bytes all along. Where a cloud, a tunnel or a line on the way
carries less and drops what is larger without a word, the handshake and pings still get through while real traffic
hangs. 'install' and 'status' send each member that answers an echo request of the tunnel's full size, and where it
doesn't come back, smaller ones, down to steps of 16 bytes, which WireGuard pads to. A member that answers no echo
request at all is left out.

Mend it by giving the tunnel the MTU that was found, on every instance, since the other end has to send smaller packets
as well. With the default gateway (--stack default):
  echo MITIGATOR_VPN_MTU=1328 >>/srv/mitigator/.env && cd /srv/mitigator && docker-compose up -d gateway
With the vendor's gateway, until its next restart:
  nsenter -n -t $(docker inspect -f '{{.State.Pid}}' $(docker-compose ps -q gateway)) ip link set dev wg0 mtu 1328
or mend the way: no router on it may drop ICMP 'fragmentation needed' or fragments.";
/// A size that gets through wherever a handshake does.
const SMALL: u16 = 8 * STEP;
/// WireGuard pads what it sends to multiples of this, so no finer answer can be had.
const STEP: u16 = 16;
/// How often a packet is sent that doesn't come back: some are lost for no reason of size.
const TRIES: u32 = 3;
/// The longest that a packet may take there and back.
const PATIENCE: Duration = Duration::from_secs(1);
/// The IPv4 header and that of the echo request.
const HEADERS: u16 = 20 + 8;

/// The members to which the way is too narrow for the tunnel's own MTU, with the size in bytes of the largest packet that
/// gets there and back. One that answers no echo request at all is not among them: nothing is known of it. Nor is anything
/// known where a host doesn't let us measure, which is no failure of the tunnel.
pub fn narrow_ways(host: &Host, gateway: &Container, members: &[Ipv4Addr]) -> BTreeMap<Ipv4Addr, u16> {
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

/// A packet to send: to whom, and its size in bytes, IP header included.
type Packet = (Ipv4Addr, u16);

fn measure(members: &[Ipv4Addr]) -> io::Result<BTreeMap<Ipv4Addr, u16>> {
    let mut echo = Echo::open()?;
    let full =
        members.iter().map(|member| Ok((*member, mtu_towards(*member)?))).collect::<io::Result<BTreeMap<_, _>>>()?;
    let back = echo.returned(&full.iter().flat_map(|(member, size)| [(*member, *size), (*member, SMALL)]).collect())?;
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
        let back = echo.returned(&middle)?;
        for packet in middle {
            let (fits, fails) = bounds.get_mut(&packet.0).expect("it is one of them");
            *(if back.contains(&packet) { fits } else { fails }) = packet.1 / STEP;
        }
    }

    // A busy host is late with packets of any size. It is the size only if the large one stays away where the smaller
    // one, sent in the same moment, comes back.
    echo.patience = PATIENCE;
    let found: BTreeMap<Ipv4Addr, u16> = bounds.into_iter().map(|(member, (fits, _))| (member, fits * STEP)).collect();
    let both = found.iter().flat_map(|(member, size)| [(*member, *size), (*member, full[member])]).collect();
    let back = echo.returned(&both)?;
    let by_size =
        |(member, size): &Packet| back.contains(&(*member, *size)) && !back.contains(&(*member, full[member]));
    Ok(found.into_iter().filter(by_size).collect())
}

/// The MTU of the interface that packets to this address leave by.
fn mtu_towards(address: Ipv4Addr) -> io::Result<u16> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((address, DISCARD))?;
    Ok(getsockopt(&socket, sockopt::IpMtu)?.try_into().unwrap_or(u16::MAX))
}

/// Echo requests of any size, and who answers them.
struct Echo {
    /// A raw ICMP socket: sendto(2) and recvfrom(2) are the same for all.
    socket: UdpSocket,
    identifier: u16,
    sequence: u16,
    /// How long an answer is waited for, once it is known how long they take.
    patience: Duration,
}

impl Echo {
    fn open() -> io::Result<Echo> {
        let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)?;
        // The answers of hundreds come at once; a smaller buffer makes some of them late.
        let _ = setsockopt(&raw, sockopt::RcvBufForce, &(4 << 20));
        Ok(Echo { socket: raw.into(), identifier: std::process::id() as u16, sequence: 0, patience: PATIENCE })
    }

    /// Sends these packets, some of them more than once; says which came back.
    fn returned(&mut self, packets: &BTreeSet<Packet>) -> io::Result<BTreeSet<Packet>> {
        let mut back = BTreeSet::new();
        let mut sent = BTreeMap::new();
        for _ in 0..TRIES {
            for packet in packets.difference(&back) {
                let (member, size) = *packet;
                self.sequence = self.sequence.wrapping_add(1);
                sent.insert(self.sequence, *packet);
                // Up to the interface's MTU the kernel sends it whole, and forbids others to fragment it. One that can't
                // be sent is one that doesn't come back.
                let _ = self.socket.send_to(&request(self.identifier, self.sequence, size), (member, 0));
            }
            let start = Instant::now();
            while back.len() < packets.len() {
                let Some(left) = self.patience.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) else {
                    break;
                };
                self.socket.set_read_timeout(Some(left))?;
                match self.hear() {
                    Ok(Some((from, sequence))) => {
                        back.extend(sent.get(&sequence).filter(|(member, _)| *member == from));
                    }
                    Ok(None) => {}
                    Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                    Err(e) => return Err(e),
                }
            }
            if back.len() == packets.len() {
                self.patience = (start.elapsed() * 4).clamp(PATIENCE / 5, PATIENCE);
                break;
            }
        }
        Ok(back)
    }

    /// The next answer to one of our requests, if it is one.
    fn hear(&self) -> io::Result<Option<(Ipv4Addr, u16)>> {
        let mut packet = [0; 64];
        let (length, from) = self.socket.recv_from(&mut packet)?;
        let IpAddr::V4(from) = from.ip() else { return Ok(None) };
        Ok(reply(&packet[..length], self.identifier).map(|sequence| (from, sequence)))
    }
}

/// An ICMP echo request that makes an IPv4 packet of this size.
fn request(identifier: u16, sequence: u16, size: u16) -> Vec<u8> {
    let mut packet = vec![8, 0, 0, 0];
    packet.extend(identifier.to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    packet.resize(packet.len() + usize::from(size.saturating_sub(HEADERS)), 0);
    let checksum = checksum(&packet).to_be_bytes();
    packet[2..4].copy_from_slice(&checksum);
    packet
}

/// The sequence number of an IPv4 packet that answers a request with this identifier.
fn reply(packet: &[u8], identifier: u16) -> Option<u16> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    match packet.get(header..header + 8)? {
        [0, 0, _, _, a, b, c, d] if u16::from_be_bytes([*a, *b]) == identifier => Some(u16::from_be_bytes([*c, *d])),
        _ => None,
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_whose_checksum_comes_out_even() {
        for size in [HEADERS, 29, SMALL, 1420] {
            let packet = request(0xbeef, 7, size);
            assert_eq!(packet.len() + 20, usize::from(size));
            assert_eq!(checksum(&packet), 0, "{size}");
        }
        // RFC 1071's own example.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn only_an_answer_to_our_own_request_counts() {
        let packet = |icmp: u8, identifier: u16| {
            let mut packet = vec![0x46; 24];
            packet.extend([icmp, 0, 0, 0]);
            packet.extend(identifier.to_be_bytes());
            packet.extend([1, 2]);
            packet
        };
        assert_eq!(reply(&packet(0, 7), 7), Some(0x0102), "behind a header with options");
        assert_eq!(reply(&packet(0, 8), 7), None);
        assert_eq!(reply(&packet(8, 7), 7), None, "a request of somebody else's");
        assert_eq!(reply(&packet(0, 7)[..30], 7), None, "cut short");
        assert_eq!(reply(&[], 7), None);
    }
}
