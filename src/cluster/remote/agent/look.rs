//! A look at a host that costs little: its own files, its gateway, no package manager and no compose.

use std::path::Path;

use super::keys;
use crate::cluster::remote::protocol::{GatewayTunnel, Look, RunningGateway};
use crate::compose::{self, GatewayContainer};
use crate::converge::impact::{Containers, impact};
use crate::converge::plan::{Plan, Step};
use crate::desired::{self, Supplies};
use crate::error::Result;
use crate::facts::{Facts, PrivateConfFile};
use crate::host::Host;
use crate::message::Message;
use crate::product::PRODUCT;
use crate::settings::Settings;
use crate::tunnel;
use crate::wireguard::{ListDigest, MembersDigest, PeerList, PrivateKey};

/// How the host stands: the files, the list as container and device have it.
pub(super) fn look(host: &Host, settings: &Settings) -> Result<Look> {
    let (facts, files) = plan_files(host, settings)?;
    let list = PeerList::read(host, &settings.layout().public_conf())?;
    let key = match facts.instance.private_conf {
        PrivateConfFile::Present { public, .. } => Some(public),
        _ => None,
    };
    let (container, running) = compose::containers(host, &settings.dir);
    let containers = Containers::of(container.as_ref(), running);
    let gateway = container.map(|container| look_into(host, container, list.as_ref())).transpose()?;
    let digest = list.as_ref().map(PeerList::digest);
    let is_current = gateway.as_ref().is_some_and(|gateway| {
        gateway.seen == digest && gateway.tunnel.as_ref().is_some_and(|tunnel| tunnel.differences.is_empty())
    });
    let mut pending = of_instance(&files, settings);
    // The operator's side has another list in mind: what is here counts as it is.
    let path = settings.layout().public_conf();
    pending.steps.retain(|step| step.resource.path() != Some(&path));
    Ok(Look {
        key,
        staged: keys::staged(host, settings),
        list: list.map(|list| list.to_text()),
        pending: pending.steps.iter().map(Message::foreign).collect(),
        impact: impact(&pending, containers, is_current, settings),
        gateway,
        through_vpn: false,
    })
}

fn look_into(host: &Host, container: GatewayContainer, list: Option<&PeerList>) -> Result<RunningGateway> {
    let seen = host.read_seen_by(container.pid, Path::new(PRODUCT.mounts.public_conf));
    let seen = seen.map(ListDigest::of);
    let tunnel = tunnel::observe(host, container.pid)?.map(|live| {
        let own = live.public_key.and_then(|key| list?.peers().find(|peer| peer.public_key == key));
        let own = own.map(|peer| (peer.address, peer.public_key));
        let others = live.peers.iter().filter_map(|peer| Some((peer.address()?, peer.public_key)));
        let differences = list.map(|list| tunnel::difference(&live, list)).unwrap_or_default();
        let differences = differences.into_iter().map(Message::foreign).collect();
        GatewayTunnel { key: live.public_key, members: MembersDigest::of(others.chain(own)), differences }
    });
    Ok(RunningGateway { seen, stale: container.stale, tunnel })
}

/// What the files alone say has to change. A fraction of a whole survey, which costs a second of each host.
pub(super) fn plan_files(host: &Host, settings: &Settings) -> Result<(Facts, Plan)> {
    let facts = Facts::of_files(host, settings);
    let executable = "0".repeat(64);
    let supplies = Supplies { key: PrivateKey::generate(), executable };
    let plan = Plan::diff(host, desired::resources(&facts, None, settings, &supplies)?)?;
    Ok((facts, plan))
}

/// The steps that files alone decide on. An older image of our own gateway serves as well: a newer one is worth no restart
/// here.
pub(super) fn of_instance(files: &Plan, settings: &Settings) -> Plan {
    let base = settings.layout().base();
    let inside =
        |step: &&Step| step.resource.path().is_some_and(|path| path.starts_with(&settings.dir) && path != base);
    Plan { steps: files.steps.iter().filter(inside).cloned().collect() }
}
