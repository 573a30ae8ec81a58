//! `status`: does this instance still match? Compares disk, container and live device (FN-50).

use std::process::ExitCode;

use super::install::survey;
use crate::cli::{Global, InstallOptions};
use crate::converge::guard;
use crate::error::{Class, Result};
use crate::facts::{PrivateConfFile, TextFile};
use crate::host::Host;
use crate::message;
use crate::message::Message;
use crate::preflight::{Finding, Severity, id};
use crate::report::{InstanceDocument, MemberDocument, Outcome, Output, SCHEMA, StatusDocument, Text};
use crate::resource::Step;
use crate::tunnel::{self, ProbedPeer, Reachability, mtu, timings};
use crate::wireguard::{Peer, PeerList};

/// Reports how the instance stands.
pub fn run(host: &Host, global: &Global, output: &Output) -> Result<ExitCode> {
    host.warn_of_jobs()?;
    guard::warn_of_ended(host)?;
    let survey = survey(host, global, &InstallOptions::default())?;
    let (facts, settings) = (&survey.facts, &survey.settings);

    // A mount gone stale only warns before an install, which mends it; here it is what the gateway lives by (FN-40).
    let wrong = |f: &&Finding| f.outcome == Severity::Fail || (f.id == id::MOUNT_FRESH && f.outcome == Severity::Warn);
    let wrong = survey.findings.iter().filter(wrong);
    let mut differences: Vec<Message> = wrong.map(difference).collect();
    let public_key = match &facts.instance.private_conf {
        PrivateConfFile::Present { public, .. } => Some(*public),
        PrivateConfFile::Absent | PrivateConfFile::Unusable { .. } => None,
    };
    let list = match &facts.instance.public_conf {
        TextFile::Text(text) => PeerList::parse(text).ok(),
        TextFile::Absent | TextFile::Unusable { .. } => None,
    };
    let mut instance = InstanceDocument {
        vpn_address: settings.vpn_address.filter(|_| public_key.is_some() || list.is_some()),
        public_key,
        list_digest: list.as_ref().map(PeerList::digest),
        implementation: None,
        members: Vec::new(),
    };
    match (&list, public_key, settings.vpn_address, settings.endpoint) {
        (Some(list), Some(own), Some(_), Some(_)) => {
            if !survey.is_refused() {
                let plan = survey.plan(host)?;
                differences.extend(plan.steps.iter().map(pending));
            }
            if facts.live {
                let gateway = || Ok(facts.stack.gateway.as_ref().map(|gateway| gateway.pid));
                let (live, probed) = tunnel::probe_list(host, gateway, list, own, timings::WITH_SESSION)?;
                differences.extend(list.peers().filter_map(|peer| silence(peer, &probed)));
                differences.extend(mtu::narrow_peers(&probed));
                instance.implementation = live.map(|live| live.implementation);
                instance.members = MemberDocument::all(list, own, &probed);
            }
        }
        _ => differences.push(message!(
            "no VPN is set up here, or part of it is missing; set it up: {command}",
            command = "mitigator-vpn install --vpn-address ADDR --endpoint IP"
        )),
    }
    let outcome = if differences.is_empty() { Outcome::Pass } else { Outcome::Fail };
    let differences = differences.into_iter().map(Text).collect();
    let document = StatusDocument { schema: SCHEMA, host: facts.into(), instance, differences, outcome };
    output.document(&document)?;
    Ok(if outcome == Outcome::Pass { ExitCode::SUCCESS } else { Class::Unproven.into() })
}

fn difference(finding: &Finding) -> Message {
    let way_out =
        finding.hint.clone().unwrap_or_else(|| Message::foreign(format!("mitigator-vpn explain {}", finding.id)));
    message!("{cause}; mend it: {command}", cause = &finding.detail, command = way_out)
}

fn pending(step: &Step) -> Message {
    message!("install would {step}; mend it: {command}", step = step.message(), command = "mitigator-vpn install")
}

/// What to say of a peer that doesn't answer. `None` for one that does, or that wasn't asked.
fn silence(peer: &Peer, probed: &[ProbedPeer]) -> Option<Message> {
    let probed = probed.iter().find(|probed| probed.address == peer.address)?;
    let (member, endpoint, command) = (peer.address, peer.endpoint, "mitigator-vpn status");
    match (probed.reachability, probed.handshake_age) {
        (Reachability::Answers, _) => None,
        (Reachability::Silent, Some(seconds)) => Some(message!(
            "{member} at {endpoint} no longer answers, its last handshake was {seconds} s ago: it is down, or UDP is \
             blocked on the way; look from its side: {command}",
            member,
            endpoint,
            seconds,
            command
        )),
        (Reachability::Silent | Reachability::NoHandshake | Reachability::NotAPeer, _) => Some(message!(
            "no handshake with {member} at {endpoint}: UDP is blocked on the way, the endpoint is wrong, or it lacks this \
             instance's key; look from its side: {command}",
            member,
            endpoint,
            command
        )),
    }
}
