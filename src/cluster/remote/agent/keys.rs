//! The agent's part in a rotation: the next key and the previous one.
//!
//! Both are files beside vpn-private.conf, with the same mode. Whenever a rotation is interrupted, one of the two is the key
//! that the other members have, so the rotation can continue or be taken back.

use crate::cluster::remote::protocol::HostKeys;
use crate::converge::apply;
use crate::converge::journal::{Journal, JournaledChange, Receipt, RunStart};
use crate::converge::plan::Plan;
use crate::desired::public_file;
use crate::error::{Class, Error, Result};
use crate::host::{Host, Mode};
use crate::message;
use crate::message::Message;
use crate::progress::Progress;
use crate::resource::{Content, Goal, PrivateContent, PrivateFile, Resource, Step, Transition};
use crate::settings::Settings;
use crate::wireguard::{PeerList, PrivateConf, PrivateKey, PublicKey};

/// What a host is claimed for while a connection gives it a new key.
pub(super) const ROTATION: &str = "rotation";

/// Another connection is at it.
pub(super) fn is_rotating() -> Error {
    Error::new(Class::Locked, message!("another run is giving this host a new key"))
        .hint(message!("wait until it has finished, then run this again"))
}

fn private_file(settings: &Settings) -> PrivateFile {
    PrivateFile { path: settings.layout().private_conf(), fresh: None }
}

/// The public halves of all keys that are here.
fn here(host: &Host, settings: &Settings) -> Result<HostKeys> {
    let used = PrivateConf::read(host, &private_file(settings).path)?.map(|conf| conf.key.public());
    Ok(HostKeys { used, staged: staged(host, settings), previous: previous(host, settings) })
}

/// The public half of the key that is staged, while there is one.
pub(super) fn staged(host: &Host, settings: &Settings) -> Option<PublicKey> {
    let conf = PrivateConf::read(host, &private_file(settings).next()).ok().flatten();
    conf.map(|conf| conf.key.public())
}

/// The public half of the key that a rotation has replaced, while it isn't deleted.
pub(super) fn previous(host: &Host, settings: &Settings) -> Option<PublicKey> {
    let conf = PrivateConf::read(host, &private_file(settings).previous()).ok().flatten();
    conf.map(|conf| conf.key.public())
}

/// Makes the next key. One that an earlier run has staged is kept.
pub(super) fn stage(host: &mut Host, settings: &Settings) -> Result<PublicKey> {
    let _lock = super::lock(host)?;
    stage_next(host, settings)
}

fn stage_next(host: &mut Host, settings: &Settings) -> Result<PublicKey> {
    let file = private_file(settings);
    host.recover(&file.path)?;
    if let Some(key) = staged(host, settings) {
        return Ok(key);
    }
    let conf = PrivateConf::read(host, &file.path)?.ok_or_else(no_key)?;
    let key = PrivateKey::generate();
    // Whatever the file's mode was by hand: the new key is nobody else's from its first byte.
    host.make_secret(&file.path)?;
    host.make_secret(&file.next())?;
    host.write(&file.next(), conf.template_with(&key).as_bytes(), Mode::SECRET)?;
    Ok(key.public())
}

/// The steps that take the staged key into use, with the list that has it. The key in use is kept first.
pub(super) fn switch(host: &mut Host, settings: &Settings) -> Result<Plan> {
    let file = private_file(settings);
    let now = PrivateConf::read(host, &file.path)?.ok_or_else(no_key)?;
    let text = settings.peers.as_deref().unwrap_or_default();
    let listed = settings.vpn_address.and_then(|own| PeerList::parse(text).ok()?.by_address(own).cloned());
    let next = staged(host, settings).filter(|key| listed.is_some_and(|own| own.public_key == *key));
    let next =
        next.ok_or_else(|| Error::new(Class::Step, message!("the list doesn't have the key that is staged here")))?;
    // Where an earlier run came as far as this, the key in use is the new one.
    if now.key.public() != next {
        keep_previous(host, &file, &now)?;
    }
    let list = Goal { resource: public_file(settings), state: Content::Text(text.to_owned()) };
    let key = Goal { resource: file, state: PrivateContent::Private { template: now.template, public: next } };
    Ok(Plan { steps: vec![list.transition(host)?.into(), key.transition(host)?.into()] })
}

fn keep_previous(host: &mut Host, file: &PrivateFile, now: &PrivateConf) -> Result<()> {
    host.make_secret(&file.path)?;
    host.make_secret(&file.previous())?;
    host.write(&file.previous(), now.template_with(&now.key).as_bytes(), Mode::SECRET)
}

/// Replaces a key that nobody may use any more, under the host's lock.
pub(super) fn replace(host: &mut Host, settings: &Settings, start: &RunStart) -> Result<PublicKey> {
    let public = stage_next(host, settings)?;
    let file = private_file(settings);
    let now = PrivateConf::read(host, &file.path)?.ok_or_else(no_key)?;
    keep_previous(host, &file, &now)?;
    let goal = Goal { resource: file, state: PrivateContent::Private { template: now.template, public } };
    let plan = Plan { steps: vec![goal.transition(host)?.into()] };
    apply::run(host, &plan, start, &Progress::Silent)?;
    delete_previous(host, settings)?;
    Ok(public)
}

/// Deletes the previous key. The journal is rewritten to the new one, because undo could not restore the other.
pub(super) fn drop_old(host: &mut Host, settings: &Settings, judged: HostKeys) -> Result<()> {
    let _lock = super::lock(host)?;
    if here(host, settings)? != judged {
        let reason = message!("its keys have changed since: another run is at work");
        return Err(Error::new(Class::Step, reason).hint(Message::command("mitigator-vpn cluster apply")));
    }
    delete_previous(host, settings)
}

fn delete_previous(host: &mut Host, settings: &Settings) -> Result<()> {
    let file = private_file(settings);
    let receipt = Receipt::load(host)?;
    let of_key: Vec<(u64, &Transition<PrivateFile>)> = receipt.changes.iter().filter_map(of_private_file).collect();
    if let (Some((_, first)), PrivateContent::Private { template, public }) = (of_key.first(), file.observe(host)?) {
        let mut journal = Journal::open(host, Some(&RunStart::ignoring(&[])))?;
        let before = match &first.before {
            PrivateContent::Private { template, .. } => PrivateContent::Private { template: template.clone(), public },
            PrivateContent::Absent => PrivateContent::Absent,
        };
        let after = PrivateContent::Private { template, public };
        let step = journal.begin(&Transition { resource: first.resource.clone(), before, after }.into())?;
        journal.done(step)?;
        for (number, _) in of_key {
            journal.close(number)?;
        }
    }
    host.remove(&file.previous())?;
    host.remove(&file.next())
}

fn of_private_file(change: &JournaledChange) -> Option<(u64, &Transition<PrivateFile>)> {
    if let Step::PrivateFile(step) = &change.step { Some((change.number, step)) } else { None }
}

fn no_key() -> Error {
    Error::input(message!("there is no private key to replace")).hint(Message::command("mitigator-vpn cluster apply"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::converge::journal::RunId;
    use crate::converge::undo::{self, Fate, Undone};
    use crate::wireguard::Peer;

    struct Member {
        dir: tempfile::TempDir,
        settings: Settings,
    }

    impl Member {
        /// One whose key was made by a journalled run.
        fn new() -> Member {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(dir.path().join("srv/mitigator")).unwrap();
            let settings = Settings { vpn_address: Some([10, 8, 3, 1].into()), ..Settings::default() };
            let member = Member { dir, settings };
            let key = PrivateKey::generate();
            let after = PrivateContent::Private { template: PrivateConf::fresh_template(4567), public: key.public() };
            let file = PrivateFile { fresh: Some(key), ..private_file(&member.settings) };
            let step = Transition { resource: file, before: PrivateContent::Absent, after };
            apply::run(
                &mut member.host(),
                &Plan { steps: vec![step.into()] },
                &RunStart::ignoring(&[]),
                &Progress::Silent,
            )
            .unwrap();
            member
        }

        fn host(&self) -> Host {
            Host::at(self.dir.path()).unwrap()
        }

        fn key(&self) -> PublicKey {
            let path = private_file(&self.settings).path;
            PrivateConf::read(&self.host(), &path).unwrap().unwrap().key.public()
        }

        /// Stages a key and takes it into use; the name of the run.
        fn rotate(&self) -> (PublicKey, RunId) {
            let mut host = self.host();
            let next = stage(&mut host, &self.settings).unwrap();
            assert_eq!(stage(&mut host, &self.settings).unwrap(), next, "a second run goes on with the same key");
            let mut list = PeerList::default();
            let endpoint = "192.0.2.1:4567".parse().unwrap();
            list.add(Peer { public_key: next, address: [10, 8, 3, 1].into(), endpoint, keepalive: None }).unwrap();
            let settings = Settings { peers: Some(list.to_text()), ..self.settings.clone() };
            let plan = switch(&mut host, &settings).unwrap();
            let start = RunStart::ignoring(&[]);
            apply::run(&mut host, &plan, &start, &Progress::Silent).unwrap();
            (next, start.id)
        }

        fn names(&self) -> Vec<String> {
            self.host().list(&self.settings.dir).unwrap()
        }
    }

    #[test]
    fn a_rotation_that_is_not_proven_is_taken_back_to_the_key_before() {
        let member = Member::new();
        let before = member.key();
        let (next, run) = member.rotate();
        assert_eq!(member.key(), next);
        let fates = undo::of_run(&mut member.host(), &run, &Progress::Silent).unwrap();
        assert!(fates.iter().all(|Undone { fate, .. }| *fate == Fate::TakenBack), "{fates:?}");
        assert_eq!(member.key(), before);
    }

    #[test]
    fn a_rotation_that_is_proven_leaves_one_key_and_an_undo_that_still_works() {
        let member = Member::new();
        let (next, _) = member.rotate();
        let judged = here(&member.host(), &member.settings).unwrap();
        drop_old(&mut member.host(), &member.settings, HostKeys { previous: None, ..judged }).unwrap_err();
        drop_old(&mut member.host(), &member.settings, judged).unwrap();
        assert_eq!((member.key(), member.names().len()), (next, 2), "{:?}", member.names());
        let mut host = member.host();
        let receipt = Receipt::load(&host).unwrap();
        let fates = undo::run(&mut host, &receipt.changes, &Progress::Silent).unwrap();
        assert!(fates.iter().all(|Undone { fate, .. }| *fate == Fate::TakenBack), "{fates:?}");
        assert!(member.names().is_empty(), "{:?}", member.names());
    }

    #[test]
    fn the_keys_beside_are_as_secret_as_the_one_in_use() {
        let member = Member::new();
        stage(&mut member.host(), &member.settings).unwrap();
        let stat = member.host().stat(&private_file(&member.settings).next()).unwrap().unwrap();
        assert_eq!(stat.mode, 0o600);
    }

    #[test]
    fn a_key_file_that_anybody_could_read_is_secret_after_a_rotation() {
        use std::os::unix::fs::PermissionsExt;
        let member = Member::new();
        let file = private_file(&member.settings);
        for path in [file.path.clone(), file.previous(), file.next()] {
            let on_disk = member.dir.path().join(path.strip_prefix("/").unwrap());
            if path != file.path {
                std::fs::write(&on_disk, "").unwrap();
            }
            std::fs::set_permissions(on_disk, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
        member.rotate();
        for path in [file.path.clone(), file.previous(), file.next()] {
            assert_eq!(member.host().stat(&path).unwrap().unwrap().mode, 0o600, "{path:?}");
        }
    }
}
