//! `preflight`, `plan` and `status` change no file of a tree.

use crate::support::Host;
use crate::support::tree::TreeHost;

pub const INSTANCE: &str = "--vpn-address 10.8.3.1 --endpoint 192.0.2.1";

#[test]
fn looking_at_a_tree_changes_nothing() {
    let bare = TreeHost::with_vendor_stack();
    let installed = TreeHost::with_vendor_stack();
    installed.vpn(&format!("install {INSTANCE} --yes")).run().exits(0);
    let foreign = TreeHost::bare().file("/etc/os-release", "ID=arch\n").file("/srv/mitigator/.env", "\"");
    for tree in [bare, installed, foreign] {
        let before = tree.snapshot();
        for command in ["preflight", "plan", "status", "peers list", "peers check"] {
            for json in ["", "--json"] {
                let instance = if matches!(command, "preflight" | "plan") { INSTANCE } else { "" };
                tree.vpn(&format!("{command} {instance} {json}")).run();
            }
        }
        before.is_untouched_in(&tree.snapshot());
    }
}
