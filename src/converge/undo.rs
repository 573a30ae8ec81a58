//! Takes back exactly what was done: the journal backwards.
//!
//! The stack and the tunnel live off the files, so they are special in one way: what did not run before stops first,
//! while its files are still there; what did run is restarted last, when its files are back.

use crate::converge::journal::{Change, Journal, Receipt};
use crate::error::Result;
use crate::host::Host;
use crate::progress::Progress;
use crate::resource::{Resource, State};

/// What became of one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is as it was before.
    TakenBack,
    /// It stays, for somebody has changed it since, or the host needs it by now; the reason, or how it stands.
    Kept(String),
    /// It could not be taken back; the reason.
    Failed(String),
}

/// Takes back every open change, newest first, and goes on after a failure. What somebody else has changed since is
/// kept. The journal goes when everything is dealt with.
pub fn run(host: &mut Host, receipt: &Receipt, progress: &Progress) -> Result<Vec<(Resource, Fate)>> {
    let mut journal = Journal::open(host, None)?;
    let (fates, failed) = take_all_back(host, &mut journal, &receipt.changes, progress)?;
    if !failed {
        journal.remove(host)?;
    }
    Ok(fates)
}

/// Takes back the changes from this step on, and no earlier one.
pub fn since(host: &mut Host, step: u64, progress: &Progress) -> Result<Vec<(Resource, Fate)>> {
    let mut changes = Receipt::load(host)?.changes;
    changes.retain(|change| change.step >= step);
    let mut journal = Journal::open(host, None)?;
    take_all_back(host, &mut journal, &changes, progress).map(|(fates, _)| fates)
}

/// What became of each, and whether one could not be taken back.
fn take_all_back(
    host: &mut Host,
    journal: &mut Journal,
    changes: &[Change],
    progress: &Progress,
) -> Result<(Vec<(Resource, Fate)>, bool)> {
    let mut fates = Vec::new();
    let mut failed = false;
    for change in order(changes) {
        let task = progress.start(format!("take back {}", change.resource));
        host.tell(task.listener());
        let fate = take_back(host, change).unwrap_or_else(|error| Fate::Failed(error.to_string()));
        if let Fate::Failed(_) = fate {
            failed = true;
        } else {
            for step in dealt_with(change, changes) {
                journal.close(step)?;
            }
            task.done();
        }
        fates.push((change.resource.clone(), fate));
    }
    Ok((fates, failed))
}

/// The changes in the order they are taken back.
pub fn order(changes: &[Change]) -> Vec<&Change> {
    let (living, still): (Vec<&Change>, Vec<&Change>) = changes.iter().partition(|c| c.resource.is_live());
    // However often a stack was restarted, what counts is how it stood before the first time.
    let mut oldest: Vec<&Change> = Vec::new();
    for change in living {
        if !oldest.iter().any(|c| c.resource.is_same_kind(&change.resource)) {
            oldest.push(change);
        }
    }
    let (stop, restart): (Vec<&Change>, Vec<&Change>) = oldest.into_iter().partition(|c| c.before == State::Stopped);
    stop.into_iter().rev().chain(still.into_iter().rev()).chain(restart).collect()
}

/// The steps that are through with this change: what runs stands for all its restarts.
fn dealt_with(change: &Change, changes: &[Change]) -> Vec<u64> {
    let stands_for = |other: &&Change| {
        other.step == change.step || change.resource.is_live() && other.resource.is_same_kind(&change.resource)
    };
    changes.iter().filter(stands_for).map(|other| other.step).collect()
}

fn take_back(host: &mut Host, change: &Change) -> Result<Fate> {
    if !change.resource.is_live() {
        let now = change.resource.observe(host)?;
        if change.before.is_met_by(&now) {
            return Ok(Fate::TakenBack);
        }
        // A step that never finished may have left anything; that is ours all the same.
        if change.done && !change.after.is_met_by(&now) {
            return Ok(Fate::Kept(now.summary()));
        }
        if let Some(reason) = change.resource.must_stay() {
            return Ok(Fate::Kept(reason));
        }
    }
    // It went with the stack.
    if matches!(change.resource, Resource::Tunnel(_)) && change.resource.observe(host)? == State::Stopped {
        return Ok(Fate::TakenBack);
    }
    change.resource.set(host, &change.before)?;
    // A directory goes only if it is empty.
    if matches!(change.resource, Resource::Directory(_)) && !change.before.is_met_by(&change.resource.observe(host)?) {
        return Ok(Fate::Kept("there is something in it".to_owned()));
    }
    Ok(Fate::TakenBack)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::{ComposeCommand, Generation};
    use crate::resource::{Directory, File, Stack, Tunnel};
    use crate::settings::Restart;

    fn file(step: u64, before: State, after: State, done: bool) -> Change {
        Change { step, resource: Resource::File(File { path: format!("/f{step}").into() }), before, after, done }
    }

    fn stack(step: u64, before: State) -> Change {
        let compose = ComposeCommand { words: vec!["x".into()], generation: Generation::V1, version: "1".into() };
        let resource = Resource::Stack(Stack { dir: "/d".into(), compose, restart: Restart::Full });
        Change { step, resource, before, after: State::Running, done: true }
    }

    fn steps(changes: &[Change]) -> Vec<u64> {
        order(changes).iter().map(|c| c.step).collect()
    }

    #[test]
    fn a_stack_that_did_not_run_stops_before_its_files_go() {
        let text = || State::Text("x".into());
        let f = |step| file(step, State::Absent, text(), true);
        assert_eq!(steps(&[f(0), f(1), stack(2, State::Stopped), f(3), stack(4, State::Running)]), [2, 3, 1, 0]);
    }

    #[test]
    fn a_stack_that_ran_is_restarted_once_when_its_files_are_back() {
        let f = |step| file(step, State::Absent, State::Text("x".into()), true);
        assert_eq!(steps(&[f(0), stack(1, State::Running), f(2), stack(3, State::Outdated)]), [2, 0, 1]);
    }

    #[test]
    fn a_directory_that_others_use_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = Host::at(dir.path()).unwrap();
        let resource = Resource::Directory(Directory { path: "/d".into() });
        let made = Change { step: 0, resource, before: State::Absent, after: State::Present, done: true };
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/theirs"), "").unwrap();
        assert!(matches!(take_back(&mut host, &made).unwrap(), Fate::Kept(_)));
        std::fs::remove_file(dir.path().join("d/theirs")).unwrap();
        assert_eq!(take_back(&mut host, &made).unwrap(), Fate::TakenBack);
    }

    #[test]
    fn a_stack_that_is_dealt_with_is_not_restarted_by_the_next_undo() {
        let f = |step| file(step, State::Absent, State::Text("x".into()), true);
        let changes = [f(0), stack(1, State::Stopped), f(2), stack(3, State::Running)];
        assert_eq!(dealt_with(&changes[1], &changes), [1, 3]);
        assert_eq!(dealt_with(&changes[2], &changes), [2]);
    }

    #[test]
    fn a_list_that_was_changed_live_needs_no_gateway_that_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = Host::at(dir.path()).unwrap();
        let compose = ComposeCommand { words: vec!["x".into()], generation: Generation::V1, version: "1".into() };
        let resource = Resource::Tunnel(Tunnel { dir: "/d".into(), public_conf: "/d/list".into(), compose });
        let reconfigured = Change { step: 0, resource, before: State::Outdated, after: State::Running, done: true };
        assert_eq!(take_back(&mut host, &reconfigured).unwrap(), Fate::TakenBack);
    }

    #[test]
    fn a_file_changed_since_is_kept_and_a_torn_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = Host::at(dir.path()).unwrap();
        std::fs::write(dir.path().join("f1"), "somebody else's").unwrap();
        std::fs::write(dir.path().join("f2"), "half of ou").unwrap();
        let ours = || State::Text("ours".into());
        assert!(matches!(take_back(&mut host, &file(1, State::Absent, ours(), true)).unwrap(), Fate::Kept(_)));
        assert_eq!(take_back(&mut host, &file(2, State::Absent, ours(), false)).unwrap(), Fate::TakenBack);
        assert!(dir.path().join("f1").exists() && !dir.path().join("f2").exists());
    }
}
