use proptest::prelude::*;

use super::*;
use crate::cluster::inventory::Inventory;
use crate::wireguard::{Peer, PublicKey};

const TEXT: &str = "# our cluster\n[defaults]\nport = 4567 # the usual\n\n[[instance]] # Moscow\nname = \"a\"\nssh = \
                    \"a\"\nvpn-address = \"10.8.3.1\"\nendpoint = \"192.0.2.1\"\n";

fn instance(n: u8) -> DeclaredInstance {
    DeclaredInstance {
        name: format!("h{n}"),
        ssh: format!("root@h{n}"),
        address: [10, 8, 3, n].into(),
        endpoint: format!("192.0.2.{n}:4567").parse().unwrap(),
    }
}

#[test]
fn adding_and_removing_leaves_every_other_byte_as_it_was() {
    let with = add(TEXT, &instance(2), None).unwrap();
    assert!(with.starts_with(TEXT), "{with}");
    assert_eq!(Inventory::parse("x", &with).unwrap().instances[1], instance(2));
    assert_eq!(remove(&with, "h2", &[]).unwrap(), TEXT);
}

#[test]
fn a_removed_member_is_noted_and_its_key_also_after_it_was_added_again() {
    let key = PublicKey::from_bytes([7; 32]);
    let removed = RemovedMember { vpn_address: instance(2).address, public_key: Some(key), generation: 1 };
    let with = add(TEXT, &instance(2), None).unwrap();
    let without = remove(&with, "h2", std::slice::from_ref(&removed)).unwrap();
    assert_eq!(Inventory::parse("x", &without).unwrap().removed, [removed]);
    let again = add(&without, &instance(2), Some(2)).unwrap();
    let again = Inventory::parse("x", &again).unwrap();
    assert_eq!((again.removed.len(), again.instances.len()), (1, 2));
    assert!(
        again.history().generation(instance(2).address) == 2 && again.history().is_retired(instance(2).address, key)
    );
}

#[test]
fn a_list_becomes_a_file_that_says_the_same() {
    let mut list = PeerList::default();
    for n in 1..4 {
        let DeclaredInstance { address, endpoint, .. } = instance(n);
        list.add(Peer { public_key: PublicKey::from_bytes([n; 32]), address, endpoint, keepalive: None }).unwrap();
    }
    let file = Inventory::parse("x", &import(&list)).unwrap();
    assert_eq!(
        file.instances.iter().map(|i| i.endpoint).collect::<Vec<_>>(),
        list.peers().map(|p| p.endpoint).collect::<Vec<_>>()
    );
    assert_eq!(file.instances[2].ssh, "root@192.0.2.3");
}

/// A piece of a cluster.toml, as somebody has written it.
#[derive(Clone, Debug)]
enum Piece {
    /// Blank lines, and comments that stand alone.
    Gap(String),
    /// A section, with the comments that stand directly above it.
    Section(String),
}

impl Piece {
    fn text(&self) -> &str {
        match self {
            Piece::Gap(text) | Piece::Section(text) => text,
        }
    }
}

fn gap() -> impl Strategy<Value = Piece> {
    prop::sample::select(vec!["", "\n", "\n\n", "# alone\n\n", "\n  # [[instance]]\n\n", " \t\n"])
        .prop_map(|text| Piece::Gap(text.to_owned()))
}

/// The `n`th instance, in a form that TOML allows.
fn written(n: usize) -> impl Strategy<Value = Piece> {
    let above = prop::sample::select(vec!["", "# Moscow\n", "  # one\n# two\n"]);
    let header = prop::sample::select(vec!["[[instance]]", "  [[ instance ]]", "[[\"instance\"]] # there"]);
    let line = |key: &'static str, text: String| {
        let forms = vec![
            format!("\"{text}\""),
            format!("'{text}'"),
            format!("\"\"\"\n{text}\"\"\""),
            format!("'''{text}''' # \"\"\" [[instance]]"),
        ];
        let between = prop::sample::select(vec!["", "\n", "  # inside\n"]);
        (between, prop::sample::select(forms)).prop_map(move |(between, value)| format!("{between}{key} = {value}\n"))
    };
    let lines = (
        // In a string of several lines, a name can look like a comment.
        line("name", format!("#h{n}")),
        line("ssh", format!("h{n}")),
        line("vpn-address", format!("10.8.3.{n}")),
        line("endpoint", format!("192.0.2.{n}")),
    );
    let lines = lines.prop_map(|(a, b, c, d)| vec![a, b, c, d]).prop_shuffle();
    (above, header, lines)
        .prop_map(|(above, header, lines)| Piece::Section(format!("{above}{header}\n{}", lines.concat())))
}

/// The pieces of a file of so many instances.
fn pieces(count: usize) -> impl Strategy<Value = Vec<Piece>> {
    let defaults = prop::sample::select(vec!["", "[defaults]\nport = 4567 # usual\n", "defaults = { prefix = 24 }\n"])
        .prop_map(|text| Piece::Section(text.to_owned()));
    let instances: Vec<_> = (1..=count).map(|n| (gap(), written(n))).collect();
    (gap(), defaults, instances, gap()).prop_map(|(first, defaults, instances, last)| {
        let instances = instances.into_iter().flat_map(|(gap, section)| [gap, section]);
        [first, defaults].into_iter().chain(instances).chain([last]).collect()
    })
}

/// In the bytes of an editor: line ends, a byte order mark.
fn saved(text: &str, is_crlf: bool, has_mark: bool) -> String {
    let text = if is_crlf { text.replace('\n', "\r\n") } else { text.to_owned() };
    if has_mark { format!("\u{feff}{text}") } else { text }
}

proptest! {
    #[test]
    fn no_byte_changes_that_is_not_about_the_instance(
        pieces in pieces(4), at in 1_usize..=4, is_crlf: bool, has_mark: bool, is_ended: bool,
    ) {
        let whole: String = pieces.iter().map(Piece::text).collect();
        let text = saved(if is_ended { &whole } else { whole.trim_end() }, is_crlf, has_mark);
        prop_assert_eq!(Inventory::parse("x", &text).unwrap().instances.len(), 4);

        let with = add(&text, &instance(9), None).unwrap();
        prop_assert!(with.starts_with(&text), "{with:?}");
        prop_assert_eq!(with.matches("\r\n").count(), if is_crlf { with.matches('\n').count() } else { 0 });
        let parsed = Inventory::parse("x", &with).unwrap();
        prop_assert_eq!(&parsed.instances[4], &instance(9));
        let back = remove(&with, "h9", &[]).unwrap();
        prop_assert_eq!(back.trim_end(), text.trim_end());

        let (before, after) = pieces.split_at(1 + 2 * at);
        let mut kept: String = before.iter().map(Piece::text).collect();
        // The blank line above a section goes with it.
        if kept.lines().next_back().is_some_and(|line| line.trim().is_empty()) {
            kept.truncate(kept[..kept.len() - 1].rfind('\n').map_or(0, |at| at + 1));
        }
        let rest: String = after[1..].iter().map(Piece::text).collect();
        let without = remove(&text, &format!("#h{at}"), &[]).unwrap();
        let expected = saved(&format!("{kept}{rest}"), is_crlf, has_mark);
        if is_ended {
            prop_assert_eq!(without, expected);
        } else {
            prop_assert_eq!(without.trim_end(), expected.trim_end());
        }
    }
}

#[test]
fn what_can_not_be_edited_is_refused_with_its_line() {
    let text = "\u{feff}# ours\r\nremoved = []\r\ninstance = [{name=\"a\", ssh=\"a\", vpn-address=\"10.8.3.1\", \
                endpoint=\"192.0.2.1\"}]\r\n";
    assert_eq!(Inventory::parse("x", text).unwrap().instances.len(), 1);
    for edited in [remove(text, "a", &[]), add(text, &instance(2), None)] {
        let error = edited.unwrap_err();
        assert_eq!(error.to_string(), "line 3: 'instance' is one value, which is not edited");
        assert!(error.way_out().unwrap().ends_with("[[instance]]"));
    }
}
