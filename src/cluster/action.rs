//! What has to be done to a host, so that it is as cluster.toml and the united list say.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::hosts::{Fleet, Node, State, unasked};
use super::remote::protocol::{Reply, Request, Survey};
use super::rollout::told;
use crate::converge::impact::Impact;
use crate::settings::Settings;
use crate::wireguard::PeerList;

/// Facts and checks of a whole host.
const SURVEY: Duration = Duration::from_secs(180);

/// What has to be done to a host.
#[derive(Clone, Debug)]
pub enum Need {
    /// It is as it should be.
    Nothing,
    /// The list, and the tunnel from it: nothing restarts.
    List,
    /// More than that; what, is in the survey.
    Whole(Survey),
    /// A check forbids it.
    Refused(Survey),
    /// It can't be reached, or looked at; why.
    Down(String),
}

/// What has to be done to each node for this list. Changes nothing.
pub fn needs(fleet: &mut Fleet, list: &PeerList, complete: bool) -> BTreeMap<Ipv4Addr, Need> {
    let needs = fleet.each(|_| true, |node| (node.instance.address, need(node, list, complete)));
    needs.into_iter().collect()
}

/// `complete` says whether the list will stay as it is: not while keys are still to be made.
fn need(node: &mut Node, list: &PeerList, complete: bool) -> Need {
    let seen = match &node.state {
        State::Down(error) => return Need::Down(told(error)),
        State::Seen(seen) => seen,
    };
    let listed = complete && node.digest().is_some_and(|digest| digest == list.digest());
    let impact = seen.look.impact.max(if listed { Impact::Nothing } else { Impact::List });
    if let Impact::Install { .. } = impact {
        let settings = Settings { peers: text(list), whole_list: false, ..node.settings.clone() };
        return match node.ask(&Request::Survey(settings), SURVEY) {
            Ok(Reply::Survey(survey)) if survey.refused => Need::Refused(survey),
            Ok(Reply::Survey(survey)) => Need::Whole(survey),
            Ok(other) => Need::Down(unasked(&other).to_string()),
            Err(error) => Need::Down(told(&error)),
        };
    }
    if impact == Impact::Nothing { Need::Nothing } else { Need::List }
}

/// An empty list is no list yet.
pub(super) fn text(list: &PeerList) -> Option<String> {
    (!list.is_empty()).then(|| list.to_text())
}
