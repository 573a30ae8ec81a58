//! The live device: how it is observed, and how it is changed.
//!
//! A device is read whole ([`Device::observe`]), compared with what is wanted ([`difference`], pure), and sent the
//! difference alone ([`apply`]): replacing a peer that is already right would cut its session for some twenty seconds.
//!
//! The kernel's WireGuard is driven over netlink, through `wireguard-control`; a userspace implementation over its socket,
//! by a client of our own, because that crate's prints to stdout, starts programs and folds all errors into one. No private
//! key leaves this module: of the device's own key only the public half is kept.

mod difference;
mod kernel;
mod link;
mod uapi;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use difference::{DeviceChanges, WantedDevice, difference};
pub(crate) use link::{Address, addresses, bring_up, exists, set_address};

use super::PublicKey;
use crate::error::{Context, Error, Result};
use crate::host::Host;
use crate::message;
use crate::message::{Argument, Message};

/// The name of a network interface, valid for the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InterfaceName(String);

impl InterfaceName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.@".contains(&b);
        if name.is_empty() || name.len() > 15 || !name.bytes().all(plain) || matches!(name, "." | "..") {
            return Err(Error::input(message!("'{name}' can't be the name of a network interface", name))
                .hint(message!("use 1 to 15 letters and digits, wg0 for example")));
        }
        Ok(InterfaceName(name.to_owned()))
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&InterfaceName> for Argument {
    fn from(name: &InterfaceName) -> Self {
        Argument::Text(name.0.clone())
    }
}

/// Who does the encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Implementation {
    /// The kernel.
    Kernel,
    /// A process, wireguard-go for example.
    Userspace,
}

impl From<Implementation> for Message {
    fn from(implementation: Implementation) -> Self {
        match implementation {
            Implementation::Kernel => message!("kernel"),
            Implementation::Userspace => message!("userspace"),
        }
    }
}

impl From<Implementation> for Argument {
    fn from(implementation: Implementation) -> Self {
        Argument::Message(implementation.into())
    }
}

/// A device as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub name: InterfaceName,
    /// Who does the encryption.
    pub implementation: Implementation,
    /// The public half of its key; `None` before it has one.
    pub public_key: Option<PublicKey>,
    /// The UDP port it listens on; `None` while it is down.
    pub listen_port: Option<u16>,
    /// Its peers, in no particular order, each once.
    pub peers: Vec<ObservedPeer>,
}

/// One peer of a device as it was observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObservedPeer {
    pub public_key: PublicKey,
    /// What it may send from.
    pub allowed: Vec<AllowedIp>,
    /// Where its packets go now. A peer that has roamed has another endpoint than the list says.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keepalives; `None` when they are off.
    pub keepalive: Option<u16>,
    /// Whether a preshared key is set.
    pub preshared: bool,
    /// The time of the last completed handshake; `None` before the first.
    pub last_handshake: Option<SystemTime>,
    /// Bytes that came from it.
    pub rx_bytes: u64,
    /// Bytes that went to it.
    pub tx_bytes: u64,
}

impl ObservedPeer {
    /// Nothing known but its key.
    pub(crate) fn new(public_key: PublicKey) -> Self {
        ObservedPeer {
            public_key,
            allowed: Vec::new(),
            endpoint: None,
            keepalive: None,
            preshared: false,
            last_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
        }
    }

    /// Its address in the VPN: the first single IPv4 address that it may send from.
    pub(crate) fn address(&self) -> Option<Ipv4Addr> {
        self.allowed.iter().find_map(|a| match a.address {
            IpAddr::V4(address) if a.prefix == 32 => Some(address),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        })
    }

    /// Seconds since the last handshake. A clock that was set back since (FN-30) makes it 0.
    pub(crate) fn handshake_age(&self, now: SystemTime) -> Option<u64> {
        self.last_handshake.map(|at| now.duration_since(at).unwrap_or_default().as_secs())
    }
}

/// A network that a peer may send from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AllowedIp {
    pub address: IpAddr,
    pub prefix: u8,
}

impl fmt::Display for AllowedIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl From<Ipv4Addr> for AllowedIp {
    fn from(address: Ipv4Addr) -> Self {
        AllowedIp { address: address.into(), prefix: 32 }
    }
}

impl Device {
    pub(crate) fn peer(&self, key: PublicKey) -> Option<&ObservedPeer> {
        self.peers.iter().find(|peer| peer.public_key == key)
    }

    /// The peer with this address in the VPN.
    pub(crate) fn peer_at(&self, address: Ipv4Addr) -> Option<&ObservedPeer> {
        self.peers.iter().find(|peer| peer.address() == Some(address))
    }

    /// The device of this name in this network namespace; `None` where there is no WireGuard interface of that name.
    pub(crate) fn observe(host: &Host, name: &InterfaceName) -> Result<Option<Device>> {
        // Sockets of userspace implementations are visible in other network namespaces as well, and outlive a crash.
        if !host.is_live() || !exists(name) {
            return Ok(None);
        }
        let what = || message!("reading the WireGuard interface {name}", name);
        let device = match kernel::get(name).map_err(explain).with_context(what)? {
            Some(device) => Some(device),
            None => uapi::get(name).map_err(explain).with_context(what)?,
        };
        Ok(device)
    }

    /// The WireGuard interfaces of this network namespace.
    pub(crate) fn names(host: &Host) -> Result<Vec<InterfaceName>> {
        let mut names = kernel::names().map_err(explain).context(message!("listing the WireGuard interfaces"))?;
        names.extend(uapi::names(host)?.into_iter().filter(exists));
        Ok(names)
    }
}

/// Makes a device of this name in the kernel; `false` where the kernel has no WireGuard.
pub(crate) fn create_in_kernel(_host: &mut Host, name: &InterfaceName) -> Result<bool> {
    kernel::create(name).map_err(explain).with_context(|| message!("creating the WireGuard interface {name}", name))
}

/// Applies the changes to the device. Everything else about it stays, sessions included.
pub(crate) fn apply(_host: &mut Host, live: &Device, changes: &DeviceChanges) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    if let Some(port) = changes.port {
        port_is_free(port)?;
    }
    let set = |changes: &DeviceChanges| match live.implementation {
        Implementation::Kernel => kernel::set(&live.name, changes),
        Implementation::Userspace => uapi::set(&live.name, changes),
    };
    let outcome = set(changes);
    // After a port that is taken the device has none, so it would lose all its sessions.
    if let (Err(_), Some(_), Some(old)) = (&outcome, changes.port, live.listen_port) {
        let _ = set(&DeviceChanges { port: Some(old), ..DeviceChanges::default() });
    }
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(port_in_use(changes.port.or(live.listen_port).unwrap_or_default()))
        }
        other => other
            .map_err(explain)
            .with_context(|| message!("configuring the WireGuard interface {name}", name = &live.name)),
    }
}

/// Removes the device, and waits until its implementation has removed its socket. Otherwise it would remove that of the
/// next device of this name.
pub(crate) fn remove(host: &mut Host, name: &InterfaceName) -> Result<()> {
    let live = Device::observe(host, name)?;
    link::remove(name)?;
    if live.is_some_and(|live| live.implementation == Implementation::Userspace) {
        let deadline = Instant::now() + Duration::from_secs(3);
        while matches!(uapi::get(name), Ok(Some(_))) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

/// An error if a device couldn't listen on this UDP port. The devices themselves report it late or not at all (FN-26).
pub(crate) fn port_is_free(port: u16) -> Result<()> {
    let taken =
        |address: IpAddr| UdpSocket::bind((address, port)).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
    if taken(IpAddr::from([0; 4])) || taken(IpAddr::from([0; 16])) {
        return Err(port_in_use(port));
    }
    Ok(())
}

fn port_in_use(port: u16) -> Error {
    Error::unexpected(message!("UDP port {port} is in use", port))
        .hint(message!("see who has it: {command}", command = format!("ss -ulnp sport = :{port}")))
}

/// The system's text for an error number. Other texts are dropped: those of the netlink crates quote the whole netlink
/// message, private key included.
fn explain(error: io::Error) -> Error {
    let known = match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::from(error.kind()),
    };
    let refused = known.kind() == io::ErrorKind::PermissionDenied;
    let error = Error::unexpected(Message::foreign(known));
    if refused { error.hint(message!("run it as root; a container also needs 'cap_add: [NET_ADMIN]'")) } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_seen_on_either_family() {
        for address in ["0.0.0.0:0", "[::]:0", "127.0.0.1:0"] {
            let held = UdpSocket::bind(address).unwrap();
            let port = held.local_addr().unwrap().port();
            let error = port_is_free(port).unwrap_err();
            assert!(error.to_string().contains(&format!("UDP port {port} is in use")), "{error}");
            drop(held);
            port_is_free(port).unwrap();
        }
    }

    #[test]
    fn names_the_kernel_would_refuse_are_bad_input() {
        for bad in ["", "..", "a/b", "wg 0", "wg0\n", "a-name-too-long-"] {
            assert_eq!(bad.parse::<InterfaceName>().unwrap_err().class().exit_code(), 2, "{bad:?}");
        }
        assert_eq!("wg0".parse::<InterfaceName>().unwrap().as_str(), "wg0");
    }

    #[test]
    fn a_foreign_error_text_is_not_passed_on() {
        let leaky = io::Error::new(io::ErrorKind::InvalidInput, "packet too large: PrivateKey([1, 2, 3])");
        assert!(!explain(leaky).to_string().contains("PrivateKey"));
    }
}
