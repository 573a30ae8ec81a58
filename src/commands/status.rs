//! `status`: does this instance still match? Compares disk, container and live device (FN-50).

use std::process::ExitCode;

use super::install::survey;
use crate::cli::{Global, InstallOptions};
use crate::converge::guard;
use crate::converge::standing::{LiveTunnel, Seen, Standing};
use crate::error::{Class, Result};
use crate::host::Host;
use crate::report::{InstanceDocument, MemberDocument, Outcome, Output, SCHEMA, StatusDocument, Text};
use crate::wireguard::PeerList;

/// Reports how the instance stands.
pub fn run(host: &Host, global: &Global, output: &Output) -> Result<ExitCode> {
    host.warn_of_jobs()?;
    guard::warn_of_ended(host)?;
    let survey = survey(host, global, &InstallOptions::default())?;
    let standing = Standing::observe(host, &survey);
    let members = match (&standing.list, standing.public_key) {
        (Some(list), Some(own)) => MemberDocument::all(list, own, standing.probed()),
        (Some(_) | None, _) => Vec::new(),
    };
    let instance = InstanceDocument {
        set_up: standing.set_up,
        vpn_address: survey.settings.vpn_address.filter(|_| standing.set_up == Seen::Yes),
        public_key: standing.public_key,
        list_digest: standing.list.as_ref().map(PeerList::digest),
        tunnel: standing.tunnel.seen(),
        implementation: match &standing.tunnel {
            LiveTunnel::Up(device, _) => Some(device.implementation),
            LiveTunnel::NoDevice | LiveTunnel::NoGateway | LiveTunnel::Unknown(_) => None,
        },
        members,
    };
    let outcome = if standing.differences.is_empty() { Outcome::Pass } else { Outcome::Fail };
    let differences = standing.differences.into_iter().map(Text).collect();
    let document = StatusDocument { schema: SCHEMA, host: (&survey.facts).into(), instance, differences, outcome };
    output.document(&document)?;
    Ok(if outcome == Outcome::Pass { ExitCode::SUCCESS } else { Class::Unproven.into() })
}
