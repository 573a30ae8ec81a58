//! The steps of `rotate`.

use super::Bug;
use super::names::Hosts;
use super::steps::{Change, Reply, Step};
use super::values::Memory;
use super::world::{Command, Disk, Host, Phase};

impl Step<'_> {
    fn rotating(&self) -> Host {
        self.run.command.host()
    }

    pub(super) fn members(&self) -> Hosts {
        let keys = self.run.decision.map(|decision| decision.outline().list.keys()).unwrap_or_default();
        Hosts::of((0..keys.len()).filter(|host| keys[*host].is_some()))
    }

    /// Whether packets of one reach the other and back.
    fn reaches(&self, one: Host, other: Host) -> bool {
        let [a, b] = [one, other].map(|host| &self.world.machines[host]);
        let knows = |keys: super::values::Keys, of: Host, key| key == keys[of] && keys[of].is_some();
        b.is_up && knows(a.keys(), other, b.disk.key) && knows(b.keys(), one, a.disk.key)
    }

    pub(super) fn rotate(&mut self) {
        let (host, toml) = (self.rotating(), self.toml());
        let decision = self.model.decide(&self.run, &toml);
        self.run.decision = Some(decision);
        let takes_part = |host: Host| {
            let disk = self.run.seen[host].map(|look| look.disk);
            disk.is_some_and(|disk| decision.target(host, disk.list, disk.memory).is_some())
        };
        let missing = Hosts::of(self.members().iter().filter(|member| !takes_part(*member)));
        let is_blind = self.has(Bug::OnlyIsEverybody);
        if matches!(self.run.command, Command::RotateAnyhow(_)) {
            self.run.left = missing.without(self.run.visible());
        }
        let is_refused = !missing.without(self.run.left).is_empty() && !is_blind;
        if is_refused || !toml.declared.has(host) || !takes_part(host) {
            self.is_over = true;
            return;
        }
        self.run.own = self.run.seen[host].and_then(|look| look.disk.key);
        self.run.todo = Hosts::of([host]);
        self.run.phase = Phase::Stage { look: false };
    }

    pub(super) fn stage(&mut self, look: bool) {
        let (host, who, is_blind) = (self.rotating(), self.who, self.has(Bug::LeaseIgnored));
        if look {
            // Nobody else changes its keys now.
            self.look(host);
            let Some(look) = self.run.seen[host] else {
                self.is_over = true;
                return;
            };
            self.run.own = look.disk.key;
            let decided = self.run.decision.and_then(|decision| decision.outline().list.keys()[host]);
            if look.disk.key != decided && look.disk.key != self.run.key && !self.has(Bug::AnyKeyIsRotated) {
                self.is_over = true;
                return;
            }
            return self.staged();
        }
        let mut key = None;
        let reply = self.ask(host, |world| {
            let machine = &mut world.machines[host];
            if machine.lease.is_some_and(|holder| holder != who) && !is_blind {
                return Reply::Refused;
            }
            if machine.disk.staged.is_none() && machine.disk.key.is_none() {
                return Reply::Refused;
            }
            machine.lease = Some(who);
            key = machine.disk.staged.or_else(|| Some(machine.make_key(host)));
            machine.disk.staged = key;
            Reply::Done
        });
        if reply != Reply::Done {
            self.is_over = true;
            return;
        }
        self.run.key = key;
        self.run.phase = Phase::Stage { look: true };
    }

    fn staged(&mut self) {
        let host = self.rotating();
        let others = self.run.visible().but(host);
        self.run.answered = Hosts::of(others.iter().filter(|other| self.reaches(host, *other)));
        self.run.met = self.members();
        self.run.todo = others;
        self.run.phase = Phase::Give { look: false };
        if others.is_empty() {
            self.given();
        }
    }

    pub(super) fn give(&mut self, look: bool) {
        let (host, rotating) = (self.first(), self.rotating());
        self.run.phase = Phase::Give { look: false };
        if look {
            self.look(host);
            if self.run.seen[host].is_some() {
                return;
            }
        }
        let change = self.run.seen[host].zip(self.run.decision).and_then(|(look, decision)| {
            let Disk { list: seen, memory, .. } = look.disk;
            let target = decision.target(host, seen, memory)?;
            let base = if self.has(Bug::WholeListIsGiven) { target } else { seen? };
            let list = base.with_key(rotating, self.run.key?)?;
            Some(Change { list, seen, memory: decision.outline().memory, switches: false })
        });
        match change.map(|change| self.apply(host, change)) {
            Some(Reply::Conflict) => {
                self.run.phase = Phase::Give { look: true };
                return;
            }
            Some(Reply::Done) => {
                let listed = self.world.machines[host].keys();
                self.run.informed = self.run.informed.and(host);
                self.run.met = self.run.met.union(Hosts::of((0..listed.len()).filter(|m| listed[*m].is_some())));
            }
            Some(Reply::Refused | Reply::Lost) | None => self.fail(host),
        }
        self.pop();
        if self.run.todo.is_empty() {
            self.given();
        }
    }

    fn given(&mut self) {
        let host = self.rotating();
        let lacking = self.run.met.without(self.run.informed).without(self.run.left).but(host);
        if !lacking.is_empty() && !self.has(Bug::OnlyIsEverybody) {
            return self.give_up();
        }
        self.run.todo = Hosts::of([host]);
        self.run.phase = Phase::Switch { look: false };
    }

    pub(super) fn switch(&mut self, look: bool) {
        let host = self.first();
        self.run.phase = Phase::Switch { look: false };
        if look {
            self.look(host);
            if self.run.seen[host].is_some() {
                return;
            }
        }
        let change = self.run.seen[host].zip(self.run.decision).and_then(|(look, decision)| {
            let (seen, memory) = (look.disk.list, decision.outline().memory);
            let list = seen?.with_key(host, self.run.key?)?;
            Some(Change { list, seen, memory, switches: self.run.own != self.run.key })
        });
        let left = self.run.left;
        match change.map(|change| self.apply(host, change)) {
            Some(Reply::Conflict) => self.run.phase = Phase::Switch { look: true },
            Some(Reply::Done) => {
                self.world.truth.left_behind[host] = self.world.truth.left_behind[host].union(left);
                self.run.phase = Phase::Probe;
            }
            Some(Reply::Refused | Reply::Lost) | None => {
                self.fail(host);
                self.give_up();
            }
        }
    }

    pub(super) fn probe(&mut self) {
        let host = self.pop();
        let expected = self.run.answered;
        let informed = self.run.informed;
        let mut answers = false;
        let silent = |step: &Self| expected.iter().any(|m| informed.has(m) && !step.reaches(host, m));
        let is_silent = silent(self);
        let reply = self.ask(host, |_| {
            answers = !is_silent;
            Reply::Done
        });
        if reply != Reply::Done || !answers {
            return self.give_up();
        }
        let is_switched = self.run.own == self.run.key;
        let before = if is_switched { self.run.seen[host].and_then(|look| look.disk.previous) } else { self.run.own };
        let before = before.filter(|before| Some(*before) != self.run.key && !self.has(Bug::RetiredForgotten));
        let memory = self.run.decision.map_or_else(Memory::none, |decision| decision.outline().memory);
        self.run.over = Hosts::of([host]);
        self.run.before = before;
        self.spread(before.map_or(memory, |before| memory.with_retired(before)));
    }

    fn give_up(&mut self) {
        self.run.phase = Phase::TakeBack;
        self.run.todo = self.run.informed.and(self.rotating());
    }

    /// The host itself first: the others know it by the key before as soon as they have their lists back. It stays claimed
    /// until they do; and if it isn't known to be back, it may use the new key, which the others keep.
    pub(super) fn take_back(&mut self) {
        let rotating = self.rotating();
        let host = if self.run.todo.has(rotating) { rotating } else { self.first() };
        self.run.todo = self.run.todo.but(host);
        let (who, undo, frees) = (self.who, self.run.undo[host], self.has(Bug::ClaimEndsEarly));
        let reply = self.ask(host, |world| {
            let lease = &mut world.machines[host].lease;
            *lease = lease.filter(|holder| *holder != who || !frees);
            let Some((before, after)) = undo else { return Reply::Done };
            let disk = &mut world.machines[host].disk;
            if disk.key == after.key {
                disk.key = before.key;
            }
            if disk.memory == after.memory {
                disk.memory = before.memory;
            }
            if let Some(list) = before.list.filter(|_| disk.list == after.list) {
                world.set_list(host, list);
            }
            Reply::Done
        });
        let is_unknown = host == rotating && reply != Reply::Done && !self.has(Bug::TakenBackUnknown);
        self.is_over = self.run.todo.is_empty() || is_unknown;
    }
}
