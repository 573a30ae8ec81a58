//! Can the other instances send to the endpoint?

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{is_private, other_members};
use crate::message;
use crate::message::Message;
use crate::preflight::{Inputs, Judgement, explained, id};

pub(super) fn endpoint(inputs: &Inputs) -> Judgement {
    let Some(endpoint) = inputs.settings.endpoint else {
        return Judgement::unknown(message!("--endpoint is not given"));
    };
    let port = endpoint.port();
    if let Some(reason) = impossible(endpoint.ip()) {
        let hint = message!(
            "use an address that the others can send to: {option}",
            option = format!("--endpoint ADDRESS:{port}")
        );
        return Judgement::fail(message!("{endpoint}: {reason}", endpoint, reason), hint);
    }
    let others = other_members(inputs);
    let mut found = Vec::new();
    if let Some(peer) = others.iter().find(|peer| peer.endpoint == endpoint) {
        found.push(Judgement::fail(
            message!("{endpoint} is already the endpoint of {member}", endpoint, member = peer.address),
            message!("use an address of this host; see: {command}", command = "ip -brief address"),
        ));
    }
    found.extend(whose(inputs, endpoint.ip()));
    found.extend(unreachable_interface(inputs, endpoint.ip()));
    if is_private(endpoint.ip()) && others.iter().any(|peer| !is_private(peer.endpoint.ip())) {
        found.push(Judgement::warn(
            message!("{address} is private, and other members have public endpoints", address = endpoint.ip()),
            explained(id::ENDPOINT),
        ));
    }
    let own = inputs.settings.port;
    if port != own {
        found.push(Judgement::warn(
            message!("the others send to port {port}, WireGuard listens on {own}", port, own),
            message!("forward UDP {port} to this host's port {own}, or use one port for both", port, own),
        ));
    }
    Judgement::of_all(found, own_interface(inputs, endpoint))
}

fn own_interface(inputs: &Inputs, endpoint: SocketAddr) -> Message {
    match inputs.facts.net.addresses.iter().find(|own| own.address == endpoint.ip()) {
        Some(own) => {
            message!("{endpoint}, an address of {interface}", endpoint, interface = &own.interface)
        }
        None => Message::foreign(endpoint),
    }
}

/// Why nobody else can send to this address, whatever host it is.
fn impossible(address: IpAddr) -> Option<Message> {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    match address {
        a if a.is_unspecified() => Some(message!("no host has this address")),
        a if a.is_loopback() => Some(message!("on every host this address is the host itself")),
        a if a.is_multicast() => Some(message!("a multicast address")),
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some(message!("the broadcast address")),
        IpAddr::V4(_) | IpAddr::V6(_) => link_local.then(|| message!("a link-local address")),
    }
}

/// What to say about an own address at which no packet from outside arrives.
fn unreachable_interface(inputs: &Inputs, address: IpAddr) -> Option<Judgement> {
    let net = &inputs.facts.net;
    let interface = &net.addresses.iter().find(|own| own.address == address)?.interface;
    let see = || message!("use an address of this host; see: {command}", command = "ip -brief address");
    if is_dockers(interface) {
        let detail =
            message!("{address} is Docker's own ({interface}): no other host can send to it", address, interface);
        return Some(Judgement::fail(detail, see()));
    }
    net.down.contains(interface).then(|| {
        let start = message!("or start it: {command}", command = format!("ip link set {interface} up"));
        Judgement::fail(
            message!("{address} is on {interface}, which is down", address, interface),
            Message::joined(vec![see(), start], "\n"),
        )
    })
}

/// By the names that Docker gives its bridges.
fn is_dockers(interface: &str) -> bool {
    let id = |name: &str| name.len() == 12 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    ["docker0", "docker_gwbridge"].contains(&interface) || interface.strip_prefix("br-").is_some_and(id)
}

/// What to say about an address that isn't this host's own.
fn whose(inputs: &Inputs, address: IpAddr) -> Option<Judgement> {
    let own = &inputs.facts.net.addresses;
    if own.iter().any(|own| own.address == address) {
        return None;
    }
    let reachable = |own: IpAddr| own.is_ipv4() == address.is_ipv4() && impossible(own).is_none();
    let public = own.iter().find(|own| reachable(own.address) && !is_private(own.address));
    let implausible = match public {
        _ if is_private(address) => {
            message!("{address} is not an address of this host, and NAT translates no private address to it", address)
        }
        Some(own) => message!(
            "{address} is not an address of this host, and {interface} has a public one, {public}",
            address,
            interface = &own.interface,
            public = own.address
        ),
        None => {
            let port = inputs.settings.port;
            return Some(Judgement::warn(
                message!("{address} is not an address of this host: NAT has to translate it", address),
                message!("forward UDP {port} of {address} to this host", port, address),
            ));
        }
    };
    let hint = message!(
        "see: {command}; if NAT does translate it: {option}",
        command = "ip -brief address",
        option = format!("--ignore {}", id::ENDPOINT)
    );
    Some(Judgement::fail(implausible, hint))
}

#[cfg(test)]
mod tests {
    use crate::facts::{Facts, PrivateConfFile, TextFile};
    use crate::preflight::Severity::{self, Fail, Pass, Unknown, Warn};
    use crate::preflight::network::tests::{other, settings};
    use crate::preflight::tests::{outcome, outcome_with};
    use crate::settings::Settings;

    fn judge(own: &str, endpoint: &str, peers: Option<String>) -> (Severity, String) {
        let mut facts = Facts::healthy();
        facts.net.addresses[0].address = own.parse().unwrap();
        let settings = Settings { endpoint: Some(endpoint.parse().unwrap()), peers, ..settings() };
        outcome_with("endpoint", &facts, &settings)
    }

    #[test]
    fn our_own_section_under_another_address_is_no_other_member() {
        let mut facts = Facts::healthy();
        facts.net.addresses[0].address = "192.0.2.1".parse().unwrap();
        facts.instance.public_conf = TextFile::Text(other("10.8.3.9", "192.0.2.1:4567"));
        assert_eq!(outcome_with("endpoint", &facts, &settings()).0, Fail);
        let public = "acfzxE6ZsiYE4jIqsBicOt7oT8ZuKhxBvuz0+6JxiEc=".parse().unwrap();
        facts.instance.private_conf =
            PrivateConfFile::Present { public, port: None, mode: 0o600, template: String::new() };
        assert_eq!(outcome_with("endpoint", &facts, &settings()).0, Pass);
    }

    #[test]
    fn addresses_that_nobody_can_send_to_fail() {
        for endpoint in [
            "0.0.0.0:4567",
            "127.0.0.1:4567",
            "224.0.0.1:4567",
            "255.255.255.255:4567",
            "169.254.7.7:4567",
            "[::]:4567",
            "[::1]:4567",
            "[ff02::1]:4567",
            "[fe80::1]:4567",
        ] {
            assert_eq!(judge("192.0.2.1", endpoint, None).0, Fail, "{endpoint}");
        }
    }

    #[test]
    fn an_address_of_this_host_passes_and_one_behind_nat_warns() {
        assert_eq!(judge("192.0.2.1", "192.0.2.1:4567", None).0, Pass);
        assert_eq!(judge("10.1.1.5", "10.1.1.5:4567", None).0, Pass, "a cluster in a private network");
        let (severity, text) = judge("10.1.1.5", "198.51.100.7:4567", None);
        assert_eq!(severity, Warn);
        assert!(text.contains("forward UDP 4567 of 198.51.100.7 to this host"), "{text}");
    }

    #[test]
    fn an_own_address_at_which_nothing_arrives_fails() {
        let judge = |interface: &str, down: bool| {
            let mut facts = Facts::healthy();
            facts.net.addresses[0].address = "172.17.0.1".parse().unwrap();
            facts.net.addresses[0].interface = interface.into();
            facts.net.down = down.then(|| interface.to_owned()).into_iter().collect();
            let endpoint = Some("172.17.0.1:4567".parse().unwrap());
            outcome_with("endpoint", &facts, &Settings { endpoint, ..settings() })
        };
        for interface in ["docker0", "br-0123456789ab"] {
            let (severity, text) = judge(interface, false);
            assert!(severity == Fail && text.contains("Docker's own") && text.contains("[use an address"), "{text}");
        }
        let (severity, text) = judge("eth1", true);
        assert!(
            severity == Fail && text.contains("eth1, which is down") && text.contains("ip link set eth1 up"),
            "{text}"
        );
        assert_eq!(judge("eth1", false).0, Pass);
        assert_eq!(judge("br-lan", false).0, Pass, "somebody's own bridge");
    }

    #[test]
    fn an_address_that_cannot_lead_here_fails() {
        let (severity, text) = judge("192.0.2.1", "198.51.100.7:4567", None);
        assert_eq!(severity, Fail);
        assert!(text.contains("eth0 has a public one, 192.0.2.1"), "{text}");
        assert_eq!(judge("192.0.2.1", "10.1.1.5:4567", None).0, Fail);
        assert_eq!(judge("192.0.2.1", "[2001:db8::7]:4567", None).0, Warn, "of this family the host has none");
    }

    #[test]
    fn a_private_endpoint_among_public_ones_warns() {
        let public = other("10.8.3.2", "198.51.100.2:4567");
        let (severity, text) = judge("100.64.0.9", "100.64.0.9:4567", Some(public));
        assert_eq!(severity, Warn);
        assert!(text.contains("other members have public endpoints"), "{text}");
        assert_eq!(judge("10.1.1.5", "10.1.1.5:4567", Some(other("10.8.3.2", "10.1.1.6:4567"))).0, Pass);
    }

    #[test]
    fn another_members_endpoint_fails_and_ones_own_entry_does_not() {
        let taken = judge("192.0.2.1", "192.0.2.1:4567", Some(other("10.8.3.2", "192.0.2.1:4567")));
        assert_eq!(taken.0, Fail);
        assert!(taken.1.contains("is already the endpoint of 10.8.3.2"), "{}", taken.1);
        assert_eq!(judge("192.0.2.1", "192.0.2.1:4567", Some(other("10.8.3.1", "192.0.2.1:4567"))).0, Pass);
    }

    #[test]
    fn another_port_than_wireguards_warns() {
        let (severity, text) = judge("192.0.2.1", "192.0.2.1:5000", None);
        assert_eq!(severity, Warn);
        assert!(text.contains("send to port 5000, WireGuard listens on 4567"), "{text}");
    }

    #[test]
    fn without_an_endpoint_there_is_nothing_to_judge() {
        assert_eq!(outcome("endpoint", &Facts::healthy()).0, Unknown);
    }
}
