//! How each host stands after a run, by looking at it once more and by what became of it, and what is left for a person.
//! Pure.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::Serialize;

use super::record::{HostFailure, HostRecord, RolloutRecord};
use crate::cluster::action::{Action, Actions};
use crate::cluster::hosts::{Fleet, HostState, Node, reason};
use crate::cluster::membership::{Dispute, Weight};
use crate::cluster::merge::Merged;
use crate::cluster::remote::protocol::Survey;
use crate::error::Class;
use crate::message;
use crate::message::Message;
use crate::preflight::{Finding, Severity};
use crate::wireguard::ListDigest;

/// How a host stands after a run, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum HostOutcome {
    /// It was as it should be.
    Unchanged,
    /// It was changed, and is as it should be.
    Changed,
    /// It was changed, and the change was taken back.
    TakenBack,
    /// It has another list.
    Behind,
    /// A check forbade the change.
    Refused,
    /// The change failed half way.
    Failed,
}

/// How a host stands after a run.
#[derive(Clone, Debug)]
pub(crate) struct HostResult {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) outcome: HostOutcome,
    /// The steps that were taken.
    pub(crate) steps: Vec<Message>,
    /// Why it isn't as it should be.
    pub(crate) reason: Option<Message>,
    /// Members that don't answer it, though they should.
    pub(crate) silent: Vec<Ipv4Addr>,
    /// The list that it has now.
    pub(crate) digest: Option<ListDigest>,
}

/// How a cluster stands after a run.
#[derive(Clone, Debug)]
pub(crate) struct RolloutResult {
    /// The list that all are to have.
    pub(crate) digest: Option<ListDigest>,
    pub(crate) hosts: Vec<HostResult>,
    /// Why the run stopped before its end.
    pub(crate) stopped: Option<Message>,
    /// What is left for a person to do.
    pub(crate) next: Vec<Message>,
    /// `None` when all hosts have the list and reach each other.
    pub(crate) failure: Option<Class>,
}

impl RolloutResult {
    pub(crate) fn new(fleet: &Fleet, actions: &Actions, record: RolloutRecord) -> RolloutResult {
        let list = &record.merged.list;
        let digest = (!list.is_empty()).then(|| list.digest());
        let hosts: Vec<HostResult> = fleet
            .nodes
            .iter()
            .map(|node| {
                let address = node.instance.address;
                let host = record.hosts.get(&address).cloned().unwrap_or_default();
                let (outcome, reason) = outcome(node, &host, actions.get(&address), &record.merged);
                let HostRecord { steps, silent, .. } = host;
                let name = node.instance.name.clone();
                HostResult { name, address, outcome, steps, reason, silent, digest: node.digest() }
            })
            .collect();
        let failure = failure(&hosts, &record, actions);
        let next = next(fleet, &hosts, &record);
        RolloutResult { digest, hosts, stopped: record.stopped, next, failure }
    }
}

fn outcome(node: &Node, host: &HostRecord, action: Option<&Action>, merged: &Merged) -> (HostOutcome, Option<Message>) {
    if let Some(HostFailure { class, reason }) = &host.failure {
        let outcome = match class {
            Class::Refused => HostOutcome::Refused,
            Class::Unproven => HostOutcome::TakenBack,
            Class::Unexpected | Class::Input | Class::Reboot | Class::Step | Class::Locked => HostOutcome::Failed,
        };
        return (outcome, Some(reason.clone()));
    }
    if let HostState::Unreachable(error) = &node.state {
        return (HostOutcome::Behind, Some(reason(error)));
    }
    if host.taken_back {
        return (HostOutcome::TakenBack, None);
    }
    if let Some(Action::Refused(survey)) = action {
        return (HostOutcome::Refused, first_failure(survey));
    }
    let target = match merged.target(node) {
        Ok(list) => (!list.is_empty()).then(|| list.digest()),
        Err(reason) => return (HostOutcome::Refused, Some(reason)),
    };
    let outcome = match () {
        () if node.digest() != target || merged.keyless.contains(&node.instance.address) => HostOutcome::Behind,
        () if host.steps.is_empty() => HostOutcome::Unchanged,
        () => HostOutcome::Changed,
    };
    (outcome, None)
}

/// The first check that forbids it, with the way out.
fn first_failure(survey: &Survey) -> Option<Message> {
    let Finding { id, detail, hint, .. } = survey.findings.iter().find(|f| f.outcome == Severity::Fail)?;
    let mut sentences = vec![message!("{check}: {detail}", check = id, detail)];
    sentences.extend(hint.as_ref().map(Message::on_one_line));
    Some(Message::joined(sentences, "; "))
}

/// 6 for a step that failed, 3 when checks have forbidden everything there was to do, else 5 for what isn't proven.
fn failure(hosts: &[HostResult], record: &RolloutRecord, actions: &Actions) -> Option<Class> {
    let is_right = |host: &HostResult| {
        matches!(host.outcome, HostOutcome::Unchanged | HostOutcome::Changed) && host.silent.is_empty()
    };
    let any = |outcome| hosts.iter().any(|host| host.outcome == outcome);
    match () {
        () if record.stopped.is_none() && hosts.iter().all(is_right) && !record.merged.is_disputed() => None,
        () if any(HostOutcome::Failed) => Some(Class::Step),
        () if any(HostOutcome::Refused) && !actions.values().any(Action::changes) => Some(Class::Refused),
        () => Some(Class::Unproven),
    }
}

fn next(fleet: &Fleet, hosts: &[HostResult], record: &RolloutRecord) -> Vec<Message> {
    // P13: nothing on the hosts knows whether a person has done it.
    let installed = hosts.iter().filter(|host| record.hosts.get(&host.address).is_some_and(|r| r.sets_vpn_address));
    let mut next: Vec<Message> = installed
        .map(|HostResult { name, address, .. }| {
            message!(
                "in Mitigator's web interface, enter {address} as the VPN address of {name}",
                address = *address,
                name
            )
        })
        .collect();
    let is_behind = |host: &HostResult| matches!(host.outcome, HostOutcome::Behind | HostOutcome::Failed);
    if record.stopped.is_none() && hosts.iter().any(is_behind) {
        let command = "mitigator-vpn cluster apply";
        next.push(message!("the next run completes those that are behind: {command}", command));
    }
    let disputes = record.merged.disputes.iter().filter(|dispute| dispute.weight != Weight::LeaveAlone);
    next.extend(disputes.map(Dispute::message));
    let untouched = record.merged.list.peers().filter(|peer| fleet.by_address(peer.address).is_none());
    next.extend(
        untouched.map(|peer| message!("{address} is a member that this run didn't touch", address = peer.address)),
    );
    next
}
