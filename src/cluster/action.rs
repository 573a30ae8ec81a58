//! What each host needs, so that it is as cluster.toml and the merged list say. Pure, given the looks.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::Serialize;

use super::hosts::Seen;
use super::remote::protocol::Survey;
use crate::converge::impact::Impact;
use crate::message::Message;
use crate::wireguard::PeerList;

/// What each host needs, by its VPN address.
pub(crate) type Actions = BTreeMap<Ipv4Addr, Action>;

/// What has to be done to a host.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// It is as it should be.
    Nothing,
    /// The list, and the tunnel reconfigured from it: nothing restarts.
    List,
    /// More than that; the survey says what.
    Install(Survey),
    /// A check forbids it; the survey says which.
    Refused(Survey),
    /// What hosts say of it contradicts each other: it stays as it is until a person decides.
    Disputed(Message),
    /// It can't be reached, or looked at.
    Unreachable(Message),
}

/// An action in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Need {
    /// The host is as it should be.
    Nothing,
    /// The list, without a restart.
    List,
    /// What `install` would do.
    Install,
    /// A check forbids it.
    Refused,
    /// The host can't be reached.
    Behind,
}

/// What a look alone can tell of what has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Required {
    Nothing,
    List,
    /// Only a survey of the host says what.
    Survey,
}

impl Action {
    pub(crate) fn need(&self) -> Need {
        match self {
            Action::Nothing => Need::Nothing,
            Action::List => Need::List,
            Action::Install(_) => Need::Install,
            Action::Refused(_) | Action::Disputed(_) => Need::Refused,
            Action::Unreachable(_) => Need::Behind,
        }
    }

    /// Whether it changes the host.
    pub(crate) fn changes(&self) -> bool {
        match self {
            Action::List | Action::Install(_) => true,
            Action::Nothing | Action::Refused(_) | Action::Disputed(_) | Action::Unreachable(_) => false,
        }
    }

    /// Whether the host is no member yet, or at least not up: nobody misses it while it is changed.
    pub(crate) fn joins(&self) -> bool {
        match self {
            Action::Install(survey) => survey.impact.outage().is_none(),
            Action::Nothing | Action::List | Action::Refused(_) | Action::Disputed(_) | Action::Unreachable(_) => false,
        }
    }
}

/// Whether keys are still to be made in this run. The list is complete only with them, so it changes for all members then.
/// A keyless host that can't be changed adds nothing to it.
pub(crate) fn makes_keys(actions: &Actions, keyless: &[Ipv4Addr]) -> bool {
    keyless.iter().any(|address| actions.get(address).is_some_and(Action::changes))
}

impl From<Survey> for Action {
    fn from(survey: Survey) -> Self {
        if survey.refused { Action::Refused(survey) } else { Action::Install(survey) }
    }
}

/// What has to be done for this list.
pub(crate) fn required(seen: &Seen, list: &PeerList) -> Required {
    let is_listed = seen.list.as_ref().map(PeerList::digest) == Some(list.digest());
    match seen.look.impact {
        Impact::Install { .. } => Required::Survey,
        Impact::Nothing if is_listed => Required::Nothing,
        Impact::Nothing | Impact::List => Required::List,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::remote::protocol::Look;
    use crate::wireguard::{Peer, PublicKey};

    fn list(members: u8) -> PeerList {
        let mut list = PeerList::default();
        for n in 1..=members {
            let endpoint = format!("192.0.2.{n}:4567").parse().unwrap();
            let public_key = PublicKey::from_bytes([n; 32]);
            list.add(Peer { public_key, address: [10, 8, 3, n].into(), endpoint, keepalive: None }).unwrap();
        }
        list
    }

    #[test]
    fn the_host_decides_what_its_own_list_means_and_another_list_is_never_less_than_that() {
        let (old, new) = (list(2), list(3));
        for (impact, had, expected) in [
            (Impact::Nothing, &new, Required::Nothing),
            (Impact::Nothing, &old, Required::List),
            (Impact::List, &new, Required::List),
            (Impact::Install { outage: None }, &new, Required::Survey),
        ] {
            let seen = Seen { look: Look { impact, ..Look::default() }, list: Some(had.clone()) };
            assert_eq!(required(&seen, &new), expected, "{impact:?}");
        }
        let seen = Seen { look: Look::default(), list: None };
        assert_eq!(required(&seen, &new), Required::List, "it has no list yet");
    }

    #[test]
    fn a_host_that_gets_no_key_changes_nothing_for_the_others() {
        let [member, newcomer, refused] = [1, 2, 3].map(|n| Ipv4Addr::new(10, 8, 3, n));
        let actions = Actions::from([
            (member, Action::Nothing),
            (newcomer, Action::Install(Survey::default())),
            (refused, Action::Refused(Survey { refused: true, ..Survey::default() })),
        ]);
        assert!(makes_keys(&actions, &[refused, newcomer]));
        assert!(!makes_keys(&actions, &[refused]) && !makes_keys(&actions, &[]));
    }
}
