//! The Ansible role and module, with ansible-core, on container hosts.

use crate::support::Host;
use crate::support::call::Ran;
use crate::support::container::ContainerHost;
use crate::support::machine::Machine;
use crate::support::operator::Operator;

const ROLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/ansible/roles");
const PLAY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/ansible/site.yml");
const LIST: &str = "vpn-public.conf";

/// The operator's inventory: one line a host, with its own variables.
fn inventory(operator: &Operator, hosts: &[ContainerHost], more: &str) -> String {
    let mut text = "[mitigator]\n".to_owned();
    for (n, host) in (1..).zip(hosts) {
        let (name, address) = (host.name(), host.address());
        text += &format!("{name} mitigator_vpn_address=10.8.3.{n} mitigator_vpn_endpoint={address}\n");
    }
    let binary = operator.program().join(" ");
    text += &format!(
        "[mitigator:vars]\nansible_ssh_common_args=-F {}\nansible_python_interpreter=/usr/bin/python3\nansible_become=false\n\
         mitigator_vpn_binary={binary}\nmitigator_vpn_stack=default\nmitigator_vpn_ignore=['kernel-wireguard']\n{more}",
        hosts[0].ssh_config().display(),
    );
    text
}

fn play(operator: &Operator, ansible: &str, options: &str) -> Ran {
    operator
        .call(&format!("{ansible}/bin/ansible-playbook -i inventory {PLAY} {options}"))
        .env("ANSIBLE_ROLES_PATH", ROLES)
        .env("ANSIBLE_PIPELINING", "1")
        // Ansible's own directory on the hosts, where nobody compares files.
        .env("ANSIBLE_REMOTE_TMP", "/tmp/ansible")
        .env("ANSIBLE_NOCOLOR", "1")
        .run()
}

/// The recap says so of each host.
#[track_caller]
fn assert_recap(ran: &Ran, hosts: &[ContainerHost], words: &str) {
    for host in hosts {
        let recap = ran.out().lines().rfind(|line| line.starts_with(host.name())).unwrap_or_default().to_owned();
        assert!(recap.contains(words), "expected {words} of {}\n{ran}", host.name());
    }
}

#[test]
fn the_role_makes_members_once_and_shows_in_check_mode_what_it_would_do() {
    let Some(ansible) = std::env::var("MITIGATOR_VPN_TEST_ANSIBLE").ok().filter(|dir| !dir.is_empty()) else {
        crate::support::skip("MITIGATOR_VPN_TEST_ANSIBLE is not set; scripts/test sets it");
        return;
    };
    let (Some(operator), Some(hosts)) = (Operator::new(), ContainerHost::cluster::<2>("ansible")) else { return };
    operator.write("inventory", inventory(&operator, &hosts, ""));

    let before = hosts.each_ref().map(Host::snapshot);
    let checked = play(&operator, &ansible, "--check --diff").exits(0);
    assert_recap(&checked, &hosts, "changed=1");
    checked
        .says("create file /srv/mitigator/vpn-public.conf")
        .says("+ AllowedIPs = 10.8.3.2/32")
        .says("PrivateKey = (secret");
    for (host, before) in hosts.iter().zip(&before) {
        before.is_untouched_in(&host.snapshot());
    }
    assert!(operator.read(LIST).is_none(), "check mode makes no list either");

    assert_recap(&play(&operator, &ansible, "").exits(0), &hosts, "changed=3");
    let list = operator.text(LIST);
    for host in &hosts {
        assert_eq!(host.text("/srv/mitigator/vpn-public.conf"), list);
        host.vpn("status --ignore kernel-wireguard").run().exits(0);
    }

    let before = hosts.each_ref().map(Host::snapshot);
    let again = play(&operator, &ansible, "--diff").exits(0);
    assert_recap(&again, &hosts, "changed=0");
    for (host, before) in hosts.iter().zip(&before) {
        before.is_untouched_in(&host.snapshot());
    }

    // What preflight finds is the reason of the failure, on the host it is about. The other one reports the member that
    // doesn't answer, and nobody is taken out of a list because somebody is missing (FN-49).
    hosts[1].call("systemctl stop docker.socket docker.service").run().exits(0);
    let refused = play(&operator, &ansible, "").exits(2).says("preflight refused, nothing changed: docker: ");
    assert_recap(&refused, &hosts, "failed=1");
    refused.says("1 member gave no handshake");
    for host in &hosts {
        assert_eq!(host.text("/srv/mitigator/vpn-public.conf"), list);
    }
}
