//! Addresses, routes, ports.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Reading;
use crate::host::Process;

/// Addresses, routes, ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Net {
    /// Interface addresses: interface name, address, prefix length.
    pub addresses: Vec<InterfaceAddress>,
    /// IPv4 routes: destination as CIDR (`default` is `0.0.0.0/0`), and device.
    pub routes: Vec<Route>,
    /// Interfaces with an address that the kernel calls down: switched off, without a carrier, a bridge with nothing on it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub down: BTreeSet<String>,
    /// All bound UDP ports.
    pub udp: Vec<UdpListener>,
}

/// One address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterfaceAddress {
    /// The interface.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// Its prefix length.
    pub prefix: u8,
}

/// One IPv4 route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Network address.
    pub network: Ipv4Addr,
    /// Prefix length.
    pub prefix: u8,
    /// Outgoing interface.
    pub device: String,
}

/// A bound UDP port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UdpListener {
    /// The local address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The process, `galera (pid 812)`; `None` for the kernel's own sockets, such as WireGuard's.
    pub process: Option<Process>,
}

/// The longest table of the kernel that is read, in bytes.
const TABLE: u64 = 256 << 20;

/// Reads this part of the facts.
pub(crate) fn gather(reading: &Reading) -> Net {
    let host = reading.host;
    if !host.is_live() {
        return Net::default();
    }
    let addresses: Vec<InterfaceAddress> = reading
        .known(host.interface_addresses())
        .into_iter()
        .map(|(interface, address, prefix)| InterfaceAddress { interface, address, prefix })
        .collect();
    let is_down = |interface: &&String| is_down(&reading.text(&format!("/sys/class/net/{interface}/operstate")));
    let down = addresses.iter().map(|own| &own.interface).filter(is_down).cloned().collect();
    Net { addresses, down, routes: parse_routes(&table(reading, "/proc/net/route")), udp: udp(reading) }
}

/// Tunnels and lo are `unknown`, and carry packets.
fn is_down(operstate: &str) -> bool {
    ["down", "lowerlayerdown", "notpresent"].contains(&operstate.trim())
}

/// A table of the kernel. A router with all routes of the Internet has a million, of 128 bytes each.
fn table(reading: &Reading, path: &str) -> String {
    reading.known(reading.host.read_database(Path::new(path), TABLE)).unwrap_or_default()
}

/// All bound UDP ports, with the process that has each open.
fn udp(reading: &Reading) -> Vec<UdpListener> {
    let mut sockets = parse_udp(&table(reading, "/proc/net/udp"));
    sockets.extend(parse_udp(&table(reading, "/proc/net/udp6")));
    let inodes: Vec<u64> = sockets.iter().map(|socket| socket.inode).collect();
    let owners = reading.known(reading.host.socket_owners(&inodes));
    sockets
        .into_iter()
        .map(|socket| UdpListener {
            address: socket.address,
            port: socket.port,
            process: owners.get(&socket.inode).cloned(),
        })
        .collect()
}

/// Reads /proc/net/route: the main table, addresses in hexadecimal and in the machine's byte order.
fn parse_routes(text: &str) -> Vec<Route> {
    const UP: u32 = 1;
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [device, destination, _, flags, _, _, _, mask, ..] = fields[..] else { return None };
        if u32::from_str_radix(flags, 16).ok()? & UP == 0 {
            return None;
        }
        let prefix = u32::from_str_radix(mask, 16).ok()?.count_ones() as u8;
        Some(Route { network: ipv4(destination)?, prefix, device: device.to_owned() })
    };
    text.lines().skip(1).filter_map(route).collect()
}

/// One line of /proc/net/udp or udp6.
#[derive(Debug, PartialEq, Eq)]
struct UdpSocket {
    address: IpAddr,
    port: u16,
    inode: u64,
}

fn parse_udp(text: &str) -> Vec<UdpSocket> {
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, port) = fields.get(1)?.split_once(':')?;
        let address = if address.len() == 8 { ipv4(address)?.into() } else { ipv6(address)?.into() };
        Some(UdpSocket { address, port: u16::from_str_radix(port, 16).ok()?, inode: fields.get(9)?.parse().ok()? })
    };
    text.lines().skip(1).filter_map(socket).collect()
}

fn ipv4(hex: &str) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(u32::from_str_radix(hex, 16).ok()?.to_ne_bytes()))
}

/// Four words, each in the machine's own byte order.
fn ipv6(hex: &str) -> Option<Ipv6Addr> {
    let mut bytes = [0; 16];
    for (word, bytes) in bytes.chunks_exact_mut(4).enumerate() {
        let digits = hex.get(word * 8..word * 8 + 8)?;
        bytes.copy_from_slice(&u32::from_str_radix(digits, 16).ok()?.to_ne_bytes());
    }
    Some(Ipv6Addr::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;

    #[test]
    fn routes_of_a_docker_host() {
        // A reject route has no device; a route that is down is left out.
        let text = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
*\t0000000A\t00000000\t0201\t0\t0\t0\t000000FF\t0\t0\t0
eth1\t0003080A\t00000000\t0000\t0\t0\t0\t00FFFFFF\t0\t0\t0
";
        let routes: Vec<String> =
            parse_routes(text).into_iter().map(|r| format!("{}/{} {}", r.network, r.prefix, r.device)).collect();
        assert_eq!(routes, ["0.0.0.0/0 eth0", "172.17.0.0/16 docker0", "192.0.2.0/24 eth0", "10.0.0.0/8 *"]);
    }

    #[test]
    fn sockets_of_both_families() {
        let text = "\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
   77: 0100007F:11D7 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 30851 2 0000000000000000 0
 1234: 00000000:11D8 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 0 2 0000000000000000 0
";
        let six = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 4661: 00000000000000000000000001000000:11D9 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 31007 2 0000000000000000 0
";
        let sockets: Vec<String> = parse_udp(text)
            .into_iter()
            .chain(parse_udp(six))
            .map(|s| format!("{} {} {}", s.address, s.port, s.inode))
            .collect();
        assert_eq!(sockets, ["127.0.0.1 4567 30851", "0.0.0.0 4568 0", "::1 4569 31007"]);
    }

    #[test]
    fn a_port_of_this_process_is_found_with_its_name() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let net = gather(&Reading::of(&Host::live()));
        let found = net.udp.iter().find(|l| l.port == port).unwrap();
        assert_eq!(found.process.as_ref().unwrap().pid, std::process::id());
    }

    #[test]
    fn a_mounted_tree_has_no_network() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(gather(&Reading::of(&Host::at(dir.path()).unwrap())), Net::default());
    }
}
