//! The decision about members, and what is built on it, checked over all orders in which things can happen, within bounds:
//! two operators whose runs meet between any two requests, connections that are lost, hosts that are down and come back as
//! they were, lost key files. What is checked is the program's own: [`decide`](super::decide), the merge of lists and of
//! histories, the edits of a list. What hosts and operators do with them is said here once more, a request a step.
//!
//! [`names`] and [`values`]: hosts, keys and the program's values, numbered. [`world`]: a state. [`steps`], [`rotation`] and
//! [`spent`]: what a run does.
//! [`properties`]: what must be so. [`planted`]: mistakes that the check must find. [`checks`]: the bounds, and the tests.

mod checks;
mod names;
mod planted;
mod properties;
mod rotation;
mod spent;
mod steps;
mod values;
mod world;

use stateright::{Model, Property};

use self::names::Hosts;
use self::planted::Bug;
use self::values::{Case, Decision, Memory, Says};
use self::world::{Command, Disk, HOSTS, Host, Look, Person, Phase, Run, Toml, World};

/// Commands that may be given.
#[derive(Clone, Copy, Debug)]
struct Commands {
    /// Of which each operator chooses.
    of: [&'static [Command]; 2],
    /// How many of them.
    each: [u8; 2],
}

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// An operator's run ends between two requests.
    Killed,
    /// A host is down; it may come back at any time, as it was.
    Down(Host),
    /// A request is carried out, and the connection lost before the reply.
    ReplyLost,
    /// The key file is gone.
    KeyLost(Host),
    /// The host was made anew, with another key and a list of its own that has it.
    MadeAnew(Host),
}

/// A cluster, with the bounds of what may happen to it.
#[derive(Clone, Debug)]
struct Cluster {
    members: Hosts,
    commands: Commands,
    /// Of which so many happen.
    faults: (&'static [Fault], u8),
    /// Both operators use one cluster.toml.
    is_shared: bool,
    bug: Option<Bug>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Begin(Person, Command),
    Step(Person),
    /// As `Step`, and the reply is lost.
    Lose(Person),
    Kill(Person),
    Fail(Host),
    Return(Host),
    LoseKey(Host),
    MakeAnew(Host),
}

impl Cluster {
    fn toml(&self, who: Person) -> usize {
        if self.is_shared { 0 } else { who }
    }

    /// Decides about what a run has seen; a planted mistake alters what it is given.
    fn decide(&self, run: &Run, toml: &Toml) -> Decision {
        let says = |host: Host| {
            let Look { disk: Disk { key, staged, list, memory, .. }, rotating } = run.seen[host]?;
            let memory = if self.bug == Some(Bug::RemovalsIgnored) { Memory::none() } else { memory };
            Some(Says { key, staged, rotating, list, memory })
        };
        let says: [Option<Says>; HOSTS] = std::array::from_fn(|host| says(host).filter(|_| toml.declared.has(host)));
        let declared = toml.declared;
        let mut word = toml.removed.with(run.word);
        let mut accepted = if let Command::Accept(host) = run.command { Hosts::of([host]) } else { Hosts::NONE };
        match self.bug {
            Some(Bug::RemovalsIgnored) => word = Memory::none(),
            Some(Bug::OwnListVouches) => {
                let has_own = |host: &Host| {
                    let says = says[*host];
                    says.is_some_and(|says| {
                        says.key.is_some() && says.list.is_some_and(|l| l.keys()[*host] == says.key)
                    })
                };
                accepted = accepted.union(Hosts::of(declared.iter().filter(has_own)));
            }
            Some(_) | None => {}
        }
        Decision::of(Case { declared, says, word, accepted })
    }

    fn begin_of(&self, world: &World, who: Person, actions: &mut Vec<Action>) {
        let declared = world.tomls[self.toml(who)].declared;
        let is_possible = |command: &Command| match *command {
            Command::Apply => true,
            Command::Accept(host) => declared.has(host),
            Command::Remove(host) => declared.has(host) && !world.truth.leaving.has(host),
            Command::Add(host) => !declared.has(host),
            Command::AddAgain(host) => world.truth.leaving.has(host),
            Command::Rotate(host) | Command::RotateAnyhow(host) => declared.has(host),
        };
        let commands = self.commands.of[who].iter().filter(|command| is_possible(command));
        actions.extend(commands.map(|command| Action::Begin(who, *command)));
    }

    fn fault(&self, world: &World, fault: Fault, actions: &mut Vec<Action>) {
        let running = |who: &Person| world.operators[*who].run;
        match fault {
            Fault::Killed => actions.extend((0..2).filter(|who| running(who).is_some()).map(Action::Kill)),
            // A look that gets no reply is a host that is down.
            Fault::ReplyLost => {
                actions.extend((0..2).filter(|who| running(who).is_some_and(|run| run.changes())).map(Action::Lose))
            }
            Fault::Down(host) if world.machines[host].is_up => actions.push(Action::Fail(host)),
            Fault::KeyLost(host) if world.machines[host].disk.key.is_some() => actions.push(Action::LoseKey(host)),
            Fault::MadeAnew(host) if world.machines[host].disk.list.is_some() => actions.push(Action::MakeAnew(host)),
            Fault::Down(_) | Fault::KeyLost(_) | Fault::MadeAnew(_) => {}
        }
    }
}

impl Run {
    fn changes(&self) -> bool {
        match self.phase {
            Phase::Look { .. } | Phase::Probe => false,
            Phase::Change { look, .. } | Phase::Stage { look } | Phase::Give { look } | Phase::Switch { look } => !look,
            Phase::MakeKeys | Phase::Remember | Phase::Drop | Phase::TakeBack => true,
        }
    }
}

impl Model for Cluster {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.members, &self.commands, self.faults.1)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.truth.broken.is_some() {
            return;
        }
        for who in 0..2 {
            match world.operators[who].run {
                Some(_) => actions.push(Action::Step(who)),
                None if world.operators[who].left > 0 => self.begin_of(world, who, actions),
                None => {}
            }
        }
        actions.extend((0..HOSTS).filter(|host| !world.machines[*host].is_up).map(Action::Return));
        if world.faults > 0 {
            self.faults.0.iter().for_each(|fault| self.fault(world, *fault, actions));
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = *world;
        match action {
            Action::Begin(who, command) => self.begin(&mut next, who, command),
            Action::Step(who) => self.step(&mut next, who, false),
            Action::Return(host) => next.machines[host].is_up = true,
            Action::Lose(who) => {
                next.faults -= 1;
                self.step(&mut next, who, true);
            }
            Action::Kill(who) => {
                next.faults -= 1;
                self.release(&mut next, who);
            }
            Action::Fail(host) => {
                next.faults -= 1;
                next.machines[host].is_up = false;
                next.machines[host].lease = None;
            }
            Action::LoseKey(host) => {
                next.faults -= 1;
                next.machines[host].disk.key = None;
                next.truth.hurt = next.truth.hurt.and(host);
            }
            Action::MakeAnew(host) => {
                next.faults -= 1;
                next.make_anew(host);
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

impl World {
    /// Somebody has set the host up by hand.
    fn make_anew(&mut self, host: Host) {
        let machine = &mut self.machines[host];
        let key = machine.make_key(host);
        let list = machine.disk.list.and_then(|list| list.with_key(host, key));
        machine.disk = Disk { key: Some(key), staged: None, previous: None, list, memory: Memory::none() };
        machine.lease = None;
        let accepts = |run: Run| run.command == Command::Accept(host);
        if !self.operators.iter().filter_map(|operator| operator.run).any(accepts) {
            self.truth.foreign |= key.bit();
        }
        self.truth.hurt = self.truth.hurt.and(host);
    }
}
