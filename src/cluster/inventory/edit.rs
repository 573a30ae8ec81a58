//! Edits of cluster.toml: an instance is added or removed, every other byte stays.

use std::fmt::Write;

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use super::{DeclaredInstance, RemovedMember};
use crate::error::{Error, Result};
use crate::message;
use crate::message::Message;
use crate::wireguard::PeerList;

/// The text with one more instance at its end. A note that a member with this address was removed is deleted.
pub(crate) fn add(text: &str, instance: &DeclaredInstance) -> Result<String> {
    let mut document = parse(text)?;
    if let Some(removed) = tables(&mut document, "removed")? {
        let address = instance.address.to_string();
        removed.retain(|table| table.get("vpn-address").and_then(Item::as_str) != Some(&address));
        if removed.is_empty() {
            document.remove("removed");
        }
    }
    tables(&mut document, "instance")?;
    Ok(append(&document.to_string(), &section(instance)))
}

/// The text without an instance; with a note of the member that was removed, for each key that a list still has of it.
pub(crate) fn remove(text: &str, name: &str, removed: &[RemovedMember]) -> Result<String> {
    let mut document = parse(text)?;
    if let Some(instances) = tables(&mut document, "instance")? {
        instances.retain(|table| table.get("name").and_then(Item::as_str) != Some(name));
    }
    let mut text = document.to_string();
    for RemovedMember { vpn_address, public_key } in removed {
        let note = format!(
            "# {name} has left; a host that was down then may still list it\n[[removed]]\nvpn-address = \"{vpn_address}\"\n\
             public-key = \"{public_key}\"\n"
        );
        text = append(&text, &note);
    }
    Ok(text)
}

/// A cluster.toml from a list. ssh is given the endpoints' addresses, for a person to correct.
pub(crate) fn import(list: &PeerList) -> String {
    let mut text =
        String::from("# made from a vpn-public.conf: give the instances their names, and ssh where it goes\n");
    for (n, peer) in (1..).zip(list.peers()) {
        let instance = DeclaredInstance {
            name: format!("instance-{n}"),
            ssh: format!("root@{}", peer.endpoint.ip()),
            address: peer.address,
            endpoint: peer.endpoint,
        };
        let _ = write!(text, "\n{}", section(&instance));
    }
    text
}

fn section(instance: &DeclaredInstance) -> String {
    let mut table = Table::new();
    table["name"] = value(&instance.name);
    table["ssh"] = value(&instance.ssh);
    table["vpn-address"] = value(instance.address.to_string());
    table["endpoint"] = value(instance.endpoint.to_string());
    format!("[[instance]]\n{table}")
}

fn append(text: &str, section: &str) -> String {
    let gap = match text {
        "" => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    format!("{text}{gap}{section}")
}

fn parse(text: &str) -> Result<DocumentMut> {
    text.parse().map_err(|error: toml_edit::TomlError| Error::input(Message::foreign(error.message())))
}

/// The `[[key]]` sections. An array in one value, `key = [{…}]`, says the same and can't be edited as sections are.
fn tables<'d>(document: &'d mut DocumentMut, key: &str) -> Result<Option<&'d mut ArrayOfTables>> {
    let Some(item) = document.get_mut(key) else { return Ok(None) };
    let sections = item.as_array_of_tables_mut().ok_or_else(|| {
        let section = format!("[[{key}]]");
        Error::input(message!("'{key}' is one value, which is not edited", key))
            .hint(message!("write each of its tables as a section: {section}", section))
    });
    sections.map(Some)
}

#[cfg(test)]
mod tests {
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
        let with = add(TEXT, &instance(2)).unwrap();
        assert!(with.starts_with(TEXT), "{with}");
        assert_eq!(Inventory::parse("x", &with).unwrap().instances[1], instance(2));
        assert_eq!(remove(&with, "h2", &[]).unwrap(), TEXT);
    }

    #[test]
    fn a_removed_member_is_noted_until_it_is_added_again() {
        let removed = RemovedMember { vpn_address: instance(2).address, public_key: PublicKey::from_bytes([7; 32]) };
        let with = add(TEXT, &instance(2)).unwrap();
        let without = remove(&with, "h2", std::slice::from_ref(&removed)).unwrap();
        assert_eq!(Inventory::parse("x", &without).unwrap().removed, [removed]);
        let again = add(&without, &instance(2)).unwrap();
        let again = Inventory::parse("x", &again).unwrap();
        assert_eq!((again.removed.len(), again.instances.len()), (0, 2));
    }

    #[test]
    fn instances_in_one_value_are_refused_and_not_left_in_silently() {
        let text = "instance = [{name=\"a\", ssh=\"a\", vpn-address=\"10.8.3.1\", endpoint=\"192.0.2.1\"}]\n";
        assert_eq!(Inventory::parse("x", text).unwrap().instances.len(), 1);
        for edited in [remove(text, "a", &[]), add(text, &instance(2))] {
            let error = edited.unwrap_err();
            assert_eq!(error.to_string(), "'instance' is one value, which is not edited");
            assert!(error.way_out().unwrap().ends_with("[[instance]]"));
        }
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
}
