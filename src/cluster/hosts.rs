//! The hosts of a run: which can be reached, how each stands, and something done to many of them at once.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::inventory::{ClusterFile, Instance};
use super::merge::{Known, Union, unite};
use super::remote::protocol::{Look, Reply, Request};
use super::remote::ssh::{Session, Ssh};
use crate::error::{Class, Error, Result};
use crate::host::Host;
use crate::product::PRODUCT;
use crate::settings::Settings;
use crate::wireguard::PeerList;

/// A look reads some files and asks Docker.
const LOOK: Duration = Duration::from_secs(60);
/// Longer than the way in may stay unproven, with what is then taken back.
const AFTER_A_GUARD: Duration = Duration::from_secs(120);
/// A stack this deep is plenty for what is done for one host; there may be hundreds.
const STACK: usize = 512 << 10;

/// All hosts of a run.
#[derive(Debug)]
pub struct Fleet {
    /// One for each instance that takes part.
    pub nodes: Vec<Node>,
    /// How many are worked on at once.
    pub parallel: usize,
}

/// One host.
#[derive(Debug)]
pub struct Node {
    /// The instance.
    pub instance: Instance,
    /// What it is asked to be; `peers` is filled in when the list is known.
    pub settings: Settings,
    /// Where things stand with it.
    pub state: State,
    /// How far its clock is ahead, in milliseconds.
    pub clock: Option<i64>,
    session: Option<Session>,
    ssh: Arc<Ssh>,
}

/// Where things stand with a host.
#[derive(Debug)]
pub enum State {
    /// It was looked at.
    Seen(Box<Seen>),
    /// It can't be reached, or can't be looked at.
    Down(Error),
}

/// What was seen of a host.
#[derive(Debug)]
pub struct Seen {
    /// As the host told it; its list is in `list`.
    pub look: Look,
    /// Its list.
    pub list: Option<PeerList>,
}

impl Fleet {
    /// Connects to all of them and looks at each.
    pub fn gather(
        host: &Host,
        ssh: &Arc<Ssh>,
        instances: Vec<Instance>,
        settings: &Settings,
        parallel: usize,
    ) -> Fleet {
        let nodes = instances.into_iter().map(|instance| {
            let settings =
                Settings { vpn_address: Some(instance.address), endpoint: Some(instance.endpoint), ..settings.clone() };
            let state = State::Down(Error::unexpected("not looked at"));
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
                Err(error) => node.state = State::Down(error),
            },
        );
        fleet
    }

    /// Does something with each node that is chosen, as many at once as the fleet allows.
    pub fn each<T: Send>(&mut self, chosen: impl Fn(&Node) -> bool, work: impl Fn(&mut Node) -> T + Sync) -> Vec<T> {
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

    /// Who is a member, by all that was seen.
    pub fn unite(&self, file: &ClusterFile, accepted: &[String]) -> Result<Union> {
        let known: Vec<Known> = self.nodes.iter().map(Node::known).collect();
        unite(&known, &file.removed, accepted)
    }

    /// The node with this VPN address.
    pub fn by_address(&self, address: Ipv4Addr) -> Option<&Node> {
        self.nodes.iter().find(|node| node.instance.address == address)
    }

    /// The same, to do something with it.
    pub fn by_address_mut(&mut self, address: Ipv4Addr) -> Option<&mut Node> {
        self.nodes.iter_mut().find(|node| node.instance.address == address)
    }

    /// Lets all far sides end, all at once.
    pub fn hang_up(&mut self) {
        self.nodes.iter_mut().filter_map(|node| node.session.as_mut()).for_each(Session::hang_up);
    }
}

impl Node {
    /// What was seen of it, if anything was.
    pub fn seen(&self) -> Option<&Seen> {
        match &self.state {
            State::Seen(seen) => Some(seen),
            State::Down(_) => None,
        }
    }

    /// The digest of its list; `None` without one.
    pub fn digest(&self) -> Option<String> {
        self.seen()?.list.as_ref().map(PeerList::digest)
    }

    /// Asks it something.
    pub fn ask(&mut self, request: &Request, patience: Duration) -> Result<Reply> {
        let session = self.session.as_mut().ok_or_else(|| Error::unexpected("it can't be reached"))?;
        session.ask(request, patience)
    }

    /// Asks for a change. One that the far side guards is confirmed over a new connection; if there can be none, the far
    /// side takes it back by itself.
    pub fn change(&mut self, request: &Request, patience: Duration) -> Result<Reply> {
        let reply = self.ask(request, patience)?;
        if let Reply::Applied { guarded: Some(name), .. } = &reply {
            let anew = self.ssh.open_anew(&Host::live(), &self.instance.ssh);
            let confirmed = anew.and_then(|mut anew| anew.ask(&Request::Confirm(name.clone()), LOOK));
            confirmed.map_err(|error| {
                Error::new(Class::Unproven, format!("the change could not be confirmed over a new connection: {error}"))
                    .hint("the host takes it back by itself, if it hasn't yet")
            })?;
        }
        Ok(reply)
    }

    /// Looks at it, again.
    pub fn look_again(&mut self) {
        let settings = Settings { peers: None, whole_list: false, ..self.settings.clone() };
        let seen = self.ask(&Request::Look(settings), LOOK + AFTER_A_GUARD).and_then(|reply| match reply {
            Reply::Look(mut look) => {
                let list = look.list.take();
                let list = list.map(|text| PeerList::parse_named(PRODUCT.files.public_conf, &text)).transpose()?;
                Ok(Box::new(Seen { look: *look, list }))
            }
            other => Err(unasked(&other)),
        });
        self.state = seen.map_or_else(State::Down, State::Seen);
    }

    fn known(&self) -> Known<'_> {
        let seen = self.seen();
        let key = seen.and_then(|seen| seen.look.key);
        let staged = seen.and_then(|seen| seen.look.staged);
        let list = seen.and_then(|seen| seen.list.as_ref());
        Known { instance: &self.instance, seen: seen.is_some(), key, staged, list }
    }
}

/// An answer to another question.
pub fn unasked(reply: &Reply) -> Error {
    Error::unexpected(format!("the far side's answer is to another question: {reply:?}"))
}
