//! A signal never leaves protection off: whatever ends a run while it restarts the stack, the stack is up again within a
//! minute.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::Host;
use crate::support::call::Ran;
use crate::support::container::{ContainerHost, NO_MODULES_HERE};
use crate::support::machine::{Machine, PROGRAM};

const ENV: &str = "/srv/mitigator/.env";

/// The promise.
const UP_AGAIN: Duration = Duration::from_secs(60);

/// Moments of a restart, as conditions of a shell. What compose does is seen by its processes.
const MOMENTS: [&str; 7] = [
    r#"grep -q '"resource":{"stack"' /var/lib/mitigator-vpn/journal.ndjson"#,
    "pgrep -f '[c]ompose down$' >/dev/null",
    "pgrep -f '[c]ompose down$' >/dev/null && sleep 0.3",
    "[ -z \"$(docker ps -q)\" ]",
    "pgrep -f '[c]ompose down$' >/dev/null && while pgrep -f '[c]ompose down$' >/dev/null; do :; done",
    "pgrep -f '[c]ompose up -d$' >/dev/null",
    "pgrep -f '[c]ompose up -d$' >/dev/null && sleep 0.5",
];
const DURING_DOWN: usize = 1;
const WHILE_DOWN: usize = 3;

/// An installed host that can be restarted as often as needed.
struct Restarted {
    host: ContainerHost,
    version: &'static str,
    restarts: u32,
}

impl Restarted {
    fn up(label: &str, version: &'static str) -> Option<Restarted> {
        let host = ContainerHost::up(label)?;
        host.use_compose(version);
        host.install(1).run().exits(0);
        Some(Restarted { host, version, restarts: 0 })
    }

    /// Has the next install restart the stack: the gateway's container is made from this variable.
    fn outdate(&mut self) {
        self.restarts += 1;
        let (number, line) = (1300 + self.restarts, "/^MITIGATOR_VPN_MTU=/d");
        self.host.shell(&format!("sed -i '{line}' {ENV}; echo MITIGATOR_VPN_MTU={number} >>{ENV}")).run().exits(0);
        self.host.call("rm -f /var/lib/mitigator-vpn/journal.ndjson").run().exits(0);
    }

    /// Sends a signal to the run at this moment of its restart.
    fn strike(&mut self, signal: &str, moment: &str) -> Ran {
        self.outdate();
        let install = self.host.vpn(&format!("install --yes {NO_MODULES_HERE}")).start();
        let script = format!("until {moment}; do sleep 0.01; done; pkill -{signal} -f '^{PROGRAM} install'");
        let strike = self.host.shell(&script).run();
        let ran = install.wait();
        assert!(strike.code == Some(0), "{}: {signal} at '{moment}' came too late\n{ran}", self.version);
        ran
    }

    /// The gateway runs, and nothing is under way that could stop it. A run that was killed collects nothing: the files of
    /// its job stay until the next one, also of a job that was never begun.
    fn is_up(&self) -> bool {
        let busy = "pgrep -f '[c]ompose (down|up -d)$' && exit 1; for job in /var/lib/mitigator-vpn/jobs/*/begun; do \
                    [ ! -e \"$job\" ] || [ -e \"${job%begun}done\" ] || exit 1; done";
        self.host.shell(busy).run().code == Some(0) && !self.host.gateway().is_empty()
    }

    fn comes_up_after(&mut self, signal: &str, moment: &str) {
        let (struck, version) = (self.strike(signal, moment), self.version);
        let since = Instant::now();
        while !self.is_up() {
            let waited = since.elapsed();
            assert!(waited < UP_AGAIN, "{version}: no stack {waited:?} after {signal} at '{moment}'\n{struck}");
            thread::sleep(Duration::from_millis(200));
        }
        match signal {
            "KILL" => assert!(struck.was_killed(), "{struck}"),
            _ => drop(struck.exits(6).says("stopped; what was begun is finished").says(signal)),
        }
        self.host.vpn(&format!("install --yes {NO_MODULES_HERE}")).run().exits(0);
        self.host.call("ls /var/lib/mitigator-vpn/jobs").run().exits(2);
        self.host.status().exits(0);
        self.host.shell("ls /etc/systemd/system | grep mitigator-vpn").run().exits(1);
    }
}

/// Each signal once for each generation, at the moments that leave the most undone.
fn each_signal_once(label: &str, version: &'static str) {
    let Some(mut host) = Restarted::up(label, version) else { return };
    for (signal, moment) in
        [("KILL", WHILE_DOWN), ("INT", WHILE_DOWN), ("TERM", DURING_DOWN), ("HUP", WHILE_DOWN), ("KILL", DURING_DOWN)]
    {
        host.comes_up_after(signal, MOMENTS[moment]);
    }
}

#[test]
fn a_signal_during_a_restart_by_compose_v1_leaves_the_stack_up() {
    each_signal_once("signals-v1", "v1");
}

#[test]
fn a_signal_during_a_restart_by_compose_v2_leaves_the_stack_up() {
    each_signal_once("signals-v2", "v2");
}

#[test]
fn a_power_cut_during_a_restart_and_a_reader_who_goes_away_leave_the_stack_up() {
    let Some(mut host) = Restarted::up("signals-power", "v2") else { return };
    // Nobody reads what is said: a lost ssh.
    host.outdate();
    let install = format!("({PROGRAM} install --yes {NO_MODULES_HERE}; echo $? >/root/code) 2>&1 | head -c 1");
    host.host.shell(&install).run().exits(0);
    let code = host.host.text("/root/code");
    assert!(["0", "1"].contains(&code.trim()), "exit code {code}: only its document can be lost");
    assert!(host.is_up());

    host.outdate();
    let install = host.host.vpn(&format!("install --yes {NO_MODULES_HERE}")).start();
    host.host.shell(&format!("until {}; do sleep 0.01; done", MOMENTS[WHILE_DOWN])).run().exits(0);
    host.host.kill();
    install.wait();
    host.host.boot();
    let since = Instant::now();
    while !host.is_up() {
        assert!(since.elapsed() < UP_AGAIN, "nobody has started the stack after the boot");
        thread::sleep(Duration::from_millis(200));
    }
}

mod long {
    use super::{MOMENTS, Restarted};

    fn every_signal_at_every_moment(label: &str, version: &'static str) {
        let Some(mut host) = Restarted::up(label, version) else { return };
        for moment in MOMENTS {
            for signal in ["INT", "TERM", "HUP", "KILL"] {
                host.comes_up_after(signal, moment);
            }
        }
    }

    #[test]
    fn every_signal_at_every_moment_of_a_restart_by_compose_v1_leaves_the_stack_up() {
        every_signal_at_every_moment("signals-all-v1", "v1");
    }

    #[test]
    fn every_signal_at_every_moment_of_a_restart_by_compose_v2_leaves_the_stack_up() {
        every_signal_at_every_moment("signals-all-v2", "v2");
    }
}
