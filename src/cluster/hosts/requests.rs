//! What a host is asked, one function a request.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::{HostState, Node, Seen};
use crate::cluster::remote::protocol::{Reply, Request, Survey};
use crate::error::{Class, Error, Result};
use crate::host::Host;
use crate::message;
use crate::message::Message;
use crate::preflight::Finding;
use crate::product::PRODUCT;
use crate::settings::Settings;
use crate::tunnel::ProbedPeer;
use crate::wireguard::{History, ListDigest, PeerList, PublicKey};

/// A look reads some files and asks Docker.
const LOOK: Duration = Duration::from_secs(60);
/// Longer than a change may stay unconfirmed, and than taking it back lasts.
const AFTER_A_GUARD: Duration = Duration::from_secs(120);
/// Facts and checks of a whole host.
const SURVEY: Duration = Duration::from_secs(180);
/// Packages, image, restart, and another run that holds the lock.
const APPLY: Duration = Duration::from_secs(1800);
/// What a probe lasts beyond its own patience: path MTU, and a busy host.
const AFTER_A_PROBE: Duration = Duration::from_secs(60);

/// A change of a host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChangeRequest<'a> {
    /// The list that it is to have.
    pub(crate) list: &'a PeerList,
    /// The list that it must still have.
    pub(crate) seen: Option<ListDigest>,
    /// How long a change that could cut off the connection may stay unconfirmed.
    pub(crate) guard: Duration,
    /// Whether the staged key is taken into use with the list.
    pub(crate) switch_key: bool,
    /// What the host is to remember of members.
    pub(crate) history: &'a History,
}

/// What came of a change.
#[derive(Clone, Debug)]
pub(crate) enum ApplyReply {
    Applied {
        steps: Vec<Message>,
        /// Whether the instance got its VPN address in this run.
        sets_vpn_address: bool,
    },
    /// The list is not the one that was seen. Nothing has changed.
    Conflict,
    /// Checks forbid it. Nothing has changed.
    Refused(Vec<Finding>),
}

impl Node {
    /// Looks at it, again.
    pub(crate) fn look_again(&mut self) {
        let settings = Settings { peers: None, whole_list: false, ..self.settings.clone() };
        let seen = self.ask(&Request::Look(settings), LOOK + AFTER_A_GUARD).and_then(|reply| {
            let Reply::Look(mut look) = reply else { return Err(unexpected(&reply)) };
            let list = look.list.take();
            let list = list.map(|text| PeerList::parse_named(PRODUCT.files.public_conf, &text)).transpose()?;
            Ok(Box::new(Seen { look: *look, list }))
        });
        self.state = seen.map_or_else(HostState::Unreachable, HostState::Seen);
    }

    /// What an install with this list would meet and change; an empty list is no list.
    pub(crate) fn survey(&mut self, list: &PeerList) -> Result<Survey> {
        let peers = (!list.is_empty()).then(|| list.to_text());
        let settings = Settings { peers, whole_list: false, ..self.settings.clone() };
        let reply = self.ask(&Request::Survey(settings), SURVEY)?;
        if let Reply::Survey(survey) = reply { Ok(survey) } else { Err(unexpected(&reply)) }
    }

    /// Makes its private key, also in place of one that is retired, and takes note of the public half.
    pub(crate) fn make_key(&mut self, history: &History) -> Result<()> {
        let key = self.key(&Request::MakeKey { settings: self.settings.clone(), history: history.clone() })?;
        if let HostState::Seen(seen) = &mut self.state {
            seen.look.key = Some(key);
        }
        Ok(())
    }

    /// Makes the key that comes next; one that was staged earlier is taken.
    pub(crate) fn stage_key(&mut self) -> Result<PublicKey> {
        self.key(&Request::StageKey(self.settings.clone()))
    }

    /// Changes it, and confirms the change over a new connection where the agent guards it. If no new connection can be
    /// made, the agent takes the change back by itself.
    pub(crate) fn apply(&mut self, change: ChangeRequest, patience: Option<Duration>) -> Result<ApplyReply> {
        let ChangeRequest { list, seen, guard, switch_key, history } = change;
        let history = history.clone();
        let peers = (!list.is_empty()).then(|| list.to_text());
        let settings = Settings { peers, whole_list: true, ..self.settings.clone() };
        let request = if switch_key {
            Request::SwitchKey { settings, seen, guard, history }
        } else {
            Request::Apply { settings, seen, guard, history }
        };
        match self.ask(&request, patience.unwrap_or(APPLY))? {
            Reply::Applied { steps, guarded, sets_vpn_address } => {
                if let Some(name) = guarded {
                    self.confirm(name)?;
                }
                Ok(ApplyReply::Applied { steps, sets_vpn_address })
            }
            Reply::Conflict => Ok(ApplyReply::Conflict),
            Reply::Refused(findings) => Ok(ApplyReply::Refused(findings)),
            other @ (Reply::Look(_)
            | Reply::Survey(_)
            | Reply::Key(_)
            | Reply::Probed(_)
            | Reply::Done
            | Reply::Failed(_)) => Err(unexpected(&other)),
        }
    }

    fn confirm(&self, name: String) -> Result<()> {
        let confirmed = self.ssh.open_anew(&Host::live(), &self.instance.ssh).and_then(|mut session| {
            let reply = session.ask(&Request::Confirm(name), LOOK)?;
            if matches!(reply, Reply::Done) { Ok(()) } else { Err(unexpected(&reply)) }
        });
        confirmed.map_err(|error| {
            let error = message!("the change could not be confirmed over a new connection: {error}", error = &error);
            Error::new(Class::Unproven, error).hint(message!("the host takes it back by itself, if it hasn't yet"))
        })
    }

    /// Makes it remember this of members, if it doesn't yet.
    pub(crate) fn remember(&mut self, history: &History) -> Result<()> {
        if self.history().with(history) == *self.history() {
            return Ok(());
        }
        self.done(&Request::Remember { settings: self.settings.clone(), history: history.clone() })?;
        if let HostState::Seen(seen) = &mut self.state {
            seen.look.history.merge(history);
        }
        Ok(())
    }

    /// Takes back what this run has changed.
    pub(crate) fn take_back(&mut self) -> Result<()> {
        self.done(&Request::TakeBack)
    }

    /// Deletes the keys beside the one in use, if they still are those that were seen.
    pub(crate) fn drop_old_key(&mut self) -> Result<()> {
        let keys = self.seen().map(|seen| seen.look.keys()).unwrap_or_default();
        self.done(&Request::DropOldKey { settings: self.settings.clone(), keys })
    }

    /// Which of the members answer it, and with `sizes` how large a packet gets there.
    pub(crate) fn probe(&mut self, members: &[Ipv4Addr], patience: Duration, sizes: bool) -> Result<Vec<ProbedPeer>> {
        let settings = self.settings.clone();
        let request = Request::Probe { settings, members: members.to_vec(), patience, sizes };
        let reply = self.ask(&request, patience + AFTER_A_PROBE)?;
        if let Reply::Probed(probed) = reply { Ok(probed) } else { Err(unexpected(&reply)) }
    }

    fn key(&mut self, request: &Request) -> Result<PublicKey> {
        let reply = self.ask(request, APPLY)?;
        if let Reply::Key(key) = reply { Ok(key) } else { Err(unexpected(&reply)) }
    }

    fn done(&mut self, request: &Request) -> Result<()> {
        let reply = self.ask(request, APPLY)?;
        if matches!(reply, Reply::Done) { Ok(()) } else { Err(unexpected(&reply)) }
    }

    fn ask(&mut self, request: &Request, patience: Duration) -> Result<Reply> {
        let session = self.session.as_mut().ok_or_else(|| Error::unexpected(message!("it can't be reached")))?;
        session.ask(request, patience)
    }
}

/// A reply to another request: the agent is not the program that it should be.
fn unexpected(reply: &Reply) -> Error {
    let kind = match reply {
        Reply::Look(_) => "look",
        Reply::Survey(_) => "survey",
        Reply::Key(_) => "key",
        Reply::Applied { .. } => "applied",
        Reply::Conflict => "conflict",
        Reply::Refused(_) => "refused",
        Reply::Probed(_) => "probed",
        Reply::Done => "done",
        Reply::Failed(_) => "failed",
    };
    Error::unexpected(message!("the host's answer is to another request: {reply}", reply = kind))
}
