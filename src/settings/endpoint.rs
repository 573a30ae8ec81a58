//! An endpoint as a person writes it, on the command line or in cluster.toml.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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
        if let Some(full) = text.parse::<SocketAddr>().ok().filter(|full| full.port() != 0) {
            return Ok(Endpoint::Full(full));
        }
        if let Some(port) = port_of_an_address(text) {
            return Err(message!("port {port} can't be sent to: use 1 to 65535", port));
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

/// What stands in the place of the port behind a literal address.
fn port_of_an_address(text: &str) -> Option<&str> {
    let (address, port) = text.rsplit_once(':')?;
    let is_v6 = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|a| a.parse::<Ipv6Addr>().is_ok());
    (is_v6 || address.parse::<Ipv4Addr>().is_ok()).then_some(port)
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
        for (bad, port) in
            [("192.0.2.1:70000", "70000"), ("[2001:db8::1]:0", "0"), ("192.0.2.1:", ""), ("192.0.2.1:x", "x")]
        {
            let reason = Endpoint::parse(bad).unwrap_err().to_string();
            assert_eq!(reason, format!("port {port} can't be sent to: use 1 to 65535"));
        }
    }
}
