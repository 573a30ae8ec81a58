//! Our firewall rules on a host with systemd, after the firewall is reloaded and after a boot.
//!
//! The hosts are containers (`scripts/hosts`), made by `scripts/test`; this test executable is copied there and run step
//! by step.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use mitigator_vpn::facts::{Backend, firewall};
use mitigator_vpn::host::Host;
use mitigator_vpn::resource::{FirewallRule, Opening, Resource};
use mitigator_vpn::settings::Settings;

use crate::support::{itself, skip, test_name};

/// A server's own /etc/nftables.conf; as Debian's, it begins with a flush.
const NFTABLES_CONF: &str = "\
#!/usr/sbin/nft -f
flush ruleset
table inet filter {
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname lo accept
    tcp dport 22 accept
  }
}
";

#[test]
fn a_rule_in_nftables_survives_reloads_and_a_reboot() {
    let rule = FirewallRule { backend: Backend::Nftables, place: "inet filter input".into(), port: 4567 };
    if step_on_host() {
        return;
    }
    let Some(host) = TestHost::up("fw-nft") else { return };
    host.pipe("cat >/etc/nftables.conf", NFTABLES_CONF.as_bytes());
    host.ssh("systemctl enable --now nftables");
    let after_boot = |state: &str| {
        host.reboot();
        assert_eq!(host.step("observe", &rule), state);
    };
    assert_eq!(host.step("observe", &rule), "absent 0");
    assert_eq!(host.step("present", &rule), "present 1");
    for verb in ["reload", "restart", "stop", "start", "reload"] {
        host.ssh(&format!("systemctl {verb} nftables"));
        // `start` and `restart` come back before what they pull in has run.
        host.ssh("systemctl is-system-running --wait >/dev/null; sleep 1");
        if verb != "stop" {
            assert_eq!(host.step("observe", &rule), "present 1", "after systemctl {verb} nftables");
        }
    }
    after_boot("present 1");
    // The operator keeps the live rules, ours among them: still one after the next boot.
    host.ssh("{ echo flush ruleset; nft list ruleset; } >/etc/nftables.conf");
    after_boot("present 1");
    host.pipe("cat >/etc/nftables.conf", NFTABLES_CONF.as_bytes());
    assert_eq!(host.step("absent", &rule), "absent 0");
    assert_eq!(host.ssh("ls /etc/systemd/system /etc/systemd/system/*.wants | grep mitigator || true"), "");
    after_boot("absent 0");
}

#[test]
fn a_rule_in_iptables_survives_a_reboot() {
    if step_on_host() {
        return;
    }
    let Some(host) = TestHost::up("fw-ipt") else { return };
    // The way of many a server: a unit of its own that restores a saved file.
    host.ssh("iptables -A INPUT -i lo -j ACCEPT; iptables -A INPUT -p tcp --dport 22 -j ACCEPT");
    host.ssh("iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT; iptables -P INPUT DROP");
    host.ssh("iptables-save -t filter | grep -v DOCKER >/etc/iptables.rules");
    let unit = "[Unit]\nDefaultDependencies=no\nBefore=network-pre.target\nWants=network-pre.target\n\
                [Service]\nType=oneshot\nExecStart=/usr/sbin/iptables-restore --noflush /etc/iptables.rules\n\
                [Install]\nWantedBy=sysinit.target\n";
    host.pipe("cat >/etc/systemd/system/my-iptables.service", unit.as_bytes());
    host.ssh("systemctl enable my-iptables");
    let rule = FirewallRule { backend: Backend::IptablesNft, place: "iptables-nft INPUT".into(), port: 4567 };
    assert_eq!(host.step("observe", &rule), "absent 0");
    assert_eq!(host.step("present", &rule), "present 1");
    host.reboot();
    assert_eq!(host.step("observe", &rule), "present 1");
    assert!(host.ssh("iptables-save").contains("-j DOCKER-USER"), "Docker's chains");
    assert_eq!(host.step("absent", &rule), "absent 0");
    host.reboot();
    assert_eq!(host.step("observe", &rule), "absent 0");
}

#[test]
fn firewalld_keeps_the_rule_without_a_reload() {
    if step_on_host() {
        return;
    }
    let Some(host) = TestHost::up("fw-fwd") else { return };
    host.ssh("DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends firewalld >/dev/null 2>&1");
    host.ssh("systemctl restart docker");
    let chains = || host.ssh("iptables-save | grep DOCKER");
    let before = chains();
    let rule = FirewallRule { backend: Backend::Firewalld, place: "public".into(), port: 4567 };
    assert_eq!(host.step("observe", &rule), "absent 0");
    assert_eq!(host.step("present", &rule), "present 1");
    assert_eq!(host.step("present", &rule), "present 1");
    assert!(host.ssh("nft list chain inet firewalld filter_IN_public_allow").contains("udp dport 4567"));
    assert_eq!(chains(), before);
    host.reboot();
    assert_eq!(host.step("observe", &rule), "present 1");
    let before = chains();
    assert_eq!(host.step("absent", &rule), "absent 0");
    assert_eq!(chains(), before);
    host.reboot();
    assert_eq!(host.step("observe", &rule), "absent 0");
}

/// Marks the line that a step answers with.
const ANSWER: &str = "ANSWER: ";

/// On a host, does the step that was asked for; says whether this is one.
fn step_on_host() -> bool {
    let Ok(step) = std::env::var("STEP") else { return false };
    let rule: FirewallRule = serde_json::from_str(&std::env::var("RULE").unwrap()).unwrap();
    let mut host = Host::live();
    match step.as_str() {
        "present" => rule.set(&mut host, &Opening::Present).unwrap(),
        "absent" => rule.set(&mut host, &Opening::Absent).unwrap(),
        _ => {}
    }
    let state = rule.observe(&host).unwrap();
    let state = match state {
        Opening::Present => "present",
        Opening::Partial => "partial",
        Opening::Absent => "absent",
    };
    let facts = firewall::gather(&host, &Settings::default());
    let filter = facts.filters.iter().find(|filter| filter.place == rule.place);
    let filter = filter.unwrap_or_else(|| panic!("{facts:#?}"));
    assert!(filter.drops_ipv4.contains(&rule.port), "{facts:#?}");
    println!("{ANSWER}{state} {}", filter.ours.get(&rule.port).copied().unwrap_or_default());
    true
}

/// A container host; it goes when this does.
struct TestHost {
    name: String,
}

impl TestHost {
    /// A host with this test file on it, or the reason why there is none.
    fn up(purpose: &str) -> Option<TestHost> {
        if std::env::var("MITIGATOR_VPN_TEST_IMAGE").is_err() {
            skip("needs container hosts (scripts/test containers)");
            return None;
        }
        let prefix = std::env::var("MITIGATOR_VPN_TEST_PREFIX").unwrap_or_else(|_| "mvpn-test".into());
        let host = TestHost { name: format!("{prefix}-{purpose}") };
        host.script(&["up", &host.name, "1"], &[]);
        host.pipe("cat >/root/test; chmod +x /root/test", &fs::read(std::env::current_exe().unwrap()).unwrap());
        Some(host)
    }

    fn ssh(&self, line: &str) -> String {
        self.pipe(line, &[])
    }

    fn pipe(&self, line: &str, input: &[u8]) -> String {
        self.script(&["ssh", &format!("{}-1", self.name), line], input)
    }

    /// Runs one step there; its answer is the state and the number of rules of ours.
    fn step(&self, step: &str, rule: &FirewallRule) -> String {
        let rule = serde_json::to_string(rule).unwrap();
        let said = self.ssh(&format!("STEP={step} RULE='{rule}' /root/test {} 2>&1", itself(&test_name()).join(" ")));
        let answer = said.lines().find_map(|line| line.split_once(ANSWER)).map(|(_, answer)| answer.to_owned());
        answer.unwrap_or_else(|| panic!("no answer to {step}: {said}"))
    }

    fn reboot(&self) {
        let boot = "stat -c %Y /proc/1; systemctl is-system-running --wait";
        let before = self.ssh("stat -c %Y /proc/1");
        let restarted = Command::new("docker").args(["restart", &format!("{}-1", self.name)]).output().unwrap();
        assert!(restarted.status.success(), "{}", String::from_utf8_lossy(&restarted.stderr));
        for _ in 0..100 {
            let (up, said) = self.try_script(&["ssh", &format!("{}-1", self.name), &format!("{boot} || true")], &[]);
            // The new boot is done, and this is not the answer of the old one.
            let states = ["running", "degraded"];
            if up && !said.starts_with(before.trim()) && states.iter().any(|state| said.contains(state)) {
                return;
            }
            sleep(Duration::from_millis(300));
        }
        panic!("{} is not up again", self.name);
    }

    fn script(&self, args: &[&str], input: &[u8]) -> String {
        let (ok, said) = self.try_script(args, input);
        assert!(ok, "scripts/hosts {args:?}: {said}");
        said
    }

    fn try_script(&self, args: &[&str], input: &[u8]) -> (bool, String) {
        let mut child = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/hosts"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let out = child.wait_with_output().unwrap();
        let said = if out.status.success() { out.stdout } else { [out.stdout, out.stderr].concat() };
        (out.status.success(), String::from_utf8_lossy(&said).into_owned())
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        self.try_script(&["down", &self.name], &[]);
    }
}
