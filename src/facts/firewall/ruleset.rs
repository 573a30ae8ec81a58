//! What a set of filter rules does to one packet: a new UDP packet from somewhere to one port of this host.
//!
//! Rules match on a hundred things this program knows nothing of, so a rule's match is an estimate: of all the packets
//! that members of the cluster may send to the port, it fits all, most, some or none. An accept counts only when it
//! fits all; a drop counts when it fits most. A ban of single senders is thus no reason for a rule of ours, and an
//! operator's exception for single senders no reason to do without one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Not;

/// How many of the packets in question a rule fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    /// None: another protocol, another port.
    None,
    /// Those of particular senders, or up to some rate.
    Some,
    /// Those on one interface or to one address, or all but those of particular senders.
    Most,
    /// All.
    All,
}

impl Fit {
    /// All or none.
    pub(crate) fn exactly(fits: bool) -> Fit {
        if fits { Fit::All } else { Fit::None }
    }
}

impl Not for Fit {
    type Output = Fit;

    /// The same condition, negated.
    fn not(self) -> Fit {
        match self {
            Fit::None => Fit::All,
            Fit::Some => Fit::Most,
            Fit::Most => Fit::Some,
            Fit::All => Fit::None,
        }
    }
}

/// What a rule does with a packet that it fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RuleAction {
    /// Lets it in.
    Accept,
    /// Drops or rejects it.
    Drop,
    /// Goes on in another chain, and comes back.
    Jump(String),
    /// Goes on in another chain, and doesn't come back.
    Goto(String),
    /// Leaves the chain.
    Return,
}

/// One rule that may decide something; others (counters, logs) are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Which packets.
    pub fit: Fit,
    /// What happens to them.
    pub action: RuleAction,
}

/// Whether these rules refuse the packets of one port and not those of any: somebody has named it. `of` are the rules for
/// packets to this port.
pub(crate) fn names_and_refuses(port: u16, of: impl Fn(u16) -> Vec<Rule>) -> bool {
    let refuses = |port| of(port).iter().any(|rule| rule.action == RuleAction::Drop && rule.fit >= Fit::Most);
    refuses(port) && ![1, u16::MAX].into_iter().any(refuses)
}

/// A chain of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Whether a base chain drops what no rule decided.
    pub drops: bool,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// Chains by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ruleset {
    /// The chains.
    pub chains: BTreeMap<String, Chain>,
}

/// What a chain decides at a depth of jumps.
type Decisions<'r> = HashMap<(&'r str, usize), Option<bool>>;

/// The kernel allows 16 levels of jumps.
const DEEPEST: usize = 16;

impl Ruleset {
    /// Whether a packet that enters at this base chain is dropped.
    pub(crate) fn drops(&self, base: &str) -> bool {
        self.decision(base, 0, &mut HashMap::new())
            .unwrap_or_else(|| self.chains.get(base).is_some_and(|chain| chain.drops))
    }

    /// The chains that a packet can get to from this one.
    pub(crate) fn reached_from<'r>(&'r self, base: &'r str) -> BTreeSet<&'r str> {
        let mut reached = BTreeSet::new();
        let mut next = vec![base];
        while let Some(name) = next.pop() {
            if !reached.insert(name) {
                continue;
            }
            for rule in self.chains.get(name).into_iter().flat_map(|chain| &chain.rules) {
                if let (true, RuleAction::Jump(to) | RuleAction::Goto(to)) = (rule.fit != Fit::None, &rule.action) {
                    next.push(to);
                }
            }
        }
        reached
    }

    /// Whether the chain drops the packet; `None` where no rule decides. Chains that many rules lead to are looked at once.
    fn decision<'r>(&'r self, chain: &'r str, depth: usize, known: &mut Decisions<'r>) -> Option<bool> {
        if depth > DEEPEST {
            return None;
        }
        if let Some(decision) = known.get(&(chain, depth)) {
            return *decision;
        }
        let decision = self.first_decision(chain, depth, known);
        known.insert((chain, depth), decision);
        decision
    }

    fn first_decision<'r>(&'r self, chain: &'r str, depth: usize, known: &mut Decisions<'r>) -> Option<bool> {
        for Rule { fit, action } in self.chains.get(chain)?.rules.iter().filter(|rule| rule.fit != Fit::None) {
            let drops = match action {
                RuleAction::Accept => Some(false),
                RuleAction::Drop => Some(true),
                RuleAction::Jump(target) | RuleAction::Goto(target) => self.decision(target, depth + 1, known),
                RuleAction::Return => None,
            };
            let leaves = matches!(action, RuleAction::Goto(_) | RuleAction::Return);
            match drops {
                Some(true) if *fit >= Fit::Most => return drops,
                Some(false) if *fit == Fit::All => return drops,
                None if leaves && *fit == Fit::All => return None,
                Some(_) | None => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, policy, rules.
    type ChainOf<'a> = (&'a str, bool, &'a [(Fit, RuleAction)]);

    fn ruleset(chains: &[ChainOf]) -> Ruleset {
        let chain = |&(name, drops, rules): &ChainOf| {
            let rules = rules.iter().map(|(fit, action)| Rule { fit: *fit, action: action.clone() }).collect();
            (name.to_owned(), Chain { drops, rules })
        };
        Ruleset { chains: chains.iter().map(chain).collect() }
    }

    #[test]
    fn the_policy_decides_when_no_rule_does() {
        assert!(ruleset(&[("in", true, &[(Fit::None, RuleAction::Accept)])]).drops("in"));
        assert!(!ruleset(&[("in", false, &[(Fit::None, RuleAction::Drop)])]).drops("in"));
        assert!(!ruleset(&[]).drops("in"));
    }

    #[test]
    fn an_exception_for_some_is_no_way_in_and_a_ban_of_some_no_obstacle() {
        assert!(ruleset(&[("in", true, &[(Fit::Some, RuleAction::Accept)])]).drops("in"));
        assert!(ruleset(&[("in", true, &[(Fit::Most, RuleAction::Accept)])]).drops("in"));
        assert!(!ruleset(&[("in", false, &[(Fit::Some, RuleAction::Drop)])]).drops("in"));
        assert!(ruleset(&[("in", false, &[(Fit::Most, RuleAction::Drop)])]).drops("in"));
    }

    #[test]
    fn order_matters() {
        let accept_first = [(Fit::All, RuleAction::Accept), (Fit::All, RuleAction::Drop)];
        assert!(!ruleset(&[("in", true, &accept_first)]).drops("in"));
        let drop_first = [(Fit::All, RuleAction::Drop), (Fit::All, RuleAction::Accept)];
        assert!(ruleset(&[("in", false, &drop_first)]).drops("in"));
    }

    #[test]
    fn jumps_come_back_gotos_do_not() {
        let empty: ChainOf = ("sub", false, &[]);
        let jump = [(Fit::All, RuleAction::Jump("sub".into())), (Fit::All, RuleAction::Drop)];
        assert!(ruleset(&[("in", false, &jump), empty]).drops("in"));
        let goto = [(Fit::All, RuleAction::Goto("sub".into())), (Fit::All, RuleAction::Drop)];
        assert!(!ruleset(&[("in", false, &goto), empty]).drops("in"));
        let returns: ChainOf = ("sub", false, &[(Fit::All, RuleAction::Return), (Fit::All, RuleAction::Accept)]);
        assert!(ruleset(&[("in", false, &jump), returns]).drops("in"));
    }

    #[test]
    fn what_a_chain_accepts_counts_only_for_those_that_get_there() {
        let accepts: ChainOf = ("sub", false, &[(Fit::All, RuleAction::Accept)]);
        assert!(ruleset(&[("in", true, &[(Fit::Some, RuleAction::Jump("sub".into()))]), accepts]).drops("in"));
        assert!(!ruleset(&[("in", true, &[(Fit::All, RuleAction::Jump("sub".into()))]), accepts]).drops("in"));
    }

    #[test]
    fn many_ways_to_the_same_chains_are_no_more_work() {
        let names: Vec<String> = (0..=DEEPEST).map(|n| format!("c{n}")).collect();
        let jumps: Vec<Vec<(Fit, RuleAction)>> =
            names[1..].iter().map(|next| vec![(Fit::All, RuleAction::Jump(next.clone())); 30]).collect();
        let chains: Vec<ChainOf> = names.iter().zip(&jumps).map(|(name, jumps)| (&**name, true, &**jumps)).collect();
        assert!(ruleset(&chains).drops("c0"));
    }

    #[test]
    fn chains_that_lead_to_each_other_end() {
        let circle = [(Fit::All, RuleAction::Jump("in".into()))];
        assert!(!ruleset(&[("in", false, &circle)]).drops("in"));
    }
}
