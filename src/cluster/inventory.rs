//! The inventory, cluster.toml: which instances there are, and how to reach them.

pub(crate) mod edit;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use crate::error::{Error, Result};
use crate::message;
use crate::message::{Message, printable};
use crate::product::PRODUCT;
use crate::settings::Endpoint;
use crate::wireguard::{History, Network, Note, PublicKey};

/// What cluster.toml says, without contradictions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inventory {
    /// The UDP port of the VPN.
    pub(crate) port: u16,
    /// Prefix length of the VPN's network.
    pub(crate) prefix: u8,
    /// The instances' directory.
    pub(crate) dir: PathBuf,
    /// In the order of the file.
    pub(crate) instances: Vec<DeclaredInstance>,
    /// Members that have left: a host that was down then still has them in its list.
    pub(crate) removed: Vec<RemovedMember>,
    /// Instances that were taken in again after they had left, with the generation.
    pub(crate) readmitted: Vec<(Ipv4Addr, u32)>,
}

/// An `[[instance]]` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeclaredInstance {
    pub(crate) name: String,
    /// The destination that ssh is given.
    pub(crate) ssh: String,
    /// Its address in the VPN.
    pub(crate) address: Ipv4Addr,
    /// Where the other members send their packets.
    pub(crate) endpoint: SocketAddr,
}

/// A `[[removed]]` section: a member that has left.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RemovedMember {
    pub(crate) vpn_address: Ipv4Addr,
    /// A key that it had.
    pub(crate) public_key: Option<PublicKey>,
    /// As in the hosts' history: 1 when it has left for the first time.
    #[serde(default = "RemovedMember::first")]
    pub(crate) generation: u32,
}

impl RemovedMember {
    fn first() -> u32 {
        1
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInventory {
    #[serde(default)]
    defaults: RawDefaults,
    #[serde(default)]
    instance: Vec<RawInstance>,
    #[serde(default)]
    removed: Vec<RemovedMember>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDefaults {
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
    generation: Option<u32>,
}

/// What is wrong at one place of the file, and the way out.
struct Problem {
    at: Range<usize>,
    reason: Message,
    hint: Message,
}

/// What no two instances have in common.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum UniqueField {
    Name,
    Ssh,
    VpnAddress,
    Endpoint,
}

impl UniqueField {
    fn noun(self) -> Message {
        match self {
            UniqueField::Name => message!("name"),
            UniqueField::Ssh => message!("ssh destination"),
            UniqueField::VpnAddress => message!("VPN address"),
            UniqueField::Endpoint => message!("endpoint"),
        }
    }
}

impl Inventory {
    /// Parses strictly, and reports every problem. `name` is what the file is called in errors: `cluster.toml:7:1: …`.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Inventory> {
        let inventory = Self::parse_begun(name, text)?;
        if inventory.instances.is_empty() {
            let problem = Problem { at: 0..0, reason: message!("no [[instance]] in it"), hint: FORM };
            return Err(problems_error(name, text, vec![problem]));
        }
        Ok(inventory)
    }

    /// As [`Inventory::parse`]; the first instance may still have to be added.
    pub(crate) fn parse_begun(name: &str, text: &str) -> Result<Inventory> {
        let raw: RawInventory = toml::from_str(text).map_err(|error| {
            let at = error.span().unwrap_or(0..0);
            let reason = Message::foreign(error.message().replace('\n', "; "));
            problems_error(name, text, vec![Problem { at, reason, hint: FORM }])
        })?;
        let mut problems = Vec::new();
        let port = checked(raw.defaults.port, PRODUCT.gateway.port, &mut problems, |port| {
            (*port == 0).then(|| (message!("port 0 can't be sent to"), Message::command("port = 4567")))
        });
        let prefix = checked(raw.defaults.prefix, PRODUCT.prefix, &mut problems, |prefix| {
            let reason = || message!("/{prefix} makes no network for a cluster", prefix = *prefix);
            (!(8..=30).contains(prefix)).then(|| (reason(), Message::command("prefix = 24")))
        });
        let dir = checked(raw.defaults.dir, PathBuf::from(PRODUCT.directory), &mut problems, |dir| {
            let hint = Message::command("dir = \"/srv/mitigator\"");
            (!dir.is_absolute()).then(|| (message!("not an absolute path of the hosts"), hint))
        });
        let (mut instances, mut readmitted) = (Vec::new(), Vec::new());
        let mut taken = Taken::default();
        for instance in raw.instance {
            let RawInstance { name, ssh, vpn_address, endpoint, generation } = instance;
            taken.note(UniqueField::Name, &name, &mut problems);
            taken.note(UniqueField::Ssh, &ssh, &mut problems);
            taken.note(UniqueField::VpnAddress, &vpn_address, &mut problems);
            check_word(UniqueField::Name, &name, &mut problems);
            check_word(UniqueField::Ssh, &ssh, &mut problems);
            let full = match Endpoint::parse(endpoint.get_ref()) {
                Ok(full) => full.with_port(port),
                Err(reason) => {
                    let hint = Message::command("endpoint = \"192.0.2.1:4567\"");
                    problems.push(Problem { at: endpoint.span(), reason, hint });
                    continue;
                }
            };
            taken.note(UniqueField::Endpoint, &Spanned::new(endpoint.span(), full), &mut problems);
            let address = *vpn_address.get_ref();
            readmitted.extend(generation.map(|generation| (address, generation)));
            instances.push((
                vpn_address.span(),
                DeclaredInstance { name: name.into_inner(), ssh: ssh.into_inner(), address, endpoint: full },
            ));
        }
        check_network(&instances, prefix, &mut problems);
        if !problems.is_empty() {
            problems.sort_by_key(|problem| problem.at.start);
            return Err(problems_error(name, text, problems));
        }
        let instances = instances.into_iter().map(|(_, instance)| instance).collect();
        Ok(Inventory { port, prefix, dir, instances, removed: raw.removed, readmitted })
    }

    /// What the file says of members that have left or come back.
    pub(crate) fn history(&self) -> History {
        let mut history = History::default();
        for (address, generation) in &self.readmitted {
            history.raise(*address, *generation, None);
        }
        for RemovedMember { vpn_address, public_key, generation } in &self.removed {
            history.raise(*vpn_address, *generation, None);
            if let Some(key) = public_key {
                history.retire(*vpn_address, *key, Note::default());
            }
        }
        history
    }

    /// The network that all members are in; none while there is no instance.
    pub(crate) fn network(&self) -> Option<Network> {
        network(self.instances.iter(), self.prefix)
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&DeclaredInstance> {
        self.instances.iter().find(|instance| instance.name == name)
    }

    /// No instance has this name.
    pub(crate) fn unknown(&self, file: &Path, name: &str) -> Error {
        let known: Vec<&str> = self.instances.iter().map(|instance| instance.name.as_str()).collect();
        Error::input(message!("{file}: there is no instance '{name}'", file = file.display(), name))
            .hint(message!("there are: {names}", names = known.join(", ")))
    }

    /// The instances of these names; all of them without any name.
    pub(crate) fn select(&self, file: &Path, names: &[String]) -> Result<Vec<DeclaredInstance>> {
        if let Some(name) = names.iter().find(|name| self.by_name(name).is_none()) {
            return Err(self.unknown(file, name));
        }
        let chosen = self.instances.iter().filter(|i| names.is_empty() || names.contains(&i.name));
        Ok(chosen.cloned().collect())
    }
}

const FORM: Message = Message::fixed(
    "[[instance]] with name, ssh, vpn-address and endpoint, for each; [defaults] may set port, prefix, dir",
);

/// The value that the file has, or the default; `wrong` says what is wrong with a value, and the way out.
fn checked<T>(
    value: Option<Spanned<T>>,
    default: T,
    problems: &mut Vec<Problem>,
    wrong: impl Fn(&T) -> Option<(Message, Message)>,
) -> T {
    let Some(value) = value else { return default };
    if let Some((reason, hint)) = wrong(value.get_ref()) {
        problems.push(Problem { at: value.span(), reason, hint });
    }
    value.into_inner()
}

/// Names are listed with commas, and a destination is an argument of ssh.
fn check_word(field: UniqueField, value: &Spanned<String>, problems: &mut Vec<Problem>) {
    let text = value.get_ref();
    let reason = if text.is_empty() {
        message!("an empty {what}", what = field.noun())
    } else if text.starts_with('-')
        || text.contains([','])
        || text.contains(char::is_whitespace)
        || printable(text) != *text
    {
        message!("a {what} has no spaces or commas in it and doesn't begin with '-'", what = field.noun())
    } else {
        return;
    };
    let hint = Message::command("name = \"msk-1\", ssh = \"root@msk-1.example\"");
    problems.push(Problem { at: value.span(), reason, hint });
}

/// The values that instances have, each with the place where it was first.
#[derive(Default)]
struct Taken(BTreeMap<(UniqueField, String), usize>);

impl Taken {
    fn note<T: ToString>(&mut self, field: UniqueField, value: &Spanned<T>, problems: &mut Vec<Problem>) {
        let text = value.get_ref().to_string();
        let first = *self.0.entry((field, text.clone())).or_insert(value.span().start);
        if first != value.span().start {
            let kind = field.noun();
            let reason = message!("the {kind} {text} is already that of another instance", kind = &kind, text);
            let hint = message!("give each instance a {kind} of its own", kind);
            problems.push(Problem { at: value.span(), reason, hint });
        }
    }
}

/// The network that most of them are in.
fn network<'a>(instances: impl Iterator<Item = &'a DeclaredInstance>, prefix: u8) -> Option<Network> {
    let mut sizes: BTreeMap<Network, usize> = BTreeMap::new();
    for instance in instances {
        *sizes.entry(Network::of(instance.address, prefix)).or_default() += 1;
    }
    sizes.into_iter().rev().max_by_key(|(_, size)| *size).map(|(network, _)| network)
}

/// Whether all instances are in one network.
fn check_network(instances: &[(Range<usize>, DeclaredInstance)], prefix: u8, problems: &mut Vec<Problem>) {
    let Some(network) = network(instances.iter().map(|(_, instance)| instance), prefix) else { return };
    for (at, DeclaredInstance { address, .. }) in instances {
        let Some(reason) = network.objection(*address) else { continue };
        let hint = message!("give it a free address in {network}, or name the network's prefix in [defaults]", network);
        problems.push(Problem { at: at.clone(), reason, hint });
    }
}

/// All problems as one error: a line each, and each way out once.
fn problems_error(name: &str, text: &str, problems: Vec<Problem>) -> Error {
    let mut lines = Vec::new();
    let mut hints: Vec<Message> = Vec::new();
    for Problem { at, reason, hint } in problems {
        let before = text.get(..at.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        lines.push(message!("{place}: {reason}", place = format!("{name}:{line}:{column}"), reason));
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    hints.into_iter().fold(Error::input(Message::joined(lines, "\n")), Error::then)
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
        let error = Inventory::parse("cluster.toml", text).unwrap_err();
        assert_eq!(error.class().exit_code(), 2);
        assert!(error.way_out().is_some());
        error.to_string()
    }

    #[test]
    fn the_documented_form_is_read_with_its_defaults() {
        let text = format!("[defaults]\nport = 4600\n{}{}", instance(1), instance(2));
        let file = Inventory::parse("cluster.toml", &text).unwrap();
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
