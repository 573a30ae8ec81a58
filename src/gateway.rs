//! The container's side of the contract: one WireGuard interface, made from two files and an address.
//!
//! `run` is the container's first process: it brings the interface up, waits, and takes it down again. `reconfigure`
//! and `status` are processes of their own beside it (`docker-compose exec`), and share nothing with it but the kernel,
//! the two files and a note of what was applied last.
//!
//! Without both files and an address clustering is off: the gateway runs, and makes no VPN.

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

pub(crate) use reconfigure::{Reconfigured, reconfigure};
pub(crate) use run::run;
pub(crate) use status::{GatewayStatus, status};

use crate::error::{Class, Error, Result};
use crate::host::Host;
use crate::message::{Argument, Message};
use crate::product::PRODUCT;
use crate::wireguard::device::{Address, Device, InterfaceName, WantedDevice, difference};
use crate::wireguard::{PeerList, PrivateConf};
use crate::{lang, message};

/// The default name of the interface that carries the VPN.
pub const INTERFACE: &str = "wg0";

/// The interface and its two files. The defaults are the contract's; the variables are the container's.
#[derive(Clone, Debug, clap::Args)]
pub struct InterfaceFiles {
    /// The interface that carries the VPN.
    #[arg(long, env = "GATEWAY_INTERFACE", default_value = INTERFACE, value_name = "NAME")]
    pub(crate) interface: InterfaceName,
    /// The list of all instances.
    #[arg(long, env = "GATEWAY_PUBLIC_CONF", default_value = PRODUCT.mounts.public_conf, value_name = "FILE")]
    pub(crate) public: PathBuf,
    /// The file with this instance's key and port.
    #[arg(long, env = "GATEWAY_PRIVATE_CONF", default_value = PRODUCT.mounts.private_conf, value_name = "FILE")]
    pub(crate) private: PathBuf,
}

/// What `run` needs.
#[derive(Clone, Debug, clap::Args)]
pub struct GatewaySettings {
    #[command(flatten)]
    pub(crate) files: InterfaceFiles,
    /// This instance's address in the VPN, with the prefix length of its network; without it there is no VPN.
    #[arg(long, env = PRODUCT.address_variable, value_name = "ADDRESS/PREFIX")]
    pub(crate) address: Option<String>,
    /// The interface's MTU; WireGuard's own is too big on some clouds.
    #[arg(long, env = "GATEWAY_MTU", default_value_t = 1420, value_parser = clap::value_parser!(u32).range(576..=65535))]
    pub(crate) mtu: u32,
}

/// The command that a program name stands for. The image has links called `gateway` and `reconfigure`; the contract asks
/// for the second.
pub fn multicall(name: &OsStr) -> &'static [&'static str] {
    match Path::new(name).file_name().and_then(OsStr::to_str) {
        Some("reconfigure") => &["gateway", "reconfigure"],
        Some("gateway") => &["gateway"],
        _ => &[],
    }
}

/// What the two files say.
struct Configuration {
    list: PeerList,
    private: PrivateConf,
}

/// What is missing of a full configuration, by name.
#[derive(Debug, PartialEq, Eq)]
struct Missing(Vec<String>);

impl From<&Missing> for Argument {
    fn from(missing: &Missing) -> Self {
        Argument::Text(missing.0.join(", "))
    }
}

impl Configuration {
    /// Reads both files, strictly.
    fn read(host: &Host, files: &InterfaceFiles) -> Result<Result<Configuration, Missing>> {
        let list = PeerList::read(host, &files.public)?;
        let private = PrivateConf::read(host, &files.private)?;
        match (list, private) {
            (Some(list), Some(private)) => Ok(Ok(Configuration { list, private })),
            (list, private) => {
                let missing = [(list.is_none(), &files.public), (private.is_none(), &files.private)];
                let names = missing.iter().filter(|(gone, _)| *gone).map(|(_, path)| host.display(path));
                Ok(Err(Missing(names.collect())))
            }
        }
    }

    fn wanted(&self) -> WantedDevice<'_> {
        WantedDevice { key: &self.private.key, port: self.port(), members: &self.list }
    }

    fn port(&self) -> u16 {
        self.private.port.unwrap_or(PRODUCT.gateway.port)
    }

    /// Compares the live interface with the files once more after a change. A peer that has roamed meanwhile is no
    /// difference.
    fn prove(&self, live: &Device) -> Result<()> {
        let left = difference(live, &self.wanted(), &self.list);
        if left.is_empty() {
            return Ok(());
        }
        let reason = message!(
            "{name} is not what the files say; still to do: {left}",
            name = &live.name,
            left = Message::from(&left)
        );
        Err(Error::new(Class::Unproven, reason)
            .hint(message!("see what it does now: {command}", command = "gateway status")))
    }

    /// Warns of contradictions between the two files and the address. None of them disturbs the other members.
    fn warn(&self, address: Address) {
        let own = self.private.key.public();
        if own.is_published() {
            lang::warn(&message!("this instance uses a key that is printed in public documentation: make a new one"));
        }
        match self.list.peers().find(|member| member.public_key == own) {
            None => {
                lang::warn(&message!("the public list has no section with this instance's key {key}", key = own));
            }
            Some(member) if member.address != address.address => lang::warn(&message!(
                "this instance has the address {address}, and {other} in the public list: the others can't reach it",
                address = address.address,
                other = member.address
            )),
            Some(_) => {}
        }
        // FN-32: an empty MITIGATOR_VPN_ADDRESS silently becomes the first instance's.
        if let Some(other) = self.list.by_address(address.address).filter(|member| member.public_key != own) {
            lang::warn(&message!(
                "the address {address} belongs to the member with the key {key}",
                address = address.address,
                key = other.public_key
            ));
        }
    }
}

/// The error for an interface that somebody has removed meanwhile.
fn gone(name: &InterfaceName) -> Error {
    Error::unexpected(message!("the interface {name} is gone", name))
}

/// Sends an empty datagram to each peer without a session, so that WireGuard makes one. Without traffic there would be no
/// handshake to prove the path by (FN-25), and a peer that still has a session with this gateway from before a restart
/// would use it for another 15 seconds. Two peers that greet each other at the same instant have to wait for WireGuard's
/// second attempt, 5 seconds later.
fn greet(live: &Device) {
    const DISCARD: u16 = 9;
    let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)) else { return };
    for peer in live.peers.iter().filter(|peer| peer.last_handshake.is_none()) {
        if let Some(address) = peer.address() {
            // Whether it arrives shows in `status`.
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
        let files = InterfaceFiles {
            interface: "wg0".parse().unwrap(),
            public: "/public.conf".into(),
            private: "/private.conf".into(),
        };
        let missing = |host: &Host| Configuration::read(host, &files).unwrap().err().map_or_else(Vec::new, |m| m.0);
        assert_eq!(missing(&host).len(), 2);
        std::fs::write(dir.path().join("private.conf"), &**PrivateConf::fresh(key(), 7).template_with(&key())).unwrap();
        assert_eq!(missing(&host), [host.display(&files.public)]);
    }

    fn key() -> crate::wireguard::PrivateKey {
        crate::wireguard::PrivateKey::from_bytes([1; 32])
    }
}
