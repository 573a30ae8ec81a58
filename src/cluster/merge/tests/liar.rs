//! Whatever one host says, the others keep who they are, and the text that they have.

use proptest::prelude::*;

use super::*;

/// How a liar alters the list that all have.
#[derive(Clone, Debug)]
enum Alteration {
    Add { n: u8, key: u8, endpoint: u8 },
    Remove(u8),
    Rekey { n: u8, key: u8 },
    Move { n: u8, endpoint: u8 },
    Comment(String),
    Reverse,
}

fn alteration() -> impl Strategy<Value = Alteration> {
    // Numbers of members, of the newcomer, and of nobody.
    let n = || 1_u8..14;
    prop_oneof![
        (n(), n(), n()).prop_map(|(n, key, endpoint)| Alteration::Add { n, key, endpoint }),
        n().prop_map(Alteration::Remove),
        (n(), n()).prop_map(|(n, key)| Alteration::Rekey { n, key }),
        (n(), n()).prop_map(|(n, endpoint)| Alteration::Move { n, endpoint }),
        "# [a-z]{0,20}\n".prop_map(Alteration::Comment),
        Just(Alteration::Reverse),
    ]
}

fn altered(list: &PeerList, alterations: &[Alteration]) -> PeerList {
    let mut list = list.clone();
    for alteration in alterations {
        let before = list.clone();
        let at = |n: u8| list.by_address(instance(n).address).cloned();
        let done = match alteration {
            Alteration::Add { n, key: of, endpoint } => {
                list.add(Peer { public_key: key(*of), endpoint: instance(*endpoint).endpoint, ..peer(*n) })
            }
            Alteration::Remove(n) => list.remove(instance(*n).address),
            Alteration::Rekey { n, key: of } => list.set_key(instance(*n).address, key(*of)),
            Alteration::Move { n, endpoint } => match at(*n) {
                Some(peer) => list.put(Peer { endpoint: instance(*endpoint).endpoint, ..peer }),
                None => Ok(()),
            },
            Alteration::Comment(text) => {
                list = PeerList::parse(&format!("{text}{list}")).unwrap();
                Ok(())
            }
            Alteration::Reverse => {
                let mut peers: Vec<Peer> = list.peers().cloned().collect();
                peers.reverse();
                list = super::list(&peers);
                Ok(())
            }
        };
        // What no list can say, this one doesn't.
        if done.is_err() || list.is_empty() {
            list = before;
        }
    }
    list
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn no_single_host_can_add_remove_or_rekey_another_or_change_the_text(
        honest in 3_u8..7,
        liar_first: bool,
        down in prop::collection::vec(any::<bool>(), 7),
        undeclared in prop::option::of(Just(12_u8)),
        has_newcomer: bool,
        alterations in prop::collection::vec(alteration(), 0..8),
        has_list: bool,
        own in prop::option::of(1_u8..14),
        staged in prop::option::of(1_u8..14),
        rotating: bool,
        remembered in prop::collection::vec((1_u8..14, 0_u32..4, 1_u8..14), 0..6),
    ) {
        let liar = if liar_first { 1 } else { honest + 1 };
        let newcomer = 10;
        let members: Vec<Peer> = (1..=honest + 1).chain(undeclared).map(peer).collect();
        let truth = PeerList::parse(&format!("# ours\n{}", list(&members))).unwrap();
        let lie = altered(&truth, &alterations);
        let mut memory = History::default();
        for (n, generation, retired) in remembered {
            memory.raise(instance(n).address, generation, None);
            memory.retire(instance(n).address, key(retired), NOTE.clone());
        }
        let mut hosts: Vec<(u8, Option<Testimony>)> = Vec::new();
        let mut honest_up = 0;
        for n in 1..=honest + 1 {
            hosts.push(if n == liar {
                let list = has_list.then_some(&lie);
                (n, Some(Testimony { key: own.map(key), staged: staged.map(key), rotating, list, history: &memory }))
            } else if down[usize::from(n - 1)] {
                (n, None)
            } else {
                honest_up += 1;
                up(n, &truth)
            });
        }
        if has_newcomer {
            hosts.push((newcomer, Some(Testimony { key: Some(key(newcomer)), staged: None, rotating: false, list: None, history: NOTHING })));
        }
        let merged = united(&hosts, word());

        // Nobody is in it who isn't, nor as somebody else. The liar's own entry is its own affair.
        let is_other = |peer: &&Peer| peer.address != instance(liar).address;
        for got in merged.list.peers().filter(is_other) {
            let right = truth.by_address(got.address).cloned();
            let right = right.or((got.address == peer(newcomer).address && has_newcomer).then(|| peer(newcomer)));
            prop_assert_eq!(Some(got), right.as_ref());
        }
        // Each honest host keeps its list, byte for byte where two of them are up: of two texts, either may be the one.
        let mut expected = truth.clone();
        if let Some(entry) = merged.list.by_address(instance(liar).address) {
            expected.put(entry.clone()).unwrap_or_default();
        }
        if merged.list.by_address(peer(newcomer).address).is_some() {
            expected.put(peer(newcomer)).unwrap();
        }
        match merged.for_host(Some(&truth), NOTHING) {
            Ok(list) if honest_up >= 2 => prop_assert_eq!(list.to_text(), expected.to_text()),
            Ok(list) => prop_assert_eq!(list.diff(&expected), []),
            Err(error) => prop_assert!(honest_up < 2, "{}", error),
        }
        // Where two honest hosts are up, it can keep no newcomer out and leaves no other host behind.
        if honest_up >= 2 && own != Some(newcomer) {
            prop_assert_eq!(merged.list.by_address(peer(newcomer).address).is_some(), has_newcomer);
            let stopped = |d: &Dispute| d.weight == Weight::LeaveAlone && d.about != instance(liar).address;
            prop_assert!(!merged.disputes.iter().any(stopped), "{:?}", merged.disputes);
        }
    }
}
