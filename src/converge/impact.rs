//! What a change means for a running instance: nothing, its list alone, or a whole install, and with which outage.
//!
//! Only this module decides it. The agent on a host sends the result to the operator's side, which shows and uses it as it is.

use serde::{Deserialize, Serialize};

use super::plan::Plan;
use crate::message;
use crate::message::Message;
use crate::resource::{Liveness, ResourceKind, Stack, Step};
use crate::settings::{Restart, Settings};

/// The least that has to be done. Ordered: a later one includes an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Impact {
    /// Nothing has to change.
    #[default]
    Nothing,
    /// vpn-public.conf, and the live tunnel from it by `reconfigure` (C2): nothing restarts.
    List,
    /// Everything that `install` does.
    Install {
        /// What it interrupts. Judged by the files alone, this is an upper bound.
        outage: Option<Outage>,
    },
}

/// What a restart interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outage {
    /// The gateway container is recreated.
    Gateway,
    /// The whole stack restarts.
    Stack,
}

/// The impact of a plan, of the files alone or of a whole host. `stack` is the stack's state as far as Docker tells;
/// `tunnel_is_current` says whether the live tunnel has the list that is on disk.
pub(crate) fn impact(plan: &Plan, stack: Liveness, tunnel_is_current: bool, settings: &Settings) -> Impact {
    let restarts = settings.restart != Restart::None;
    let list = settings.layout().public_conf();
    let is_of_list = |step: &&Step| step.path() == Some(&list) || step.kind() == ResourceKind::Tunnel;
    let is_unfit = restarts && stack != Liveness::Running;
    if is_unfit || !plan.steps.iter().all(|step| is_of_list(&step)) {
        let is_of_stack = |step: &Step| {
            step.kind() == ResourceKind::Stack
                || step.source().is_some_and(|source| Stack::is_shaped_by(source, &settings.dir))
        };
        let is_made_anew = is_unfit || plan.steps.iter().any(is_of_stack);
        let outage = match settings.restart {
            Restart::Full => Some(Outage::Stack),
            Restart::Gateway => Some(Outage::Gateway),
            Restart::None => None,
        };
        return Impact::Install { outage: outage.filter(|_| is_made_anew && stack != Liveness::Stopped) };
    }
    if plan.is_empty() && (!restarts || tunnel_is_current) { Impact::Nothing } else { Impact::List }
}

impl Impact {
    /// The outage, if there is one.
    pub(crate) fn outage(self) -> Option<Outage> {
        match self {
            Impact::Install { outage } => outage,
            Impact::Nothing | Impact::List => None,
        }
    }
}

impl Outage {
    /// What the operator is told before confirming.
    pub(crate) fn message(self) -> Message {
        match self {
            Outage::Gateway => message!("the gateway container is recreated: the VPN is interrupted for a moment"),
            Outage::Stack => message!("the whole stack restarts: DDoS protection is off until it is up again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::GatewayContainer;
    use crate::resource::{Content, EnvKey, EnvLine, File, PrivateContent, PrivateFile, Transition};
    use crate::wireguard::PrivateKey;

    fn plan(steps: Vec<Step>) -> Plan {
        Plan { steps }
    }

    fn file(name: &str) -> Step {
        let resource = File { path: Settings::default().dir.join(name) };
        Transition { resource, before: Content::Absent, after: Content::Text("x".into()) }.into()
    }

    fn private_file() -> Step {
        let resource = PrivateFile { path: Settings::default().layout().private_conf(), fresh: None };
        let after = PrivateContent::Private { template: String::new(), public: PrivateKey::generate().public() };
        Transition { resource, before: PrivateContent::Absent, after }.into()
    }

    fn env_key() -> Step {
        let resource = EnvKey { path: Settings::default().layout().env(), key: "COMPOSE_FILE".into() };
        Transition { resource, before: EnvLine::Absent, after: EnvLine::Line("COMPOSE_FILE=x".into()) }.into()
    }

    #[test]
    fn a_paused_gateway_is_announced_as_the_restart_that_it_gets() {
        let paused = GatewayContainer { state: "paused".into(), ..GatewayContainer::default() };
        let stack = Liveness::of_containers(Some(&paused), 8);
        let announced = impact(&Plan::default(), stack, true, &Settings::default());
        assert_eq!(announced, Impact::Install { outage: Some(Outage::Stack) });
    }

    #[test]
    fn what_a_change_means() {
        use Liveness::{Outdated, Running, Stopped};
        use Restart::{Full, Gateway, None as Never};
        let nothing = || plan(vec![]);
        let list = || plan(vec![file("vpn-public.conf")]);
        let key = || plan(vec![private_file()]);
        let env = || plan(vec![env_key(), file("vpn-public.conf")]);
        let overlay = || plan(vec![file("docker-compose.vpn.yml")]);
        let install = |outage| Impact::Install { outage };
        for (plan, stack, current, restart, expected) in [
            (nothing(), Running, true, Full, Impact::Nothing),
            (nothing(), Running, false, Full, Impact::List),
            (nothing(), Stopped, false, Never, Impact::Nothing),
            (nothing(), Stopped, false, Full, install(None)),
            (nothing(), Outdated, true, Full, install(Some(Outage::Stack))),
            (nothing(), Outdated, true, Gateway, install(Some(Outage::Gateway))),
            (list(), Running, true, Full, Impact::List),
            (list(), Outdated, true, Never, Impact::List),
            (list(), Outdated, true, Full, install(Some(Outage::Stack))),
            (key(), Running, true, Full, install(None)),
            (env(), Running, true, Full, install(Some(Outage::Stack))),
            (env(), Running, true, Gateway, install(Some(Outage::Gateway))),
            (env(), Running, true, Never, install(None)),
            (env(), Stopped, false, Full, install(None)),
            (overlay(), Running, true, Full, install(Some(Outage::Stack))),
        ] {
            let settings = Settings { restart, ..Settings::default() };
            let found = impact(&plan, stack, current, &settings);
            assert_eq!(found, expected, "{plan:?}, {stack:?}, {current}, {restart:?}");
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
