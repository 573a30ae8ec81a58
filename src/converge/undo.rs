//! Takes back what the journal says was done, newest first.
//!
//! Live resources (the stack, the tunnel) are made from files and have an order of their own: what did not run before is
//! stopped first, while its files are still there; what did run is restarted last, when its files are restored.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::converge::journal::{Journal, JournaledChange, Receipt, RunId};
use crate::error::Result;
use crate::host::{Host, Uninterrupted};
use crate::message;
use crate::message::Message;
use crate::product::PRODUCT;
use crate::progress::Progress;
use crate::resource::{Resource, State, Step, Transition, each_kind};

/// What became of one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is as it was before.
    TakenBack,
    /// It stays, because somebody has changed it since: its state.
    Kept(Message),
    /// It stays, because something on the host needs it by now: the reason.
    Needed(Message),
    /// It could not be taken back; the reason.
    Failed(Message),
}

/// One change that undo dealt with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    /// What was changed.
    pub resource: Message,
    /// What became of it.
    pub fate: Fate,
    /// What to do about a failure, one thing after the other.
    pub hints: Vec<Message>,
}

/// Takes back these changes of the receipt, newest first, and goes on after a failure with what doesn't depend on it. What
/// somebody else has changed since is kept. The journal goes when everything is dealt with.
pub fn run(host: &mut Host, changes: &[JournaledChange], progress: &Progress) -> Result<Vec<Undone>> {
    let mut journal = Journal::open(host, None)?;
    let undone = take_all_back(host, &mut journal, changes, progress)?;
    if Receipt::load(host)?.changes.is_empty() {
        journal.remove(host)?;
    }
    Ok(undone)
}

/// Takes back what this run has changed, and nothing that another one has.
pub(crate) fn of_run(host: &mut Host, run: &RunId, progress: &Progress) -> Result<Vec<Undone>> {
    let mut receipt = Receipt::load(host)?;
    let merged = receipt.has_merged(run);
    receipt.changes.retain(|change| change.run.as_ref() == Some(run));
    let mut journal = Journal::open(host, None)?;
    let mut undone = take_all_back(host, &mut journal, &receipt.changes, progress)?;
    if merged {
        let resource = message!("what run {run} has changed", run);
        let fate = Fate::Kept(message!("later runs have changed it"));
        undone.push(Undone { resource, fate, hints: Vec::new() });
    }
    Ok(undone)
}

/// The changes that belong to the instance in `dir`, and the directories of the other instances. What belongs to the whole
/// host (packages, a module, a firewall rule) stays as long as another instance needs it.
pub(crate) fn of_instance(changes: &[JournaledChange], dir: &Path) -> (Vec<JournaledChange>, BTreeSet<PathBuf>) {
    let instances: BTreeSet<&Path> = changes.iter().filter_map(|change| change.step.instance()).collect();
    if !instances.contains(dir) && dir == Path::new(PRODUCT.directory) {
        // Nobody has named a directory, and there is none of this name.
        return (changes.to_vec(), BTreeSet::new());
    }
    let others: BTreeSet<PathBuf> = instances.into_iter().filter(|other| *other != dir).map(Path::to_owned).collect();
    let belongs = |change: &&JournaledChange| {
        let mut paths = change.step.paths().into_iter();
        paths.any(|path| path.starts_with(dir)) || others.is_empty()
    };
    (changes.iter().filter(belongs).cloned().collect(), others)
}

/// What became of each.
fn take_all_back(
    host: &mut Host,
    journal: &mut Journal,
    changes: &[JournaledChange],
    progress: &Progress,
) -> Result<Vec<Undone>> {
    let mut undone = Vec::new();
    let mut failed: Vec<(&Path, Message)> = Vec::new();
    // A stack that couldn't be stopped, or of which that isn't known: all that it runs by stays, here and on the whole host.
    let mut standing: Option<Message> = None;
    let work = Uninterrupted::begin();
    for change in order(changes) {
        let resource = change.step.noun();
        let hint = || message!("take back the rest: {command}", command = "mitigator-vpn undo");
        work.go_on(message!("take back {resource}", resource = &resource)).map_err(|error| error.hint(hint()))?;
        let task = progress.start(message!("take back {resource}", resource = &resource));
        host.report_to(task.listener());
        let mut hints = Vec::new();
        let first = failed.iter().find(|(dir, _)| depends_on(change, dir)).map(|(_, first)| first);
        let fate = match standing.as_ref().or(first) {
            // A file that couldn't be restored may name another one: `.env` names compose files.
            Some(first) => Fate::Failed(message!("{resource} has to be taken back first", resource = first)),
            None => {
                each_kind!(Step, &change.step, step => take_back(host, step, change.done)).unwrap_or_else(|error| {
                    hints = error.hints().to_vec();
                    Fate::Failed(Message::from(&error))
                })
            }
        };
        if let Fate::Failed(_) = fate {
            if change.step.is_live() && change.step.starts_from_nothing() {
                standing.get_or_insert_with(|| resource.clone());
            }
            if let (Some(dir), false) = (change.step.path().and_then(Path::parent), change.step.is_live()) {
                failed.push((dir, resource.clone()));
            }
        } else {
            for number in dealt_with(change, changes) {
                journal.close(number)?;
            }
            task.done();
        }
        undone.push(Undone { resource, fate, hints });
    }
    Ok(undone)
}

/// Whether a change is to a file beside one that could not be taken back, to the directory, or to what runs from there.
fn depends_on(change: &JournaledChange, dir: &Path) -> bool {
    change.step.paths().into_iter().any(|path| path == dir || path.parent() == Some(dir))
}

/// The changes in the order they are taken back.
pub(crate) fn order(changes: &[JournaledChange]) -> Vec<&JournaledChange> {
    let (living, still): (Vec<_>, Vec<_>) = changes.iter().partition(|change| change.step.is_live());
    // However often a stack was restarted, what counts is how it stood before the first time.
    let mut oldest: Vec<&JournaledChange> = Vec::new();
    for change in living {
        if !oldest.iter().any(|other| is_same_live(other, change)) {
            oldest.push(change);
        }
    }
    let (stop, restart): (Vec<_>, Vec<_>) = oldest.into_iter().partition(|change| change.step.starts_from_nothing());
    stop.into_iter().rev().chain(still.into_iter().rev()).chain(restart).collect()
}

/// The numbers of the changes that are dealt with by taking back this one: for a live resource, all its restarts.
fn dealt_with(change: &JournaledChange, changes: &[JournaledChange]) -> Vec<u64> {
    let stands_for = |other: &&JournaledChange| {
        other.number == change.number || change.step.is_live() && is_same_live(change, other)
    };
    changes.iter().filter(stands_for).map(|other| other.number).collect()
}

/// The stack of one instance, or its tunnel, whatever compose it was started by.
fn is_same_live(one: &JournaledChange, other: &JournaledChange) -> bool {
    one.step.kind() == other.step.kind() && one.step.paths() == other.step.paths()
}

fn take_back<K: Resource>(host: &mut Host, step: &Transition<K>, done: bool) -> Result<Fate> {
    let Transition { resource, before, after } = step;
    if resource.is_live() {
        let went = resource.comes_with().is_some() && resource.observe(host)?.is_absence();
        if !went {
            resource.set(host, before)?;
        }
        return Ok(Fate::TakenBack);
    }
    let now = resource.observe(host)?;
    if before.is_met_by(&now) {
        return Ok(Fate::TakenBack);
    }
    // An unfinished step may have left any state, and all of it is ours.
    if done && !after.is_met_by(&now) && !now.is_remnant() {
        return Ok(Fate::Kept(now.summary()));
    }
    if let Some(reason) = resource.must_stay(host, before)? {
        return Ok(Fate::Needed(reason));
    }
    resource.set(host, before)?;
    let now = resource.observe(host)?;
    Ok(if before.is_met_by(&now) { Fate::TakenBack } else { Fate::Kept(now.summary()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::{ComposeCommand, Generation};
    use crate::facts::Backend;
    use crate::resource::{
        Content, Directory, EnvKey, EnvLine, File, FirewallRule, Liveness, Opening, Presence, Stack, StackRestart,
        Tunnel,
    };

    fn file(number: u64, done: bool) -> JournaledChange {
        let resource = File { path: format!("/f{number}").into() };
        let step = Transition { resource, before: Content::Absent, after: Content::Text("ours".into()) };
        JournaledChange { number, run: None, step: step.into(), done }
    }

    fn compose() -> ComposeCommand {
        ComposeCommand { words: vec!["x".into()], generation: Generation::V1, version: "1".into() }
    }

    fn stack(number: u64, before: Liveness) -> JournaledChange {
        let resource = Stack { dir: "/d".into(), compose: compose(), restart: StackRestart::Full };
        JournaledChange {
            number,
            run: None,
            step: Transition { resource, before, after: Liveness::Running }.into(),
            done: true,
        }
    }

    fn undo(host: &mut Host, change: &JournaledChange) -> Fate {
        each_kind!(Step, &change.step, step => take_back(host, step, change.done)).unwrap()
    }

    fn steps(changes: &[JournaledChange]) -> Vec<u64> {
        order(changes).iter().map(|change| change.number).collect()
    }

    #[test]
    fn a_stack_that_did_not_run_stops_before_its_files_go() {
        let f = |number| file(number, true);
        assert_eq!(steps(&[f(0), f(1), stack(2, Liveness::Stopped), f(3), stack(4, Liveness::Running)]), [2, 3, 1, 0]);
    }

    #[test]
    fn a_stack_that_ran_is_restarted_once_when_its_files_are_back() {
        let f = |number| file(number, true);
        assert_eq!(steps(&[f(0), stack(1, Liveness::Running), f(2), stack(3, Liveness::Outdated)]), [2, 0, 1]);
    }

    #[test]
    fn a_directory_that_others_use_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = Host::at(dir.path()).unwrap();
        let resource = Directory { path: "/d".into() };
        let step = Transition { resource, before: Presence::Absent, after: Presence::Present };
        let made = JournaledChange { number: 0, run: None, step: step.into(), done: true };
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/theirs"), "").unwrap();
        assert_eq!(undo(&mut host, &made), Fate::Needed(message!("there is something in it")));
        std::fs::remove_file(dir.path().join("d/theirs")).unwrap();
        assert_eq!(undo(&mut host, &made), Fate::TakenBack);
    }

    #[test]
    fn what_somebody_has_left_of_an_opened_port_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = Host::at(dir.path()).unwrap();
        let rule = FirewallRule { backend: Backend::IptablesLegacy, place: "gone INPUT".into(), port: 4567 };
        let step = Transition { resource: rule, before: Opening::Absent, after: Opening::Present };
        let opened = JournaledChange { number: 0, run: None, step: step.into(), done: true };
        let unit = dir.path().join("etc/systemd/system/mitigator-vpn-firewall-4567-gone-INPUT.service");
        std::fs::create_dir_all(unit.parent().unwrap()).unwrap();
        std::fs::write(&unit, "").unwrap();
        assert_eq!(undo(&mut host, &opened), Fate::TakenBack);
        assert!(!unit.exists());
    }

    #[test]
    fn a_stack_that_is_dealt_with_is_not_restarted_by_the_next_undo() {
        let f = |number| file(number, true);
        let changes = [f(0), stack(1, Liveness::Stopped), f(2), stack(3, Liveness::Running)];
        assert_eq!(dealt_with(&changes[1], &changes), [1, 3]);
        assert_eq!(dealt_with(&changes[2], &changes), [2]);
    }

    #[test]
    fn a_list_that_was_changed_live_needs_no_gateway_that_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = Host::at(dir.path()).unwrap();
        let resource = Tunnel { dir: "/d".into(), public_conf: "/d/list".into(), compose: compose() };
        let step = Transition { resource, before: Liveness::Outdated, after: Liveness::Running };
        let reconfigured = JournaledChange { number: 0, run: None, step: step.into(), done: true };
        assert_eq!(undo(&mut host, &reconfigured), Fate::TakenBack);
    }

    #[test]
    fn a_file_changed_since_is_kept_and_a_torn_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = Host::at(dir.path()).unwrap();
        std::fs::write(dir.path().join("f1"), "somebody else's").unwrap();
        std::fs::write(dir.path().join("f2"), "half of ou").unwrap();
        assert!(matches!(undo(&mut host, &file(1, true)), Fate::Kept(_)));
        assert_eq!(undo(&mut host, &file(2, false)), Fate::TakenBack);
        assert!(dir.path().join("f1").exists() && !dir.path().join("f2").exists());
    }

    fn in_dir(number: u64, dir: &str, name: &str) -> JournaledChange {
        let resource = File { path: Path::new(dir).join(name) };
        let step = Transition { resource, before: Content::Absent, after: Content::Text("x".into()) };
        JournaledChange { number, run: None, step: step.into(), done: true }
    }

    fn env(number: u64, dir: &str) -> JournaledChange {
        let resource = EnvKey { path: Path::new(dir).join(".env"), key: "COMPOSE_FILE".into() };
        let step = Transition { resource, before: EnvLine::Empty, after: EnvLine::Line("COMPOSE_FILE=x.yml".into()) };
        JournaledChange { number, run: None, step: step.into(), done: true }
    }

    #[test]
    fn no_env_is_left_that_names_a_file_which_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = Host::at(dir.path()).unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        let changes = [in_dir(0, "/d", "x.yml"), env(1, "/d")];
        std::fs::write(dir.path().join("d/x.yml"), "x").unwrap();
        // It can't be written, as on a full disk.
        std::fs::create_dir(dir.path().join("d/.env")).unwrap();
        let undone = run(&mut host, &changes, &Progress::Silent).unwrap();
        assert!(undone.iter().all(|undone| matches!(undone.fate, Fate::Failed(_))), "{undone:?}");
        assert!(dir.path().join("d/x.yml").exists());
        // Somebody has added a file of their own to the line.
        std::fs::remove_dir(dir.path().join("d/.env")).unwrap();
        std::fs::write(dir.path().join("d/.env"), "COMPOSE_FILE=theirs.yml:x.yml\n").unwrap();
        let undone = run(&mut host, &changes, &Progress::Silent).unwrap();
        assert!(undone.iter().all(|undone| matches!(undone.fate, Fate::Kept(_) | Fate::Needed(_))), "{undone:?}");
        assert!(dir.path().join("d/x.yml").exists());
    }

    #[test]
    fn nothing_is_taken_from_under_a_stack_that_could_not_be_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = Host::at(dir.path()).unwrap();
        std::fs::create_dir_all(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/x"), "x").unwrap();
        let changes = [in_dir(0, "/etc", "x"), stack(1, Liveness::Stopped)];
        let undone = run(&mut host, &changes, &Progress::Silent).unwrap();
        assert!(undone.iter().all(|undone| matches!(undone.fate, Fate::Failed(_))), "{undone:?}");
        assert!(dir.path().join("etc/x").exists());
    }

    #[test]
    fn one_instance_of_several_is_taken_back_alone_and_the_host_with_the_last() {
        let changes = [in_dir(0, "/etc/modules-load.d", "m.conf"), env(1, "/a"), in_dir(2, "/b", "f"), env(3, "/b")];
        let numbers = |changes: &[JournaledChange], dir: &str| {
            let (mine, others) = of_instance(changes, Path::new(dir));
            (mine.iter().map(|change| change.number).collect::<Vec<_>>(), others.len())
        };
        assert_eq!(numbers(&changes, "/b"), (vec![2, 3], 1));
        assert_eq!(numbers(&changes[..2], "/a"), (vec![0, 1], 0));
        assert_eq!(numbers(&changes, "/c"), (vec![], 2), "the journal knows no such instance");
        assert_eq!(numbers(&changes, PRODUCT.directory).0.len(), 4, "nobody has named one");
    }
}
