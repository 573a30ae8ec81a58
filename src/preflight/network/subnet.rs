//! Does anything else use the VPN's network?

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::other_members;
use crate::message;
use crate::message::Message;
use crate::preflight::{Inputs, Judgement};
use crate::wireguard::Network;

pub(super) fn subnet_free(inputs: &Inputs) -> Judgement {
    let Some(address) = inputs.settings.vpn_address else {
        return Judgement::unknown(message!("--vpn-address is not given"));
    };
    let vpn = Network::of(address, inputs.settings.prefix);
    let docker = docker_networks(inputs);
    let clashes = [
        docker_clashes(vpn, &docker),
        interface_clashes(vpn, inputs, &docker),
        route_clashes(vpn, inputs, &docker),
        pool_clashes(vpn, inputs),
        endpoint_clashes(vpn, inputs),
    ];
    Judgement::of_all(clashes.concat(), message!("{vpn} is free", vpn))
}

/// Name and network of what Docker has.
fn docker_networks<'a>(inputs: &Inputs<'a>) -> Vec<(&'a str, Network)> {
    let named = |(name, subnets): (&'a String, &'a Vec<String>)| {
        subnets.iter().filter_map(|s| Some((name.as_str(), cidr(s)?))).collect::<Vec<_>>()
    };
    inputs.facts.docker.networks.iter().flat_map(named).collect()
}

fn docker_clashes(vpn: Network, docker: &[(&str, Network)]) -> Vec<Judgement> {
    let clashes = docker.iter().filter(|(_, network)| network.overlaps(vpn));
    clashes
        .map(|(name, network)| {
            Judgement::fail(
                message!(
                    "Docker's network {name} is {network}, the VPN's {vpn}",
                    name = *name,
                    network = *network,
                    vpn
                ),
                Message::command(format!("docker network inspect {name}")),
            )
        })
        .collect()
}

/// Bridges of Docker's are left out here and below: they have been named by their networks.
fn interface_clashes(vpn: Network, inputs: &Inputs, docker: &[(&str, Network)]) -> Vec<Judgement> {
    let mut clashes = Vec::new();
    for own in &inputs.facts.net.addresses {
        let IpAddr::V4(address) = own.address else { continue };
        let network = Network::of(address, own.prefix);
        let of_docker = docker.iter().any(|(_, other)| *other == network);
        if network.overlaps(vpn) && !of_docker && !is_gateways(&own.interface, network, vpn) {
            let interface = &own.interface;
            clashes.push(Judgement::fail(
                message!(
                    "{interface} has {address}, in the VPN's {vpn}",
                    interface,
                    address = format!("{address}/{}", own.prefix),
                    vpn
                ),
                Message::command(format!("ip address show dev {interface}")),
            ));
        }
    }
    clashes
}

fn route_clashes(vpn: Network, inputs: &Inputs, docker: &[(&str, Network)]) -> Vec<Judgement> {
    let net = &inputs.facts.net;
    let connected: BTreeSet<Network> =
        net.addresses.iter().filter_map(|own| Some(Network::of(v4(own.address)?, own.prefix))).collect();
    let mut clashes = Vec::new();
    for route in net.routes.iter().filter(|route| route.prefix > 0) {
        let network = Network::of(route.network, route.prefix);
        let named_already = connected.contains(&network) || docker.iter().any(|(_, other)| *other == network);
        if !network.overlaps(vpn) || named_already || is_gateways(&route.device, network, vpn) {
            continue;
        }
        let hint = Message::command(format!("ip route get {}", vpn.address()));
        let (device, is_narrower) = (&route.device, network.prefix() >= vpn.prefix());
        let (network, vpn) = (network.to_string(), vpn.to_string());
        clashes.push(if is_narrower {
            Judgement::fail(message!("{network} is routed to {device}, in the VPN's {vpn}", network, device, vpn), hint)
        } else {
            let detail =
                message!("{network} is routed to {device}; the VPN takes {vpn} out of it", network, device, vpn);
            Judgement::warn(detail, hint)
        });
    }
    clashes
}

fn pool_clashes(vpn: Network, inputs: &Inputs) -> Vec<Judgement> {
    let pools = inputs.facts.docker.pools.iter().filter_map(|pool| cidr(pool)).filter(|pool| pool.overlaps(vpn));
    pools
        .map(|pool| {
            Judgement::warn(
                message!(
                    "Docker may give {vpn} to a new network: its pool {pool} contains it",
                    vpn,
                    pool = pool.to_string()
                ),
                Message::command("cat /etc/docker/daemon.json"),
            )
        })
        .collect()
}

fn endpoint_clashes(vpn: Network, inputs: &Inputs) -> Vec<Judgement> {
    let is_inside = |endpoint: SocketAddr| v4(endpoint.ip()).is_some_and(|ip| vpn.contains(ip));
    let own = inputs.settings.endpoint.filter(|endpoint| is_inside(*endpoint)).map(|endpoint| {
        Judgement::fail(
            message!("the endpoint {endpoint} lies inside the VPN's {vpn}", endpoint, vpn),
            message!("use an address outside of the VPN: --endpoint ADDRESS:PORT"),
        )
    });
    let others = other_members(inputs).into_iter().filter(|peer| is_inside(peer.endpoint)).map(|peer| {
        Judgement::fail(
            message!(
                "the endpoint {endpoint} of the member {member} lies inside the VPN's {vpn}",
                endpoint = peer.endpoint,
                member = peer.address,
                vpn
            ),
            message!("correct the member's Endpoint in the list"),
        )
    });
    own.into_iter().chain(others).collect()
}

/// The gateway's own interface, on a host where it runs already: it has exactly this network, or single members of it.
fn is_gateways(device: &str, network: Network, vpn: Network) -> bool {
    device.starts_with("wg") && (network == vpn || (network.prefix() == 32 && network.overlaps(vpn)))
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    if let IpAddr::V4(address) = address { Some(address) } else { None }
}

/// `10.8.3.1/24` as the network it lies in; IPv6 has nothing to do with the VPN's addresses.
fn cidr(text: &str) -> Option<Network> {
    let (address, prefix) = text.split_once('/')?;
    Some(Network::of(address.parse().ok()?, prefix.parse().ok().filter(|bits| *bits <= 32)?))
}

#[cfg(test)]
mod tests {
    use crate::facts::{Facts, InterfaceAddress, Route};
    use crate::preflight::Severity::{self, Fail, Pass, Unknown, Warn};
    use crate::preflight::network::tests::{other, settings};
    use crate::preflight::tests::{outcome, outcome_with};

    fn judge(change: impl FnOnce(&mut Facts)) -> (Severity, String) {
        let mut facts = Facts::healthy();
        change(&mut facts);
        outcome_with("subnet-free", &facts, &settings())
    }

    fn interface(name: &str, address: [u8; 4], prefix: u8) -> impl FnOnce(&mut Facts) {
        let own = InterfaceAddress { interface: name.into(), address: address.into(), prefix };
        |facts| facts.net.addresses.push(own)
    }

    fn route(device: &str, network: [u8; 4], prefix: u8) -> impl FnOnce(&mut Facts) {
        let route = Route { network: network.into(), prefix, device: device.into() };
        |facts| facts.net.routes.push(route)
    }

    #[test]
    fn an_interface_in_the_vpns_network_fails_once_though_it_has_a_route_too() {
        let (severity, text) = judge(|facts| {
            interface("eth1", [10, 8, 3, 9], 24)(facts);
            route("eth1", [10, 8, 3, 0], 24)(facts);
        });
        assert_eq!(severity, Fail);
        assert!(text.starts_with("eth1 has 10.8.3.9/24, in the VPN's 10.8.3.0/24 ["), "{text}");
        assert_eq!(judge(interface("eth1", [10, 8, 0, 9], 16)).0, Fail, "a wider network that the host is in");
        assert_eq!(judge(interface("eth1", [10, 8, 4, 9], 24)).0, Pass);
    }

    #[test]
    fn a_narrower_route_fails_and_a_wider_one_warns() {
        assert_eq!(judge(route("eth0", [10, 8, 3, 0], 24)).0, Fail);
        assert_eq!(judge(route("eth0", [10, 8, 3, 128], 25)).0, Fail);
        let (severity, text) = judge(route("eth0", [10, 0, 0, 0], 8));
        assert_eq!(severity, Warn);
        assert!(text.contains("takes 10.8.3.0/24 out of it [ip route get 10.8.3.0]"), "{text}");
        assert_eq!(judge(route("eth0", [172, 16, 0, 0], 12)).0, Pass);
    }

    #[test]
    fn the_gateways_own_interface_is_no_clash_on_a_second_run() {
        let own = |facts: &mut Facts| {
            interface("wg0", [10, 8, 3, 1], 24)(facts);
            route("wg0", [10, 8, 3, 0], 24)(facts);
            route("wg0", [10, 8, 3, 2], 32)(facts);
        };
        assert_eq!(judge(own).0, Pass);
        assert_eq!(judge(interface("wg1", [10, 8, 0, 1], 16)).0, Fail, "another VPN's");
    }

    #[test]
    fn a_docker_network_fails_by_its_name_and_a_pool_warns() {
        let (severity, text) = judge(|facts| {
            facts.docker.networks.insert("shop_default".into(), vec!["fd00::/64".into(), "10.8.0.0/16".into()]);
            interface("br-77", [10, 8, 0, 1], 16)(facts);
            route("br-77", [10, 8, 0, 0], 16)(facts);
        });
        assert_eq!(severity, Fail);
        let expected =
            "Docker's network shop_default is 10.8.0.0/16, the VPN's 10.8.3.0/24 [docker network inspect shop_default]";
        assert_eq!(text, expected);
        let (severity, text) = judge(|facts| facts.docker.pools = vec!["10.0.0.0/8".into(), "172.30.0.1/16".into()]);
        assert_eq!(severity, Warn);
        assert!(text.contains("its pool 10.0.0.0/8"), "{text}");
    }

    #[test]
    fn an_endpoint_inside_the_vpn_fails_whoevers_it_is() {
        let mut settings = settings();
        settings.peers = Some(other("10.8.3.2", "10.8.3.2:4567"));
        let (severity, text) = outcome_with("subnet-free", &Facts::healthy(), &settings);
        assert_eq!(severity, Fail);
        assert!(text.contains("the endpoint 10.8.3.2:4567 of the member 10.8.3.2 lies inside"), "{text}");
        settings.peers = None;
        settings.endpoint = Some("10.8.3.7:4567".parse().unwrap());
        assert_eq!(outcome_with("subnet-free", &Facts::healthy(), &settings).0, Fail);
    }

    #[test]
    fn without_an_address_there_is_nothing_to_judge() {
        assert_eq!(outcome("subnet-free", &Facts::healthy()).0, Unknown);
    }
}
