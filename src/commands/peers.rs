//! `peers`: reads, checks and edits a vpn-public.conf, anywhere, without root.
//!
//! An edit holds a lock on the file's directory from reading to writing, so that two of them at once both take effect;
//! `--expect-digest` extends that over machines: the edit is made only if the list is still the one the caller saw.

use std::io::Read;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::peers::{ExpectedList, PeersCommand};
use crate::cluster;
use crate::compose::InstalledCompose;
use crate::compose::dotenv::Dotenv;
use crate::converge::{guard, recover};
use crate::error::{Class, Context, Error, Result};
use crate::host::{Host, Lock, Mode};
use crate::message;
use crate::message::Message;
use crate::product::{InstanceLayout, PRODUCT};
use crate::report::{
    Outcome, Output, PeersChangeDocument, PeersCheckDocument, PeersDiffDocument, PeersDocument, ProblemDocument,
};
use crate::wireguard::{LineProblem, ListChange, MAX_LIST, Peer, PeerList, PublicKey};

/// Runs one of them.
pub fn run(command: PeersCommand, host: &mut Host, dir: &Path, output: &Output) -> Result<ExitCode> {
    match command {
        PeersCommand::List { file } => {
            let (name, list) = Source::new(host, dir, file.file)?.list()?;
            output.document(&PeersDocument::new(name, &list)).map(|()| ExitCode::SUCCESS)
        }
        PeersCommand::Check { file, network } => {
            let source = Source::new(host, dir, file.file)?;
            let prefix = network.prefix.unwrap_or_else(|| source.prefix());
            check(&source, prefix, output)
        }
        PeersCommand::Add { file, public_key, vpn_address, endpoint, keepalive, network, expected } => {
            let peer = Peer {
                public_key,
                address: vpn_address,
                endpoint: endpoint.with_port(PRODUCT.gateway.port),
                keepalive,
            };
            edit(host, dir, file, &expected, output, |list, prefix| add(list, peer, network.prefix.unwrap_or(prefix)))
        }
        PeersCommand::Remove { member, file, expected } => {
            let (member, file) = Member::and_file(member, file)?;
            edit(host, dir, file, &expected, output, |list, _| member.remove_from(list))
        }
        PeersCommand::Import { file } => {
            let (_, list) = Source::new(host, dir, file.file)?.list()?;
            output.bytes(cluster::inventory::edit::import(&list).as_bytes()).map(|()| ExitCode::SUCCESS)
        }
        PeersCommand::Diff { files } => diff(host, dir, files, output),
    }
}

fn check(source: &Source, prefix: u8, output: &Output) -> Result<ExitCode> {
    let text = source.text()?;
    let (mut members, mut class) = (0, Class::Input);
    let problems = match PeerList::check(&source.name, &text) {
        // People get the error that every other command prints.
        Err(problems) if !output.is_json() => return Err(LineProblem::error(&source.name, &problems)),
        Err(problems) => problems,
        Ok(list) => {
            (members, class) = (list.len(), Class::Refused);
            list.check_network(prefix)
        }
    };
    let problems: Vec<_> = problems.into_iter().map(ProblemDocument::from).collect();
    let sound = problems.is_empty();
    output.document(&PeersCheckDocument::new(source.name.clone(), members, prefix, problems))?;
    Ok(if sound { ExitCode::SUCCESS } else { class.into() })
}

fn diff(host: &Host, dir: &Path, mut files: Vec<PathBuf>, output: &Output) -> Result<ExitCode> {
    if files.iter().filter(|file| file.as_os_str() == "-").count() > 1 {
        return Err(Error::input(message!("only one of the two lists can be standard input")));
    }
    let other = files.pop();
    let (from, ours) = Source::new(host, dir, files.pop())?.list()?;
    let (to, theirs) = Source::new(host, dir, other)?.list()?;
    let document = PeersDiffDocument::new((from, &ours), (to, &theirs));
    output.document(&document)?;
    Ok(if document.outcome == Outcome::Pass { ExitCode::SUCCESS } else { Class::Unproven.into() })
}

/// Reads, changes and writes a list under a lock. `change` returns what it changed, if anything.
fn edit(
    host: &mut Host,
    dir: &Path,
    file: Option<PathBuf>,
    expected: &ExpectedList,
    output: &Output,
    change: impl FnOnce(&mut PeerList, u8) -> Result<Option<ListChange>>,
) -> Result<ExitCode> {
    if file.as_deref().is_some_and(|file| file.as_os_str() == "-") {
        return Err(Error::input(message!("standard input can't be edited")).hint(message!("name a file")));
    }
    let mut live = Host::live();
    let explicit = file.is_some();
    let source = Source::new(host, dir, file)?;
    let (path, name, prefix) = (source.path.clone().unwrap_or_default(), source.name.clone(), source.prefix());
    drop(source);
    let host = if explicit { &mut live } else { host };
    let _locks = lock(host, &path, dir)?;
    recover::complete_writes_to(host, [path.as_path()])?;
    let mut list = PeerList::read(host, &path)?.unwrap_or_default();
    if let Some(digest) =
        expected.expect_digest.as_deref().filter(|digest| !digest.eq_ignore_ascii_case(&list.digest().to_string()))
    {
        let digest = digest.get(..12).unwrap_or(digest);
        let reason = message!("{name} isn't the list with the digest {digest}… any more", name = &name, digest);
        let command = format!("mitigator-vpn peers list {name}");
        return Err(
            Error::new(Class::Refused, reason).hint(message!("look at it again, then decide: {command}", command))
        );
    }
    let done = change(&mut list, prefix).context(Message::foreign(&name))?;
    if done.is_some() {
        host.write(&path, list.to_text().as_bytes(), Mode::PUBLIC)?;
    }
    let document = PeersChangeDocument::new(name, &list, done, reconfigure(host));
    output.document(&document).map(|()| ExitCode::SUCCESS)
}

/// As it is called on this host; the program's name where it has neither.
fn reconfigure(host: &Host) -> String {
    let exec = InstalledCompose::all(host).unwrap_or_default().last().map(|compose| compose.call("exec").to_string());
    format!("{} -T gateway reconfigure", exec.as_deref().unwrap_or("docker-compose exec"))
}

/// The directory's lock against other edits. In the instance's own directory the lock of `install` and `undo` as well, and
/// as little beside a change that waits for its confirmation: what would be edited may be taken back.
fn lock(host: &mut Host, path: &Path, dir: &Path) -> Result<(Lock, Option<Lock>)> {
    let edits = host.lock_beside(path)?;
    // The root directory's lock is the host's own already.
    let ours = path.parent() == Some(dir) && dir != Path::new("/");
    let runs = ours.then(|| host.lock()).transpose()?;
    if ours {
        guard::settle(host)?;
    }
    Ok((edits, runs))
}

fn add(list: &mut PeerList, peer: Peer, prefix: u8) -> Result<Option<ListChange>> {
    if list.by_address(peer.address) == Some(&peer) {
        return Ok(None);
    }
    if peer.public_key.is_published() {
        return Err(Error::input(message!("this is the documentation's example key"))
            .hint(message!("make a key on that instance: mitigator-vpn install, or wg genkey")));
    }
    let fitted = list.check_network(prefix).is_empty();
    list.add(peer.clone())?;
    // A list that didn't fit before is reported by `check`.
    if let (true, Some(problem)) = (fitted, list.check_network(prefix).first()) {
        return Err(Error::input(problem.reason.clone()).hint(problem.hint.clone()));
    }
    Ok(Some(ListChange::Added(peer)))
}

/// How a member is named.
enum Member {
    Address(Ipv4Addr),
    Key(PublicKey),
}

impl Member {
    fn parse(text: &str) -> Option<Member> {
        text.parse().map(Member::Address).or_else(|_| text.parse().map(Member::Key)).ok()
    }

    /// The two operands, in either order.
    fn and_file(member: String, file: Option<PathBuf>) -> Result<(Member, Option<PathBuf>)> {
        if let Some(member) = Member::parse(&member) {
            return Ok((member, file));
        }
        let other = file.as_deref().and_then(Path::to_str).and_then(Member::parse);
        other.map(|other| (other, Some(member.into()))).ok_or_else(|| {
            Error::input(message!("a member is named by its VPN address or its public key"))
                .hint(Message::foreign("mitigator-vpn peers remove 10.8.3.2"))
        })
    }

    fn remove_from(self, list: &mut PeerList) -> Result<Option<ListChange>> {
        if list.is_empty() {
            return Err(no_such_file());
        }
        let member = list.peers().find(|peer| match &self {
            Member::Address(address) => peer.address == *address,
            Member::Key(key) => peer.public_key == *key,
        });
        let nobody = match &self {
            Member::Address(address) => message!("no member has the VPN address {address}", address = *address),
            Member::Key(key) => message!("no member has the key {key}…", key = key.short()),
        };
        let Some(peer) = member.cloned() else {
            let command = "mitigator-vpn peers list";
            return Err(Error::input(nobody).hint(message!("see who is there: {command}", command)));
        };
        if list.len() == 1 {
            return Err(Error::input(message!("{address} is the only member", address = peer.address))
                .hint(message!("to end the cluster, remove the file, or on an instance: mitigator-vpn undo")));
        }
        list.remove(peer.address)?;
        Ok(Some(ListChange::Removed(peer)))
    }
}

/// Where a list is read from. A file named on the command line is on this machine, also with `--root`.
struct Source<'h> {
    host: Option<&'h Host>,
    dir: &'h Path,
    /// `None` for standard input.
    path: Option<PathBuf>,
    name: String,
}

impl<'h> Source<'h> {
    fn new(host: &'h Host, dir: &'h Path, file: Option<PathBuf>) -> Result<Self> {
        Ok(match file {
            Some(file) if file.as_os_str() == "-" => {
                Source { host: None, dir, path: None, name: "standard input".into() }
            }
            Some(file) => {
                let path = std::path::absolute(&file).with_context(|| Message::foreign(file.display()))?;
                Source { host: None, dir, path: Some(path), name: file.display().to_string() }
            }
            None => {
                let path = InstanceLayout::new(dir).public_conf();
                Source { host: Some(host), dir, name: host.display(&path), path: Some(path) }
            }
        })
    }

    fn text(&self) -> Result<String> {
        let Some(path) = &self.path else { return standard_input() };
        let live = Host::live();
        let text = self.host.unwrap_or(&live).read_text(path)?;
        text.ok_or_else(no_such_file).context(Message::foreign(&self.name))
    }

    fn list(&self) -> Result<(String, PeerList)> {
        Ok((self.name.clone(), PeerList::parse_named(&self.name, &self.text()?)?))
    }

    /// The prefix of the network that its members should be in: for an instance's own list, from that instance's `.env`.
    fn prefix(&self) -> u8 {
        let env = self.host.and_then(|host| host.read(&InstanceLayout::new(self.dir).env()).ok().flatten());
        let value = env.and_then(|bytes| Dotenv::parse(&bytes).get(PRODUCT.env.vpn_prefix));
        value.and_then(|value| value.parse().ok()).filter(|prefix| (8..=30).contains(prefix)).unwrap_or(PRODUCT.prefix)
    }
}

fn no_such_file() -> Error {
    Error::input(message!("no such file"))
        .hint(message!("create it with mitigator-vpn peers add, or name another file after the command"))
}

/// The text on standard input.
pub(super) fn standard_input() -> Result<String> {
    let mut bytes = Vec::new();
    // A longer one is the parser's to refuse.
    std::io::stdin().lock().take(MAX_LIST as u64 + 1).read_to_end(&mut bytes).context(message!("standard input"))?;
    String::from_utf8(bytes).map_err(|_| Error::input(message!("standard input is not UTF-8 text")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_step_is_called_as_this_host_calls_compose() {
        let told = |programs: &[&str]| {
            let dir = tempfile::tempdir().unwrap();
            for program in programs {
                let path = dir.path().join(program);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "").unwrap();
            }
            reconfigure(&Host::at(dir.path()).unwrap())
        };
        let plugin = ["usr/bin/docker", "usr/lib/docker/cli-plugins/docker-compose"];
        assert_eq!(told(&plugin), "docker compose exec -T gateway reconfigure");
        assert_eq!(told(&["usr/bin/docker-compose"]), "docker-compose exec -T gateway reconfigure");
        assert_eq!(told(&[]), "docker-compose exec -T gateway reconfigure");
    }
}
