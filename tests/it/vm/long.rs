//! What takes too long for each change: `scripts/test long`.

use super::{
    MOMENTS, assert_loaded_at_boot, assert_tunnel_comes_back_after_a_reboot, assert_tunnel_in_the_kernel,
    has_wireguard, install_with_power_cuts,
};
use crate::support::Host;
use crate::support::machine::{self, Machine};
use crate::support::vm::VmHost;

#[test]
fn the_kernel_docker_and_compose_of_debian_11_work_as_well() {
    let Some(host) = VmHost::of("bullseye", "bullseye") else { return };
    let packages = host.packages();
    host.call("uname -r").run().exits(0).says("5.10.");
    host.call("docker-compose version --short").run().exits(0).says("1.25.");

    host.install(1).run().exits(0);
    assert_tunnel_in_the_kernel(&host);
    assert_tunnel_comes_back_after_a_reboot(&host);
    host.vpn("undo --yes").run().exits(0);
    assert_eq!(host.packages(), packages);
    assert!(!has_wireguard(&host), "nobody uses it any more");
}

/// Makes the machine like Debian 10 as far as WireGuard goes: the kernel has no module, and the backports have a package
/// that compiles it. (Kernel, apt and dkms are Debian 11's, the oldest that can be had.)
fn become_debian_10(host: &VmHost) {
    let archive = machine::output(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dkms/archive"), &[]);
    host.shell("tar -xC /").stdin(archive).run().exits(0);
    host.write("/etc/os-release", include_str!("../../hosts/os-release/debian-10"));
    let of_debian_11 = "Package: wireguard-dkms\nPin: release n=bullseye\nPin-Priority: -1\n";
    host.write("/etc/apt/preferences.d/debian-10", of_debian_11);
    host.write("/etc/apt/sources.list.d/debian-10.list", "deb file:/srv/archive buster main\n");
    let without = "find /lib/modules -name wireguard.ko -delete && depmod && apt-get -q update";
    host.shell(without).run().exits(0);
}

#[test]
fn dkms_compiles_the_module_and_where_it_does_not_one_cause_is_named_that_the_next_run_mends() {
    let Some(host) = VmHost::of("bullseye", "dkms") else { return };
    become_debian_10(&host);
    let kernel = host.call("uname -r").run().exits(0).out().trim().to_owned();
    let packages = host.packages();
    let install = || host.install(1).arg("--restart=none").run();

    // The source is older than this kernel.
    install()
        .exits(6)
        .says("the module doesn't build: ")
        .says("error: storage size of 'now' isn't known")
        .says("half installed: wireguard-dkms (iF)")
        .says("→ less /var/lib/dkms/wireguard/1.0/build/make.log");
    host.call("less /var/lib/dkms/wireguard/1.0/build/make.log").run().exits(0);
    host.call("dpkg --audit").run().says("wireguard-dkms");

    // A newer source is released, and meanwhile the headers were removed: dkms skips the module and exits with 0.
    let headers = format!("/usr/src/linux-headers-{kernel}");
    host.shell("rm -r /srv/archive && mv /srv/archive-mended /srv/archive && apt-get -q update").run().exits(0);
    host.call("rm -r").arg(&headers).run().exits(0);
    let mend = format!("apt-get install --reinstall linux-headers-{kernel}");
    install().exits(6).says(&format!("the headers of kernel {kernel} are missing")).says(&format!("→ {mend}"));
    host.call("dpkg --audit").run().exits(0).does_not_say("wireguard");
    host.call(&mend).arg("-y").run().exits(0);

    install().exits(0);
    let compiled = format!("/lib/modules/{kernel}/updates/dkms/wireguard.ko");
    host.call("modinfo -F filename wireguard").run().exits(0).says(&compiled);
    host.shell("dmesg").run().exits(0).says(&format!("wireguard: compiled for {kernel}"));
    assert!(has_wireguard(&host));
    host.reboot();
    assert_loaded_at_boot(&host);
    assert!(has_wireguard(&host));

    // A module that is missing while all packages are installed is compiled again.
    host.call("modprobe -r wireguard").run().exits(0);
    host.shell("dkms uninstall -m wireguard -v 1.1").run().exits(0);
    install().exits(0);
    assert!(has_wireguard(&host));

    host.vpn("undo --yes").run().exits(0);
    assert_eq!(host.packages(), packages);
    assert!(!has_wireguard(&host));
    host.call("test -e").arg(&compiled).run().exits(1);
    host.call("test -e /var/lib/dkms/wireguard").run().exits(1);
}

#[test]
fn an_install_whose_power_fails_again_and_again_goes_on_each_time_and_keeps_its_key() {
    let Some(host) = VmHost::up("power-again") else { return };
    install_with_power_cuts(&host, &MOMENTS);
}
