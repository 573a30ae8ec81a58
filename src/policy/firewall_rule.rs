//! An opened UDP port: one rule of ours in each place that would drop what members send (FN-58).

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Exposure;
use crate::facts::firewall::TAG;
use crate::facts::firewall::firewalld::rich_rule;
use crate::facts::firewall::iptables::INPUT;
use crate::facts::{Backend, Facts, Filter, Refusal};
use crate::host::Cmd;
use crate::message;
use crate::message::Message;
use crate::product::PRODUCT;
use crate::settings::Settings;

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

impl FirewallRule {
    /// The rules this instance needs: one for each port that lives in the host's own network, in each place that drops
    /// it for the endpoint's family of addresses. What is open already, and what Docker publishes, needs none; what somebody
    /// refuses by a rule of their own gets none.
    pub(crate) fn wanted(facts: &Facts, settings: &Settings) -> Vec<FirewallRule> {
        let mut rules = Self::needed(facts, settings);
        rules.retain(|rule| !facts.firewall.refusals.iter().any(|refusal| rule.is_refused_by(refusal, settings)));
        rules
    }

    /// Somebody's rules that keep members out: each stands where one of ours would be needed.
    pub(crate) fn refusals<'f>(facts: &'f Facts, settings: &Settings) -> Vec<&'f Refusal> {
        let needed = Self::needed(facts, settings);
        let refusals = facts.firewall.refusals.iter();
        refusals.filter(|refusal| needed.iter().any(|rule| rule.is_refused_by(refusal, settings))).collect()
    }

    fn is_refused_by(&self, refusal: &Refusal, settings: &Settings) -> bool {
        // ufw changes the rules of both families at once, and firewalld's are of both unless they say otherwise.
        let both = match self.backend {
            Backend::Ufw => true,
            Backend::Firewalld => !refusal.rule.contains("family="),
            Backend::Nftables | Backend::IptablesNft | Backend::IptablesLegacy => false,
        };
        let family = both || refusal.ipv6 == settings.endpoint.is_some_and(|e| e.is_ipv6());
        family && (refusal.backend, &refusal.place, refusal.port) == (self.backend, &self.place, self.port)
    }

    fn needed(facts: &Facts, settings: &Settings) -> Vec<FirewallRule> {
        // A filter that was read may belong to one that wasn't.
        if facts.firewall.unknown.is_some() {
            return Vec::new();
        }
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

    /// What a report calls it.
    pub(crate) fn name(&self) -> Message {
        let FirewallRule { backend, place, port } = self;
        match backend {
            Backend::Ufw => message!("UDP port {port} in ufw", port = *port),
            Backend::Firewalld => message!("UDP port {port} in firewalld's zone {zone}", port = *port, zone = place),
            Backend::Nftables => {
                message!("UDP port {port} in the nftables chain {chain}", port = *port, chain = place)
            }
            Backend::IptablesNft | Backend::IptablesLegacy => {
                message!("UDP port {port} in {place}", port = *port, place)
            }
        }
    }

    /// The commands that add it.
    pub(crate) fn additions(&self) -> Vec<Cmd> {
        let port = self.port.to_string();
        match self.backend {
            Backend::Ufw => vec![Cmd::new("ufw").args(["allow", &format!("{port}/udp"), "comment", TAG])],
            Backend::Firewalld => self.firewalld_commands("add").into(),
            Backend::Nftables => {
                let insert = Cmd::new("nft").args(["insert", "rule"]).args(self.place.split(' '));
                vec![insert.args(["udp", "dport", &port, "counter", "accept", "comment", TAG])]
            }
            Backend::IptablesNft | Backend::IptablesLegacy => {
                let matches = ["-p", "udp", "--dport", &port, "-m", "comment", "--comment", TAG, "-j", "ACCEPT"];
                vec![self.iptables_command("-I").args(matches)]
            }
        }
    }

    /// Of firewalld, for the running rules and for the kept ones; `verb` is `add`, `query` or `remove`.
    pub(crate) fn firewalld_commands(&self, verb: &str) -> [Cmd; 2] {
        let running = Cmd::new("firewall-cmd")
            .arg(format!("--zone={}", self.place))
            .arg(format!("--{verb}-rich-rule={}", rich_rule(self.port)));
        [running.clone(), running.arg("--permanent")]
    }

    /// Of iptables, in the chain that the rule belongs to. `--wait`: another program may hold the legacy variant's lock.
    pub(crate) fn iptables_command(&self, option: &str) -> Cmd {
        Cmd::new(self.iptables_program()).args(["--wait", option, INPUT])
    }

    /// The place names the program and the chain: `ip6tables-legacy INPUT`.
    pub(crate) fn iptables_program(&self) -> &str {
        self.place.split(' ').next().unwrap_or_default()
    }

    /// What a person would type instead, one line each, for `--firewall report`.
    pub fn commands(&self) -> Vec<Message> {
        let kept = match self.backend {
            Backend::Ufw | Backend::Firewalld => None,
            Backend::Nftables => {
                Some(message!("# and the same rule in /etc/nftables.conf, or the next boot forgets it"))
            }
            Backend::IptablesNft | Backend::IptablesLegacy => Some(message!(
                "# and the same rule where this host keeps its iptables rules, or the next boot forgets it"
            )),
        };
        self.additions().iter().map(Message::command).chain(kept).collect()
    }
}

/// The interface that packets to the endpoint come in by: the one that has its address, else the default route's.
fn outer_interface(facts: &Facts, endpoint: Option<IpAddr>) -> Option<&str> {
    let own = facts.net.addresses.iter().find(|a| Some(a.address) == endpoint).map(|a| a.interface.as_str());
    own.or_else(|| facts.net.routes.iter().find(|route| route.prefix == 0).map(|route| route.device.as_str()))
}

impl fmt::Display for FirewallRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::compose::ResolvedConfig;
    use crate::settings::StackKind;

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
        facts.stack.config = Some(Err(Message::foreign("no such file")));
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
        let commands = |backend, place: &str| {
            let rule = FirewallRule { backend, place: place.into(), port: 4567 };
            rule.commands().iter().map(Message::to_string).collect::<Vec<_>>()
        };
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
