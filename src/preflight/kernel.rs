//! Checks of: WireGuard in the running kernel and in the next one, and what Secure Boot makes of a module built here.

use super::host::on_the_containers_host;
use super::{Check, Inputs, Judgement, Needs, id};
use crate::facts::{ModuleRefusal, WireGuardSupport};
use crate::message::Message;
use crate::policy::{self, ModuleSource};

/// The rows, in the order they are reported.
pub(super) const CHECKS: &[Check] = &[
    Check {
        id: id::KERNEL_WIREGUARD,
        title: "the running kernel has WireGuard, or install can give it",
        note: Some("FN-14"),
        needs: Needs::LiveHost,
        run: kernel_wireguard,
        explain: "\
Decided by what the kernel can do, never by its version: the module is loaded (/sys/module/wireguard), built in
(modules.builtin), there to be loaded (modules.dep, what `modinfo wireguard` reads), or a link of type wireguard comes
up in a throw-away network namespace.

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

The vendor's gateway needs the module. With `--stack default`, wireguard-go stands in for it where the release has a
package of that (Debian 12 and later, Ubuntu 24.04): slower, and a warning.",
    },
    Check {
        id: id::KERNEL_NEXT,
        title: "the next boot's kernel has WireGuard too",
        note: Some("FN-14"),
        needs: Needs::LiveHost,
        run: kernel_next,
        explain: "\
The newest kernel in /boot is the one the next boot takes. If it lacks the module, the VPN is gone after a reboot that
may be months away.

Debian 10: dkms builds the module for a new kernel only if that kernel's headers are there:
`apt-get install linux-headers-amd64`, which also keeps them coming.
Ubuntu, cloud kernels: `apt-get install linux-modules-extra-VERSION` of that kernel.
Debian 11 and later: `apt-get install linux-image-amd64`. Ubuntu otherwise: `apt-get install linux-image-generic`.
A kernel that nobody wants any more: `apt-get purge linux-image-VERSION`, and the next boot takes another one.",
    },
    Check {
        id: id::SECURE_BOOT,
        title: "Secure Boot doesn't refuse the module",
        note: Some("FN-17"),
        needs: Needs::LiveHost,
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
    let running = if kernel.release.is_empty() { "the tree's newest kernel" } else { &kernel.release };
    match &kernel.wireguard {
        WireGuardSupport::BuiltIn => Judgement::pass(format!("built into {running}")),
        WireGuardSupport::Loaded => Judgement::pass(format!("loaded into {running}")),
        WireGuardSupport::Loadable => Judgement::pass(format!("a module of {running}, which install loads")),
        WireGuardSupport::Refused(refusal) => without_module(
            inputs,
            format!("{running} has the module and refuses it: {}", Message::from(refusal)),
            refusal_hint(inputs, refusal),
        ),
        WireGuardSupport::Missing if kernel.release.is_empty() => {
            Judgement::unknown("this tree has no kernel that shows its modules")
        }
        WireGuardSupport::Missing => match inputs.distro.ok().and_then(|d| policy::module_route(inputs.facts, d)) {
            Some(ModuleSource::Package(name)) => {
                Judgement::pass(format!("{running} has none; install gets it from {name}"))
            }
            Some(ModuleSource::Dkms { headers, packages }) => Judgement::pass(format!(
                "{running} has none; install has dkms build it from {} and {}",
                packages.join(", "),
                headers.join(", ")
            )),
            Some(ModuleSource::NextBoot { kernel: names, .. }) => {
                let comes = match &kernel.next {
                    Some(next) if names.is_empty() => format!("the installed {} has", next.release),
                    _ => format!("its headers are gone from apt, so that dkms builds it for {}", names.join(", ")),
                };
                Judgement::warn(
                    format!("{running} has none; {comes}: install stops for a reboot and goes on after it"),
                    "mitigator-vpn install, then: systemctl reboot",
                )
            }
            None => missing(inputs, running),
        },
    }
}

fn missing(inputs: &Inputs, running: &str) -> Judgement {
    let facts = inputs.facts;
    if let Some(kind) = &facts.machine.container {
        let detail = format!("{running} has none, and a container ({kind}) can't load one");
        without_module(inputs, detail, on_the_containers_host(kind).to_owned())
    } else if facts.kernel.secure_boot == Some(true) && inputs.distro.is_ok_and(|d| !d.packages.dkms.is_empty()) {
        let detail = format!("{running} has none, and Secure Boot refuses what dkms would build");
        without_module(inputs, detail, "mitigator-vpn explain secure-boot".to_owned())
    } else {
        let hint = format!("apt-get install {}, then: systemctl reboot", release_kernel(inputs));
        let own =
            inputs.distro.map_or(String::new(), |d| format!("; {}'s own have it since {}", d.name, d.wireguard_since));
        without_module(inputs, format!("{running} has none{own}"), hint)
    }
}

/// The kernel can't: that stops the vendor's stack; ours goes on with a userspace implementation.
fn without_module(inputs: &Inputs, detail: String, hint: String) -> Judgement {
    let facts = inputs.facts;
    if !policy::uses_default_stack(facts, inputs.settings) {
        return Judgement::fail(format!("{detail}; the vendor's gateway needs it"), hint);
    }
    let userspace = inputs.distro.ok().and_then(|d| d.packages.userspace.as_deref());
    // Without package lists nobody knows yet; install fetches them.
    let obtainable = |name: &str| facts.packages.obtainable(name) || facts.packages.lists_age.is_none();
    match userspace.filter(|name| obtainable(name)) {
        None => Judgement::fail(format!("{detail}, and apt has nothing that stands in for it"), hint),
        Some(name) if !facts.kernel.tun => {
            let hint = if facts.machine.container.is_some() {
                "on the container's host: modprobe tun"
            } else {
                "modprobe tun"
            };
            Judgement::fail(format!("{detail}, and {name}, which could stand in for it, needs /dev/net/tun"), hint)
        }
        Some(name) => Judgement::warn(format!("{detail}; {name} stands in for it, which is slower"), hint),
    }
}

fn refusal_hint(inputs: &Inputs, refusal: &ModuleRefusal) -> String {
    match (refusal, &inputs.facts.machine.container) {
        (ModuleRefusal::Configured { file, .. }, _) => {
            format!("sed -i '/install *wireguard/d' {file} && modprobe wireguard")
        }
        (ModuleRefusal::ModulesDisabled, _) => "systemctl reboot".to_owned(),
        (ModuleRefusal::NoCapability | ModuleRefusal::Kernel(_), Some(kind)) => on_the_containers_host(kind).to_owned(),
        (ModuleRefusal::NoCapability | ModuleRefusal::Kernel(_), None) => "modprobe wireguard; dmesg | tail".to_owned(),
    }
}

fn release_kernel(inputs: &Inputs) -> String {
    let package = inputs.distro.ok().and_then(|d| d.kernel_package(&inputs.facts.machine.arch));
    package.unwrap_or_else(|| "linux-image-amd64".to_owned())
}

fn kernel_next(inputs: &Inputs) -> Judgement {
    let kernel = &inputs.facts.kernel;
    if let Some(kind) = &inputs.facts.machine.container {
        return Judgement::pass(format!("a container ({kind}) boots its host's kernel"));
    }
    let Some(next) = &kernel.next else {
        return Judgement::unknown("no kernel in /boot: something else boots this host");
    };
    if next.wireguard {
        return Judgement::pass(format!("{} has it", next.release));
    }
    if next.release == kernel.release {
        return Judgement::pass(format!("{} is the running one", next.release));
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
        format!("the next boot takes {}, which has no WireGuard", next.release),
        format!("apt-get install {package}"),
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
        return Judgement::pass("no module has to be built here");
    }
    let hint =
        "mokutil --disable-validation, then reboot and confirm at the console: mitigator-vpn explain secure-boot";
    match (facts.kernel.secure_boot, policy::uses_default_stack(facts, inputs.settings)) {
        (Some(false), _) => Judgement::pass("off"),
        (Some(true), false) => Judgement::fail("on: it refuses the module that dkms would build", hint),
        (Some(true), true) => Judgement::warn("on: it refuses the module that dkms would build", hint),
        (None, _) => Judgement::unknown("the firmware's variables can't be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distro::OsRelease;
    use crate::facts::{Facts, NextKernel, Package};
    use crate::preflight::Severity::{Fail, Pass, Unknown, Warn};
    use crate::preflight::tests::{outcome, outcome_with};
    use crate::settings::{Settings, StackKind};

    fn missing() -> Facts {
        let mut facts = Facts::healthy();
        facts.kernel.wireguard = WireGuardSupport::Missing;
        facts.kernel.next = None;
        facts.instance.compose_files.clear();
        facts
    }

    fn release(facts: &mut Facts, id: &str, version: &str, kernel: &str) {
        facts.os = OsRelease { id: id.into(), version_id: version.into(), ..OsRelease::default() };
        facts.kernel.release = kernel.into();
        facts.clock.today = "2020-01-01".into();
    }

    fn candidate(facts: &mut Facts, name: &str) {
        facts.packages.known.insert(name.into(), Package { candidate: Some("1".into()), ..Package::default() });
    }

    fn default_stack() -> Settings {
        Settings { stack: StackKind::Default, ..Settings::default() }
    }

    #[test]
    fn a_healthy_host_passes_every_row() {
        for check in CHECKS {
            assert_eq!(outcome(check.id, &Facts::healthy()).0, Pass, "{}", check.id);
        }
    }

    #[test]
    fn a_kernel_without_the_module_stops_the_vendors_stack_and_slows_ours() {
        let mut facts = missing();
        let (severity, text) = outcome("kernel-wireguard", &facts);
        assert_eq!(severity, Fail);
        assert!(text.contains("apt-get install linux-image-amd64, then: systemctl reboot"), "{text}");
        assert_eq!(outcome_with("kernel-wireguard", &facts, &default_stack()).0, Fail, "wireguard-go has no candidate");
        candidate(&mut facts, "wireguard-go");
        assert_eq!(outcome_with("kernel-wireguard", &facts, &default_stack()).0, Warn);
        assert_eq!(outcome("kernel-wireguard", &facts).0, Fail);
        let mut vendors = facts.clone();
        vendors.instance.compose_files = Facts::healthy().instance.compose_files;
        assert_eq!(outcome_with("kernel-wireguard", &vendors, &default_stack()).0, Fail, "an existing stack stays");
        facts.kernel.tun = false;
        let (severity, text) = outcome_with("kernel-wireguard", &facts, &default_stack());
        assert!(severity == Fail && text.contains("modprobe tun"), "{text}");
    }

    #[test]
    fn a_reboot_is_the_way_out_where_the_next_kernel_has_it() {
        let mut facts = missing();
        facts.kernel.next = Some(NextKernel { release: "6.1.0-20-amd64".into(), wireguard: true });
        let (severity, text) = outcome("kernel-wireguard", &facts);
        assert!(severity == Warn && text.contains("6.1.0-20-amd64 has") && text.contains("systemctl reboot"), "{text}");
    }

    #[test]
    fn debian_10_passes_because_dkms_builds_it_and_warns_when_the_headers_are_gone() {
        let mut facts = missing();
        release(&mut facts, "debian", "10", "4.19.0-21-amd64");
        let (severity, text) = outcome("kernel-wireguard", &facts);
        assert_eq!(severity, Pass);
        assert!(text.contains("dkms build it from wireguard-dkms and linux-headers-4.19.0-21-amd64"), "{text}");
        candidate(&mut facts, "linux-headers-amd64");
        candidate(&mut facts, "linux-image-amd64");
        let (severity, text) = outcome("kernel-wireguard", &facts);
        assert_eq!(severity, Warn);
        assert!(text.contains("dkms builds it for linux-image-amd64, linux-headers-amd64"), "{text}");
        assert!(text.contains("goes on after it"), "{text}");
    }

    #[test]
    fn a_cloud_kernel_passes_where_apt_has_its_extra_modules() {
        let mut facts = missing();
        release(&mut facts, "ubuntu", "20.04", "5.4.0-1103-kvm");
        let (severity, text) = outcome("kernel-wireguard", &facts);
        assert!(severity == Fail && text.contains("linux-image-generic"), "{text}");
        candidate(&mut facts, "linux-modules-extra-5.4.0-1103-kvm");
        assert_eq!(outcome("kernel-wireguard", &facts).0, Pass);
    }

    #[test]
    fn a_container_is_sent_to_its_host() {
        let mut facts = missing();
        release(&mut facts, "debian", "10", "4.19.0-21-amd64");
        facts.machine.container = Some("lxc".into());
        let (severity, text) = outcome("kernel-wireguard", &facts);
        assert!(severity == Fail && text.contains("on the container's host: modprobe wireguard"), "{text}");
        assert_eq!(outcome("kernel-next", &facts).0, Pass);
        assert_eq!(outcome("secure-boot", &facts).0, Pass);
    }

    #[test]
    fn a_refused_module_says_by_whom() {
        let mut facts = Facts::healthy();
        let (file, line) = ("/etc/modprobe.d/x.conf".into(), "install wireguard /bin/true".into());
        facts.kernel.wireguard = WireGuardSupport::Refused(ModuleRefusal::Configured { file, line });
        let (severity, text) = outcome("kernel-wireguard", &facts);
        assert!(severity == Fail && text.contains("sed -i '/install *wireguard/d' /etc/modprobe.d/x.conf"), "{text}");
        facts.kernel.wireguard = WireGuardSupport::Refused(ModuleRefusal::ModulesDisabled);
        assert!(outcome("kernel-wireguard", &facts).1.contains("systemctl reboot"));
    }

    #[test]
    fn a_mounted_tree_without_a_kernel_is_unknown() {
        let mut facts = missing();
        facts.kernel.release.clear();
        assert_eq!(outcome("kernel-wireguard", &facts).0, Unknown);
        assert_eq!(outcome("kernel-next", &facts).0, Unknown);
    }

    #[test]
    fn a_next_kernel_without_it_warns_with_the_package_of_this_release() {
        let mut facts = Facts::healthy();
        facts.kernel.wireguard = WireGuardSupport::Loaded;
        facts.kernel.next = Some(NextKernel { release: "9.9-x".into(), wireguard: false });
        for (id, version, package) in [
            ("debian", "10", "linux-headers-9.9-x"),
            ("debian", "12", "linux-image-amd64"),
            ("ubuntu", "22.04", "linux-modules-extra-9.9-x"),
        ] {
            release(&mut facts, id, version, "5.4.0-42-generic");
            let (severity, text) = outcome("kernel-next", &facts);
            assert!(severity == Warn && text.contains(&format!("apt-get install {package}")), "{text}");
        }
        facts.kernel.next = Some(NextKernel { release: facts.kernel.release.clone(), wireguard: false });
        assert_eq!(outcome("kernel-next", &facts).0, Pass);
    }

    #[test]
    fn secure_boot_stops_only_what_dkms_would_build() {
        let mut facts = missing();
        facts.kernel.secure_boot = Some(true);
        assert_eq!(outcome("secure-boot", &facts).0, Pass);
        release(&mut facts, "debian", "10", "4.19.0-21-amd64");
        assert_eq!(outcome("secure-boot", &facts).0, Fail);
        let (severity, text) = outcome("kernel-wireguard", &facts);
        assert!(severity == Fail && text.contains("explain secure-boot"), "{text}");
        assert_eq!(outcome_with("secure-boot", &facts, &default_stack()).0, Warn);
        facts.kernel.secure_boot = None;
        assert_eq!(outcome("secure-boot", &facts).0, Unknown);
        facts.kernel.secure_boot = Some(false);
        assert_eq!(outcome("secure-boot", &facts).0, Pass);
    }
}
