//! `cluster`: all instances from one place.

mod outcome;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use self::outcome::{applied, changes, exit_code, planned};
use super::confirm;
use crate::cli::Global;
use crate::cli::cluster::{ClusterCommand, Guarding, Policy, Target};
use crate::cluster::action::{self, Need};
use crate::cluster::hosts::{Fleet, Node, State};
use crate::cluster::inventory::edit;
use crate::cluster::inventory::{ClusterFile, Instance, Removed};
use crate::cluster::merge::Union;
use crate::cluster::remote::agent as session;
use crate::cluster::remote::protocol::{Reply, Request};
use crate::cluster::remote::ssh::{Program, Ssh};
use crate::cluster::rollout::{Rollout, Run, told};
use crate::cluster::rotate;
use crate::cluster::status::{Heard, Picture};
use crate::error::{Class, Context, Error, Result};
use crate::host::{Host, Mode};
use crate::report::{ClusterList, ClusterPlanDocument, ClusterStatusDocument, Outcome, Output, PlannedHost, SCHEMA};
use crate::settings::Settings;
use crate::tunnel::timings::WITH_SESSION;
use crate::wireguard::PeerList;

/// Runs one of them.
pub fn run(command: ClusterCommand, global: &Global, output: &Output) -> Result<ExitCode> {
    match command {
        ClusterCommand::Plan { target, policy } => {
            let cluster = Cluster::open(global, target, output)?;
            let mut fleet = cluster.gather(Some(&policy))?;
            let (document, _) = cluster.plan(&mut fleet)?;
            output.document(&document)?;
            Ok(match document.outcome {
                Outcome::Pass => ExitCode::SUCCESS,
                Outcome::Warn => Class::Unproven.into(),
                Outcome::Fail => Class::Refused.into(),
            })
        }
        ClusterCommand::Apply { target, policy } => {
            let mut cluster = Cluster::open(global, target, output)?;
            let fleet = cluster.gather(Some(&policy))?;
            cluster.apply(fleet, &policy, |_| Ok(()))
        }
        ClusterCommand::Status { target } => status(Cluster::open(global, target, output)?),
        ClusterCommand::Add { name, ssh, vpn_address, endpoint, target, policy } => {
            let mut cluster = Cluster::open_or_new(global, target, output)?;
            let endpoint = endpoint.with_port(cluster.file.port);
            let instance = Instance { name, ssh, address: vpn_address, endpoint };
            cluster.change(&mut |text| edit::add(text, &instance))?;
            let fleet = cluster.gather(Some(&policy))?;
            cluster.apply(fleet, &policy, |cluster| cluster.write(|text| edit::add(text, &instance)))
        }
        ClusterCommand::Remove { name, target, policy } => {
            let mut cluster = Cluster::open(global, target, output)?;
            remove(&mut cluster, &name, &policy)
        }
        ClusterCommand::Rotate { name, target, guarding } => {
            rotate(&Cluster::open(global, target, output)?, name.as_deref(), guarding)
        }
    }
}

/// The far side of a connection.
pub fn session(host: &mut Host, way_in: &str) -> Result<ExitCode> {
    session::run(host, way_in, std::io::stdin().lock(), std::io::stdout().lock()).map(|()| ExitCode::SUCCESS)
}

/// A cluster.toml, and the way to its hosts.
struct Cluster<'g> {
    global: &'g Global,
    output: &'g Output,
    target: Target,
    file: ClusterFile,
    text: String,
    ssh: Arc<Ssh>,
    host: Host,
}

impl<'g> Cluster<'g> {
    fn open(global: &'g Global, target: Target, output: &'g Output) -> Result<Self> {
        let text = read(&Host::live(), &target.file)?.ok_or_else(|| {
            Error::input(format!("{}: no such file", target.file.display()))
                .hint("name it with -f; one is made from a list by: mitigator-vpn peers import vpn-public.conf")
        })?;
        Self::with(global, target, output, text)
    }

    fn open_or_new(global: &'g Global, target: Target, output: &'g Output) -> Result<Self> {
        match read(&Host::live(), &target.file)? {
            Some(text) => Self::with(global, target, output, text),
            None => Self::with(global, target, output, String::new()),
        }
    }

    fn with(global: &'g Global, target: Target, output: &'g Output, text: String) -> Result<Self> {
        let host = Host::live();
        host.prepare_many_conversations()?;
        // The first instance of a cluster is added to nothing.
        let file = if text.is_empty() {
            ClusterFile::default()
        } else {
            ClusterFile::parse(&target.file.display().to_string(), &text)?
        };
        let ssh = Arc::new(Ssh {
            config: target.ssh_config.as_ref().map(|path| path.display().to_string()),
            may_ask: std::io::IsTerminal::is_terminal(&std::io::stdin()),
            program: Program::running(&host)?,
        });
        for name in &target.accept_key {
            file.select(&target.file, std::slice::from_ref(name))?;
        }
        Ok(Cluster { global, output, target, file, text, ssh, host })
    }

    /// Takes a change of the text for granted in this run; the file itself is written when it has been confirmed.
    fn change(&mut self, change: &mut dyn FnMut(&str) -> Result<String>) -> Result<()> {
        self.text = change(&self.text)?;
        self.file = ClusterFile::parse(&self.target.file.display().to_string(), &self.text)?;
        Ok(())
    }

    /// Writes a change of the file as it is by now: somebody else may have changed it as well.
    fn write(&mut self, change: impl Fn(&str) -> Result<String>) -> Result<()> {
        let path = std::path::absolute(&self.target.file).context("cluster.toml")?;
        let _lock = self.host.lock_beside(&path)?;
        let now = read(&self.host, &self.target.file)?.unwrap_or_default();
        let text = change(&now)?;
        self.file = ClusterFile::parse(&self.target.file.display().to_string(), &text)?;
        if text != now {
            self.host.write(&path, text.as_bytes(), Mode::PUBLIC)?;
        }
        self.text = text;
        Ok(())
    }

    fn settings(&self, policy: Option<&Policy>) -> Settings {
        let settings = Settings {
            dir: self.file.dir.clone(),
            port: self.file.port,
            prefix: self.file.prefix,
            ignore: self.global.ignore.clone(),
            ..Settings::default()
        };
        match policy {
            None => settings,
            Some(policy) => policy.host.over(settings),
        }
    }

    fn gather(&self, policy: Option<&Policy>) -> Result<Fleet> {
        let instances = self.file.select(&self.target.file, &self.target.only)?;
        let task = self.output.progress().start(format!("look at {} hosts", instances.len()));
        let settings = self.settings(policy);
        let fleet = Fleet::gather(&self.host, &self.ssh, instances, &settings, usize::from(self.target.parallel));
        task.done();
        Ok(fleet)
    }

    /// What would be done, and the same for people. Changes nothing.
    fn plan(&self, fleet: &mut Fleet) -> Result<(ClusterPlanDocument, BTreeMap<Ipv4Addr, Need>)> {
        let Union { list, keyless } = fleet.unite(&self.file, &self.target.accept_key)?;
        let task = self.output.progress().start("see what has to be done".to_owned());
        let needs = action::needs(fleet, &list, keyless.is_empty());
        task.done();
        let hosts: Vec<PlannedHost> =
            fleet.nodes.iter().map(|node| planned(node, &needs[&node.instance.address])).collect();
        let outcome = match () {
            () if hosts.iter().any(|host| host.need == "refused") => Outcome::Fail,
            () if hosts.iter().any(|host| host.need == "behind") => Outcome::Warn,
            () => Outcome::Pass,
        };
        let list = ClusterList {
            digest: keyless.is_empty().then(|| list.digest()),
            members: list.len() + keyless.len(),
            changes: changes(fleet, &list),
        };
        Ok((ClusterPlanDocument { schema: SCHEMA, list, hosts, outcome }, needs))
    }

    /// Plans, asks, carries out, looks again. `confirmed` is done in between, once somebody has said yes.
    fn apply(
        &mut self,
        mut fleet: Fleet,
        policy: &Policy,
        confirmed: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<ExitCode> {
        let (plan, needs) = self.plan(&mut fleet)?;
        if !plan.is_empty() && !self.global.yes {
            confirm(&crate::message!("apply?"), self.output, || self.output.document(&plan))?;
        }
        confirmed(self)?;
        let accepted = self.target.accept_key.clone();
        let mut run = Run {
            fleet: &mut fleet,
            accepted: &accepted,
            batch: usize::from(policy.batch),
            guard: patience(policy.guarding),
            progress: self.output.progress(),
        };
        let rollout = run.carry_out(needs.clone(), |fleet| self.refresh(fleet, policy))?;
        if !rollout.fates.is_empty() {
            fleet.each(|node| node.seen().is_some(), Node::look_again);
        }
        fleet.hang_up();
        let document = applied(&fleet, &needs, rollout);
        self.output.document(&document)?;
        Ok(exit_code(&document, &needs))
    }

    /// Takes in what another operator has made of cluster.toml, and says who is a member now.
    fn refresh(&mut self, fleet: &mut Fleet, policy: &Policy) -> Result<Union> {
        if let Some(text) = read(&self.host, &self.target.file)?.filter(|text| *text != self.text) {
            self.file = ClusterFile::parse(&self.target.file.display().to_string(), &text)?;
            self.text = text;
        }
        if self.target.only.is_empty() {
            fleet.nodes.retain(|node| self.file.instances.contains(&node.instance));
            let known = |instance: &Instance| fleet.nodes.iter().any(|node| node.instance == *instance);
            let new: Vec<Instance> = self.file.instances.iter().filter(|i| !known(i)).cloned().collect();
            if !new.is_empty() {
                let settings = self.settings(Some(policy));
                let more = Fleet::gather(&self.host, &self.ssh, new, &settings, fleet.parallel);
                fleet.nodes.extend(more.nodes);
            }
        }
        fleet.unite(&self.file, &self.target.accept_key)
    }
}

fn patience(guarding: Guarding) -> Duration {
    Duration::from_secs(guarding.confirm_within.into())
}

fn read(host: &Host, path: &Path) -> Result<Option<String>> {
    host.read_text(&std::path::absolute(path).context("cluster.toml")?)
}

fn remove(cluster: &mut Cluster, name: &str, policy: &Policy) -> Result<ExitCode> {
    let gone = cluster.file.select(&cluster.target.file, &[name.to_owned()])?.remove(0);
    if cluster.file.instances.len() == 1 {
        return Err(Error::input(format!("{name} is the only instance"))
            .hint("a cluster of none is none: on the instance, mitigator-vpn undo"));
    }
    let mut fleet = cluster.gather(Some(policy))?;
    let list = fleet.unite(&cluster.file, &cluster.target.accept_key)?.list;
    if list.is_empty() {
        return Err(Error::new(Class::Refused, "no host can be reached that has a list to take it out of")
            .hint(format!("see why: mitigator-vpn cluster plan -f {}", cluster.target.file.display())));
    }
    let removed = list.by_address(gone.address);
    let removed = removed.map(|peer| Removed { vpn_address: peer.address, public_key: peer.public_key });
    cluster.change(&mut |text| edit::remove(text, name, removed.as_ref()))?;
    fleet.nodes.retain(|node| node.instance != gone);
    cluster.apply(fleet, policy, |cluster| cluster.write(|text| edit::remove(text, name, removed.as_ref())))
}

fn rotate(cluster: &Cluster, name: Option<&str>, guarding: Guarding) -> Result<ExitCode> {
    let names: Vec<String> = name.map(str::to_owned).into_iter().collect();
    let chosen = cluster.file.select(&cluster.target.file, &names)?;
    let mut fleet = cluster.gather(None)?;
    let down = chosen.iter().filter_map(|i| fleet.by_address(i.address)).find(|node| node.seen().is_none());
    if let Some(Node { instance, state: State::Down(error), .. }) = down {
        return Err(Error::new(Class::Refused, format!("{}: {}", instance.name, told(error))));
    }
    if !cluster.global.yes {
        let names: Vec<&str> = chosen.iter().map(|instance| instance.name.as_str()).collect();
        let question = format!("give {} a new key? Each is cut off for the moment of one handshake.", names.join(", "));
        confirm(&question.into(), cluster.output, || Ok(()))?;
    }
    let mut rollout =
        Rollout { list: fleet.unite(&cluster.file, &cluster.target.accept_key)?.list, ..Rollout::default() };
    for instance in chosen {
        let task = cluster.output.progress().start(format!("a new key for {}", instance.name));
        let list = fleet.unite(&cluster.file, &cluster.target.accept_key)?.list;
        rotate::rotate(&mut fleet, instance.address, &list, patience(guarding), &mut rollout)?;
        if rollout.stopped.is_some() {
            break;
        }
        task.done();
    }
    fleet.hang_up();
    let document = applied(&fleet, &BTreeMap::new(), rollout);
    cluster.output.document(&document)?;
    Ok(exit_code(&document, &BTreeMap::new()))
}

fn status(cluster: Cluster) -> Result<ExitCode> {
    let mut fleet = cluster.gather(None)?;
    let list = fleet.unite(&cluster.file, &cluster.target.accept_key)?.list;
    let task = cluster.output.progress().start("ask who answers whom".to_owned());
    let heard: Heard = listen(&mut fleet, &list);
    task.done();
    fleet.hang_up();
    let Picture { hosts, cells, differences } = Picture::new(&fleet, &heard, &list);
    let outcome = if differences.is_empty() { Outcome::Pass } else { Outcome::Fail };
    let digest = (!list.is_empty()).then(|| list.digest());
    cluster.output.document(&ClusterStatusDocument { schema: SCHEMA, digest, hosts, cells, differences, outcome })?;
    Ok(if outcome == Outcome::Pass { ExitCode::SUCCESS } else { Class::Unproven.into() })
}

fn listen(fleet: &mut Fleet, list: &PeerList) -> Heard {
    let members: Vec<Ipv4Addr> = list.peers().map(|peer| peer.address).collect();
    let heard = fleet.each(
        |node| node.seen().is_some(),
        |node| {
            let address = node.instance.address;
            let others = members.iter().copied().filter(|other| *other != address).collect();
            let settings = node.settings.clone();
            let request = Request::Probe { settings, members: others, patience: WITH_SESSION, sizes: true };
            match node.ask(&request, WITH_SESSION + Duration::from_secs(60)) {
                Ok(Reply::Probed(probed)) => Some((address, probed)),
                _ => None,
            }
        },
    );
    heard.into_iter().flatten().collect()
}
