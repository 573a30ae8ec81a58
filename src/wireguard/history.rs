//! What has become of the members of a list: who has left, and which keys are used up.
//!
//! A list says who is a member, and not who was one: an old copy can't be told from a new one by it. Each host keeps this
//! beside its list. Two of them are merged in any order, any number of times, with the same result: the greater generation
//! of an address counts (a causal-length set), and a key that is retired stays so.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::peers::MAX_MEMBERS;
use super::{Peer, PublicKey};
use crate::error::{Context, Error, Result};
use crate::host::Host;
use crate::message;
use crate::message::{Message, printable};

/// The form of the file.
const FORMAT: u32 = 1;
/// Comings and goings of one address. A host that says more than that is broken, or lies.
const MAX_GENERATION: u32 = 1_000_000;
/// Keys that one address has had.
const MAX_RETIRED: usize = 1_000;
/// Characters of a name, and of a date.
const MAX_WORD: usize = 100;

/// The history of all addresses that have one: a member that never left and never had another key has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct History(BTreeMap<Ipv4Addr, Past>);

/// The history of one VPN address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Past {
    /// How many times it has left the cluster and come back: odd while it is out.
    generation: u32,
    /// Who did that last.
    note: Option<Note>,
    /// Keys that are used up, with who retired them.
    retired: BTreeMap<PublicKey, Note>,
}

/// Who did something, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Note {
    /// The day, `2026-11-24`.
    #[serde(deserialize_with = "word")]
    pub(crate) on: String,
    /// The operator, `root@ops-1`.
    #[serde(deserialize_with = "word")]
    pub(crate) by: String,
}

impl Past {
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.generation % 2 == 1
    }

    /// Who took it out, or in again.
    pub(crate) fn note(&self) -> Option<&Note> {
        self.note.as_ref()
    }

    pub(crate) fn retired(&self) -> &BTreeMap<PublicKey, Note> {
        &self.retired
    }

    fn merge(&mut self, other: &Past) {
        if other.generation > self.generation {
            (self.generation, self.note) = (other.generation, other.note.clone());
        } else if other.generation == self.generation {
            // Whoever was first.
            self.note = [&self.note, &other.note].into_iter().flatten().min().cloned();
        }
        for (key, note) in &other.retired {
            let known = self.retired.entry(*key).or_insert_with(|| note.clone());
            if note < known {
                known.clone_from(note);
            }
        }
    }
}

impl History {
    pub(crate) const fn new() -> History {
        History(BTreeMap::new())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn of(&self, address: Ipv4Addr) -> Option<&Past> {
        self.0.get(&address)
    }

    /// All addresses with a history.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.0.keys().copied()
    }

    pub(crate) fn generation(&self, address: Ipv4Addr) -> u32 {
        self.of(address).map_or(0, Past::generation)
    }

    pub(crate) fn is_removed(&self, address: Ipv4Addr) -> bool {
        self.of(address).is_some_and(Past::is_removed)
    }

    pub(crate) fn is_retired(&self, address: Ipv4Addr, key: PublicKey) -> bool {
        self.of(address).is_some_and(|past| past.retired.contains_key(&key))
    }

    /// Whether a section of a list is an old one: its member has left, or has another key since.
    pub(crate) fn is_gone(&self, peer: &Peer) -> bool {
        self.is_removed(peer.address) || self.is_retired(peer.address, peer.public_key)
    }

    /// Takes in what another one knows.
    pub(crate) fn merge(&mut self, other: &History) {
        for (address, past) in &other.0 {
            self.0.entry(*address).or_default().merge(past);
        }
    }

    /// Both together.
    pub(crate) fn with(&self, other: &History) -> History {
        let mut both = self.clone();
        both.merge(other);
        both
    }

    /// The address is at this generation, at least.
    pub(crate) fn raise(&mut self, address: Ipv4Addr, generation: u32, note: Option<Note>) {
        let past = Past { generation, note, retired: BTreeMap::new() };
        self.0.entry(address).or_default().merge(&past);
    }

    /// The member has left, if it hasn't already.
    pub(crate) fn remove(&mut self, address: Ipv4Addr, note: Note) {
        if !self.is_removed(address) {
            self.raise(address, self.generation(address) + 1, Some(note));
        }
    }

    /// A member that has left comes back.
    pub(crate) fn readmit(&mut self, address: Ipv4Addr, note: Note) {
        if self.is_removed(address) {
            self.raise(address, self.generation(address) + 1, Some(note));
        }
    }

    /// The key is used up.
    pub(crate) fn retire(&mut self, address: Ipv4Addr, key: PublicKey, note: Note) {
        let past = Past { retired: BTreeMap::from([(key, note)]), ..Past::default() };
        self.0.entry(address).or_default().merge(&past);
    }

    /// The file's text.
    pub(crate) fn to_text(&self) -> String {
        let file = FileForm { format: FORMAT, members: self };
        serde_json::to_string_pretty(&file).expect("it has string keys") + "\n"
    }

    pub(crate) fn parse(file: &str, text: &str) -> Result<History> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Form {
            #[serde(rename = "format")]
            _format: u32,
            members: History,
        }
        let hint = || {
            let command = format!("mv {file} {file}.broken");
            message!("the other hosts have it as well; put this one aside, then cluster apply: {command}", command)
        };
        let broken = |error: serde_json::Error| {
            let place = format!("{file}:{}:{}", error.line(), error.column());
            Error::input(message!("{place}: {reason}", place, reason = error.to_string())).hint(hint())
        };
        let version: Version = serde_json::from_str(text).map_err(broken)?;
        if version.format != FORMAT {
            let reason = message!("{file} was written by a newer version of this program", file);
            return Err(Error::input(reason).hint(message!("use that version, or a newer one")));
        }
        Ok(serde_json::from_str::<Form>(text).map_err(broken)?.members)
    }

    /// The history beside a list; empty where there is none.
    pub(crate) fn read(host: &Host, path: &Path) -> Result<History> {
        let text = host.read_text(path).with_context(|| Message::foreign(host.display(path)))?;
        text.map_or_else(|| Ok(History::default()), |text| History::parse(&host.display(path), &text))
    }
}

#[derive(Serialize)]
struct FileForm<'h> {
    format: u32,
    members: &'h History,
}

impl<'de> Deserialize<'de> for History {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = BTreeMap::<Ipv4Addr, Past>::deserialize(deserializer)?;
        let is_too_much = |past: &Past| past.generation > MAX_GENERATION || past.retired.len() > MAX_RETIRED;
        if members.len() > MAX_MEMBERS || members.values().any(is_too_much) {
            return Err(D::Error::custom("more history than any cluster has"));
        }
        Ok(History(members))
    }
}

fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(printable(&String::deserialize(deserializer)?).replace('\n', " ").chars().take(MAX_WORD).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 8, 3, 1);

    fn note(day: u8) -> Note {
        Note { on: format!("2026-11-{day:02}"), by: "root@ops".into() }
    }

    fn key(n: u8) -> PublicKey {
        PublicKey::from_bytes([n; 32])
    }

    fn history() -> impl Strategy<Value = History> {
        let past = (0_u32..4, 1_u8..4, proptest::collection::vec((1_u8..4, 1_u8..4), 0..3));
        proptest::collection::btree_map(1_u8..4, past, 0..3).prop_map(|pasts| {
            let mut history = History::default();
            for (n, (generation, day, retired)) in pasts {
                let address = Ipv4Addr::new(10, 8, 3, n);
                history.raise(address, generation, (generation > 0).then(|| note(day)));
                retired.into_iter().for_each(|(k, day)| history.retire(address, key(k), note(day)));
            }
            history
        })
    }

    proptest! {
        #[test]
        fn histories_merge_in_any_order_and_any_number_of_times(a in history(), b in history(), c in history()) {
            prop_assert_eq!(a.with(&b), b.with(&a));
            prop_assert_eq!(a.with(&b).with(&c), a.with(&b.with(&c)));
            prop_assert_eq!(a.with(&b).with(&b), a.with(&b));
            prop_assert_eq!(a.with(&a), a);
        }

        #[test]
        fn a_file_reads_as_it_was_written(a in history()) {
            prop_assert_eq!(History::parse("x", &a.to_text()).unwrap(), a);
        }
    }

    #[test]
    fn who_leaves_stays_out_until_taken_in_again_and_never_with_a_retired_key() {
        let mut history = History::default();
        let peer =
            |n| Peer { public_key: key(n), address: A, endpoint: "192.0.2.1:4567".parse().unwrap(), keepalive: None };
        history.retire(A, key(1), note(1));
        assert!(history.is_gone(&peer(1)) && !history.is_gone(&peer(2)));
        history.remove(A, note(2));
        history.remove(A, note(3));
        assert!(history.is_gone(&peer(2)));
        assert_eq!((history.generation(A), history.of(A).unwrap().note()), (1, Some(&note(2))), "it has left once");
        history.readmit(A, note(4));
        history.readmit(A, note(5));
        assert!(history.is_gone(&peer(1)) && !history.is_gone(&peer(2)));
        assert_eq!(history.generation(A), 2);
    }

    #[test]
    fn what_is_no_history_is_refused_with_its_place() {
        let refused = |text: &str| {
            let error = History::parse("f.json", text).unwrap_err();
            assert!(error.way_out().is_some());
            error.to_string()
        };
        assert!(refused("{").starts_with("f.json:1:"));
        assert!(refused("{\"format\": 2, \"more\": 1}").contains("a newer version"));
        let many =
            "{\"format\": 1, \"members\": {\"10.8.3.1\": {\"generation\": 4000000, \"note\": null, \"retired\": {}}}}";
        assert!(refused(many).contains("more history"));
        let steered = "{\"format\":1,\"members\":{\"10.8.3.1\":{\"generation\":1,\"note\":{\"on\":\"x\",\"by\":\"a\\u001b]b\\nc\"},\"retired\":{}}}}";
        let history = History::parse("x", steered).unwrap();
        assert!(!history.to_text().contains("u001b") && !history.of(A).unwrap().note().unwrap().by.contains('\n'));
    }
}
