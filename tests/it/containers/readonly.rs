//! `preflight`, `plan` and `status` change nothing: no file is different afterwards, and nobody asked the kernel for a
//! change in between.

use crate::support::container::{ContainerHost, NO_MODULES_HERE};
use crate::support::machine::Machine;
use crate::support::strace::{FILES, Trace};
use crate::support::tree::TreeHost;
use crate::support::{Host, has_program};
use crate::unit::readonly::INSTANCE;

/// Where our own process may write.
const OURS: &[(&str, &str)] =
    &[("/dev/null", "it swallows everything"), ("/dev/tty", "a terminal is asked how wide it is")];

/// Where the commands that are asked may write besides.
const THEIRS: &[(&str, &str)] = &[
    ("/dev/null", "it swallows everything"),
    ("/dev/tty", "a terminal is asked how wide it is"),
    ("/proc/self", "Go and systemd set attributes of their own process"),
    ("/proc/thread-self", "the same of a thread"),
    ("/tmp\", O_RDWR|O_EXCL|O_CLOEXEC|O_TMPFILE", "apt's memory for one question: a file without a name"),
];

#[test]
fn looking_at_a_tree_asks_for_no_change() {
    if !has_program("strace") {
        return;
    }
    let tree = TreeHost::with_vendor_stack();
    tree.vpn(&format!("install {INSTANCE} --yes")).run().exits(0);
    for command in ["preflight --json", "plan --json", "status --json", "peers list", "peers check"] {
        let (_, trace) = Trace::of(&tree, FILES, tree.vpn(command));
        assert_eq!(trace.changes(OURS), Vec::<&str>::new(), "{command}");
    }
}

#[test]
fn looking_at_a_host_changes_nothing_before_and_after_an_install() {
    let Some(host) = ContainerHost::up("readonly") else { return };
    let address = host.address();
    let commands = [
        format!("preflight --vpn-address 10.8.3.1 --endpoint {address} --stack default --json {NO_MODULES_HERE}"),
        format!("plan --vpn-address 10.8.3.1 --endpoint {address} --stack default --json {NO_MODULES_HERE}"),
        format!("status --json {NO_MODULES_HERE}"),
    ];
    for installed in [false, true] {
        if installed {
            host.install(1).run().exits(0);
        }
        let (before, docker) = (host.snapshot(), host.docker_things());
        for command in &commands {
            let (ran, trace) = Trace::of(&host, FILES, host.vpn(command));
            ran.exits_with_one_of(&[0, 5]).json();
            assert_eq!(trace.changes(THEIRS), Vec::<&str>::new(), "{command}");
        }
        before.is_untouched_in(&host.snapshot());
        assert_eq!(host.docker_things(), docker);
    }
}
