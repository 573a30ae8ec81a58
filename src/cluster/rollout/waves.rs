//! In which order hosts are changed. Pure.

use std::net::Ipv4Addr;

use crate::cluster::action::Action;

/// The waves, in order, of the hosts that may be changed. First those that are members already and only get a list: one
/// alone, then twice as many each time, at most `batch`. Then those whose stack has to be restarted, one by one, for each
/// of them is an outage. Last those that join: by then everybody has them in the list.
pub(super) fn waves<'a>(hosts: impl Iterator<Item = (Ipv4Addr, &'a Action)>, batch: usize) -> Vec<Vec<Ipv4Addr>> {
    let (mut lists, mut restarts, mut joins) = (Vec::new(), Vec::new(), Vec::new());
    for (address, action) in hosts {
        match action {
            Action::List => lists.push(address),
            Action::Install(_) if action.joins() => joins.push(address),
            Action::Install(_) => restarts.push(vec![address]),
            Action::Nothing | Action::Refused(_) | Action::Disputed(_) | Action::Unreachable(_) => {}
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
    use crate::cluster::remote::protocol::Survey;
    use crate::converge::impact::{Impact, Outage};

    fn address(n: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 8, 3, n)
    }

    #[test]
    fn a_canary_goes_first_and_the_waves_grow_up_to_their_limit() {
        let all: Vec<Ipv4Addr> = (1..=20).map(address).collect();
        let sizes = |most| doubling(&all, most).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(30), [1, 2, 4, 8, 5]);
        assert_eq!(sizes(3), [1, 2, 3, 3, 3, 3, 3, 2]);
        assert_eq!(sizes(0), [1; 20]);
        assert!(doubling(&[], 30).is_empty());
    }

    #[test]
    fn lists_go_before_restarts_which_go_one_by_one_before_those_that_join() {
        let joins = Action::Install(Survey::default());
        let restarts =
            Action::Install(Survey { impact: Impact::Install { outage: Some(Outage::Stack) }, ..Survey::default() });
        let refused = Action::Refused(Survey::default());
        let actions =
            [&joins, &restarts, &Action::List, &refused, &Action::Nothing, &restarts, &Action::List, &Action::List];
        let hosts = (1..).map(address).zip(actions);
        let expected =
            [vec![address(3)], vec![address(7), address(8)], vec![address(2)], vec![address(6)], vec![address(1)]];
        assert_eq!(waves(hosts, 30), expected);
    }
}
