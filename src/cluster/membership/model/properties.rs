//! What must be so in every state.

use std::collections::HashMap;
use std::sync::{LazyLock, PoisonError, RwLock};

use stateright::Property;

use super::world::{Command, HOSTS, Operator, Promise, World};
use super::{Bug, Cluster, Host, Hosts};

/// A state, and whose cluster.toml counts.
type Case = (World, usize, Option<Bug>);

/// Steps that a run of one operator alone may take.
const STEPS: usize = 400;
/// Answers that a person may have to give, one after the other.
const ANSWERS: usize = 4;

pub(super) fn all() -> Vec<Property<Cluster>> {
    vec![
        Property::always("nobody is dropped who wasn't removed", |_: &Cluster, w: &World| {
            w.keeps(Promise::NobodyIsDropped)
        }),
        Property::always("who was removed doesn't come back by itself", |_: &Cluster, w: &World| {
            w.keeps(Promise::WhoIsGoneStaysOut)
        }),
        Property::always("a key that is used up doesn't come back", |_: &Cluster, w: &World| {
            w.keeps(Promise::DeadKeysStayDead)
        }),
        Property::always("a key that nobody vouches for isn't spread", |_: &Cluster, w: &World| {
            w.keeps(Promise::ForeignKeysStayOut)
        }),
        Property::always("no key is destroyed before all know its successor", |_: &Cluster, w: &World| {
            w.keeps(Promise::NoKeyIsDestroyedTooEarly)
        }),
        Property::always("a key in use isn't retired", |_: &Cluster, w: &World| w.uses_no_retired_key()),
        Property::always(
            "once all is up, one apply makes all equal, and a second one does nothing",
            |model: &Cluster, w: &World| (0..2).all(|who| model.converges(w, who)),
        ),
    ]
}

impl World {
    fn keeps(&self, promise: Promise) -> bool {
        self.truth.broken != Some(promise)
    }

    fn uses_no_retired_key(&self) -> bool {
        let retired =
            self.machines.iter().map(|machine| machine.disk.memory.past().retired).fold(0, |all, one| all | one);
        let is_right = |host: Host| self.machines[host].disk.key.is_none_or(|key| retired & key.bit() == 0);
        (0..HOSTS).all(|host| self.truth.leaving.has(host) || is_right(host))
    }
}

impl Cluster {
    /// Whether one `apply` mends everything, if all runs end now and all hosts are up.
    fn converges(&self, world: &World, who: usize) -> bool {
        static KNOWN: LazyLock<RwLock<HashMap<Case, bool>>> = LazyLock::new(RwLock::default);
        let mut world = *world;
        if world.truth.broken.is_some() || (self.is_shared && who > 0) {
            return true;
        }
        (0..2).for_each(|who| self.release(&mut world, who));
        world.machines.iter_mut().for_each(|machine| machine.is_up = true);
        world.faults = 0;
        world.operators = [Operator { left: 0, run: None }; 2];
        let case = (world, who, self.bug);
        let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner).get(&case).copied();
        known.unwrap_or_else(|| {
            let converges = self.mends(world, who);
            KNOWN.write().unwrap_or_else(PoisonError::into_inner).insert(case, converges);
            converges
        })
    }

    fn mends(&self, mut world: World, who: usize) -> bool {
        let mut command = Command::Apply;
        for _ in 0..ANSWERS {
            let Some(disputed) = self.alone(&mut world, who, command) else { return false };
            if world.truth.broken.is_some() {
                return false;
            }
            match self.answer(&world, who, disputed) {
                Some(answer) => command = answer,
                None => return self.is_settled(&world, who),
            }
        }
        false
    }

    /// One run without any other; who is disputed at its end. `None` if it doesn't come to an end.
    fn alone(&self, world: &mut World, who: usize, command: Command) -> Option<Hosts> {
        world.operators[who].left = 1;
        self.begin(world, who, command);
        let mut disputed = Hosts::NONE;
        for _ in 0..STEPS {
            let Some(run) = world.operators[who].run else { return Some(disputed) };
            disputed = run.decision.map_or(Hosts::NONE, |decision| decision.outline().disputed);
            self.step(world, who, false);
        }
        None
    }

    /// What a person says to a dispute, by its hint.
    fn answer(&self, world: &World, who: usize, disputed: Hosts) -> Option<Command> {
        let host = disputed.iter().next()?;
        Some(match () {
            () if world.truth.leaving.has(host) => Command::Remove(host),
            () if world.machines.iter().any(|machine| machine.disk.memory.is_removed(host)) => Command::AddAgain(host),
            () if !world.tomls[self.toml(who)].declared.has(host) => Command::Add(host),
            () => Command::Accept(host),
        })
    }

    /// Whether all agree on what is so, and nothing is left to do.
    fn is_settled(&self, world: &World, who: usize) -> bool {
        let declared = world.tomls[self.toml(who)].declared;
        let has_list = |host: &Host| world.machines[*host].disk.list.is_some();
        let is_out = |host: Host| world.truth.leaving.has(host) && !declared.has(host);
        let members: Vec<Host> = declared.iter().filter(|host| has_list(host) && !is_out(*host)).collect();
        let Some(first) = members.first().map(|host| world.machines[*host]) else { return true };
        let is_equal = members.iter().all(|host| {
            let disk = world.machines[*host].disk;
            // A memory that few have isn't believed; it must not be against what all have.
            let is_against = first.disk.list.is_some_and(|list| list.revives(disk.memory, None));
            disk.list == first.disk.list && !is_against
        });
        // Members that this cluster.toml doesn't have are not asked, so the keys before are kept.
        let knows_more = (0..HOSTS).any(|host| first.keys()[host].is_some() && !declared.has(host));
        let is_right = members.iter().all(|host| {
            let disk = world.machines[*host].disk;
            let is_alone = disk.staged.is_none() && disk.previous.is_none();
            disk.key.is_some() && first.keys()[*host] == disk.key && (is_alone || knows_more)
        });
        let are_out = (0..HOSTS).filter(|host| is_out(*host)).all(|host| first.keys()[host].is_none());
        let mut again = *world;
        let is_idle = self.alone(&mut again, who, Command::Apply).is_some() && again.machines == world.machines;
        is_equal && is_right && are_out && is_idle
    }
}
