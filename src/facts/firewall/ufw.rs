//! Reads ufw's own files: whether it is on, and the rules it keeps.

use std::path::Path;

use super::ruleset::{Chain, Fit, Rule, RuleAction, Ruleset};
use super::{Backend, Refusal, TAG, VpnPacket, iptables};
use crate::error::Result;
use crate::host::Host;

/// The rules of one family.
pub(crate) fn rules_file(ipv6: bool) -> &'static Path {
    Path::new(if ipv6 { "/etc/ufw/user6.rules" } else { "/etc/ufw/user.rules" })
}

/// The live chain of those rules.
pub(crate) fn live_chain(ipv6: bool) -> &'static str {
    if ipv6 { "ufw6-user-input" } else { "ufw-user-input" }
}

/// Whether ufw is enabled: it filters now, or from the next boot on.
pub(crate) fn is_enabled(host: &Host) -> Result<bool> {
    Ok(setting(host, "/etc/ufw/ufw.conf", "ENABLED")?.is_some_and(|value| value.eq_ignore_ascii_case("yes")))
}

/// Whether it filters IPv6 as well.
pub(crate) fn has_ipv6(host: &Host) -> Result<bool> {
    Ok(setting(host, "/etc/default/ufw", "IPV6")?.is_none_or(|value| value.eq_ignore_ascii_case("yes")))
}

/// Whether it drops what no rule accepts.
pub(crate) fn drops_by_default(host: &Host) -> Result<bool> {
    let policy = setting(host, "/etc/default/ufw", "DEFAULT_INPUT_POLICY")?;
    Ok(policy.is_none_or(|value| !value.eq_ignore_ascii_case("accept")))
}

fn setting(host: &Host, path: &str, name: &str) -> Result<Option<String>> {
    Ok(host.read_text(Path::new(path))?.and_then(|text| value_of(&text, name)))
}

/// The value that ufw's configuration gives a setting last.
pub(crate) fn value_of(text: &str, name: &str) -> Option<String> {
    let value = text.lines().filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix('=')).next_back()?;
    Some(value.trim_matches(['"', '\'', ' ']).to_owned())
}

/// ufw's rules for one kind of packet, without ours, as the chain `user`.
pub(crate) fn ruleset(rules: &str, packet: VpnPacket, drops_by_default: bool) -> Ruleset {
    let rules = tuples(rules).filter(|t| !t.is_ours(packet.port)).filter_map(|t| t.estimate(packet.port)).collect();
    Ruleset { chains: [("user".to_owned(), Chain { drops: drops_by_default, rules })].into() }
}

/// The number of rules of ours for this port.
pub(crate) fn ours(rules: &str, port: u16) -> usize {
    tuples(rules).filter(|tuple| tuple.is_ours(port)).count()
}

/// Another rule for exactly this port and everybody, whatever it does. ufw would take ours for a change of it.
pub(crate) fn twin(rules: &str, port: u16) -> Option<Twin> {
    let twin = tuples(rules).find(|tuple| tuple.is_same(port) && !tuple.is_ours(port))?;
    Some(Twin { rule: twin.words() })
}

/// A rule for the same packets as ours.
pub(crate) struct Twin {
    /// As ufw takes it.
    pub rule: String,
}

/// The rule that keeps ours from letting the packet in: one for the same packets, or one that refuses them, for ours would
/// come behind it.
pub(crate) fn refusal(rules: &str, packet: VpnPacket) -> Option<Refusal> {
    let VpnPacket { port, ipv6, .. } = packet;
    let theirs: Vec<Tuple> = tuples(rules).filter(|tuple| !tuple.is_ours(port)).collect();
    let decides = |tuple: &&Tuple| {
        let estimate = tuple.estimate(port);
        let refuses = |rule: &Rule| rule.action == RuleAction::Drop && rule.fit >= Fit::Most;
        let accepts = |rule: &Rule| rule.action == RuleAction::Accept && rule.fit == Fit::All;
        tuple.is_same(port) || estimate.is_some_and(|rule| refuses(&rule) || accepts(&rule))
    };
    let first = theirs.iter().find(decides)?;
    let accepts = first.action.starts_with("allow");
    let rule = first.words();
    let command = if first.is_plain() { format!("ufw delete {}", first.bare()) } else { "ufw status numbered".into() };
    (!accepts).then(|| Refusal { backend: Backend::Ufw, place: String::new(), port, ipv6, rule, command })
}

/// ufw's record of a rule: `### tuple ### allow udp 4567 0.0.0.0/0 any 0.0.0.0/0 in comment=6d69…`.
struct Tuple<'a> {
    action: &'a str,
    protocol: &'a str,
    port: &'a str,
    to: &'a str,
    from_port: &'a str,
    from: &'a str,
    direction: &'a str,
    comment: Option<&'a str>,
}

fn tuples(rules: &str) -> impl Iterator<Item = Tuple<'_>> {
    rules.lines().filter_map(|line| {
        let mut words: Vec<&str> = line.strip_prefix("### tuple ###")?.split_whitespace().collect();
        let comment = words.pop_if(|word| word.starts_with("comment=")).map(|word| &word["comment=".len()..]);
        // A rule made from an application profile has the profile's names before the direction.
        let direction = words.pop()?;
        let [action, protocol, port, to, from_port, from, ..] = words[..] else { return None };
        Some(Tuple { action, protocol, port, to, from_port, from, direction, comment })
    })
}

impl Tuple<'_> {
    fn is_same(&self, port: u16) -> bool {
        let anybody = is_any(self.to) && is_any(self.from) && is_any(self.from_port);
        let exactly = self.protocol == "udp" && self.port == port.to_string();
        self.direction == "in" && anybody && exactly
    }

    fn is_ours(&self, port: u16) -> bool {
        let tag = TAG.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
        self.action == "allow" && self.is_same(port) && self.comment == Some(tag.as_str())
    }

    /// Whether it has nothing but an action, a port and a protocol.
    fn is_plain(&self) -> bool {
        let anybody = is_any(self.to) && is_any(self.from) && is_any(self.from_port);
        self.direction == "in" && anybody && !self.action.starts_with("route:") && !is_any(self.port)
    }

    /// As ufw takes it, without its comment.
    fn bare(&self) -> String {
        let action = self.action.replace('_', " ");
        let protocol = if is_any(self.protocol) { String::new() } else { format!("/{}", self.protocol) };
        if self.is_plain() {
            return format!("{action} {}{protocol}", self.port);
        }
        let Tuple { direction, port, to, from, .. } = self;
        let (direction, protocol) = (direction.replace('_', " on "), self.protocol);
        format!("{action} {direction} proto {protocol} from {from} to {to} port {port}")
    }

    fn words(&self) -> String {
        let bytes = |hex: &str| -> Option<Vec<u8>> {
            hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
        };
        match self.comment.and_then(bytes) {
            Some(comment) => format!("{} comment '{}'", self.bare(), String::from_utf8_lossy(&comment)),
            None => self.bare(),
        }
    }

    fn estimate(&self, port: u16) -> Option<Rule> {
        let action = match self.action {
            "allow" | "allow_log" | "allow_log-all" => RuleAction::Accept,
            action if action.starts_with("deny") || action.starts_with("reject") => RuleAction::Drop,
            // `limit` accepts up to a rate only, `route:` applies to forwarded packets.
            _ => return None,
        };
        let fit = [
            Fit::exactly(self.direction.starts_with("in")),
            Fit::exactly(matches!(self.protocol, "udp" | "any")),
            Fit::exactly(is_any(self.port) || self.port.split(',').any(|p| iptables::has_port(p, ':', port))),
            if self.direction == "in" && is_any(self.to) { Fit::All } else { Fit::Most },
            if is_any(self.from) && is_any(self.from_port) { Fit::All } else { Fit::Some },
        ];
        Some(Rule { fit: fit.into_iter().min()?, action })
    }
}

fn is_any(word: &str) -> bool {
    matches!(word, "any" | "0.0.0.0/0" | "::/0")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "### tuple ### allow udp 4567 0.0.0.0/0 any 0.0.0.0/0 in comment=6d6974696761746f722d76706e\n";

    fn drops(rules: &str) -> bool {
        ruleset(rules, VpnPacket::to(4567, false), true).drops("user")
    }

    #[test]
    fn real_rules_that_open_the_port_and_that_do_not() {
        for open in [
            "### tuple ### allow udp 4567 0.0.0.0/0 any 0.0.0.0/0 in",
            "### tuple ### allow any 4567 0.0.0.0/0 any 0.0.0.0/0 in",
            "### tuple ### allow udp 4500:4600 0.0.0.0/0 any 0.0.0.0/0 in comment=612062",
            "### tuple ### allow udp 10,4567 ::/0 any ::/0 in",
            "### tuple ### allow udp 4567 0.0.0.0/0 any 0.0.0.0/0 Galera - in",
        ] {
            assert!(!drops(open), "{open}");
        }
        for closed in [
            "### tuple ### allow tcp 4567 0.0.0.0/0 any 0.0.0.0/0 in",
            "### tuple ### allow udp 4567 0.0.0.0/0 any 0.0.0.0/0 in_eth0",
            "### tuple ### allow udp 4567 0.0.0.0/0 any 10.0.0.0/8 in",
            "### tuple ### limit udp 4567 0.0.0.0/0 any 0.0.0.0/0 in",
            "### tuple ### route:allow udp 4567 0.0.0.0/0 any 0.0.0.0/0 in",
            "### tuple ### allow udp 4567 0.0.0.0/0 any 0.0.0.0/0 out",
            "### tuple ### reject_log udp 4567 0.0.0.0/0 any 0.0.0.0/0 in\n### tuple ### allow any any 0.0.0.0/0 any 0.0.0.0/0 in",
        ] {
            assert!(drops(closed), "{closed}");
        }
    }

    #[test]
    fn ours_is_known_by_its_comment_and_a_twin_by_lacking_it() {
        assert_eq!(ours(OURS, 4567), 1);
        assert_eq!(ours(OURS, 4568), 0);
        assert!(drops(OURS));
        let theirs = "### tuple ### allow udp 4567 0.0.0.0/0 any 0.0.0.0/0 in comment=612062\n";
        assert!(twin(theirs, 4567).is_some() && ours(theirs, 4567) == 0);
        assert!(twin(OURS, 4567).is_none());
    }

    #[test]
    fn switched_on_or_off_is_read_from_its_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc/ufw")).unwrap();
        std::fs::create_dir_all(dir.path().join("etc/default")).unwrap();
        let host = Host::at(dir.path()).unwrap();
        assert!(!is_enabled(&host).unwrap());
        std::fs::write(dir.path().join("etc/ufw/ufw.conf"), "# ENABLED=no\nENABLED=yes\nLOGLEVEL=low\n").unwrap();
        std::fs::write(dir.path().join("etc/default/ufw"), "IPV6=no\nDEFAULT_INPUT_POLICY=\"ACCEPT\"\n").unwrap();
        assert!(is_enabled(&host).unwrap() && !has_ipv6(&host).unwrap() && !drops_by_default(&host).unwrap());
    }
}
