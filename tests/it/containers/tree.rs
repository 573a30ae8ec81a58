//! Files of other owners.

use crate::support::secret::Canary;
use crate::support::tree::TreeHost;
use crate::support::{Host, is_root};
use crate::unit::tree::{ENV, HAND_WRITTEN, INSTALL_2, PRIVATE, PUBLIC};

#[test]
fn owners_of_files_that_are_here_stay() {
    if !is_root() {
        return;
    }
    let canary = Canary::new();
    let tree = TreeHost::with_vendor_stack()
        .file(ENV, "A=1\n")
        .file(PUBLIC, HAND_WRITTEN)
        .file(PRIVATE, format!("[Interface]\nPrivateKey = {}\n", canary.text))
        .owner(ENV, 1234, 2345)
        .owner(PUBLIC, 1234, 2345)
        .owner(PRIVATE, 1234, 2345);
    tree.vpn(INSTALL_2).run().exits(0);
    for path in [ENV, PUBLIC, PRIVATE] {
        tree.call("find").arg(tree.at(path).display().to_string()).arg("-printf").arg("%U:%G").run().says("1234:2345");
    }
}
