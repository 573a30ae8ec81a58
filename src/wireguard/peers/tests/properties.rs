//! What holds for every list, whatever its layout.

use proptest::prelude::*;

use super::*;

/// A flawless list in some layout, and an instance that isn't in it.
fn lists() -> impl Strategy<Value = (String, Vec<Peer>)> {
    let layout = prop::sample::select(vec!["", "\n", "\n\n", "# c\n", "\n# c\n\n", " \t\n", "#\n# d\n"]);
    let inside = prop::sample::select(vec!["", "# in\n", "\n", "\t# x\n\n"]);
    let case = prop::sample::select(vec!["[Peer]", "[peer]", "  [PEER] # h"]);
    let equals = prop::sample::select(vec!["=", " = ", "\t= "]);
    let end = prop::sample::select(vec!["", " ", " # tail", "\t"]);
    let ids = prop::collection::btree_set(1u8..=250, 1..8);
    let parts = (prop::collection::vec((layout.clone(), inside, case, equals, end, any::<[bool; 3]>()), 8), layout);
    (ids, parts, any::<bool>()).prop_map(|(ids, (parts, last), final_newline)| {
        let mut text = String::new();
        let peers: Vec<Peer> = ids.into_iter().map(peer).collect();
        for (peer, (layout, inside, case, equals, end, order)) in peers.iter().zip(parts) {
            let mut lines = [
                format!("PublicKey{equals}{}{end}\n", peer.public_key),
                format!("allowedips{equals}{}/32{end}\n", peer.address),
                format!("Endpoint{equals}{}{end}\n", peer.endpoint),
            ];
            (0..2).filter(|i| order[*i]).for_each(|i| lines.swap(i, i + 1));
            text.push_str(&format!("{layout}{case}\n{inside}{}", lines.join(inside)));
        }
        text.push_str(last);
        if !final_newline {
            text.pop();
        }
        (text, peers)
    })
}

proptest! {
    #[test]
    fn any_layout_survives((text, peers) in lists()) {
        let list = PeerList::parse(&text).unwrap();
        prop_assert_eq!(list.to_text(), text);
        prop_assert_eq!(list.peers().cloned().collect::<Vec<_>>(), peers);
    }

    #[test]
    fn what_add_puts_in_remove_takes_out((text, _) in lists()) {
        let before = PeerList::parse(&text).unwrap();
        let mut list = before.clone();
        list.add(peer(255)).unwrap();
        prop_assert!(list.to_text().starts_with(&text));
        prop_assert_eq!(list.by_address(peer(255).address), Some(&peer(255)));
        list.remove(peer(255).address).unwrap();
        prop_assert_eq!(list.to_text(), text);
    }

    #[test]
    fn removing_one_leaves_the_others((text, peers) in lists(), which in any::<prop::sample::Index>()) {
        let mut list = PeerList::parse(&text).unwrap();
        let gone = &peers[which.index(peers.len())];
        list.remove(gone.address).unwrap();
        let left: Vec<&Peer> = peers.iter().filter(|p| *p != gone).collect();
        prop_assert_eq!(list.peers().collect::<Vec<_>>(), left);
    }

    #[test]
    fn an_edit_changes_one_member_and_no_layout((text, peers) in lists(), which in any::<prop::sample::Index>()) {
        let before = PeerList::parse(&text).unwrap();
        let old = &peers[which.index(peers.len())];
        let mut list = before.clone();
        list.put(Peer { public_key: key(255), endpoint: peer(255).endpoint, ..old.clone() }).unwrap();
        prop_assert_eq!(before.diff(&list).len(), 1);
        list.put(old.clone()).unwrap();
        prop_assert_eq!(list.to_text(), text);
    }

    #[test]
    fn merging_again_changes_nothing((ours, a) in lists(), (theirs, b) in lists()) {
        let (ours, theirs) = (PeerList::parse(&ours).unwrap(), PeerList::parse(&theirs).unwrap());
        let merged = PeerList::merge(&ours, &theirs).unwrap();
        prop_assert!(a.iter().chain(&b).all(|p| merged.by_address(p.address) == Some(p)));
        prop_assert_eq!(&PeerList::merge(&merged, &theirs).unwrap(), &merged);
        prop_assert_eq!(&PeerList::merge(&ours, &merged).unwrap(), &merged);
    }

    #[test]
    fn arbitrary_text_never_panics(text in "(\\PC|[\\[\\]=#/:.\n\r\t\u{feff}\0]|\\[Peer\\]\n|Endpoint = |AllowedIPs = |PublicKey = ){0,80}") {
        if let Err(problems) = PeerList::parse(&text) {
            prop_assert!(!problems.is_empty());
            let lines = text.split('\n').count();
            prop_assert!(problems.iter().all(|p| (1..=lines).contains(&p.line)), "{:?}", problems);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = PeerList::parse(&String::from_utf8_lossy(&bytes));
    }
}
