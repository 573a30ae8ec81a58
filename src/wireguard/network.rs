//! An IPv4 network: an address and a prefix length, and what lies inside.

use std::fmt;
use std::net::Ipv4Addr;

use crate::message;
use crate::message::{Argument, Message};

/// A network; its address has no host bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Network {
    address: Ipv4Addr,
    prefix: u8,
}

impl Network {
    /// The network of `prefix` bits that `address` lies in. A prefix over 32 counts as 32.
    pub(crate) fn of(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        Network { address: Ipv4Addr::from_bits(address.to_bits() & mask(prefix)), prefix }
    }

    /// Its first address, which no host may have.
    pub(crate) fn address(self) -> Ipv4Addr {
        self.address
    }

    pub(crate) fn prefix(self) -> u8 {
        self.prefix
    }

    /// Its last address, which no host may have either.
    pub(crate) fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | !mask(self.prefix))
    }

    /// Whether `address` lies in it.
    pub(crate) fn contains(self, address: Ipv4Addr) -> bool {
        Network::of(address, self.prefix) == self
    }

    /// Whether the two have an address in common.
    pub(crate) fn overlaps(self, other: Network) -> bool {
        let prefix = self.prefix.min(other.prefix);
        Network::of(self.address, prefix) == Network::of(other.address, prefix)
    }

    /// Why an address can't be a member's, if the others are in this network.
    pub(crate) fn objection(self, address: Ipv4Addr) -> Option<Message> {
        if !self.contains(address) {
            return Some(message!(
                "{address} lies outside of {network}, where the others are",
                address,
                network = self
            ));
        }
        self.reserved(address).map(|kind| kind.message(address, self))
    }

    /// Which of the two addresses that no host may have this one is. Networks of one or two addresses have neither.
    pub(crate) fn reserved(self, address: Ipv4Addr) -> Option<ReservedAddress> {
        match address {
            _ if self.prefix > 30 => None,
            a if a == self.address => Some(ReservedAddress::Network),
            a if a == self.broadcast() => Some(ReservedAddress::Broadcast),
            _ => None,
        }
    }
}

/// An address that no host of a network may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReservedAddress {
    Network,
    Broadcast,
}

impl ReservedAddress {
    /// The reason why `address` can't be a host's.
    pub(crate) fn message(self, address: Ipv4Addr, network: Network) -> Message {
        match self {
            ReservedAddress::Network => {
                message!("{address} is the network address of {network}", address, network)
            }
            ReservedAddress::Broadcast => {
                message!("{address} is the broadcast address of {network}", address, network)
            }
        }
    }
}

impl From<Network> for Argument {
    fn from(network: Network) -> Self {
        Argument::Text(network.to_string())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str, prefix: u8) -> Network {
        Network::of(text.parse().unwrap(), prefix)
    }

    #[test]
    fn host_bits_are_cut_off() {
        assert_eq!(network("10.8.3.77", 24).to_string(), "10.8.3.0/24");
        assert_eq!(network("10.8.3.77", 0).to_string(), "0.0.0.0/0");
        assert_eq!(network("10.8.3.77", 32).to_string(), "10.8.3.77/32");
        assert_eq!(network("10.8.3.77", 20).broadcast().to_string(), "10.8.15.255");
    }

    #[test]
    fn the_ends_are_reserved_where_there_are_any() {
        let net = network("10.8.3.0", 24);
        assert_eq!(net.reserved("10.8.3.0".parse().unwrap()), Some(ReservedAddress::Network));
        assert_eq!(net.reserved("10.8.3.255".parse().unwrap()), Some(ReservedAddress::Broadcast));
        assert_eq!(net.reserved("10.8.3.1".parse().unwrap()), None);
        assert_eq!(network("10.8.3.0", 31).reserved("10.8.3.0".parse().unwrap()), None);
    }

    #[test]
    fn overlap_is_containment_either_way() {
        assert!(network("10.0.0.0", 8).overlaps(network("10.8.3.0", 24)));
        assert!(network("10.8.3.0", 24).overlaps(network("10.0.0.0", 8)));
        assert!(!network("10.8.3.0", 24).overlaps(network("10.8.4.0", 24)));
        assert!(network("0.0.0.0", 0).overlaps(network("10.8.4.0", 24)));
    }
}
