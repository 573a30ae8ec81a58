//! An apt source for a suite that the host's own sources lack.
//!
//! Mirrors drop the suites of old releases; Debian's archive keeps them, with Release files long past their Valid-Until
//! (FN-11). The host's own mirror is tried first, then the archive, each by apt itself with no other source. Signatures are
//! always checked, dates are ignored for the archive alone, and a source that doesn't work is removed again.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file::other_text;
use super::packages::apt;
use super::{Resource, ResourceKind, State};
use crate::error::{Error, Result};
use crate::host::{Host, Mode};
use crate::message;
use crate::message::{Argument, Message};

/// The first line of a file written here. Any other file is somebody else's and never touched.
const FIRST_LINE: &str = "# Added by mitigator-vpn; mitigator-vpn undo removes it.";

/// One suite in one file of `/etc/apt/sources.list.d`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AptSource {
    /// The file.
    pub path: PathBuf,
    /// The suite, `buster-backports`.
    pub suite: String,
    /// Suites that are added along with the archive's, each as `ADDRESS SUITE`: the release's main suite and its security
    /// suite, the least needed last. They move to the archive together with the backports. A suite that the host already
    /// takes from there is left out: apt refuses one suite under two conditions.
    #[serde(default)]
    pub beside: Vec<String>,
    /// A mirror that may have the suite.
    pub mirror: Option<String>,
    /// The archive that keeps it.
    pub archive: Option<String>,
}

/// What the file of an apt source holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceFile {
    /// There is none.
    Absent,
    /// One of ours.
    Present,
    /// Somebody else's text: it is never touched.
    Text(String),
}

impl State for SourceFile {
    fn summary(&self) -> Message {
        match self {
            SourceFile::Absent => message!("it is not there"),
            SourceFile::Present => message!("it is there"),
            SourceFile::Text(text) => other_text(text),
        }
    }

    fn is_absence(&self) -> bool {
        *self == SourceFile::Absent
    }

    fn text(&self) -> String {
        match self {
            SourceFile::Absent | SourceFile::Present => String::new(),
            SourceFile::Text(text) => text.clone(),
        }
    }
}

impl Resource for AptSource {
    type State = SourceFile;
    const KIND: ResourceKind = ResourceKind::AptSource;

    fn noun(&self) -> Message {
        message!("apt source {suite} in {path}", suite = &self.suite, path = self.path.display())
    }

    fn paths(&self) -> Vec<&Path> {
        vec![&self.path]
    }

    fn observe(&self, host: &Host) -> Result<SourceFile> {
        Ok(match host.read_text(&self.path)? {
            None => SourceFile::Absent,
            Some(text) if text.starts_with(FIRST_LINE) => SourceFile::Present,
            Some(text) => SourceFile::Text(text),
        })
    }

    /// Adds the first source that apt can read, or removes ours.
    fn set(&self, host: &mut Host, state: &SourceFile) -> Result<()> {
        match (state, self.observe(host)?) {
            (SourceFile::Present, SourceFile::Text(_)) => {
                let path = self.path.display().to_string();
                let error = Error::unexpected(message!("{path} is somebody else's", path = &path));
                let command = format!("mv {path} {path}.off");
                Err(error.hint(message!("look at it, then move it away: {command}", command)))
            }
            (SourceFile::Present, SourceFile::Absent | SourceFile::Present) => self.add(host),
            (SourceFile::Absent, SourceFile::Present) => host.remove(&self.path),
            (SourceFile::Absent, SourceFile::Absent | SourceFile::Text(_)) | (SourceFile::Text(_), _) => Ok(()),
        }
    }

    /// Which packages there are for this kernel is known only with the new source (FN-12).
    fn reveals_others(&self) -> bool {
        true
    }
}

impl AptSource {
    fn add(&self, host: &mut Host) -> Result<()> {
        // The complaint about the last one counts: that is where the suite ought to be.
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
        let known = complaints.into_iter().next().map(Argument::from);
        let reason = known.unwrap_or_else(|| message!("no mirror is known").into());
        let error = Error::unexpected(message!("nobody has the suite {suite}: {reason}", suite = &self.suite, reason));
        let option = "--apt-mirror URL";
        Err(error.hint(message!("run it again with a mirror that has it: {option}", option)))
    }

    /// The contents to try, the best first.
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn somebody_elses_file_is_never_touched() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("buster-backports.list");
        std::fs::write(&file, "deb http://mirror.example/debian buster-backports main\n").unwrap();
        let mut host = Host::at(dir.path()).unwrap();
        let error = source().set(&mut host, &SourceFile::Present).unwrap_err();
        assert!(error.to_string().contains("somebody else's"), "{error}");
        source().set(&mut host, &SourceFile::Absent).unwrap();
        assert!(file.exists());
    }
}
