//! What the model's states are made of: hosts, cluster.tomls, operators under way, and what is true of them whether or not
//! anybody knows it.

use super::Commands;
use super::names::{Hosts, Key};
use super::values::{Decision, Keys, List, Memory};

/// Hosts that there are.
pub(super) const HOSTS: usize = 4;

/// The number of a host.
pub(super) type Host = usize;
/// The number of an operator.
pub(super) type Person = usize;

/// What a host has, on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Disk {
    pub(super) key: Option<Key>,
    pub(super) staged: Option<Key>,
    pub(super) previous: Option<Key>,
    pub(super) list: Option<List>,
    pub(super) memory: Memory,
}

/// A host, and what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Machine {
    pub(super) is_up: bool,
    pub(super) disk: Disk,
    /// Who gives it a new key.
    pub(super) lease: Option<Person>,
    /// Keys that it has made.
    pub(super) made: u8,
}

impl Machine {
    pub(super) fn make_key(&mut self, host: Host) -> Key {
        self.made += 1;
        Key::new(host, self.made - 1)
    }

    pub(super) fn keys(&self) -> Keys {
        self.disk.list.map_or([None; HOSTS], List::keys)
    }
}

/// A cluster.toml.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Toml {
    pub(super) declared: Hosts,
    /// Its `[[removed]]` sections.
    pub(super) removed: Memory,
}

/// What an operator has seen of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Look {
    pub(super) disk: Disk,
    pub(super) rotating: bool,
}

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Command {
    Apply,
    /// `apply --accept-key`
    Accept(Host),
    Add(Host),
    /// `add --again`, of a host that has been cleared by a person
    AddAgain(Host),
    Remove(Host),
    /// `rotate`
    Rotate(Host),
    /// `rotate --leave-behind` of whoever is down
    RotateAnyhow(Host),
}

/// What a run does next. `todo` says with which hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// Looks at hosts; then again at those whose key is another one than lists say, unless that is `settled`.
    Look { then: Then, settled: bool },
    /// Has the keyless make keys.
    MakeKeys,
    /// Gives each its list; after it, looks at it.
    Change { look: bool, given: Option<List> },
    /// Has hosts remember what is decided.
    Remember,
    /// Deletes keys that are used up.
    Drop,
    /// Claims the rotating host and stages a key there; then looks at it.
    Stage { look: bool },
    /// Puts the key into each list; after a conflict, looks first.
    Give { look: bool },
    /// Has the rotating host use it; after a conflict, looks first.
    Switch { look: bool },
    /// Asks whether those answer that answered before.
    Probe,
    /// Takes the change back.
    TakeBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Then {
    Plan,
    Round,
    Rotate,
    /// Is the new key with everybody?
    Verify,
}

/// A command under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Run {
    pub(super) command: Command,
    pub(super) phase: Phase,
    pub(super) todo: Hosts,
    /// Hosts that take part, as far as the run knows.
    pub(super) fleet: Hosts,
    /// Those that took part when it was planned.
    pub(super) planned: Hosts,
    /// Those to which there is no connection, or none any more.
    pub(super) cut: Hosts,
    pub(super) seen: [Option<Look>; HOSTS],
    /// What the command says of members that leave or come back.
    pub(super) word: Memory,
    pub(super) decision: Option<Decision>,
    pub(super) memory: Memory,
    pub(super) failed: Hosts,
    pub(super) changed: Hosts,
    /// Keys are used up there.
    pub(super) over: Hosts,
    pub(super) is_outdated: bool,
    pub(super) met_another: bool,
    pub(super) looked_again: bool,
    /// The new key of a rotation, and the one before.
    pub(super) key: Option<Key>,
    pub(super) own: Option<Key>,
    pub(super) before: Option<Key>,
    pub(super) answered: Hosts,
    pub(super) informed: Hosts,
    /// Members of the lists that it has changed.
    pub(super) met: Hosts,
    /// Whom a person leaves without the new key.
    pub(super) left: Hosts,
    /// What it has changed, and may take back: how each host was, and how it left it.
    pub(super) undo: [Option<(Disk, Disk)>; HOSTS],
}

/// Somebody who runs commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Operator {
    /// Commands that may still be given.
    pub(super) left: u8,
    pub(super) run: Option<Run>,
}

/// What is so, whether or not anybody knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Truth {
    /// A person has said that they leave.
    pub(super) leaving: Hosts,
    /// They are being added, and no run that did so has ended well.
    pub(super) joining: Hosts,
    /// The command that said so has ended well, and most members know.
    pub(super) gone: Hosts,
    /// Keys that were in use and aren't any more: a bit each.
    pub(super) dead: u64,
    /// Keys that no run has made and nobody has accepted.
    pub(super) foreign: u64,
    /// For each host, who was left behind by name when it got a new key.
    pub(super) left_behind: [Hosts; HOSTS],
    /// Hosts whose key files were lost, or that were made anew.
    pub(super) hurt: Hosts,
    /// The first promise that was broken.
    pub(super) broken: Option<Promise>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Promise {
    NobodyIsDropped,
    WhoIsGoneStaysOut,
    DeadKeysStayDead,
    ForeignKeysStayOut,
    NoKeyIsDestroyedTooEarly,
}

/// A state of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) machines: [Machine; HOSTS],
    pub(super) tomls: [Toml; 2],
    pub(super) operators: [Operator; 2],
    /// Faults that may still happen.
    pub(super) faults: u8,
    pub(super) truth: Truth,
}

impl World {
    /// The first hosts are members and agree; each operator declares them.
    pub(super) fn new(members: Hosts, commands: &Commands, faults: u8) -> World {
        let keys = std::array::from_fn(|host| members.has(host).then(|| Key::new(host, 0)));
        let list = List::with(&keys);
        let machine = |host: Host| {
            let (key, list) = (keys[host], members.has(host).then_some(list));
            let disk = Disk { key, staged: None, previous: None, list, memory: Memory::none() };
            Machine { is_up: true, disk, lease: None, made: u8::from(key.is_some()) }
        };
        let toml = Toml { declared: members, removed: Memory::none() };
        World {
            machines: std::array::from_fn(machine),
            tomls: [toml; 2],
            operators: commands.each.map(|left| Operator { left, run: None }),
            faults,
            truth: Truth::default(),
        }
    }

    /// A promise that is broken stays so, and ends the trace.
    pub(super) fn breaks(&mut self, promise: Promise) {
        self.truth.broken.get_or_insert(promise);
    }

    /// A host gets another list.
    pub(super) fn set_list(&mut self, host: Host, list: List) {
        let (before, after) = (self.machines[host].keys(), list.keys());
        self.machines[host].disk.list = Some(list);
        for member in 0..HOSTS {
            if after[member] == self.machines[member].disk.key {
                self.truth.left_behind[member] = self.truth.left_behind[member].but(host);
            }
            let (was, is) = (before[member], after[member]);
            let comes = is.filter(|_| was != is);
            if was.is_some() && is.is_none() && !self.is_leaving(member) {
                self.breaks(Promise::NobodyIsDropped);
            }
            let is_new = before.iter().all(Option::is_none) && self.truth.joining.has(host);
            let is_exempt = is_new || self.is_leaving(host) || self.truth.left_behind[member].has(host);
            if was.is_none() && is.is_some() && self.truth.gone.has(member) && !is_exempt {
                self.breaks(Promise::WhoIsGoneStaysOut);
            }
            if comes.is_some_and(|key| self.truth.dead & key.bit() != 0) && !is_exempt {
                self.breaks(Promise::DeadKeysStayDead);
            }
            if comes.is_some_and(|key| self.truth.foreign & key.bit() != 0) {
                self.breaks(Promise::ForeignKeysStayOut);
            }
        }
    }

    /// Whether a person has said that a member leaves, and nobody has said another thing since, or is still about it.
    pub(super) fn is_leaving(&self, host: Host) -> bool {
        let removes = |run: Run| run.command == Command::Remove(host);
        self.truth.leaving.has(host) || self.operators.iter().filter_map(|operator| operator.run).any(removes)
    }

    /// Deletes the keys beside the one in use.
    pub(super) fn drop_keys(&mut self, host: Host) {
        let Disk { key, previous, .. } = self.machines[host].disk;
        self.machines[host].disk.staged = None;
        self.machines[host].disk.previous = None;
        let Some(lost) = previous.filter(|previous| key != Some(*previous)) else { return };
        self.truth.dead |= lost.bit();
        let Truth { leaving, left_behind, joining, .. } = self.truth;
        let rests_on_it = |other: Host| {
            let is_known = self.machines[other].keys()[host] == Some(lost);
            let is_exempt = leaving.has(other) || left_behind[host].has(other) || joining.has(other);
            let is_member = (0..HOSTS).any(|third| third != other && self.machines[third].keys()[other].is_some());
            is_known && is_member && other != host && !is_exempt
        };
        if key.is_none() || (0..HOSTS).any(rests_on_it) {
            self.breaks(Promise::NoKeyIsDestroyedTooEarly);
        }
    }
}

impl Command {
    /// Whom it is about.
    pub(super) fn host(self) -> Host {
        match self {
            Command::Apply => 0,
            Command::Accept(host)
            | Command::Add(host)
            | Command::AddAgain(host)
            | Command::Remove(host)
            | Command::Rotate(host)
            | Command::RotateAnyhow(host) => host,
        }
    }
}

impl Run {
    pub(super) fn new(command: Command, fleet: Hosts) -> Run {
        let then = match command {
            Command::Rotate(_) | Command::RotateAnyhow(_) => Then::Rotate,
            Command::Apply | Command::Accept(_) | Command::Add(_) | Command::AddAgain(_) | Command::Remove(_) => {
                Then::Plan
            }
        };
        Run {
            command,
            phase: Phase::Look { then, settled: false },
            todo: fleet,
            fleet,
            planned: fleet,
            cut: Hosts::NONE,
            seen: [None; HOSTS],
            word: Memory::none(),
            decision: None,
            memory: Memory::none(),
            failed: Hosts::NONE,
            changed: Hosts::NONE,
            over: Hosts::NONE,
            is_outdated: false,
            met_another: false,
            looked_again: false,
            key: None,
            own: None,
            before: None,
            answered: Hosts::NONE,
            informed: Hosts::NONE,
            met: Hosts::NONE,
            left: Hosts::NONE,
            undo: [None; HOSTS],
        }
    }

    pub(super) fn visible(&self) -> Hosts {
        Hosts::of(self.fleet.iter().filter(|host| self.seen[*host].is_some()))
    }

    /// Hosts whose key is another one than a list has for them: the list may be newer than the look.
    pub(super) fn contradicted(&self) -> Hosts {
        let is_contradicted = |host: &Host| {
            let Some(key) = self.seen[*host].and_then(|look| look.disk.key) else { return false };
            let lists = self.seen.iter().flatten().filter_map(|look| look.disk.list);
            lists.filter_map(|list| list.keys()[*host]).any(|other| other != key)
        };
        Hosts::of(self.visible().iter().filter(is_contradicted))
    }
}
