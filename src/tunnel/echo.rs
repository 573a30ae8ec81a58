//! ICMP echo requests of any size, and their replies.
//!
//! Linux doesn't limit the rate of echo replies. "Port unreachable" it sends no more than once a second to one address and
//! a thousand times a second in all, which is too few when a whole cluster probes at once.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt};

/// Bytes of the IPv4 header and that of the echo request: the smallest size.
pub(crate) const HEADERS: u16 = 20 + 8;

/// A packet to send: to whom, and its size in bytes, IP header included.
pub(crate) type Packet = (Ipv4Addr, u16);

/// A raw ICMP socket, and what it has sent.
pub(crate) struct Echo {
    /// A raw socket. sendto(2) and recvfrom(2) are the same for all kinds.
    socket: UdpSocket,
    identifier: u16,
    sequence: u16,
    /// Packets that haven't come back yet, by sequence number.
    away: HashMap<u16, Packet>,
}

impl Echo {
    /// In the network namespace of this thread.
    pub(crate) fn open() -> io::Result<Echo> {
        let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)?;
        // Hundreds of replies come at once; a smaller buffer would drop some.
        let _ = setsockopt(&raw, sockopt::RcvBufForce, &(4 << 20));
        // A raw socket receives the replies to every process's requests.
        let identifier = RandomState::new().build_hasher().finish() as u16;
        Ok(Echo { socket: raw.into(), identifier, sequence: 0, away: HashMap::new() })
    }

    /// Sends one. Up to the interface's MTU the kernel sends it whole, with the don't-fragment bit. One that can't be sent
    /// counts as one that doesn't come back.
    pub(crate) fn send(&mut self, packet: Packet) {
        self.sequence = self.sequence.wrapping_add(1);
        self.away.insert(self.sequence, packet);
        let _ = self.socket.send_to(&request(self.identifier, self.sequence, packet.1), (packet.0, 0));
    }

    /// The next packet that comes back, whenever it was sent; `None` when none does in that time.
    pub(crate) fn hear(&mut self, patience: Duration) -> io::Result<Option<Packet>> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            let mut packet = [0; 64];
            let (length, from) = match self.socket.recv_from(&mut packet) {
                Ok(heard) => heard,
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => continue,
                Err(e) => return Err(e),
            };
            let Some(sequence) = reply(&packet[..length], self.identifier) else { continue };
            if self.away.get(&sequence).is_some_and(|(to, _)| IpAddr::V4(*to) == from.ip()) {
                return Ok(self.away.remove(&sequence));
            }
        }
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
        for size in [HEADERS, 29, 128, 1420] {
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
