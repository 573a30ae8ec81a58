//! The proof of an install: the instance lists itself, and its members answer through the tunnel.

use std::path::Path;

use crate::compose;
use crate::converge::plan::Plan;
use crate::converge::survey::HostSurvey;
use crate::counted;
use crate::error::{Class, Error, Result};
use crate::host::Host;
use crate::message;
use crate::message::Message;
use crate::product::PRODUCT;
use crate::progress::Progress;
use crate::resource::Step;
use crate::settings::Restart;
use crate::tunnel::{self, ProbedPeer, mtu, timings};
use crate::wireguard::device::Device;
use crate::wireguard::{Peer, PeerList};

/// The result of an install.
#[derive(Debug)]
pub(crate) struct Proof {
    pub outcome: ProofOutcome,
    pub list: PeerList,
    /// This instance in it.
    pub own: Peer,
    /// The live device, where there is one.
    pub device: Option<Device>,
    /// The other members; `None` if only files were changed and there is no tunnel.
    pub peers: Option<Vec<ProbedPeer>>,
    /// What is left for a person to do.
    pub next: Vec<Message>,
}

/// Whether the tunnel is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProofOutcome {
    /// All members answer, or only files were changed.
    Proven,
    /// Members lack this instance's key, or large packets don't get to them.
    Reserved,
    /// There is no tunnel, it differs from the list, or members are silent.
    Failed,
}

/// Verifies a host after a plan was applied.
pub(crate) fn verify(host: &Host, survey: &HostSurvey, plan: &Plan, progress: &Progress) -> Result<Proof> {
    let settings = &survey.settings;
    let path = settings.layout().public_conf();
    let list = PeerList::read(host, &path)?;
    let own = list.as_ref().zip(settings.vpn_address).and_then(|(list, address)| list.by_address(address).cloned());
    let (Some(list), Some(own)) = (list, own) else {
        return Err(Error::new(Class::Unproven, message!("{file} does not list this instance", file = path.display())));
    };
    let list_changed = plan.steps.iter().any(|step| step.path() == Some(&path));
    // Members can answer only if the list they gave already had this instance in it.
    let known_to_members = settings.peers.as_deref().is_some_and(|given| given == list.to_text()) || !list_changed;

    let mut proof = Proof { outcome: ProofOutcome::Proven, list, own, device: None, peers: None, next: Vec::new() };
    if survey.facts.live && settings.restart != Restart::None {
        let task = progress.start(message!("prove the tunnel by handshakes"));
        proof.probe(host, &settings.dir, settings.port, known_to_members)?;
        task.done();
    }
    if !known_to_members && proof.list.len() > 1 {
        let command = "mitigator-vpn install --peers FILE --yes";
        let file = path.display();
        proof.next.push(message!("give the other members this {file}, then on each: {command}", file, command));
    }
    if plan.steps.iter().any(Step::sets_vpn_address) {
        let address = proof.own.address;
        let next = message!("in Mitigator's web interface, enter {address} as this instance's VPN address", address);
        proof.next.push(next);
    }
    Ok(proof)
}

impl Proof {
    fn probe(&mut self, host: &Host, dir: &Path, port: u16, known_to_members: bool) -> Result<()> {
        let patience = if known_to_members { timings::WITH_SESSION } else { timings::STRANGERS };
        let gateway = || Ok(compose::containers(host, dir)?.0.map(|gateway| gateway.pid));
        let (device, peers) = tunnel::probe_list(host, gateway, &self.list, self.own.public_key, patience)?;
        let silent = peers.iter().filter(|peer| !peer.answers()).count();
        self.outcome = match &device {
            None => ProofOutcome::Failed,
            Some(device) if !tunnel::difference(device, &self.list).is_empty() => ProofOutcome::Failed,
            Some(_) if silent == 0 => ProofOutcome::Proven,
            Some(_) if !known_to_members => ProofOutcome::Reserved,
            Some(_) => ProofOutcome::Failed,
        };
        match &device {
            None => {
                let command = format!("cd {} && docker-compose logs {}", dir.display(), PRODUCT.gateway.name);
                self.next.push(message!("no tunnel came up; see why: {command}", command));
            }
            Some(_) if silent > 0 && known_to_members => self.next.push(counted!(
                "{silent} member gave no handshake: UDP {port} is blocked on the way, its endpoint is wrong, or it lacks \
                 this instance's key"
                    | "{silent} members gave no handshake: UDP {port} is blocked on the way, their endpoint is wrong, or \
                       they lack this instance's key",
                silent = silent,
                port = port.to_string()
            )),
            Some(_) => {}
        }
        let narrow = mtu::narrow_peers(&peers);
        if !narrow.is_empty() && self.outcome == ProofOutcome::Proven {
            self.outcome = ProofOutcome::Reserved;
        }
        self.next.extend(narrow);
        self.device = device;
        self.peers = Some(peers);
        Ok(())
    }
}
