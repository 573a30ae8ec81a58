//! The survey of a host: its facts, its release's data, the complete settings and the findings, and the plan from them.

use crate::converge::impact::{Impact, impact};
use crate::converge::journal::Receipt;
use crate::converge::plan::Plan;
use crate::desired::{self, Generated};
use crate::distro::Distro;
use crate::error::{Class, Result};
use crate::facts::{Facts, InstanceFacts, JournalProblem, Part, PrivateConfFile, TextFile, Unread};
use crate::gateway::image;
use crate::host::Host;
use crate::message;
use crate::message::Message;
use crate::policy::FirewallRule;
use crate::preflight::{self, Finding, Inputs, Severity};
use crate::product::{InstanceLayout, PRODUCT};
use crate::resource::{Liveness, Step};
use crate::settings::{FirewallPolicy, Restart, Settings, StackKind};
use crate::wireguard::{PeerList, PrivateConf, PrivateKey};

/// Settings that may be incomplete. The instance's files complete them.
#[derive(Clone, Debug)]
pub(crate) struct PartialSettings {
    /// With a default for what was not given.
    pub settings: Settings,
    /// Whether the UDP port was not given.
    pub port_is_open: bool,
    /// Whether the endpoint was given as an address alone.
    pub endpoint_port_is_open: bool,
    /// Whether the prefix length was not given.
    pub prefix_is_open: bool,
}

impl From<Settings> for PartialSettings {
    /// Complete settings.
    fn from(settings: Settings) -> Self {
        PartialSettings { settings, port_is_open: false, endpoint_port_is_open: false, prefix_is_open: false }
    }
}

impl PartialSettings {
    /// Takes from the instance what was not given, so that a second run needs no options.
    pub(crate) fn complete(&self, instance: &InstanceFacts) -> Settings {
        let mut settings = self.settings.clone();
        let value = |key: &str| instance.env.values.get(key);
        if instance.default_stack {
            settings.stack = StackKind::Default;
        }
        let key = match &instance.private_conf {
            PrivateConfFile::Present { public, port, .. } => Some((*public, *port)),
            PrivateConfFile::Absent | PrivateConfFile::Unusable { .. } => None,
        };
        if let (true, Some((_, Some(port)))) = (self.port_is_open, key) {
            settings.port = port;
            if let Some(endpoint) = settings.endpoint.as_mut().filter(|_| self.endpoint_port_is_open) {
                endpoint.set_port(port);
            }
        }
        let prefix = value(PRODUCT.env.vpn_prefix).and_then(|value| value.parse().ok());
        if let (true, Some(prefix)) = (self.prefix_is_open, prefix) {
            settings.prefix = prefix;
        }
        let list = match &instance.public_conf {
            TextFile::Text(text) => PeerList::parse(text).ok(),
            TextFile::Absent | TextFile::Unusable { .. } => None,
        };
        // The vendor's update replaces `.env` and loses our keys (FN-9); the private key tells which section is our own.
        let own = list.as_ref().and_then(|list| {
            let (public, _) = key?;
            list.peers().find(|peer| peer.public_key == public)
        });
        let address = value(PRODUCT.env.vpn_address).and_then(|value| value.parse().ok());
        settings.vpn_address = settings.vpn_address.or(address).or(own.map(|peer| peer.address));
        let listed = settings.vpn_address.and_then(|address| list.as_ref()?.by_address(address));
        settings.endpoint = settings.endpoint.or(listed.map(|peer| peer.endpoint));
        settings
    }
}

/// A host's facts, with every check's finding.
#[derive(Clone, Debug)]
pub(crate) struct HostSurvey {
    pub facts: Facts,
    /// The release's data, or why it isn't supported.
    pub distro: Result<Distro, Message>,
    pub settings: Settings,
    pub findings: Vec<Finding>,
    partial: PartialSettings,
    key: PrivateKey,
}

impl HostSurvey {
    /// Reads the host and runs every check.
    pub(crate) fn take(host: &Host, partial: PartialSettings) -> HostSurvey {
        HostSurvey::with_key(host, partial, PrivateKey::generate())
    }

    /// Takes the survey again, after something has changed. The key for a new instance stays the same.
    pub(crate) fn again(&self, host: &Host) -> HostSurvey {
        HostSurvey::with_key(host, self.partial.clone(), self.key.clone())
    }

    fn with_key(host: &Host, partial: PartialSettings, key: PrivateKey) -> HostSurvey {
        let (mut facts, distro) = Facts::gather(host, &partial.settings);
        read_journal(host, &mut facts);
        let settings = partial.complete(&facts.instance);
        let inputs = Inputs { facts: &facts, distro: distro.as_ref(), settings: &settings };
        let findings = preflight::run(&inputs);
        HostSurvey { facts, distro, settings, findings, partial, key }
    }

    /// The findings that forbid an install.
    pub(crate) fn failures(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.outcome == Severity::Fail)
    }

    /// Whether a check forbids an install.
    pub(crate) fn is_refused(&self) -> bool {
        self.failures().next().is_some()
    }

    /// What has to change, if no check forbids it.
    pub(crate) fn plan(&self, host: &Host) -> Result<Plan> {
        let executable = match self.settings.stack {
            StackKind::Default => image::digest(&Host::live(), &image::executable()?)?,
            StackKind::Vendor => String::new(),
        };
        let generated = Generated { key: self.key.clone(), executable };
        Plan::diff(host, desired::resources(&self.facts, self.distro.as_ref().ok(), &self.settings, &generated)?)
    }

    /// What a plan of this survey means.
    pub(crate) fn impact(&self, plan: &Plan) -> Impact {
        let known = Liveness::of_containers(self.facts.stack.gateway.as_ref(), self.facts.stack.running);
        // What isn't known may run, and be interrupted.
        let stack =
            if self.facts.unread.iter().any(|unread| unread.part == Part::Stack) { Liveness::Outdated } else { known };
        impact(plan, stack, true, &self.settings)
    }

    /// What a plan leaves out, and what a person has to do or know.
    pub(crate) fn notes(&self, plan: &Plan) -> Vec<Message> {
        let mut notes = Vec::new();
        if !self.facts.live {
            notes.push(message!("files only: packages, module, firewall and stack wait for a run on the live host"));
        }
        if self.facts.live && self.settings.firewall == FirewallPolicy::Report {
            let rules = FirewallRule::wanted(&self.facts, &self.settings);
            let commands = rules.iter().flat_map(|rule| rule.commands());
            notes.extend(commands.map(|command| message!("the firewall is left to you: {command}", command)));
        }
        if self.settings.restart == Restart::None && !plan.is_empty() {
            notes.push(message!("nothing is restarted: what changes in .env and compose files waits for you to do it"));
        }
        notes
    }
}

/// A survey of an instance's files alone. It takes a hundredth of the time of a [`HostSurvey`].
pub(crate) struct FileSurvey {
    pub facts: Facts,
    /// The plan as far as files decide it.
    pub plan: Plan,
}

impl FileSurvey {
    pub(crate) fn take(host: &Host, settings: &Settings) -> Result<FileSurvey> {
        let facts = Facts::of_files(host, settings);
        let generated = Generated { key: PrivateKey::generate(), executable: "0".repeat(64) };
        let plan = Plan::diff(host, desired::resources(&facts, None, settings, &generated)?)?;
        Ok(FileSurvey { facts, plan })
    }

    /// The steps in the instance's directory. The default gateway's compose file is left out: a newer image is not worth a
    /// restart.
    pub(crate) fn of_instance(&self, settings: &Settings) -> Plan {
        let base = settings.layout().base();
        let is_inside = |step: &&Step| step.path().is_some_and(|path| path.starts_with(&settings.dir) && path != base);
        Plan { steps: self.plan.steps.iter().filter(is_inside).cloned().collect() }
    }
}

/// Notes why the journal can't be used. It is the pipeline's own file, so no reader of facts knows it.
fn read_journal(host: &Host, facts: &mut Facts) {
    let Err(error) = Receipt::load(host) else { return };
    let (reason, way_out) = (Message::from(&error), error.hints().to_vec());
    match error.class() {
        Class::Input => facts.journal = Some(JournalProblem { reason, hint: Message::joined(way_out, "\n") }),
        Class::Unexpected | Class::Refused | Class::Reboot | Class::Unproven | Class::Step | Class::Locked => {
            facts.unread.push(Unread { part: Part::Journal, reason });
        }
    }
}

/// Reads the instance's files. A damaged one is bad input and reported line by line, whatever the checks find.
pub(crate) fn refuse_unreadable(host: &Host, layout: InstanceLayout) -> Result<()> {
    PeerList::read(host, &layout.public_conf())?;
    PrivateConf::read(host, &layout.private_conf())?;
    host.read(&layout.env()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wireguard::Peer;

    /// An instance whose `.env` the vendor's update has downloaded anew.
    fn after_an_update() -> (InstanceFacts, Peer) {
        let key = PrivateKey::generate();
        let own = Peer {
            public_key: key.public(),
            address: [10, 8, 3, 7].into(),
            endpoint: "192.0.2.7:5000".parse().unwrap(),
            keepalive: None,
        };
        let mut list = PeerList::default();
        list.add(own.clone()).unwrap();
        let conf = PrivateConf::fresh(key, 5000);
        let private_conf =
            PrivateConfFile::Present { public: own.public_key, port: conf.port, mode: 0o600, template: conf.template };
        let public_conf = TextFile::Text(list.to_text());
        (InstanceFacts { public_conf, private_conf, ..InstanceFacts::default() }, own)
    }

    fn open() -> PartialSettings {
        PartialSettings { port_is_open: true, prefix_is_open: true, ..Settings::default().into() }
    }

    #[test]
    fn a_lost_env_is_made_up_for_by_the_own_section() {
        let (instance, own) = after_an_update();
        let settings = open().complete(&instance);
        assert_eq!((settings.vpn_address, settings.endpoint), (Some(own.address), Some(own.endpoint)));
        assert_eq!(settings.port, 5000);
    }

    #[test]
    fn what_was_given_wins_over_what_is_there() {
        let (instance, _) = after_an_update();
        let given = Settings { port: 4600, ..Settings::default() };
        assert_eq!(PartialSettings::from(given).complete(&instance).port, 4600);
    }

    #[test]
    fn an_endpoint_without_a_port_gets_the_instances() {
        let (instance, _) = after_an_update();
        let mut partial = open();
        partial.settings.endpoint = Some("192.0.2.9:4567".parse().unwrap());
        assert_eq!(partial.complete(&instance).endpoint, Some("192.0.2.9:4567".parse().unwrap()));
        partial.endpoint_port_is_open = true;
        assert_eq!(partial.complete(&instance).endpoint, Some("192.0.2.9:5000".parse().unwrap()));
    }
}
