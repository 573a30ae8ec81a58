//! The two files of an instance.

use super::{has_no_key, has_no_key_of, is_sayable, words};
use crate::wireguard::{LineProblem, PeerList, PrivateConf, PublicKey};

const FILE: &str = "list.conf";

/// A refused list is told by its lines and without its keys. An accepted one keeps its bytes, says the same in the form that
/// this program writes, and an edit that is taken back leaves no trace.
pub(super) fn peers(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let list = match PeerList::check(FILE, &text) {
        Ok(list) => list,
        Err(problems) => {
            let lines = text.split('\n').count();
            assert!(!problems.is_empty() && problems.iter().all(|problem| (1..=lines).contains(&problem.line)));
            let said = words(&LineProblem::error(FILE, &problems));
            is_sayable(&said, bytes);
            return has_no_key(&said);
        }
    };
    assert_eq!(list.to_text(), text);
    let mut written = PeerList::default();
    for peer in list.peers() {
        written.add(peer.clone()).expect("each member is the only one of its address, key and endpoint");
    }
    assert!(list.diff(&written).is_empty() && written.diff(&list).is_empty());
    assert_eq!(PeerList::check(FILE, &written.to_text()).as_ref(), Ok(&written));
    assert_eq!(PeerList::merge(&list, &written).as_ref(), Ok(&written));
    list.check_network(24);

    let one = list.peers().next().expect("a list without members is refused").clone();
    let mut edited = list.clone();
    edited.set_key(one.address, PublicKey::from_bytes([7; 32])).expect("nobody has this key");
    edited.put(one.clone()).expect("it was so before");
    assert_eq!(edited, list);
    edited.remove(one.address).expect("it is there");
    assert!(edited.by_address(one.address).is_none() && edited.len() == list.len() - 1);
    edited.add(one).expect("it was there before");
    assert!(edited.diff(&list).is_empty());
}

/// No refusal repeats what could be a key. An accepted file is its template and its key, and the template has no key in it.
pub(super) fn private_conf(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let conf = match PrivateConf::parse(&text) {
        Ok(conf) => conf,
        Err(error) => {
            let said = format!("{}{error:?}", words(&error));
            is_sayable(&words(&error), bytes);
            return has_no_key_of(&said, &text);
        }
    };
    assert_eq!(*conf.template_with(&conf.key), *text);
    let key = conf.key.expose();
    let shown = format!("{conf:?}{}", conf.template).replace(&conf.key.public().to_string(), "");
    assert!((0..=key.len() - 16).all(|at| !shown.contains(&key[at..at + 16])), "a piece of the key is shown");
    let moved = PrivateConf::template_with_port(&conf.template, 1);
    let moved = PrivateConf::parse(&PrivateConf::fill(&moved, &conf.key)).expect("a port is no harm");
    assert_eq!(moved.port, Some(1));
    assert_eq!(moved.key.public(), conf.key.public());
}
