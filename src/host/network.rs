//! What only the kernel knows about this host's network: interface addresses, and which process owns a socket.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use super::{Host, Process};
use crate::error::{Context, Result};
use crate::message;

impl Host {
    /// Interface, address and prefix length of every address; empty for a mounted tree.
    pub(crate) fn interface_addresses(&self) -> Result<Vec<(String, IpAddr, u8)>> {
        if !self.is_live() {
            return Ok(Vec::new());
        }
        let addresses = getifaddrs().context(message!("reading the addresses of this host"))?;
        Ok(addresses
            .filter_map(|a| {
                let address = ip(&a.address?)?;
                let prefix = match a.netmask.as_ref().and_then(ip) {
                    Some(IpAddr::V4(mask)) => mask.to_bits().count_ones(),
                    Some(IpAddr::V6(mask)) => mask.to_bits().count_ones(),
                    None if address.is_ipv4() => 32,
                    None => 128,
                };
                Some((a.interface_name, address, prefix as u8))
            })
            .collect())
    }

    /// Which process has each of these sockets open, by inode. Sockets of the kernel itself, and those of processes that
    /// we may not look into, are missing from the answer.
    pub(crate) fn socket_owners(&self, inodes: &[u64]) -> Result<BTreeMap<u64, Process>> {
        let mut owners = BTreeMap::new();
        if !self.is_live() {
            return Ok(owners);
        }
        let what = || message!("listing {path}", path = "/proc");
        for process in fs::read_dir("/proc").with_context(what)? {
            let process = process.with_context(what)?;
            if inodes.iter().all(|inode| owners.contains_key(inode)) {
                break;
            }
            let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
            for link in files.filter_map(|file| fs::read_link(file.ok()?.path()).ok()) {
                let Some(inode) = link.to_str().and_then(socket_inode).filter(|i| inodes.contains(i)) else { continue };
                // /proc lists by pid: the first is the one that opened it, later ones inherited it.
                if let Entry::Vacant(owner) = owners.entry(inode) {
                    owner.insert(Process::of(pid).unwrap_or(Process { name: String::new(), pid }));
                }
            }
        }
        Ok(owners)
    }
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|a| IpAddr::from(a.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::from(a.ip())))
}

fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_socket_of_ours_is_found_to_be_ours() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let inode = socket_inode(link.to_str().unwrap()).unwrap();
        let owners = Host::live().socket_owners(&[inode]).unwrap();
        assert_eq!(owners[&inode].pid, std::process::id());
    }

    #[test]
    fn loopback_has_its_address() {
        let addresses = Host::live().interface_addresses().unwrap();
        assert!(addresses.contains(&("lo".into(), "127.0.0.1".parse().unwrap(), 8)), "{addresses:?}");
    }
}
