//! The live packet filter: who drops what is sent to the VPN's ports, and where a rule of ours has to stand (FN-58).
//!
//! Several may be live at once, and then each of them decides (FN-24): a packet gets in when nobody drops it.

pub mod firewalld;
pub mod iptables;
pub mod nft;
pub mod ruleset;
pub mod ufw;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Backend, Filter, Firewall};
use crate::error::Result;
use crate::host::{Cmd, Host};
use crate::settings::{DATAPLANE_PORT, Settings};

/// The comment of every rule of ours.
pub const TAG: &str = "mitigator-vpn";

/// The packet whose fate is asked for: UDP, new, from anywhere, to this port of this host.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// The port.
    pub port: u16,
    /// Whether it is an IPv6 packet.
    pub ipv6: bool,
}

/// Reads this part of the facts.
pub fn gather(host: &Host, settings: &Settings) -> Firewall {
    let mut firewall = Firewall::default();
    if !host.is_live() {
        firewall.unknown = Some("a mounted tree has no live packet filter".into());
    } else if let Err(error) = read(host, &[settings.port, DATAPLANE_PORT], &mut firewall) {
        firewall.unknown = Some(error.to_string());
    }
    firewall
}

fn read(host: &Host, ports: &[u16], firewall: &mut Firewall) -> Result<()> {
    let ufw = front_end(host, "ufw", Backend::Ufw, firewall, |host| Ok(ufw::is_enabled(host).then_some(())))?;
    let zones = front_end(host, "firewall-cmd", Backend::Firewalld, firewall, zones)?;
    if ufw.is_some() {
        read_ufw(host, ports, firewall)?;
    }
    if let Some((default, zones)) = &zones {
        firewall.filters.extend(zones.iter().filter_map(|zone| filter_of_zone(zone, default, ports)));
    }
    let saves = saves(host)?;
    let listing = listing(host)?;
    for save in &saves {
        let native =
            listing.as_ref().is_some_and(|l| save.backend == Backend::IptablesNft && !l.is_of_iptables(save.table()));
        // firewalld's own chains, where it works through iptables.
        let of_firewalld = zones.is_some() && iptables::chains(&save.text).any(|chain| chain == "INPUT_ZONES");
        if !native && !of_firewalld {
            firewall.filters.extend(filter_of_save(save, ports, ufw.is_some()));
        }
    }
    if let Some(listing) = &listing {
        let skip = |place: &str| {
            let read = saves.iter().any(|save| save.backend == Backend::IptablesNft && save.table() == place);
            let of_iptables = listing.is_of_iptables(place) && (read || !place.contains(" filter "));
            let of_firewalld = zones.is_some() && place.split(' ').nth(1) == Some("firewalld");
            of_iptables || of_firewalld
        };
        let chains = listing.base_chains("input").into_iter().filter(|place| !skip(place));
        firewall.filters.extend(chains.filter_map(|place| filter_of_chain(listing, place, ports)));
        firewall.forward = forward_drops(listing, ports, &skip);
    }
    let uses =
        |backend| saves.iter().any(|s| s.backend == backend && s.text.lines().any(|line| line.starts_with("-A ")));
    if uses(Backend::IptablesLegacy) && uses(Backend::IptablesNft) {
        let note =
            "iptables-legacy and iptables-nft both hold rules, and both filter: 'iptables' shows one of them only";
        firewall.notes.push(note.into());
    }
    Ok(())
}

/// What a front end says when it is on; one that is installed and off is noted as such.
fn front_end<T>(
    host: &Host,
    program: &str,
    backend: Backend,
    firewall: &mut Firewall,
    ask: impl Fn(&Host) -> Result<Option<T>>,
) -> Result<Option<T>> {
    if !host.has_program(program) {
        return Ok(None);
    }
    let answer = ask(host)?;
    if answer.is_none() {
        firewall.inactive.push(backend);
    }
    Ok(answer)
}

/// The default zone and all zones, when firewalld runs.
fn zones(host: &Host) -> Result<Option<(String, Vec<firewalld::Zone>)>> {
    let default = host.query(&Cmd::new("firewall-cmd").arg("--get-default-zone"))?;
    if !default.ok() {
        return Ok(None);
    }
    let list = Cmd::new("firewall-cmd").arg("--list-all-zones");
    let list = host.query(&list)?.success(format!("'{list}'"))?;
    Ok(Some((default.stdout.trim().to_owned(), firewalld::parse_zones(&list.stdout))))
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
    let default = ufw::drops_by_default(host);
    let mut drops = [BTreeSet::new(), BTreeSet::new()];
    let mut ours = BTreeMap::new();
    for ipv6 in [false, true] {
        if ipv6 && !ufw::has_ipv6(host) {
            continue;
        }
        let rules = host.read_text(ufw::rules_file(ipv6))?.unwrap_or_default();
        for &port in ports {
            let packet = Packet { port, ipv6 };
            if ufw::ruleset(&rules, packet, default).drops("user") {
                drops[usize::from(ipv6)].insert(port);
            }
            if ufw::ruleset(&rules, packet, false).drops("user") {
                firewall.notes.push(format!("a rule in {} refuses UDP {port}", ufw::rules_file(ipv6).display()));
            }
        }
        if !ipv6 {
            ours = count(ports, |port| ufw::ours(&rules, port));
        }
    }
    let [drops_ipv4, drops_ipv6] = drops;
    firewall.filters.extend(Filter::of(Backend::Ufw, "", drops_ipv4, drops_ipv6, ours));
    Ok(())
}

/// A saved iptables filter table.
struct Save {
    backend: Backend,
    /// The program that changes what this is a copy of.
    program: String,
    ipv6: bool,
    text: String,
}

impl Save {
    /// The chain as nftables calls it, if it is in nftables.
    fn table(&self) -> &'static str {
        if self.ipv6 { "ip6 filter INPUT" } else { "ip filter INPUT" }
    }
}

/// The filter tables of both variants and families, as far as they exist.
fn saves(host: &Host) -> Result<Vec<Save>> {
    let mut saves = Vec::new();
    for (family, ipv6) in [("iptables", false), ("ip6tables", true)] {
        for (variant, backend) in [("nft", Backend::IptablesNft), ("legacy", Backend::IptablesLegacy)] {
            // Asking for a legacy table that isn't there would load its kernel module.
            if backend == Backend::IptablesLegacy && !has_legacy_table(host, ipv6) {
                continue;
            }
            let program = [format!("{family}-{variant}"), family.to_owned()].into_iter().find(|p| host.has_program(p));
            let Some(program) = program else { continue };
            let text = save(host, &program)?;
            // Without variants the plain name is one of the two; its first line says which.
            let is_nft = text.lines().next().is_some_and(|line| line.contains("(nf_tables)"));
            let is_it = program != family || is_nft == (backend == Backend::IptablesNft);
            if is_it && !iptables::is_incompatible(&text) && iptables::chains(&text).next().is_some() {
                saves.push(Save { backend, program, ipv6, text });
            }
        }
    }
    Ok(saves)
}

/// Names of all chains that the filter tables of iptables have, in either variant.
pub fn iptables_chains(host: &Host) -> Result<BTreeSet<String>> {
    let saves = saves(host)?;
    Ok(saves.iter().flat_map(|save| iptables::chains(&save.text)).map(str::to_owned).collect())
}

/// What `PROGRAM-save` prints for the live rules of this iptables program.
pub fn save(host: &Host, program: &str) -> Result<String> {
    let cmd = Cmd::new(format!("{program}-save"));
    Ok(host.query(&cmd)?.success(format!("'{cmd}'"))?.stdout)
}

fn has_legacy_table(host: &Host, ipv6: bool) -> bool {
    let names = if ipv6 { "/proc/net/ip6_tables_names" } else { "/proc/net/ip_tables_names" };
    let names = host.read_text(Path::new(names)).ok().flatten().unwrap_or_default();
    names.lines().any(|name| name == "filter")
}

fn filter_of_save(save: &Save, ports: &[u16], ufw: bool) -> Option<Filter> {
    let dropped = |port: &u16| {
        let mut ruleset = iptables::ruleset(&save.text, Packet { port: *port, ipv6: save.ipv6 });
        if let Some(input) = ruleset.chains.get_mut(iptables::INPUT).filter(|_| ufw) {
            // ufw's chains are judged by ufw's own files; what stands beside them is judged here.
            let before = input.rules.len();
            let of_ufw = |target: &str| target.starts_with("ufw-") || target.starts_with("ufw6-");
            input.rules.retain(|rule| !matches!(&rule.verdict, ruleset::Verdict::Jump(target) if of_ufw(target)));
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

/// All of nftables; `None` without the program. Sets' contents are left out where this nft can do so: a ban list may
/// have a million entries.
pub fn listing(host: &Host) -> Result<Option<nft::Listing>> {
    if !host.has_program("nft") {
        return Ok(None);
    }
    let terse = host.query(&Cmd::new("nft").args(["--json", "--terse", "list", "ruleset"]))?;
    if terse.ok() {
        return nft::Listing::parse(&terse.stdout).map(Some);
    }
    let cmd = Cmd::new("nft").args(["--json", "list", "ruleset"]);
    let full = host.query(&cmd)?.success(format!("'{cmd}'"))?;
    nft::Listing::parse(&full.stdout).map(Some)
}

fn filter_of_chain(listing: &nft::Listing, place: String, ports: &[u16]) -> Option<Filter> {
    let drops = |ipv6: bool, other: &str| -> BTreeSet<u16> {
        let dropped = |port: &u16| listing.ruleset(Packet { port: *port, ipv6 }).drops(&place);
        let other_family = place.starts_with(other);
        ports.iter().copied().filter(|port| !other_family && dropped(port)).collect()
    };
    let (ipv4, ipv6) = (drops(false, "ip6 "), drops(true, "ip "));
    let ours = count(ports, |port| listing.ours(&place, port).len());
    Filter::of(Backend::Nftables, place, ipv4, ipv6, ours)
}

/// Native chains that drop what is forwarded to a port of the VPN: a port that Docker publishes passes through them.
fn forward_drops(listing: &nft::Listing, ports: &[u16], skip: &dyn Fn(&str) -> bool) -> Vec<String> {
    let drops = |place: &String| ports.iter().any(|&port| listing.ruleset(Packet { port, ipv6: false }).drops(place));
    let chains = listing.base_chains("forward").into_iter();
    chains.filter(|place| !skip(place) && !place.starts_with("ip6 ") && drops(place)).collect()
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
