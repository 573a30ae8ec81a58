//! The steps of `apply`, `add` and `remove`: each is one request to one host, with what the run makes of the reply.

use super::names::Hosts;
use super::values::{Keys, List, Memory};
use super::world::{Command, Disk, HOSTS, Host, Look, Person, Phase, Run, Then, Toml, World};
use super::{Bug, Cluster};

/// One step of a run.
pub(super) struct Step<'w> {
    pub(super) model: &'w Cluster,
    pub(super) world: &'w mut World,
    pub(super) who: Person,
    pub(super) run: Run,
    /// The reply doesn't come.
    pub(super) is_lost: bool,
    pub(super) is_over: bool,
}

/// What comes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Done,
    Conflict,
    Refused,
    /// There is no connection, or none any more.
    Lost,
}

/// A list for a host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) list: List,
    pub(super) seen: Option<List>,
    pub(super) memory: Memory,
    pub(super) switches: bool,
}

impl Cluster {
    /// A person gives a command.
    pub(super) fn begin(&self, world: &mut World, who: Person, command: Command) {
        let operator = &mut world.operators[who];
        operator.left -= 1;
        let declared = world.tomls[self.toml(who)].declared;
        let mut fleet = declared;
        match command {
            Command::Apply | Command::Remove(_) | Command::Rotate(_) | Command::RotateAnyhow(_) => {}
            Command::Accept(host) => {
                world.truth.foreign &= !world.machines[host].disk.key.map_or(0, |key| key.bit());
            }
            Command::Add(host) => {
                fleet = declared.and(host);
                world.truth.joining = world.truth.joining.and(host);
            }
            Command::AddAgain(host) => {
                fleet = declared.and(host);
                world.truth.joining = world.truth.joining.and(host);
                let memories = world.machines.map(|machine| machine.disk.memory).into_iter();
                let retired = memories.chain(world.tomls.map(|toml| toml.removed)).map(|memory| memory.past().retired);
                let retired = retired.fold(0, |all, one| all | one);
                let disk = &mut world.machines[host].disk;
                if disk.key.is_none_or(|key| retired & key.bit() != 0) {
                    (disk.key, disk.staged, disk.previous, disk.list) = (None, None, None, None);
                }
            }
        }
        world.operators[who].run = Some(Run::new(command, fleet));
    }

    /// The next request of a run.
    pub(super) fn step(&self, world: &mut World, who: Person, is_lost: bool) {
        let Some(run) = world.operators[who].run else { return };
        let mut step = Step { model: self, world, who, run, is_lost, is_over: false };
        step.go();
        let (run, is_over) = (step.run, step.is_over);
        world.operators[who].run = (!is_over).then_some(run);
        if is_over {
            self.release(world, who);
        }
    }

    /// The connections of a run end.
    pub(super) fn release(&self, world: &mut World, who: Person) {
        world.operators[who].run = None;
        for machine in &mut world.machines {
            machine.lease = machine.lease.filter(|holder| *holder != who);
        }
    }
}

impl Step<'_> {
    fn go(&mut self) {
        match self.run.phase {
            Phase::Look { then, settled } => {
                let host = self.pop();
                self.look(host);
                if self.run.todo.is_empty() {
                    self.looked(then, settled);
                }
            }
            Phase::MakeKeys => self.make_key(),
            Phase::Change { look, given } => self.change(look, given),
            Phase::Remember => self.remember(),
            Phase::Drop => self.drop_keys(),
            Phase::Stage { look } => self.stage(look),
            Phase::Give { look } => self.give(look),
            Phase::Switch { look } => self.switch(look),
            Phase::Probe => self.probe(),
            Phase::TakeBack => self.take_back(),
        }
    }

    /// The first host that is left to do. The two operators don't go through the hosts in the same order.
    pub(super) fn first(&self) -> Host {
        let mut todo = self.run.todo.iter();
        let first = if self.who == 0 { todo.next() } else { todo.next_back() };
        first.expect("there is something to do")
    }

    pub(super) fn pop(&mut self) -> Host {
        let host = self.first();
        self.run.todo = self.run.todo.but(host);
        host
    }

    pub(super) fn has(&self, bug: Bug) -> bool {
        self.model.bug == Some(bug)
    }

    pub(super) fn toml(&self) -> Toml {
        self.world.tomls[self.model.toml(self.who)]
    }

    pub(super) fn fail(&mut self, host: Host) {
        self.run.failed = self.run.failed.and(host);
    }

    /// Makes a request; its effect is there when the reply is lost.
    pub(super) fn ask(&mut self, host: Host, request: impl FnOnce(&mut World) -> Reply) -> Reply {
        if !self.world.machines[host].is_up || self.run.cut.has(host) {
            self.run.cut = self.run.cut.and(host);
            return Reply::Lost;
        }
        let reply = request(self.world);
        if self.is_lost {
            self.run.cut = self.run.cut.and(host);
            let lease = &mut self.world.machines[host].lease;
            *lease = lease.filter(|holder| *holder != self.who);
            return Reply::Lost;
        }
        reply
    }

    pub(super) fn look(&mut self, host: Host) {
        let mut look = None;
        let is_blind = self.has(Bug::LeaseIgnored);
        self.ask(host, |world| {
            let machine = &world.machines[host];
            look = Some(Look { disk: machine.disk, rotating: machine.lease.is_some() && !is_blind });
            Reply::Done
        });
        self.run.seen[host] = look.filter(|_| !self.run.cut.has(host));
    }

    /// Compare and swap, under the host's lock.
    pub(super) fn apply(&mut self, host: Host, change: Change) -> Reply {
        let Change { list, seen, memory: given, switches } = change;
        let (no_swap, revives) = (self.has(Bug::SwapIgnored), self.has(Bug::HostRevives));
        let mut undo = None;
        let reply = self.ask(host, |world| {
            let before = world.machines[host].disk;
            let memory = before.memory.with(given);
            if (before.list != seen && !no_swap) || (list.revives(memory, before.list) && !revives) {
                return Reply::Conflict;
            }
            if switches && before.staged.is_none_or(|staged| list.keys()[host] != Some(staged)) {
                return Reply::Refused;
            }
            world.set_list(host, list);
            let disk = &mut world.machines[host].disk;
            disk.memory = memory;
            // An earlier rotation may have been interrupted when it had switched.
            if switches && disk.key != disk.staged {
                (disk.previous, disk.key) = (disk.key, disk.staged);
            }
            undo = Some((before, *disk));
            Reply::Done
        });
        self.run.undo[host] = self.run.undo[host].or(undo.filter(|_| self.run.key.is_some()));
        reply
    }

    /// What a run does when it has looked at the hosts that it wanted to see.
    fn looked(&mut self, then: Then, settled: bool) {
        let contradicted = self.run.contradicted();
        if !settled && then != Then::Verify && !contradicted.is_empty() {
            self.run.phase = Phase::Look { then, settled: true };
            self.run.todo = contradicted;
            return;
        }
        match then {
            Then::Plan => self.plan(),
            Then::Round => self.round(),
            Then::Rotate => self.rotate(),
            Then::Verify => self.verify(),
        }
    }

    pub(super) fn again(&mut self, todo: Hosts, then: Then) {
        self.run.phase = Phase::Look { then, settled: false };
        self.run.todo = todo;
        if todo.is_empty() {
            self.looked(then, false);
        }
    }

    /// All that is said of members that have left, believed or not.
    fn remembered(&self) -> Memory {
        let seen = self.run.seen.iter().flatten().map(|look| look.disk.memory);
        seen.fold(self.toml().removed, Memory::with)
    }

    fn write(&mut self, toml: Toml) {
        self.world.tomls[self.model.toml(self.who)] = toml;
    }

    fn plan(&mut self) {
        let toml = self.toml();
        match self.run.command {
            Command::Apply | Command::Accept(_) | Command::Rotate(_) | Command::RotateAnyhow(_) => {}
            Command::Add(host) | Command::AddAgain(host) => {
                let edited = Toml { declared: toml.declared.and(host), removed: toml.removed.without(host) };
                let believed = self.model.decide(&self.run, &edited).outline().memory.with(toml.removed);
                let is_again = matches!(self.run.command, Command::AddAgain(_)) || self.has(Bug::AddDropsRemovals);
                if believed.is_removed(host) && !is_again {
                    self.is_over = true;
                    return;
                }
                if is_again && (believed.is_removed(host) || !self.has(Bug::AgainIfBelieved)) {
                    let all = self.remembered().with(believed).with_readmitted(host);
                    self.run.word = Memory::none().with_generation(host, all.past().generation[host]);
                }
                self.write(edited);
                if matches!(self.run.command, Command::AddAgain(_)) {
                    let truth = &mut self.world.truth;
                    (truth.leaving, truth.gone) = (truth.leaving.but(host), truth.gone.but(host));
                }
            }
            Command::Remove(host) => {
                let own = self.run.seen[host].and_then(|look| look.disk.key);
                self.run.seen[host] = None;
                self.run.fleet = self.run.fleet.but(host);
                let lists = || self.run.seen.iter().flatten().filter_map(|look| look.disk.list);
                let listed = lists().filter_map(|list| list.keys()[host]);
                let mut word = Memory::none();
                if !self.has(Bug::RemovalByKey) {
                    let all = self.remembered().with_removed(host);
                    word = word.with_generation(host, all.past().generation[host]);
                }
                word = listed.chain(own).fold(word, Memory::with_retired);
                if lists().next().is_none() {
                    self.is_over = true;
                    return;
                }
                self.run.word = word;
                self.world.truth.leaving = self.world.truth.leaving.and(host);
                self.write(Toml { declared: toml.declared.but(host), removed: toml.removed.with(word) });
            }
        }
        self.run.planned = self.run.fleet;
        let decision = self.model.decide(&self.run, &self.toml());
        let makes_key = |host: &Host| {
            let disk = self.run.seen[*host].map(|look| look.disk);
            disk.is_some_and(|disk| disk.key.is_none() && decision.target(*host, disk.list, disk.memory).is_some())
        };
        self.run.todo = Hosts::of(self.run.visible().iter().filter(makes_key));
        self.run.phase = Phase::MakeKeys;
        if self.run.todo.is_empty() {
            self.round();
        }
    }

    fn make_key(&mut self) {
        let host = self.pop();
        let reply = self.ask(host, |world| {
            let machine = &mut world.machines[host];
            machine.disk.key = machine.disk.key.or_else(|| Some(machine.make_key(host)));
            Reply::Done
        });
        if reply == Reply::Done {
            let key = self.world.machines[host].disk.key;
            self.run.seen[host].iter_mut().for_each(|look| look.disk.key = key);
        } else {
            self.fail(host);
        }
        if self.run.todo.is_empty() {
            self.round();
        }
    }

    fn round(&mut self) {
        let toml = self.toml();
        for host in self.run.fleet.without(toml.declared).iter() {
            self.run.seen[host] = None;
        }
        let new = toml.declared.without(self.run.fleet);
        self.run.fleet = toml.declared;
        if !new.is_empty() {
            self.again(new, Then::Round);
            return;
        }
        let decision = self.model.decide(&self.run, &toml);
        self.run.decision = Some(decision);
        let outline = decision.outline();
        let members = outline.list.keys();
        let is_to_change = |host: &Host| {
            let Some(Look { disk: Disk { list, memory, .. }, .. }) = self.run.seen[*host] else { return false };
            let is_theirs = list.is_none() && !self.run.planned.has(*host);
            let target = decision.target(*host, list, memory);
            members[*host].is_some() && !is_theirs && target.is_some_and(|target| list != Some(target))
        };
        let todo = Hosts::of(self.run.visible().without(self.run.failed).iter().filter(is_to_change));
        if !todo.is_empty() {
            self.run.todo = todo;
            self.run.is_outdated = false;
            self.run.phase = Phase::Change { look: false, given: None };
        } else if self.run.met_another || (!outline.disputed.is_empty() && !self.run.looked_again) {
            (self.run.met_another, self.run.looked_again) = (false, true);
            self.again(self.run.visible(), Then::Round);
        } else {
            self.retire(outline.memory);
        }
    }

    fn change(&mut self, look: bool, given: Option<List>) {
        let host = self.first();
        if look {
            self.look(host);
            let now = self.run.seen[host].map(|look| look.disk.list.map(List::keys).unwrap_or_default());
            if let Some(given) = given.map(List::keys).filter(|given| now != Some(*given)) {
                let is_in = |now: &Keys| (0..given.len()).all(|n| given[n].is_none() || now[n] == given[n]);
                if now.as_ref().is_some_and(is_in) {
                    self.run.met_another = true;
                } else {
                    self.fail(host);
                }
            }
            self.changed(host);
            return;
        }
        let Some(decision) = self.run.decision else { return };
        let Some(Look { disk: Disk { list: seen, memory, .. }, .. }) = self.run.seen[host] else {
            return self.changed(host);
        };
        let Some(list) = decision.target(host, seen, memory) else { return self.changed(host) };
        let change = Change { list, seen, memory: decision.outline().memory, switches: false };
        let given = match self.apply(host, change) {
            Reply::Done => Some(list),
            Reply::Conflict => {
                (self.run.is_outdated, self.run.met_another) = (true, true);
                None
            }
            Reply::Refused | Reply::Lost => {
                self.fail(host);
                self.run.seen[host] = None;
                // The first to be changed failed.
                self.is_over = self.run.changed.is_empty();
                self.changed(host);
                return;
            }
        };
        if given.is_some() {
            self.run.changed = self.run.changed.and(host);
        }
        self.run.phase = Phase::Change { look: true, given };
    }

    fn changed(&mut self, host: Host) {
        self.run.todo = self.run.todo.but(host);
        self.run.phase = Phase::Change { look: false, given: None };
        if self.run.todo.is_empty() && !self.is_over {
            let all = if self.run.is_outdated { self.run.visible() } else { Hosts::NONE };
            self.again(all, Then::Round);
        }
    }

    pub(super) fn ended_well(&mut self) {
        self.is_over = true;
        let is_undisputed = self.run.decision.is_some_and(|decision| decision.outline().disputed.is_empty());
        if self.run.failed.is_empty() && is_undisputed {
            self.world.truth.joining = self.world.truth.joining.without(self.run.visible());
        }
        let Command::Remove(host) = self.run.command else { return };
        let others = || (0..HOSTS).filter(|other| *other != host).map(|other| self.world.machines[other].disk);
        let electorate = others().filter(|disk| disk.list.is_some()).count();
        let knowing = others().filter(|disk| disk.memory.is_removed(host)).count();
        if self.run.failed.is_empty() && 2 * knowing > electorate && self.world.truth.leaving.has(host) {
            self.world.truth.gone = self.world.truth.gone.and(host);
        }
    }
}
