//! An opened UDP port: one rule of ours in each place that would drop what members send (FN-58).
//!
//! Additive only: a rule is added or taken away, nothing is ever flushed, restarted or reloaded, because a reload of
//! the firewall deletes Docker's rules (FN-23). Ours carries our name as its comment and is recognised by it in what the
//! firewall saves; it is counted, and there is exactly one (FN-24).
//!
//! ufw and firewalld keep their rules over a reboot; for nftables and iptables a systemd unit of ours puts the rule
//! back, because their own start-up files begin with a flush and belong to the operator.

mod firewalld;
mod iptables;
mod nft;
mod ufw;
mod unit;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{State, mismatch};
use crate::error::{Error, Result};
use crate::facts::{Backend, Facts, Filter, firewall};
use crate::host::{Cmd, Host};
use crate::product::PRODUCT;
use crate::settings::{Settings, StackKind};

/// A rule of ours that accepts one UDP port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallRule {
    /// The firewall it belongs to.
    pub backend: Backend,
    /// Where in it (`facts::Filter::place`).
    pub place: String,
    /// The UDP port.
    pub port: u16,
}

/// How packets from outside come to the gateway's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Docker publishes the port: packets bypass the input chains of the host (FN-22).
    Published,
    /// The gateway lives in the host's own network: packets pass the input chains.
    Host,
    /// Neither: nothing from outside gets there.
    Nowhere,
    /// There is no resolved compose configuration to tell.
    Unknown,
}

impl Exposure {
    /// How the gateway's port is exposed.
    pub fn of(facts: &Facts, settings: &Settings) -> Exposure {
        // Where there is no stack yet, --stack default brings one that lives in the host's network.
        if facts.stack.config.is_none() && settings.stack == StackKind::Default {
            return Exposure::Host;
        }
        let Some(Ok(resolved)) = &facts.stack.config else { return Exposure::Unknown };
        match &resolved.gateway {
            None => Exposure::Unknown,
            Some(gateway) if gateway.host_network => Exposure::Host,
            Some(gateway) if gateway.published.contains_key(&settings.port) => Exposure::Published,
            Some(_) => Exposure::Nowhere,
        }
    }
}

impl FirewallRule {
    /// The rules this instance needs: one for each port that lives in the host's own network, in each place that drops
    /// it for the endpoint's family of addresses. What is open already, and what Docker publishes, needs none.
    pub fn wanted(facts: &Facts, settings: &Settings) -> Vec<FirewallRule> {
        let mut ports = Vec::new();
        if Exposure::of(facts, settings) == Exposure::Host {
            ports.push(settings.port);
        }
        // The data plane always lives in the host's network.
        if matches!(&facts.stack.config, Some(Ok(resolved)) if resolved.dataplane) {
            ports.push(PRODUCT.dataplane.port);
        }
        ports.iter().flat_map(|&port| Self::wanted_for(port, facts, settings)).collect()
    }

    /// The rules one port needs if it lives in the host's own network.
    fn wanted_for(port: u16, facts: &Facts, settings: &Settings) -> Vec<FirewallRule> {
        let ipv6 = settings.endpoint.is_some_and(|endpoint| endpoint.is_ipv6());
        let drops = |filter: &Filter| if ipv6 { &filter.drops_ipv6 } else { &filter.drops_ipv4 }.contains(&port);
        let outer = outer_interface(facts, settings.endpoint.map(|endpoint| endpoint.ip()));
        let named = |filter: &Filter| outer.is_some_and(|interface| filter.interfaces.contains(interface));
        let zone_is_named = facts.firewall.filters.iter().any(named);
        let concerned = |filter: &Filter| if zone_is_named { named(filter) } else { filter.interfaces.is_empty() };
        let filters = facts.firewall.filters.iter();
        filters
            .filter(|filter| drops(filter) && (filter.backend != Backend::Firewalld || concerned(filter)))
            .map(|filter| FirewallRule { backend: filter.backend, place: filter.place.clone(), port })
            .collect()
    }

    /// `Present` when exactly one rule of ours is there, and will be there after the next boot.
    pub fn observe(&self, host: &Host) -> Result<State> {
        let there = match self.backend {
            Backend::Ufw => ufw::is_there(self, host)?,
            Backend::Firewalld => firewalld::is_there(self, host)?,
            Backend::Nftables => nft::ours(self, host)?.len() == 1 && unit::is_there(self, host)?,
            Backend::IptablesNft | Backend::IptablesLegacy => {
                iptables::ours(self, host)?.len() == 1 && unit::is_there(self, host)?
            }
        };
        Ok(if there { State::Present } else { State::Absent })
    }

    /// Adds it, or removes exactly ours.
    pub fn set(&self, host: &mut Host, state: &State) -> Result<()> {
        let before = docker_chains(host)?;
        match (state, self.backend) {
            (State::Present, Backend::Ufw) => ufw::add(self, host),
            (State::Present, Backend::Firewalld) => firewalld::add(self, host),
            (State::Present, Backend::Nftables) => nft::add(self, host).and_then(|()| unit::add(self, host)),
            (State::Present, _) => iptables::add(self, host).and_then(|()| unit::add(self, host)),
            (State::Absent, Backend::Ufw) => ufw::remove(self, host),
            (State::Absent, Backend::Firewalld) => firewalld::remove(self, host),
            // The unit first: it would put the rule back.
            (State::Absent, Backend::Nftables) => unit::remove(self, host).and_then(|()| nft::remove(self, host)),
            (State::Absent, _) => unit::remove(self, host).and_then(|()| iptables::remove(self, host)),
            (other, _) => Err(mismatch(self, other)),
        }?;
        let after = docker_chains(host)?;
        if let Some(chain) = before.difference(&after).next() {
            return Err(Error::unexpected(format!("{} has lost Docker's chain {chain}", self.backend))
                .hint("let Docker make its rules again: systemctl restart docker"));
        }
        Ok(())
    }

    /// What a person would type instead, line by line, for `--firewall report`.
    pub fn commands(&self) -> Vec<String> {
        let (commands, after) = match self.backend {
            Backend::Ufw => (vec![ufw::allow(self)], None),
            Backend::Firewalld => (firewalld::changes(self, "add").into(), None),
            Backend::Nftables => (
                vec![nft::insert(self)],
                Some("# and the same rule in /etc/nftables.conf, or the next boot forgets it"),
            ),
            Backend::IptablesNft | Backend::IptablesLegacy => (
                vec![iptables::insert(self)],
                Some("# and the same rule where this host keeps its iptables rules, or the next boot forgets it"),
            ),
        };
        commands.iter().map(Cmd::to_string).chain(after.map(str::to_owned)).collect()
    }
}

/// The interface that packets to the endpoint come in by: the one that has its address, else the default route's.
fn outer_interface(facts: &Facts, endpoint: Option<IpAddr>) -> Option<&str> {
    let own = facts.net.addresses.iter().find(|a| Some(a.address) == endpoint).map(|a| a.interface.as_str());
    own.or_else(|| facts.net.routes.iter().find(|route| route.prefix == 0).map(|route| route.device.as_str()))
}

fn docker_chains(host: &Host) -> Result<BTreeSet<String>> {
    let chains = firewall::iptables_chains(host)?;
    Ok(chains.into_iter().filter(|chain| chain.starts_with("DOCKER")).collect())
}

impl fmt::Display for FirewallRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FirewallRule { backend, place, port } = self;
        match backend {
            Backend::Ufw => write!(f, "UDP port {port} in ufw"),
            Backend::Firewalld => write!(f, "UDP port {port} in firewalld's zone {place}"),
            Backend::Nftables => write!(f, "UDP port {port} in the nftables chain {place}"),
            Backend::IptablesNft | Backend::IptablesLegacy => write!(f, "UDP port {port} in {place}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::ResolvedConfig;

    const PORTS: [u16; 2] = [4567, 4568];

    fn filter(backend: Backend, place: &str) -> Filter {
        Filter {
            backend,
            place: place.into(),
            interfaces: BTreeSet::new(),
            drops_ipv4: PORTS.into(),
            drops_ipv6: PORTS.into(),
            ours: Default::default(),
        }
    }

    fn resolved(facts: &mut Facts) -> &mut ResolvedConfig {
        facts.stack.config.as_mut().unwrap().as_mut().unwrap()
    }

    fn host_network(filters: &[Filter]) -> Facts {
        let mut facts = Facts::healthy();
        facts.firewall.filters = filters.to_vec();
        resolved(&mut facts).gateway.as_mut().unwrap().host_network = true;
        facts
    }

    fn wanted(facts: &Facts) -> Vec<String> {
        let endpoint = Some("192.0.2.1:4567".parse().unwrap());
        let settings = Settings { endpoint, ..Settings::default() };
        FirewallRule::wanted(facts, &settings).iter().map(FirewallRule::to_string).collect()
    }

    #[test]
    fn a_published_port_needs_no_rule_but_the_data_plane_beside_it_does() {
        let mut facts = Facts::healthy();
        facts.firewall.filters = vec![filter(Backend::Nftables, "inet filter input")];
        assert_eq!(wanted(&facts), [""; 0]);
        resolved(&mut facts).dataplane = true;
        assert_eq!(wanted(&facts), ["UDP port 4568 in the nftables chain inet filter input"]);
    }

    #[test]
    fn every_place_that_drops_needs_one() {
        let mut facts = host_network(&[
            filter(Backend::Nftables, "inet t in"),
            filter(Backend::IptablesLegacy, "iptables-legacy INPUT"),
        ]);
        assert_eq!(
            wanted(&facts),
            ["UDP port 4567 in the nftables chain inet t in", "UDP port 4567 in iptables-legacy INPUT"]
        );
        facts.firewall.filters[0].drops_ipv4.clear();
        assert_eq!(wanted(&facts).len(), 1, "what is open needs none");
        facts.firewall.filters.clear();
        assert_eq!(wanted(&facts), [""; 0]);
    }

    #[test]
    fn the_zone_of_the_endpoints_interface_counts_and_else_the_default_zone() {
        let zone = |name: &str, interface: &str| Filter {
            interfaces: [interface.to_owned()].into(),
            ..filter(Backend::Firewalld, name)
        };
        let default = filter(Backend::Firewalld, "public");
        let facts = host_network(&[default.clone(), zone("outer", "eth0"), zone("inner", "eth1")]);
        assert_eq!(wanted(&facts), ["UDP port 4567 in firewalld's zone outer"]);
        let facts = host_network(&[default, zone("inner", "eth1")]);
        assert_eq!(wanted(&facts), ["UDP port 4567 in firewalld's zone public"]);
    }

    #[test]
    fn a_zone_that_lets_everything_in_is_not_replaced_by_the_default_one() {
        let trusted = Filter {
            interfaces: ["eth0".to_owned()].into(),
            drops_ipv4: BTreeSet::new(),
            ..filter(Backend::Firewalld, "trusted")
        };
        assert_eq!(wanted(&host_network(&[filter(Backend::Firewalld, "public"), trusted])), [""; 0]);
    }

    #[test]
    fn without_a_resolved_configuration_nothing_is_wanted() {
        let mut facts = host_network(&[filter(Backend::Ufw, "")]);
        facts.stack.config = Some(Err("no such file".into()));
        assert_eq!(wanted(&facts), [""; 0]);
    }

    #[test]
    fn the_default_stack_that_is_yet_to_come_needs_a_rule() {
        let mut facts = host_network(&[filter(Backend::Ufw, "")]);
        facts.stack.config = None;
        assert_eq!(wanted(&facts), [""; 0]);
        let settings = Settings { stack: StackKind::Default, ..Settings::default() };
        assert_eq!(FirewallRule::wanted(&facts, &settings).len(), 1);
    }

    #[test]
    fn what_is_reported_can_be_typed() {
        let commands = |backend, place: &str| FirewallRule { backend, place: place.into(), port: 4567 }.commands();
        assert_eq!(commands(Backend::Ufw, ""), ["ufw allow 4567/udp comment mitigator-vpn"]);
        assert_eq!(
            commands(Backend::Nftables, "inet filter input")[0],
            "nft insert rule inet filter input udp dport 4567 counter accept comment mitigator-vpn"
        );
        assert_eq!(
            commands(Backend::IptablesLegacy, "iptables-legacy INPUT")[0],
            "iptables-legacy --wait -I INPUT -p udp --dport 4567 -m comment --comment mitigator-vpn -j ACCEPT"
        );
        assert_eq!(
            commands(Backend::Firewalld, "public"),
            [
                "firewall-cmd --zone=public '--add-rich-rule=rule port port=\"4567\" protocol=\"udp\" accept'",
                "firewall-cmd --zone=public '--add-rich-rule=rule port port=\"4567\" protocol=\"udp\" accept' --permanent"
            ]
        );
    }
}
