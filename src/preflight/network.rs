//! Checks of: addresses, ports, the packet filter.

mod endpoint;
mod filter;
mod port;
mod subnet;

use std::net::IpAddr;

use super::{Check, Inputs, Needs, Part, id};
use crate::facts::{PrivateConfFile, TextFile};
use crate::wireguard::{Peer, PeerList};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: id::SUBNET_FREE,
        title: "the VPN's network is used for nothing else",
        note: Some("FN-31"),
        needs: Needs::LiveHost,
        rests_on: &[Part::Net, Part::Docker, Part::Instance],
        run: subnet::subnet_free,
        explain: "\
The VPN's network is that of --vpn-address and --prefix. It is compared with the addresses and routes of this host, with
Docker's networks, with the pools in daemon.json that Docker takes new networks from, and with the endpoints of all
members. Where two of them have addresses in common, packets go the wrong way, and no log says so.

A failure: an interface, an equal or narrower route, or a Docker network in it; an endpoint inside it. A warning: a
wider route, out of which the VPN takes a piece; a pool that may clash one day. The gateway's own interface (wg...) is
no clash.

Docker's networks: `docker network inspect NAME`, and give the other one a subnet of its own in its compose file. Pools:
\"default-address-pools\" in /etc/docker/daemon.json. Routes: `ip route get ADDRESS`. If none of these can move, the whole
cluster needs another VPN network: every member's address, on every instance.",
    },
    Check {
        id: id::ENDPOINT,
        title: "the other instances can send to the endpoint",
        note: Some("FN-28"),
        needs: Needs::LiveHost,
        rests_on: &[Part::Net, Part::Instance],
        run: endpoint::endpoint,
        explain: "\
The endpoint is what the other members send their packets to: an address of this host, or one that is translated to it
(NAT). It fails when it can't be right: 0.0.0.0, loopback, multicast, link-local; another member's endpoint; an address
that is neither this host's own nor plausibly translated to it, because it is private or this host has a public one; one
of a bridge that Docker made, or of an interface that is down.

A warning: behind NAT the port has to be forwarded to this host, and whoever is behind NAT needs a keepalive, which in
the shared vpn-public.conf binds every member. The same goes for a private endpoint among public ones. A port other than
the one WireGuard listens on needs a translation as well.

Whether it really can be reached only a handshake shows: WireGuard never answers strangers, so no scan proves anything.",
    },
    Check {
        id: id::PORT_EXPOSED,
        title: "packets can get from the host's port to the gateway",
        note: Some("FN-22"),
        needs: Needs::LiveHost,
        rests_on: &[Part::Stack],
        run: port::port_exposed,
        explain: "\
Read from the resolved compose configuration: the service `gateway` has to publish the UDP port (`ports:`) or to live in
the host's own network (`network_mode: host`). Otherwise nothing from outside gets to it, whatever the firewall says.

See what compose makes of it: `docker compose config`, and look for the service gateway. A port of another number than
--port counts as not published.",
    },
    Check {
        id: id::UDP_PORT_FREE,
        title: "the VPN's UDP ports are free, or the gateway's",
        note: Some("FN-26"),
        needs: Needs::LiveHost,
        rests_on: &[Part::Net, Part::Stack],
        run: port::udp_port_free,
        explain: "\
Read from /proc/net/udp, with the process that holds the port. Of our own, and fine: the gateway's WireGuard (in the
kernel, which has no process, or wireguard-go), and Docker's docker-proxy while the gateway runs. Where the stack has a
gateway-dataplane, 4568 is looked at as well.

4567 and 4568 are also the ports of Galera (MariaDB clusters). Who holds it: `ss -lunp 'sport = :4567'`. Stop that
service, or move it, or choose another port for the whole cluster with --port.",
    },
    Check {
        id: id::FIREWALL,
        title: "the firewall lets the VPN's packets in",
        note: Some("FN-58"),
        needs: Needs::LiveHost,
        rests_on: &[Part::Machine, Part::Stack, Part::Net],
        run: filter::firewall,
        explain: "\
Looked at: ufw, firewalld, nftables, and iptables in both variants, for both of them may hold rules and both filter
(FN-24). Each is asked what becomes of a new UDP packet from anywhere to the port. One that is switched off stays so.
Both variants with rules of their own are a warning: `iptables-legacy-save` shows those of the one, `iptables-nft-save`
those of the other, and `iptables` shows one of them alone. Debian 10 and later and Ubuntu 22.04 and later use nft by
default, Ubuntu 20.04 legacy; `update-alternatives --display iptables` says what this host does. Remove rules that are
not needed one by one, with `iptables-legacy -D`: a flush would remove Docker's as well.

A port that Docker publishes never passes the input chains: no rule there opens or closes it (FN-22). A gateway in the
host's own network, and gateway-dataplane always, is subject to them. Then install adds one rule, named mitigator-vpn by
its comment, at the head of the chain that drops (FN-58): `ufw allow PORT/udp`, a rich rule of firewalld, or a rule in
nftables or iptables together with a systemd unit that puts it back after a reload or a boot. Nothing is flushed or
reloaded, since that would delete Docker's own rules (FN-23). undo takes away exactly this rule.

A rule that names the port and refuses it is somebody's decision: install neither changes it nor puts its own before it.
The check fails, quotes the rule, and names the command that removes it.

`--firewall report` changes nothing and prints the commands; `--firewall none` leaves the matter to you. Security groups
of a cloud are outside this host and can't be seen from here: open the UDP port there as well (FN-25).",
    },
];

/// Addresses that the internet doesn't route: private ones, and those of carrier-grade NAT (100.64.0.0/10).
pub(super) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

/// The other members, as far as the lists here and the one given can be read.
fn other_members(inputs: &Inputs) -> Vec<Peer> {
    let here = match &inputs.facts.instance.public_conf {
        TextFile::Text(text) => Some(text.as_str()),
        TextFile::Absent | TextFile::Unusable { .. } => None,
    };
    let lists = [here, inputs.settings.peers.as_deref()].into_iter().flatten();
    let peers =
        lists.filter_map(|text| PeerList::parse(text).ok()).flat_map(|list| list.peers().cloned().collect::<Vec<_>>());
    // Our section is the one with our key, also when this run gives it another address.
    let own = match &inputs.facts.instance.private_conf {
        PrivateConfFile::Present { public, .. } => Some(*public),
        PrivateConfFile::Absent | PrivateConfFile::Unusable { .. } => None,
    };
    let settings = inputs.settings;
    peers.filter(|peer| Some(peer.address) != settings.vpn_address && Some(peer.public_key) != own).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::facts::Facts;
    use crate::preflight::Severity::Pass;
    use crate::preflight::tests::outcome_with;
    use crate::settings::Settings;

    /// What a first instance is told.
    pub fn settings() -> Settings {
        Settings {
            vpn_address: Some([10, 8, 3, 1].into()),
            endpoint: Some("192.0.2.1:4567".parse().unwrap()),
            ..Settings::default()
        }
    }

    /// A list with one other member.
    pub fn other(address: &str, endpoint: &str) -> String {
        let key = "acfzxE6ZsiYE4jIqsBicOt7oT8ZuKhxBvuz0+6JxiEc=";
        format!("[Peer]\nPublicKey = {key}\nAllowedIPs = {address}/32\nEndpoint = {endpoint}\n")
    }

    #[test]
    fn a_healthy_host_passes_every_row() {
        for check in CHECKS {
            let (severity, text) = outcome_with(check.id, &Facts::healthy(), &settings());
            assert_eq!(severity, Pass, "{}: {text}", check.id);
        }
    }
}
