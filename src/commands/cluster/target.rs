//! The cluster that a command is about: its cluster.toml, and the way to its hosts.

use std::path::Path;
use std::sync::Arc;

use crate::cli::Global;
use crate::cli::cluster::{Policy, Target};
use crate::cluster::hosts::Fleet;
use crate::cluster::inventory::{DeclaredInstance, Inventory};
use crate::cluster::merge::{Accepted, Merged, merge};
use crate::cluster::remote::ssh::{AgentExecutable, Ssh};
use crate::error::{Context, Error, Result};
use crate::host::{Host, Mode};
use crate::message::Message;
use crate::report::Output;
use crate::settings::Settings;
use crate::{counted, message};

pub(super) struct Cluster<'g> {
    pub(super) global: &'g Global,
    pub(super) output: &'g Output,
    pub(super) target: Target,
    pub(super) inventory: Inventory,
    /// Of cluster.toml.
    text: String,
    ssh: Arc<Ssh>,
    host: Host,
}

impl<'g> Cluster<'g> {
    /// Of a cluster.toml that must be there.
    pub(super) fn open(global: &'g Global, target: Target, output: &'g Output) -> Result<Self> {
        let text = read(&Host::live(), &target.file)?.ok_or_else(|| {
            let command = "mitigator-vpn peers import vpn-public.conf";
            Error::input(message!("{file}: no such file", file = target.file.display()))
                .hint(message!("name it with -f; one is made from a list by: {command}", command))
        })?;
        Self::with(global, target, output, text)
    }

    /// The first instance of a cluster is added where no cluster.toml is.
    pub(super) fn open_or_new(global: &'g Global, target: Target, output: &'g Output) -> Result<Self> {
        let text = read(&Host::live(), &target.file)?.unwrap_or_default();
        Self::with(global, target, output, text)
    }

    fn with(global: &'g Global, target: Target, output: &'g Output, text: String) -> Result<Self> {
        let host = Host::live();
        host.raise_open_files_limit()?;
        let inventory = if text.is_empty() {
            Inventory::default()
        } else {
            Inventory::parse(&target.file.display().to_string(), &text)?
        };
        let ssh = Arc::new(Ssh {
            config: target.ssh_config.as_ref().map(|path| path.display().to_string()),
            may_ask: std::io::IsTerminal::is_terminal(&std::io::stdin()),
            executable: AgentExecutable::running(&host)?,
        });
        inventory.select(&target.file, &target.accept_key)?;
        Ok(Cluster { global, output, target, inventory, text, ssh, host })
    }

    /// Takes a change of cluster.toml as made in this run; the file itself is written when it has been confirmed.
    pub(super) fn change(&mut self, change: impl Fn(&str) -> Result<String>) -> Result<()> {
        self.take(change(&self.text)?)
    }

    /// Writes a change of cluster.toml as the file is by now: another operator may have changed it as well.
    pub(super) fn write(&mut self, change: impl Fn(&str) -> Result<String>) -> Result<()> {
        let path = absolute(&self.target.file)?;
        let _lock = self.host.lock_beside(&path)?;
        let now = read(&self.host, &self.target.file)?.unwrap_or_default();
        let text = change(&now)?;
        self.take(text)?;
        if self.text != now {
            self.host.write(&path, self.text.as_bytes(), Mode::PUBLIC)?;
        }
        Ok(())
    }

    fn take(&mut self, text: String) -> Result<()> {
        self.inventory = Inventory::parse(&self.target.file.display().to_string(), &text)?;
        self.text = text;
        Ok(())
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
        let fleet = Fleet::gather(&self.host, &self.ssh, instances, &settings, usize::from(self.target.parallel));
        task.done();
        Ok(fleet)
    }

    pub(super) fn merge(&self, fleet: &Fleet) -> Result<Merged> {
        let accepted = Accepted { keys: &self.target.accept_key, members: &self.target.accept_member };
        merge(fleet, &self.inventory, accepted)
    }

    /// Takes in what another operator has made of cluster.toml, and says who is a member now.
    pub(super) fn refresh(&mut self, fleet: &mut Fleet, policy: &Policy) -> Result<Merged> {
        if let Some(text) = read(&self.host, &self.target.file)?.filter(|text| *text != self.text) {
            self.take(text)?;
        }
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
        self.merge(fleet)
    }
}

fn absolute(path: &Path) -> Result<std::path::PathBuf> {
    std::path::absolute(path).context(Message::foreign("cluster.toml"))
}

fn read(host: &Host, path: &Path) -> Result<Option<String>> {
    host.read_text(&absolute(path)?)
}
