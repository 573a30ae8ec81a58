//! Every hint of a check is typed on a host where the check says it, and the finding is gone; or it is named here why not.

use std::collections::BTreeSet;

use mitigator_vpn::preflight;

use crate::support::Host;
use crate::support::container::{ContainerHost, NO_MODULES_HERE};
use crate::support::machine::Machine;

/// What becomes of a finding when its hint is typed.
#[derive(Clone, Copy, PartialEq)]
enum Effect {
    /// It is gone.
    Mends,
    /// The command shows what a person has to decide on.
    Shows,
}

/// A host in trouble: the check that says so, what makes it so, and what takes it back where the hint doesn't.
struct Trouble {
    check: &'static str,
    made_by: &'static str,
    effect: Effect,
    ends_by: &'static str,
}

const fn mended(check: &'static str, made_by: &'static str) -> Trouble {
    Trouble { check, made_by, effect: Effect::Mends, ends_by: "true" }
}

const fn shown(check: &'static str, made_by: &'static str, ends_by: &'static str) -> Trouble {
    Trouble { check, made_by, effect: Effect::Shows, ends_by }
}

const TROUBLES: &[Trouble] = &[
    mended("conf-is-file", "chmod 644 /srv/mitigator/vpn-private.conf"),
    mended(
        "conf-is-file",
        "cd /srv/mitigator && sed 's/$/\\r/' vpn-public.conf >/root/crlf && cat /root/crlf >vpn-public.conf",
    ),
    mended("mount-fresh", "cd /srv/mitigator && cp -p vpn-public.conf /root/new && mv /root/new vpn-public.conf"),
    mended("compose-files", "echo 'services: {}' >/srv/mitigator/docker-compose.override.yml"),
    mended("env-file", ": >/srv/mitigator/.env"),
    mended("docker", "systemctl stop docker.socket docker"),
    shown("reboot-required", "touch /run/reboot-required", "rm /run/reboot-required"),
    shown("env-file", "echo 'A B=1' >>/srv/mitigator/.env", "sed -i '/^A B/d' /srv/mitigator/.env"),
];

/// Checks whose hints are not typed here, and why.
const NOT_TYPED: &[(&str, &str)] = &[
    ("supported-release", "another release is another host"),
    ("root", "the same command with sudo: the tests of non-root callers type it"),
    ("host-readable", "its hint is a page; a failing disk can't be made in a container"),
    ("journal", "its hint names another version of the program"),
    ("disk-space", "a full disk is made by the tests of faults"),
    ("memory", "a container's memory is that of this machine"),
    ("virtualization", "typed on the container's host"),
    ("clock", "typed on the container's host"),
    ("kernel-wireguard", "its hints need a kernel of one's own: tier vm"),
    ("kernel-next", "its hints need a kernel of one's own: tier vm"),
    ("secure-boot", "its hints need firmware"),
    ("dpkg-lock", "the tests of apt wait for a lock"),
    ("dpkg-healthy", "the tests of apt finish half-done work"),
    ("apt-sources", "the tests of apt and of releases"),
    ("docker-not-snap", "its hint is a page; snapd doesn't run in a container"),
    ("compose", "the tests of compose generations"),
    ("gateway-address", "only a person knows which of two addresses is meant"),
    ("instance-writable", "a file marked immutable needs a file system that a container lacks"),
    ("interrupted-write", "the tests of crashes complete such a write"),
    ("vpn-address", "its hint is an option of the command that was typed"),
    ("address-unique", "its hint is an option of the command that was typed"),
    ("key-pair", "only a person knows which of two keys is meant"),
    ("sample-key", "a documented key is refused at every way in"),
    ("subnet-free", "only a person knows which of two networks can move"),
    ("endpoint", "its hint is an option of the command that was typed"),
    ("port-exposed", "a person's compose file"),
    ("udp-port-free", "only a person may stop another's service"),
    ("firewall", "the tests of firewalls type them, for each front end"),
];

#[test]
fn every_checks_hint_is_typed_or_it_is_named_why_not() {
    let checks: BTreeSet<&str> = preflight::checks().map(|check| check.id).collect();
    let typed: BTreeSet<&str> = TROUBLES.iter().map(|trouble| trouble.check).collect();
    let named: BTreeSet<&str> = NOT_TYPED.iter().map(|(id, _)| *id).collect();
    assert_eq!(typed.intersection(&named).collect::<Vec<_>>(), Vec::<&&str>::new());
    assert_eq!(typed.union(&named).copied().collect::<BTreeSet<_>>(), checks);
}

/// The hint of a check that doesn't pass.
fn hint(host: &ContainerHost, check: &str) -> Option<String> {
    let preflight = host.vpn(&format!("preflight --json {NO_MODULES_HERE}")).run().exits_with_one_of(&[0, 3]);
    let document = preflight.json();
    let findings = document["findings"].as_array().expect("a list").clone();
    let finding = findings.iter().find(|finding| finding["id"] == check).expect("every check has a finding").clone();
    let is_told = finding["outcome"] == "fail" || finding["outcome"] == "warn";
    is_told.then(|| finding["hint"].as_str().expect("a hint is text").to_owned())
}

/// What a person types of a line: the command, without the words before it.
fn command(line: &str) -> &str {
    line.rsplit_once(": ").map_or(line, |(_, command)| command)
}

#[test]
fn a_hint_does_what_it_says_when_it_is_typed_as_it_stands() {
    let Some(host) = ContainerHost::up("hints") else { return };
    host.install(1).run().exits(0);
    // A person answers yes; this host's kernel stays as it is.
    let typed = |line: &str| {
        let call = host.shell("PATH=$PATH:/usr/local/bin; eval \"$0\"").arg(command(line)).stdin("y\n");
        call.env("MITIGATOR_VPN_YES", "1").env("MITIGATOR_VPN_IGNORE", "kernel-wireguard").run()
    };
    for Trouble { check, made_by, effect, ends_by } in TROUBLES {
        host.shell(made_by).run().exits(0);
        let told = hint(&host, check).unwrap_or_else(|| panic!("{check} doesn't tell what `{made_by}` did"));
        for line in told.lines() {
            let ran = typed(line);
            // A command that looks closer may have a hint of its own.
            for closer in ran.err().lines().filter_map(|line| line.trim_start().strip_prefix("→ ")) {
                typed(closer).exits(0);
            }
            assert!(ran.code == Some(0) || !ran.err().is_empty() && ran.err().contains("→ "), "{check}: {line}\n{ran}");
        }
        let left = hint(&host, check);
        match effect {
            Effect::Mends => assert_eq!(left, None, "{check}: it is told still after `{told}`"),
            Effect::Shows => assert_eq!(left.as_ref(), Some(&told), "{check}"),
        }
        host.shell(ends_by).run().exits(0);
    }
    // All of it has left the instance as it should be.
    host.vpn(&format!("install --yes {NO_MODULES_HERE}")).run().exits(0);
    host.status().exits(0);
}
