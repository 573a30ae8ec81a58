//! The cluster that a command is about: its cluster.toml, and the way to its hosts.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use crate::cli::Global;
use crate::cli::cluster::{Policy, Target};
use crate::cluster::hosts::{Fleet, reason};
use crate::cluster::inventory::{DeclaredInstance, Inventory};
use crate::cluster::merge::{Accepted, Merged, merge};
use crate::cluster::remote::ssh::{AgentExecutable, Ssh};
use crate::error::{Context, Error, Result};
use crate::facts::clock;
use crate::host::{Host, Mode};
use crate::message::{Message, printable};
use crate::report::Output;
use crate::settings::Settings;
use crate::wireguard::{History, Note};
use crate::{counted, message};

/// Comings and goings that most hosts may have missed.
const AHEAD: u32 = 100;

pub(super) struct Cluster<'g> {
    pub(super) global: &'g Global,
    pub(super) output: &'g Output,
    pub(super) target: Target,
    pub(super) inventory: Inventory,
    /// What this command says of members that leave or come back.
    pub(super) history: History,
    /// Who runs it, and when.
    pub(super) note: Note,
    /// Of cluster.toml, as it was read or last changed.
    text: String,
    /// Whether there was no cluster.toml when the run began.
    is_new: bool,
    /// Why cluster.toml could not be read again, if it couldn't: the run goes on with what it has.
    pub(super) unread: Option<Message>,
    ssh: Arc<Ssh>,
    host: Host,
}

impl<'g> Cluster<'g> {
    /// Of a cluster.toml that must be there.
    pub(super) fn open(global: &'g Global, target: Target, output: &'g Output) -> Result<Self> {
        let text = read(&Host::live(), &target.file)?.ok_or_else(|| {
            let command = "mitigator-vpn peers import vpn-public.conf";
            missing(&target.file).hint(message!("name it with -f; one is made from a list by: {command}", command))
        })?;
        let inventory = Inventory::parse(&target.file.display().to_string(), &text)?;
        Self::with(global, target, output, inventory, Some(text))
    }

    /// The first instance of a cluster is added where no cluster.toml is, or where it has none yet.
    pub(super) fn open_or_new(global: &'g Global, target: Target, output: &'g Output) -> Result<Self> {
        let text = read(&Host::live(), &target.file)?;
        let begun = text.as_deref().unwrap_or_default();
        let inventory = Inventory::parse_begun(&target.file.display().to_string(), begun)?;
        Self::with(global, target, output, inventory, text)
    }

    fn with(
        global: &'g Global,
        target: Target,
        output: &'g Output,
        inventory: Inventory,
        text: Option<String>,
    ) -> Result<Self> {
        let host = Host::live();
        host.raise_open_files_limit()?;
        let ssh = Arc::new(Ssh {
            config: target.ssh_config.as_ref().map(|path| path.display().to_string()),
            may_ask: std::io::IsTerminal::is_terminal(&std::io::stdin()),
            executable: AgentExecutable::running(&host)?,
        });
        inventory.select(&target.file, &target.accept_key)?;
        let (is_new, text) = (text.is_none(), text.unwrap_or_default());
        let note = Note { on: clock::today(), by: operator() };
        let history = History::default();
        Ok(Cluster { global, output, target, inventory, history, note, text, is_new, unread: None, ssh, host })
    }

    /// Takes a change of cluster.toml as made in this run; the file itself is written when it has been confirmed.
    pub(super) fn change(&mut self, change: impl Fn(&str) -> Result<String>) -> Result<()> {
        let text = change(&self.text).context(self.name())?;
        self.take(text)
    }

    /// Writes a change of cluster.toml as the file is by now: another operator may have changed it as well. Nothing else has
    /// been changed yet.
    pub(super) fn write(&mut self, change: impl Fn(&str) -> Result<String>) -> Result<()> {
        let path = absolute(&self.target.file)?;
        let _lock = self.host.lock_beside(&path)?;
        let now = match read(&self.host, &self.target.file)? {
            Some(now) => now,
            None if self.is_new => String::new(),
            None => return Err(missing(&self.target.file).hint(message!("it was there when this run began"))),
        };
        let text = change(&now).context(self.name())?;
        self.take(text)?;
        if self.text != now {
            self.host.write(&path, self.text.as_bytes(), Mode::PUBLIC)?;
        }
        self.is_new = false;
        Ok(())
    }

    fn take(&mut self, text: String) -> Result<()> {
        self.inventory = Inventory::parse(&self.target.file.display().to_string(), &text)?;
        self.text = text;
        Ok(())
    }

    fn name(&self) -> Message {
        Message::foreign(self.target.file.display())
    }

    fn settings(&self, policy: Option<&Policy>) -> Settings {
        let settings = Settings {
            dir: self.inventory.dir.clone(),
            port: self.inventory.port,
            prefix: self.inventory.prefix,
            ignore: self.global.ignore.clone(),
            ..Settings::default()
        };
        match policy {
            None => settings,
            Some(policy) => policy.host.over(settings),
        }
    }

    /// Connects to the hosts that take part, and looks at each.
    pub(super) fn gather(&self, policy: Option<&Policy>) -> Result<Fleet> {
        let instances = self.inventory.select(&self.target.file, &self.target.only)?;
        let task = self
            .output
            .progress()
            .start(counted!("look at {count} host" | "look at {count} hosts", count = instances.len()));
        let settings = self.settings(policy);
        let mut fleet = Fleet::gather(&self.host, &self.ssh, instances, &settings, usize::from(self.target.parallel));
        fleet.settle_keys();
        task.done();
        Ok(fleet)
    }

    pub(super) fn merge(&self, fleet: &Fleet) -> Result<Merged> {
        let accepted = Accepted {
            history: &self.history,
            note: &self.note,
            keys: &self.target.accept_key,
            members: &self.target.accept_member,
        };
        merge(fleet, &self.inventory, accepted)
    }

    /// Takes in what another operator has made of cluster.toml, and says who is a member now. What can't be read doesn't
    /// count: hosts may have been changed by now.
    pub(super) fn refresh(&mut self, fleet: &mut Fleet, policy: &Policy) -> Result<Merged> {
        let again = read(&self.host, &self.target.file)
            .and_then(|text| text.ok_or_else(|| missing(&self.target.file)))
            .and_then(|text| if text == self.text { Ok(()) } else { self.take(text) });
        self.unread = again.err().map(|error| {
            let (file, reason) = (self.target.file.display(), reason(&error));
            message!("{file} was changed under this run, which went on with what it had read: {reason}", file, reason)
        });
        if self.target.only.is_empty() {
            fleet.nodes.retain(|node| self.inventory.instances.contains(&node.instance));
            let is_known = |instance: &DeclaredInstance| fleet.nodes.iter().any(|node| node.instance == *instance);
            let new: Vec<DeclaredInstance> =
                self.inventory.instances.iter().filter(|i| !is_known(i)).cloned().collect();
            if !new.is_empty() {
                let settings = self.settings(Some(policy));
                let more = Fleet::gather(&self.host, &self.ssh, new, &settings, fleet.parallel);
                fleet.nodes.extend(more.nodes);
            }
        }
        fleet.settle_keys();
        self.merge(fleet)
    }

    /// How far the address has come by what anybody says, believed or not: who decides goes beyond that. A host that is far
    /// ahead of all others makes it up.
    pub(super) fn remembered(&self, fleet: &Fleet, believed: &History, address: Ipv4Addr) -> History {
        let known = self.inventory.history().with(believed).generation(address);
        let said = fleet.nodes.iter().map(|node| node.history().generation(address));
        let generation = said.filter(|said| *said <= known + AHEAD).max().unwrap_or_default().max(known);
        let mut remembered = History::default();
        remembered.raise(address, generation, None);
        remembered
    }
}

/// The person who runs this, as far as the machine knows: `root@ops-1`.
fn operator() -> String {
    let user = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let [user, host] = [user, host].map(|name| name.filter(|name| !name.is_empty()).unwrap_or_else(|| "?".to_owned()));
    printable(&format!("{user}@{host}"))
}

fn missing(file: &Path) -> Error {
    Error::input(message!("{file}: no such file", file = file.display()))
}

fn absolute(path: &Path) -> Result<std::path::PathBuf> {
    std::path::absolute(path).context(Message::foreign("cluster.toml"))
}

fn read(host: &Host, path: &Path) -> Result<Option<String>> {
    host.read_text(&absolute(path)?)
}
