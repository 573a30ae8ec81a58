//! An endpoint as a person writes it, on the command line or in cluster.toml.

use std::net::{IpAddr, SocketAddr};

use crate::message;
use crate::message::Message;

/// A literal address, with or without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// With a port.
    Full(SocketAddr),
    /// At the VPN's own port.
    Address(IpAddr),
}

impl Endpoint {
    /// Reads `192.0.2.1`, `192.0.2.1:4567`, `[2001:db8::1]:4567`. An error says why it is none.
    pub fn parse(text: &str) -> Result<Endpoint, Message> {
        if let Ok(full) = text.parse::<SocketAddr>() {
            return if full.port() == 0 { Err(message!("port 0 can't be sent to")) } else { Ok(Endpoint::Full(full)) };
        }
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        bare.parse().map(Endpoint::Address).map_err(|_| {
            message!(
                "not a literal address: write 192.0.2.1, 192.0.2.1:4567 or [2001:db8::1]:4567 (a name would be resolved \
                 once and then never again)"
            )
        })
    }

    /// With the port filled in.
    pub fn with_port(self, port: u16) -> SocketAddr {
        match self {
            Endpoint::Full(full) => full,
            Endpoint::Address(address) => SocketAddr::new(address, port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_literal_addresses() {
        let full = |text: &str| Endpoint::parse(text).unwrap().with_port(4567).to_string();
        assert_eq!(full("192.0.2.1"), "192.0.2.1:4567");
        assert_eq!(full("[2001:db8::1]:99"), "[2001:db8::1]:99");
        assert_eq!(full("2001:db8::1"), "[2001:db8::1]:4567");
        for bad in ["host.example", "192.0.2.1:0", "192.0.2.1:99999", "", "192.0.2.256"] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }
}
