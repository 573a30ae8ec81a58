//! How an instance stands: each part is observed by itself, and said by itself.
//!
//! A damaged list says nothing of the tunnel, a failed check hides no other difference, and a fault that is here is not looked
//! for at the other members. What couldn't be observed is unknown.

use schemars::JsonSchema;
use serde::Serialize;

use crate::converge::survey::HostSurvey;
use crate::error::Result;
use crate::facts::{Facts, Part, PrivateConfFile, TextFile};
use crate::host::Host;
use crate::message;
use crate::message::Message;
use crate::preflight::{Finding, Severity, id};
use crate::product::PRODUCT;
use crate::settings::Settings;
use crate::tunnel::{self, ProbedPeer, Reachability, mtu, timings};
use crate::wireguard::device::Device;
use crate::wireguard::{Peer, PeerList, PublicKey};

/// What was seen of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// It is there.
    Yes,
    /// It is not there.
    No,
    /// It couldn't be observed.
    Unknown,
}

/// An instance, as it stands.
#[derive(Debug)]
pub(crate) struct Standing {
    /// Whether anything of a VPN is set up here.
    pub set_up: Seen,
    pub public_key: Option<PublicKey>,
    /// `None` also for a damaged one.
    pub list: Option<PeerList>,
    pub tunnel: LiveTunnel,
    /// What differs from how it should be, with its way out.
    pub differences: Vec<Message>,
}

/// The live tunnel.
#[derive(Debug)]
pub(crate) enum LiveTunnel {
    /// The device, and the members that were asked.
    Up(Device, Vec<ProbedPeer>),
    /// The gateway has none.
    NoDevice,
    /// There is no gateway to have one.
    NoGateway,
    /// It couldn't be looked at, and why, unless a check has said so.
    Unknown(Option<Message>),
}

impl LiveTunnel {
    pub(crate) fn seen(&self) -> Seen {
        match self {
            LiveTunnel::Up(..) => Seen::Yes,
            LiveTunnel::NoDevice | LiveTunnel::NoGateway => Seen::No,
            LiveTunnel::Unknown(_) => Seen::Unknown,
        }
    }

    fn observe(host: &Host, facts: &Facts, members: Option<(&PeerList, PublicKey)>) -> LiveTunnel {
        if !facts.live || facts.unread.iter().any(|unread| unread.part == Part::Stack) {
            return LiveTunnel::Unknown(None);
        }
        let Some(gateway) = facts.stack.gateway.as_ref().map(|gateway| gateway.pid) else {
            return LiveTunnel::NoGateway;
        };
        let seen: Result<(Option<Device>, Vec<ProbedPeer>)> = match members {
            Some((list, own)) => tunnel::probe_list(host, || Ok(Some(gateway)), list, own, timings::WITH_SESSION),
            None => tunnel::observe(host, gateway).map(|device| (device, Vec::new())),
        };
        match seen {
            Ok((Some(device), probed)) => LiveTunnel::Up(device, probed),
            Ok((None, _)) => LiveTunnel::NoDevice,
            Err(error) => LiveTunnel::Unknown(Some(Message::from(&error))),
        }
    }
}

impl Standing {
    /// Observes all parts. Members are asked where there is a list, a key and a tunnel.
    pub(crate) fn observe(host: &Host, survey: &HostSurvey) -> Standing {
        let (facts, settings) = (&survey.facts, &survey.settings);
        let public_key = match &facts.instance.private_conf {
            PrivateConfFile::Present { public, .. } => Some(*public),
            PrivateConfFile::Absent | PrivateConfFile::Unusable { .. } => None,
        };
        let list = match &facts.instance.public_conf {
            TextFile::Text(text) => PeerList::parse(text).ok(),
            TextFile::Absent | TextFile::Unusable { .. } => None,
        };
        let tunnel = LiveTunnel::observe(host, facts, list.as_ref().zip(public_key));
        let set_up = is_set_up(facts);
        let mut differences: Vec<Message> =
            survey.findings.iter().filter(|finding| counts(finding, &tunnel)).map(difference).collect();
        match set_up {
            Seen::Yes => {
                differences.extend(missing_parts(facts, settings));
                differences.extend(pending(host, survey));
                let stale = facts.stack.gateway.as_ref().is_some_and(|gateway| !gateway.stale.is_empty());
                differences.extend(of_tunnel(&tunnel, list.as_ref(), public_key, stale, survey));
            }
            Seen::No => {
                let command = settings.command("install --vpn-address ADDR --endpoint IP");
                differences.push(message!("no VPN is set up here; set it up: {command}", command));
            }
            Seen::Unknown => differences.push(message!(
                "whether a VPN is set up here can't be known; run the same command as root, or look: {command}",
                command = format!("ls -la {}", settings.dir.display())
            )),
        }
        Standing { set_up, public_key, list, tunnel, differences }
    }

    /// The members that were asked.
    pub(crate) fn probed(&self) -> &[ProbedPeer] {
        match &self.tunnel {
            LiveTunnel::Up(_, probed) => probed,
            LiveTunnel::NoDevice | LiveTunnel::NoGateway | LiveTunnel::Unknown(_) => &[],
        }
    }
}

/// Whether anything of ours is here, however damaged.
fn is_set_up(facts: &Facts) -> Seen {
    let instance = &facts.instance;
    let nothing = instance.private_conf == PrivateConfFile::Absent
        && instance.public_conf == TextFile::Absent
        && !instance.env.values.contains_key(PRODUCT.env.vpn_address);
    if !nothing {
        return Seen::Yes;
    }
    let hidden = instance.env.problem.is_some() || facts.unread.iter().any(|unread| unread.part == Part::Instance);
    if hidden { Seen::Unknown } else { Seen::No }
}

/// A mount gone stale only warns before an install, which mends it; here it is what the gateway lives by (FN-40). What the kernel
/// lacks is no matter where the tunnel is up without it.
fn counts(finding: &Finding, tunnel: &LiveTunnel) -> bool {
    let works = finding.id == id::KERNEL_WIREGUARD && tunnel.seen() == Seen::Yes;
    (finding.outcome == Severity::Fail && !works)
        || (finding.id == id::MOUNT_FRESH && finding.outcome == Severity::Warn)
}

fn difference(finding: &Finding) -> Message {
    let way_out =
        finding.hint.clone().unwrap_or_else(|| Message::foreign(format!("mitigator-vpn explain {}", finding.id)));
    message!("{cause}; mend it: {command}", cause = &finding.detail, command = way_out)
}

/// The files that are absent while others are there. Those that can't be used are told by checks.
fn missing_parts(facts: &Facts, settings: &Settings) -> Vec<Message> {
    let (instance, layout) = (&facts.instance, settings.layout());
    let absent = [
        (instance.private_conf == PrivateConfFile::Absent, layout.private_conf()),
        (instance.public_conf == TextFile::Absent, layout.public_conf()),
    ];
    let mut parts: Vec<Message> = absent
        .into_iter()
        .filter(|(absent, _)| *absent)
        .map(|(_, path)| message!("{path} is missing", path = path.display()))
        .collect();
    if settings.vpn_address.is_none() && instance.env.problem.is_none() {
        parts.push(message!("this instance's VPN address is neither in .env nor in the list"));
    }
    let command = settings.command("install --vpn-address ADDR --endpoint IP");
    parts.into_iter().map(|cause| message!("{cause}; mend it: {command}", cause, command = &command)).collect()
}

/// What install would change, also where a check forbids it: that check has its own line.
fn pending(host: &Host, survey: &HostSurvey) -> Vec<Message> {
    let command = survey.settings.command("install");
    match survey.plan(host) {
        Ok(plan) => {
            let steps = plan.steps.iter().map(|step| step.message());
            steps.map(|step| message!("install would {step}; mend it: {command}", step, command = &command)).collect()
        }
        // What keeps the plan from being made is a check's or a missing part's line.
        Err(_) if survey.is_refused() || survey.settings.vpn_address.is_none() => Vec::new(),
        Err(error) => {
            let way_out = error.hints().first().cloned().unwrap_or_else(|| Message::command(&command));
            vec![message!("{cause}; mend it: {command}", cause = Message::from(&error), command = way_out)]
        }
    }
}

/// What is wrong with the tunnel, and only where nothing is: with the members.
fn of_tunnel(
    tunnel: &LiveTunnel,
    list: Option<&PeerList>,
    own: Option<PublicKey>,
    stale: bool,
    survey: &HostSurvey,
) -> Vec<Message> {
    let settings = &survey.settings;
    let mend = |cause: Message| message!("{cause}; mend it: {command}", cause, command = settings.command("install"));
    let look = || {
        let (dir, compose) = (settings.dir.display(), survey.facts.stack.compose_command_line());
        format!("cd {dir} && {compose} logs {}", PRODUCT.gateway.name)
    };
    match tunnel {
        LiveTunnel::Unknown(None) => Vec::new(),
        LiveTunnel::Unknown(Some(reason)) => {
            vec![message!(
                "whether the tunnel is up can't be known: {reason}; see: {command}",
                reason,
                command = look()
            )]
        }
        LiveTunnel::NoGateway => vec![mend(message!("the gateway doesn't run, so no tunnel is up"))],
        LiveTunnel::NoDevice => {
            vec![message!("the gateway runs and has no tunnel; see why: {command}", command = look())]
        }
        LiveTunnel::Up(device, probed) => {
            let Some(list) = list else { return Vec::new() };
            if own.is_some() && device.public_key.is_some() && device.public_key != own {
                return vec![mend(message!("the live tunnel has another key than vpn-private.conf"))];
            }
            let lines = tunnel::difference(device, list);
            // As long as the gateway lives by an old list, silence may be its own doing.
            let here = stale || !lines.is_empty();
            let silent = list.peers().filter(|peer| !here || device.peer(peer.public_key).is_some() && !stale);
            let silent: Vec<Message> = silent.filter_map(|peer| silence(peer, probed, settings)).collect();
            lines.into_iter().map(mend).chain(silent).chain(mtu::narrow_peers(probed)).collect()
        }
    }
}

/// What to say of a peer that doesn't answer. `None` for one that does, or that the device doesn't have.
fn silence(peer: &Peer, probed: &[ProbedPeer], settings: &Settings) -> Option<Message> {
    let probed = probed.iter().find(|probed| probed.address == peer.address)?;
    let (member, endpoint, command) = (peer.address, peer.endpoint, settings.command("status"));
    match (probed.reachability, probed.handshake_age) {
        (Reachability::Answers | Reachability::NotAPeer, _) => None,
        (Reachability::Silent, Some(seconds)) => Some(message!(
            "{member} at {endpoint} no longer answers, its last handshake was {seconds} s ago: it is down, or UDP is \
             blocked on the way; look from its side: {command}",
            member,
            endpoint,
            seconds,
            command
        )),
        (Reachability::Silent | Reachability::NoHandshake, _) => Some(message!(
            "no handshake with {member} at {endpoint}: UDP is blocked on the way, the endpoint is wrong, or it lacks this \
             instance's key; look from its side: {command}",
            member,
            endpoint,
            command
        )),
    }
}
