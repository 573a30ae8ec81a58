//! The values of a `[Peer]` section: what each may be, and how it is refused.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::message;
use crate::message::Message;
use crate::wireguard::{PublicKey, conf};

/// Why a value was refused, and the way out.
pub(super) type Refused = Box<(Message, Message)>;

fn refused<T>(reason: Message, hint: Message) -> Result<T, Refused> {
    Err(Box::new((reason, hint)))
}

/// `PublicKey`.
pub(super) fn public_key(value: &str) -> Result<PublicKey, Refused> {
    match value.parse::<PublicKey>() {
        Ok(key) if key.as_bytes() == &[0; 32] => {
            let hint = message!("put in what `wg pubkey` prints on that instance");
            refused(message!("a placeholder, not a key"), hint)
        }
        Ok(key) => Ok(key),
        Err(error) => refused((&error).into(), message!("copy the whole line from that instance")),
    }
}

/// `AllowedIPs`: one IPv4 address.
pub(super) fn address(value: &str) -> Result<Ipv4Addr, Refused> {
    let one = |address: &str| message!("write one address: {line}", line = format!("AllowedIPs = {address}/32"));
    let example = || one("VPN-ADDRESS");
    if value.contains(',') {
        return refused(message!("several networks; a member has one VPN address"), example());
    }
    let (text, prefix) = match value.split_once('/') {
        Some((text, prefix)) => (text, Some(prefix)),
        None => (value, None),
    };
    let Ok(address) = text.parse::<Ipv4Addr>() else {
        let is_address = text.parse::<IpAddr>().is_ok();
        let reason = if is_address { message!("an IPv6 address") } else { message!("not an IPv4 address") };
        return refused(of_value(value, reason), example());
    };
    if prefix != Some("32") {
        let reason = match prefix {
            None => message!("{value} without /32", value),
            Some(_) => {
                let value = shown(value);
                message!("{value} is not a single address: it would overlap other members", value)
            }
        };
        return refused(reason, one(&address.to_string()));
    }
    match unusable(address.into()) {
        Some(kind) => refused(message!("{address} is {kind}", address, kind), example()),
        None => Ok(address),
    }
}

/// `Endpoint`: an address and a port, no name.
pub(super) fn endpoint(value: &str) -> Result<SocketAddr, Refused> {
    let example = || message!("write IP:PORT, or [IPV6]:PORT");
    let a_port = || message!("write a port from 1 to 65535");
    let refused = |reason: Message, hint: Message| refused(of_value(value, reason), hint);
    if let Ok(endpoint) = value.parse::<SocketAddr>() {
        if endpoint.port() == 0 {
            return refused(message!("port 0 can't be reached"), a_port());
        }
        if let Some(kind) = unusable(endpoint.ip()) {
            return refused(message!("the address is {kind}", kind), example());
        }
        if let SocketAddr::V6(v6) = endpoint {
            if let Some(v4) = v6.ip().to_ipv4_mapped() {
                let address = format!("{v4}:{}", endpoint.port());
                return refused(message!("an IPv4-mapped IPv6 address"), message!("write {address}", address));
            }
            if v6.scope_id() != 0 || v6.ip().is_unicast_link_local() {
                return refused(link_local(), example());
            }
        }
        return Ok(endpoint);
    }
    let host = match value.rsplit_once(':') {
        Some((host, _)) if !value.ends_with(']') => host,
        _ => return refused(message!("no port"), example()),
    };
    if value.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) || (!host.starts_with('[') && host.contains(':')) {
        return refused(message!("an IPv6 address needs brackets"), message!("write [IPV6]:PORT"));
    }
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if host.starts_with('[') && bare.contains('%') {
        return refused(link_local(), example());
    }
    if bare.parse::<IpAddr>().is_ok() {
        if host != bare && bare.parse::<Ipv4Addr>().is_ok() {
            let address = format!("{bare}:PORT");
            return refused(message!("brackets are for IPv6"), message!("write {address}", address));
        }
        // wg takes 99999 for 34463 (FN-43).
        return refused(message!("not a port from 1 to 65535"), a_port());
    }
    let name = bare.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
    if !name || bare.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return refused(message!("not an IP address and a port"), example());
    }
    // wg resolves a name once, and refuses the whole file when it can't (FN-45).
    let hint = if is_showable(bare) {
        message!("write its address; see: {command}", command = format!("getent ahosts {bare}"))
    } else {
        example()
    };
    refused(message!("a host name; it would be resolved once and never again"), hint)
}

fn link_local() -> Message {
    message!("a link-local address means another host on every instance")
}

/// `PersistentKeepalive`.
pub(super) fn keepalive(value: &str) -> Result<Option<u16>, Refused> {
    // `off` and 0 are the same, so they become the same value (FN-54).
    if value.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    match value.parse::<u16>() {
        Ok(seconds) if value.bytes().all(|b| b.is_ascii_digit()) => Ok(Some(seconds).filter(|s| *s > 0)),
        _ => refused(
            message!("{value}: not a number of seconds up to 65535", value = shown(value)),
            message!("write PersistentKeepalive = 25, or take the line out"),
        ),
    }
}

fn unusable(address: IpAddr) -> Option<Message> {
    match address {
        a if a.is_unspecified() => Some(message!("the unspecified address")),
        a if a.is_multicast() => Some(message!("a multicast address")),
        IpAddr::V4(a) if a.is_broadcast() => Some(message!("the broadcast address")),
        IpAddr::V4(a) if a.octets()[0] == 0 => Some(message!("no host's address")),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

fn of_value(value: &str, reason: Message) -> Message {
    message!("{value}: {reason}", value = shown(value), reason)
}

/// A value as a message may repeat it: short, and nothing that could be a key.
fn shown(value: &str) -> Message {
    if value.is_empty() {
        message!("nothing")
    } else if is_showable(value) {
        Message::foreign(value)
    } else {
        message!("the value")
    }
}

fn is_showable(value: &str) -> bool {
    // Half a key is too much already.
    let has_part_of_a_key = conf::words(value).any(|word| word.len() > 20);
    !value.is_empty() && value.len() <= 80 && !has_part_of_a_key && !value.contains(char::is_control)
}
