//! The hosts of a run: which can be reached, how each stands, and work on many of them at once.

mod requests;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) use self::requests::{ApplyReply, ChangeRequest};
use super::inventory::DeclaredInstance;
use super::remote::protocol::Look;
use super::remote::ssh::{Ssh, SshSession};
use crate::error::Error;
use crate::host::Host;
use crate::message;
use crate::message::Message;
use crate::settings::{Restart, Settings};
use crate::wireguard::{History, ListDigest, PeerList};

/// Bytes of a worker's stack: enough for one host, and there may be hundreds of workers.
const STACK: usize = 512 << 10;

/// All hosts of a run.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// One for each instance that takes part.
    pub(crate) nodes: Vec<Node>,
    /// The most hosts to work on at once.
    pub(crate) parallel: usize,
}

/// One host.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) instance: DeclaredInstance,
    /// The end state without the list, which [`Node::apply`] puts in.
    pub(crate) settings: Settings,
    pub(crate) state: HostState,
    /// How far its clock is ahead of ours, in milliseconds.
    pub(crate) clock: Option<i64>,
    session: Option<SshSession>,
    ssh: Arc<Ssh>,
}

/// Whether a host could be looked at.
#[derive(Debug)]
pub(crate) enum HostState {
    Seen(Box<Seen>),
    /// There is no connection, or the look failed.
    Unreachable(Error),
}

/// What was seen of a host.
#[derive(Debug)]
pub(crate) struct Seen {
    /// As the host sent it; the list is taken out of it.
    pub(crate) look: Look,
    pub(crate) list: Option<PeerList>,
}

impl Fleet {
    /// Connects to all of them and looks at each.
    pub(crate) fn gather(
        host: &Host,
        ssh: &Arc<Ssh>,
        instances: Vec<DeclaredInstance>,
        settings: &Settings,
        parallel: usize,
    ) -> Fleet {
        let nodes = instances.into_iter().map(|instance| {
            let settings =
                Settings { vpn_address: Some(instance.address), endpoint: Some(instance.endpoint), ..settings.clone() };
            let state = HostState::Unreachable(Error::unexpected(message!("not looked at")));
            Node { instance, settings, state, clock: None, session: None, ssh: Arc::clone(ssh) }
        });
        let mut fleet = Fleet { nodes: nodes.collect(), parallel };
        fleet.each(
            |_| true,
            |node| match ssh.open(host, &node.instance.ssh) {
                Ok(session) => {
                    node.clock = Some(session.clock);
                    node.session = Some(session);
                    node.look_again();
                }
                Err(error) => node.state = HostState::Unreachable(error),
            },
        );
        fleet
    }

    /// Does something with each node that is chosen, as many at once as the fleet allows. The results are in the order of
    /// the nodes.
    pub(crate) fn each<T: Send>(
        &mut self,
        chosen: impl Fn(&Node) -> bool,
        work: impl Fn(&mut Node) -> T + Sync,
    ) -> Vec<T> {
        let nodes: Vec<&mut Node> = self.nodes.iter_mut().filter(|node| chosen(node)).collect();
        let (count, work) = (nodes.len(), &work);
        let queue = Mutex::new(nodes.into_iter().enumerate());
        let results = Mutex::new(Vec::with_capacity(count));
        thread::scope(|scope| {
            for _ in 0..self.parallel.min(count) {
                let worker = || {
                    loop {
                        let next = queue.lock().expect("no worker panics with it").next();
                        let Some((at, node)) = next else { return };
                        let result = work(node);
                        results.lock().expect("no worker panics with it").push((at, result));
                    }
                };
                thread::Builder::new().stack_size(STACK).spawn_scoped(scope, worker).expect("a thread can be started");
            }
        });
        let mut results = results.into_inner().expect("no worker panics with it");
        results.sort_by_key(|(at, _)| *at);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// As [`Fleet::each`], with the host's VPN address beside each result.
    pub(crate) fn each_by_address<T: Send>(
        &mut self,
        chosen: impl Fn(&Node) -> bool,
        work: impl Fn(&mut Node) -> T + Sync,
    ) -> Vec<(Ipv4Addr, T)> {
        self.each(chosen, |node| (node.instance.address, work(node)))
    }

    /// The node with this VPN address.
    pub(crate) fn by_address(&self, address: Ipv4Addr) -> Option<&Node> {
        self.nodes.iter().find(|node| node.instance.address == address)
    }

    pub(crate) fn by_address_mut(&mut self, address: Ipv4Addr) -> Option<&mut Node> {
        self.nodes.iter_mut().find(|node| node.instance.address == address)
    }

    /// The names of the instances with these addresses, with commas between them.
    pub(crate) fn names(&self, addresses: &[Ipv4Addr]) -> String {
        let names: Vec<&str> =
            addresses.iter().filter_map(|a| self.by_address(*a)).map(|node| node.instance.name.as_str()).collect();
        names.join(", ")
    }

    /// Looks again at hosts whose key isn't the one that a list has for them: the list may be newer than the look.
    pub(crate) fn settle_keys(&mut self) {
        let lists: Vec<&PeerList> = self.nodes.iter().filter_map(Node::list).collect();
        let is_contradicted = |node: &Node| {
            let (address, key) = (node.instance.address, node.seen().and_then(|seen| seen.look.key));
            let others = lists.iter().filter_map(|list| list.by_address(address));
            key.is_some() && others.map(|peer| peer.public_key).any(|other| Some(other) != key)
        };
        let contradicted: BTreeSet<Ipv4Addr> =
            self.nodes.iter().filter(|node| is_contradicted(node)).map(|node| node.instance.address).collect();
        self.each(|node| contradicted.contains(&node.instance.address), Node::look_again);
    }

    /// Lets all agents end, all at once.
    pub(crate) fn hang_up(&mut self) {
        self.nodes.iter_mut().filter_map(|node| node.session.as_mut()).for_each(SshSession::hang_up);
    }
}

impl Node {
    pub(crate) fn seen(&self) -> Option<&Seen> {
        match &self.state {
            HostState::Seen(seen) => Some(seen),
            HostState::Unreachable(_) => None,
        }
    }

    pub(crate) fn list(&self) -> Option<&PeerList> {
        self.seen()?.list.as_ref()
    }

    /// What it remembers of members.
    pub(crate) fn history(&self) -> &History {
        static NOTHING: History = History::new();
        self.seen().map_or(&NOTHING, |seen| &seen.look.history)
    }

    pub(crate) fn digest(&self) -> Option<ListDigest> {
        self.list().map(PeerList::digest)
    }

    /// Whether its gateway has a tunnel.
    pub(crate) fn has_tunnel(&self) -> bool {
        let gateway = self.seen().and_then(|seen| seen.look.gateway.as_ref());
        gateway.is_some_and(|gateway| gateway.tunnel.is_some())
    }

    /// Whether its tunnel is to run, so that it can be asked who answers.
    pub(crate) fn may_be_probed(&self) -> bool {
        self.settings.restart != Restart::None
    }
}

/// An error with its way out, on one line: what stands beside a host's name.
pub(crate) fn reason(error: &Error) -> Message {
    let hints = error.hints().iter().map(Message::on_one_line);
    Message::joined(std::iter::once(Message::from(error).on_one_line()).chain(hints).collect(), "; ")
}
