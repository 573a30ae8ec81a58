//! Applies a plan. Every step is announced in the journal, set, observed and noted as done, so that a run can be killed at
//! any instant.

use crate::converge::journal::{Journal, RunStart};
use crate::converge::plan::Plan;
use crate::converge::survey::HostSurvey;
use crate::error::{Class, Context, Error, Result};
use crate::host::{Host, Uninterrupted};
use crate::message;
use crate::message::Message;
use crate::progress::Progress;
use crate::resource::{Resource, State, Step, Transition, each_kind};

/// Applies every step in order. The first failure stops; what was done is in the journal.
pub(crate) fn run(host: &mut Host, plan: &Plan, start: &RunStart, progress: &Progress) -> Result<()> {
    if plan.is_empty() {
        return Ok(());
    }
    let work = Uninterrupted::begin();
    let mut journal = Journal::open(host, Some(start))?;
    for step in &plan.steps {
        work.go_on(step.message()).map_err(|error| error.hint(run_again()))?;
        let task = progress.start(step.message());
        host.report_to(task.listener());
        let applied = each_kind!(Step, step, step => apply(host, &mut journal, step));
        applied.with_context(|| step.message()).map_err(|error| match error.class() {
            // The caller adds the way out: it knows whether the run goes on after the reboot.
            Class::Reboot => error,
            Class::Unexpected | Class::Input | Class::Refused | Class::Unproven | Class::Step | Class::Locked => {
                error.with_class(Class::Step).then(way_on())
            }
        })?;
        task.done();
    }
    work.stop_if_told().map_err(|error| error.hint(run_again()))
}

/// As [`run`]. The steps after one that reveals others (a new apt source) are planned again. Returns all that was applied.
pub fn run_replanned(
    host: &mut Host,
    mut plan: Plan,
    start: &RunStart,
    progress: &Progress,
    anew: impl FnOnce(&mut Host, Plan) -> Result<Plan>,
) -> Result<Plan> {
    let Some(revealing) = plan.steps.iter().position(Step::reveals_others) else {
        run(host, &plan, start, progress)?;
        return Ok(plan);
    };
    let rest = Plan { steps: plan.steps.split_off(revealing + 1) };
    run(host, &plan, start, progress)?;
    let rest = anew(host, rest)?;
    run(host, &rest, start, progress)?;
    plan.steps.extend(rest.steps);
    Ok(plan)
}

/// As [`run_replanned`], for a plan of `survey`, which is taken again for the second plan. `agree` is called if that plan
/// installs other packages than the first one.
pub(crate) fn run_surveyed(
    host: &mut Host,
    survey: &mut HostSurvey,
    plan: Plan,
    start: &RunStart,
    progress: &Progress,
    agree: impl FnOnce(&HostSurvey, &Plan) -> Result<()>,
) -> Result<Plan> {
    run_replanned(host, plan, start, progress, |host, agreed| {
        *survey = survey.again(host);
        if let Some(found) = survey.failures().next() {
            let detail = message!("now that apt has the new source: {detail}", detail = &found.detail);
            let hint = found.hint.clone().unwrap_or_else(|| Message::command("mitigator-vpn preflight"));
            return Err(Error::new(Class::Step, detail).hint(hint).then(way_on()));
        }
        let rest = survey.plan(host)?;
        if rest.packages() != agreed.packages() {
            agree(survey, &rest)?;
        }
        Ok(rest)
    })
}

fn run_again() -> Message {
    message!("run it again to go on; or take back what was done: mitigator-vpn undo")
}

fn way_on() -> Message {
    message!("when that is mended, run it again; or take back what was done: mitigator-vpn undo")
}

fn apply<K: Resource>(host: &mut Host, journal: &mut Journal, planned: &Transition<K>) -> Result<()>
where
    Step: From<Transition<K>>,
{
    let (resource, after) = planned.resource.expand(host, &planned.after)?;
    // Observed again: an earlier step may have had this effect too (a restart applies the peer list).
    let before = resource.observe(host)?;
    if after.is_met_by(&before) && resource.is_observed_whole() {
        return Ok(());
    }
    let step = Transition { resource: resource.clone(), before, after: after.clone() };
    let number = journal.begin(&step.into())?;
    resource.set(host, &after)?;
    let now = resource.observe(host)?;
    if !after.is_met_by(&now) {
        let (resource, state) = (resource.noun(), now.summary());
        return Err(Error::unexpected(message!("{resource} is not as it was set: {state}", resource, state)));
    }
    journal.done(number)
}
