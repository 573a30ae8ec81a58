//! Checks of: the release, the machine, the clock.

use super::packages::apt_install;
use super::{Check, Inputs, Judgement, Needs, Part, explained, id};
use crate::facts::{JournalProblem, Unread, WireGuardSupport};
use crate::message;
use crate::message::Message;
use crate::policy;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: id::SUPPORTED_RELEASE,
        title: "this release is supported",
        note: Some("FN-11"),
        needs: Needs::Files,
        rests_on: &[],
        run: supported_release,
        explain: "\
The release is read from /etc/os-release (or /usr/lib/os-release) and compared with the releases this program knows:
Debian 10, Debian 11, Debian 12, Debian 13, Ubuntu 20.04, Ubuntu 22.04, Ubuntu 24.04.

A release built on one of these (Linux Mint, Raspbian, Astra Linux, ...) is treated as the one it is built on. That is
best effort and gives a warning: it is not tested. Any other release fails; the nearest supported one is named.

A release past its support still works, with a warning: Debian 10's packages are in Debian's archive only, and such a
host gets no security updates. Upgrade it, one release at a time.",
    },
    Check {
        id: id::ROOT,
        title: "this runs as root",
        note: None,
        needs: Needs::LiveHost,
        rests_on: &[],
        run: root,
        explain: "\
Installing packages, loading a kernel module and writing into the instance's directory need root, and so does looking
at the firewall and at other processes' ports: without it several other checks can't see enough.

Run the same command with sudo, or in a root shell.",
    },
    Check {
        id: id::HOST_READABLE,
        title: "what decides about a change can be read",
        note: None,
        needs: Needs::Files,
        rests_on: &[],
        run: host_readable,
        explain: "\
What install changes follows from what is there: the kernel's modules, dpkg's record, the instance's files, its
containers. A file that isn't there is an answer. A file that can't be read, a directory that can't be listed and a
daemon that doesn't answer are none, and taking them for \"nothing is there\" would change the wrong thing. So nothing is
changed then, and each check that would judge by it says that it can't be known.

The reason names the file or the daemon. \"Permission denied\": run it as root. \"Input/output error\": `dmesg | tail`,
the disk fails. \"Too many open files\", \"Cannot allocate memory\": `ulimit -n`, `free -m`.",
    },
    Check {
        id: id::JOURNAL,
        title: "the journal of earlier runs can be used",
        note: None,
        needs: Needs::Files,
        rests_on: &[Part::Journal],
        run: journal,
        explain: "\
What install has changed on this host is in /var/lib/mitigator-vpn/journal.ndjson, and undo takes it back from there. A
newer version of this program may write it in a way that an older one can't read. Then use that version or a newer one
for install and for undo; the reason names it. Don't move the journal away: nothing could be taken back any more.

A damaged journal is named with its line. Nothing is changed by it; undo can't trust it.",
    },
    Check {
        id: id::DISK_SPACE,
        title: "there is room for what install writes",
        note: None,
        needs: Needs::Files,
        rests_on: &[Part::Machine, Part::Kernel, Part::Packages],
        run: disk_space,
        explain: "\
Install writes a few kilobytes into the instance's directory. Where packages are missing, apt needs room for its lists
and downloads under /var and for the programs under /usr; where dkms has to build the module (Debian 10), a compiler and
kernel headers come along, some 500 MiB under /usr.

Make room on the file system that is named: `apt-get clean` empties apt's downloads, `journalctl --vacuum-size=200M`
shortens the journal, `docker system df` shows what images and volumes take.",
    },
    Check {
        id: id::MEMORY,
        title: "there is enough memory",
        note: None,
        needs: Needs::LiveHost,
        rests_on: &[Part::Machine, Part::Kernel, Part::Packages],
        run: memory,
        explain: "\
The VPN needs little: 10 MiB for the gateway, 30 MiB more where wireguard-go replaces the kernel's WireGuard. Building
the module with dkms (Debian 10) takes 500 MiB for a minute. Less is a warning, since swap may be enough.",
    },
    Check {
        id: id::VIRTUALIZATION,
        title: "this system has a kernel of its own, or its host's has WireGuard",
        note: Some("FN-19"),
        needs: Needs::LiveHost,
        rests_on: &[Part::Machine, Part::Kernel],
        run: virtualization,
        explain: "\
Containers (LXC, OpenVZ, Docker, WSL) share the kernel of their host and can't load modules into it. WireGuard works in
them if the host has loaded it. That is tried with an interface in a temporary network namespace.

On the container's host: `modprobe wireguard`, and a line `wireguard` in its /etc/modules-load.d/, so that it is loaded
after a reboot too. LXC needs nothing else. WSL's kernel has it since 5.10: `wsl --update`, in Windows. OpenVZ's has it
in no version: this instance needs a machine with its own kernel.
In a container, install leaves modules-load.d alone.",
    },
    Check {
        id: id::REBOOT_REQUIRED,
        title: "no reboot is pending",
        note: None,
        needs: Needs::LiveHost,
        rests_on: &[Part::Machine],
        run: reboot_required,
        explain: "\
A package requires a reboot (/run/reboot-required), usually a new kernel. Install proves the tunnel with the running
kernel; the check kernel-next looks at the next one. A reboot stops this instance's DDoS protection: choose its time.",
    },
    Check {
        id: id::CLOCK,
        title: "the clock is synchronised",
        note: Some("FN-30"),
        needs: Needs::LiveHost,
        rests_on: &[Part::Machine],
        run: clock,
        explain: "\
WireGuard refuses a handshake that is older than one it has seen. When a host's clock jumps back, its peers ignore it
until the clock has caught up, and no log says so. The kernel knows whether its clock is synchronised (adjtimex, what
`timedatectl` shows as \"System clock synchronized\").

Debian 10: `timedatectl set-ntp true`.
Debian 11 and later, Ubuntu: the same; \"NTP not supported\" means that the service is missing, which is a package of
its own there: `apt-get install systemd-timesyncd`, which also starts it.
chrony and ntpd do as well; without systemd, take one of them: `apt-get install chrony`. No time server in reach: put
your own into /etc/systemd/timesyncd.conf (NTP=), then `systemctl restart systemd-timesyncd`.
In a container the host keeps the clock.",
    },
];

const MIB: u64 = 1 << 20;

fn supported_release(inputs: &Inputs) -> Judgement {
    let distro = match inputs.distro {
        Ok(distro) => distro,
        Err(reason) => return Judgement::fail(reason.clone(), explained(id::SUPPORTED_RELEASE)),
    };
    let (base, date) = (&distro.name, &distro.support_ends);
    let mut reservations: Vec<Message> = Vec::new();
    reservations
        .extend(distro.derivative.as_ref().map(|name| message!("{name} as {base}, which is best effort", name, base)));
    if distro.is_past_support(&inputs.facts.clock.today) {
        reservations.push(message!("{name} has had no security updates since {date}", name = base, date));
    }
    if reservations.is_empty() {
        return Judgement::pass(message!("{name}, supported until {date}", name = base, date));
    }
    Judgement::warn(Message::joined(reservations, "; "), explained(id::SUPPORTED_RELEASE))
}

fn root(inputs: &Inputs) -> Judgement {
    if inputs.facts.machine.is_root {
        Judgement::pass(message!("running as root"))
    } else {
        Judgement::fail(message!("not running as root"), message!("run the same command with sudo"))
    }
}

/// A daemon that doesn't answer tells nothing of a stack: that is one cause, which the check `docker` has.
fn host_readable(inputs: &Inputs) -> Judgement {
    let is_docker = |unread: &&Unread| unread.part == Part::Stack && inputs.facts.docker.daemon.is_err();
    let (silent, unread): (Vec<&Unread>, Vec<&Unread>) = inputs.facts.undecided().partition(is_docker);
    let reasons: Vec<Message> = unread.iter().map(|unread| unread.reason.clone()).collect();
    if !reasons.is_empty() {
        return Judgement::fail(Message::joined(reasons, "; "), explained(id::HOST_READABLE));
    }
    match silent.first() {
        Some(unread) => Judgement::unknown(message!("this can't be known: {reason}", reason = &unread.reason)),
        None => Judgement::pass(message!("all of it was read")),
    }
}

fn journal(inputs: &Inputs) -> Judgement {
    match &inputs.facts.journal {
        None => Judgement::pass(message!("it can be used, or there is none yet")),
        Some(JournalProblem { reason, hint }) => Judgement::fail(reason.clone(), hint.clone()),
    }
}

fn disk_space(inputs: &Inputs) -> Judgement {
    let facts = inputs.facts;
    let missing = inputs.distro.map(|d| policy::missing_packages(facts, d, inputs.settings)).unwrap_or_default();
    let builds = inputs.distro.is_ok_and(|d| policy::module_route(facts, d).is_some_and(|source| source.is_built()));
    let installs = |mib: u64| if missing.is_empty() { 0 } else { mib };
    // The lists of a release with all its packages take some 100 MiB; what we install is small beside them.
    let var = installs(if facts.packages.lists_age.is_none() { 128 } else { 16 });
    let dir = inputs.settings.dir.display().to_string();
    let needs = [(dir.as_str(), 8), ("/var", var), ("/usr", if builds { 512 } else { installs(8) })];
    let known = needs.iter().filter_map(|(path, need)| Some((path, need * MIB, *facts.machine.free_space.get(*path)?)));
    let known: Vec<_> = known.collect();
    if let Some((path, need, free)) = known.iter().find(|(_, need, free)| free < need) {
        return Judgement::fail(
            message!(
                "{free} MiB free in {path}, {need} MiB are needed",
                free = free / MIB,
                path = **path,
                need = need / MIB
            ),
            Message::command(format!("df -h {path}")),
        );
    }
    match known.iter().map(|(_, _, free)| free).min() {
        Some(least) => Judgement::pass(message!("{free} MiB free", free = least / MIB)),
        None => Judgement::unknown(message!("free space can't be read here")),
    }
}

fn memory(inputs: &Inputs) -> Judgement {
    let (Some(total), Some(available)) = (inputs.facts.machine.memory, inputs.facts.machine.memory_available) else {
        return Judgement::unknown(message!("memory can't be read here: there is no /proc"));
    };
    let builds =
        inputs.distro.is_ok_and(|d| policy::module_route(inputs.facts, d).is_some_and(|source| source.is_built()));
    let need = if builds { 512 * MIB } else { 64 * MIB };
    let (enough, available, total, need) = (available >= need, available / MIB, total / MIB, need / MIB);
    if enough {
        return Judgement::pass(message!("{available} of {total} MiB available", available, total));
    }
    Judgement::warn(
        message!("{available} of {total} MiB available, {need} MiB are needed", available, total, need),
        Message::command("free -m"),
    )
}

fn virtualization(inputs: &Inputs) -> Judgement {
    let Some(kind) = &inputs.facts.machine.container else {
        return Judgement::pass(message!("this system has its own kernel"));
    };
    match &inputs.facts.kernel.wireguard {
        WireGuardSupport::BuiltIn | WireGuardSupport::Loaded => {
            Judgement::pass(message!("a container ({kind}); its host's kernel has WireGuard", kind))
        }
        WireGuardSupport::Loadable => Judgement::pass(message!("a container ({kind}) that may load modules", kind)),
        WireGuardSupport::Missing | WireGuardSupport::Refused(_) => Judgement::warn(
            message!("a container ({kind}); its host's kernel has no WireGuard loaded", kind),
            on_the_containers_host(kind),
        ),
    }
}

/// What somebody has to type where the container's kernel is.
pub(super) fn on_the_containers_host(kind: &str) -> Message {
    match kind {
        "wsl" => message!("in Windows: {command}", command = "wsl --update"),
        "openvz" => message!("move this instance to a machine with its own kernel: OpenVZ's has no WireGuard"),
        _ => message!("on the container's host: {command}", command = "modprobe wireguard"),
    }
}

fn reboot_required(inputs: &Inputs) -> Judgement {
    if inputs.facts.machine.reboot_required {
        return Judgement::warn(message!("a package requires a reboot"), Message::command("cat /run/reboot-required*"));
    }
    Judgement::pass(message!("no package requires a reboot"))
}

fn clock(inputs: &Inputs) -> Judgement {
    let in_container = inputs.facts.machine.container.is_some();
    match inputs.facts.clock.synchronised {
        Some(true) => Judgement::pass(message!("the clock is synchronised")),
        Some(false) if in_container => Judgement::warn(
            message!("the clock is not synchronised"),
            message!("on the container's host: {command}", command = SYNCHRONISE),
        ),
        Some(false) => {
            Judgement::warn(message!("the clock is not synchronised"), Message::command(synchronise(inputs)))
        }
        None => Judgement::unknown(message!("whether the clock is synchronised can't be read here")),
    }
}

const SYNCHRONISE: &str = "timedatectl set-ntp true";

fn synchronise(inputs: &Inputs) -> String {
    if !inputs.facts.machine.systemd {
        return apt_install(inputs, "chrony");
    }
    match inputs.distro.map_or(&[][..], |distro| &distro.packages.time_sync) {
        [] => SYNCHRONISE.to_owned(),
        packages => match apt_install(inputs, &packages.join(" ")) {
            install if install.contains("&&") => format!("{SYNCHRONISE} || {{ {install}; }}"),
            install => format!("{SYNCHRONISE} || {install}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distro::Distro;
    use crate::facts::Facts;
    use crate::preflight::Severity::{Fail, Pass, Unknown, Warn};
    use crate::preflight::tests::{outcome, outcome_with};
    use crate::settings::Settings;

    #[test]
    fn a_silent_docker_daemon_is_one_cause_and_any_other_hole_is_one_of_its_own() {
        let mut facts = Facts::healthy();
        facts.unread.push(Unread { part: Part::Stack, reason: Message::foreign("Connection refused") });
        assert_eq!(outcome(id::HOST_READABLE, &facts).0, Fail, "the daemon answers, but not this");
        facts.docker.daemon = Err(Message::foreign("Connection refused"));
        assert_eq!(outcome(id::HOST_READABLE, &facts).0, Unknown);
        assert_eq!(outcome(id::DOCKER, &facts).0, Fail);
        facts.unread.push(Unread { part: Part::Instance, reason: Message::foreign("Input/output error") });
        let (severity, text) = outcome(id::HOST_READABLE, &facts);
        assert!(severity == Fail && text.starts_with("Input/output error"), "{text}");
    }

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
        let (severity, text) = outcome("supported-release", &facts);
        assert_eq!(severity, Fail);
        assert!(text.contains("nearest supported one is Debian 13"), "{text}");

        let mut facts = Facts::healthy();
        facts.os.id = "raspbian".into();
        facts.os.id_like = vec!["debian".into()];
        assert_eq!(outcome("supported-release", &facts).0, Warn);

        let mut facts = Facts::healthy();
        facts.clock.today = "2028-07-01".into();
        let (severity, text) = outcome("supported-release", &facts);
        assert_eq!(severity, Warn);
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
        let (severity, text) = outcome("disk-space", &facts);
        assert_eq!(severity, Fail);
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
        let (severity, text) = outcome("virtualization", &facts);
        assert_eq!(severity, Warn);
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
