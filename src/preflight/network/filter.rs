//! Does the firewall let the VPN's packets in, and what will install do about it?

use crate::facts::{Backend, Filter, FirewallNote, Refusal};
use crate::message;
use crate::message::Message;
use crate::policy::{Exposure, FirewallRule};
use crate::preflight::{Inputs, Judgement};
use crate::settings::{FirewallPolicy, Settings};

pub(super) fn firewall(inputs: &Inputs) -> Judgement {
    let (facts, settings) = (inputs.facts, inputs.settings);
    if let Some(reason) = &facts.firewall.unknown {
        return Judgement::unknown(if facts.machine.is_root {
            Message::foreign(reason)
        } else {
            message!("needs root: {reason}", reason)
        });
    }
    let exposure = Exposure::of(facts, settings);
    if exposure == Exposure::Unknown {
        return Judgement::unknown(message!("whether a rule is needed depends on the compose configuration"));
    }
    let mut found: Vec<Judgement> = Vec::new();
    if exposure == Exposure::Published {
        found.extend(facts.firewall.forward.iter().map(|chain| forward_drops(chain, inputs)));
    }
    let wanted = FirewallRule::wanted(facts, settings);
    let (there, missing): (Vec<_>, Vec<_>) = wanted.iter().partition(|rule| is_there(rule, inputs));
    if settings.firewall == FirewallPolicy::Auto {
        found.extend(volatile(&missing, inputs));
    } else {
        found.extend(missing.iter().map(|rule| left_to_you(rule)));
    }
    let refusing = FirewallRule::refusals(facts, settings);
    let mut others: Vec<&Refusal> = facts.firewall.refusals.iter().filter(|other| !refusing.contains(other)).collect();
    // A rule of both families is one rule.
    others.retain(|other| !refusing.iter().any(|refusal| refusal.rule == other.rule));
    for refusal in refusing.iter().chain(&others) {
        let judgement = refuses(refusal, &refusing, settings);
        found.extend(judgement.filter(|judgement| !found.contains(judgement)));
    }
    let look = |note: &FirewallNote| match note {
        FirewallNote::MixedVariants => "iptables-legacy-save; iptables-nft-save",
    };
    found.extend(
        facts.firewall.notes.iter().map(|note| Judgement::warn(Message::from(note), Message::command(look(note)))),
    );
    Judgement::of_all(found, fine(exposure, &there, &missing, inputs))
}

/// What a pass says: who filters here, and what install does.
fn fine(exposure: Exposure, there: &[&FirewallRule], missing: &[&FirewallRule], inputs: &Inputs) -> Message {
    let names = |rules: &[&FirewallRule]| Message::joined(rules.iter().map(|rule| rule.name()).collect(), ", ");
    let port = inputs.settings.port;
    let opens = match exposure {
        _ if !missing.is_empty() => message!("install opens it: {rules}", rules = names(missing)),
        _ if !there.is_empty() => message!("open already: {rules}", rules = names(there)),
        Exposure::Published => message!("Docker publishes UDP {port}, which no input chain sees", port),
        Exposure::Host | Exposure::Nowhere | Exposure::Unknown => message!("nothing drops UDP {port}", port),
    };
    let off = &inputs.facts.firewall.inactive;
    if off.is_empty() {
        return opens;
    }
    let names = off.iter().map(Backend::to_string).collect::<Vec<_>>().join(", ");
    message!("{detail}; installed and off: {names}", detail = opens, names)
}

fn is_there(rule: &FirewallRule, inputs: &Inputs) -> bool {
    let same = |filter: &&Filter| filter.backend == rule.backend && filter.place == rule.place;
    inputs.facts.firewall.filters.iter().find(same).is_some_and(|filter| filter.ours.contains_key(&rule.port))
}

/// Somebody's rule is theirs to change: install neither removes it nor gets around it. Where nothing of the VPN comes by,
/// it is worth a warning: Docker lets in what it publishes all the same.
fn refuses(refusal: &Refusal, refusing: &[&Refusal], settings: &Settings) -> Option<Judgement> {
    let Refusal { backend, port, rule, command, .. } = refusal;
    let (backend, port) = (backend.to_string(), *port);
    let found =
        message!("a rule of {backend} refuses UDP {port}, and it isn't ours to change: {rule}", backend, port, rule);
    let command = Message::command(command);
    if refusing.contains(&refusal) && settings.firewall == FirewallPolicy::Auto {
        return Some(Judgement::fail(found, command));
    }
    (port == settings.port).then(|| Judgement::warn(found, command))
}

fn left_to_you(rule: &FirewallRule) -> Judgement {
    Judgement::warn(
        message!("packets are dropped, and --firewall leaves the rule to you: {rule}", rule = rule.name()),
        Message::joined(rule.commands(), "\n"),
    )
}

/// A rule that lasts needs systemd, unless the firewall keeps it by itself.
fn volatile(missing: &[&FirewallRule], inputs: &Inputs) -> Option<Judgement> {
    let is_kept = |rule: &FirewallRule| match rule.backend {
        Backend::Ufw | Backend::Firewalld => true,
        Backend::Nftables | Backend::IptablesNft | Backend::IptablesLegacy => false,
    };
    let rule = missing.iter().find(|rule| !is_kept(rule)).filter(|_| !inputs.facts.machine.systemd)?;
    Some(Judgement::warn(
        message!(
            "install adds a rule for {rule}, and without systemd nothing puts it back after a boot",
            rule = rule.name()
        ),
        Message::joined(rule.commands(), "\n"),
    ))
}

/// What Docker publishes is forwarded, and an accept in Docker's chains doesn't keep an nftables chain from dropping it
/// (FN-22, FN-58). Forwarding is the operator's own design, so this is reported and never changed.
fn forward_drops(chain: &str, inputs: &Inputs) -> Judgement {
    let port = inputs.settings.port;
    Judgement::warn(
        message!("the nftables chain {chain} drops forwarded packets, and with them what Docker publishes", chain),
        Message::command(format!("nft insert rule {chain} meta l4proto udp ct original proto-dst {port} accept")),
    )
}

#[cfg(test)]
mod tests {
    use crate::facts::{Backend, Facts, Filter, FirewallNote, Refusal};
    use crate::message::Message;
    use crate::policy::FirewallRule;
    use crate::preflight::Severity::{self, Fail, Pass, Unknown, Warn};
    use crate::preflight::network::tests::settings;
    use crate::preflight::tests::outcome_with;
    use crate::settings::{FirewallPolicy, Settings};

    fn drops(facts: &mut Facts, backend: Backend, place: &str) {
        facts.firewall.filters.push(Filter {
            backend,
            place: place.into(),
            interfaces: Default::default(),
            drops_ipv4: [4567].into(),
            drops_ipv6: [4567].into(),
            ours: Default::default(),
        });
        let gateway = &mut facts.stack.config.as_mut().unwrap().as_mut().unwrap().gateway;
        gateway.as_mut().unwrap().host_network = true;
    }

    fn judge(policy: FirewallPolicy, change: impl FnOnce(&mut Facts)) -> (Severity, String) {
        let mut facts = Facts::healthy();
        change(&mut facts);
        outcome_with("firewall", &facts, &Settings { firewall: policy, ..settings() })
    }

    #[test]
    fn a_filter_that_drops_passes_since_install_opens_it() {
        let (severity, text) =
            judge(FirewallPolicy::Auto, |facts| drops(facts, Backend::Nftables, "inet filter input"));
        assert_eq!(severity, Pass);
        assert!(text.starts_with("install opens it: UDP port 4567 in the nftables chain inet filter input"), "{text}");
    }

    #[test]
    fn the_same_warns_with_the_commands_where_install_is_told_to_keep_out() {
        for policy in [FirewallPolicy::Report, FirewallPolicy::None] {
            let (severity, text) = judge(policy, |facts| drops(facts, Backend::Ufw, ""));
            assert_eq!(severity, Warn);
            assert!(text.contains("[ufw allow 4567/udp comment mitigator-vpn]"), "{text}");
        }
        let there = |facts: &mut Facts| {
            drops(facts, Backend::Ufw, "");
            facts.firewall.filters[0].ours.insert(4567, 1);
        };
        let (severity, text) = judge(FirewallPolicy::Report, there);
        assert_eq!(severity, Pass);
        assert!(text.starts_with("open already: UDP port 4567 in ufw"), "{text}");
    }

    #[test]
    fn somebodys_rule_that_refuses_the_port_fails_with_its_words_and_gets_none_of_ours_beside_it() {
        let refused = |facts: &mut Facts| {
            drops(facts, Backend::Ufw, "");
            facts.firewall.refusals.push(Refusal {
                backend: Backend::Ufw,
                place: String::new(),
                port: 4567,
                ipv6: false,
                rule: "deny 4567/udp comment 'ticket 4711'".into(),
                command: "ufw delete deny 4567/udp".into(),
            });
        };
        let (severity, text) = judge(FirewallPolicy::Auto, refused);
        assert_eq!(severity, Fail);
        assert!(text.contains("ticket 4711") && text.contains("[ufw delete deny 4567/udp]"), "{text}");
        assert_eq!(judge(FirewallPolicy::Report, refused).0, Warn);
        let mut facts = Facts::healthy();
        refused(&mut facts);
        assert_eq!(FirewallRule::wanted(&facts, &settings()), []);
        facts.stack.config.as_mut().unwrap().as_mut().unwrap().gateway.as_mut().unwrap().host_network = false;
        assert_eq!(outcome_with("firewall", &facts, &settings()).0, Warn, "Docker lets in what it publishes");
    }

    #[test]
    fn a_published_port_needs_nothing_unless_forwarding_is_dropped() {
        let (severity, text) = judge(FirewallPolicy::Auto, |_| {});
        assert_eq!(severity, Pass);
        assert!(text.contains("Docker publishes UDP 4567"), "{text}");
        let (severity, text) =
            judge(FirewallPolicy::Auto, |facts| facts.firewall.forward = vec!["inet filter forward".into()]);
        assert_eq!(severity, Warn);
        assert!(
            text.contains("nft insert rule inet filter forward meta l4proto udp ct original proto-dst 4567 accept"),
            "{text}"
        );
    }

    #[test]
    fn one_that_is_off_is_named_and_left_off() {
        let (severity, text) = judge(FirewallPolicy::Auto, |facts| facts.firewall.inactive = vec![Backend::Ufw]);
        assert_eq!(severity, Pass);
        assert!(text.contains("installed and off: ufw"), "{text}");
    }

    #[test]
    fn without_systemd_a_live_rule_is_said_to_be_gone_after_a_boot() {
        let (severity, text) = judge(FirewallPolicy::Auto, |facts| {
            drops(facts, Backend::IptablesLegacy, "iptables-legacy INPUT");
            facts.machine.systemd = false;
        });
        assert_eq!(severity, Warn);
        assert!(text.contains("nothing puts it back"), "{text}");
        let ufw = judge(FirewallPolicy::Auto, |facts| {
            drops(facts, Backend::Ufw, "");
            facts.machine.systemd = false;
        });
        assert_eq!(ufw.0, Pass);
    }

    #[test]
    fn oddities_warn_and_what_cannot_be_read_is_unknown() {
        assert_eq!(judge(FirewallPolicy::Auto, |facts| facts.firewall.notes.push(FirewallNote::MixedVariants)).0, Warn);
        let unread = |facts: &mut Facts| facts.firewall.unknown = Some(Message::foreign("Operation not permitted"));
        assert_eq!(judge(FirewallPolicy::Auto, unread).0, Unknown);
        assert_eq!(judge(FirewallPolicy::Auto, |facts| facts.stack.config = None).0, Unknown);
    }
}
