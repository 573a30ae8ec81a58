//! What a plan, a run and a status have come to, as documents.

use crate::cluster::action::{Action, Actions, Need, makes_keys};
use crate::cluster::hosts::{Fleet, Node};
use crate::cluster::membership::Weight;
use crate::cluster::merge::Merged;
use crate::cluster::rollout::{HostResult, RolloutResult};
use crate::cluster::status::{ClusterStatus, HostStatus, Pair};
use crate::message::Message;
use crate::report::{
    AppliedHost, Cell, ClusterApplyDocument, ClusterList, ClusterPlanDocument, ClusterStatusDocument, FindingDocument,
    HostStatusDocument, Outcome, PlannedHost, SCHEMA, Text,
};
use crate::wireguard::{ListChange, PeerList};

pub(super) fn planned(fleet: &Fleet, merged: &Merged, actions: &Actions) -> ClusterPlanDocument {
    let Merged { list, keyless, .. } = merged;
    let grows = makes_keys(actions, keyless);
    let hosts: Vec<PlannedHost> =
        fleet.nodes.iter().map(|node| planned_host(node, merged, &actions[&node.instance.address], grows)).collect();
    let any = |need| hosts.iter().any(|host| host.need == need);
    let outcome = match () {
        () if any(Need::Refused) => Outcome::Fail,
        () if any(Need::Behind) || merged.is_disputed() => Outcome::Warn,
        () => Outcome::Pass,
    };
    let list = ClusterList {
        digest: keyless.is_empty().then(|| list.digest()),
        members: list.len() + keyless.len(),
        changes: changes(fleet, merged),
        disputes: merged
            .disputes
            .iter()
            .filter(|d| d.weight != Weight::LeaveAlone)
            .map(|d| Text(d.message()))
            .collect(),
    };
    ClusterPlanDocument { schema: SCHEMA, list, hosts, outcome }
}

/// What differs from the list that most hosts have.
fn changes(fleet: &Fleet, merged: &Merged) -> Vec<ListChange> {
    let lists: Vec<&PeerList> = fleet.nodes.iter().filter_map(Node::list).collect();
    let holders = |list: &PeerList| lists.iter().filter(|other| **other == list).count();
    let common = lists.iter().max_by_key(|list| holders(list)).map_or_else(PeerList::default, |list| (*list).clone());
    common.diff(&merged.for_host(Some(&common), &merged.history).unwrap_or_else(|_| merged.list.clone()))
}

/// `grows` says whether the list becomes longer once keys are made.
fn planned_host(node: &Node, merged: &Merged, action: &Action, grows: bool) -> PlannedHost {
    let need = match action.need() {
        Need::Nothing if grows => Need::List,
        need @ (Need::Nothing | Need::List | Need::Install | Need::Refused | Need::Behind) => need,
    };
    let is_same = |list: &PeerList| {
        merged.for_host(Some(list), node.history()).is_ok_and(|target| target != *list && list.diff(&target).is_empty())
    };
    let mut host = PlannedHost {
        name: node.instance.name.clone(),
        vpn_address: node.instance.address,
        need,
        text_only: need == Need::List && node.list().is_some_and(is_same),
        steps: Vec::new(),
        outage: None,
        findings: Vec::new(),
        reason: None,
        digest: node.digest(),
    };
    match action {
        Action::Nothing | Action::List => {}
        Action::Unreachable(reason) | Action::Disputed(reason) => host.reason = Some(Text(reason.clone())),
        Action::Install(survey) | Action::Refused(survey) => {
            host.steps = texts(survey.steps.clone());
            host.outage = survey.impact.outage().map(|outage| Text(outage.message()));
            host.findings = survey.findings.iter().map(FindingDocument::from).collect();
        }
    }
    host
}

pub(super) fn applied(result: RolloutResult) -> ClusterApplyDocument {
    let RolloutResult { digest, hosts, stopped, next, failure } = result;
    let hosts = hosts.into_iter().map(|host| {
        let HostResult { name, address, outcome, steps, reason, silent, digest } = host;
        let (steps, reason) = (texts(steps), reason.map(Text));
        AppliedHost { name, vpn_address: address, fate: outcome, steps, reason, silent, digest }
    });
    ClusterApplyDocument {
        schema: SCHEMA,
        digest,
        hosts: hosts.collect(),
        stopped: stopped.map(Text),
        next: texts(next),
        outcome: if failure.is_none() { Outcome::Pass } else { Outcome::Fail },
    }
}

pub(super) fn status(list: &PeerList, status: ClusterStatus) -> ClusterStatusDocument {
    let ClusterStatus { hosts, pairs, differences } = status;
    let hosts = hosts.into_iter().map(|host| {
        let HostStatus { name, address: vpn_address, seen, disk, container, live, live_expected, clock_offset } = host;
        HostStatusDocument { name, vpn_address, seen, disk, container, live, live_expected, clock_offset }
    });
    let cells = pairs.into_iter().map(|pair| {
        let Pair { from, to, handshake_age, verdict, cause, path_mtu } = pair;
        Cell { from, to, handshake_age, verdict, cause, path_mtu }
    });
    ClusterStatusDocument {
        schema: SCHEMA,
        digest: (!list.is_empty()).then(|| list.digest()),
        hosts: hosts.collect(),
        cells: cells.collect(),
        outcome: if differences.is_empty() { Outcome::Pass } else { Outcome::Fail },
        differences: texts(differences),
    }
}

fn texts(messages: Vec<Message>) -> Vec<Text> {
    messages.into_iter().map(Text).collect()
}
