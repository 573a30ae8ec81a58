//! The live packet filter: what drops packets to the VPN's ports, and where a rule of ours has to be (FN-58).
//!
//! Several filters may be live at once; a packet gets in when none of them drops it (FN-24).

pub(crate) mod firewalld;
pub(crate) mod iptables;
mod live;
pub(crate) mod nft;
pub(crate) mod ruleset;
pub(crate) mod ufw;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use live::{LiveFilters, SavedTable, or_default};
pub(crate) use live::{iptables_chains, listing, save};
use nft::ChainPath;

use crate::error::Result;
use crate::host::{Cmd, Host};
use crate::message;
use crate::message::Message;
use crate::product::PRODUCT;
use crate::settings::Settings;

/// The live packet filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firewall {
    /// Every filter that drops packets to a port of the VPN, or would without a rule of ours. Usually none or one.
    pub filters: Vec<Filter>,
    /// Native nftables chains that drop forwarded packets, and with them what Docker publishes: `inet filter forward`.
    pub forward: Vec<String>,
    /// Front ends that are installed and switched off.
    pub inactive: Vec<Backend>,
    /// Rules of somebody else that refuse a port of the VPN.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
    /// What is worth a warning.
    pub notes: Vec<FirewallNote>,
    /// Why the packet filter can't be read in full.
    pub unknown: Option<Message>,
}

/// Something about the packet filter that is worth a warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirewallNote {
    /// Both variants of iptables hold rules, and both filter (FN-24).
    #[serde(
        alias = "iptables-legacy and iptables-nft both hold rules, and both filter; 'iptables' shows only one of them"
    )]
    MixedVariants,
}

/// A rule that somebody made to refuse a port of the VPN: neither changed nor outweighed by one of ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// The front end or the kind of filter.
    pub backend: Backend,
    /// As [`Filter::place`].
    pub place: String,
    /// The UDP port.
    pub port: u16,
    /// Whether it refuses IPv6 packets.
    pub ipv6: bool,
    /// The rule in its program's words.
    pub rule: String,
    /// The command that removes it, or that shows it where more than this port hangs on it.
    pub command: String,
}

impl From<&FirewallNote> for Message {
    fn from(note: &FirewallNote) -> Self {
        match note {
            FirewallNote::MixedVariants => message!(
                "iptables-legacy and iptables-nft both hold rules, and both filter; 'iptables' shows only one of them"
            ),
        }
    }
}

/// A filter that drops packets to a port of the VPN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// The front end or the kind of filter.
    pub backend: Backend,
    /// Where a rule of ours has to be: `inet filter input` for nftables, `iptables-nft INPUT` for iptables, the zone for
    /// firewalld; empty for ufw.
    pub place: String,
    /// The interfaces it applies to. An empty set means all, or all that no other zone names.
    pub interfaces: BTreeSet<String>,
    /// The VPN's ports that it drops for IPv4, not counting rules of ours.
    pub drops_ipv4: BTreeSet<u16>,
    /// The same for IPv6.
    pub drops_ipv6: BTreeSet<u16>,
    /// The number of rules with our tag, by port.
    pub ours: BTreeMap<u16, usize>,
}

/// What filters incoming packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// ufw.
    Ufw,
    /// firewalld.
    Firewalld,
    /// A native nftables base chain on the input hook.
    Nftables,
    /// The INPUT chain of iptables' nft variant.
    IptablesNft,
    /// The INPUT chain of iptables-legacy.
    IptablesLegacy,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::Ufw => "ufw",
            Backend::Firewalld => "firewalld",
            Backend::Nftables => "nftables",
            Backend::IptablesNft => "iptables (nft)",
            Backend::IptablesLegacy => "iptables (legacy)",
        })
    }
}

/// The comment of every rule of ours.
pub(crate) const TAG: &str = "mitigator-vpn";

/// The packet to decide about: UDP, new, from anywhere, to this port of this host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VpnPacket {
    /// The port.
    pub port: u16,
    /// Whether it is an IPv6 packet.
    pub ipv6: bool,
    /// Whether Docker forwards it to a container.
    pub forwarded: bool,
}

impl VpnPacket {
    /// A packet for this host itself.
    pub(crate) fn to(port: u16, ipv6: bool) -> VpnPacket {
        VpnPacket { port, ipv6, forwarded: false }
    }

    /// An IPv4 packet to a port that Docker publishes.
    pub(crate) fn through(port: u16) -> VpnPacket {
        VpnPacket { port, ipv6: false, forwarded: true }
    }
}

/// Reads this part of the facts.
pub fn gather(host: &Host, settings: &Settings) -> Firewall {
    let mut firewall = Firewall::default();
    if !host.is_live() {
        firewall.unknown = Some(message!("a mounted tree has no live packet filter"));
        return firewall;
    }
    let mut problems = Vec::new();
    let live = LiveFilters::read(host, &mut problems);
    let ports = [settings.port, PRODUCT.dataplane.port];
    if live.ufw {
        read_ufw(host, &ports, &mut firewall).unwrap_or_else(|error| problems.push(error));
    } else if or_default(host.has_program("ufw"), &mut problems) {
        firewall.inactive.push(Backend::Ufw);
    }
    if let Some((default, zones)) = &live.zones {
        firewall.filters.extend(zones.iter().filter_map(|zone| filter_of_zone(zone, default, &ports)));
        firewall
            .refusals
            .extend(zones.iter().flat_map(|zone| ports.iter().flat_map(|port| refusals_of_zone(zone, *port))));
    } else if or_default(host.has_program("firewall-cmd"), &mut problems) {
        firewall.inactive.push(Backend::Firewalld);
    }
    let saves = live.saves.iter().filter(|save| !live.has_other_owner(save));
    for save in saves {
        firewall.filters.extend(filter_of_save(save, &ports, live.ufw));
        firewall.refusals.extend(ports.iter().flat_map(|port| refusals_of_save(save, *port, live.ufw)));
    }
    let chains = live.native_chains("input");
    firewall.filters.extend(chains.iter().filter_map(|chain| filter_of_chain(&live.listing, chain, &ports)));
    for (chain, port) in chains.iter().flat_map(|chain| ports.map(|port| (chain, port))) {
        let found = refusals_of_chain(host, &live.listing, &chain.to_string(), port);
        firewall.refusals.extend(found.unwrap_or_else(|error| {
            problems.push(error);
            Vec::new()
        }));
    }
    let through = live.listing.ruleset(VpnPacket::through(settings.port));
    let forward = live.native_chains("forward").into_iter().map(|chain| chain.to_string());
    firewall.forward = forward.filter(|place| through.drops(place)).collect();
    if live.mixes_variants() {
        firewall.notes.push(FirewallNote::MixedVariants);
    }
    firewall.unknown = problems.first().map(Message::from);
    firewall
}

/// Zones in use are kept even when they drop nothing: which one counts depends on the endpoint's interface.
fn filter_of_zone(zone: &firewalld::Zone, default: &str, ports: &[u16]) -> Option<Filter> {
    let is_default = zone.name == default;
    if zone.interfaces.is_empty() && !is_default {
        return None;
    }
    let drops: BTreeSet<u16> = ports.iter().copied().filter(|port| zone.drops(*port)).collect();
    Some(Filter {
        backend: Backend::Firewalld,
        place: zone.name.clone(),
        drops_ipv4: drops.clone(),
        drops_ipv6: drops,
        // The default zone takes what no other has.
        interfaces: if is_default { BTreeSet::new() } else { zone.interfaces.clone() },
        ours: count(ports, |port| zone.ours(port)),
    })
}

fn read_ufw(host: &Host, ports: &[u16], firewall: &mut Firewall) -> Result<()> {
    let default = ufw::drops_by_default(host)?;
    let mut drops = [BTreeSet::new(), BTreeSet::new()];
    let mut ours = BTreeMap::new();
    for ipv6 in [false, true] {
        if ipv6 && !ufw::has_ipv6(host)? {
            continue;
        }
        let rules = host.read_text(ufw::rules_file(ipv6))?.unwrap_or_default();
        for &port in ports {
            let packet = VpnPacket::to(port, ipv6);
            if ufw::ruleset(&rules, packet, default).drops("user") {
                drops[usize::from(ipv6)].insert(port);
            }
            firewall.refusals.extend(ufw::refusal(&rules, packet));
        }
        if !ipv6 {
            ours = count(ports, |port| ufw::ours(&rules, port));
        }
    }
    let [drops_ipv4, drops_ipv6] = drops;
    firewall.filters.extend(Filter::of(Backend::Ufw, "", drops_ipv4, drops_ipv6, ours));
    Ok(())
}

/// Whether a chain of iptables is one that ufw makes from its own files, by which it is judged.
fn is_of_ufw(chain: &str) -> bool {
    chain.starts_with("ufw-") || chain.starts_with("ufw6-")
}

fn filter_of_save(save: &SavedTable, ports: &[u16], ufw: bool) -> Option<Filter> {
    let dropped = |port: &u16| {
        let mut ruleset = iptables::ruleset(&save.text, VpnPacket::to(*port, save.ipv6));
        if let Some(input) = ruleset.chains.get_mut(iptables::INPUT).filter(|_| ufw) {
            // ufw's chains are judged by ufw's own files; only the other rules are judged here.
            let before = input.rules.len();
            input.rules.retain(|rule| !matches!(&rule.action, ruleset::RuleAction::Jump(target) if is_of_ufw(target)));
            input.drops &= input.rules.len() == before;
        }
        ruleset.drops(iptables::INPUT)
    };
    let drops: BTreeSet<u16> = ports.iter().copied().filter(dropped).collect();
    let (ipv4, ipv6) = if save.ipv6 { (BTreeSet::new(), drops) } else { (drops, BTreeSet::new()) };
    let rules = iptables::rules(&save.text);
    let ours = count(ports, |port| rules.iter().filter(|rule| rule.is_ours(port)).count());
    Filter::of(save.backend, format!("{} {}", save.program, iptables::INPUT), ipv4, ipv6, ours)
}

fn filter_of_chain(listing: &nft::Listing, chain: &ChainPath, ports: &[u16]) -> Option<Filter> {
    let place = chain.to_string();
    let drops = |ipv6: bool, other_family: &str| -> BTreeSet<u16> {
        let dropped = |port: &u16| listing.ruleset(VpnPacket::to(*port, ipv6)).drops(&place);
        ports.iter().copied().filter(|port| chain.family != other_family && dropped(port)).collect()
    };
    let (ipv4, ipv6) = (drops(false, "ip6"), drops(true, "ip"));
    let ours = count(ports, |port| listing.ours(&place, port).len());
    Filter::of(Backend::Nftables, place, ipv4, ipv6, ours)
}

fn refusals_of_zone(zone: &firewalld::Zone, port: u16) -> impl Iterator<Item = Refusal> {
    zone.refusals(port).map(move |rule| {
        let removal = Cmd::new("firewall-cmd").arg(format!("--zone={}", zone.name));
        let removal = removal.arg(format!("--remove-rich-rule={rule}"));
        let command = format!("{removal}; {}", removal.clone().arg("--permanent"));
        let of = |family: &str| !rule.contains("family=") || rule.contains(&format!("family=\"{family}\""));
        let (backend, place, rule) = (Backend::Firewalld, zone.name.clone(), rule.to_owned());
        Refusal { backend, place, port, ipv6: !of("ipv4"), rule, command }
    })
}

fn refusals_of_save(save: &SavedTable, port: u16, ufw: bool) -> Vec<Refusal> {
    let place = format!("{} {}", save.program, iptables::INPUT);
    let found = iptables::refusals(&save.text, VpnPacket::to(port, save.ipv6));
    let refusal = |(rule, names_it_alone): (iptables::SavedRule, bool)| {
        let change = Cmd::new(&save.program).arg("--wait");
        let command = if names_it_alone {
            change.args(["-D", &rule.chain]).args(rule.words.iter().cloned())
        } else {
            change.args(["-S", &rule.chain])
        };
        let words = Cmd::new("-A").arg(&rule.chain).args(rule.words.iter().cloned()).to_string();
        Refusal {
            backend: save.backend,
            place: place.clone(),
            port,
            ipv6: save.ipv6,
            rule: words,
            command: command.to_string(),
        }
    };
    found.into_iter().filter(|(rule, _)| !ufw || !is_of_ufw(&rule.chain)).map(refusal).collect()
}

fn refusals_of_chain(host: &Host, listing: &nft::Listing, base: &str, port: u16) -> Result<Vec<Refusal>> {
    let mut refusals: Vec<Refusal> = Vec::new();
    for ipv6 in [false, true] {
        for found in listing.refusals(base, VpnPacket::to(port, ipv6)) {
            let list = Cmd::new("nft").args(["-a", "list", "chain"]).args(found.chain.split(' '));
            let text = host.query(&list)?.success(format!("'{list}'"))?.stdout;
            let end = format!("# handle {}", found.handle);
            let line = text.lines().find_map(|line| line.trim().strip_suffix(&end)).unwrap_or_default();
            let remove = Cmd::new("nft").args(["delete", "rule"]).args(found.chain.split(' '));
            let remove = remove.args(["handle".to_owned(), found.handle.to_string()]);
            let command = if found.names_it_alone { remove } else { list }.to_string();
            let (place, rule) = (base.to_owned(), format!("{}: {}", found.chain, line.trim()));
            refusals.push(Refusal { backend: Backend::Nftables, place, port, ipv6, rule, command });
        }
    }
    Ok(refusals)
}

fn count(ports: &[u16], of: impl Fn(u16) -> usize) -> BTreeMap<u16, usize> {
    ports.iter().map(|&port| (port, of(port))).filter(|(_, n)| *n > 0).collect()
}

impl Filter {
    /// A filter for all interfaces; `None` when it neither drops one of our ports nor has a rule of ours.
    fn of(
        backend: Backend,
        place: impl Into<String>,
        drops_ipv4: BTreeSet<u16>,
        drops_ipv6: BTreeSet<u16>,
        ours: BTreeMap<u16, usize>,
    ) -> Option<Filter> {
        let concerned = !(drops_ipv4.is_empty() && drops_ipv6.is_empty() && ours.is_empty());
        concerned.then(|| Filter {
            backend,
            place: place.into(),
            interfaces: BTreeSet::new(),
            drops_ipv4,
            drops_ipv6,
            ours,
        })
    }
}
