//! In which order hosts are changed. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::Rollout;
use crate::cluster::action::Need;
use crate::cluster::hosts::Fleet;

/// The waves, in order. First those that are members already and only get a list: one alone, then twice as many each
/// time. Then those whose stack has to be restarted, one by one: each of them is an outage. At last those that join, who
/// find everybody knowing them.
pub(super) fn waves(
    fleet: &Fleet,
    needs: &BTreeMap<Ipv4Addr, Need>,
    rollout: &Rollout,
    batch: usize,
) -> Vec<Vec<Ipv4Addr>> {
    let (mut lists, mut restarts, mut joins) = (Vec::new(), Vec::new(), Vec::new());
    for node in &fleet.nodes {
        let address = node.instance.address;
        let failed = rollout.fates.get(&address).is_some_and(|fate| fate.failure.is_some());
        if failed || rollout.list.by_address(address).is_none() {
            continue;
        }
        match needs.get(&address) {
            Some(Need::List) => lists.push(address),
            Some(Need::Whole(survey)) if survey.impact.outage().is_some() => restarts.push(vec![address]),
            Some(Need::Whole(_)) => joins.push(address),
            Some(Need::Nothing | Need::Refused(_) | Need::Down(_)) | None => {}
        }
    }
    let mut waves = doubling(&lists, batch);
    waves.extend(restarts);
    waves.extend(doubling(&joins, batch));
    waves
}

/// One, then two, then four, up to `most` at a time.
fn doubling(all: &[Ipv4Addr], most: usize) -> Vec<Vec<Ipv4Addr>> {
    let mut waves = Vec::new();
    let (mut rest, mut size) = (all, 1);
    while !rest.is_empty() {
        let (wave, others) = rest.split_at(rest.len().min(size));
        waves.push(wave.to_vec());
        (rest, size) = (others, (size * 2).min(most.max(1)));
    }
    waves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_goes_first_and_the_waves_grow_up_to_their_limit() {
        let all: Vec<Ipv4Addr> = (1..=20).map(|n| Ipv4Addr::new(10, 8, 3, n)).collect();
        let sizes = |most| doubling(&all, most).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(30), [1, 2, 4, 8, 5]);
        assert_eq!(sizes(3), [1, 2, 3, 3, 3, 3, 3, 2]);
        assert_eq!(sizes(0), [1; 20]);
        assert!(doubling(&[], 30).is_empty());
    }
}
