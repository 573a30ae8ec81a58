mod history;
mod liar;

use std::net::SocketAddr;

use super::*;
use crate::cluster::inventory::DeclaredInstance;
use crate::wireguard::{Network, PublicKey};

fn key(n: u8) -> PublicKey {
    PublicKey::from_bytes([n; 32])
}

fn instance(n: u8) -> DeclaredInstance {
    DeclaredInstance {
        name: format!("h{n}"),
        ssh: format!("h{n}"),
        address: [10, 8, 3, n].into(),
        endpoint: SocketAddr::from(([192, 0, 2, n], 4567)),
    }
}

fn peer(n: u8) -> Peer {
    let DeclaredInstance { address, endpoint, .. } = instance(n);
    Peer { public_key: key(n), address, endpoint, keepalive: None }
}

fn list(members: &[Peer]) -> PeerList {
    let mut list = PeerList::default();
    members.iter().for_each(|peer| list.add(peer.clone()).unwrap());
    list
}

const NOTHING: &History = &History::new();
const NOTE: &Note = &Note { on: String::new(), by: String::new() };
const NOBODY: Word = Word { history: NOTHING, note: NOTE, network: None, keys: &[], members: &[] };

fn word() -> Word<'static> {
    Word { network: Some(Network::of([10, 8, 3, 0].into(), 24)), ..NOBODY }
}

/// What a host says that has its own key and this list.
fn up<'a>(n: u8, list: &'a PeerList) -> (u8, Option<Testimony<'a>>) {
    (n, Some(Testimony { key: Some(key(n)), staged: None, rotating: false, history: NOTHING, list: Some(list) }))
}

fn united(hosts: &[(u8, Option<Testimony>)], word: Word) -> Merged {
    let instances: Vec<DeclaredInstance> = hosts.iter().map(|(n, _)| instance(*n)).collect();
    let witnesses: Vec<Witness> =
        hosts.iter().zip(&instances).map(|((_, says), instance)| Witness { instance, says: *says }).collect();
    unite(&witnesses, word).unwrap()
}

/// The dispute about instance `n`.
#[track_caller]
fn about(merged: &Merged, n: u8) -> &Dispute {
    let dispute = merged.disputes.iter().find(|dispute| dispute.about == instance(n).address);
    dispute.unwrap_or_else(|| panic!("{:?}", merged.disputes))
}

#[test]
fn copies_that_agree_stay_as_they_are_byte_for_byte() {
    let text = format!("# ours\n{}# end\n", list(&[peer(1), peer(2)]).to_text());
    let list = PeerList::parse(&text).unwrap();
    assert_eq!(united(&[up(1, &list), up(2, &list)], word()).list.to_text(), text);
}

#[test]
fn concurrent_joins_are_united_in_any_order_of_the_copies() {
    let (a, b) = (list(&[peer(1), peer(2), peer(3)]), list(&[peer(1), peer(2), peer(4)]));
    let joined = |lists: [&PeerList; 2]| {
        let newcomer =
            |n| (n, Some(Testimony { key: Some(key(n)), staged: None, rotating: false, history: NOTHING, list: None }));
        united(&[up(1, lists[0]), up(2, lists[1]), newcomer(3), newcomer(4)], word()).list
    };
    let one = joined([&a, &b]);
    assert_eq!(one, joined([&b, &a]));
    assert_eq!(one.len(), 4);
    // The result beside an older copy stays as it is.
    assert_eq!(joined([&one, &a]), one);
}

#[test]
fn a_member_that_only_some_lists_have_stays_in_those_and_reaches_no_other_until_it_is_accepted() {
    let (old, new) = (list(&[peer(1), peer(2), peer(3)]), list(&[peer(1), peer(2), peer(3), peer(9)]));
    let hosts = [up(1, &old), up(2, &new), up(3, &old)];
    let merged = united(&hosts, word());
    assert_eq!(
        (merged.for_host(Some(&old), NOTHING).unwrap(), merged.for_host(Some(&new), NOTHING).unwrap()),
        (old.clone(), new.clone())
    );
    assert_eq!(merged.for_host(None, NOTHING).unwrap(), old);
    let dispute = about(&merged, 9);
    assert_eq!(dispute.weight, Weight::Differs);
    assert!(dispute.reason.to_string().contains("h2: 10.8.3.9 at 192.0.2.9:4567"), "{dispute:?}");
    assert!(dispute.hint.to_string().contains("--accept-member 10.8.3.9"), "{dispute:?}");
    let accepted = [peer(9).address];
    assert_eq!(united(&hosts, Word { members: &accepted, ..word() }).list, new);
    // Most lists: nobody need accept it.
    let merged = united(&[up(1, &new), up(2, &new), up(3, &old)], word());
    assert_eq!((merged.list, merged.disputes.len()), (new.clone(), 0));
    // Two of five are no majority, though they are all that are up.
    let merged = united(&[up(1, &new), up(2, &new), (3, None), (4, None), (5, None)], word());
    assert_eq!((merged.list.len(), about(&merged, 9).weight), (2, Weight::Note));
    assert_eq!(merged.for_host(Some(&new), NOTHING).unwrap(), new);
}

#[test]
fn a_member_outside_of_the_network_is_refused_by_its_address_and_the_others_go_on() {
    let outside = Peer { address: [10, 9, 9, 9].into(), ..peer(9) };
    let all = list(&[peer(1), peer(2), outside.clone()]);
    let newcomer =
        (3, Some(Testimony { key: Some(key(3)), staged: None, rotating: false, history: NOTHING, list: None }));
    let hosts = [up(1, &all), up(2, &all), newcomer];
    let accepted = [outside.address];
    let merged = united(&hosts, Word { members: &accepted, ..word() });
    assert_eq!(merged.list, list(&[peer(1), peer(2), peer(3)]));
    assert!(merged.disputes[0].reason.to_string().contains("10.9.9.9 lies outside of 10.8.3.0/24"));
    assert_eq!(merged.for_host(Some(&all), NOTHING).unwrap().len(), 4, "nobody is dropped");
}

#[test]
fn an_instance_that_is_down_stays_a_member() {
    let all = list(&[peer(1), peer(2), peer(3)]);
    let merged = united(&[up(1, &all), (2, None), up(3, &all)], word());
    assert_eq!((merged.list, merged.keyless.len()), (all, 0));
}

#[test]
fn a_declared_instance_that_is_down_and_has_no_key_yet_holds_nobody_up() {
    let all = list(&[peer(1), peer(2)]);
    let merged = united(&[up(1, &all), up(2, &all), (3, None)], word());
    assert_eq!((merged.list, merged.keyless.len(), merged.disputes.len()), (all, 0, 0));
}

#[test]
fn a_removed_member_does_not_come_back_with_an_older_list() {
    let (old, new) = (list(&[peer(1), peer(2), peer(3)]), list(&[peer(1), peer(2)]));
    let mut history = History::default();
    history.remove(peer(3).address, NOTE.clone());
    let word = Word { history: &history, ..word() };
    let merged = united(&[up(1, &new), up(2, &old)], word);
    assert_eq!((&merged.list, merged.for_host(Some(&old), NOTHING).unwrap()), (&new, new.clone()));
}

#[test]
fn an_unexpected_key_is_shown_and_refused_until_a_person_vouches_for_it() {
    let known = list(&[peer(1), Peer { public_key: key(77), ..peer(2) }, peer(3)]);
    // Its own list is no witness for it.
    let own = list(&[peer(1), peer(2), peer(3)]);
    for of_second in [&known, &own] {
        let hosts = [up(1, &known), up(2, of_second), up(3, &known)];
        let merged = united(&hosts, word());
        assert_eq!(merged.list, known, "the others keep what they have");
        let dispute = about(&merged, 2);
        let said = dispute.message().to_string();
        assert_eq!(dispute.weight, Weight::LeaveAlone);
        assert!(said.contains(&key(2).to_string()) && said.contains(&key(77).to_string()), "{said}");
        assert!(said.contains("--accept-key h2"), "{said}");
        let accepted = ["h2".to_owned()];
        assert_eq!(united(&hosts, Word { keys: &accepted, ..word() }).list, own);
    }
}

#[test]
fn the_host_itself_decides_between_two_keys_of_it_that_others_know() {
    let (old, new) = (list(&[peer(1), Peer { public_key: key(22), ..peer(2) }]), list(&[peer(1), peer(2)]));
    assert_eq!(
        united(&[up(1, &old), up(2, &new), up(3, &new)], NOBODY).list.by_address(peer(2).address),
        Some(&peer(2))
    );
}

#[test]
fn the_staged_key_of_an_interrupted_rotation_is_accepted() {
    let listed = list(&[peer(1), Peer { public_key: key(22), ..peer(2) }]);
    let rotating = Testimony { key: Some(key(2)), staged: Some(key(22)), ..up(2, &listed).1.unwrap() };
    assert_eq!(united(&[up(1, &listed), (2, Some(rotating))], word()).list, list(&[peer(1), peer(2)]));
}

/// What one host says of another that is down: most lists count, and nobody is held up.
#[test]
fn a_lie_about_a_host_that_is_down_is_told_and_set_aside() {
    let honest = list(&[peer(1), peer(2), peer(3), peer(4)]);
    let lie = list(&[peer(1), Peer { public_key: key(99), ..peer(2) }, peer(3), peer(4)]);
    let merged = united(&[up(1, &honest), (2, None), up(3, &honest), up(4, &lie)], word());
    assert_eq!((&merged.list, merged.for_host(Some(&lie), NOTHING).unwrap()), (&honest, honest.clone()));
    let dispute = about(&merged, 2);
    assert_eq!(dispute.weight, Weight::Note);
    assert!(dispute.reason.to_string().contains("h4: 10.8.3.2"), "{dispute:?}");
    // Without a majority each keeps what it has.
    let merged = united(&[up(1, &honest), (2, None), (3, None), up(4, &lie)], word());
    assert_eq!(about(&merged, 2).weight, Weight::Differs);
    assert_eq!(merged.for_host(Some(&honest), NOTHING).unwrap(), honest);
}

#[test]
fn a_lie_about_a_newcomer_does_not_keep_it_out() {
    let honest = list(&[peer(1), peer(2)]);
    let lie = list(&[peer(1), peer(2), Peer { public_key: key(99), ..peer(4) }]);
    let newcomer =
        (4, Some(Testimony { key: Some(key(4)), staged: None, rotating: false, history: NOTHING, list: None }));
    let merged = united(&[up(1, &honest), up(2, &honest), up(3, &lie), newcomer], word());
    assert_eq!(merged.list.by_address(peer(4).address), Some(&peer(4)));
    assert!(!merged.disputes.iter().any(|dispute| dispute.about == peer(4).address));
}

#[test]
fn the_key_of_another_member_can_not_be_taken() {
    let honest = list(&[peer(1), peer(2)]);
    let thief = Testimony { key: Some(key(2)), staged: None, rotating: false, history: NOTHING, list: None };
    let merged = united(&[up(1, &honest), up(2, &honest), (3, Some(thief))], word());
    assert_eq!((&merged.list, about(&merged, 3).weight), (&honest, Weight::LeaveAlone));
    assert!(about(&merged, 3).reason.to_string().contains("10.8.3.3 has the key of 10.8.3.2"));
}

#[test]
fn what_is_declared_wins_over_an_older_endpoint() {
    let moved = Peer { endpoint: "198.51.100.2:4567".parse().unwrap(), ..peer(2) };
    let old = list(&[peer(1), moved]);
    assert_eq!(united(&[up(1, &old), up(2, &old)], word()).list, list(&[peer(1), peer(2)]));
}

#[test]
fn endpoints_that_change_places_are_no_conflict() {
    let swapped = |n, from| Peer { endpoint: instance(from).endpoint, ..peer(n) };
    let old = list(&[swapped(1, 2), swapped(2, 1), peer(3)]);
    let merged = united(&[up(1, &old), up(2, &old), up(3, &old)], word());
    assert!((1..=3).all(|n| merged.list.by_address(peer(n).address) == Some(&peer(n))), "{}", merged.list);
}

#[test]
fn a_new_instance_without_a_key_waits_for_one() {
    let hosts =
        [Some(key(1)), None].map(|key| Testimony { key, staged: None, rotating: false, history: NOTHING, list: None });
    let merged = united(&[(1, Some(hosts[0])), (2, Some(hosts[1]))], word());
    assert_eq!((merged.list.len(), merged.keyless), (1, vec![peer(2).address]));
}

#[test]
fn the_text_is_that_of_most_hosts() {
    let plain = list(&[peer(1), peer(2), peer(3), peer(4)]);
    for bomb in ["# bomb\n".repeat(1000) + &plain.to_text(), plain.to_text() + "# end\n"] {
        let bomb = PeerList::parse(&bomb).unwrap();
        assert_eq!(united(&[up(1, &bomb), up(2, &plain), up(3, &plain)], word()).list.to_text(), plain.to_text());
    }
    // Nor does a text count for being complete before the others.
    let early = "# bomb\n".to_owned() + &list(&[peer(1), peer(2), peer(3), peer(4), peer(5)]).to_text();
    let early = PeerList::parse(&early).unwrap();
    let newcomer =
        (5, Some(Testimony { key: Some(key(5)), staged: None, rotating: false, history: NOTHING, list: None }));
    let merged = united(&[up(1, &early), up(2, &plain), up(3, &plain), newcomer], word());
    assert!(merged.list.to_text().starts_with(&plain.to_text()), "{}", merged.list);
}
