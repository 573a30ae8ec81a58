//! Can the other instances send to the endpoint?

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::other_members;
use crate::preflight::{Inputs, Judgement};

pub fn endpoint(inputs: &Inputs) -> Judgement {
    let Some(endpoint) = inputs.settings.endpoint else { return Judgement::unknown("no --endpoint to judge") };
    if let Some(reason) = impossible(endpoint.ip()) {
        let hint = format!("name an address that the others can send to: --endpoint ADDRESS:{}", endpoint.port());
        return Judgement::fail(format!("{endpoint}: {reason}"), hint);
    }
    let others = other_members(inputs);
    let mut findings = Vec::new();
    if let Some(peer) = others.iter().find(|peer| peer.endpoint == endpoint) {
        let detail = format!("{endpoint} is the endpoint of {} already", peer.address);
        findings.push(Judgement::fail(detail, "ip address show; then --endpoint with an address of this host"));
    }
    findings.extend(whose(inputs, endpoint.ip()));
    if is_private(endpoint.ip()) && others.iter().any(|peer| !is_private(peer.endpoint.ip())) {
        let detail = format!("{} is private, and other members have public endpoints", endpoint.ip());
        findings.push(Judgement::warn(detail, "mitigator-vpn explain endpoint"));
    }
    let port = inputs.settings.port;
    if endpoint.port() != port {
        let detail = format!("the others send to port {}, WireGuard listens on {port}", endpoint.port());
        let hint =
            format!("have UDP {} forwarded to this host's port {port}, or use the same for both", endpoint.port());
        findings.push(Judgement::warn(detail, hint));
    }
    Judgement::of_all(findings, own_interface(inputs, endpoint))
}

fn own_interface(inputs: &Inputs, endpoint: SocketAddr) -> String {
    let own = inputs.facts.net.addresses.iter().find(|own| own.address == endpoint.ip());
    own.map_or_else(|| endpoint.to_string(), |own| format!("{endpoint}, an address of {}", own.interface))
}

/// Why nobody else can send to this address, whatever host it is.
fn impossible(address: IpAddr) -> Option<&'static str> {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    match address {
        a if a.is_unspecified() => Some("no host has this address"),
        a if a.is_loopback() => Some("on every host this is the host itself"),
        a if a.is_multicast() => Some("a multicast address"),
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some("the broadcast address"),
        _ if link_local => Some("a link-local address"),
        _ => None,
    }
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
        _ if is_private(address) => Some("it is private, so nothing translates it to this host".to_owned()),
        Some(own) => Some(format!("{} has a public one, {}", own.interface, own.address)),
        None => None,
    };
    Some(match implausible {
        Some(reason) => {
            let detail = format!("{address} is no address of this host, and {reason}");
            Judgement::fail(detail, "ip -brief address; translated all the same: --ignore endpoint")
        }
        None => {
            let port = inputs.settings.port;
            let detail = format!("{address} is no address of this host: it must be translated to it");
            Judgement::warn(detail, format!("have UDP {port} of {address} forwarded to this host"))
        }
    })
}

/// Addresses that the internet doesn't route: private ones, and those of carrier-grade NAT (100.64.0.0/10).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
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
        assert!(text.contains("forwarded to this host"), "{text}");
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
        assert!(taken.1.contains("is the endpoint of 10.8.3.2 already"), "{}", taken.1);
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
