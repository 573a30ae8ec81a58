//! Reads what `iptables-save` prints. A rule of ours is recognised here, by its comment, and nowhere else: the `-C` of
//! iptables 1.8.2-nft (Debian 10) doesn't see rules that are there (FN-24).

use std::collections::HashMap;

use super::ruleset::{Fit, Rule, RuleAction, Ruleset, names_and_refuses};
use super::{TAG, VpnPacket};

/// The chain that incoming packets go through.
pub(crate) const INPUT: &str = "INPUT";

/// A rule of the filter table, as it was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SavedRule {
    /// The chain.
    pub chain: String,
    /// The position in the chain, from 1.
    pub number: usize,
    /// Everything after `-A CHAIN`, quotes removed.
    pub words: Vec<String>,
}

impl SavedRule {
    /// Whether it is ours, for this port.
    pub(crate) fn is_ours(&self, port: u16) -> bool {
        let option = |name: &str, value: &str| self.words.windows(2).any(|w| w[0] == name && w[1] == value);
        self.chain == INPUT
            && option("--comment", TAG)
            && option("-p", "udp")
            && option("--dport", &port.to_string())
            && option("-j", "ACCEPT")
    }
}

/// The rules of the filter table, in order.
pub(crate) fn rules(save: &str) -> Vec<SavedRule> {
    let mut rules: Vec<SavedRule> = Vec::new();
    let mut lengths: HashMap<String, usize> = HashMap::new();
    for line in filter_table(save) {
        let mut words = words(line);
        if words.len() < 3 || words[0] != "-A" {
            continue;
        }
        let chain = words[1].clone();
        let length = lengths.entry(chain.clone()).or_default();
        *length += 1;
        rules.push(SavedRule { chain, number: *length, words: words.split_off(2) });
    }
    rules
}

/// Whether the filter table can't be expressed as iptables rules: it is a native table with the same name.
pub(crate) fn is_incompatible(save: &str) -> bool {
    save.lines().any(|line| line.starts_with("# Table `filter'") && line.contains("incompatible"))
}

/// Names of the filter table's chains.
pub(crate) fn chains(save: &str) -> impl Iterator<Item = &str> {
    filter_table(save).filter_map(|line| line.strip_prefix(':')?.split(' ').next())
}

/// The rules of the filter table for one kind of packet, without ours.
pub(crate) fn ruleset(save: &str, packet: VpnPacket) -> Ruleset {
    let mut ruleset = Ruleset::default();
    for line in filter_table(save).filter_map(|line| line.strip_prefix(':')) {
        let mut fields = line.split(' ');
        let name = fields.next().unwrap_or_default().to_owned();
        ruleset.chains.entry(name).or_default().drops = fields.next() == Some("DROP");
    }
    for rule in rules(save).iter().filter(|rule| !rule.is_ours(packet.port)) {
        let known = |chain: &str| ruleset.chains.contains_key(chain);
        if let Some(estimate) = estimate(&rule.words, packet, known) {
            ruleset.chains.entry(rule.chain.clone()).or_default().rules.push(estimate);
        }
    }
    ruleset
}

/// Rules that refuse packets to this port by its number, with whether they name it alone.
pub(crate) fn refusals(save: &str, packet: VpnPacket) -> Vec<(SavedRule, bool)> {
    let ruleset = ruleset(save, packet);
    let reached = ruleset.reached_from(INPUT);
    let known = |chain: &str| ruleset.chains.contains_key(chain);
    let refuses = |rule: &SavedRule| {
        let of = |port| estimate(&rule.words, VpnPacket { port, ..packet }, known).into_iter().collect();
        reached.contains(&rule.chain[..]) && names_and_refuses(packet.port, of)
    };
    let alone = packet.port.to_string();
    let found = rules(save).into_iter().filter(refuses);
    let names_it_alone = |rule: &SavedRule| rule.words.windows(2).any(|pair| pair[0] == "--dport" && pair[1] == alone);
    found.map(|rule| (rule.clone(), names_it_alone(&rule))).collect()
}

fn filter_table(save: &str) -> impl Iterator<Item = &str> {
    save.lines().skip_while(|line| *line != "*filter").skip(1).take_while(|line| *line != "COMMIT")
}

/// Splits a saved line: words, and quoted strings with backslashes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().extend(chars.next()),
            ' ' if !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The matches whose options are parsed below. Which packets any other match fits is unknown.
const KNOWN_MATCHES: &[&str] = &["tcp", "udp", "comment", "conntrack", "state", "multiport", "addrtype", "pkttype"];

/// What one rule does; `None` for one that decides nothing.
fn estimate(words: &[String], packet: VpnPacket, is_chain: impl Fn(&str) -> bool) -> Option<Rule> {
    let mut fit = Fit::All;
    let mut negated = false;
    // A match named by `-m`, before its options.
    let mut unknown_match = false;
    let mut rest = words;
    while let [option, after @ ..] = rest {
        // A value never begins with a dash, unless it is free text; some options have two of them.
        let values = match option.as_str() {
            "--comment" => after.len().min(1),
            _ => after.iter().take_while(|word| !word.starts_with('-') && *word != "!").count(),
        };
        let (values, following) = after.split_at(values);
        rest = following;
        let value = values.first().map_or("", String::as_str);
        let this = match option.as_str() {
            "!" => {
                negated = true;
                continue;
            }
            "-j" | "-g" => {
                let action = match (option.as_str(), value) {
                    (_, "ACCEPT") => RuleAction::Accept,
                    (_, "DROP" | "REJECT") => RuleAction::Drop,
                    (_, "RETURN") => RuleAction::Return,
                    ("-g", chain) => RuleAction::Goto(chain.to_owned()),
                    (_, chain) if is_chain(chain) => RuleAction::Jump(chain.to_owned()),
                    _ => return None,
                };
                let fit = if unknown_match { fit.min(Fit::Some) } else { fit };
                return Some(Rule { fit, action });
            }
            "-m" => {
                if unknown_match {
                    fit = fit.min(Fit::Some);
                }
                unknown_match = !KNOWN_MATCHES.contains(&value);
                continue;
            }
            "-p" => Fit::exactly(value == "udp" || value == "17"),
            "-s" => {
                if matches!(value, "0.0.0.0/0" | "::/0") {
                    Fit::All
                } else {
                    Fit::Some
                }
            }
            "-d" => Fit::Most,
            "-i" => {
                if value == "lo" {
                    Fit::None
                } else {
                    Fit::Most
                }
            }
            "--dport" | "--dports" | "--ports" => Fit::exactly(value.split(',').any(|p| has_port(p, ':', packet.port))),
            "--ctstate" | "--state" => Fit::exactly(value.split(',').any(|state| state == "NEW")),
            "--dst-type" => Fit::exactly(value.split(',').any(|kind| matches!(kind, "LOCAL" | "UNICAST"))),
            "--pkt-type" => Fit::exactly(value == "unicast"),
            "--comment" | "--limit-iface-in" => Fit::All,
            _ => Fit::Some,
        };
        fit = fit.min(if negated { !this } else { this });
        (negated, unknown_match) = (false, false);
    }
    None
}

/// Whether `port` is in `4567` or, with the separator between them, `4560:4570`.
pub(super) fn has_port(range: &str, separator: char, port: u16) -> bool {
    let (first, last) = range.split_once(separator).unwrap_or((range, range));
    matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if (first..=last).contains(&port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: VpnPacket = VpnPacket { port: 4567, ipv6: false, forwarded: false };

    fn drops(policy: &str, rules: &[&str]) -> bool {
        let save = format!(
            "*nat\n:INPUT ACCEPT [0:0]\n-A INPUT -j DROP\nCOMMIT\n*filter\n:INPUT {policy} [0:0]\n:sub - [0:0]\n{}\nCOMMIT\n",
            rules.join("\n")
        );
        ruleset(&save, PACKET).drops(INPUT)
    }

    #[test]
    fn on_a_common_server_the_policy_decides() {
        let usual = [
            "-A INPUT -i lo -j ACCEPT",
            "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A INPUT -m conntrack --ctstate INVALID -j DROP",
            "-A INPUT -p icmp -j ACCEPT",
            "-A INPUT -p tcp -m multiport --dports 22,80,443 -j ACCEPT",
            "-A INPUT -p udp -m udp --dport 33434:33534 -j REJECT --reject-with icmp-port-unreachable",
        ];
        assert!(!drops("ACCEPT", &usual));
        assert!(drops("DROP", &usual));
    }

    #[test]
    fn each_way_of_dropping_us() {
        for rule in [
            "-A INPUT -j DROP",
            "-A INPUT -i eth0 -j DROP",
            "-A INPUT ! -i lo -j DROP",
            "-A INPUT -p udp -j REJECT --reject-with icmp-port-unreachable",
            "-A INPUT -p udp -m multiport --dports 1:1023,4000:5000 -j DROP",
            "-A INPUT ! -s 10.0.0.0/8 -j DROP",
            "-A INPUT -m set ! --match-set friends src -j DROP",
            "-A INPUT -m state --state NEW -j DROP",
            "-A INPUT ! -p tcp -j DROP",
        ] {
            assert!(drops("ACCEPT", &[rule]), "{rule}");
        }
    }

    #[test]
    fn drops_that_are_none_of_ours() {
        for rule in [
            "-A INPUT -p tcp -j DROP",
            "-A INPUT -s 198.51.100.7/32 -j DROP",
            "-A INPUT -m set --match-set blacklist src -j DROP",
            "-A INPUT -p udp -m udp --dport 53 -j DROP",
            "-A INPUT -m pkttype --pkt-type broadcast -j DROP",
            "-A INPUT -m addrtype --dst-type MULTICAST -j DROP",
            "-A INPUT -p udp -m hashlimit --hashlimit-above 10/sec --hashlimit-name x -j DROP",
            "-A INPUT -m socket -j DROP",
            "-A INPUT -j LOG --log-prefix \"-j DROP \"",
        ] {
            assert!(!drops("ACCEPT", &[rule]), "{rule}");
        }
    }

    #[test]
    fn an_operators_own_rule_counts_when_it_lets_everybody_in() {
        assert!(!drops("DROP", &["-A INPUT -p udp -m udp --dport 4567 -j ACCEPT"]));
        assert!(!drops("DROP", &["-A INPUT -p udp -m comment --comment \"-j DROP\" -m udp --dport 4567 -j ACCEPT"]));
        assert!(!drops("DROP", &["-A INPUT -j sub", "-A sub -p udp -m multiport --dports 4567,4568 -j ACCEPT"]));
        assert!(drops("DROP", &["-A INPUT -s 192.0.2.0/24 -p udp -m udp --dport 4567 -j ACCEPT"]));
        assert!(drops("DROP", &["-A INPUT -p udp -m udp --dport 4567 -m limit --limit 5/min -j ACCEPT"]));
    }

    #[test]
    fn ours_is_told_from_theirs_and_left_out_of_account() {
        let ours = "-A INPUT -p udp -m udp --dport 4567 -m comment --comment mitigator-vpn -j ACCEPT";
        let quoted = "-A INPUT -p udp -m comment --comment \"mitigator-vpn\" -m udp --dport 4567 -j ACCEPT";
        let theirs = "-A INPUT -p udp -m udp --dport 4567 -m comment --comment \"not mitigator-vpn\" -j ACCEPT";
        let save =
            format!("*filter\n:INPUT DROP [0:0]\n-A INPUT -p icmp -j ACCEPT\n{ours}\n{quoted}\n{theirs}\nCOMMIT\n");
        let found: Vec<usize> = rules(&save).iter().filter(|r| r.is_ours(4567)).map(|r| r.number).collect();
        assert_eq!(found, [2, 3]);
        assert!(!rules(&save).iter().any(|r| r.is_ours(4568)));
        assert!(drops("DROP", &[ours, quoted]));
    }

    #[test]
    fn quotes_and_backslashes() {
        assert_eq!(
            words(r#"-m comment --comment "a \"b c" -j X"#),
            ["-m", "comment", "--comment", "a \"b c", "-j", "X"]
        );
        assert_eq!(words(r#"--comment """#), ["--comment", ""]);
    }

    #[test]
    fn a_native_table_of_that_name_is_not_read() {
        assert!(is_incompatible("# Table `filter' is incompatible, use 'nft' tool.\n"));
        assert!(is_incompatible("# Table `filter' contains incompatible base-chains, use 'nft' tool to list them.\n"));
        assert!(!is_incompatible(
            "# Table `nat' is incompatible, use 'nft' tool.\n*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"
        ));
    }
}
