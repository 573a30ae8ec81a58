//! What a plan and a run have come to, as documents and exit codes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use crate::cluster::action::Need;
use crate::cluster::hosts::{Fleet, Node, State};
use crate::cluster::rollout::{Fate, Rollout, told};
use crate::error::Class;
use crate::preflight::Severity;
use crate::product::PRODUCT;
use crate::report::{AppliedHost, ClusterApplyDocument, FindingDocument, Outcome, PlannedHost, SCHEMA};
use crate::wireguard::{Change, PeerList};

/// What differs from the list that most hosts have.
pub(super) fn changes(fleet: &Fleet, list: &PeerList) -> Vec<Change> {
    let lists: Vec<&PeerList> = fleet.nodes.iter().filter_map(|node| node.seen()?.list.as_ref()).collect();
    let holders = |list: &PeerList| lists.iter().filter(|other| **other == list).count();
    let common = lists.iter().max_by_key(|list| holders(list)).map_or_else(PeerList::default, |list| (*list).clone());
    common.diff(list)
}

/// What has to be done to one host.
pub(super) fn planned(node: &Node, need: &Need) -> PlannedHost {
    let mut host = PlannedHost {
        name: node.instance.name.clone(),
        vpn_address: node.instance.address,
        need: "nothing".to_owned(),
        steps: Vec::new(),
        outage: None,
        findings: Vec::new(),
        reason: None,
        digest: node.digest(),
    };
    match need {
        Need::Nothing => {}
        Need::List => host.need = "list".to_owned(),
        Need::Down(reason) => (host.need, host.reason) = ("behind".to_owned(), Some(reason.clone())),
        Need::Whole(survey) | Need::Refused(survey) => {
            host.need = if survey.refused { "refused" } else { "install" }.to_owned();
            host.steps.clone_from(&survey.steps);
            host.outage = survey.impact.outage().map(|outage| outage.message().to_string());
            host.findings = survey.findings.iter().map(FindingDocument::from).collect();
        }
    }
    host
}

/// How each host stands now, from looking at it, and what became of it in this run.
pub(super) fn applied(fleet: &Fleet, needs: &BTreeMap<Ipv4Addr, Need>, rollout: Rollout) -> ClusterApplyDocument {
    let digest = (!rollout.list.is_empty()).then(|| rollout.list.digest());
    let hosts = fleet.nodes.iter().map(|node| {
        let address = node.instance.address;
        let fate = rollout.fates.get(&address).cloned().unwrap_or_default();
        let now = node.digest();
        let (word, reason) = match (&node.state, &fate, needs.get(&address)) {
            (_, Fate { failure: Some((exit, reason)), .. }, _) => {
                let word = match exit {
                    3 => "refused",
                    5 => "taken-back",
                    _ => "failed",
                };
                (word, Some(reason.clone()))
            }
            (State::Down(error), ..) => ("behind", Some(told(error))),
            (_, Fate { taken_back: true, .. }, _) => ("taken-back", None),
            (_, _, Some(Need::Refused(survey))) => {
                let failed = survey.findings.iter().find(|f| f.outcome == Severity::Fail);
                ("refused", failed.map(|f| format!("{}: {}; {}", f.id, f.detail, f.way_out().replace('\n', "; "))))
            }
            _ if now != digest => ("behind", None),
            (_, fate, _) if fate.steps.is_empty() => ("unchanged", None),
            _ => ("changed", None),
        };
        AppliedHost {
            name: node.instance.name.clone(),
            vpn_address: address,
            fate: word.to_owned(),
            steps: fate.steps,
            reason,
            silent: fate.silent,
            digest: now,
        }
    });
    let hosts: Vec<AppliedHost> = hosts.collect();
    let right = |host: &AppliedHost| matches!(host.fate.as_str(), "unchanged" | "changed") && host.silent.is_empty();
    let passed = rollout.stopped.is_none() && hosts.iter().all(right);
    let installed = hosts.iter().filter(|host| host.steps.iter().any(|step| step.contains(PRODUCT.env.vpn_address)));
    // P13: nothing on the hosts knows whether a person has done it.
    let mut next: Vec<String> = installed
        .map(|host| {
            format!("in Mitigator's web interface, enter {} as the VPN address of {}", host.vpn_address, host.name)
        })
        .collect();
    if rollout.stopped.is_none() && hosts.iter().any(|host| host.fate == "behind" || host.fate == "failed") {
        next.push("the next run completes those that are behind: mitigator-vpn cluster apply".to_owned());
    }
    let strangers = rollout.list.peers().filter(|peer| fleet.by_address(peer.address).is_none());
    next.extend(strangers.map(|peer| format!("{} is a member that this run didn't touch", peer.address)));
    let outcome = if passed { Outcome::Pass } else { Outcome::Fail };
    ClusterApplyDocument { schema: SCHEMA, digest, hosts, stopped: rollout.stopped, next, outcome }
}

/// 6 for a step that failed, 3 when checks have forbidden everything there was to do, else 5 for what isn't proven.
pub(super) fn exit_code(document: &ClusterApplyDocument, needs: &BTreeMap<Ipv4Addr, Need>) -> ExitCode {
    if document.outcome == Outcome::Pass {
        return ExitCode::SUCCESS;
    }
    let is = |fate: &str| document.hosts.iter().any(|host| host.fate == fate);
    let to_do = needs.values().any(|need| matches!(need, Need::List | Need::Whole(_)));
    match () {
        () if is("failed") => Class::Step.into(),
        () if is("refused") && !to_do => Class::Refused.into(),
        () => Class::Unproven.into(),
    }
}
