//! The interface around the device: its state, its MTU, its address. No tool of WireGuard's sets the address (FN-44),
//! and a gateway image has no `ip`, so this uses rtnetlink.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_request::netlink_request_rtnl;
use nix::libc;
use nix::net::if_::if_nametoindex;

use super::{InterfaceName, explain};
use crate::error::{Context, Error, Result};
use crate::host::Host;
use crate::message;
use crate::message::{Argument, Message};
use crate::wireguard::Network;

/// An interface's own address and the size of the network it is in: `10.8.3.1/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub address: Ipv4Addr,
    pub prefix: u8,
}

impl FromStr for Address {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let bad = |reason: Message| {
            Err(Error::input(reason).hint(message!("write it as address/prefix, 10.8.3.1/24 for example")))
        };
        let Some((address, prefix)) = text.split_once('/') else {
            return bad(message!("'{text}' has no prefix", text));
        };
        let Ok(address) = address.parse::<Ipv4Addr>() else {
            return bad(message!("'{text}' is not an IPv4 address with a prefix", text));
        };
        // parse() alone would take "+24".
        let prefix = match prefix.parse() {
            Ok(prefix @ 1..=30) if !text.contains('+') => prefix,
            _ => return bad(message!("'{text}' has no prefix from 1 to 30", text)),
        };
        let network = Network::of(address, prefix);
        match network.reserved(address) {
            Some(kind) => bad(kind.message(address, network)),
            None => Ok(Address { address, prefix }),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl From<Address> for Argument {
    fn from(address: Address) -> Self {
        Argument::Text(address.to_string())
    }
}

/// Whether an interface of this name is in this network namespace.
pub(crate) fn exists(name: &InterfaceName) -> bool {
    if_nametoindex(name.as_str()).is_ok()
}

/// Sets the MTU and brings the interface up.
pub(crate) fn bring_up(_host: &mut Host, name: &InterfaceName, mtu: u32) -> Result<()> {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::Mtu(mtu)];
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    let send = || {
        message.header.index = index(name)?;
        change(RouteNetlinkMessage::SetLink(message), 0)
    };
    send().map_err(explain).with_context(|| message!("bringing up {name} with an MTU of {mtu}", name, mtu))
}

/// The interface's IPv4 addresses; none when it has gone.
pub(crate) fn addresses(name: &InterfaceName) -> Result<Vec<Address>> {
    let Ok(index) = index(name) else { return Ok(Vec::new()) };
    let messages =
        own_addresses(index).map_err(explain).with_context(|| message!("reading the addresses of {name}", name))?;
    Ok(messages.iter().filter_map(address_of).collect())
}

/// Gives the interface this address and no other.
pub(crate) fn set_address(_host: &mut Host, name: &InterfaceName, wanted: Address) -> Result<()> {
    if addresses(name)? == [wanted] {
        return Ok(());
    }
    let set = || {
        let index = index(name)?;
        for old in own_addresses(index)? {
            match change(RouteNetlinkMessage::DelAddress(old), 0) {
                // Secondary addresses go with their primary one.
                Err(e) if e.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {}
                other => other?,
            }
        }
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = wanted.prefix;
        message.header.index = index;
        let address = IpAddr::V4(wanted.address);
        message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
        change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    };
    set().map_err(explain).with_context(|| message!("giving {name} the address {address}", name, address = wanted))
}

/// Removes the interface, if there is one. A userspace implementation ends when its interface is gone.
pub(super) fn remove(name: &InterfaceName) -> Result<()> {
    let Ok(index) = index(name) else { return Ok(()) };
    let mut message = LinkMessage::default();
    message.header.index = index;
    match change(RouteNetlinkMessage::DelLink(message), 0) {
        Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        other => other.map_err(explain).with_context(|| message!("removing {name}", name)),
    }
}

fn index(name: &InterfaceName) -> io::Result<u32> {
    Ok(if_nametoindex(name.as_str())?)
}

fn change(message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    netlink_request_rtnl(message, Some(NLM_F_REQUEST | NLM_F_ACK | flags)).map(drop)
}

fn own_addresses(index: u32) -> io::Result<Vec<AddressMessage>> {
    let mut request = AddressMessage::default();
    request.header.family = AddressFamily::Inet;
    let answers = netlink_request_rtnl(RouteNetlinkMessage::GetAddress(request), Some(NLM_F_REQUEST | NLM_F_DUMP))?;
    // Without strict checking, which is not switched on here, a dump lists the addresses of all interfaces.
    let own = answers.into_iter().filter_map(|answer| match answer {
        NetlinkMessage { payload: NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(message)), .. } => {
            (message.header.index == index).then_some(message)
        }
        _ => None,
    });
    Ok(own.collect())
}

fn address_of(message: &AddressMessage) -> Option<Address> {
    message.attributes.iter().find_map(|attribute| {
        let AddressAttribute::Local(IpAddr::V4(address)) = attribute else { return None };
        Some(Address { address: *address, prefix: message.header.prefix_len })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_part_and_a_prefix() {
        assert_eq!("10.8.3.1/24".parse::<Address>().unwrap().to_string(), "10.8.3.1/24");
        assert_eq!("10.8.3.255/16".parse::<Address>().unwrap().prefix, 16);
        for bad in
            ["", "10.8.3.1", "10.8.3.1/", "10.8.3.1/0", "10.8.3.1/31", "10.8.3.1/+24", "10.8.3.0/24", "10.8.3.255/24"]
        {
            assert_eq!(bad.parse::<Address>().unwrap_err().class().exit_code(), 2, "{bad}");
        }
        for bad in ["010.8.3.1/24", "10.8.3/24", "fd00::1/24", "/24", "10.8.3.1/24/24", " 10.8.3.1/24"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_loopback_address_is_read_from_the_kernel() {
        let loopback = Address { address: Ipv4Addr::LOCALHOST, prefix: 8 };
        assert!(addresses(&"lo".parse().unwrap()).unwrap().contains(&loopback));
    }
}
