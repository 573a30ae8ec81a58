//! The checks of the kernel.

use super::*;
use crate::distro::OsRelease;
use crate::facts::{Facts, Package};
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
    assert!(text.contains("dkms build it for linux-image-amd64, linux-headers-amd64"), "{text}");
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
