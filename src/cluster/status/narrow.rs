//! At which members large packets get lost.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::Pair;

/// A member at which large packets get lost.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Narrow {
    pub(super) at: Ipv4Addr,
    /// The members with which it can exchange no large packets.
    pub(super) others: Vec<Ipv4Addr>,
    /// Bytes of the largest packet that gets through everywhere in the cluster: a tunnel has one MTU for all members.
    pub(super) size: u16,
}

/// Where large packets get lost, explained by as few members as possible: one with a narrow line is in as many pairs as
/// there are others. Both ends of a pair report the same, since an echo reply has gone in both directions.
pub(super) fn narrow(pairs: &[Pair]) -> Vec<Narrow> {
    let Some(size) = pairs.iter().filter_map(|pair| pair.path_mtu).min() else { return Vec::new() };
    let narrow = pairs.iter().filter(|pair| pair.path_mtu.is_some());
    let mut unexplained: BTreeSet<[Ipv4Addr; 2]> =
        narrow.flat_map(|pair| [[pair.from, pair.to], [pair.to, pair.from]]).collect();
    let mut found = Vec::new();
    while !unexplained.is_empty() {
        let mut of: BTreeMap<Ipv4Addr, Vec<Ipv4Addr>> = BTreeMap::new();
        unexplained.iter().for_each(|[at, other]| of.entry(*at).or_default().push(*other));
        let most = of.into_iter().max_by_key(|(at, others)| (others.len(), Reverse(*at)));
        let (at, others) = most.expect("there is a pair");
        unexplained.retain(|pair| !pair.contains(&at));
        found.push(Narrow { at, others, size });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::status::verdict;

    #[test]
    fn a_narrow_line_is_reported_of_the_member_that_has_it() {
        let address = |n: u8| Ipv4Addr::new(10, 8, 3, n);
        let pair = |from: u8, to: u8, path_mtu: Option<u16>| Pair {
            from: address(from),
            to: address(to),
            handshake_age: Some(1),
            verdict: verdict(true, path_mtu),
            cause: None,
            path_mtu,
        };
        // The third's line is narrow, and that between the first and the second a little.
        let pairs = [
            pair(1, 2, Some(1408)),
            pair(1, 3, Some(1312)),
            pair(2, 3, Some(1328)),
            pair(3, 1, Some(1312)),
            pair(4, 1, None),
        ];
        let found = narrow(&pairs);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|narrow| narrow.size == 1312), "{found:?}");
        let pairs = [pair(1, 2, None), pair(1, 3, Some(1328)), pair(3, 2, Some(1328)), pair(4, 3, Some(1328))];
        let found = narrow(&pairs);
        assert_eq!(found, [Narrow { at: address(3), others: vec![address(1), address(2), address(4)], size: 1328 }]);
        assert_eq!(narrow(&[pair(1, 2, None)]), []);
    }
}
