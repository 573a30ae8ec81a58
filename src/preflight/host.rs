//! Checks of: the release, the machine, the clock.

use super::{Check, Context, Outcome};
use crate::facts::WireGuardSupport;

/// The rows, in the order they are reported.
pub const CHECKS: &[Check] = &[
    Check {
        id: "supported-release",
        title: "this release is supported",
        note: Some("FN-11"),
        run: supported_release,
        explain: "\
The release is read from /etc/os-release (or /usr/lib/os-release) and compared with the releases this program knows:
Debian 10, Debian 11, Debian 12, Debian 13, Ubuntu 20.04, Ubuntu 22.04, Ubuntu 24.04.

A release built on one of these (Linux Mint, Raspbian, Astra Linux, ...) is treated as the one it is built on. That is
best effort, and a warning: nobody has tried it. Anything else fails; the nearest supported release is named.

A release past its support still works, with a warning: Debian 10's packages are in Debian's archive only, and nothing
on such a host gets security updates any more. The way out is an upgrade of the release, one at a time.",
    },
    Check {
        id: "root",
        title: "this runs as root",
        note: None,
        run: root,
        explain: "\
Installing packages, loading a kernel module and writing into the instance's directory need root, and so does looking
at the firewall and at other processes' ports: without it several other checks can't see enough.

Run the same command with sudo, or in a root shell.",
    },
    Check {
        id: "disk-space",
        title: "there is room for what install writes",
        note: None,
        run: disk_space,
        explain: "\
Install writes a few kilobytes into the instance's directory. Where packages are missing, apt needs room for its lists
and downloads under /var and for the programs under /usr; where dkms has to build the module (Debian 10), a compiler and
kernel headers come along, some 500 MiB under /usr.

Make room on the file system that is named: `apt-get clean` empties apt's downloads, `journalctl --vacuum-size=200M`
shortens the journal, `docker system df` shows what images and volumes take.",
    },
    Check {
        id: "memory",
        title: "there is enough memory",
        note: None,
        run: memory,
        explain: "\
The VPN itself needs next to nothing: 10 MiB for the gateway, 30 MiB more where wireguard-go stands in for the kernel.
Building the module with dkms (Debian 10) takes 500 MiB for a minute. Less is a warning, since swap may do.",
    },
    Check {
        id: "virtualization",
        title: "this system has a kernel of its own, or its host's has WireGuard",
        note: Some("FN-19"),
        run: virtualization,
        explain: "\
Containers (LXC, OpenVZ, Docker, WSL) share the kernel of their host and can't load modules into it. WireGuard works in
them when the host has loaded it, which is tried with a link in a throw-away network namespace.

On the container's host: `modprobe wireguard`, and a line `wireguard` in its /etc/modules-load.d/, so that it stays.
LXC needs nothing else. WSL's kernel has it since 5.10: `wsl --update`, in Windows. OpenVZ's has none in any version:
this instance needs a machine with a kernel of its own.
In a container, install leaves modules-load.d alone.",
    },
    Check {
        id: "reboot-required",
        title: "no reboot is pending",
        note: None,
        run: reboot_required,
        explain: "\
Some package has asked for a reboot (/run/reboot-required), mostly a new kernel. What is proven now is proven for the
running kernel; the check kernel-next looks at the one that comes. A reboot stops the DDoS protection of this instance,
so its time is yours to choose.",
    },
    Check {
        id: "clock",
        title: "the clock is synchronised",
        note: Some("FN-30"),
        run: clock,
        explain: "\
WireGuard refuses a handshake that is older than one it has seen. When a host's clock jumps back, its peers ignore it
until the clock has caught up; nothing says so. The kernel knows whether something keeps its clock right (adjtimex, what
`timedatectl` shows as \"System clock synchronized\").

Debian 10: `timedatectl set-ntp true`.
Debian 11 and later, Ubuntu: the same; \"NTP not supported\" means that the service is missing, which is a package of
its own there: `apt-get install systemd-timesyncd`, which also starts it.
chrony and ntpd do as well, and without systemd they are the way: `apt-get install chrony`. No server in reach: name one
of your own in /etc/systemd/timesyncd.conf (NTP=), then `systemctl restart systemd-timesyncd`.
In a container the host keeps the clock.",
    },
];

const MIB: u64 = 1 << 20;

fn supported_release(context: &Context) -> Outcome {
    let distro = match context.distro {
        Ok(distro) => distro,
        Err(reason) => return Outcome::fail(reason, "mitigator-vpn explain supported-release"),
    };
    let mut reservations: Vec<String> =
        distro.best_effort.iter().map(|what| format!("{what}, which is best effort")).collect();
    if distro.is_past_support(&context.facts.clock.today) {
        reservations.push(format!("{} has had no security updates since {}", distro.name, distro.support_ends));
    }
    if reservations.is_empty() {
        return Outcome::pass(format!("{}, supported until {}", distro.name, distro.support_ends));
    }
    Outcome::warn(reservations.join("; "), "mitigator-vpn explain supported-release")
}

fn root(context: &Context) -> Outcome {
    if context.facts.machine.is_root {
        Outcome::pass("running as root")
    } else {
        Outcome::fail("not running as root", "run the same command with sudo, or after: sudo -i")
    }
}

fn disk_space(context: &Context) -> Outcome {
    let facts = context.facts;
    let missing = context.distro.map(|d| d.missing_packages(facts, context.settings)).unwrap_or_default();
    let builds = context.distro.is_ok_and(|d| d.module_route(facts).is_some_and(|source| source.is_built()));
    let installs = |mib: u64| if missing.is_empty() { 0 } else { mib };
    // The lists of a release with all its packages take some 100 MiB; what we install is small beside them.
    let var = installs(if facts.packages.lists_age.is_none() { 128 } else { 16 });
    let dir = context.settings.dir.display().to_string();
    let needs = [(dir.as_str(), 8), ("/var", var), ("/usr", if builds { 512 } else { installs(8) })];
    let known = needs.iter().filter_map(|(path, need)| Some((path, need * MIB, *facts.machine.free_space.get(*path)?)));
    let known: Vec<_> = known.collect();
    if let Some((path, need, free)) = known.iter().find(|(_, need, free)| free < need) {
        return Outcome::fail(
            format!("{} MiB free in {path}, {} MiB are needed", free / MIB, need / MIB),
            format!("df -h {path}"),
        );
    }
    match known.iter().map(|(_, _, free)| free).min() {
        Some(least) => Outcome::pass(format!("{} MiB free", least / MIB)),
        None => Outcome::unknown("free space can't be read here"),
    }
}

fn memory(context: &Context) -> Outcome {
    let (Some(total), Some(available)) = (context.facts.machine.memory, context.facts.machine.memory_available) else {
        return Outcome::unknown("there is no /proc to tell");
    };
    let builds = context.distro.is_ok_and(|d| d.module_route(context.facts).is_some_and(|source| source.is_built()));
    let need = if builds { 512 * MIB } else { 64 * MIB };
    let detail = format!("{} of {} MiB available", available / MIB, total / MIB);
    if available < need {
        return Outcome::warn(format!("{detail}, {} MiB are wanted", need / MIB), "free -m");
    }
    Outcome::pass(detail)
}

fn virtualization(context: &Context) -> Outcome {
    let Some(kind) = &context.facts.machine.container else { return Outcome::pass("a kernel of its own") };
    match &context.facts.kernel.wireguard {
        WireGuardSupport::BuiltIn | WireGuardSupport::Loaded => {
            Outcome::pass(format!("a container ({kind}); its host's kernel has WireGuard"))
        }
        WireGuardSupport::Loadable => Outcome::pass(format!("a container ({kind}) that may load modules")),
        WireGuardSupport::Missing | WireGuardSupport::Refused(_) => Outcome::warn(
            format!("a container ({kind}); its host's kernel has no WireGuard loaded"),
            on_the_containers_host(kind),
        ),
    }
}

/// What somebody has to type where the container's kernel is.
pub(super) fn on_the_containers_host(kind: &str) -> &'static str {
    match kind {
        "wsl" => "in Windows: wsl --update",
        "openvz" => "move this instance to a machine with a kernel of its own: OpenVZ's has no WireGuard",
        _ => "on the container's host: modprobe wireguard",
    }
}

fn reboot_required(context: &Context) -> Outcome {
    if context.facts.machine.reboot_required {
        return Outcome::warn("a package has asked for a reboot", "cat /run/reboot-required*");
    }
    Outcome::pass("no package asks for one")
}

fn clock(context: &Context) -> Outcome {
    match context.facts.clock.synchronised {
        Some(true) => Outcome::pass("synchronised"),
        Some(false) if context.facts.machine.container.is_some() => {
            Outcome::warn("nothing keeps this clock right", "on the container's host: timedatectl set-ntp true")
        }
        Some(false) => Outcome::warn("nothing keeps this clock right", keep_it_right(context)),
        None => Outcome::unknown("nothing here tells whether something keeps the clock right"),
    }
}

/// Debian 10 has the service within systemd, the others as a package that may be missing.
fn keep_it_right(context: &Context) -> &'static str {
    match (context.facts.machine.systemd, context.distro.map(|distro| distro.codename.as_str())) {
        (false, _) => "apt-get install chrony",
        (true, Ok("buster") | Err(_)) => "timedatectl set-ntp true",
        (true, Ok(_)) => "timedatectl set-ntp true || apt-get install systemd-timesyncd",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distro::Distro;
    use crate::facts::Facts;
    use crate::preflight::Verdict::{Fail, Pass, Unknown, Warn};
    use crate::preflight::tests::{outcome, outcome_with};
    use crate::settings::Settings;

    #[test]
    fn a_healthy_host_passes_every_row() {
        for check in CHECKS {
            assert_eq!(outcome(check.id, &Facts::healthy()).0, Pass, "{}", check.id);
        }
    }

    #[test]
    fn the_explanation_names_every_supported_release() {
        let explain = CHECKS[0].explain;
        for distro in Distro::all() {
            assert!(explain.contains(&distro.name), "{}", distro.name);
        }
    }

    #[test]
    fn an_unknown_release_fails_and_a_derivative_or_old_one_warns() {
        let mut facts = Facts::healthy();
        facts.os.id = "altlinux".into();
        let (verdict, text) = outcome("supported-release", &facts);
        assert_eq!(verdict, Fail);
        assert!(text.contains("nearest supported one is Debian 13"), "{text}");

        let mut facts = Facts::healthy();
        facts.os.id = "raspbian".into();
        facts.os.id_like = vec!["debian".into()];
        assert_eq!(outcome("supported-release", &facts).0, Warn);

        let mut facts = Facts::healthy();
        facts.clock.today = "2028-07-01".into();
        let (verdict, text) = outcome("supported-release", &facts);
        assert_eq!(verdict, Warn);
        assert!(text.contains("no security updates since 2028-06-30"), "{text}");
    }

    #[test]
    fn without_root_it_fails() {
        let mut facts = Facts::healthy();
        facts.machine.is_root = false;
        assert_eq!(outcome("root", &facts).0, Fail);
    }

    #[test]
    fn a_full_disk_fails_only_where_something_will_be_written() {
        let mut facts = Facts::healthy();
        facts.machine.free_space.insert("/var".into(), 10 * MIB);
        let (verdict, text) = outcome("disk-space", &facts);
        assert_eq!(verdict, Fail);
        assert!(text.contains("10 MiB free in /var, 16 MiB are needed") && text.contains("df -h /var"), "{text}");
        facts.packages.known.get_mut("wireguard-tools").unwrap().installed = Some("1".into());
        assert_eq!(outcome("disk-space", &facts).0, Pass);

        facts.machine.free_space.insert("/data".into(), MIB);
        let settings = Settings { dir: "/data".into(), ..Settings::default() };
        assert_eq!(outcome_with("disk-space", &facts, &settings).0, Fail);
        facts.machine.free_space.clear();
        assert_eq!(outcome("disk-space", &facts).0, Unknown);
    }

    #[test]
    fn little_memory_warns_and_no_proc_is_unknown() {
        let mut facts = Facts::healthy();
        facts.machine.memory_available = Some(10 * MIB);
        assert_eq!(outcome("memory", &facts).0, Warn);
        facts.machine.memory = None;
        assert_eq!(outcome("memory", &facts).0, Unknown);
    }

    #[test]
    fn a_container_warns_unless_its_hosts_kernel_has_wireguard() {
        let mut facts = Facts::healthy();
        facts.machine.container = Some("lxc".into());
        facts.kernel.wireguard = WireGuardSupport::Missing;
        let (verdict, text) = outcome("virtualization", &facts);
        assert_eq!(verdict, Warn);
        assert!(text.contains("on the container's host: modprobe wireguard"), "{text}");
        facts.machine.container = Some("wsl".into());
        assert!(outcome("virtualization", &facts).1.contains("wsl --update"));
        facts.kernel.wireguard = WireGuardSupport::Loaded;
        assert_eq!(outcome("virtualization", &facts).0, Pass);
    }

    #[test]
    fn a_pending_reboot_and_a_free_running_clock_warn() {
        let mut facts = Facts::healthy();
        facts.machine.reboot_required = true;
        facts.clock.synchronised = Some(false);
        assert_eq!(outcome("reboot-required", &facts).0, Warn);
        assert_eq!(outcome("clock", &facts).0, Warn);
        facts.clock.synchronised = None;
        assert_eq!(outcome("clock", &facts).0, Unknown);
    }
}
