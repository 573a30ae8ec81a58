//! `preflight`, `plan` and `install`: one pipeline, stopped at different places.

use std::path::Path;
use std::process::ExitCode;

use super::{confirm, peers, resolve};
use crate::cli::{Global, InstallOptions};
use crate::converge::apply;
use crate::converge::guard;
use crate::converge::journal::RunStart;
use crate::converge::plan::Plan;
use crate::converge::recover;
use crate::converge::resume;
use crate::converge::standing::Seen;
use crate::converge::survey::{HostSurvey, refuse_unreadable};
use crate::converge::verify::{Proof, ProofOutcome, verify};
use crate::counted;
use crate::error::{Class, Context, Error, Result};
use crate::host::{Host, Kind};
use crate::message;
use crate::message::Message;
use crate::product::{InstanceLayout, PRODUCT};
use crate::report::{
    InstallDocument, InstanceDocument, MemberDocument, Outcome, Output, PlanDocument, PreflightDocument, SCHEMA,
    StepDocument, Text,
};
use crate::resource::{ResourceKind, Step};
use crate::wireguard::PeerList;

/// Reads the host as the command line says, and runs every check.
pub(super) fn survey(host: &Host, global: &Global, options: &InstallOptions) -> Result<HostSurvey> {
    let peers = options.peers.as_deref().map(peers_file).transpose()?;
    Ok(HostSurvey::take(host, resolve::typed(global, options, peers)))
}

/// `--peers FILE` names a file of this machine, also with `--root`; `-` is standard input. A list that can't be used is bad
/// input, named as it was typed.
fn peers_file(path: &Path) -> Result<String> {
    let file = path.display().to_string();
    let unusable = |reason: Message| {
        let command = "scp root@MEMBER:/srv/mitigator/vpn-public.conf .";
        Error::input(message!("--peers {file}: {reason}", file = &file, reason))
            .hint(message!("take it from any member: {command}", command))
    };
    let text = if path == Path::new("-") {
        peers::standard_input()?
    } else {
        let path = std::path::absolute(path).context(Message::command("--peers"))?;
        let host = Host::live();
        if host.stat(&path)?.is_some_and(|stat| stat.kind == Kind::Directory) {
            let there = path.join(PRODUCT.files.public_conf);
            return Err(Error::input(message!("--peers {file}: a directory, not a file", file = &file))
                .hint(message!("name the list in it: {option}", option = format!("--peers {}", there.display()))));
        }
        host.read_text(&path)?.ok_or_else(|| unusable(message!("no such file")))?
    };
    if PeerList::parse_any(&file, &text).is_ok_and(|list| list.is_empty()) {
        return Err(unusable(message!("no [Peer] section in it")));
    }
    PeerList::parse_named(&file, &text)?;
    Ok(text)
}

/// Says what would go wrong.
pub fn preflight(host: &Host, global: &Global, options: &InstallOptions, output: &Output) -> Result<ExitCode> {
    host.warn_of_jobs()?;
    let survey = survey(host, global, options)?;
    output.document(&preflight_document(&survey))?;
    Ok(if survey.is_refused() { Class::Refused.into() } else { ExitCode::SUCCESS })
}

/// Says what install would change.
pub fn plan(host: &Host, global: &Global, options: &InstallOptions, output: &Output) -> Result<ExitCode> {
    refuse_unreadable(host, InstanceLayout::new(&global.dir))?;
    let survey = survey(host, global, options)?;
    if survey.is_refused() {
        return refuse(&survey, output);
    }
    let plan = survey.plan(host)?;
    let mut notes = survey.notes(&plan);
    let makes_a_key = |step: &Step| step.kind() == ResourceKind::PrivateFile && step.starts_from_nothing();
    if plan.steps.iter().any(makes_a_key) {
        notes.push(message!("the key is made at install, so its public half will be another one than shown here"));
    }
    output.document(&plan_document(&survey, &plan, notes))?;
    Ok(ExitCode::SUCCESS)
}

/// Plans, asks, applies, verifies.
pub fn install(host: &mut Host, global: &Global, options: &InstallOptions, output: &Output) -> Result<ExitCode> {
    let _lock = host.lock()?;
    guard::settle(host)?;
    let outcome = converge(host, global, options, output);
    if options.no_resume {
        // This is the continued run, or a person continues by hand.
        resume::disarm(host)?;
    }
    outcome
}

fn converge(host: &mut Host, global: &Global, options: &InstallOptions, output: &Output) -> Result<ExitCode> {
    let progress = output.progress();
    let task = progress.start(message!("look at this host"));
    let layout = InstanceLayout::new(&global.dir);
    recover::complete_writes(host, layout)?;
    refuse_unreadable(host, layout)?;
    let mut survey = survey(host, global, options)?;
    if survey.is_refused() {
        task.done();
        return refuse(&survey, output);
    }
    let plan = survey.plan(host)?;
    task.done();
    let show = |survey: &HostSurvey, plan: &Plan| output.document(&plan_document(survey, plan, survey.notes(plan)));
    if !plan.is_empty() && !global.yes {
        confirm(&question(&plan), output, || show(&survey, &plan))?;
    }
    let agree = |survey: &HostSurvey, rest: &Plan| match global.yes {
        true => Ok(()),
        false => {
            let question = message!("apt has other packages for this host than planned; apply?");
            confirm(&question, output, || show(survey, rest))
        }
    };
    let start = RunStart::ignoring(&survey.settings.ignore);
    let plan = match apply::run_surveyed(host, &mut survey, plan, &start, &progress, agree) {
        Err(error) if error.class() == Class::Reboot => {
            let arguments = resolve::retyped(&survey.settings, &resume::peers());
            let armed = !options.no_resume && resume::arm(host, &arguments, survey.settings.peers.as_deref())?;
            return Err(error.hint(if armed {
                let command = format!("journalctl -u {}", resume::UNIT);
                message!("systemctl reboot; it goes on by itself after that: {command}", command)
            } else {
                message!("systemctl reboot, then run it again")
            }));
        }
        // This run has done what waited for a reboot, or it has to be started again.
        applied => {
            resume::disarm(host)?;
            applied?
        }
    };
    let proof = verify(host, &survey, &plan, &progress)?;
    let failed = proof.outcome == ProofOutcome::Failed;
    output.document(&install_document(&survey, &plan, proof))?;
    Ok(if failed { Class::Unproven.into() } else { ExitCode::SUCCESS })
}

/// The last line before the answer: how much it is about.
fn question(plan: &Plan) -> Message {
    counted!(
        "{count} change, as listed above; apply?" | "{count} changes, as listed above; apply?",
        count = plan.steps.len()
    )
}

fn refuse(survey: &HostSurvey, output: &Output) -> Result<ExitCode> {
    output.document(&PreflightDocument { brief: true, ..preflight_document(survey) })?;
    Ok(Class::Refused.into())
}

fn preflight_document(survey: &HostSurvey) -> PreflightDocument {
    PreflightDocument::new(&survey.facts, &survey.findings)
}

fn plan_document(survey: &HostSurvey, plan: &Plan, notes: Vec<Message>) -> PlanDocument {
    let outage = survey.impact(plan).outage();
    PlanDocument::new(&survey.facts, plan, outage, notes, &preflight_document(survey))
}

fn install_document(survey: &HostSurvey, plan: &Plan, proof: Proof) -> InstallDocument {
    let own = &proof.own;
    let instance = InstanceDocument {
        set_up: Seen::Yes,
        tunnel: match (&proof.device, &proof.peers) {
            (Some(_), _) => Seen::Yes,
            (None, Some(_)) => Seen::No,
            (None, None) => Seen::Unknown,
        },
        vpn_address: Some(own.address),
        public_key: Some(own.public_key),
        list_digest: Some(proof.list.digest()),
        implementation: proof.device.as_ref().map(|device| device.implementation),
        members: match &proof.peers {
            Some(peers) => MemberDocument::all(&proof.list, own.public_key, peers),
            None => Vec::new(),
        },
    };
    InstallDocument {
        schema: SCHEMA,
        host: (&survey.facts).into(),
        steps: plan.steps.iter().map(StepDocument::from).collect(),
        instance: Some(instance),
        next: survey.notes(plan).into_iter().chain(proof.next).map(Text).collect(),
        outcome: match proof.outcome {
            ProofOutcome::Proven => Outcome::Pass,
            ProofOutcome::Reserved => Outcome::Warn,
            ProofOutcome::Failed => Outcome::Fail,
        },
    }
}
