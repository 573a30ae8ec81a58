//! A quick look at a host: its files and its gateway, without the package manager and compose.

use std::path::Path;

use super::keys;
use crate::cluster::remote::protocol::{GatewayTunnel, Look, RunningGateway};
use crate::compose::{self, GatewayContainer};
use crate::converge::impact::impact;
use crate::converge::survey::FileSurvey;
use crate::error::Result;
use crate::facts::PrivateConfFile;
use crate::host::Host;
use crate::product::PRODUCT;
use crate::resource::{Liveness, Step};
use crate::settings::Settings;
use crate::tunnel;
use crate::wireguard::{History, ListDigest, MembersDigest, PeerList};

/// The files of the host, and the list as its container and its device have it.
pub(super) fn look(host: &Host, settings: &Settings) -> Result<Look> {
    let files = FileSurvey::take(host, settings)?;
    let list = PeerList::read(host, &settings.layout().public_conf())?;
    let key = match files.facts.instance.private_conf {
        PrivateConfFile::Present { public, .. } => Some(public),
        PrivateConfFile::Absent | PrivateConfFile::Unusable { .. } => None,
    };
    let (container, running) = compose::containers(host, &settings.dir)?;
    let stack = Liveness::of_containers(container.as_ref(), running);
    let gateway = container.map(|container| look_into(host, container, list.as_ref())).transpose()?;
    let digest = list.as_ref().map(PeerList::digest);
    let is_current = gateway.as_ref().is_some_and(|gateway| {
        gateway.seen == digest && gateway.tunnel.as_ref().is_some_and(|tunnel| tunnel.differences.is_empty())
    });
    let mut pending = files.of_instance(settings);
    // The operator's side compares the list itself.
    let path = settings.layout().public_conf();
    pending.steps.retain(|step| step.path() != Some(&path));
    Ok(Look {
        key,
        staged: keys::staged(host, settings),
        previous: keys::previous(host, settings),
        rotating: host.is_claimed(keys::ROTATION)?,
        history: History::read(host, &settings.layout().history())?,
        list: list.map(|list| list.to_text()),
        pending: pending.steps.iter().map(Step::message).collect(),
        impact: impact(&pending, stack, is_current, settings),
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
        GatewayTunnel { key: live.public_key, members: MembersDigest::of(others.chain(own)), differences }
    });
    Ok(RunningGateway { seen, stale: container.stale, tunnel })
}
