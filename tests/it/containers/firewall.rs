//! Our rules in real packet filters: present exactly once, effective, and removed without a trace.
//!
//! Each test runs itself again in a network and a mount namespace of its own, so that this machine's packet filter and
//! its files stay as they are: directories that firewalls and systemd keep things in are copies there.

use std::net::UdpSocket;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use mitigator_vpn::facts::{Backend, Firewall, FirewallNote, firewall};
use mitigator_vpn::host::Host;
use mitigator_vpn::resource::{FirewallRule, Opening, Resource};
use mitigator_vpn::settings::Settings;

use crate::support::{itself, skip, test_name};

const PORT: u16 = 4567;

/// What a server usually has in nftables, with Docker-like chains beside it.
const NFTABLES: &str = "
table inet filter {
  set banned { type ipv4_addr; elements = { 198.51.100.1, 198.51.100.2 } }
  chain input {
    type filter hook input priority filter; policy drop;
    ct state vmap { established : accept, related : accept, invalid : drop }
    iifname lo accept
    ip saddr @banned drop
    meta l4proto { icmp, ipv6-icmp } accept
    tcp dport { 22, 80 } accept comment \"ours, but not mitigator-vpn\"
    udp dport 33434-33534 counter reject
  }
  chain forward { type filter hook forward priority filter; policy accept; }
}
table ip nat {
  chain DOCKER { iifname docker0 return; }
  chain prerouting { type nat hook prerouting priority dstnat; fib daddr type local jump DOCKER; }
}";

/// The same for iptables.
const IPTABLES: &str = "\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
:bans - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p icmp -j ACCEPT
-A INPUT -j bans
-A INPUT -p tcp -m tcp --dport 22 -m comment --comment \"ours, but not mitigator-vpn\" -j ACCEPT
-A INPUT -p udp -m udp --dport 4566 -m comment --comment mitigator-vpn-not -j ACCEPT
-A INPUT -j REJECT --reject-with icmp-port-unreachable
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -j DOCKER
-A DOCKER-USER -j RETURN
-A bans -s 198.51.100.1/32 -j DROP
COMMIT
";

#[test]
fn nftables_gets_exactly_one_rule_that_works_and_leaves_no_trace() {
    in_namespace(&["nft"], || {
        pipe("nft -f -", NFTABLES);
        let rule = only_rule(Backend::Nftables, "inet filter input");
        opens_and_closes(&rule, || sh("nft --stateless list ruleset"));
    });
}

#[test]
fn iptables_of_both_variants_gets_exactly_one_rule_that_works_and_leaves_no_trace() {
    in_namespace(&["iptables-nft", "iptables-legacy"], || {
        for (backend, variant) in [(Backend::IptablesNft, "nft"), (Backend::IptablesLegacy, "legacy")] {
            pipe(&format!("iptables-{variant}-restore"), IPTABLES);
            assert_eq!(facts().forward, [""; 0], "iptables' own FORWARD is Docker's business");
            let rule = only_rule(backend, &format!("iptables-{variant} INPUT"));
            opens_and_closes(&rule, || without_counters(&sh(&format!("iptables-{variant}-save"))));
            sh(&format!("iptables-{variant} -P INPUT ACCEPT; iptables-{variant} -F"));
        }
    });
}

#[test]
fn an_ipv6_endpoint_gets_its_rule_in_ip6tables() {
    in_namespace(&["ip6tables-nft", "ip6tables-legacy"], || {
        for (backend, variant) in [(Backend::IptablesNft, "nft"), (Backend::IptablesLegacy, "legacy")] {
            let rules = IPTABLES.replace("-p icmp", "-p ipv6-icmp").replace("icmp-port", "icmp6-port");
            let rules = rules.replace("198.51.100.1/32", "2001:db8:1::1/128");
            pipe(&format!("ip6tables-{variant}-restore"), &rules);
            let place = format!("ip6tables-{variant} INPUT");
            let filter = facts().filters.into_iter().find(|filter| filter.place == place).unwrap();
            assert!(filter.drops_ipv6.contains(&PORT) && filter.drops_ipv4.is_empty(), "{filter:?}");
            let rule = FirewallRule { backend, place, port: PORT };
            opens_and_closes(&rule, || without_counters(&sh(&format!("ip6tables-{variant}-save"))));
            sh(&format!("ip6tables-{variant} -P INPUT ACCEPT; ip6tables-{variant} -F"));
        }
    });
}

#[test]
fn ufw_gets_exactly_one_rule_that_works_and_leaves_no_trace() {
    in_namespace(&["ufw"], || {
        sh("ufw allow 22/tcp; ufw allow 4566/udp comment mitigator-vpn; ufw limit 53/udp; ufw --force enable");
        let rule = only_rule(Backend::Ufw, "");
        opens_and_closes(&rule, || {
            without_counters(&sh("iptables-save; ip6tables-save; cat /etc/ufw/user.rules /etc/ufw/user6.rules"))
        });
    });
}

#[test]
fn firewalls_that_are_off_or_open_are_left_alone() {
    in_namespace(&["ufw", "nft", "iptables-nft"], || {
        sh("ufw --force disable");
        pipe("nft -f -", "table inet open { chain input { type filter hook input priority 0; tcp dport 25 drop; }\n }");
        let firewall = facts();
        assert_eq!(firewall.filters, []);
        assert_eq!(firewall.inactive, [Backend::Ufw]);
        assert_eq!(firewall.unknown, None);
    });
}

#[test]
fn a_port_that_the_operator_has_opened_needs_nothing_of_ours() {
    in_namespace(&["ufw", "nft"], || {
        sh("ufw allow 4567/udp; ufw --force enable");
        pipe("nft -f -", NFTABLES);
        sh("nft add rule inet filter input udp dport 4500-4600 accept");
        for filter in facts().filters {
            assert!(!filter.drops_ipv4.contains(&PORT), "{filter:?}");
        }
        assert!(gets_in());
        // Asked all the same, ufw's rule isn't taken over: undo would remove it.
        let rule = FirewallRule { backend: Backend::Ufw, place: String::new(), port: PORT };
        rule.set(&mut Host::live(), &Opening::Present).unwrap_err();
        rule.set(&mut Host::live(), &Opening::Absent).unwrap();
        assert!(gets_in());
    });
}

/// What a port's refusal looks like, how it is made, and which command takes it away.
const REFUSALS: &[(&[&str], &str, &str, &str)] = &[
    (
        &["ufw"],
        "ufw deny 4567/udp comment 'ticket 4711'; ufw --force enable",
        "deny 4567/udp comment 'ticket 4711'",
        "ufw delete deny 4567/udp",
    ),
    (&["ufw"], "ufw limit 4567/udp; ufw --force enable", "limit 4567/udp", "ufw delete limit 4567/udp"),
    (
        &["ufw"],
        "ufw reject 4000:5000/udp; ufw --force enable",
        "reject 4000:5000/udp",
        "ufw delete reject 4000:5000/udp",
    ),
    (
        &["iptables-nft"],
        "iptables-nft -A INPUT -p udp -m udp --dport 4567 -m comment --comment 'ticket 4711' -j DROP",
        "-A INPUT -p udp -m udp --dport 4567 -m comment --comment 'ticket 4711' -j DROP",
        "iptables-nft --wait -D INPUT -p udp -m udp --dport 4567 -m comment --comment 'ticket 4711' -j DROP",
    ),
    (
        &["iptables-legacy"],
        "iptables-legacy -N bans; iptables-legacy -A INPUT -j bans; iptables-legacy -A bans -p udp -m udp --dport 4567 -j DROP",
        "-A bans -p udp -m udp --dport 4567 -j DROP",
        "iptables-legacy --wait -D bans -p udp -m udp --dport 4567 -j DROP",
    ),
    (
        &["nft"],
        "nft add table inet t; nft add chain inet t in '{ type filter hook input priority 0; }'
         nft add rule inet t in udp dport 4567 drop comment '\"ticket 4711\"'",
        "inet t in: udp dport 4567 drop comment \"ticket 4711\"",
        "nft delete rule inet t in handle 2",
    ),
];

#[test]
fn a_rule_that_refuses_our_port_is_quoted_and_neither_changed_nor_outweighed() {
    in_namespace(&["ufw", "nft", "iptables-nft", "iptables-legacy"], || {
        for (_, make, quoted, command) in REFUSALS {
            sh("ufw --force reset >/dev/null; nft flush ruleset; iptables-legacy -F; iptables-legacy -X");
            sh(make);
            let firewall = facts();
            let refusals = firewall.refusals.iter().filter(|refusal| refusal.port == PORT && !refusal.ipv6);
            let said: Vec<_> = refusals.map(|refusal| (&refusal.rule[..], &refusal.command[..])).collect();
            assert_eq!(said, [(*quoted, *command)], "{make}: {firewall:#?}");
            let saved = || sh("nft -s list ruleset; cat /etc/ufw/user.rules /etc/ufw/user6.rules");
            let before = saved();
            let rule = FirewallRule { backend: Backend::Ufw, place: String::new(), port: PORT };
            if make.starts_with("ufw") && !make.contains("4000") {
                rule.set(&mut Host::live(), &Opening::Present).unwrap_err();
            }
            assert_eq!(saved(), before, "{make}");
            // What the hint says takes it away.
            sh(command);
            assert_eq!(facts().refusals, [], "{make}");
        }
    });
}

#[test]
fn what_is_left_of_a_rule_goes_when_it_is_taken_back() {
    in_namespace(&["nft", "iptables-nft", "ufw", "systemctl"], || {
        pipe("nft -f -", NFTABLES);
        pipe("iptables-nft-restore", IPTABLES);
        let before = sh("ls /etc/systemd/system /etc/systemd/system/*.wants");
        let rules = dropping(&facts());
        assert_eq!(rules.len(), 2);
        for rule in &rules {
            rule.set(&mut Host::live(), &Opening::Present).unwrap();
        }
        // Somebody tidies up by hand; the units would open the port again at the next boot.
        sh("nft flush ruleset");
        for rule in &rules {
            assert_eq!(rule.observe(&Host::live()).unwrap(), Opening::Partial, "{rule}");
            rule.set(&mut Host::live(), &Opening::Absent).unwrap();
            assert_eq!(rule.observe(&Host::live()).unwrap(), Opening::Absent, "{rule}");
        }
        assert_eq!(sh("ls /etc/systemd/system /etc/systemd/system/*.wants"), before);
        sh("ufw --force enable");
        let rule = only_rule(Backend::Ufw, "");
        rule.set(&mut Host::live(), &Opening::Present).unwrap();
        sh("iptables -F ufw-user-input");
        assert_eq!(rule.observe(&Host::live()).unwrap(), Opening::Partial);
        rule.set(&mut Host::live(), &Opening::Absent).unwrap();
        assert!(!sh("cat /etc/ufw/user.rules /etc/ufw/user6.rules").contains("4567"));
    });
}

#[test]
fn where_two_filters_drop_a_packet_passes_when_both_have_a_rule() {
    in_namespace(&["nft", "iptables-legacy", "iptables-nft"], || {
        pipe("nft -f -", NFTABLES);
        pipe("iptables-legacy-restore", IPTABLES);
        pipe("iptables-nft-restore", IPTABLES);
        let firewall = facts();
        assert!(firewall.notes.contains(&FirewallNote::MixedVariants), "{firewall:?}");
        let rules = dropping(&firewall);
        assert_eq!(rules.len(), 3, "{rules:?}");
        for rule in &rules {
            assert!(!gets_in(), "before {rule}");
            rule.set(&mut Host::live(), &Opening::Present).unwrap();
        }
        assert!(gets_in());
    });
}

#[test]
fn a_published_port_that_a_forward_chain_drops_is_seen_and_the_hint_opens_it() {
    in_namespace(&["nft", "sysctl"], || {
        sh("ip netns add container
            ip link add bridge type veth peer name eth0 netns container
            ip address add 172.17.0.1/16 dev bridge; ip link set bridge up
            ip -n container address add 172.17.0.2/16 dev eth0; ip -n container link set eth0 up
            ip -n container route add default via 172.17.0.1
            sysctl -q net.ipv4.ip_forward=1");
        pipe(
            "ip netns exec container nft -f -",
            "table ip t { chain c { type filter hook input priority 0; udp dport 4567 counter; }\n }",
        );
        let arrived = || {
            sh("ip netns exec outside bash -c 'echo hello >/dev/udp/192.0.2.1/4567' || true; sleep 0.2");
            !sh("ip netns exec container nft list ruleset").contains("packets 0 ")
        };
        pipe("nft -f -", "
            table ip nat { chain pre { type nat hook prerouting priority dstnat; udp dport 4567 dnat to 172.17.0.2; }\n }
            table inet filter { chain forward { type filter hook forward priority filter; policy drop; }\n }");
        assert_eq!(facts().forward, ["inet filter forward"]);
        assert!(!arrived());
        sh("nft insert rule inet filter forward meta l4proto udp ct original proto-dst 4567 accept");
        assert!(arrived());
        assert_eq!(facts().forward, [""; 0]);
        // The other usual ways of letting Docker be.
        for rule in ["ct status dnat accept", "oifname { docker0, \"br-*\" } accept"] {
            sh(&format!("nft flush chain inet filter forward; nft add rule inet filter forward '{rule}'"));
            assert_eq!(facts().forward, [""; 0], "{rule}");
        }
    });
}

#[test]
fn a_rule_that_is_there_twice_is_made_one_again() {
    in_namespace(&["nft", "iptables-legacy"], || {
        pipe("nft -f -", NFTABLES);
        pipe("iptables-legacy-restore", IPTABLES);
        for rule in dropping(&facts()) {
            rule.set(&mut Host::live(), &Opening::Present).unwrap();
            sh(&rule.commands()[0].to_string());
            assert_eq!(count(&rule), 2, "{rule}");
            assert_eq!(rule.observe(&Host::live()).unwrap(), Opening::Partial, "{rule}");
            rule.set(&mut Host::live(), &Opening::Present).unwrap();
            assert_eq!(count(&rule), 1, "{rule}");
            assert_eq!(rule.observe(&Host::live()).unwrap(), Opening::Present, "{rule}");
        }
    });
}

#[test]
fn what_a_boot_forgets_the_unit_puts_back_once() {
    in_namespace(&["nft", "iptables-nft", "systemctl"], || {
        pipe("nft -f -", NFTABLES);
        pipe("iptables-nft-restore", IPTABLES);
        let rules = dropping(&facts());
        for rule in &rules {
            rule.set(&mut Host::live(), &Opening::Present).unwrap();
        }
        let units = sh("ls -d /etc/systemd/system/mitigator-vpn-firewall-*.service");
        assert_eq!(units.lines().count(), rules.len());
        // A boot: what /etc/nftables.conf does first, then the firewalls' own rules, then what the units start.
        sh("nft flush ruleset");
        pipe("nft -f -", NFTABLES);
        pipe("iptables-nft-restore", IPTABLES);
        for rule in &rules {
            assert_eq!(rule.observe(&Host::live()).unwrap(), Opening::Partial, "{rule}");
        }
        assert!(!gets_in());
        for _ in 0..3 {
            for unit in units.lines() {
                let text = std::fs::read_to_string(unit).unwrap();
                let start = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
                sh(start);
            }
        }
        assert!(gets_in());
        for rule in &rules {
            assert_eq!(rule.observe(&Host::live()).unwrap(), Opening::Present, "{rule}");
            rule.set(&mut Host::live(), &Opening::Absent).unwrap();
        }
        assert_eq!(sh("ls /etc/systemd/system /etc/systemd/system/*.wants | grep mitigator || true"), "");
    });
}

/// The law of resources, and what it is for: three times set is set once, packets pass, nobody else's rule moves.
fn opens_and_closes(rule: &FirewallRule, saved: impl Fn() -> String) {
    let mut host = Host::live();
    let before = saved();
    assert_eq!(rule.observe(&host).unwrap(), Opening::Absent);
    let gets_in = || if rule.place.starts_with("ip6") { gets_in_to("2001:db8::1") } else { gets_in() };
    assert!(!gets_in(), "the port was open before");
    for _ in 0..3 {
        rule.set(&mut host, &Opening::Present).unwrap();
    }
    assert_eq!(rule.observe(&host).unwrap(), Opening::Present);
    assert_eq!(count(rule), 1);
    assert!(gets_in(), "{rule} doesn't let a packet in:\n{}", saved());
    let added: Vec<String> = difference(&before, &saved());
    assert!(added.iter().all(|line| line.starts_with('+') && line.contains("4567")), "{added:#?}");
    for _ in 0..2 {
        rule.set(&mut host, &Opening::Absent).unwrap();
    }
    assert_eq!(rule.observe(&host).unwrap(), Opening::Absent);
    assert_eq!(saved(), before);
    assert!(!gets_in(), "the port is open still");
}

/// Lines that only one of the two has, marked `+` and `-`.
fn difference(before: &str, after: &str) -> Vec<String> {
    let only = |in_: &str, not_in: &str, mark: char| -> Vec<String> {
        let lines = in_.lines().filter(|line| !not_in.lines().any(|other| other == *line));
        lines.map(|line| format!("{mark}{line}")).collect()
    };
    [only(after, before, '+'), only(before, after, '-')].concat()
}

fn facts() -> Firewall {
    firewall::gather(&Host::live(), &Settings::default())
}

/// A rule for each place that drops our port.
fn dropping(firewall: &Firewall) -> Vec<FirewallRule> {
    let filters = firewall.filters.iter().filter(|filter| filter.drops_ipv4.contains(&PORT));
    filters.map(|filter| FirewallRule { backend: filter.backend, place: filter.place.clone(), port: PORT }).collect()
}

fn only_rule(backend: Backend, place: &str) -> FirewallRule {
    let firewall = facts();
    assert_eq!(firewall.unknown, None);
    let rule = FirewallRule { backend, place: place.into(), port: PORT };
    assert_eq!(dropping(&firewall), std::slice::from_ref(&rule), "{firewall:#?}");
    rule
}

/// How many rules of ours the facts count.
fn count(rule: &FirewallRule) -> usize {
    let filters = facts().filters;
    let filter = filters.iter().find(|filter| (filter.backend, &filter.place) == (rule.backend, &rule.place));
    filter.and_then(|filter| filter.ours.get(&rule.port).copied()).unwrap_or_default()
}

/// Whether a UDP packet from another host arrives at the port.
fn gets_in() -> bool {
    gets_in_to("192.0.2.1")
}

fn gets_in_to(address: &str) -> bool {
    let socket = UdpSocket::bind(("::", PORT)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    sh(&format!("ip netns exec outside bash -c 'echo hello >/dev/udp/{address}/{PORT}' || true"));
    socket.recv(&mut [0; 16]).is_ok()
}

fn without_counters(save: &str) -> String {
    let lines = save.lines().filter(|line| !line.starts_with("# Generated") && !line.starts_with("# Completed"));
    let bare = |line: &str| match line.split_once(" [") {
        Some((chain, _)) if line.starts_with(':') => chain.to_owned(),
        _ => line.to_owned(),
    };
    lines.map(|line| bare(line) + "\n").collect()
}

/// Runs a line in a shell; it has to succeed.
fn sh(line: &str) -> String {
    pipe(line, "")
}

fn pipe(line: &str, input: &str) -> String {
    let mut child = Command::new("sh")
        .args(["-c", line])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    assert!(status.success(), "{line}: {status}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// Says in the child which test it is there for.
const INSIDE: &str = "MITIGATOR_VPN_TEST_INSIDE";

/// Runs `body` in namespaces of its own: this very test, started again.
fn in_namespace(programs: &[&str], body: fn()) {
    let name = test_name();
    if std::env::var(INSIDE).is_ok_and(|inside| inside == name) {
        make_world();
        return body();
    }
    let found = |program: &str| Host::live().has_program(program).unwrap();
    let missing = programs.iter().chain(&["unshare", "ip", "bash"]).find(|program| !found(program));
    if !nix::unistd::geteuid().is_root() {
        skip("needs root");
    } else if let Some(program) = missing {
        skip(&format!("needs {program}"));
    } else {
        let child = Command::new("unshare")
            .args(["--net", "--mount", "--"])
            .arg(std::env::current_exe().unwrap())
            .args(itself(&name))
            .env(INSIDE, &name)
            .output()
            .unwrap();
        let said = [child.stdout, child.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        // Its lines are marked, so that nobody counts its result beside ours.
        let said: String = said.lines().map(|line| format!("| {line}\n")).collect();
        assert!(child.status.success() && said.contains("1 passed"), "in the namespace:\n{said}");
    }
}

/// A network with another host in it, and copies of the directories that are written to.
fn make_world() {
    sh("mount -t tmpfs none /run
        for dir in /etc/ufw /etc/systemd/system; do
          test -d $dir || continue
          cp -a $dir /run/copy; mount -t tmpfs -o mode=755 none $dir; cp -a /run/copy/. $dir; rm -r /run/copy
        done
        ip link set lo up
        ip netns add outside
        ip link add inner type veth peer name outer netns outside
        ip address add 192.0.2.1/24 dev inner
        ip address add 2001:db8::1/64 dev inner nodad
        ip link set inner up
        ip -n outside address add 192.0.2.2/24 dev outer
        ip -n outside address add 2001:db8::2/64 dev outer nodad
        ip -n outside link set outer up");
}
