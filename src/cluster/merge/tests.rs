use super::*;

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

/// Instances that are up, with their own key and this list each.
fn united(lists: &[(u8, &PeerList)], removed: &[RemovedMember], accepted: &[String]) -> Result<Merged> {
    let instances: Vec<DeclaredInstance> = lists.iter().map(|(n, _)| instance(*n)).collect();
    let known: Vec<KnownInstance> = lists
        .iter()
        .zip(&instances)
        .map(|((n, list), instance)| KnownInstance {
            instance,
            seen: true,
            key: Some(key(*n)),
            staged: None,
            list: Some(list),
        })
        .collect();
    unite(&known, removed, accepted)
}

#[test]
fn copies_that_agree_stay_as_they_are_byte_for_byte() {
    let text = format!("# ours\n{}# end\n", list(&[peer(1), peer(2)]).to_text());
    let list = PeerList::parse(&text).unwrap();
    assert_eq!(united(&[(1, &list), (2, &list)], &[], &[]).unwrap().list.to_text(), text);
}

#[test]
fn concurrent_joins_are_united_in_any_order_of_the_copies() {
    let (a, b) = (list(&[peer(1), peer(2), peer(3)]), list(&[peer(1), peer(2), peer(4)]));
    let one = united(&[(1, &a), (2, &b)], &[], &[]).unwrap().list;
    let other = united(&[(2, &b), (1, &a)], &[], &[]).unwrap().list;
    assert_eq!(one, other);
    assert_eq!(one.len(), 4);
    // The result beside an older copy stays as it is.
    assert_eq!(united(&[(1, &one), (2, &a)], &[], &[]).unwrap().list, one);
}

#[test]
fn an_instance_that_is_down_or_unknown_here_stays_a_member() {
    let all = list(&[peer(1), peer(2), peer(9)]);
    let (up, down) = (instance(1), instance(2));
    let known = [
        KnownInstance { instance: &up, seen: true, key: Some(key(1)), staged: None, list: Some(&all) },
        KnownInstance { instance: &down, seen: false, key: None, staged: None, list: None },
    ];
    let merged = unite(&known, &[], &[]).unwrap();
    assert_eq!(merged.list, all);
    assert!(merged.keyless.is_empty());
}

#[test]
fn a_removed_member_does_not_come_back_with_an_older_list() {
    let (old, new) = (list(&[peer(1), peer(2), peer(3)]), list(&[peer(1), peer(2)]));
    let removed = [RemovedMember { vpn_address: peer(3).address, public_key: key(3) }];
    assert_eq!(united(&[(1, &new), (2, &old)], &removed, &[]).unwrap().list, new);
    // With another key it is another member.
    let renewed = list(&[peer(1), peer(2), Peer { public_key: key(33), ..peer(3) }]);
    assert_eq!(united(&[(1, &new), (2, &renewed)], &removed, &[]).unwrap().list, renewed);
}

#[test]
fn an_unexpected_key_is_shown_and_refused_until_a_person_vouches_for_it() {
    let stranger = Peer { public_key: key(77), ..peer(2) };
    let known = list(&[peer(1), stranger]);
    let error = united(&[(1, &known), (2, &known)], &[], &[]).unwrap_err();
    assert_eq!(error.class().exit_code(), 3);
    assert!(error.to_string().contains(&key(2).to_string()) && error.to_string().contains(&key(77).to_string()));
    assert!(error.way_out().unwrap().contains("--accept-key h2"));
    let merged = united(&[(1, &known), (2, &known)], &[], &["h2".into()]).unwrap();
    assert_eq!(merged.list, list(&[peer(1), peer(2)]));
}

#[test]
fn the_host_itself_decides_between_two_keys_of_it() {
    let (old, new) = (list(&[peer(1), Peer { public_key: key(22), ..peer(2) }]), list(&[peer(1), peer(2)]));
    assert_eq!(united(&[(1, &old), (2, &new)], &[], &[]).unwrap().list, new);
}

#[test]
fn the_staged_key_of_an_interrupted_rotation_is_accepted() {
    let listed = list(&[peer(1), Peer { public_key: key(22), ..peer(2) }]);
    let instance = instance(2);
    let known = KnownInstance {
        instance: &instance,
        seen: true,
        key: Some(key(2)),
        staged: Some(key(22)),
        list: Some(&listed),
    };
    assert_eq!(unite(&[known], &[], &[]).unwrap().list, list(&[peer(1), peer(2)]));
}

#[test]
fn copies_that_contradict_each_other_are_shown_and_refused() {
    let other = Peer { public_key: key(99), ..peer(9) };
    let (a, b) = (list(&[peer(1), peer(9)]), list(&[peer(1), other]));
    let said = united(&[(1, &a), (2, &b)], &[], &[]).unwrap_err().to_string();
    assert!(
        said.contains("about 10.8.3.9") && said.contains("h1: 10.8.3.9") && said.contains("h2: 10.8.3.9"),
        "{said}"
    );
}

#[test]
fn what_is_declared_wins_over_an_older_endpoint() {
    let moved = Peer { endpoint: "198.51.100.2:4567".parse().unwrap(), ..peer(2) };
    let old = list(&[peer(1), moved]);
    assert_eq!(united(&[(1, &old), (2, &old)], &[], &[]).unwrap().list, list(&[peer(1), peer(2)]));
}

#[test]
fn a_new_instance_without_a_key_waits_for_one() {
    let (first, second) = (instance(1), instance(2));
    let known = [
        KnownInstance { instance: &first, seen: true, key: Some(key(1)), staged: None, list: None },
        KnownInstance { instance: &second, seen: true, key: None, staged: None, list: None },
    ];
    let merged = unite(&known, &[], &[]).unwrap();
    assert_eq!((merged.list.len(), merged.keyless), (1, vec![second.address]));
}
