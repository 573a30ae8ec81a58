//! cluster.toml: which instances there are, and how to reach them.

pub mod edit;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use crate::cli;
use crate::error::{Error, Result};
use crate::product::PRODUCT;
use crate::wireguard::{Network, PublicKey};

/// What the file says, found flawless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFile {
    /// The UDP port of the VPN.
    pub port: u16,
    /// Prefix length of its network.
    pub prefix: u8,
    /// The instances' directory.
    pub dir: PathBuf,
    /// The instances, in the order of the file.
    pub instances: Vec<Instance>,
    /// Members that have left: a host that was down then still has them in its list.
    pub removed: Vec<Removed>,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// What it is called here.
    pub name: String,
    /// What ssh is given.
    pub ssh: String,
    /// Its address in the VPN.
    pub address: Ipv4Addr,
    /// Where the others send their packets.
    pub endpoint: SocketAddr,
}

/// A member that has left. The same host is welcome again with another key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Removed {
    /// The address it had.
    pub vpn_address: Ipv4Addr,
    /// The key it had.
    pub public_key: PublicKey,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    defaults: Defaults,
    #[serde(default)]
    instance: Vec<RawInstance>,
    #[serde(default)]
    removed: Vec<Removed>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Defaults {
    port: Option<Spanned<u16>>,
    prefix: Option<Spanned<u8>>,
    dir: Option<Spanned<PathBuf>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawInstance {
    name: Spanned<String>,
    ssh: Spanned<String>,
    vpn_address: Spanned<Ipv4Addr>,
    endpoint: Spanned<String>,
}

/// What is wrong, where, and the way out.
struct Problem {
    at: Range<usize>,
    reason: String,
    hint: String,
}

impl Default for ClusterFile {
    /// A file that isn't there yet.
    fn default() -> Self {
        ClusterFile {
            port: PRODUCT.gateway.port,
            prefix: PRODUCT.prefix,
            dir: PathBuf::from(PRODUCT.directory),
            instances: Vec::new(),
            removed: Vec::new(),
        }
    }
}

impl ClusterFile {
    /// Parses strictly. `name` is what the file is called in errors: `cluster.toml:7:1: …`.
    pub fn parse(name: &str, text: &str) -> Result<ClusterFile> {
        let raw: Raw = toml::from_str(text).map_err(|error| {
            let at = error.span().unwrap_or(0..0);
            let reason = error.message().replace('\n', "; ");
            tell(name, text, &[Problem { at, reason, hint: FORM.to_owned() }])
        })?;
        let mut problems = Vec::new();
        let port = checked(raw.defaults.port, PRODUCT.gateway.port, &mut problems, |port| {
            (*port == 0).then(|| ("port 0 can't be sent to".to_owned(), "port = 4567".to_owned()))
        });
        let prefix = checked(raw.defaults.prefix, PRODUCT.prefix, &mut problems, |prefix| {
            let bad = !(8..=30).contains(prefix);
            bad.then(|| (format!("/{prefix} makes no network for a cluster"), "prefix = 24".to_owned()))
        });
        let dir = checked(raw.defaults.dir, PathBuf::from(PRODUCT.directory), &mut problems, |dir| {
            let hint = "dir = \"/srv/mitigator\"".to_owned();
            (!dir.is_absolute()).then(|| ("not an absolute path of the hosts".to_owned(), hint))
        });
        let mut instances = Vec::new();
        let mut taken = Taken::default();
        for instance in raw.instance {
            let RawInstance { name, ssh, vpn_address, endpoint } = instance;
            taken.note("name", &name, &mut problems);
            taken.note("ssh destination", &ssh, &mut problems);
            taken.note("VPN address", &vpn_address, &mut problems);
            word("name", &name, &mut problems);
            word("ssh destination", &ssh, &mut problems);
            let full = match cli::endpoint(endpoint.get_ref()) {
                Ok(full) => Some(full.with_port(port)),
                Err(reason) => {
                    problems.push(Problem {
                        at: endpoint.span(),
                        reason,
                        hint: "endpoint = \"192.0.2.1:4567\"".into(),
                    });
                    None
                }
            };
            let Some(full) = full else { continue };
            taken.note("endpoint", &Spanned::new(endpoint.span(), full), &mut problems);
            let address = *vpn_address.get_ref();
            instances.push((
                vpn_address.span(),
                Instance { name: name.into_inner(), ssh: ssh.into_inner(), address, endpoint: full },
            ));
        }
        fits(&instances, prefix, &mut problems);
        if instances.is_empty() && problems.is_empty() {
            problems.push(Problem { at: 0..0, reason: "no [[instance]] in it".into(), hint: FORM.into() });
        }
        if !problems.is_empty() {
            problems.sort_by_key(|problem| problem.at.start);
            return Err(tell(name, text, &problems));
        }
        let instances = instances.into_iter().map(|(_, instance)| instance).collect();
        Ok(ClusterFile { port, prefix, dir, instances, removed: raw.removed })
    }

    /// The instance of this name.
    pub fn by_name(&self, name: &str) -> Option<&Instance> {
        self.instances.iter().find(|instance| instance.name == name)
    }

    /// The instances of these names, all without any.
    pub fn select(&self, file: &Path, names: &[String]) -> Result<Vec<Instance>> {
        for name in names {
            if self.by_name(name).is_none() {
                let known: Vec<&str> = self.instances.iter().map(|i| i.name.as_str()).collect();
                return Err(Error::input(format!("{}: there is no instance '{name}'", file.display()))
                    .hint(format!("there are: {}", known.join(", "))));
            }
        }
        let chosen = self.instances.iter().filter(|i| names.is_empty() || names.contains(&i.name));
        Ok(chosen.cloned().collect())
    }
}

const FORM: &str =
    "[[instance]] with name, ssh, vpn-address and endpoint, for each; [defaults] may set port, prefix, dir";

/// A value with its place in the file, or the default, if nothing is wrong with it.
fn checked<T>(
    value: Option<Spanned<T>>,
    default: T,
    problems: &mut Vec<Problem>,
    wrong: impl Fn(&T) -> Option<(String, String)>,
) -> T {
    let Some(value) = value else { return default };
    if let Some((reason, hint)) = wrong(value.get_ref()) {
        problems.push(Problem { at: value.span(), reason, hint });
    }
    value.into_inner()
}

fn word(what: &str, value: &Spanned<String>, problems: &mut Vec<Problem>) {
    let text = value.get_ref();
    let reason = if text.is_empty() {
        format!("an empty {what}")
    } else if text.starts_with('-') || text.chars().any(|c| c.is_whitespace() || c.is_control() || c == ',') {
        format!("a {what} has no spaces or commas in it and doesn't begin with '-'")
    } else {
        return;
    };
    problems.push(Problem { at: value.span(), reason, hint: "name = \"msk-1\", ssh = \"root@msk-1.example\"".into() });
}

/// What is taken already, by kind and value, and where.
#[derive(Default)]
struct Taken(BTreeMap<(&'static str, String), usize>);

impl Taken {
    fn note<T: ToString>(&mut self, kind: &'static str, value: &Spanned<T>, problems: &mut Vec<Problem>) {
        let text = value.get_ref().to_string();
        let first = *self.0.entry((kind, text.clone())).or_insert(value.span().start);
        if first != value.span().start {
            let reason = format!("the {kind} {text} is already that of another instance");
            problems.push(Problem {
                at: value.span(),
                reason,
                hint: format!("give each instance a {kind} of its own"),
            });
        }
    }
}

/// Whether all are in one network: the one that most of them are in.
fn fits(instances: &[(Range<usize>, Instance)], prefix: u8, problems: &mut Vec<Problem>) {
    let mut sizes: BTreeMap<Network, usize> = BTreeMap::new();
    for (_, instance) in instances {
        *sizes.entry(Network::of(instance.address, prefix)).or_default() += 1;
    }
    let Some((&network, _)) = sizes.iter().rev().max_by_key(|(_, size)| **size) else { return };
    for (at, Instance { address, .. }) in instances {
        let Some(reason) = network.objection(*address) else { continue };
        let hint = format!("give it a free address in {network}, or name the network's prefix in [defaults]");
        problems.push(Problem { at: at.clone(), reason, hint });
    }
}

/// All problems as one error.
fn tell(name: &str, text: &str, problems: &[Problem]) -> Error {
    let mut lines = Vec::new();
    let mut hints: Vec<&str> = Vec::new();
    for Problem { at, reason, hint } in problems {
        let before = text.get(..at.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        lines.push(format!("{name}:{line}:{column}: {reason}"));
        if !hints.contains(&hint.as_str()) {
            hints.push(hint);
        }
    }
    Error::input(lines.join("\n")).hint(hints.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(n: u8) -> String {
        format!(
            "[[instance]]\nname = \"h{n}\"\nssh = \"root@h{n}.example\"\nvpn-address = \"10.8.3.{n}\"\nendpoint = \
             \"192.0.2.{n}\"\n"
        )
    }

    fn refused(text: &str) -> String {
        let error = ClusterFile::parse("cluster.toml", text).unwrap_err();
        assert_eq!(error.class().exit_code(), 2);
        assert!(error.way_out().is_some());
        error.to_string()
    }

    #[test]
    fn the_documented_form_is_read_with_its_defaults() {
        let text = format!("[defaults]\nport = 4600\n{}{}", instance(1), instance(2));
        let file = ClusterFile::parse("cluster.toml", &text).unwrap();
        assert_eq!((file.port, file.prefix, file.dir.to_str()), (4600, 24, Some("/srv/mitigator")));
        assert_eq!(file.instances[1].endpoint, "192.0.2.2:4600".parse().unwrap());
        let chosen = file.select(Path::new("cluster.toml"), &["h2".into()]).unwrap();
        assert_eq!(chosen.len(), 1);
        assert!(file.select(Path::new("cluster.toml"), &["h3".into()]).unwrap_err().to_string().contains("h3"));
    }

    #[test]
    fn everything_wrong_is_told_at_once_with_line_and_column() {
        let text = format!("{}{}", instance(1), instance(1));
        let said = refused(&text);
        for words in ["cluster.toml:7:8: the name h1", ":8:7: the ssh dest", ":9:15: the VPN", ":10:12: the endpoint"] {
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn what_no_host_can_have_is_refused() {
        let cases = [
            (instance(1).replace("10.8.3.1", "10.8.3.0"), "the network address"),
            (instance(1) + &instance(2) + &instance(3).replace("10.8.3.3", "10.8.4.3"), "lies outside of 10.8.3.0/24"),
            (instance(1).replace("192.0.2.1", "host.example"), "not a literal address"),
            (instance(1).replace("10.8.3.1", "10.8.3.256"), "cluster.toml:4:15"),
            (instance(1) + "user = \"x\"\n", "cluster.toml:6:1: unknown field `user`"),
            (instance(1).replace("root@", "-oProxyCommand="), "doesn't begin with '-'"),
            ("[defaults]\nprefix = 31\n".to_owned() + &instance(1), "cluster.toml:2:10: /31"),
            (String::new(), "no [[instance]]"),
            ("[[instance]\n".into(), "cluster.toml:1:"),
        ];
        for (text, words) in cases {
            let said = refused(&text);
            assert!(said.contains(words), "{words}: {said}");
        }
    }
}
