//! The journal, the inventory, and what the two ends of a connection say to each other.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{is_sayable, words};
use crate::cluster::inventory::{DeclaredInstance, Inventory, edit};
use crate::cluster::remote::protocol::{Hello, Reply, Request};
use crate::converge::journal::Receipt;
use crate::error::Error;
use crate::message::Message;

/// A journal that is refused is refused by its line, or as a newer program's; what is behind the last newline never counts.
pub(super) fn journal(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match Receipt::parse(&text) {
        Ok(receipt) => {
            let torn = format!("{}\u{0}{{\"begin\":", &text[..text.rfind('\n').map_or(0, |at| at + 1)]);
            assert_eq!(Receipt::parse(&torn).expect("what is torn doesn't count"), receipt);
            for change in &receipt.changes {
                is_sayable(&change.step.message().to_string(), bytes);
            }
        }
        Err(error) => {
            let said = words(&error);
            assert!(said.starts_with("line ") || said.starts_with("written by a newer mitigator-vpn"), "{said}");
            is_sayable(&said, bytes);
        }
    }
}

/// An instance that is added and removed again leaves no trace.
pub(super) fn cluster_toml(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let inventory = match Inventory::parse("cluster.toml", &text) {
        Ok(inventory) => inventory,
        Err(error) => return is_sayable(&words(&error), bytes),
    };
    assert!(!inventory.instances.is_empty());
    let more = DeclaredInstance {
        name: "one-more".into(),
        ssh: "root@one-more.example".into(),
        address: [10, 8, 3, 253].into(),
        endpoint: "203.0.113.253:4567".parse().expect("an endpoint"),
    };
    let with = match edit::add(&text, &more, None) {
        Ok(with) => with,
        Err(error) => return is_sayable(&words(&error), bytes),
    };
    // It may be there already, or in another network.
    if let Ok(with) = Inventory::parse("cluster.toml", &with) {
        assert_eq!(with.instances.split_last(), Some((&more, &*inventory.instances)));
    }
    for gone in [&more, &inventory.instances[0]] {
        let without = edit::remove(&with, &gone.name, &[]).expect("it was added before");
        if let Ok(without) = Inventory::parse("cluster.toml", &without) {
            assert!(without.by_name(&gone.name).is_none(), "{} is still there", gone.name);
        }
    }
    if inventory.by_name(&more.name).is_none() {
        let without = edit::remove(&with, &more.name, &[]).expect("it was added before");
        let again = Inventory::parse("cluster.toml", &without).expect("it was so before");
        assert_eq!(again.instances, inventory.instances);
    }
}

/// The operator's side says this, and the agent reads it.
pub(super) fn request(bytes: &[u8]) {
    is_said_again::<Request>(bytes);
}

/// The agent says this, and the operator's side reads it; its words are shown.
pub(super) fn reply(bytes: &[u8]) {
    is_said_again::<Hello>(bytes);
    let Some(reply) = is_said_again::<Reply>(bytes) else { return };
    let mut shown: Vec<Message> = Vec::new();
    match reply {
        Reply::Look(look) => {
            shown.extend(look.pending);
            shown.extend(look.gateway.into_iter().filter_map(|gateway| gateway.tunnel).flat_map(|t| t.differences));
        }
        Reply::Survey(survey) => shown.extend(survey.steps),
        Reply::Applied { steps, .. } => shown.extend(steps),
        Reply::Failed(error) => {
            let error = Error::from(error);
            shown.extend([Message::from(&error)]);
            shown.extend(error.hints().iter().cloned());
        }
        Reply::Refused(_) | Reply::Key(_) | Reply::Conflict | Reply::Probed(_) | Reply::Done => {}
    }
    for message in shown {
        is_sayable(&message.to_string(), bytes);
    }
}

/// What was understood is the same when it is said again.
fn is_said_again<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let understood: T = match serde_json::from_slice(bytes) {
        Ok(understood) => understood,
        Err(error) => {
            is_sayable(&Message::foreign(error).to_string(), bytes);
            return None;
        }
    };
    let said = serde_json::to_string(&understood).expect("it can be said");
    assert!(!said.contains('\n'), "a message is a line");
    let again: T = serde_json::from_str(&said).expect("it was said by us");
    assert_eq!(serde_json::to_string(&again).expect("it can be said"), said);
    Some(understood)
}
