//! The namespace hosts themselves.

use crate::support::Host;
use crate::support::container::NO_MODULES_HERE;
use crate::support::namespace::NamespaceHost;

const PUBLIC: &str = "/srv/mitigator/vpn-public.conf";
const ENV: &str = "/srv/mitigator/.env";

/// Faults are real ones, and the simulated Docker fails where the real one does.
#[test]
fn a_namespace_host_is_what_the_scenarios_take_it_for() {
    let Some(hosts) = NamespaceHost::fleet("bed", 2) else { return };
    let [host, other] = &hosts[..] else { panic!("two were asked for") };
    let ssh = |host: &NamespaceHost| host.ssh(&["-o", "ConnectTimeout=2"], "hostname");
    for host in &hosts {
        assert_eq!(String::from_utf8_lossy(&ssh(host).stdout).trim(), host.name());
    }

    // Two members, joined: a handshake through the real gateways.
    let install = |host: &NamespaceHost, n: u8, more: &str| {
        let endpoint = host.address();
        host.vpn(&format!("install --vpn-address 10.8.3.{n} --endpoint {endpoint} --yes {more} {NO_MODULES_HERE}"))
            .run()
    };
    install(host, 1, "").exits(0);
    other.write("/root/peers.conf", host.text(PUBLIC));
    install(other, 2, "--peers /root/peers.conf").exits(0);
    host.write("/root/peers.conf", other.text(PUBLIC));
    install(host, 1, "--peers /root/peers.conf").exits(0);
    let status = || host.vpn(&format!("status --json {NO_MODULES_HERE}")).run();
    assert_eq!(status().exits(0).json()["instance"]["members"][0]["reached"], true);

    let before = host.snapshot();
    install(host, 1, "").exits(0).says("nothing to do");
    before.is_untouched_in(&host.snapshot());

    // FN-40: the gateway holds the file by its inode.
    host.shell(&format!("sed -i '1i # edited' {PUBLIC}")).run().exits(0);
    status().exits(5).says("sees an old copy");
    install(host, 1, "").exits(0);
    status().exits(0);

    host.kill();
    assert!(!ssh(host).status.success(), "a host that is down lets nobody in");
    host.boot();
    status().exits(0);

    host.cut_off();
    assert!(!ssh(host).status.success(), "a host without a network lets nobody in");
    host.reconnect();
    host.hang();
    assert!(!ssh(host).status.success(), "an sshd that hangs lets nobody in");
    host.unhang();
    host.stop_sshd();
    let refused = ssh(host);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Connection refused"), "{refused:?}");
    host.start_sshd();
    assert!(ssh(host).status.success());

    host.stop_docker();
    status().exits(5).says("the Docker daemon doesn't answer");
    host.start_docker();
    for (broken, words, mended) in [
        (
            NamespaceHost::fill_disk as fn(&NamespaceHost),
            "No space left",
            NamespaceHost::free_disk as fn(&NamespaceHost),
        ),
        (NamespaceHost::make_read_only, "Read-only file system", NamespaceHost::make_writable),
    ] {
        broken(host);
        // more than fits into the blocks that the file already has
        let write = host.shell(&format!("head -c 9999 /dev/zero >>{ENV}")).run();
        assert_ne!(write.code, Some(0), "{write}");
        mended(host);
        assert!(write.err().contains(words), "{write}");
    }
    host.shell(&format!("head -c 9999 /dev/zero >>{ENV}")).run().exits(0);
}
