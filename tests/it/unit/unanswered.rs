//! What can't be read is unknown: no check passes by it, and nothing is planned from it.

use crate::support::Host;
use crate::support::tree::TreeHost;
use crate::unit::readonly::INSTANCE;

/// The outcome and the detail of a check.
fn finding(tree: &TreeHost, id: &str) -> (String, String) {
    let ran = tree.vpn(&format!("preflight {INSTANCE} --json")).run();
    let findings = ran.json()["findings"].as_array().expect("findings").clone();
    let found = findings.iter().find(|finding| finding["id"] == id).expect(id);
    let text = |key: &str| found[key].as_str().expect(key).to_owned();
    (text("outcome"), text("detail"))
}

#[test]
fn the_stack_is_not_taken_for_the_vendors_by_a_file_that_cant_be_read() {
    let tree = TreeHost::bare().directory("/srv/mitigator/docker-compose.yml");
    let (outcome, detail) = finding(&tree, "host-readable");
    assert_eq!(outcome, "fail", "{detail}");
    assert!(detail.contains("docker-compose.yml is a directory"), "{detail}");
    tree.vpn(&format!("plan {INSTANCE} --ignore host-readable,compose-files")).run().exits(3);
}
