//! The program's own values, each with a number: a state of the model is small, and what is computed of a value is
//! computed once. The functions are the program's, and pure: a result that is looked up is the result.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use super::names::{Hosts, Key};
use super::world::{HOSTS, Host};
use crate::cluster::inventory::DeclaredInstance;
use crate::cluster::membership::{Testimony, Weight, Witness, Word};
use crate::cluster::merge::{Merged, unite};
use crate::wireguard::{History, Note, Peer, PeerList};

/// The values that have a number, by their text.
struct Numbered<T> {
    numbers: HashMap<String, u32>,
    values: Vec<Arc<T>>,
}

impl<T> Numbered<T> {
    fn number(table: &RwLock<Self>, text: String, value: impl FnOnce() -> T) -> u32 {
        let mut table = table.write().unwrap_or_else(PoisonError::into_inner);
        let Numbered { numbers, values } = &mut *table;
        *numbers.entry(text).or_insert_with(|| {
            values.push(Arc::new(value()));
            u32::try_from(values.len() - 1).unwrap()
        })
    }

    fn value(table: &RwLock<Self>, number: u32) -> Arc<T> {
        Arc::clone(&table.read().unwrap_or_else(PoisonError::into_inner).values[number as usize])
    }
}

type Table<T> = LazyLock<RwLock<Numbered<T>>>;
type Memo<K, V> = LazyLock<RwLock<HashMap<K, V>>>;

fn table<T>() -> RwLock<Numbered<T>> {
    RwLock::new(Numbered { numbers: HashMap::new(), values: Vec::new() })
}

/// What a pure function makes of an argument.
fn once<K: Hash + Eq + Copy, V: Copy>(memo: &RwLock<HashMap<K, V>>, key: K, value: impl FnOnce() -> V) -> V {
    let known = memo.read().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
    known.unwrap_or_else(|| {
        let value = value();
        memo.write().unwrap_or_else(PoisonError::into_inner).insert(key, value);
        value
    })
}

/// A vpn-public.conf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct List(u32);

/// A vpn-history.json.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Memory(u32);

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Decision(u32);

pub(super) type Keys = [Option<Key>; HOSTS];

static LISTS: Table<(PeerList, Keys)> = LazyLock::new(table);
static MEMORIES: Table<(History, Past)> = LazyLock::new(table);
static DECISIONS: Table<(Merged, Outline)> = LazyLock::new(table);

/// What the model asks of a history.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Past {
    pub(super) generation: [u32; HOSTS],
    /// A bit for each key.
    pub(super) retired: u64,
}

/// What the model asks of a decision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outline {
    pub(super) list: List,
    pub(super) memory: Memory,
    /// Whose lists stay different until a person decides.
    pub(super) disputed: Hosts,
    /// Whose hosts are left alone as well.
    pub(super) left_alone: Hosts,
}

static INSTANCES: LazyLock<[DeclaredInstance; HOSTS]> = LazyLock::new(|| {
    std::array::from_fn(|host| DeclaredInstance {
        name: format!("h{}", host + 1),
        ssh: String::new(),
        address: address(host),
        endpoint: format!("192.0.2.{}:4567", host + 1).parse().unwrap(),
    })
});

fn address(host: Host) -> Ipv4Addr {
    Ipv4Addr::new(10, 8, 3, u8::try_from(host + 1).unwrap())
}

fn host(address: Ipv4Addr) -> Host {
    usize::from(address.octets()[3]) - 1
}

impl List {
    fn of(list: PeerList) -> List {
        let text = list.to_text();
        let keys = || std::array::from_fn(|host| list.by_address(address(host)).map(|peer| Key::of(peer.public_key)));
        List(Numbered::number(&LISTS, text, || (list.clone(), keys())))
    }

    fn value(self) -> Arc<(PeerList, Keys)> {
        Numbered::value(&LISTS, self.0)
    }

    /// The list of these members.
    pub(super) fn with(keys: &Keys) -> List {
        let mut list = PeerList::default();
        for (host, key) in keys.iter().enumerate().filter_map(|(host, key)| Some((host, (*key)?))) {
            let DeclaredInstance { address, endpoint, .. } = INSTANCES[host];
            list.add(Peer { public_key: key.public(), address, endpoint, keepalive: None }).unwrap();
        }
        List::of(list)
    }

    pub(super) fn keys(self) -> Keys {
        static KEYS: Memo<List, Keys> = LazyLock::new(RwLock::default);
        once(&KEYS, self, || self.value().1)
    }

    /// With another key for a member; `None` where it isn't one.
    pub(super) fn with_key(self, host: Host, key: Key) -> Option<List> {
        static WITH_KEY: Memo<(List, Host, Key), Option<List>> = LazyLock::new(RwLock::default);
        once(&WITH_KEY, (self, host, key), || {
            let mut list = self.value().0.clone();
            list.set_key(address(host), key.public()).ok().map(|()| List::of(list))
        })
    }

    /// Whether somebody in it is gone by what a host remembers, and isn't in the list that the host has.
    pub(super) fn revives(self, memory: Memory, now: Option<List>) -> bool {
        static REVIVES: Memo<(List, Memory, Option<List>), bool> = LazyLock::new(RwLock::default);
        once(&REVIVES, (self, memory, now), || {
            let now = now.map(List::value);
            let is_here = |peer: &Peer| now.as_ref().is_some_and(|now| now.0.by_address(peer.address) == Some(peer));
            self.value().0.peers().any(|peer| memory.value().0.is_gone(peer) && !is_here(peer))
        })
    }
}

impl Memory {
    pub(super) fn of(history: History) -> Memory {
        let past = || {
            let mut past = Past::default();
            for host in 0..HOSTS {
                past.generation[host] = history.generation(address(host));
                let retired = history.of(address(host)).into_iter().flat_map(|past| past.retired().keys());
                past.retired |= retired.map(|key| Key::of(*key).bit()).fold(0, |all, bit| all | bit);
            }
            past
        };
        Memory(Numbered::number(&MEMORIES, history.to_text(), || (history.clone(), past())))
    }

    pub(super) fn none() -> Memory {
        static NONE: LazyLock<Memory> = LazyLock::new(|| Memory::of(History::default()));
        *NONE
    }

    fn value(self) -> Arc<(History, Past)> {
        Numbered::value(&MEMORIES, self.0)
    }

    pub(super) fn past(self) -> Past {
        static PASTS: Memo<Memory, Past> = LazyLock::new(RwLock::default);
        once(&PASTS, self, || self.value().1)
    }

    pub(super) fn is_removed(self, host: Host) -> bool {
        self.past().generation[host] % 2 == 1
    }

    pub(super) fn with(self, other: Memory) -> Memory {
        static WITH: Memo<(Memory, Memory), Memory> = LazyLock::new(RwLock::default);
        once(&WITH, (self, other), || Memory::of(self.value().0.with(&other.value().0)))
    }

    pub(super) fn with_generation(self, host: Host, generation: u32) -> Memory {
        let mut history = self.value().0.clone();
        history.raise(address(host), generation, Some(Note::default()));
        Memory::of(history)
    }

    pub(super) fn with_retired(self, key: Key) -> Memory {
        static RETIRED: Memo<(Memory, Key), Memory> = LazyLock::new(RwLock::default);
        once(&RETIRED, (self, key), || {
            let mut history = self.value().0.clone();
            history.retire(address(key.host()), key.public(), Note::default());
            Memory::of(history)
        })
    }

    /// After the member has left.
    pub(super) fn with_removed(self, host: Host) -> Memory {
        let mut history = self.value().0.clone();
        history.remove(address(host), Note::default());
        Memory::of(history)
    }

    /// After the member was taken in again.
    pub(super) fn with_readmitted(self, host: Host) -> Memory {
        let mut history = self.value().0.clone();
        history.readmit(address(host), Note::default());
        Memory::of(history)
    }

    /// Without the note that a member has left; its keys stay noted.
    pub(super) fn without(self, host: Host) -> Memory {
        let mut history = History::default();
        let past = self.past();
        for other in (0..HOSTS).filter(|other| *other != host) {
            if past.generation[other] > 0 {
                history.raise(address(other), past.generation[other], Some(Note::default()));
            }
        }
        let all = Memory::of(history);
        Key::all().filter(|key| past.retired & key.bit() != 0).fold(all, Memory::with_retired)
    }
}

/// What a host says, as far as it bears on the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Says {
    pub(super) key: Option<Key>,
    pub(super) staged: Option<Key>,
    pub(super) rotating: bool,
    pub(super) list: Option<List>,
    pub(super) memory: Memory,
}

/// All that a decision rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Case {
    pub(super) declared: Hosts,
    pub(super) says: [Option<Says>; HOSTS],
    pub(super) word: Memory,
    pub(super) accepted: Hosts,
}

impl Decision {
    /// Decided by the program's function.
    pub(super) fn of(case: Case) -> Decision {
        static CASES: Memo<Case, Decision> = LazyLock::new(RwLock::default);
        once(&CASES, case, || Decision::compute(&case))
    }

    fn compute(case: &Case) -> Decision {
        let lists = case.says.map(|says| says.and_then(|says| says.list).map(List::value));
        let memories = case.says.map(|says| says.map_or_else(Memory::none, |says| says.memory).value());
        let witness = |host: Host| {
            let says = case.says[host].map(|says| Testimony {
                key: says.key.map(Key::public),
                staged: says.staged.map(Key::public),
                rotating: says.rotating,
                list: lists[host].as_deref().map(|(list, _)| list),
                history: &memories[host].0,
            });
            Witness { instance: &INSTANCES[host], says }
        };
        let witnesses: Vec<Witness> = case.declared.iter().map(witness).collect();
        let keys: Vec<String> = case.accepted.iter().map(|host| INSTANCES[host].name.clone()).collect();
        let word =
            Word { history: &case.word.value().0, note: &Note::default(), network: None, keys: &keys, members: &[] };
        let merged = unite(&witnesses, word).unwrap();
        let disputed = |weights: &[Weight]| {
            let about = merged.disputes.iter().filter(|dispute| weights.contains(&dispute.weight));
            Hosts::of(about.map(|dispute| host(dispute.about)))
        };
        let outline = Outline {
            list: List::of(merged.list.clone()),
            memory: Memory::of(merged.history.clone()),
            disputed: disputed(&[Weight::Differs, Weight::LeaveAlone]),
            left_alone: disputed(&[Weight::LeaveAlone]),
        };
        Decision(Numbered::number(&DECISIONS, format!("{outline:?}"), || (merged.clone(), outline)))
    }

    pub(super) fn outline(self) -> Outline {
        static OUTLINES: Memo<Decision, Outline> = LazyLock::new(RwLock::default);
        once(&OUTLINES, self, || Numbered::value(&DECISIONS, self.0).1)
    }

    /// The list that a host is to have; `None` where it is left as it is.
    pub(super) fn target(self, host: Host, own: Option<List>, memory: Memory) -> Option<List> {
        static TARGETS: Memo<(Decision, Host, Option<List>, Memory), Option<List>> = LazyLock::new(RwLock::default);
        once(&TARGETS, (self, host, own, memory), || {
            let decided = Numbered::value(&DECISIONS, self.0);
            let own = own.map(List::value);
            let list = decided.0.for_host(own.as_deref().map(|(list, _)| list), &memory.value().0);
            list.ok().filter(|_| !decided.1.left_alone.has(host)).map(List::of)
        })
    }
}
