//! Every system call that changes files can fail: the exit code is honest, nothing is lost, and the next run completes.

mod held;

use serde_json::{Value, json};

use super::crash::{
    INSTALL, JOURNAL, PUBLIC, assert_journal_is_whole, assert_nothing_is_torn, key, lived_in, moments_on,
};
use crate::support::call::{Call, Ran};
use crate::support::fault::{Errors, each_fault, is_honest, moments};
use crate::support::secret::Canary;
use crate::support::snapshot::Exclusion;
use crate::support::tree::TreeHost;
use crate::support::{Host, has_program};
use mitigator_vpn::wireguard::ListDigest;

const RECEIPT: &[Exclusion] = &[(JOURNAL, "it tells of every run")];

fn install(errors: Errors) {
    if !has_program("strace") {
        return;
    }
    let canary = Canary::new();
    let (old, new) = (lived_in(&canary), lived_in(&canary));
    new.vpn(INSTALL).run().exits(0);
    let (original, end_state) = (old.snapshot(), new.snapshot().without(RECEIPT));
    let moments = moments_on(&lived_in(&canary), INSTALL);
    assert!(moments.len() > 30, "only {} moments", moments.len());

    each_fault(&moments, errors, |number, fault| {
        let tree = lived_in(&canary);
        let ran = fault.strike(tree.vpn(INSTALL));
        is_honest(&ran);
        canary.is_not_in("the output", &[&ran.stdout[..], &ran.stderr[..]].concat());
        assert_journal_is_whole(&tree);
        assert_nothing_is_torn(&tree, &old, &new);
        assert_eq!(key(&tree).as_deref(), Some(canary.text.as_str()), "the key is lost\n{ran}");
        if ran.code == Some(0) {
            end_state.is_given_back_in(&tree.snapshot().without(RECEIPT));
        }
        // Undo has to cope with what the failure left as well as the next run.
        if number % 2 == 0 {
            tree.vpn(INSTALL).run().exits(0);
            end_state.is_given_back_in(&tree.snapshot().without(RECEIPT));
        }
        tree.vpn("undo --yes").run().exits(0);
        original.is_given_back_in(&tree.snapshot());
        ran.code
    });
}

/// A host without a key: one that has reached its file is never replaced.
fn first_install(errors: Errors) {
    if !has_program("strace") {
        return;
    }
    let moments = moments_on(&TreeHost::with_vendor_stack(), INSTALL);
    each_fault(&moments, errors, |_, fault| {
        let tree = TreeHost::with_vendor_stack();
        let original = tree.snapshot();
        let ran = fault.strike(tree.vpn(INSTALL));
        is_honest(&ran);
        let then = key(&tree);
        assert!(ran.code != Some(0) || then.is_some(), "no key, and exit code 0\n{ran}");
        tree.vpn(INSTALL).run().exits(0);
        let now = key(&tree).expect("an installed instance has a key");
        assert!(then.is_none_or(|then| then == now), "the key was replaced");
        tree.vpn("undo --yes").run().exits(0);
        original.is_given_back_in(&tree.snapshot());
        ran.code
    });
}

fn undo(errors: Errors) {
    if !has_program("strace") {
        return;
    }
    let canary = Canary::new();
    let installed = || {
        let tree = lived_in(&canary);
        tree.vpn(INSTALL).run().exits(0);
        tree
    };
    let original = lived_in(&canary).snapshot();
    let moments = moments_on(&installed(), "undo --yes");
    each_fault(&moments, errors, |_, fault| {
        let tree = installed();
        let ran = fault.strike(tree.vpn("undo --yes"));
        is_honest(&ran);
        assert_journal_is_whole(&tree);
        assert_eq!(key(&tree).as_deref(), Some(canary.text.as_str()), "the key is lost\n{ran}");
        if ran.code != Some(0) {
            tree.vpn("undo --yes").run().exits(0);
        }
        original.is_given_back_in(&tree.snapshot());
        ran.code
    });
}

/// What the operator's side asks of a host that joins: a key, then the list that has it.
fn requests(seen: Option<ListDigest>, list: &str, endpoint: &str, restart: &str) -> String {
    let settings = json!({
        "dir": "/srv/mitigator", "vpn_address": "10.8.3.1", "endpoint": format!("{endpoint}:4567"), "port": 4567, "prefix": 24,
        "peers": list, "whole_list": true, "firewall": "none", "restart": restart, "apt_mirror": null, "stack": "vendor",
        "ignore": []
    });
    let guard = json!({ "secs": 5, "nanos": 0 });
    let make_key = json!({ "make-key": { "settings": settings, "history": {} } });
    let seen = seen.map(|digest| digest.to_string());
    let apply = json!({ "apply": { "settings": settings, "seen": seen, "guard": guard, "history": {} } });
    format!("{make_key}\n{apply}\n")
}

/// The last reply of the agent.
fn last_reply(ran: &Ran) -> Value {
    last_reply_in(&ran.out())
}

fn last_reply_in(said: &str) -> Value {
    said.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default()
}

fn agent(errors: Errors) {
    if !has_program("strace") {
        return;
    }
    let canary = Canary::new();
    let joined = || {
        let public = canary.text.parse::<mitigator_vpn::wireguard::PrivateKey>().expect("a key").public();
        let ours = format!("[Peer]\nPublicKey = {public}\nAllowedIPs = 10.8.3.1/32\nEndpoint = 192.0.2.1:4567\n");
        format!("{}\n{ours}", super::crash::MEMBER)
    };
    let apply = |tree: &TreeHost| {
        let here = tree.read(PUBLIC).map(|bytes| ListDigest::of(&bytes));
        requests(here, &joined(), "192.0.2.1", "none")
    };
    let new = lived_in(&canary);
    let ran = new.vpn("session").stdin(apply(&new)).run().exits(0);
    assert!(last_reply(&ran).get("applied").is_some(), "{ran}");
    let (old, end_state) = (lived_in(&canary), new.snapshot().without(RECEIPT));
    let traced = lived_in(&canary);
    let root = traced.at("/").display().to_string();
    let moments =
        moments(traced.vpn("session").stdin(apply(&traced)), &[root.trim_end_matches('/'), "/run/mitigator-vpn"]);
    each_fault(&moments, errors, |_, fault| {
        let tree = lived_in(&canary);
        let ran = fault.strike(tree.vpn("session").stdin(apply(&tree)));
        is_honest(&ran);
        canary.is_not_in("the replies", &[&ran.stdout[..], &ran.stderr[..]].concat());
        assert_journal_is_whole(&tree);
        assert_nothing_is_torn(&tree, &old, &new);
        assert_eq!(key(&tree).as_deref(), Some(canary.text.as_str()), "the key is lost\n{ran}");
        let applied = last_reply(&ran).get("applied").is_some();
        if applied {
            end_state.is_given_back_in(&tree.snapshot().without(RECEIPT));
        }
        let again = tree.vpn("session").stdin(apply(&tree)).run().exits(0);
        assert!(last_reply(&again).get("applied").is_some(), "{again}");
        end_state.is_given_back_in(&tree.snapshot().without(RECEIPT));
        // The agent ends with 0 and tells of the failure in its reply.
        Some(if applied { 0 } else { 1 })
    });
}

/// A call whose files can't grow beyond so many bytes: what a write has begun before is there, as on a disk that fills up.
fn within(size: usize, call: Call) -> Ran {
    call.under(["sh", "-c", "trap '' XFSZ; exec prlimit --fsize=\"$0\" \"$@\"", &size.to_string()]).run()
}

#[test]
fn a_disk_that_fills_up_within_a_write_leaves_no_torn_record_between_whole_ones() {
    let canary = Canary::new();
    let installed = || {
        let tree = lived_in(&canary);
        tree.vpn(INSTALL).run().exits(0);
        tree
    };
    let original = lived_in(&canary).snapshot();
    let whole = installed();
    let end_state = whole.snapshot().without(RECEIPT);
    let size = whole.read(JOURNAL).expect("it was installed").len();
    for size in (0..size + 64).step_by(97) {
        let tree = lived_in(&canary);
        let ran = within(size, tree.vpn(INSTALL));
        is_honest(&ran);
        assert_eq!(key(&tree).as_deref(), Some(canary.text.as_str()), "the key is lost\n{ran}");
        assert_journal_is_whole(&tree);
        if ran.code == Some(0) {
            end_state.is_given_back_in(&tree.snapshot().without(RECEIPT));
        }
        let ran = within(size, tree.vpn("undo --yes"));
        is_honest(&ran);
        assert_journal_is_whole(&tree);
        tree.vpn("undo --yes").run().exits(0);
        original.is_given_back_in(&tree.snapshot());
    }
    // As long as the journal has room, and then no longer: records of undo are a few bytes each.
    for more in (0..160).step_by(3) {
        let tree = installed();
        let size = tree.read(JOURNAL).expect("it was installed").len() + more;
        let ran = within(size, tree.vpn("undo --yes"));
        is_honest(&ran);
        assert_journal_is_whole(&tree);
        assert_eq!(key(&tree).as_deref(), Some(canary.text.as_str()), "the key is lost\n{ran}");
        tree.vpn("undo --yes").run().exits(0);
        original.is_given_back_in(&tree.snapshot());
    }
}

#[test]
fn an_error_at_any_system_call_of_install_is_told_and_the_next_run_or_undo_completes() {
    install(Errors::InTurn);
}

#[test]
fn an_error_at_any_system_call_of_undo_is_told_and_the_next_undo_completes() {
    undo(Errors::InTurn);
}

#[test]
fn an_error_at_any_system_call_of_the_agent_is_its_reply_and_the_next_apply_completes() {
    agent(Errors::InTurn);
}

#[test]
fn an_error_while_a_list_is_written_that_a_container_holds_is_told_and_the_next_edit_completes() {
    held::edit(Errors::InTurn);
}

#[test]
fn an_error_at_any_system_call_of_reconfigure_is_told_and_the_next_one_completes() {
    held::reconfigure(Errors::InTurn);
}

mod long {
    use super::Errors;

    #[test]
    fn every_error_at_any_system_call_of_install() {
        super::install(Errors::All);
    }

    #[test]
    fn every_error_at_any_system_call_of_the_first_install() {
        super::first_install(Errors::All);
    }

    #[test]
    fn every_error_at_any_system_call_of_undo() {
        super::undo(Errors::All);
    }

    #[test]
    fn every_error_at_any_system_call_of_the_agent() {
        super::agent(Errors::All);
    }

    #[test]
    fn every_error_while_a_list_is_written_that_a_container_holds() {
        super::held::edit(Errors::All);
    }

    #[test]
    fn every_error_at_any_system_call_of_reconfigure() {
        super::held::reconfigure(Errors::All);
    }

    #[test]
    fn every_error_at_any_system_call_of_an_agent_beside_a_running_gateway() {
        super::held::agent();
    }
}
