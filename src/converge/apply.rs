//! Makes a plan true, so that it can be killed at any instant: announce in the journal, set, prove, note.

use crate::converge::journal::Journal;
use crate::converge::plan::{Plan, Step};
use crate::error::{Class, Context, Error, Result};
use crate::host::Host;
use crate::progress::Progress;
use crate::resource::Resource;

/// Applies every step in order. The first failure stops; what was done is in the journal.
pub fn run(host: &mut Host, plan: &Plan, ignored: &[String], progress: &Progress) -> Result<()> {
    if plan.is_empty() {
        return Ok(());
    }
    let mut journal = Journal::open(host, Some(ignored))?;
    for step in &plan.steps {
        let task = progress.start(step.to_string());
        host.tell(task.listener());
        apply(host, &mut journal, step).with_context(|| step.to_string()).map_err(|error| match error.class() {
            // The way out is the caller's to say: it knows what goes on after the reboot.
            Class::Reboot => error,
            _ => error
                .with_class(Class::Step)
                .then("when that is mended, run it again; or take back what was done: mitigator-vpn undo"),
        })?;
        task.done();
    }
    Ok(())
}

/// As [`run`]. A new apt source comes first, and what follows it is planned anew: which packages there are for this kernel
/// is known only then (FN-12). Gives back all that was applied.
pub fn run_replanned(
    host: &mut Host,
    mut plan: Plan,
    ignored: &[String],
    progress: &Progress,
    anew: impl FnOnce(&mut Host, Plan) -> Result<Plan>,
) -> Result<Plan> {
    let source = plan.steps.iter().position(|step| matches!(step.resource, Resource::AptSource(_)));
    let rest = Plan { steps: plan.steps.split_off(source.map_or(0, |at| at + 1)) };
    run(host, &plan, ignored, progress)?;
    let rest = if plan.is_empty() { rest } else { anew(host, rest)? };
    run(host, &rest, ignored, progress)?;
    plan.steps.extend(rest.steps);
    Ok(plan)
}

fn apply(host: &mut Host, journal: &mut Journal, step: &Step) -> Result<()> {
    let Step { resource, after, .. } = step;
    let (resource, after) = match resource {
        // Dependencies are known only now, when the package lists are fresh; undo must know them by name.
        Resource::Packages(packages) => {
            let packages = packages.expand(host)?;
            let after = packages.wanted();
            (&Resource::Packages(packages), &after.clone())
        }
        _ => (resource, after),
    };
    // Looked at again: an earlier step may have brought this one about (a restart applies the peer list).
    let before = resource.observe(host)?;
    // A tunnel in the plan is always told: where its packets go can't be compared, for peers roam.
    if after.is_met_by(&before) && !matches!(resource, Resource::Tunnel(_)) {
        return Ok(());
    }
    let number = journal.begin(resource, &before, after)?;
    resource.set(host, after)?;
    let now = resource.observe(host)?;
    if !after.is_met_by(&now) {
        return Err(Error::unexpected(format!("{resource} is not as it was set: {}", now.summary())));
    }
    journal.done(number)
}
