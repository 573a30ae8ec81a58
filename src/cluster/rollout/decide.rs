//! What a run does next, from what is known of the hosts. Pure.

use std::net::Ipv4Addr;

use super::record::RolloutRecord;
use super::waves::waves;
use crate::cluster::action::{Action, Actions};
use crate::cluster::hosts::Node;
use crate::cluster::merge::Merged;
use crate::message::Message;
use crate::wireguard::ListDigest;

/// What is known of a host between two rounds.
#[derive(Clone, Debug)]
pub(super) struct HostView {
    pub(super) address: Ipv4Addr,
    /// Whether it could be looked at.
    pub(super) seen: bool,
    /// The list that it has.
    pub(super) digest: Option<ListDigest>,
    /// The list that it is to have, or why it is left as it is.
    pub(super) target: Result<ListDigest, Message>,
}

impl HostView {
    pub(super) fn of(node: &Node, merged: &Merged) -> Self {
        HostView {
            address: node.instance.address,
            seen: node.seen().is_some(),
            digest: node.digest(),
            target: merged.target(node).map(|list| list.digest()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// These waves of hosts are to be changed, one after the other.
    Change(Vec<Vec<Ipv4Addr>>),
    /// Another operator has declared these hosts and not finished with them.
    Await(Vec<Ipv4Addr>),
    /// Nothing is left to change.
    Prove,
}

/// What the next round does. The actions are brought up to date with the list of the record, which may be another one than
/// in the round before.
pub(super) fn decide(
    hosts: &[HostView],
    actions: &mut Actions,
    record: &RolloutRecord,
    batch: usize,
    may_await: bool,
) -> Decision {
    revise(hosts, actions, record);
    let may_be_changed =
        |host: &&HostView| !record.has_failed(host.address) && record.merged.list.by_address(host.address).is_some();
    let mut changeable: Vec<&HostView> = hosts.iter().filter(may_be_changed).collect();
    // Who has members that nobody else has is no measure for the others, so it doesn't come first.
    changeable.sort_by_key(|host| host.target.as_ref().is_ok_and(|target| *target != record.merged.list.digest()));
    let waves =
        waves(changeable.into_iter().filter_map(|host| Some((host.address, actions.get(&host.address)?))), batch);
    if !waves.is_empty() {
        return Decision::Change(waves);
    }
    let newcomers = hosts.iter().filter(|host| host.seen && !actions.contains_key(&host.address));
    let newcomers: Vec<Ipv4Addr> = newcomers.map(|host| host.address).collect();
    if may_await && !newcomers.is_empty() { Decision::Await(newcomers) } else { Decision::Prove }
}

/// What each host needs now that the list may be another one, or that the host has it already.
fn revise(hosts: &[HostView], actions: &mut Actions, record: &RolloutRecord) {
    for HostView { address, seen, digest, target } in hosts {
        if !seen || record.has_failed(*address) {
            continue;
        }
        let target = match target {
            Ok(target) => *target,
            Err(reason) => {
                actions.insert(*address, Action::Disputed(reason.clone()));
                continue;
            }
        };
        // Another operator's newcomer is theirs to install; once it is a member, it gets the list from us as well.
        if !actions.contains_key(address) && digest.is_none() {
            continue;
        }
        let has_list = *digest == Some(target);
        let was_changed = record.hosts.contains_key(address);
        let action = actions.entry(*address).or_insert(Action::List);
        match action {
            Action::Nothing | Action::Disputed(_) if !has_list => *action = Action::List,
            Action::List | Action::Install(_) if has_list && was_changed => *action = Action::Nothing,
            Action::Nothing
            | Action::List
            | Action::Install(_)
            | Action::Refused(_)
            | Action::Disputed(_)
            | Action::Unreachable(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::remote::protocol::Survey;
    use crate::error::Error;
    use crate::message;
    use crate::wireguard::{Peer, PeerList, PublicKey};

    fn address(n: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 8, 3, n)
    }

    fn record(members: u8) -> RolloutRecord {
        let mut list = PeerList::default();
        for n in 1..=members {
            let endpoint = format!("192.0.2.{n}:4567").parse().unwrap();
            let public_key = PublicKey::from_bytes([n; 32]);
            list.add(Peer { public_key, address: address(n), endpoint, keepalive: None }).unwrap();
        }
        RolloutRecord { merged: Merged { list, ..Merged::default() }, ..RolloutRecord::default() }
    }

    fn host(n: u8, record: &RolloutRecord, list: Option<&RolloutRecord>) -> HostView {
        let digest = |record: &RolloutRecord| record.merged.list.digest();
        HostView { address: address(n), seen: true, digest: list.map(digest), target: Ok(digest(record)) }
    }

    #[test]
    fn a_host_that_has_got_the_list_is_done_and_one_that_lost_it_to_a_newer_one_is_not() {
        let (old, mut new) = (record(2), record(3));
        let mut actions = Actions::from([(address(1), Action::List), (address(2), Action::Nothing)]);
        let hosts = [host(1, &new, Some(&new)), host(2, &new, Some(&old))];
        new.of(address(1)).steps.push(message!("change"));
        assert_eq!(decide(&hosts, &mut actions, &new, 30, true), Decision::Change(vec![vec![address(2)]]));
        let hosts = [host(1, &new, Some(&new)), host(2, &new, Some(&new))];
        new.of(address(2)).steps.push(message!("change"));
        assert_eq!(decide(&hosts, &mut actions, &new, 30, true), Decision::Prove);
    }

    #[test]
    fn a_tunnel_that_lacks_the_list_on_disk_is_brought_up_to_date_once() {
        let mut record = record(1);
        let hosts = [host(1, &record, Some(&record))];
        let mut actions = Actions::from([(address(1), Action::List)]);
        assert_eq!(decide(&hosts, &mut actions, &record, 30, true), Decision::Change(vec![vec![address(1)]]));
        record.of(address(1)).steps.push(message!("reconfigure"));
        assert_eq!(decide(&hosts, &mut actions, &record, 30, true), Decision::Prove);
    }

    #[test]
    fn a_host_that_failed_that_can_not_be_reached_or_that_is_no_member_is_left_alone() {
        let mut record = record(2);
        record.fail(address(1), &Error::unexpected(message!("no")));
        let mut actions = Actions::from([
            (address(1), Action::List),
            (address(2), Action::Unreachable(message!("no"))),
            (address(3), Action::Install(Survey::default())),
        ]);
        let unreachable = HostView { seen: false, ..host(2, &record, None) };
        let hosts = [host(1, &record, None), unreachable, host(3, &record, None)];
        assert_eq!(decide(&hosts, &mut actions, &record, 30, true), Decision::Prove);
    }

    #[test]
    fn a_host_that_keeps_members_of_its_own_is_no_canary() {
        let (record, other) = (record(2), super::tests::record(1));
        let keeps = HostView { target: Ok(other.merged.list.digest()), ..host(1, &record, None) };
        let mut actions = Actions::from([(address(1), Action::List), (address(2), Action::List)]);
        let waves = Decision::Change(vec![vec![address(2)], vec![address(1)]]);
        assert_eq!(decide(&[keeps, host(2, &record, None)], &mut actions, &record, 30, true), waves);
    }

    #[test]
    fn a_host_that_is_disputed_is_left_as_it_is_until_it_is_not() {
        let record = record(2);
        let disputed = |n| HostView { target: Err(message!("no")), ..host(n, &record, None) };
        let mut actions = Actions::from([(address(1), Action::List), (address(2), Action::List)]);
        let hosts = [host(1, &record, None), disputed(2)];
        assert_eq!(decide(&hosts, &mut actions, &record, 30, true), Decision::Change(vec![vec![address(1)]]));
        let hosts = [host(1, &record, None), host(2, &record, None)];
        let both = Decision::Change(vec![vec![address(1)], vec![address(2)]]);
        assert_eq!(decide(&hosts, &mut actions, &record, 30, true), both);
    }

    #[test]
    fn the_newcomer_of_another_operator_is_awaited_and_then_gets_the_list() {
        let (old, new) = (record(1), record(2));
        let mut actions = Actions::from([(address(1), Action::Nothing)]);
        let hosts = |newcomer| [host(1, &new, Some(&new)), host(2, &new, newcomer)];
        assert_eq!(decide(&hosts(None), &mut actions, &new, 30, true), Decision::Await(vec![address(2)]));
        assert_eq!(decide(&hosts(None), &mut actions, &new, 30, false), Decision::Prove);
        let joined = hosts(Some(&old));
        assert_eq!(decide(&joined, &mut actions, &new, 30, true), Decision::Change(vec![vec![address(2)]]));
    }
}
