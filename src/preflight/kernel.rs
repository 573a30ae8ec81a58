//! Checks of: WireGuard in the running kernel and in the next one, and what Secure Boot makes of a module built here.

use super::host::on_the_containers_host;
use super::{Check, Inputs, Judgement, Needs, Part, explained, id};
use crate::facts::{ModuleRefusal, NextKernel, WireGuardSupport};
use crate::message;
use crate::message::Message;
use crate::policy::{self, ModuleSource};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: id::KERNEL_WIREGUARD,
        title: "the running kernel has WireGuard, or install can give it",
        note: Some("FN-14"),
        needs: Needs::LiveHost,
        rests_on: &[Part::Kernel, Part::Machine, Part::Packages],
        run: kernel_wireguard,
        explain: "\
Decided by what the kernel can do, never by its version: the module is loaded (/sys/module/wireguard), built in
(modules.builtin), there to be loaded (modules.dep, what `modinfo wireguard` reads), or a link of type wireguard comes
up in a temporary network namespace.

Debian 10: the stock kernel has none. Install has dkms build it (wireguard-dkms from buster-backports, and the headers
of the running kernel). Where those headers are gone it installs the newest kernel with its own, stops for a reboot
(exit code 4), and goes on after it by itself.
Debian 11 and later: it is in the stock kernel. Another kernel runs here: `apt-get install linux-image-amd64` (arm64:
linux-image-arm64), reboot.
Ubuntu 20.04 and later: it is in the stock kernel; cloud kernels keep it in a package of its own, which install gets
where apt has it: `apt-get install linux-modules-extra-$(uname -r)`. Else another kernel has to run:
`apt-get install linux-image-generic`, reboot.
Where another kernel is installed that has the module, install stops for a reboot as well.

A module that is there and refused: `grep -rn 'install wireguard' /etc/modprobe.d` shows the line that has modprobe do
nothing instead; take it out. Or `sysctl kernel.modules_disabled` says 1: only a reboot helps.
A kernel of your own without it: CONFIG_WIREGUARD, as a module or built in.

The vendor's gateway needs the module. With `--stack default`, wireguard-go replaces it where the release has a
package of it (Debian 12 and later, Ubuntu 24.04). It is slower and gives a warning.",
    },
    Check {
        id: id::KERNEL_NEXT,
        title: "the next boot's kernel has WireGuard too",
        note: Some("FN-14"),
        needs: Needs::LiveHost,
        rests_on: &[Part::Kernel, Part::Machine],
        run: kernel_next,
        explain: "\
The newest kernel in /boot is the one the next boot takes. If it lacks the module, the VPN is gone after a reboot that
may be months away.

Debian 10: dkms builds the module for a new kernel only if that kernel's headers are there:
`apt-get install linux-headers-amd64`, which also keeps them coming.
Ubuntu, cloud kernels: `apt-get install linux-modules-extra-VERSION` of that kernel.
Debian 11 and later: `apt-get install linux-image-amd64`. Ubuntu otherwise: `apt-get install linux-image-generic`.
A kernel that is not needed any more: `apt-get purge linux-image-VERSION`, and the next boot takes another one.",
    },
    Check {
        id: id::SECURE_BOOT,
        title: "Secure Boot doesn't refuse the module",
        note: Some("FN-17"),
        needs: Needs::LiveHost,
        rests_on: &[Part::Kernel, Part::Machine, Part::Packages],
        run: secure_boot,
        explain: "\
Matters only where dkms has to build the module (Debian 10): UEFI Secure Boot refuses what isn't signed with a key the
firmware knows (\"Required key not available\", \"Key was rejected by service\"). Read from the firmware's SecureBoot
variable; shim can have its check switched off, which counts as off.

Debian 10, without a console: its security updates have brought a kernel 5.10, which has the module, and Debian's
signature on it. Their suite is in Debian's archive by now (debian-security, buster/updates):
`apt-get install linux-image-5.10-amd64`, then `systemctl reboot`, and run install again.

Debian 10, with the kernel it has: somebody has to sit at the console, or at the server's remote console:
1. `apt-get install mokutil`, then `mokutil --disable-validation`: asks for a one-time password.
2. `systemctl reboot`; in the blue MOK menu choose \"Change Secure Boot state\" and type the letters it asks for.
3. Run install again.
Or switch Secure Boot off in the firmware's own menu.

Debian 11 and later, Ubuntu: nothing to do, their module is signed.",
    },
];

fn kernel_wireguard(inputs: &Inputs) -> Judgement {
    let kernel = &inputs.facts.kernel;
    let running = if kernel.release.is_empty() {
        message!("the tree's newest kernel")
    } else {
        Message::foreign(&kernel.release)
    };
    match &kernel.wireguard {
        WireGuardSupport::BuiltIn => Judgement::pass(message!("WireGuard is built into {kernel}", kernel = running)),
        WireGuardSupport::Loaded => Judgement::pass(message!("WireGuard is loaded into {kernel}", kernel = running)),
        WireGuardSupport::Loadable => {
            Judgement::pass(message!("{kernel} has the module; install loads it", kernel = running))
        }
        WireGuardSupport::Refused(refusal) => without_module(
            inputs,
            message!(
                "{kernel} has the module and doesn't load it: {reason}",
                kernel = running,
                reason = Message::from(refusal)
            ),
            refusal_hint(inputs, refusal),
        ),
        WireGuardSupport::Missing if kernel.release.is_empty() => {
            Judgement::unknown(message!("this tree has no kernel that shows its modules"))
        }
        WireGuardSupport::Missing => match inputs.distro.ok().and_then(|d| policy::module_route(inputs.facts, d)) {
            Some(ModuleSource::Package(package)) => Judgement::pass(message!(
                "{kernel} has no WireGuard module; install gets it from {package}",
                kernel = running,
                package
            )),
            Some(ModuleSource::Dkms { headers, packages }) => Judgement::pass(message!(
                "{kernel} has no WireGuard module; install has dkms build it from {packages} and {headers}",
                kernel = running,
                packages = packages.join(", "),
                headers = headers.join(", ")
            )),
            Some(ModuleSource::NextBoot { kernel: names, .. }) => Judgement::warn(
                next_boot(running, &names, kernel.next.as_ref()),
                message!(
                    "{command}, then: {next}",
                    command = inputs.settings.first_install(""),
                    next = "systemctl reboot"
                ),
            ),
            None => missing(inputs, running),
        },
    }
}

/// Another kernel gives the module: `packages`, or one that is installed already.
fn next_boot(running: Message, packages: &[String], installed: Option<&NextKernel>) -> Message {
    match installed {
        Some(installed) if packages.is_empty() => message!(
            "{kernel} has no WireGuard module; the installed {next} has it: install stops for a reboot and goes on \
             after it",
            kernel = running,
            next = &installed.release
        ),
        Some(_) | None => message!(
            "{kernel} has no WireGuard module, and apt no longer has its headers; install has dkms build it for \
             {packages}, stops for a reboot and goes on after it",
            kernel = running,
            packages = packages.join(", ")
        ),
    }
}

fn missing(inputs: &Inputs, running: Message) -> Judgement {
    let facts = inputs.facts;
    if let Some(kind) = &facts.machine.container {
        let detail = message!(
            "{kernel} has no WireGuard module, and a container ({kind}) can't load one",
            kernel = running,
            kind
        );
        without_module(inputs, detail, on_the_containers_host(kind))
    } else if facts.kernel.secure_boot == Some(true) && inputs.distro.is_ok_and(|d| !d.packages.dkms.is_empty()) {
        let detail = message!(
            "{kernel} has no WireGuard module, and Secure Boot refuses one that dkms builds",
            kernel = running
        );
        without_module(inputs, detail, explained(id::SECURE_BOOT))
    } else {
        let package = Message::command(format!("apt-get install {}", release_kernel(inputs)));
        let hint = message!("{command}, then: {next}", command = package, next = "systemctl reboot");
        let detail = match inputs.distro {
            Ok(distro) => message!(
                "{kernel} has no WireGuard module; {name}'s own kernels have it since {version}",
                kernel = running,
                name = &distro.name,
                version = &distro.wireguard_since
            ),
            Err(_) => message!("{kernel} has no WireGuard module", kernel = running),
        };
        without_module(inputs, detail, hint)
    }
}

/// The kernel can't: that stops the vendor's stack; ours goes on with a userspace implementation.
fn without_module(inputs: &Inputs, detail: Message, hint: Message) -> Judgement {
    let facts = inputs.facts;
    if !policy::uses_default_stack(facts, inputs.settings) {
        return Judgement::fail(message!("{detail}; the vendor's gateway needs it", detail), hint);
    }
    let userspace = inputs.distro.ok().and_then(|d| d.packages.userspace.as_deref());
    // Without package lists nobody knows yet; install fetches them.
    let obtainable = |name: &str| facts.packages.obtainable(name) || facts.packages.lists_age.is_none();
    match userspace.filter(|name| obtainable(name)) {
        None => Judgement::fail(message!("{detail}, and apt has no WireGuard in userspace", detail), hint),
        Some(package) if !facts.kernel.tun => {
            let load = "modprobe tun";
            let hint = if facts.machine.container.is_some() {
                message!("on the container's host: {command}", command = load)
            } else {
                Message::command(load)
            };
            let detail =
                message!("{detail}, and {package}, which could replace it, needs /dev/net/tun", detail, package);
            Judgement::fail(detail, hint)
        }
        Some(package) => {
            Judgement::warn(message!("{detail}; {package} replaces it, which is slower", detail, package), hint)
        }
    }
}

fn refusal_hint(inputs: &Inputs, refusal: &ModuleRefusal) -> Message {
    match (refusal, &inputs.facts.machine.container) {
        (ModuleRefusal::Configured { file, .. }, _) => {
            Message::command(format!("sed -i '/install *wireguard/d' {file} && modprobe wireguard"))
        }
        (ModuleRefusal::ModulesDisabled, _) => Message::command("systemctl reboot"),
        (ModuleRefusal::NoCapability | ModuleRefusal::Kernel(_), Some(kind)) => on_the_containers_host(kind),
        (ModuleRefusal::NoCapability | ModuleRefusal::Kernel(_), None) => {
            Message::command("modprobe wireguard; dmesg | tail")
        }
    }
}

fn release_kernel(inputs: &Inputs) -> String {
    let package = inputs.distro.ok().and_then(|d| d.kernel_package(&inputs.facts.machine.arch));
    package.unwrap_or_else(|| "linux-image-amd64".to_owned())
}

fn kernel_next(inputs: &Inputs) -> Judgement {
    let kernel = &inputs.facts.kernel;
    if let Some(kind) = &inputs.facts.machine.container {
        return Judgement::pass(message!("a container ({kind}) runs its host's kernel", kind));
    }
    let Some(next) = &kernel.next else {
        return Judgement::unknown(message!("no kernel in /boot: something else boots this host"));
    };
    if next.wireguard {
        return Judgement::pass(message!("{kernel} has WireGuard", kernel = &next.release));
    }
    if next.release == kernel.release {
        return Judgement::pass(message!("{kernel} is the running kernel", kernel = &next.release));
    }
    let names = inputs.distro.map(|d| &d.packages).ok();
    let package = if names.is_some_and(|p| !p.dkms.is_empty()) {
        format!("linux-headers-{}", next.release)
    } else if names.is_some_and(|p| p.extra_modules.is_some()) {
        format!("linux-modules-extra-{}", next.release)
    } else {
        release_kernel(inputs)
    };
    Judgement::warn(
        message!("the next boot takes {kernel}, which has no WireGuard", kernel = &next.release),
        Message::command(format!("apt-get install {package}")),
    )
}

fn secure_boot(inputs: &Inputs) -> Judgement {
    let facts = inputs.facts;
    let builds = inputs.distro.is_ok_and(|d| {
        let source = policy::module_source(&facts.kernel, &facts.machine.arch, &facts.packages, d);
        facts.kernel.wireguard == WireGuardSupport::Missing
            && facts.machine.container.is_none()
            && source.is_some_and(|source| source.is_built())
            && policy::module_route(facts, d).is_none_or(|route| route.is_built())
    });
    if !builds {
        return Judgement::pass(message!("no module has to be built here"));
    }
    let judgement = if policy::uses_default_stack(facts, inputs.settings) { Judgement::warn } else { Judgement::fail };
    match facts.kernel.secure_boot {
        Some(false) => Judgement::pass(message!("Secure Boot is off")),
        Some(true) => judgement(
            message!("Secure Boot is on and refuses the module that dkms would build"),
            explained(id::SECURE_BOOT),
        ),
        None => Judgement::unknown(message!("the firmware's variables can't be read")),
    }
}

#[cfg(test)]
mod tests;
