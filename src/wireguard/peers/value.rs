//! The values of a `[Peer]` section: what each may be, and how it is refused.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::wireguard::{PublicKey, conf};

/// Why a value was refused, and the way out.
pub(super) type Refused = (String, String);

/// `PublicKey`.
pub(super) fn public_key(value: &str) -> Result<PublicKey, Refused> {
    match value.parse::<PublicKey>() {
        Ok(key) if key.as_bytes() == &[0; 32] => {
            Err(("a placeholder, not a key".into(), "put in what `wg pubkey` prints on that instance".into()))
        }
        Ok(key) => Ok(key),
        Err(error) => Err((error.to_string(), "copy the whole line from that instance".into())),
    }
}

/// `AllowedIPs`: one IPv4 address.
pub(super) fn address(value: &str) -> Result<Ipv4Addr, Refused> {
    let one = |address| format!("write one address: AllowedIPs = {address}/32");
    if value.contains(',') {
        return Err(("several networks; a member has one VPN address".into(), one("VPN-ADDRESS".into())));
    }
    let (text, prefix) = match value.split_once('/') {
        Some((text, prefix)) => (text, Some(prefix)),
        None => (value, None),
    };
    let Ok(address) = text.parse::<Ipv4Addr>() else {
        let kind = if text.parse::<IpAddr>().is_ok() { "an IPv6 address" } else { "not an IPv4 address" };
        return Err((format!("{}: {kind}", shown(value)), one("VPN-ADDRESS".into())));
    };
    if prefix != Some("32") {
        let reason = match prefix {
            None => format!("{value} without /32"),
            Some(_) => format!("{} is not a single address: it would overlap other members", shown(value)),
        };
        return Err((reason, one(address.to_string())));
    }
    match unusable(address.into()) {
        Some(kind) => Err((format!("{address} is {kind}"), one("VPN-ADDRESS".into()))),
        None => Ok(address),
    }
}

/// `Endpoint`: an address and a port, no name.
pub(super) fn endpoint(value: &str) -> Result<SocketAddr, Refused> {
    let example = || "write IP:PORT, or [IPV6]:PORT".to_owned();
    let refused = |reason: &str, hint: String| Err((format!("{}: {reason}", shown(value)), hint));
    if let Ok(endpoint) = value.parse::<SocketAddr>() {
        if endpoint.port() == 0 {
            return refused("port 0 can't be reached", "write a port from 1 to 65535".into());
        }
        if let Some(kind) = unusable(endpoint.ip()) {
            return refused(&format!("the address is {kind}"), example());
        }
        if let SocketAddr::V6(v6) = endpoint {
            if let Some(v4) = v6.ip().to_ipv4_mapped() {
                return refused("an IPv4 address in IPv6 clothes", format!("write {v4}:{}", endpoint.port()));
            }
            if v6.scope_id() != 0 || v6.ip().is_unicast_link_local() {
                return refused("a link-local address means another host on every instance", example());
            }
        }
        return Ok(endpoint);
    }
    let host = match value.rsplit_once(':') {
        Some((host, _)) if !value.ends_with(']') => host,
        _ => return refused("no port", example()),
    };
    if value.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) || (!host.starts_with('[') && host.contains(':')) {
        return refused("an IPv6 address needs brackets", "write [IPV6]:PORT".into());
    }
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if host.starts_with('[') && bare.contains('%') {
        return refused("a link-local address means another host on every instance", example());
    }
    if bare.parse::<IpAddr>().is_ok() {
        if host != bare && bare.parse::<Ipv4Addr>().is_ok() {
            return refused("brackets are for IPv6", format!("write {bare}:PORT"));
        }
        // wg takes 99999 for 34463 (FN-43).
        return refused("not a port from 1 to 65535", "write a port from 1 to 65535".into());
    }
    let name = bare.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
    if !name || bare.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return refused("not an IP address and a port", example());
    }
    // wg resolves a name once, and refuses the whole file when it can't (FN-45).
    let hint = if shown(bare) == bare { format!("write its address; see: getent ahosts {bare}") } else { example() };
    refused("a host name; it would be resolved once and never again", hint)
}

/// `PersistentKeepalive`.
pub(super) fn keepalive(value: &str) -> Result<Option<u16>, Refused> {
    // Off and 0 are the same; one of the two has to be the form that comparisons see (FN-54).
    if value.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    match value.parse::<u16>() {
        Ok(seconds) if value.bytes().all(|b| b.is_ascii_digit()) => Ok(Some(seconds).filter(|s| *s > 0)),
        _ => Err((
            format!("{}: not a number of seconds up to 65535", shown(value)),
            "write PersistentKeepalive = 25, or take the line out".into(),
        )),
    }
}

fn unusable(address: IpAddr) -> Option<&'static str> {
    match address {
        a if a.is_unspecified() => Some("the unspecified address"),
        a if a.is_multicast() => Some("a multicast address"),
        IpAddr::V4(a) if a.is_broadcast() => Some("the broadcast address"),
        IpAddr::V4(a) if a.octets()[0] == 0 => Some("no host's address"),
        _ => None,
    }
}

/// A value as it may be repeated in a message: short, and nothing that could be a key.
fn shown(value: &str) -> &str {
    if value.is_empty() {
        "nothing"
    } else if value.len() > 80 || conf::has_key(value) || value.contains(char::is_control) {
        "the value"
    } else {
        value
    }
}
