//! Sets of hosts, and keys by numbers.

use super::world::{HOSTS, Host};
use crate::wireguard::PublicKey;

/// Keys that one host may have had.
const KEYS: u8 = 16;

/// A set of hosts.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Hosts(u8);

impl Hosts {
    pub(super) const NONE: Hosts = Hosts(0);

    pub(super) const fn first(count: usize) -> Hosts {
        Hosts((1 << count) - 1)
    }

    pub(super) fn of(hosts: impl IntoIterator<Item = Host>) -> Hosts {
        Hosts(hosts.into_iter().fold(0, |bits, host| bits | 1 << host))
    }

    pub(super) fn has(self, host: Host) -> bool {
        self.0 & 1 << host != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[must_use]
    pub(super) fn and(self, host: Host) -> Hosts {
        Hosts(self.0 | 1 << host)
    }

    #[must_use]
    pub(super) fn but(self, host: Host) -> Hosts {
        Hosts(self.0 & !(1 << host))
    }

    #[must_use]
    pub(super) fn union(self, other: Hosts) -> Hosts {
        Hosts(self.0 | other.0)
    }

    #[must_use]
    pub(super) fn without(self, other: Hosts) -> Hosts {
        Hosts(self.0 & !other.0)
    }

    pub(super) fn iter(self) -> impl DoubleEndedIterator<Item = Host> + Clone {
        (0..HOSTS).filter(move |host| self.has(*host))
    }
}

impl std::fmt::Debug for Hosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter().map(|host| format!("h{}", host + 1))).finish()
    }
}

/// A key of a host, by a number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key(u8);

impl Key {
    pub(super) fn new(host: Host, number: u8) -> Key {
        assert!(number < KEYS, "the bounds keep a host from so many keys");
        Key(u8::try_from(host).unwrap() * KEYS + number)
    }

    pub(super) fn all() -> impl Iterator<Item = Key> {
        (0..KEYS * u8::try_from(HOSTS).unwrap()).map(Key)
    }

    pub(super) fn host(self) -> Host {
        usize::from(self.0 / KEYS)
    }

    pub(super) fn bit(self) -> u64 {
        1 << self.0
    }

    pub(super) fn public(self) -> PublicKey {
        PublicKey::from_bytes([self.0 + 1; 32])
    }

    pub(super) fn of(key: PublicKey) -> Key {
        Key(key.as_bytes()[0] - 1)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "h{}.k{}", self.host() + 1, self.0 % KEYS)
    }
}
