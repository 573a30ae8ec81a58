//! A question that gets no answer is none that was answered with "nothing": the run says which, and nothing is changed.

use crate::support::strace::failing;
use crate::support::tree::TreeHost;
use crate::support::{Host, has_program};
use crate::unit::readonly::INSTANCE;

#[test]
fn an_override_is_not_lost_where_the_directory_cant_be_listed() {
    if !has_program("strace") {
        return;
    }
    let tree = TreeHost::with_vendor_stack()
        .file("/srv/mitigator/docker-compose.override.yml", "version: \"2.2\"\nservices: {}\n");
    let dir = tree.at("/srv/mitigator").display().to_string();
    let before = tree.snapshot();
    let plan = failing("getdents64", "EIO", &dir, tree.vpn(&format!("plan {INSTANCE}"))).exits(3);
    assert!(!plan.out().contains("COMPOSE_FILE=docker-compose.yml:docker-compose.vpn.yml"), "{plan}");
    let install = failing("getdents64", "EIO", &dir, tree.vpn(&format!("install {INSTANCE} --yes"))).exits(3);
    assert!(install.to_string().contains(&format!("listing {dir}: Input/output error")), "{install}");
    before.is_untouched_in(&tree.snapshot());
    // Ignoring the check is no answer either.
    let ignored = format!("install {INSTANCE} --yes --ignore host-readable");
    failing("getdents64", "EIO", &dir, tree.vpn(&ignored)).exits(3);
    before.is_untouched_in(&tree.snapshot());
    tree.vpn(&format!("install {INSTANCE} --yes")).run().exits(0);
    let env = tree.text("/srv/mitigator/.env");
    assert!(env.contains("docker-compose.yml:docker-compose.override.yml:docker-compose.vpn.yml"), "{env}");
}
