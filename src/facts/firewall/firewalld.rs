//! Reads what `firewall-cmd` prints.

use std::collections::BTreeSet;

use super::iptables;

/// The rule of ours in a zone. firewalld keeps no comments. A rich rule differs from the ports and services that
/// operators open, and removing it closes none of those.
pub(crate) fn rich_rule(port: u16) -> String {
    format!("rule port port=\"{port}\" protocol=\"udp\" accept")
}

/// One zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Zone {
    /// Its name.
    pub name: String,
    /// Whether it drops what it doesn't name.
    pub drops: bool,
    /// Its interfaces.
    pub interfaces: BTreeSet<String>,
    /// Open ports: `4560-4570/udp`.
    pub ports: Vec<String>,
    /// Rich rules.
    pub rules: Vec<String>,
}

impl Zone {
    /// Rich rules that refuse a UDP port to everybody; firewalld looks at them before those that accept.
    pub(crate) fn refusals(&self, port: u16) -> impl Iterator<Item = &str> {
        let names = move |rule: &str| {
            let words: Vec<&str> = rule.split_whitespace().collect();
            let value =
                |word: &str| words.iter().find_map(|w| w.strip_prefix(word)?.strip_prefix("=\"")?.strip_suffix('"'));
            let verdict = words.iter().any(|word| matches!(*word, "drop" | "reject"));
            let whose = words.contains(&"source") || words.contains(&"destination") || words.contains(&"source-port");
            let ours = value("port").is_some_and(|range| iptables::has_port(range, '-', port));
            verdict && !whose && ours && value("protocol") == Some("udp")
        };
        self.rules.iter().map(String::as_str).filter(move |rule| names(rule))
    }

    /// Whether it drops a UDP packet to this port, not counting our rule.
    pub(crate) fn drops(&self, port: u16) -> bool {
        let open = |p: &String| p.strip_suffix("/udp").is_some_and(|range| iptables::has_port(range, '-', port));
        self.refusals(port).next().is_some() || self.drops && !self.ports.iter().any(open)
    }

    /// How many rules of ours it has.
    pub(crate) fn ours(&self, port: u16) -> usize {
        self.rules.iter().filter(|rule| **rule == rich_rule(port)).count()
    }
}

/// The zones that `firewall-cmd --list-all-zones` prints.
pub(crate) fn parse_zones(text: &str) -> Vec<Zone> {
    let mut zones: Vec<Zone> = Vec::new();
    for line in text.lines() {
        if !line.starts_with([' ', '\t']) {
            let name = line.split_whitespace().next().map(str::to_owned);
            zones.extend(name.map(|name| Zone { name, ..Zone::default() }));
            continue;
        }
        let Some(zone) = zones.last_mut() else { continue };
        let words = |list: &str| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        match line.trim().split_once(':') {
            Some(("target", target)) => zone.drops = target.trim() != "ACCEPT",
            Some(("interfaces", list)) => zone.interfaces = words(list).into_iter().collect(),
            Some(("ports", list)) => zone.ports = words(list),
            _ if line.trim().starts_with("rule ") => zone.rules.push(line.trim().to_owned()),
            _ => {}
        }
    }
    zones
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
docker (active)
  target: ACCEPT
  icmp-block-inversion: no
  interfaces: docker0 br-1
  ports: 
  rich rules: 

public (active)
  target: default
  icmp-block-inversion: no
  interfaces: eth0
  sources: 
  services: dhcpv6-client ssh
  ports: 443/tcp 5000-5010/udp
  source-ports: 4567/udp
  icmp-blocks: 
  rich rules: 
\trule port port=\"4567\" protocol=\"udp\" accept
\trule family=\"ipv4\" source address=\"192.0.2.1\" drop
";

    #[test]
    fn zones_with_their_ports_and_rules() {
        let zones = parse_zones(TEXT);
        assert_eq!(zones.len(), 2);
        let [docker, public] = &zones[..] else { unreachable!() };
        assert!(!docker.drops(4567) && docker.interfaces.contains("br-1"));
        assert!(public.drops(4567) && !public.drops(5004) && public.drops(443));
        assert_eq!((public.ours(4567), public.ours(4568)), (1, 0));
        assert_eq!(public.rules.len(), 2);
    }
}
