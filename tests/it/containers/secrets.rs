//! A private key never leaves its file: checked by system calls, and on a host with Docker and logs.

use crate::support::container::{ContainerHost, NO_MODULES_HERE};
use crate::support::machine::Machine;
use crate::support::processes::seen_during;
use crate::support::secret::Canary;
use crate::support::strace::Trace;
use crate::support::tree::TreeHost;
use crate::support::{Host, has_program};
use crate::unit::secrets::{INSTANCE, PRIVATE, assert_silent, loud};

/// In all strings passed to the kernel (arguments, environments, writes) the key goes only into its file.
#[test]
fn no_process_is_given_the_key_and_nothing_but_its_file_is_written_with_it() {
    if !has_program("strace") {
        return;
    }
    let canary = Canary::new();
    let tree = TreeHost::with_vendor_stack().file(PRIVATE, canary.private_conf());
    for command in [format!("install {INSTANCE} --port 4568 --yes"), "status --json".into(), "undo --yes".into()] {
        let calls = "execve,write,pwrite64,writev,pwritev,sendto,sendmsg";
        let (_, trace) = Trace::of(&tree, calls, loud(tree.vpn(&command)));
        for line in trace.lines.iter().filter(|line| canary.leaks_in(line.as_bytes()).is_some()) {
            let file = line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(file, _)| file);
            let name = file.rsplit('/').next().unwrap_or_default();
            assert!(name.contains("vpn-private.conf"), "{command}: {line}");
        }
    }
}

#[test]
fn the_key_of_a_live_host_is_in_no_process_log_container_or_file() {
    let Some(host) = ContainerHost::up("secret") else { return };
    let canary = Canary::new();
    host.write(PRIVATE, canary.private_conf());

    let seen = seen_during(|| {
        let (ran, trace) = Trace::of(&host, "execve", loud(host.install(1)));
        assert_silent(&canary, &ran.exits(0));
        canary.is_not_in("an argument or an environment", trace.lines.join("\n").as_bytes());
        for command in
            ["preflight", "plan", "status", "status --json", "install --yes --json", "install --port 4568 --yes"]
        {
            assert_silent(&canary, &loud(host.vpn(&format!("{command} {NO_MODULES_HERE}"))).run());
        }
        for words in
            ["exec -T gateway reconfigure", "exec -T gateway mitigator-vpn gateway status --json", "logs", "config"]
        {
            assert_silent(&canary, &host.shell(&format!("cd /srv/mitigator && docker-compose {words}")).run());
        }
    });
    assert!(seen.iter().any(|line| line.starts_with(b"/usr/local/bin/mitigator-vpn\0")), "the watcher saw nothing");
    for bytes in &seen {
        canary.is_not_in("a process", bytes);
    }
    for script in
        ["docker ps -aq | xargs docker inspect", "docker ps -q | xargs -n1 docker logs", "journalctl -b -a --no-pager"]
    {
        let ran = host.shell(script).run().exits(0);
        assert_silent(&canary, &ran);
    }
    // The whole disk, Docker's data and the journal included.
    let files = host
        .shell("grep -rlaF -D skip -e \"$0\" /etc /home /opt /root /run /srv /tmp /usr /var")
        .arg(&canary.text)
        .run();
    assert_eq!(files.out().trim(), PRIVATE);
}
