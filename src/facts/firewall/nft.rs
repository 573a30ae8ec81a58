//! Reads what `nft --json list ruleset` prints.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::ruleset::{Chain, Fit, Rule, RuleAction, Ruleset, names_and_refuses};
use super::{TAG, VpnPacket};
use crate::error::{Context, Result};
use crate::message;

/// All chains and rules.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    chains: Vec<ChainItem>,
    rules: Vec<RuleItem>,
}

/// A chain by family, table and name; as text `inet filter input`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChainPath {
    pub family: String,
    pub table: String,
    pub name: String,
}

impl ChainPath {
    pub(super) fn new(family: &str, table: &str, name: &str) -> Self {
        ChainPath { family: family.to_owned(), table: table.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for ChainPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.name)
    }
}

#[derive(Deserialize)]
struct NftOutput {
    nftables: Vec<Item>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Item {
    chain: Option<ChainItem>,
    rule: Option<RuleItem>,
}

#[derive(Debug, Deserialize)]
struct ChainItem {
    family: String,
    table: String,
    name: String,
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    hook: String,
    #[serde(default)]
    policy: String,
}

#[derive(Debug, Deserialize)]
struct RuleItem {
    family: String,
    table: String,
    chain: String,
    handle: u64,
    #[serde(default)]
    comment: String,
    #[serde(default)]
    expr: Vec<Value>,
}

/// A rule that refuses a port by its number.
#[derive(Debug)]
pub(crate) struct NamedRefusal {
    /// Its chain: `inet filter input`.
    pub chain: String,
    /// Its number.
    pub handle: u64,
    /// Whether no other port hangs on it.
    pub names_it_alone: bool,
}

impl ChainItem {
    fn path(&self) -> ChainPath {
        ChainPath::new(&self.family, &self.table, &self.name)
    }
}

impl RuleItem {
    fn path(&self) -> ChainPath {
        ChainPath::new(&self.family, &self.table, &self.chain)
    }
}

impl Listing {
    /// Parses nft's JSON.
    pub(crate) fn parse(json: &str) -> Result<Self> {
        let document: NftOutput =
            serde_json::from_str(json).context(message!("reading the answer of 'nft --json list ruleset'"))?;
        let mut listing = Listing::default();
        for item in document.nftables {
            listing.chains.extend(item.chain);
            listing.rules.extend(item.rule);
        }
        Ok(listing)
    }

    /// The base chains on a hook that filter.
    pub(crate) fn base_chains(&self, hook: &str) -> Vec<ChainPath> {
        self.chains.iter().filter(|c| c.hook == hook && c.r#type == "filter").map(ChainItem::path).collect()
    }

    /// Whether a base chain is one that iptables made: its table, its name in capitals, and nothing in it that iptables
    /// doesn't have.
    pub(crate) fn is_of_iptables(&self, chain: &ChainPath) -> bool {
        let family = matches!(chain.family.as_str(), "ip" | "ip6");
        let table = matches!(chain.table.as_str(), "filter" | "mangle" | "nat" | "raw" | "security");
        let name = matches!(chain.name.as_str(), "INPUT" | "FORWARD" | "PREROUTING");
        let mut expressions = self.rules.iter().filter(|rule| rule.path() == *chain).flat_map(|rule| &rule.expr);
        family && table && name && expressions.all(|e| !is_native(e))
    }

    /// The rules for one kind of packet, without ours.
    pub(crate) fn ruleset(&self, packet: VpnPacket) -> Ruleset {
        let mut ruleset = Ruleset::default();
        for chain in &self.chains {
            ruleset.chains.insert(chain.path().to_string(), Chain { drops: chain.policy == "drop", rules: Vec::new() });
        }
        for rule in self.rules.iter().filter(|rule| !is_ours(rule, packet.port)) {
            let target = |chain: &str| ChainPath::new(&rule.family, &rule.table, chain).to_string();
            ruleset
                .chains
                .entry(rule.path().to_string())
                .or_default()
                .rules
                .extend(estimates(&rule.expr, packet, &target));
        }
        ruleset
    }

    /// Rules that refuse packets to this port by its number, on the way from a base chain.
    pub(crate) fn refusals(&self, base: &str, packet: VpnPacket) -> Vec<NamedRefusal> {
        let ruleset = self.ruleset(packet);
        let reached = ruleset.reached_from(base);
        let refuses = |rule: &&RuleItem| {
            let target = |chain: &str| ChainPath::new(&rule.family, &rule.table, chain).to_string();
            let of = |port| estimates(&rule.expr, VpnPacket { port, ..packet }, &target);
            reached.contains(&rule.path().to_string()[..]) && names_and_refuses(packet.port, of)
        };
        let found = self.rules.iter().filter(refuses);
        found
            .map(|rule| NamedRefusal {
                chain: rule.path().to_string(),
                handle: rule.handle,
                names_it_alone: names_alone(rule, packet.port),
            })
            .collect()
    }

    /// Handles of our rules for this port in a chain.
    pub(crate) fn ours(&self, place: &str, port: u16) -> Vec<u64> {
        self.rules
            .iter()
            .filter(|rule| rule.path().to_string() == place && is_ours(rule, port))
            .map(|rule| rule.handle)
            .collect()
    }
}

fn is_ours(rule: &RuleItem, port: u16) -> bool {
    rule.comment == TAG && names_alone(rule, port)
}

fn names_alone(rule: &RuleItem, port: u16) -> bool {
    let left = |e: &Value| e.pointer("/match/left/payload/field").and_then(Value::as_str) == Some("dport");
    let right = |e: &Value| e.pointer("/match/right").and_then(Value::as_u64) == Some(port.into());
    rule.expr.iter().any(|e| left(e) && right(e))
}

/// Whether iptables could not have made this expression.
fn is_native(expression: &Value) -> bool {
    let right = expression.pointer("/match/right");
    expression.get("vmap").is_some()
        || right.is_some_and(|r| r.get("set").is_some() || r.as_str().is_some_and(|s| s.starts_with('@')))
}

/// What one rule does: nothing, one thing, or with a verdict map one thing per element.
fn estimates(expressions: &[Value], packet: VpnPacket, target: &dyn Fn(&str) -> String) -> Vec<Rule> {
    let mut fit = Fit::All;
    let mut rules = Vec::new();
    for expression in expressions {
        let Some((kind, body)) = expression.as_object().and_then(|object| object.iter().next()) else { continue };
        match kind.as_str() {
            "match" => fit = fit.min(fit_of_match(body, packet)),
            // The listing doesn't show what an extension of iptables matches, and a limit doesn't fit all packets.
            "xt" | "limit" | "quota" | "ct count" => fit = fit.min(Fit::Some),
            "vmap" => {
                let elements = body.pointer("/data/set").and_then(Value::as_array).into_iter().flatten();
                rules.extend(elements.filter_map(|element| {
                    let key = fit_of(&body["key"], &element[0], packet);
                    Some(Rule { fit: fit.min(key), action: action(&element[1], target)? })
                }));
            }
            _ => rules.extend(action(expression, target).map(|action| Rule { fit, action })),
        }
    }
    rules
}

fn action(expression: &Value, target: &dyn Fn(&str) -> String) -> Option<RuleAction> {
    let (kind, body) = expression.as_object()?.iter().next()?;
    let chain = || body["target"].as_str().map(target);
    Some(match kind.as_str() {
        "accept" => RuleAction::Accept,
        "drop" | "reject" => RuleAction::Drop,
        "return" => RuleAction::Return,
        "jump" => RuleAction::Jump(chain()?),
        "goto" => RuleAction::Goto(chain()?),
        _ => return None,
    })
}

fn fit_of_match(body: &Value, packet: VpnPacket) -> Fit {
    let (left, right) = (&body["left"], &body["right"]);
    let port = u64::from(packet.port);
    match body["op"].as_str().unwrap_or_default() {
        "!=" => !fit_of(left, right, packet),
        op @ ("<" | ">" | "<=" | ">=") if is_our_port(left, packet) => match (op, right.as_u64()) {
            (_, None) => Fit::Some,
            ("<", Some(bound)) => Fit::exactly(port < bound),
            (">", Some(bound)) => Fit::exactly(port > bound),
            ("<=", Some(bound)) => Fit::exactly(port <= bound),
            (_, Some(bound)) => Fit::exactly(port >= bound),
        },
        "<" | ">" | "<=" | ">=" => Fit::Some,
        _ => fit_of(left, right, packet),
    }
}

/// The port the packet was sent to. The port after Docker's translation isn't known.
fn is_our_port(left: &Value, packet: VpnPacket) -> bool {
    if packet.forwarded {
        let ct = &left["ct"];
        return ct["key"] == "proto-dst" && ct["dir"] == "original";
    }
    let payload = &left["payload"];
    payload["field"] == "dport" && (payload["protocol"] == "udp" || payload["protocol"] == "th")
}

/// How many of the packets have `right` at `left`.
fn fit_of(left: &Value, right: &Value, packet: VpnPacket) -> Fit {
    let among = |names: &[&str]| match contains(right, &|v| names.iter().any(|name| v == name), None) {
        Some(found) => Fit::exactly(found),
        None => Fit::Some,
    };
    let family = if packet.ipv6 { ["ipv6", "ip6"] } else { ["ipv4", "ip"] };
    if is_our_port(left, packet) {
        let port = u64::from(packet.port);
        let found = contains(right, &|v| v.as_u64() == Some(port), Some(port));
        return found.map_or(Fit::Some, Fit::exactly);
    }
    if let Some(key) = left.pointer("/meta/key").and_then(Value::as_str) {
        return match key {
            "l4proto" => among(&["udp"]),
            "nfproto" | "protocol" => among(&family),
            "pkttype" => among(&["host", "unicast"]),
            "oifname" | "oif" if packet.forwarded => Fit::exactly(leads_to_docker(right)),
            "iifname" | "iif" => {
                if only_loopback(right) {
                    Fit::None
                } else {
                    Fit::Most
                }
            }
            _ => Fit::Some,
        };
    }
    if let Some(key) = left.pointer("/ct/key").and_then(Value::as_str) {
        return match key {
            "state" => among(&["new"]),
            "status" if packet.forwarded => among(&["dnat"]),
            _ => Fit::Some,
        };
    }
    if let Some(fib) = left.get("fib") {
        let of_destination =
            fib["result"] == "type" && fib["flags"].as_array().is_some_and(|f| f.iter().all(|f| f == "daddr"));
        return if of_destination { among(&["local", "unicast"]) } else { Fit::Some };
    }
    match (
        left.pointer("/payload/protocol").and_then(Value::as_str),
        left.pointer("/payload/field").and_then(Value::as_str),
    ) {
        (Some("ip"), _) if packet.ipv6 => Fit::None,
        (Some("ip6"), _) if !packet.ipv6 => Fit::None,
        (Some("ip"), Some("protocol")) | (Some("ip6"), Some("nexthdr")) => among(&["udp"]),
        (Some("ip" | "ip6"), Some("daddr")) => Fit::Most,
        (Some("tcp" | "icmp" | "icmpv6" | "sctp" | "dccp" | "esp" | "ah" | "comp" | "igmp"), _) => Fit::None,
        _ => Fit::Some,
    }
}

fn leads_to_docker(right: &Value) -> bool {
    let bridge = |v: &Value| v.as_str().is_some_and(|name| name.starts_with("docker") || name.starts_with("br-"));
    contains(right, &bridge, None) == Some(true)
}

fn only_loopback(right: &Value) -> bool {
    contains(right, &|v| v != "lo" && v.is_string(), None) == Some(false)
}

/// Whether a value, a list or a set has an element that `is_it`, or a range with `number` in it; `None` where that
/// can't be seen, as in a named set.
fn contains(right: &Value, is_it: &dyn Fn(&Value) -> bool, number: Option<u64>) -> Option<bool> {
    match right {
        Value::String(name) if name.starts_with('@') => None,
        Value::Array(elements) => elements.iter().map(|e| contains(e, is_it, number)).reduce(|a, b| match (a, b) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        })?,
        Value::Object(object) => {
            let (kind, body) = object.iter().next()?;
            match kind.as_str() {
                "set" => contains(body, is_it, number),
                "elem" => contains(&body["val"], is_it, number),
                "range" => Some((body[0].as_u64()?..=body[1].as_u64()?).contains(&number?)),
                _ => None,
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(is_it(right)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: &str = "inet filter input";

    /// A chain with one rule, given as nft's JSON of its expressions.
    fn drops(policy: &str, expressions: &str) -> bool {
        drops_family(policy, expressions, false)
    }

    fn drops_family(policy: &str, expressions: &str, ipv6: bool) -> bool {
        let json = format!(
            r#"{{"nftables": [{{"metainfo": {{"version": "1.0.6"}}}},
                {{"chain": {{"family": "inet", "table": "filter", "name": "input", "handle": 1, "type": "filter",
                             "hook": "input", "prio": 0, "policy": "{policy}"}}}},
                {{"rule": {{"family": "inet", "table": "filter", "chain": "input", "handle": 5, "expr": {expressions}}}}}]}}"#
        );
        Listing::parse(&json).unwrap().ruleset(VpnPacket::to(4567, ipv6)).drops(INPUT)
    }

    #[test]
    fn rules_that_drop_our_packets() {
        for expressions in [
            r#"[{"counter": {"packets": 0, "bytes": 0}}, {"reject": {"type": "icmpx", "expr": "admin-prohibited"}}]"#,
            r#"[{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "eth0"}}, {"drop": null}]"#,
            r#"[{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": {"set": ["tcp", "udp"]}}}, {"drop": null}]"#,
            r#"[{"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": {"range": [4000, 5000]}}}, {"drop": null}]"#,
            r#"[{"match": {"op": "!=", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@friends"}}, {"drop": null}]"#,
            r#"[{"match": {"op": ">=", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 1024}}, {"drop": null}]"#,
            r#"[{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["established", {"accept": null}], ["new", {"drop": null}]]}}}]"#,
        ] {
            assert!(drops("accept", expressions), "{expressions}");
        }
    }

    #[test]
    fn rules_that_drop_other_packets() {
        for expressions in [
            r#"[{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 25}}, {"drop": null}]"#,
            r#"[{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@banned"}}, {"drop": null}]"#,
            r#"[{"match": {"op": "==", "left": {"meta": {"key": "pkttype"}}, "right": "broadcast"}}, {"drop": null}]"#,
            r#"[{"match": {"op": "==", "left": {"fib": {"result": "type", "flags": ["daddr"]}}, "right": "broadcast"}}, {"drop": null}]"#,
            r#"[{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "invalid"}}, {"drop": null}]"#,
            r#"[{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["invalid", {"drop": null}], ["established", {"accept": null}]]}}}]"#,
            r#"[{"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": {"set": [[25, {"drop": null}]]}}}]"#,
            r#"[{"match": {"op": "==", "left": {"meta": {"key": "iif"}}, "right": "lo"}}, {"drop": null}]"#,
        ] {
            assert!(!drops("accept", expressions), "{expressions}");
        }
    }

    #[test]
    fn rules_that_accept_all_and_rules_that_accept_some() {
        let port =
            r#"{"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 4567}}"#;
        let from = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": {"prefix": {"addr": "10.0.0.0", "len": 8}}}}"#;
        assert!(!drops(
            "drop",
            &format!(r#"[{port}, {{"counter": {{"packets": 0, "bytes": 0}}}}, {{"accept": null}}]"#)
        ));
        assert!(drops("drop", &format!(r#"[{from}, {port}, {{"accept": null}}]"#)));
        assert!(drops(
            "drop",
            &format!(r#"[{port}, {{"limit": {{"rate": 5, "burst": 5, "per": "second"}}}}, {{"accept": null}}]"#)
        ));
        let named =
            r#"{"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": "@open"}}"#;
        assert!(drops("drop", &format!(r#"[{named}, {{"accept": null}}]"#)));
    }

    #[test]
    fn families_are_told_apart() {
        let six = r#"[{"match": {"op": "==", "left": {"meta": {"key": "nfproto"}}, "right": "ipv6"}}, {"drop": null}]"#;
        assert!(drops_family("accept", six, true));
        assert!(!drops_family("accept", six, false));
    }

    #[test]
    fn jumps_stay_in_their_table_and_ours_is_found_by_its_comment() {
        let json = r#"{"nftables": [
            {"chain": {"family": "ip", "table": "t", "name": "in", "handle": 1, "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}},
            {"chain": {"family": "ip", "table": "t", "name": "sub", "handle": 2}},
            {"rule": {"family": "ip", "table": "t", "chain": "in", "handle": 3, "expr": [{"jump": {"target": "sub"}}]}},
            {"rule": {"family": "ip", "table": "t", "chain": "sub", "handle": 4, "expr": [{"accept": null}]}},
            {"rule": {"family": "ip", "table": "t", "chain": "in", "handle": 9, "comment": "mitigator-vpn", "expr": [
                {"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 4567}},
                {"counter": {"packets": 0, "bytes": 0}}, {"accept": null}]}}]}"#;
        let listing = Listing::parse(json).unwrap();
        assert!(!listing.ruleset(VpnPacket::to(4567, false)).drops("ip t in"));
        assert_eq!(listing.ours("ip t in", 4567), [9]);
        assert!(listing.ours("ip t in", 4568).is_empty());
        assert_eq!(listing.base_chains("input"), [ChainPath::new("ip", "t", "in")]);
    }

    #[test]
    fn a_native_table_with_iptables_names_is_not_taken_for_one_of_iptables() {
        let rule = |right: &str| {
            let json = format!(
                r#"{{"nftables": [{{"rule": {{"family": "ip", "table": "filter", "chain": "INPUT", "handle": 3, "expr": [
                    {{"match": {{"op": "==", "left": {{"payload": {{"protocol": "tcp", "field": "dport"}}}}, "right": {right}}}}}, {{"accept": null}}]}}}}]}}"#
            );
            Listing::parse(&json).unwrap().is_of_iptables(&ChainPath::new("ip", "filter", "INPUT"))
        };
        assert!(rule("22"));
        assert!(!rule(r#"{"set": [22, 80]}"#));
        assert!(!rule(r#""@open""#));
        assert!(!Listing::default().is_of_iptables(&ChainPath::new("ip", "filter", "input")));
    }
}
