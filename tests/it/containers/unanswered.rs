//! A question that gets no answer is none that was answered with "nothing": the run says which, and nothing is changed.

use crate::support::container::{ContainerHost, NO_MODULES_HERE};
use crate::support::machine::Machine;
use crate::support::strace::failing;
use crate::support::tree::TreeHost;
use crate::support::{Host, has_program};
use crate::unit::readonly::INSTANCE;

const DIR: &str = "/srv/mitigator";
const ENV: &str = "/srv/mitigator/.env";
const JOURNAL: &str = "/var/lib/mitigator-vpn/journal.ndjson";

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

/// Docker's socket is there, and who listens there is no Docker: how that is done, and undone.
const NO_DOCKER: [&str; 2] = [
    "mv /run/docker.sock /run/docker.sock.real; setsid --fork perl -MIO::Socket::UNIX -e '\
     $s = IO::Socket::UNIX->new(Local => \"/run/docker.sock\", Listen => 9) or die; \
     while ($c = $s->accept) { print $c \"220 mail.example ESMTP\\r\\n\"; sysread $c, $x, 9999; close $c }' \
     </dev/null >/dev/null 2>&1; until [ -S /run/docker.sock ]; do sleep 0.1; done",
    "pkill -x perl; mv /run/docker.sock.real /run/docker.sock",
];

/// Neither an install nor an undo takes anything down, or away, meanwhile.
fn nothing_goes_down(host: &ContainerHost, [breaks, mends]: [&str; 2]) {
    let (gateway, journal, packages) = (host.gateway(), host.text(JOURNAL), host.packages());
    assert!(!gateway.is_empty());
    let before = host.snapshot().below(DIR);
    host.shell(breaks).run().exits(0);
    let install = host.vpn(&format!("install --yes {NO_MODULES_HERE}")).run();
    let undo = host.vpn("undo --yes").run();
    host.shell(mends).run().exits(0);
    install.exits(3).says("unknown").says("at /var/run/docker.sock");
    let undo = undo.exits(6);
    assert_eq!(host.gateway(), gateway, "{undo}");
    assert_eq!(host.text(JOURNAL), journal, "{undo}");
    assert_eq!(host.packages(), packages, "{undo}");
    before.is_untouched_in(&host.snapshot().below(DIR));
}

#[test]
fn what_is_no_docker_or_dies_is_unknown_and_nothing_goes_down_that_does_not_come_up() {
    let Some(host) = ContainerHost::up("unanswered") else { return };
    // The client is told to look elsewhere, by the environment and by its context: it is this host's Docker all the same.
    let elsewhere =
        "docker context create elsewhere --docker host=tcp://192.0.2.1:2375 && docker context use elsewhere";
    host.shell(elsewhere).run().exits(0);
    host.install(1).env("DOCKER_HOST", "tcp://192.0.2.1:2375").env("DOCKER_CONTEXT", "elsewhere").run().exits(0);
    host.vpn(&format!("status --json {NO_MODULES_HERE}")).env("DOCKER_HOST", "tcp://192.0.2.1:2375").run().exits(0);
    host.shell("docker context use default").run().exits(0);

    nothing_goes_down(&host, NO_DOCKER);
    for (words, code) in [("preflight", 3), ("status", 5)] {
        host.shell(NO_DOCKER[0]).run().exits(0);
        let ran = host.vpn(&format!("{words} {NO_MODULES_HERE}")).run();
        host.shell(NO_DOCKER[1]).run().exits(0);
        ran.exits(code).says("what listens at /var/run/docker.sock is no Docker daemon");
    }

    // It dies once the restart has begun, and stays dead.
    host.shell(&format!("sed -i /^MITIGATOR_VPN_MTU=/d {ENV}; echo MITIGATOR_VPN_MTU=1300 >>{ENV}")).run().exits(0);
    let install = host.vpn(&format!("install --yes {NO_MODULES_HERE}")).start();
    let dies = "until pgrep -f '[c]ompose down$' >/dev/null; do sleep 0.01; done; systemctl stop docker.socket docker";
    host.shell(dies).run().exits(0);
    let ran = install.wait();
    assert!(matches!(ran.code, Some(5 | 6)), "{ran}");
    let (files, packages) = (host.snapshot().below(DIR), host.packages());
    let undo = host.vpn("undo --yes").run().exits(6);
    host.shell("systemctl start docker").run().exits(0);
    assert_eq!(host.packages(), packages, "{undo}");
    files.is_untouched_in(&host.snapshot().below(DIR));
    host.vpn(&format!("install --yes {NO_MODULES_HERE}")).run().exits(0);
    host.status().exits(0);
}

mod long {
    use super::nothing_goes_down;
    use crate::support::container::ContainerHost;
    use crate::support::machine::Machine;

    /// Each question waits as long as it may: minutes in all.
    #[test]
    fn a_docker_that_does_not_answer_is_unknown_and_nothing_goes_down() {
        let Some(host) = ContainerHost::up("unanswered-long") else { return };
        host.install(1).run().exits(0);
        nothing_goes_down(&host, ["kill -STOP $(pidof dockerd)", "kill -CONT $(pidof dockerd)"]);
    }
}
