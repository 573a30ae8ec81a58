//! An operator's machine: a directory on this one that holds the operator's files.

use std::path::PathBuf;
use std::process::Command;

use super::Host;
use super::call::Call;
use super::evidence::Evidence;
use super::snapshot::Snapshot;

/// One operator.
pub struct Operator {
    dir: tempfile::TempDir,
    program: String,
    evidence: Evidence,
}

impl Operator {
    /// With the executable for the hosts; `None`, reported as a SKIP, where there is none.
    pub fn new() -> Option<Self> {
        let Some(program) = std::env::var("MITIGATOR_VPN_TEST_BIN").ok().filter(|program| !program.is_empty()) else {
            super::skip("MITIGATOR_VPN_TEST_BIN is not set; scripts/test sets it");
            return None;
        };
        let dir = tempfile::tempdir().expect("a temporary directory");
        Some(Operator { evidence: Evidence::of("operator"), dir, program })
    }

    /// With this file in their directory, as its builder.
    pub fn file(self, name: &str, text: &str) -> Self {
        self.write(name, text);
        self
    }

    /// Where one of their files is.
    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Host for Operator {
    fn program(&self) -> Vec<String> {
        vec![self.program.clone()]
    }

    fn command(&self, call: &Call) -> Command {
        let mut command = Command::new(&call.words[0]);
        command.args(&call.words[1..]).current_dir(self.dir.path()).env_clear();
        // The developer's own environment is no part of a scenario.
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.env("HOME", self.dir.path()).env("LC_ALL", "C.UTF-8");
        command.envs(call.env.iter().map(|(name, value)| (name, value)));
        command
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.at(name)).ok()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.at(name), bytes).expect("our own directory");
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::take(self, &self.dir.path().display().to_string(), &[], &Snapshot::default())
    }

    fn evidence(&self) -> &Evidence {
        &self.evidence
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.evidence.keep_on_failure(|dir| {
            let _ = Command::new("cp").arg("-a").arg(self.dir.path()).arg(dir.join("files")).status();
        });
    }
}
