//! How facts are read. What isn't there is empty; what can't be read is no answer, and is noted with its cause: an empty value
//! in its place must decide about no change.

use std::cell::RefCell;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::host::{Host, Kind};
use crate::message::Message;

/// The largest text that is read: what depmod writes comes near a tenth of it.
const LIMIT: u64 = 16 << 20;

/// A part of the facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// [`super::Machine`].
    Machine,
    /// [`super::Kernel`].
    Kernel,
    /// [`super::PackageFacts`].
    Packages,
    /// [`super::Docker`].
    Docker,
    /// [`super::StackFacts`].
    Stack,
    /// [`super::InstanceFacts`].
    Instance,
    /// [`super::Net`].
    Net,
    /// The journal of earlier runs.
    Journal,
}

impl Part {
    /// Whether steps of a plan follow from it. Of a mounted tree only files are planned.
    fn decides_steps(self, live: bool) -> bool {
        match self {
            Part::Instance | Part::Journal => true,
            Part::Machine | Part::Kernel | Part::Packages | Part::Stack => live,
            // They warn; no step is made from them.
            Part::Docker | Part::Net => false,
        }
    }
}

/// A question that got no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unread {
    /// The part with a hole in it.
    pub part: Part,
    /// Why there is no answer.
    pub reason: Message,
}

impl Unread {
    /// Whether steps of a plan would follow from it.
    pub(crate) fn decides_steps(&self, live: bool) -> bool {
        self.part.decides_steps(live)
    }
}

/// Reads from a host, and notes what it can't read.
pub struct Reading<'a> {
    pub(crate) host: &'a Host,
    reasons: RefCell<Vec<Message>>,
}

impl<'a> Reading<'a> {
    /// Nothing is noted yet.
    pub fn of(host: &'a Host) -> Self {
        Reading { host, reasons: RefCell::default() }
    }

    /// Reads one part of the facts, with what it couldn't read.
    pub(super) fn part<T>(host: &'a Host, part: Part, read: impl FnOnce(&Self) -> T) -> (T, Vec<Unread>) {
        let reading = Reading::of(host);
        let facts = read(&reading);
        let unread = reading.reasons.into_inner().into_iter().map(|reason| Unread { part, reason });
        (facts, unread.collect())
    }

    /// Reads something that has to be known.
    pub(crate) fn sure<T>(host: &'a Host, read: impl FnOnce(&Self) -> T) -> Result<T> {
        let reading = Reading::of(host);
        let answer = read(&reading);
        match reading.reasons.into_inner().into_iter().next() {
            None => Ok(answer),
            Some(reason) => Err(Error::unexpected(reason)),
        }
    }

    /// The answer; nothing, and a note, where there is none.
    pub(crate) fn known<T: Default>(&self, answer: Result<T>) -> T {
        answer.unwrap_or_else(|error| {
            self.note(Message::from(&error));
            T::default()
        })
    }

    /// Notes why something can't be known.
    pub(crate) fn note(&self, reason: Message) {
        self.reasons.borrow_mut().push(reason);
    }

    /// Whether something stands at a path.
    pub(crate) fn exists(&self, path: &str) -> bool {
        self.known(self.host.stat(Path::new(path))).is_some()
    }

    /// Whether something of this kind stands at a path.
    pub(crate) fn is(&self, path: &Path, kind: Kind) -> bool {
        self.known(self.host.stat(path)).is_some_and(|stat| stat.kind == kind)
    }

    /// A text; empty where there is no such file.
    pub(crate) fn text(&self, path: &str) -> String {
        self.known(self.host.read_database(Path::new(path), LIMIT)).unwrap_or_default()
    }

    /// Names in a directory; none where there is no such directory.
    pub(crate) fn list(&self, dir: &Path) -> Vec<String> {
        self.known(self.host.list(dir))
    }

    /// Whether a program can be found.
    pub(crate) fn has_program(&self, name: &str) -> bool {
        self.known(self.host.has_program(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::{Generated, resources};
    use crate::distro::Distro;
    use crate::facts::Facts;
    use crate::settings::Settings;
    use crate::wireguard::PrivateKey;

    fn tree(files: &[&str], directories: &[&str]) -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        for path in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        directories.iter().for_each(|path| std::fs::create_dir_all(dir.path().join(path)).unwrap());
        let host = Host::at(dir.path()).unwrap();
        (dir, host)
    }

    #[test]
    fn what_is_absent_is_an_answer() {
        let (_dir, host) = tree(&[], &[]);
        let (facts, _) = Facts::gather(&host, &Settings::default());
        assert_eq!(facts.unread, []);
    }

    #[test]
    fn what_cant_be_read_is_noted_with_its_cause() {
        // A directory in place of the file stands for whatever keeps it from being read.
        for (part, file) in [
            (Part::Kernel, "lib/modules/6.1.0-9-amd64/modules.dep"),
            (Part::Kernel, "etc/modules"),
            (Part::Packages, "var/lib/dpkg/status"),
            (Part::Packages, "etc/apt/sources.list"),
            (Part::Docker, "etc/docker/daemon.json"),
            (Part::Instance, "srv/mitigator/docker-compose.yml"),
        ] {
            let (_dir, host) = tree(&["boot/vmlinuz-6.1.0-9-amd64", "lib/modules/6.1.0-9-amd64/x"], &[file]);
            let (facts, _) = Facts::gather(&host, &Settings::default());
            let [unread, ..] = &facts.unread[..] else { panic!("{file}: nothing is noted") };
            assert_eq!(unread.part, part, "{file}");
            let reason = unread.reason.to_string();
            assert!(reason.ends_with(&format!("{file} is a directory, not a file")), "{reason}");
        }
    }

    #[test]
    fn no_step_follows_from_a_question_without_an_answer() {
        let settings = Settings {
            vpn_address: Some([10, 8, 3, 1].into()),
            endpoint: Some("192.0.2.1:4567".parse().unwrap()),
            ..Settings::default()
        };
        let generated = Generated { key: PrivateKey::generate(), executable: "0".repeat(64) };
        for (part, is_refused) in [
            (Part::Machine, true),
            (Part::Kernel, true),
            (Part::Packages, true),
            (Part::Instance, true),
            (Part::Stack, true),
            (Part::Docker, false),
            (Part::Net, false),
            (Part::Journal, true),
        ] {
            let mut facts = Facts::healthy();
            facts.unread.push(Unread { part, reason: Message::foreign("Input/output error") });
            let distro = Distro::detect(&facts.os).unwrap();
            let planned = resources(&facts, Some(&distro), &settings, &generated);
            assert_eq!(planned.is_err(), is_refused, "{part:?}");
            if let Err(error) = planned {
                assert_eq!(error.class().exit_code(), 3);
                assert!(error.to_string().ends_with("Input/output error"), "{error}");
            }
        }
    }
}
