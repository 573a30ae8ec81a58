//! A suite that a release's own sources lack, as an apt source of ours.
//!
//! Mirrors drop the suites of old releases; Debian's archive keeps them, with Release files long past their Valid-Until
//! (FN-11). So the host's own mirror is tried first, by apt itself and with nothing but this source, then the archive.
//! Signatures stay on, dates are ignored for the archive alone, and a source that doesn't work out is taken away again.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::packages::apt;
use super::{State, mismatch};
use crate::distro::Distro;
use crate::error::{Error, Result};
use crate::facts::Facts;
use crate::host::{Host, Mode};
use crate::policy;
use crate::settings::Settings;

/// How a file of ours begins; any other is somebody else's and never touched.
const FIRST_LINE: &str = "# Added by mitigator-vpn; mitigator-vpn undo removes it.";

/// One suite in one file of `/etc/apt/sources.list.d`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AptSource {
    /// The file.
    pub path: PathBuf,
    /// The suite, `buster-backports`.
    pub suite: String,
    /// What is added along with the archive, each as `ADDRESS SUITE`: the release's main suite and its security suite,
    /// the least needed last. Where the backports have gone, the rest went as well. What the host has from there already
    /// isn't named twice: apt refuses one suite under two conditions.
    #[serde(default)]
    pub beside: Vec<String>,
    /// A mirror that may have the suite.
    pub mirror: Option<String>,
    /// The archive that keeps it.
    pub archive: Option<String>,
}

impl AptSource {
    /// The source an install has to add: something is missing, apt doesn't know it, and the release's data says where
    /// it is.
    pub fn wanted(facts: &Facts, distro: &Distro, settings: &Settings) -> Option<Self> {
        let suite = distro.suite.as_ref()?;
        let known = |name: &String| facts.packages.obtainable(name);
        if !policy::lacks_suite(&facts.packages, distro)
            || policy::missing_packages(facts, distro, settings).iter().all(known)
        {
            return None;
        }
        // A mirror somebody names is the only one: at an air-gapped site the others can't be reached.
        let (mirror, archive) = match &settings.apt_mirror {
            Some(named) => (Some(named.clone()), None),
            None => (facts.packages.mirror.clone(), suite.archive.clone()),
        };
        let has = |from: &String| {
            let mut sources = facts.packages.sources.iter().flatten();
            sources.any(|source| format!("{} {}", source.uri.trim_end_matches('/'), source.suite) == *from)
        };
        let base = archive.iter().map(|archive| format!("{archive} {}", distro.codename));
        let security = suite.archive_security.clone().filter(|_| archive.is_some());
        let beside = base.chain(security).filter(|from| !has(from)).collect();
        Some(AptSource { path: PathBuf::from(&suite.list), suite: suite.name.clone(), beside, mirror, archive })
    }

    /// `Present` with one of our files, `Text` with somebody else's.
    pub fn observe(&self, host: &Host) -> Result<State> {
        Ok(match host.read_text(&self.path)? {
            None => State::Absent,
            Some(text) if text.starts_with(FIRST_LINE) => State::Present,
            Some(text) => State::Text(text),
        })
    }

    /// Adds the first source that apt can read, or removes ours.
    pub fn set(&self, host: &mut Host, state: &State) -> Result<()> {
        let there = self.observe(host)?;
        let path = self.path.display();
        match (state, there) {
            (State::Present, State::Text(_)) => Err(Error::unexpected(format!("{path} is somebody else's"))
                .hint(format!("look at it, then move it away: mv {path} {path}.off"))),
            (State::Present, _) => self.add(host),
            (State::Absent, State::Present) => host.remove(&self.path),
            (State::Absent, _) => Ok(()),
            (other, _) => Err(mismatch(self, other)),
        }
    }

    fn add(&self, host: &mut Host) -> Result<()> {
        // What is said of the last one counts: that is where the suite ought to be.
        let mut complaints = Vec::new();
        for text in self.texts() {
            host.write(&self.path, text.as_bytes(), Mode::PUBLIC)?;
            let said = apt::update_from(host, &self.path)?;
            if said.is_empty() {
                return Ok(());
            }
            complaints = said;
        }
        host.remove(&self.path)?;
        let reason = complaints.first().map_or("no mirror is known", String::as_str);
        Err(Error::unexpected(format!("nobody has the suite {}: {reason}", self.suite))
            .hint("name a mirror that has it: mitigator-vpn install --apt-mirror URL"))
    }

    /// What the file can say, the best first.
    fn texts(&self) -> Vec<String> {
        let mirror = self.mirror.iter().map(|mirror| format!("{FIRST_LINE}\ndeb {mirror} {} main\n", self.suite));
        let line = |from: &str| format!("deb [check-valid-until=no] {from} main\n");
        let with = |beside: &[String], archive: &str| {
            let beside: String = beside.iter().map(|from| line(from)).collect();
            format!("{FIRST_LINE}\n{beside}{}", line(&format!("{archive} {}", self.suite)))
        };
        let but_one = self.beside.split_last().map(|(_, but_one)| but_one);
        let archive = self.archive.iter().flat_map(|archive| {
            [Some(self.beside.as_slice()), but_one].into_iter().flatten().map(|beside| with(beside, archive))
        });
        mirror.chain(archive).collect()
    }
}

impl fmt::Display for AptSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "apt source {} in {}", self.suite, self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::ListedSuite;

    fn source() -> AptSource {
        AptSource {
            path: "/buster-backports.list".into(),
            suite: "buster-backports".into(),
            beside: vec![
                "http://archive.example/debian buster".into(),
                "http://archive.example/debian-security buster/updates".into(),
            ],
            mirror: Some("http://mirror.example/debian".into()),
            archive: Some("http://archive.example/debian".into()),
        }
    }

    #[test]
    fn dates_are_ignored_for_the_archive_alone_and_signatures_never() {
        let [mirror, whole, archive] = &source().texts()[..] else { panic!("three to try") };
        assert_eq!(mirror, &format!("{FIRST_LINE}\ndeb http://mirror.example/debian buster-backports main\n"));
        let archived = |from: &str| format!("deb [check-valid-until=no] http://archive.example/{from} main\n");
        let (base, suite) = (archived("debian buster"), archived("debian buster-backports"));
        let security = archived("debian-security buster/updates");
        assert_eq!(whole, &format!("{FIRST_LINE}\n{base}{security}{suite}"));
        assert_eq!(archive, &format!("{FIRST_LINE}\n{base}{suite}"), "better without security updates than not at all");
    }

    #[test]
    fn a_suite_that_the_host_has_from_the_archive_is_not_named_twice() {
        let mut facts = Facts::healthy();
        facts.os = crate::facts::os::parse("ID=debian\nVERSION_ID=10\nVERSION_CODENAME=buster\n");
        facts.kernel.wireguard = crate::facts::WireGuardSupport::Missing;
        facts.packages.known.clear();
        let distro = Distro::detect(&facts.os).unwrap();
        let wanted = |facts: &Facts| AptSource::wanted(facts, &distro, &Settings::default()).unwrap();
        assert_eq!(wanted(&facts).beside.len(), 2);
        let uri = format!("{}/", wanted(&facts).archive.unwrap());
        facts.packages.sources = Ok(vec![ListedSuite { uri, suite: "buster".into(), fetched: true }]);
        assert_eq!(wanted(&facts).beside, ["http://archive.debian.org/debian-security buster/updates"]);
    }

    #[test]
    fn somebody_elses_file_is_never_touched() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("buster-backports.list");
        std::fs::write(&file, "deb http://mirror.example/debian buster-backports main\n").unwrap();
        let mut host = Host::at(dir.path()).unwrap();
        let error = source().set(&mut host, &State::Present).unwrap_err();
        assert!(error.to_string().contains("somebody else's"), "{error}");
        source().set(&mut host, &State::Absent).unwrap();
        assert!(file.exists());
    }
}
