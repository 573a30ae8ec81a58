//! The live filters, as their programs print them.

use std::collections::BTreeSet;
use std::path::Path;

use super::nft::ChainPath;
use super::{Backend, firewalld, iptables, nft, ufw};
use crate::error::{Error, Result};
use crate::host::{Cmd, Host};

pub(super) struct LiveFilters {
    pub ufw: bool,
    /// firewalld's default zone and all its zones, when it runs.
    pub zones: Option<(String, Vec<firewalld::Zone>)>,
    pub saves: Vec<SavedTable>,
    pub listing: nft::Listing,
}

impl LiveFilters {
    /// Reads all filters; those that can't be read are left out and add to `problems`.
    pub(super) fn read(host: &Host, problems: &mut Vec<Error>) -> LiveFilters {
        LiveFilters {
            ufw: or_default(has_ufw(host), problems),
            zones: or_default(zones(host), problems),
            saves: or_default(saves(host), problems),
            listing: or_default(listing(host), problems),
        }
    }

    /// Whether the INPUT chain of this table doesn't belong to iptables: it is a native one with the same name, or
    /// firewalld's, where firewalld works through iptables.
    pub(super) fn has_other_owner(&self, save: &SavedTable) -> bool {
        let native = save.input().is_some_and(|input| !self.listing.is_of_iptables(&input));
        native || (self.zones.is_some() && iptables::chains(&save.text).any(|chain| chain == "INPUT_ZONES"))
    }

    /// Base chains that neither iptables nor firewalld has made.
    pub(super) fn native_chains(&self, hook: &str) -> Vec<ChainPath> {
        let saved = |chain: &ChainPath| {
            self.saves
                .iter()
                .filter_map(SavedTable::input)
                .any(|i| (&i.family, &i.table) == (&chain.family, &chain.table))
        };
        let of_iptables =
            |chain: &ChainPath| self.listing.is_of_iptables(chain) && (saved(chain) || chain.table != "filter");
        let of_firewalld = |chain: &ChainPath| self.zones.is_some() && chain.table == "firewalld";
        let chains = self.listing.base_chains(hook).into_iter();
        chains.filter(|chain| !of_iptables(chain) && !of_firewalld(chain)).collect()
    }

    pub(super) fn mixes_variants(&self) -> bool {
        let uses = |backend| self.saves.iter().any(|s| s.backend == backend && s.text.contains("\n-A "));
        uses(Backend::IptablesLegacy) && uses(Backend::IptablesNft)
    }
}

/// The answer; nothing, and a problem, where there is none. Nothing is decided then.
pub(super) fn or_default<T: Default>(answer: Result<T>, problems: &mut Vec<Error>) -> T {
    answer.unwrap_or_else(|error| {
        problems.push(error);
        T::default()
    })
}

fn has_ufw(host: &Host) -> Result<bool> {
    Ok(host.has_program("ufw")? && ufw::is_enabled(host)?)
}

fn zones(host: &Host) -> Result<Option<(String, Vec<firewalld::Zone>)>> {
    if !host.has_program("firewall-cmd")? {
        return Ok(None);
    }
    let default = host.query(&Cmd::new("firewall-cmd").arg("--get-default-zone"))?;
    if !default.ok() {
        return Ok(None);
    }
    let list = Cmd::new("firewall-cmd").arg("--list-all-zones");
    let list = host.query(&list)?.success(format!("'{list}'"))?;
    Ok(Some((default.stdout.trim().to_owned(), firewalld::parse_zones(&list.stdout))))
}

/// A saved iptables filter table.
pub(super) struct SavedTable {
    pub backend: Backend,
    /// The program that changes the live table.
    pub program: String,
    pub ipv6: bool,
    pub text: String,
}

impl SavedTable {
    /// The INPUT chain of this table as nftables calls it, if it is in nftables.
    fn input(&self) -> Option<ChainPath> {
        let family = if self.ipv6 { "ip6" } else { "ip" };
        (self.backend == Backend::IptablesNft).then(|| ChainPath::new(family, "filter", iptables::INPUT))
    }
}

/// The filter tables of both variants and families, as far as they exist.
fn saves(host: &Host) -> Result<Vec<SavedTable>> {
    let mut saves = Vec::new();
    for (family, ipv6) in [("iptables", false), ("ip6tables", true)] {
        for (variant, backend) in [("nft", Backend::IptablesNft), ("legacy", Backend::IptablesLegacy)] {
            // Asking for a legacy table that isn't there would load its kernel module.
            if backend == Backend::IptablesLegacy && !has_legacy_table(host, ipv6)? {
                continue;
            }
            let variant = format!("{family}-{variant}");
            let program = if host.has_program(&variant)? {
                variant
            } else if host.has_program(family)? {
                family.to_owned()
            } else {
                continue;
            };
            let text = save(host, &program)?;
            // Without variants the plain name is one of the two; its first line says which.
            let is_nft = text.lines().next().is_some_and(|line| line.contains("(nf_tables)"));
            let is_it = program != family || is_nft == (backend == Backend::IptablesNft);
            if is_it && !iptables::is_incompatible(&text) && iptables::chains(&text).next().is_some() {
                saves.push(SavedTable { backend, program, ipv6, text });
            }
        }
    }
    Ok(saves)
}

/// Names of all chains that the filter tables of iptables have, in either variant.
pub(crate) fn iptables_chains(host: &Host) -> Result<BTreeSet<String>> {
    let saves = saves(host)?;
    Ok(saves.iter().flat_map(|save| iptables::chains(&save.text)).map(str::to_owned).collect())
}

/// What `PROGRAM-save` prints for the live rules of this iptables program.
pub(crate) fn save(host: &Host, program: &str) -> Result<String> {
    let cmd = Cmd::new(format!("{program}-save"));
    Ok(host.query(&cmd)?.success(format!("'{cmd}'"))?.stdout)
}

fn has_legacy_table(host: &Host, ipv6: bool) -> Result<bool> {
    let names = if ipv6 { "/proc/net/ip6_tables_names" } else { "/proc/net/ip_tables_names" };
    let names = host.read_text(Path::new(names))?.unwrap_or_default();
    Ok(names.lines().any(|name| name == "filter"))
}

/// All of nftables; empty without the program. The contents of sets are left out where this nft can do so: a ban list
/// may have a million entries.
pub(crate) fn listing(host: &Host) -> Result<nft::Listing> {
    if !host.has_program("nft")? {
        return Ok(nft::Listing::default());
    }
    let terse = host.query(&Cmd::new("nft").args(["--json", "--terse", "list", "ruleset"]))?;
    if terse.ok() {
        return nft::Listing::parse(&terse.stdout);
    }
    let cmd = Cmd::new("nft").args(["--json", "list", "ruleset"]);
    let full = host.query(&cmd)?.success(format!("'{cmd}'"))?;
    nft::Listing::parse(&full.stdout)
}
