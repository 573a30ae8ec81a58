//! Which changes are guarded: those that could cut off the operator's connection.

use std::net::IpAddr;

use crate::converge::plan::Plan;
use crate::resource::Step;
use crate::settings::Settings;
use crate::wireguard::Network;

/// Whether a change could cut off the connection: it goes through the VPN itself, or the packet filter changes.
pub(super) fn is_needed(plan: &Plan, settings: &Settings, connection: &[IpAddr]) -> bool {
    plan.steps.iter().any(Step::may_cut_connections) || !plan.is_empty() && is_through_vpn(settings, connection)
}

/// Whether one of the connection's ends is inside the VPN.
pub(super) fn is_through_vpn(settings: &Settings, connection: &[IpAddr]) -> bool {
    let Some(vpn) = settings.vpn_address.map(|own| Network::of(own, settings.prefix)) else { return false };
    connection.iter().any(|address| match address.to_canonical() {
        IpAddr::V4(address) => vpn.contains(address),
        IpAddr::V6(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Content, File, Transition};

    #[test]
    fn a_guard_is_posted_where_the_connection_goes_through_the_vpn() {
        let settings = Settings { vpn_address: Some([10, 8, 3, 1].into()), ..Settings::default() };
        let (resource, after) = (File { path: "/f".into() }, Content::Text("x".into()));
        let plan = Plan { steps: vec![Transition { resource, before: Content::Absent, after }.into()] };
        let needed = |plan: &Plan, way: &str| is_needed(plan, &settings, &[way.parse().unwrap()]);
        assert!(needed(&plan, "10.8.3.9") && needed(&plan, "::ffff:10.8.3.9"));
        assert!(!needed(&plan, "192.0.2.9") && !needed(&plan, "2001:db8::1"));
        assert!(!needed(&Plan::default(), "10.8.3.9"), "nothing changes");
    }
}
