//! `status`: does this instance still match? Compares disk, container and live device (FN-50).

use std::process::ExitCode;

use super::install::Ground;
use crate::cli::{Global, InstallOptions};
use crate::error::{Class, Result};
use crate::facts::{PrivateConfFile, TextFile};
use crate::host::Host;
use crate::preflight::{Finding, Severity, id};
use crate::report::{InstanceDocument, MemberDocument, Outcome, Output, SCHEMA, StatusDocument, Text};
use crate::tunnel::{self, mtu, timings};
use crate::wireguard::PeerList;

/// Reports how the instance stands.
pub fn run(host: &Host, global: &Global, output: &Output) -> Result<ExitCode> {
    let ground = Ground::survey(host, global, &InstallOptions::default())?;
    let (facts, settings) = (&ground.facts, &ground.settings);

    // A mount gone stale only warns before an install, which mends it; here it is what the gateway lives by (FN-40).
    let wrong = |f: &&Finding| f.outcome == Severity::Fail || (f.id == id::MOUNT_FRESH && f.outcome == Severity::Warn);
    let wrong = ground.findings.iter().filter(wrong);
    let mut differences: Vec<String> = wrong.map(|f| format!("{}; mend it: {}", f.detail, f.way_out())).collect();
    let public_key = match &facts.instance.private_conf {
        PrivateConfFile::Present { public, .. } => Some(*public),
        _ => None,
    };
    let list = match &facts.instance.public_conf {
        TextFile::Text(text) => PeerList::parse(text).ok(),
        _ => None,
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
            if !ground.refused() {
                let plan = ground.plan(host)?;
                let steps = plan.steps.iter();
                differences.extend(steps.map(|step| format!("install would {step}; mend it: mitigator-vpn install")));
            }
            if facts.live {
                let gateway = || facts.stack.gateway.as_ref().map(|gateway| gateway.pid);
                let (live, probed) = tunnel::probe_list(host, gateway, list, own, timings::WITH_SESSION)?;
                let members = MemberDocument::all(list, own, &probed);
                differences.extend(members.iter().filter(|m| !m.reached).map(|m| {
                    format!(
                        "no handshake with {} at {}: UDP is blocked on the way, the endpoint is wrong, or it lacks this \
                         instance's key; look from its side: mitigator-vpn status",
                        m.vpn_address, m.endpoint
                    )
                }));
                differences.extend(mtu::narrow_peers(&probed));
                instance.implementation = live.map(|live| live.implementation);
                instance.members = members;
            }
        }
        _ => differences.push(
            "no VPN is set up here, or part of it is missing; set it up: mitigator-vpn install --vpn-address ADDR \
             --endpoint IP"
                .to_owned(),
        ),
    }
    let outcome = if differences.is_empty() { Outcome::Pass } else { Outcome::Fail };
    let differences = differences.into_iter().map(Text::from).collect();
    let document = StatusDocument { schema: SCHEMA, host: facts.into(), instance, differences, outcome };
    output.document(&document)?;
    Ok(if outcome == Outcome::Pass { ExitCode::SUCCESS } else { Class::Unproven.into() })
}
