//! The steps that end a run: what is decided is remembered by all, and keys that nobody needs are deleted.

use super::Bug;
use super::names::Hosts;
use super::steps::{Reply, Step};
use super::values::{List, Memory};
use super::world::{Disk, HOSTS, Host, Look, Phase, Then};

impl Step<'_> {
    /// Hosts beside whose key another one lies that nobody needs: every member has the key in use.
    fn over(&self) -> Hosts {
        let (seen, only_seen, is_blind) = (self.run.seen, self.has(Bug::OnlyIsEverybody), self.has(Bug::LeaseIgnored));
        let is_over = |host: &Host| {
            let Some(Look { disk, rotating }) = seen[*host] else { return false };
            let knows = |member: Host| match seen[member] {
                Some(look) => look.disk.list.is_some_and(|list| list.keys()[*host] == disk.key),
                None => only_seen || self.run.left.has(member),
            };
            let is_left = disk.key.is_some() && (disk.staged.is_some() || disk.previous.is_some());
            let is_free = !rotating || is_blind || self.run.key.is_some();
            is_left && is_free && self.everybody().iter().all(knows)
        };
        Hosts::of(self.run.visible().iter().filter(is_over))
    }

    /// The members that were decided, and those that any list has.
    fn everybody(&self) -> Hosts {
        let memory = self.run.memory;
        let lists = self.run.seen.iter().flatten().filter_map(|look| look.disk.list).map(List::keys);
        let listed =
            lists.map(|keys| Hosts::of((0..HOSTS).filter(|host| keys[*host].is_some() && !memory.is_removed(*host))));
        listed.fold(self.members(), Hosts::union)
    }

    /// What has become of members is remembered by all; keys that rotations have left are used up when every member has the
    /// key in use.
    pub(super) fn retire(&mut self, mut memory: Memory) {
        self.run.memory = memory;
        self.run.over = self.over();
        for disk in self.run.over.iter().filter_map(|host| self.run.seen[host]).map(|look| look.disk) {
            let staged = disk.staged.filter(|_| self.has(Bug::StagedIsRetired));
            let used_up = [staged, disk.previous].into_iter().flatten().filter(|key| Some(*key) != disk.key);
            memory = used_up.fold(memory, Memory::with_retired);
        }
        self.spread(memory);
    }

    /// Whether nobody can go back to the keys that are to be deleted.
    pub(super) fn verify(&mut self) {
        let memory = self.run.memory;
        let remembers = |host: Host| {
            let seen = self.run.seen[host];
            let is_ignored = self.has(Bug::OnlyIsEverybody) && seen.is_none();
            is_ignored
                || self.run.left.has(host)
                || seen.is_some_and(|look| look.disk.memory.with(memory) == look.disk.memory)
        };
        let all_remember = self.everybody().iter().all(remembers);
        let over = if all_remember { self.over() } else { Hosts::NONE };
        self.run.over = Hosts::of(self.run.over.iter().filter(|host| over.has(*host)));
        self.drop_all();
    }

    /// All hosts that don't know this yet are to remember it.
    pub(super) fn spread(&mut self, memory: Memory) {
        let lacks =
            |host: &Host| self.run.seen[*host].is_some_and(|look| look.disk.memory.with(memory) != look.disk.memory);
        self.run.memory = memory;
        self.run.todo = Hosts::of(self.run.visible().iter().filter(lacks));
        self.run.phase = Phase::Remember;
        if self.run.todo.is_empty() {
            self.remembered_by_all();
        }
    }

    pub(super) fn remember(&mut self) {
        let (host, memory) = (self.pop(), self.run.memory);
        let reply = self.ask(host, |world| {
            let disk = &mut world.machines[host].disk;
            disk.memory = disk.memory.with(memory);
            Reply::Done
        });
        if reply != Reply::Done {
            self.fail(host);
        }
        if self.run.todo.is_empty() {
            self.remembered_by_all();
        }
    }

    fn remembered_by_all(&mut self) {
        if self.run.over.is_empty() || self.has(Bug::DroppedUnseen) {
            self.drop_all();
        } else {
            self.again(self.run.visible(), Then::Verify);
        }
    }

    fn drop_all(&mut self) {
        self.run.todo = self.run.over;
        self.run.phase = Phase::Drop;
        if self.run.todo.is_empty() {
            self.ended_well();
        }
    }

    pub(super) fn drop_keys(&mut self) {
        let (host, who, is_blind) = (self.pop(), self.who, self.has(Bug::LeaseIgnored));
        let judged = self.run.seen[host].filter(|_| !self.has(Bug::DroppedUnseen));
        let reply = self.ask(host, |world| {
            let Disk { key, previous, staged, .. } = world.machines[host].disk;
            let is_other = judged
                .is_some_and(|Look { disk, .. }| (disk.key, disk.previous, disk.staged) != (key, previous, staged));
            if is_other || (world.machines[host].lease.is_some_and(|holder| holder != who) && !is_blind) {
                return Reply::Refused;
            }
            world.drop_keys(host);
            world.machines[host].lease = None;
            Reply::Done
        });
        if reply != Reply::Done {
            self.fail(host);
        }
        if self.run.todo.is_empty() {
            self.ended_well();
        }
    }
}
