//! `cluster`: all instances from one place.

mod document;
mod target;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use self::target::Cluster;
use super::confirm;
use crate::cli::Global;
use crate::cli::cluster::{ClusterCommand, Guarding, Policy};
use crate::cluster::action::Actions;
use crate::cluster::hosts::{Fleet, HostState, Node, reason};
use crate::cluster::inventory::edit;
use crate::cluster::inventory::{DeclaredInstance, RemovedMember};
use crate::cluster::membership::by;
use crate::cluster::remote::agent;
use crate::cluster::rollout::{self, Rollout, RolloutRecord, RolloutResult};
use crate::cluster::rotate::{self, Rotation};
use crate::cluster::status::{ClusterStatus, probe_all};
use crate::error::{Class, Error, Result};
use crate::host::Host;
use crate::message;
use crate::report::{ClusterPlanDocument, Outcome, Output};
use crate::wireguard::PublicKey;

pub(crate) fn run(command: ClusterCommand, global: &Global, output: &Output) -> Result<ExitCode> {
    match command {
        ClusterCommand::Plan { target, policy } => {
            let cluster = Cluster::open(global, target, output)?;
            let mut fleet = cluster.gather(Some(&policy))?;
            let (document, _) = plan(&cluster, &mut fleet)?;
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
            apply(&mut cluster, fleet, &policy, |_| Ok(()))
        }
        ClusterCommand::Status { target } => status(&Cluster::open(global, target, output)?),
        ClusterCommand::Add { name, ssh, vpn_address, endpoint, again, target, policy } => {
            let mut cluster = Cluster::open_or_new(global, target, output)?;
            let endpoint = endpoint.with_port(cluster.inventory.port);
            let instance = DeclaredInstance { name, ssh, address: vpn_address, endpoint };
            add(&mut cluster, &instance, again, &policy)
        }
        ClusterCommand::Remove { name, target, policy } => {
            remove(&mut Cluster::open(global, target, output)?, &name, &policy)
        }
        ClusterCommand::Rotate { name, leave_behind, target, guarding } => {
            rotate(&Cluster::open(global, target, output)?, name.as_deref(), &leave_behind, guarding)
        }
    }
}

/// The agent's end of a connection; `way_in` is `SSH_CONNECTION`.
pub(crate) fn session(host: &mut Host, way_in: &str) -> Result<ExitCode> {
    agent::run(host, way_in, std::io::stdin().lock(), std::io::stdout().lock()).map(|()| ExitCode::SUCCESS)
}

/// What would be done. Changes nothing.
fn plan(cluster: &Cluster, fleet: &mut Fleet) -> Result<(ClusterPlanDocument, Actions)> {
    let merged = cluster.merge(fleet)?;
    let task = cluster.output.progress().start(message!("see what has to be done"));
    let actions = rollout::plan(fleet, &merged);
    task.done();
    Ok((document::planned(fleet, &merged, &actions), actions))
}

/// Plans, asks, carries out, looks again. `confirmed` is done in between, once a person has said yes.
fn apply(
    cluster: &mut Cluster,
    mut fleet: Fleet,
    policy: &Policy,
    confirmed: impl FnOnce(&mut Cluster) -> Result<()>,
) -> Result<ExitCode> {
    let (plan, actions) = plan(cluster, &mut fleet)?;
    if !plan.is_empty() && !cluster.global.yes {
        confirm(&message!("apply?"), cluster.output, || cluster.output.document(&plan))?;
    }
    confirmed(cluster)?;
    let mut rollout = Rollout {
        fleet: &mut fleet,
        batch: usize::from(policy.batch),
        guard: patience(policy.guarding),
        progress: cluster.output.progress(),
    };
    let record = rollout.carry_out(actions.clone(), |fleet| cluster.refresh(fleet, policy));
    if !record.hosts.is_empty() {
        fleet.each(|node| node.seen().is_some(), Node::look_again);
    }
    finish(cluster, fleet, &actions, record)
}

fn finish(cluster: &Cluster, mut fleet: Fleet, actions: &Actions, record: RolloutRecord) -> Result<ExitCode> {
    fleet.hang_up();
    let mut result = RolloutResult::new(&fleet, actions, record);
    result.next.extend(cluster.unread.clone());
    let failure = result.failure;
    cluster.output.document(&document::applied(result))?;
    Ok(failure.map_or(ExitCode::SUCCESS, ExitCode::from))
}

fn patience(guarding: Guarding) -> Duration {
    Duration::from_secs(guarding.confirm_within.into())
}

fn add(cluster: &mut Cluster, instance: &DeclaredInstance, again: bool, policy: &Policy) -> Result<ExitCode> {
    let address = instance.address;
    let noted = cluster.inventory.history();
    let edited = |text: &str, generation| {
        // One that cluster.toml still has, though it was removed, is declared anew.
        let without = if again { edit::remove(text, &instance.name, &[])? } else { text.to_owned() };
        edit::add(&without, instance, generation)
    };
    cluster.change(|text| edited(text, None))?;
    let fleet = cluster.gather(Some(policy))?;
    let history = cluster.merge(&fleet)?.history.with(&noted);
    if let Some(past) = history.of(address).filter(|past| past.is_removed() && !again) {
        let reason = message!("{address} was removed {by}", address, by = by(past.note()));
        let hint = message!("if it is to come back, the same command with {option}", option = "--again");
        return Err(Error::new(Class::Refused, reason).hint(hint));
    }
    let mut all = cluster.remembered(&fleet, &history, address);
    if again {
        all.readmit(address, cluster.note.clone());
        cluster.history.raise(address, all.generation(address), Some(cluster.note.clone()));
    }
    let generation = Some(all.generation(address)).filter(|generation| *generation > 0);
    apply(cluster, fleet, policy, |cluster| cluster.write(|text| edited(text, generation)))
}

/// `name` is an instance's, or the VPN address of any member.
fn remove(cluster: &mut Cluster, name: &str, policy: &Policy) -> Result<ExitCode> {
    let is_meant = |instance: &&DeclaredInstance| instance.name == name || name.parse() == Ok(instance.address);
    let declared = cluster.inventory.instances.iter().find(is_meant).cloned();
    let address = match &declared {
        Some(gone) => gone.address,
        None => name.parse().map_err(|_| cluster.inventory.unknown(&cluster.target.file, name))?,
    };
    if declared.is_some() && cluster.inventory.instances.len() == 1 {
        return Err(Error::input(message!("{name} is the only instance", name))
            .hint(message!("a cluster needs one instance at least; to take its VPN down, on it: mitigator-vpn undo")));
    }
    let mut fleet = cluster.gather(Some(policy))?;
    let own = fleet.by_address(address).and_then(|node| node.seen()?.look.key);
    // Who leaves has no say in it.
    fleet.nodes.retain(|node| node.instance.address != address);
    if fleet.nodes.iter().all(|node| node.list().is_none()) {
        let command = format!("mitigator-vpn cluster plan -f {}", cluster.target.file.display());
        return Err(Error::new(Class::Refused, message!("no host with a list can be reached"))
            .hint(message!("see why: {command}", command)));
    }
    let listed = fleet.nodes.iter().filter_map(|node| Some(node.list()?.by_address(address)?.public_key));
    let keys: BTreeSet<PublicKey> = listed.collect();
    if declared.is_none() && keys.is_empty() {
        let command = "mitigator-vpn cluster status";
        return Err(Error::input(message!("no member has the VPN address {address}", address))
            .hint(message!("see who is there: {command}", command)));
    }
    let mut history = cluster.remembered(&fleet, &cluster.merge(&fleet)?.history, address);
    history.remove(address, cluster.note.clone());
    let generation = history.generation(address);
    cluster.history.raise(address, generation, Some(cluster.note.clone()));
    let keys: BTreeSet<PublicKey> = keys.into_iter().chain(own).collect();
    keys.iter().for_each(|key| cluster.history.retire(address, *key, cluster.note.clone()));
    let note = |public_key| RemovedMember { vpn_address: address, public_key, generation };
    let mut removed: Vec<RemovedMember> = keys.into_iter().map(|key| note(Some(key))).collect();
    if removed.is_empty() {
        removed.push(note(None));
    }
    removed.retain(|note| !cluster.inventory.removed.contains(note));
    let name = declared.as_ref().map_or(name, |gone| &gone.name);
    cluster.change(|text| edit::remove(text, name, &removed))?;
    apply(cluster, fleet, policy, |cluster| cluster.write(|text| edit::remove(text, name, &removed)))
}

fn rotate(cluster: &Cluster, name: Option<&str>, left_behind: &[String], guarding: Guarding) -> Result<ExitCode> {
    let names: Vec<String> = name.map(str::to_owned).into_iter().collect();
    let chosen = cluster.inventory.select(&cluster.target.file, &names)?;
    let mut fleet = cluster.gather(None)?;
    for node in chosen.iter().filter_map(|instance| fleet.by_address(instance.address)) {
        if let HostState::Unreachable(error) = &node.state {
            let (name, reason) = (&node.instance.name, reason(error));
            return Err(Error::new(Class::Refused, message!("{name}: {reason}", name, reason)));
        }
    }
    if !cluster.global.yes {
        let names: Vec<&str> = chosen.iter().map(|instance| instance.name.as_str()).collect();
        let question = message!(
            "give {names} a new key? Each is cut off for the time of one handshake.",
            names = names.join(", ")
        );
        confirm(&question, cluster.output, || Ok(()))?;
    }
    let mut record = RolloutRecord { merged: cluster.merge(&fleet)?, ..RolloutRecord::default() };
    for DeclaredInstance { name, address, .. } in chosen {
        let task = cluster.output.progress().start(message!("a new key for {name}", name));
        let merged = cluster.merge(&fleet)?;
        let rotation = Rotation { address, left_behind, guard: patience(guarding) };
        rotate::rotate(&mut fleet, &rotation, &merged, &mut record)?;
        if record.stopped.is_some() {
            break;
        }
        task.done();
    }
    finish(cluster, fleet, &Actions::new(), record)
}

fn status(cluster: &Cluster) -> Result<ExitCode> {
    let mut fleet = cluster.gather(None)?;
    let merged = cluster.merge(&fleet)?;
    let task = cluster.output.progress().start(message!("ask who answers whom"));
    let probes = probe_all(&mut fleet, &merged.list);
    task.done();
    fleet.hang_up();
    let document = document::status(&merged.list, ClusterStatus::new(&fleet, &probes, &merged));
    cluster.output.document(&document)?;
    Ok(match document.outcome {
        Outcome::Pass => ExitCode::SUCCESS,
        Outcome::Warn | Outcome::Fail => Class::Unproven.into(),
    })
}
