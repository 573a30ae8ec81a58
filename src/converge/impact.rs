//! What a change means for a running instance: nothing, its list alone, or a whole install, and with which outage.
//!
//! It is decided here alone. The agent on a host sends the answer as it is, so the operator is told what the host will do.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::plan::Plan;
use crate::compose::GatewayContainer;
use crate::message;
use crate::message::Message;
use crate::resource::Resource;
use crate::settings::{Restart, Settings};

/// The least that has to be done. Ordered: a later one includes an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Impact {
    /// Nothing has to change.
    #[default]
    Nothing,
    /// vpn-public.conf, and the live tunnel from it by `reconfigure` (C2): nothing restarts.
    List,
    /// Everything that `install` does.
    Install {
        /// What is interrupted by it. Judged by the files alone, it may turn out to be less.
        outage: Option<Outage>,
    },
}

/// What a restart interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outage {
    /// The gateway container is made anew.
    Gateway,
    /// The whole stack restarts.
    Stack,
}

/// How the stack of an instance stands, as far as Docker alone tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Containers {
    /// None runs.
    Stopped,
    /// Some run, but no gateway, or one that is paused, restarting or sees an old copy of a file (FN-40).
    Unfit,
    /// The gateway runs and sees the files that are on disk.
    Running,
}

impl Containers {
    /// From the gateway's container and the number of the stack's containers that run.
    pub fn of(gateway: Option<&GatewayContainer>, running: usize) -> Containers {
        match gateway {
            Some(gateway) if gateway.state == "running" && gateway.stale.is_empty() => Containers::Running,
            None if running == 0 => Containers::Stopped,
            Some(_) | None => Containers::Unfit,
        }
    }
}

/// What this plan means. `tunnel_is_current` says whether the live tunnel has the list that is on disk.
pub fn impact(plan: &Plan, containers: Containers, tunnel_is_current: bool, settings: &Settings) -> Impact {
    let restarts = settings.restart != Restart::None;
    let list = settings.layout().public_conf();
    let is_of_list = |resource: &Resource| resource.path() == Some(&list) || matches!(resource, Resource::Tunnel(_));
    let beyond = plan.steps.iter().any(|step| !is_of_list(&step.resource));
    let unfit = restarts && containers != Containers::Running;
    if beyond || unfit {
        let anew = unfit || plan.steps.iter().any(|step| restarts_stack(&step.resource, &settings.dir));
        let outage = match settings.restart {
            Restart::Full => Some(Outage::Stack),
            Restart::Gateway => Some(Outage::Gateway),
            Restart::None => None,
        };
        return Impact::Install { outage: outage.filter(|_| anew && containers != Containers::Stopped) };
    }
    if plan.is_empty() && (!restarts || tunnel_is_current) { Impact::Nothing } else { Impact::List }
}

fn restarts_stack(resource: &Resource, dir: &Path) -> bool {
    matches!(resource, Resource::Stack(_)) || resource.shapes_stack_in(dir)
}

impl Impact {
    /// The outage, if there is one.
    pub fn outage(self) -> Option<Outage> {
        match self {
            Impact::Install { outage } => outage,
            Impact::Nothing | Impact::List => None,
        }
    }
}

impl Outage {
    /// As the operator is told before saying yes.
    pub fn message(self) -> Message {
        match self {
            Outage::Gateway => message!("the gateway container is made anew: the VPN is down for a moment"),
            Outage::Stack => message!("the whole stack restarts: DDoS protection is off until it is up again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::converge::plan::Step;
    use crate::resource::{EnvKey, File, PrivateFile, State};

    fn container(state: &str, stale: &[&str]) -> GatewayContainer {
        let stale = stale.iter().map(|file| (*file).to_owned()).collect();
        GatewayContainer { state: state.into(), stale, ..GatewayContainer::default() }
    }

    fn plan(resources: Vec<Resource>) -> Plan {
        let step = |resource| Step { resource, before: State::Absent, after: State::Text("x".into()) };
        Plan { steps: resources.into_iter().map(step).collect() }
    }

    fn file(name: &str) -> Resource {
        Resource::File(File { path: Path::new("/srv/mitigator").join(name) })
    }

    #[test]
    fn a_gateway_counts_as_running_only_if_it_runs_and_sees_the_files_of_today() {
        for (gateway, running, expected) in [
            (None, 0, Containers::Stopped),
            (None, 7, Containers::Unfit),
            (Some(container("running", &[])), 8, Containers::Running),
            (Some(container("running", &["/srv/mitigator/vpn-public.conf"])), 8, Containers::Unfit),
            (Some(container("paused", &[])), 8, Containers::Unfit),
            (Some(container("restarting", &[])), 0, Containers::Unfit),
        ] {
            assert_eq!(Containers::of(gateway.as_ref(), running), expected, "{gateway:?} of {running}");
        }
    }

    #[test]
    fn a_paused_gateway_is_announced_as_the_restart_that_it_gets() {
        let containers = Containers::of(Some(&container("paused", &[])), 8);
        let announced = impact(&Plan::default(), containers, true, &Settings::default());
        assert_eq!(announced, Impact::Install { outage: Some(Outage::Stack) });
    }

    #[test]
    fn what_a_change_means() {
        use Containers::{Running, Stopped, Unfit};
        use Restart::{Full, Gateway, None as Never};
        let nothing = || plan(vec![]);
        let list = || plan(vec![file("vpn-public.conf")]);
        let key = || plan(vec![Resource::PrivateFile(PrivateFile { path: "/srv/mitigator/p".into(), fresh: None })]);
        let env = || {
            let key = EnvKey { path: "/srv/mitigator/.env".into(), key: "COMPOSE_FILE".into() };
            plan(vec![Resource::EnvKey(key), file("vpn-public.conf")])
        };
        let overlay = || plan(vec![file("docker-compose.vpn.yml")]);
        let install = |outage| Impact::Install { outage };
        for (plan, containers, current, restart, expected) in [
            (nothing(), Running, true, Full, Impact::Nothing),
            (nothing(), Running, false, Full, Impact::List),
            (nothing(), Stopped, false, Never, Impact::Nothing),
            (nothing(), Stopped, false, Full, install(None)),
            (nothing(), Unfit, true, Full, install(Some(Outage::Stack))),
            (nothing(), Unfit, true, Gateway, install(Some(Outage::Gateway))),
            (list(), Running, true, Full, Impact::List),
            (list(), Unfit, true, Never, Impact::List),
            (list(), Unfit, true, Full, install(Some(Outage::Stack))),
            (key(), Running, true, Full, install(None)),
            (env(), Running, true, Full, install(Some(Outage::Stack))),
            (env(), Running, true, Gateway, install(Some(Outage::Gateway))),
            (env(), Running, true, Never, install(None)),
            (env(), Stopped, false, Full, install(None)),
            (overlay(), Running, true, Full, install(Some(Outage::Stack))),
        ] {
            let settings = Settings { restart, ..Settings::default() };
            let found = impact(&plan, containers, current, &settings);
            assert_eq!(found, expected, "{plan:?}, {containers:?}, {current}, {restart:?}");
        }
    }

    #[test]
    fn an_impact_travels_as_words() {
        let wire = |impact: &Impact| serde_json::to_string(impact).unwrap();
        assert_eq!(wire(&Impact::List), r#""list""#);
        let outage = Impact::Install { outage: Some(Outage::Stack) };
        assert_eq!(wire(&outage), r#"{"install":{"outage":"stack"}}"#);
        assert_eq!(serde_json::from_str::<Impact>(&wire(&outage)).unwrap(), outage);
        assert!(Impact::Nothing < Impact::List && Impact::List < Impact::Install { outage: None });
    }
}
