//! The container's side of the contract: one WireGuard interface, made from two files and an address.
//!
//! `run` is the container's first process: it brings the interface up, waits, and takes it down again. `reconfigure`
//! and `status` are processes of their own beside it (`docker-compose exec`), and share nothing with it but the kernel,
//! the two files and a note of what was applied last.
//!
//! Without both files and an address clustering is off: then it runs, and makes no VPN.

mod applied;
pub mod image;
mod reconfigure;
mod run;
mod signals;
pub mod stack;
mod status;
mod userspace;

use std::ffi::OsStr;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};

pub use reconfigure::{Reconfigured, reconfigure};
pub use run::run;
pub use status::{PeerStatus, Status, status};

use crate::error::{Class, Error, Result};
use crate::host::Host;
use crate::product::PRODUCT;
use crate::wireguard::device::{Address, Device, InterfaceName, Wanted, difference};
use crate::wireguard::{PeerList, PrivateConf};

/// The interface that carries the VPN, unless it is told another.
pub const INTERFACE: &str = "wg0";

/// Where the gateway's things are. The defaults are the contract's; the variables are the container's.
#[derive(Clone, Debug, clap::Args)]
pub struct Place {
    /// The interface that carries the VPN.
    #[arg(long, env = "GATEWAY_INTERFACE", default_value = INTERFACE, value_name = "NAME")]
    pub interface: InterfaceName,
    /// The list of all instances.
    #[arg(long, env = "GATEWAY_PUBLIC_CONF", default_value = PRODUCT.mounts.public_conf, value_name = "FILE")]
    pub public: PathBuf,
    /// The file with this instance's key and port.
    #[arg(long, env = "GATEWAY_PRIVATE_CONF", default_value = PRODUCT.mounts.private_conf, value_name = "FILE")]
    pub private: PathBuf,
}

/// What `run` is told on top.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// Where the gateway's things are.
    #[command(flatten)]
    pub place: Place,
    /// This instance's address in the VPN, with the prefix length of its network; without it there is no VPN.
    #[arg(long, env = PRODUCT.address_variable, value_name = "ADDRESS/PREFIX")]
    pub address: Option<String>,
    /// The interface's MTU; WireGuard's own is too big on some clouds.
    #[arg(long, env = "GATEWAY_MTU", default_value_t = 1420, value_parser = clap::value_parser!(u32).range(576..=65535))]
    pub mtu: u32,
}

/// The command that a program name stands for: the image has links called `reconfigure`, which the contract asks for,
/// and `gateway`.
pub fn multicall(name: &OsStr) -> &'static [&'static str] {
    match Path::new(name).file_name().and_then(OsStr::to_str) {
        Some("reconfigure") => &["gateway", "reconfigure"],
        Some("gateway") => &["gateway"],
        _ => &[],
    }
}

/// What the two files say.
struct Files {
    list: PeerList,
    private: PrivateConf,
}

impl Files {
    /// Reads both, strictly; names those that are missing.
    fn read(host: &Host, place: &Place) -> Result<Result<Files, Vec<String>>> {
        let list = PeerList::read(host, &place.public)?;
        let private = PrivateConf::read(host, &place.private)?;
        match (list, private) {
            (Some(list), Some(private)) => Ok(Ok(Files { list, private })),
            (list, private) => {
                let missing = [(list.is_none(), &place.public), (private.is_none(), &place.private)];
                Ok(Err(missing.iter().filter(|(gone, _)| *gone).map(|(_, path)| host.display(path)).collect()))
            }
        }
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted { key: &self.private.key, port: self.port(), members: &self.list }
    }

    fn port(&self) -> u16 {
        self.private.port.unwrap_or(PRODUCT.gateway.port)
    }

    /// Compares the live interface with the files once more, after it was told. Where its peers have roamed to in
    /// between is no difference.
    fn prove(&self, live: &Device) -> Result<()> {
        let left = difference(live, &self.wanted(), &self.list);
        if left.is_empty() {
            return Ok(());
        }
        Err(Error::new(Class::Unproven, format!("{} is not what the files say; still to do: {left}", live.name))
            .hint("see what it does now: gateway status"))
    }

    /// Says what is odd about the files together; none of it keeps the VPN from working for somebody else.
    fn warn(&self, address: Address) {
        let own = self.private.key.public();
        if own.is_published() {
            tracing::warn!("this instance uses a key that is printed in public documentation: make a new one");
        }
        match self.list.peers().find(|member| member.public_key == own) {
            None => tracing::warn!("the public list has no section with this instance's key {own}"),
            Some(member) if member.address != address.address => tracing::warn!(
                "this instance has the address {}, and {} in the public list: the others can't reach it",
                address.address,
                member.address
            ),
            Some(_) => {}
        }
        // FN-32: an empty MITIGATOR_VPN_ADDRESS silently becomes the first instance's.
        if let Some(other) = self.list.by_address(address.address).filter(|member| member.public_key != own) {
            tracing::warn!("the address {} belongs to the member with the key {}", address.address, other.public_key);
        }
    }
}

/// Somebody has removed the interface under our hands.
fn gone(name: &InterfaceName) -> Error {
    Error::unexpected(format!("the interface {name} has gone"))
}

/// Sends an empty datagram to each peer that has no session, which makes WireGuard agree on one. Nobody else would:
/// without traffic there is no handshake to prove the way by (FN-25), and a member that still has a session with the
/// gateway we were before a restart goes on with it for 15 seconds. Two that greet each other in the same instant have
/// WireGuard's second try to wait for, 5 seconds.
fn greet(live: &Device) {
    const DISCARD: u16 = 9;
    let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)) else { return };
    for peer in live.peers.iter().filter(|peer| peer.last_handshake.is_none()) {
        if let Some(address) = peer.address() {
            // A courtesy: whether it arrives is for `status` to say.
            let _ = socket.send_to(&[], (address, DISCARD));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_a_program_is_called_by_stands_for_a_command() {
        for (name, words) in [
            ("/usr/local/bin/reconfigure", &["gateway", "reconfigure"][..]),
            ("gateway", &["gateway"]),
            ("/usr/bin/mitigator-vpn", &[]),
            ("", &[]),
        ] {
            assert_eq!(multicall(OsStr::new(name)), words, "{name}");
        }
    }

    #[test]
    fn each_missing_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path()).unwrap();
        let place =
            Place { interface: "wg0".parse().unwrap(), public: "/public.conf".into(), private: "/private.conf".into() };
        let missing = |host: &Host| Files::read(host, &place).unwrap().err().unwrap_or_default();
        assert_eq!(missing(&host).len(), 2);
        std::fs::write(dir.path().join("private.conf"), &**PrivateConf::fresh(key(), 7).template_with(&key())).unwrap();
        assert_eq!(missing(&host), [host.display(&place.public)]);
    }

    fn key() -> crate::wireguard::PrivateKey {
        crate::wireguard::PrivateKey::from_bytes([1; 32])
    }
}
