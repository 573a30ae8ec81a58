//! The model, checked within bounds.

use std::num::NonZeroUsize;
use std::thread;

use stateright::{Checker, HasDiscoveries, Model};

use super::names::Hosts;
use super::planted::Bug;
use super::world::Command;
use super::{Cluster, Commands, Fault};
use Command::{Accept, Add, AddAgain, Apply, Remove, Rotate, RotateAnyhow};

const ALL: &[Command] = &[Apply, Remove(2), Rotate(0), Add(3), AddAgain(2)];
const ROTATE: &[Command] = &[Apply, Rotate(0)];
const ANYHOW: &[Command] = &[Apply, RotateAnyhow(0)];
const TROUBLE: &[Fault] = &[Fault::Killed, Fault::Down(1), Fault::ReplyLost];

/// Three members, and a host that may join.
const PLAIN: Cluster = Cluster {
    members: Hosts::first(3),
    commands: Commands { of: [ALL, ALL], each: [1, 1] },
    faults: (&[], 0),
    is_shared: true,
    bug: None,
};

/// The bounds of one check each.
const CLUSTERS: [Cluster; 7] = [
    PLAIN,
    Cluster { commands: Commands { of: [ROTATE, ROTATE], each: [2, 1] }, faults: (&[Fault::Killed], 1), ..PLAIN },
    Cluster {
        commands: Commands {
            of: [&[Apply, Remove(2), Rotate(0), Add(3)], &[Apply, Remove(2), Rotate(0)]],
            each: [1, 1],
        },
        faults: (TROUBLE, 1),
        is_shared: false,
        ..PLAIN
    },
    Cluster {
        commands: Commands { of: [ANYHOW, ROTATE], each: [2, 1] },
        faults: (&[Fault::Down(1), Fault::ReplyLost], 1),
        ..PLAIN
    },
    Cluster {
        commands: Commands { of: [&[Apply, Accept(0)], ROTATE], each: [1, 1] },
        faults: (&[Fault::KeyLost(0), Fault::MadeAnew(0)], 1),
        ..PLAIN
    },
    Cluster {
        commands: Commands { of: [&[Apply, Remove(2), Rotate(0), Add(3)], &[Apply, Rotate(0)]], each: [1, 1] },
        faults: (TROUBLE, 1),
        ..PLAIN
    },
    Cluster {
        members: Hosts::first(4),
        commands: Commands { of: [&[Remove(2), Rotate(0)], &[Apply, Rotate(0)]], each: [1, 1] },
        faults: (TROUBLE, 1),
        is_shared: false,
        ..PLAIN
    },
];

/// Bounds in which a planted mistake shows soon.
const SMALL: [Cluster; 6] = [
    Cluster {
        commands: Commands { of: [&[Remove(2), Add(2)], &[Apply]], each: [2, 1] },
        faults: (&[Fault::Down(1)], 1),
        is_shared: false,
        ..PLAIN
    },
    Cluster {
        commands: Commands { of: [&[Remove(2), Add(2)], &[Apply]], each: [2, 0] },
        faults: (&[Fault::MadeAnew(2)], 1),
        ..PLAIN
    },
    Cluster { commands: Commands { of: [&[Remove(2)], &[Add(3)]], each: [1, 1] }, is_shared: false, ..PLAIN },
    Cluster { commands: Commands { of: [&[Rotate(0)], &[Remove(2)]], each: [1, 1] }, ..PLAIN },
    Cluster {
        commands: Commands { of: [&[Rotate(0)], &[Apply]], each: [1, 0] },
        faults: (&[Fault::Down(1)], 1),
        ..PLAIN
    },
    Cluster {
        commands: Commands { of: [&[Rotate(0)], ROTATE], each: [1, 2] },
        faults: (&[Fault::Down(1)], 1),
        ..PLAIN
    },
];

/// Looks at every state within the bounds. The number of them, and what is broken, with the way there.
fn check(cluster: Cluster, finish: HasDiscoveries) -> (usize, Vec<String>) {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let checker = cluster.checker().threads(threads).finish_when(finish).spawn_bfs().join();
    let broken = checker.discoveries().into_iter().map(|(promise, path)| {
        let mut text = promise.to_owned();
        for (world, action) in path.into_vec() {
            text += &action.map_or_else(|| format!("\n{world:#?}"), |action| format!("\n  {action:?}"));
        }
        text
    });
    let broken = broken.collect();
    (checker.unique_state_count(), broken)
}

#[test]
fn no_order_of_events_within_the_bounds_breaks_a_promise() {
    let mut states = 0;
    for cluster in CLUSTERS.into_iter().chain(SMALL) {
        let (count, broken) = check(cluster.clone(), HasDiscoveries::AnyFailures);
        assert!(broken.is_empty(), "{cluster:?}\n{}", broken.join("\n\n"));
        states += count;
    }
    assert!(states >= 1_000_000, "{states}");
}

#[test]
fn each_planted_mistake_is_found() {
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        let (count, broken) = check(Cluster { bug: Some(bug), ..bug.bounds() }, HasDiscoveries::AnyFailures);
        if broken.is_empty() {
            missed.push((bug, count));
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
}

impl Bug {
    /// Where it shows, soon.
    fn bounds(self) -> Cluster {
        match self {
            Bug::RemovalsIgnored | Bug::RemovalByKey => SMALL[0].clone(),
            Bug::AddDropsRemovals => SMALL[1].clone(),
            Bug::SwapIgnored => SMALL[2].clone(),
            Bug::WholeListIsGiven => SMALL[3].clone(),
            Bug::OnlyIsEverybody => SMALL[4].clone(),
            Bug::ClaimEndsEarly => SMALL[5].clone(),
            Bug::AgainIfBelieved => PLAIN,
            Bug::OwnListVouches | Bug::AnyKeyIsRotated => CLUSTERS[4].clone(),
            Bug::RetiredForgotten | Bug::TakenBackUnknown => CLUSTERS[3].clone(),
            Bug::LeaseIgnored | Bug::HostRevives | Bug::StagedIsRetired | Bug::DroppedUnseen => CLUSTERS[1].clone(),
        }
    }
}
