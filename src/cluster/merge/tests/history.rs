//! Who has left stays out, whatever lists come back; and one host's memory binds that host alone.

use super::*;

const H3: Ipv4Addr = Ipv4Addr::new(10, 8, 3, 3);

fn note() -> Note {
    Note { on: "2026-11-24".into(), by: "root@ops".into() }
}

fn removed() -> History {
    let mut history = History::default();
    history.remove(H3, note());
    history.retire(H3, key(3), note());
    history
}

fn with<'a>(n: u8, list: &'a PeerList, history: &'a History) -> (u8, Option<Testimony<'a>>) {
    (n, up(n, list).1.map(|says| Testimony { history, ..says }))
}

#[test]
fn who_was_removed_does_not_come_back_with_a_host_that_was_down_nor_with_another_key() {
    let (memory, new) = (removed(), list(&[peer(1), peer(2), peer(4)]));
    for returned in [peer(3), Peer { public_key: key(33), ..peer(3) }] {
        let old = list(&[peer(1), peer(2), returned, peer(4)]);
        let merged = united(&[with(1, &new, &memory), with(2, &new, &memory), up(4, &old)], word());
        assert_eq!(merged.for_host(Some(&old), NOTHING).unwrap(), new);
        assert!(!merged.is_disputed() && merged.history == memory, "{:?}", merged.disputes);
    }
}

#[test]
fn a_cluster_toml_that_still_has_a_removed_member_is_told_who_removed_it() {
    let (memory, new) = (removed(), list(&[peer(1), peer(2)]));
    let old = list(&[peer(1), peer(2), peer(3)]);
    let merged = united(&[with(1, &new, &memory), with(2, &new, &memory), up(3, &old)], word());
    assert_eq!(merged.list, new);
    let dispute = about(&merged, 3);
    assert_eq!(dispute.weight, Weight::LeaveAlone);
    assert!(dispute.message().to_string().contains("by root@ops on 2026-11-24"), "{}", dispute.message());
}

#[test]
fn one_memory_alone_takes_nobody_out_and_takes_nobody_in() {
    let (memory, all) = (removed(), list(&[peer(1), peer(2), peer(3), peer(4)]));
    let new = list(&[peer(1), peer(2), peer(4)]);
    let merged = united(&[with(1, &new, &memory), up(2, &all), up(3, &all), up(4, &all)], word());
    assert_eq!(merged.list, all);
    assert_eq!(merged.for_host(Some(&new), &memory).unwrap(), new, "the host that remembers it keeps it out");
    assert_eq!(merged.for_host(Some(&all), NOTHING).unwrap(), all);
    assert_eq!(about(&merged, 3).weight, Weight::Differs);
    assert!(merged.history.is_empty(), "and it isn't spread");
}

#[test]
fn a_member_comes_back_by_the_operators_word_and_not_with_its_retired_key() {
    let (memory, new) = (removed(), list(&[peer(1), peer(2)]));
    let mut again = memory.clone();
    again.readmit(H3, note());
    let word = Word { history: &again, ..word() };
    let hosts = |own| {
        let newcomer = Testimony { key: Some(own), staged: None, rotating: false, list: None, history: NOTHING };
        [with(1, &new, &memory), with(2, &new, &memory), (3, Some(newcomer))]
    };
    let merged = united(&hosts(key(33)), word);
    assert_eq!(merged.list.by_address(H3).unwrap().public_key, key(33));
    assert_eq!(merged.history.generation(H3), 2);
    assert!(!merged.is_disputed(), "{:?}", merged.disputes);
    let merged = united(&hosts(key(3)), word);
    assert!(merged.list.by_address(H3).is_none());
    assert_eq!(merged.keyless, [H3], "its host makes another one");
    // Without the word of the one who took it in again, its host is left as it is.
    let merged = united(
        &[with(1, &new, &again), with(2, &new, &again), (3, up(3, &new).1), with(4, &new, &again)],
        super::word(),
    );
    assert!(about(&merged, 3).message().to_string().contains("retired"), "{:?}", merged.disputes);
}

#[test]
fn a_key_that_replaces_another_by_a_persons_word_retires_it() {
    let old = list(&[peer(1), peer(2), peer(3)]);
    let anew = Testimony { key: Some(key(33)), ..up(3, &old).1.unwrap() };
    let hosts = [up(1, &old), up(2, &old), (3, Some(anew))];
    let merged = united(&hosts, Word { keys: &["h3".into()], ..word() });
    assert!(merged.history.is_retired(H3, key(3)) && !merged.history.is_retired(H3, key(33)));
}

#[test]
fn nothing_is_decided_about_a_host_that_is_just_given_a_new_key() {
    let (old, new) = (list(&[peer(1), peer(2)]), list(&[peer(1), Peer { public_key: key(22), ..peer(2) }]));
    let rotating = Testimony { staged: Some(key(22)), rotating: true, ..up(2, &old).1.unwrap() };
    let merged = united(&[up(1, &new), (2, Some(rotating)), up(3, &old)], word());
    assert_eq!(merged.for_host(Some(&new), NOTHING).unwrap().by_address(peer(2).address).unwrap().public_key, key(22));
    assert_eq!(merged.for_host(Some(&old), NOTHING).unwrap().by_address(peer(2).address).unwrap().public_key, key(2));
    assert_eq!(about(&merged, 2).weight, Weight::Differs);
}

#[test]
fn a_decision_that_has_grown_old_drops_nobody_whose_key_is_retired_by_now() {
    let mut memory = History::default();
    memory.retire(peer(1).address, key(1), note());
    let (old, new) =
        (list(&[peer(1), peer(2), peer(3)]), list(&[Peer { public_key: key(11), ..peer(1) }, peer(2), peer(3)]));
    let decided = united(&[up(1, &old), up(2, &old), up(3, &old)], word());
    assert_eq!(decided.for_host(Some(&new), &memory).unwrap(), new);
    // Nor where the retired key has come in before it was retired.
    assert_eq!(decided.for_host(Some(&old), &memory).unwrap(), old);
}
