//! `preflight`, `plan` and `install`: one pipeline, stopped at different places.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{confirm, recover, resolve};
use crate::cli::{Global, InstallOptions};
use crate::compose;
use crate::converge::apply;
use crate::converge::impact::{Containers, impact};
use crate::converge::journal::Receipt;
use crate::converge::plan::Plan;
use crate::converge::resume;
use crate::desired::{self, Supplies};
use crate::distro::Distro;
use crate::error::{Class, Context, Error, Result};
use crate::facts::Facts;
use crate::gateway::image;
use crate::host::Host;
use crate::message;
use crate::message::Message;
use crate::preflight::{self, Finding, Severity};
use crate::product::{InstanceLayout, PRODUCT};
use crate::report::{
    InstallDocument, InstanceDocument, MemberDocument, Outcome, Output, PlanDocument, PreflightDocument, SCHEMA, Text,
};
use crate::resource::{FirewallRule, Resource, State};
use crate::settings::{FirewallPolicy, Restart, Settings, StackKind};
use crate::tunnel::{self, mtu, timings};
use crate::wireguard::{PeerList, PrivateConf, PrivateKey};

/// What was read and judged before anything is planned.
pub(super) struct Ground {
    pub facts: Facts,
    pub distro: Result<Distro, Message>,
    pub settings: Settings,
    pub findings: Vec<Finding>,
    pub preflight: PreflightDocument,
    /// The key the instance gets if it has none.
    key: PrivateKey,
}

impl Ground {
    /// Reads the host and runs every check.
    pub(super) fn survey(host: &Host, global: &Global, options: &InstallOptions) -> Result<Ground> {
        let peers = options.peers.as_deref().map(peers_file).transpose()?;
        let typed = resolve::typed(global, options, peers);
        let (facts, distro) = Facts::gather(host, &typed);
        let settings = resolve::complete(typed, &facts.instance, options);
        let context = preflight::Inputs { facts: &facts, distro: distro.as_ref(), settings: &settings };
        let findings = preflight::run(&context);
        let preflight = PreflightDocument::new(&facts, &findings);
        Ok(Ground { facts, distro, settings, findings, preflight, key: PrivateKey::generate() })
    }

    /// What has to change, if no check forbids it.
    pub(super) fn plan(&self, host: &Host) -> Result<Plan> {
        let executable = match self.settings.stack {
            StackKind::Default => image::digest(&Host::live(), &image::executable()?)?,
            StackKind::Vendor => String::new(),
        };
        let supplies = Supplies { key: self.key.clone(), executable };
        Plan::diff(host, desired::resources(&self.facts, self.distro.as_ref().ok(), &self.settings, &supplies)?)
    }

    pub(super) fn refused(&self) -> bool {
        self.preflight.outcome == Outcome::Fail
    }

    fn document(&self, plan: &Plan) -> PlanDocument {
        self.document_with(plan, self.notes(plan))
    }

    fn document_with(&self, plan: &Plan, notes: Vec<String>) -> PlanDocument {
        let stack = &self.facts.stack;
        let containers = Containers::of(stack.gateway.as_ref(), stack.running);
        let outage = impact(plan, containers, true, &self.settings).outage();
        let notes = notes.into_iter().map(Message::from).collect();
        PlanDocument::new(&self.facts, plan, outage, notes, &self.preflight)
    }

    /// What was left out, and what a person has to do or know.
    fn notes(&self, plan: &Plan) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.facts.live {
            notes.push("files only: packages, module, firewall and stack wait for a run on the live host".to_owned());
        }
        if self.facts.live && self.settings.firewall == FirewallPolicy::Report {
            for rule in FirewallRule::wanted(&self.facts, &self.settings) {
                notes.extend(rule.commands().into_iter().map(|cmd| format!("the firewall is left to you: {cmd}")));
            }
        }
        if self.settings.restart == Restart::None && !plan.is_empty() {
            notes
                .push("nothing is restarted: what changes in .env and compose files waits for you to do it".to_owned());
        }
        notes
    }
}

/// `--peers FILE` names a file of the machine we run on, also with `--root`.
fn peers_file(path: &Path) -> Result<String> {
    let text = Host::live().read_text(&std::path::absolute(path).context("--peers")?)?;
    text.ok_or_else(|| {
        Error::input(format!("--peers {}: no such file", path.display()))
            .hint("take it from any member: scp root@MEMBER:/srv/mitigator/vpn-public.conf .")
    })
}

/// A file of the instance that can't be read as what it is: bad input, told line by line, whatever the checks say of it.
fn refuse_unreadable(host: &Host, dir: &Path) -> Result<()> {
    PeerList::read(host, &InstanceLayout::new(dir).public_conf())?;
    PrivateConf::read(host, &InstanceLayout::new(dir).private_conf())?;
    host.read(&InstanceLayout::new(dir).env()).map(drop)
}

/// Says what would go wrong.
pub fn preflight(host: &Host, global: &Global, options: &InstallOptions, output: &Output) -> Result<ExitCode> {
    let ground = Ground::survey(host, global, options)?;
    output.document(&ground.preflight)?;
    Ok(if ground.refused() { Class::Refused.into() } else { ExitCode::SUCCESS })
}

/// Says what install would change.
pub fn plan(host: &Host, global: &Global, options: &InstallOptions, output: &Output) -> Result<ExitCode> {
    refuse_unreadable(host, &global.dir)?;
    let ground = Ground::survey(host, global, options)?;
    if ground.refused() {
        return refuse(&ground, output);
    }
    let plan = ground.plan(host)?;
    let mut notes = ground.notes(&plan);
    if plan.steps.iter().any(|step| matches!(step.resource, Resource::PrivateFile(_)) && step.before == State::Absent) {
        notes.push("the key is made at install, so its public half will be another one than shown here".to_owned());
    }
    output.document(&ground.document_with(&plan, notes))?;
    Ok(ExitCode::SUCCESS)
}

/// Plans, asks, applies, verifies.
pub fn install(host: &mut Host, global: &Global, options: &InstallOptions, output: &Output) -> Result<ExitCode> {
    let _lock = host.lock()?;
    let outcome = converge(host, global, options, output);
    if options.no_resume {
        // This is the run that goes on, or somebody does it by hand.
        resume::disarm(host)?;
    }
    outcome
}

fn converge(host: &mut Host, global: &Global, options: &InstallOptions, output: &Output) -> Result<ExitCode> {
    let progress = output.progress();
    let task = progress.start(message!("look at this host"));
    let layout = InstanceLayout::new(&global.dir);
    let ours = [layout.private_conf(), layout.public_conf()];
    let receipt = Receipt::load(host)?;
    recover(host, ours.iter().map(PathBuf::as_path).chain(receipt.paths()))?;
    refuse_unreadable(host, &global.dir)?;
    let mut ground = Ground::survey(host, global, options)?;
    if ground.refused() {
        task.done();
        return refuse(&ground, output);
    }
    let plan = ground.plan(host)?;
    task.done();
    if !plan.is_empty() && !global.yes {
        confirm(&message!("apply?"), output, || output.document(&ground.document(&plan)))?;
    }
    let plan = match apply(host, global, options, output, &mut ground, plan) {
        Err(error) if error.class() == Class::Reboot => {
            let armed = !options.no_resume && resume::arm(host, &ground.settings)?;
            return Err(error.hint(if armed {
                format!("systemctl reboot; it goes on by itself after that: journalctl -u {}", resume::UNIT)
            } else {
                "systemctl reboot, then run it again".to_owned()
            }));
        }
        // What waited for a reboot has been done by this run, or is to be done anew.
        applied => {
            resume::disarm(host)?;
            applied?
        }
    };
    let result = prove(host, &ground, ground.document(&plan), output)?;
    output.document(&result)?;
    Ok(if result.outcome == Outcome::Fail { Class::Unproven.into() } else { ExitCode::SUCCESS })
}

/// Makes the plan true, and gives back what became of it.
fn apply(
    host: &mut Host,
    global: &Global,
    options: &InstallOptions,
    output: &Output,
    ground: &mut Ground,
    plan: Plan,
) -> Result<Plan> {
    let ignored = ground.settings.ignore.clone();
    apply::run_replanned(host, plan, &ignored, &output.progress(), |host, agreed| {
        let known = Ground::survey(host, global, options)?;
        *ground = Ground { key: ground.key.clone(), ..known };
        if let Some(found) = ground.findings.iter().find(|finding| finding.outcome == Severity::Fail) {
            return Err(Error::new(
                Class::Step,
                message!("now that apt has the new source: {detail}", detail = &found.detail),
            )
            .hint(found.hint.clone().unwrap_or(Message::fixed("mitigator-vpn preflight")))
            .then("when that is mended, run it again; or take back what was done: mitigator-vpn undo"));
        }
        let rest = ground.plan(host)?;
        if rest.packages() != agreed.packages() && !global.yes {
            let show = || output.document(&ground.document(&rest));
            confirm(&message!("apt has other packages for this host than planned; apply?"), output, show)?;
        }
        Ok(rest)
    })
}

fn refuse(ground: &Ground, output: &Output) -> Result<ExitCode> {
    output.document(&ground.preflight)?;
    Ok(Class::Refused.into())
}

/// Proves the result: the instance as it stands now, its handshakes, and what is left for a person.
fn prove(host: &Host, ground: &Ground, plan: PlanDocument, output: &Output) -> Result<InstallDocument> {
    let settings = &ground.settings;
    let path = settings.layout().public_conf();
    let mut document = InstallDocument {
        schema: SCHEMA,
        host: plan.host,
        steps: plan.steps,
        instance: None,
        next: plan.notes,
        outcome: Outcome::Pass,
    };
    let list = PeerList::read(host, &path)?;
    let own = list.as_ref().zip(settings.vpn_address).and_then(|(list, address)| list.by_address(address).cloned());
    let (Some(list), Some(own)) = (list, own) else {
        return Err(Error::new(Class::Unproven, format!("{} does not list this instance", path.display())));
    };
    let list_changed =
        document.steps.iter().any(|step| step.resource.0.to_string().ends_with(PRODUCT.files.public_conf));
    // Members can answer only if the list they gave us already had us in it.
    let known_to_members = settings.peers.as_deref().is_some_and(|given| given == list.to_text()) || !list_changed;

    let mut instance = InstanceDocument {
        vpn_address: Some(own.address),
        public_key: Some(own.public_key),
        list_digest: Some(list.digest()),
        implementation: None,
        members: Vec::new(),
    };
    if ground.facts.live && settings.restart != Restart::None {
        let task = output.progress().start(message!("prove the tunnel by handshakes"));
        let patience = if known_to_members { timings::WITH_SESSION } else { timings::STRANGERS };
        let gateway = || compose::containers(host, &settings.dir).0.map(|gateway| gateway.pid);
        let (live, probed) = tunnel::probe_list(host, gateway, &list, own.public_key, patience)?;
        let members = MemberDocument::all(&list, own.public_key, &probed);
        let silent = members.iter().filter(|member| !member.reached).count();
        document.outcome = match &live {
            None => Outcome::Fail,
            Some(live) if !tunnel::difference(live, &list).is_empty() => Outcome::Fail,
            Some(_) if silent == 0 => Outcome::Pass,
            Some(_) if !known_to_members => Outcome::Warn,
            Some(_) => Outcome::Fail,
        };
        match &live {
            None => document.next.push(format!(
                "no tunnel came up; see why: cd {} && docker-compose logs gateway",
                settings.dir.display()
            ).into()),
            Some(_) if silent > 0 && known_to_members => document.next.push(format!(
                "{silent} members gave no handshake: UDP {} is blocked on the way, their endpoint is wrong, or they lack \
                 this instance's key",
                settings.port
            ).into()),
            Some(_) => {}
        }
        let narrow = mtu::narrow_peers(&probed);
        if !narrow.is_empty() && document.outcome == Outcome::Pass {
            document.outcome = Outcome::Warn;
        }
        document.next.extend(narrow.into_iter().map(Text::from));
        instance.implementation = live.map(|live| live.implementation);
        instance.members = members;
        task.done();
    }
    document.instance = Some(instance);
    if !known_to_members && list.len() > 1 {
        document.next.push(
            format!(
                "give the other members this {}, then on each: mitigator-vpn install --peers FILE --yes",
                path.display()
            )
            .into(),
        );
    }
    if document.steps.iter().any(|step| step.resource.0.to_string().starts_with(PRODUCT.env.vpn_address)) {
        // P13: nothing on the host knows whether a person has done it.
        document
            .next
            .push(format!("in Mitigator's web interface, enter {} as this instance's VPN address", own.address).into());
    }
    Ok(document)
}
