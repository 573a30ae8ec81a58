//! The commands of compose, and its version.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::host::Cmd;
use crate::product::PRODUCT;

/// A generation of compose. The two differ in configuration hashes and container names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Generation {
    /// Python's docker-compose 1.x.
    V1,
    /// Go's docker compose, 2.x and later.
    V2,
}

impl Generation {
    /// The generation of a version such as `1.29.2` or `v2.26.1`; `None` for an empty one.
    pub(crate) fn of_version(version: &str) -> Option<Generation> {
        match version.trim_start_matches('v').split('.').next()? {
            "" => None,
            "1" => Some(Generation::V1),
            _ => Some(Generation::V2),
        }
    }

    /// Which of several to prefer, the least first: the one that made the running containers, else the newest.
    pub(crate) fn rank(self, made_by: Option<Generation>) -> (bool, bool) {
        (made_by != Some(self), self == Generation::V1)
    }
}

/// One way to call compose on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComposeCommand {
    /// The words: `["docker-compose"]` or `["docker", "compose"]`.
    pub words: Vec<String>,
    /// The generation of that version.
    pub generation: Generation,
    /// What `version` printed.
    pub version: String,
}

/// Pulling images and waiting for containers to stop takes minutes.
pub(crate) const STACK_DEADLINE: Duration = Duration::from_secs(900);

impl ComposeCommand {
    /// A call of this compose for the instance in `dir`.
    pub(crate) fn call<S: Into<String>>(&self, dir: &Path, args: impl IntoIterator<Item = S>) -> Cmd {
        let (program, rest) = self.words.split_first().expect("a compose command has words");
        Cmd::new(program).args(rest).args(args).dir(dir)
    }

    /// Stops and removes the stack's containers and networks; volumes stay.
    pub(crate) fn down(&self, dir: &Path) -> Cmd {
        self.call(dir, ["down"]).deadline(STACK_DEADLINE)
    }

    /// Starts the stack as the files describe it.
    pub(crate) fn up(&self, dir: &Path) -> Cmd {
        self.call(dir, ["up", "-d"]).deadline(STACK_DEADLINE)
    }

    /// Recreates the gateway's container and nothing else.
    pub(crate) fn recreate_gateway(&self, dir: &Path) -> Cmd {
        self.call(dir, ["up", "-d", "--no-deps", "--force-recreate", PRODUCT.gateway.name]).deadline(STACK_DEADLINE)
    }

    /// Runs a command in the gateway.
    pub(crate) fn exec_gateway<S: Into<String>>(&self, dir: &Path, args: impl IntoIterator<Item = S>) -> Cmd {
        self.call(dir, ["exec", "-T", PRODUCT.gateway.name]).args(args)
    }

    /// As an operator types it.
    pub(crate) fn command_line(&self) -> String {
        self.words.join(" ")
    }
}

/// The generation and version in what `version` printed, whichever way it was called.
pub(super) fn parse_version(printed: &str) -> Option<(Generation, String)> {
    // v1: `docker-compose version 1.29.2, build unknown` and lines about its libraries. v2: `Docker Compose version 2.26.1`.
    let line = printed.lines().find(|line| line.to_ascii_lowercase().contains("compose version"))?;
    let version = line.split_whitespace().map(|w| w.trim_start_matches('v').trim_end_matches(','));
    let version = version.into_iter().find(|w| w.starts_with(|c: char| c.is_ascii_digit()))?;
    let generation = if version.starts_with("1.") { Generation::V1 } else { Generation::V2 };
    Some((generation, version.to_owned()))
}

/// The generation and version that the script of a Python package requires, if it names one. The script starts no other
/// version, and reading it is faster than starting Python to ask for `version`.
pub(super) fn pinned_version(script: &str) -> Option<(Generation, String)> {
    // # EASY-INSTALL-ENTRY-SCRIPT: 'docker-compose==1.29.2','console_scripts','docker-compose'
    let (_, pinned) = script.strip_prefix("#!")?.split_once("docker-compose==")?;
    let version = pinned.split(['\'', '"']).next().filter(|version| version.starts_with("1."))?;
    Some((Generation::V1, version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generation_follows_from_what_version_prints() {
        let v1 = "docker-compose version 1.29.2, build unknown\ndocker-py version: 5.0.3\nCPython version: 3.11.2\n";
        assert_eq!(parse_version(v1), Some((Generation::V1, "1.29.2".into())));
        for v2 in ["Docker Compose version 2.26.1-4\n", "Docker Compose version v2.26.1\n"] {
            assert_eq!(parse_version(v2).unwrap().0, Generation::V2);
        }
        assert_eq!(parse_version("docker: 'compose' is not a docker command.\n"), None);
    }

    #[test]
    fn a_packaged_script_names_its_version_and_any_other_is_asked() {
        let debian = "#!/usr/bin/python3\n# EASY-INSTALL-ENTRY-SCRIPT: 'docker-compose==1.29.2','console_scripts',\
                      'docker-compose'\nimport re\nimport sys\n__requires__ = 'docker-compose==1.29.2'\n";
        assert_eq!(pinned_version(debian), Some((Generation::V1, "1.29.2".into())));
        let pip = "#!/usr/bin/python3\nimport sys\nfrom compose.cli.main import main\n";
        assert_eq!(pinned_version(pip), None);
        assert_eq!(pinned_version("\u{7f}ELF docker-compose==1.29.2'"), None);
    }

    #[test]
    fn no_call_ever_deletes_volumes_and_every_exec_is_without_a_terminal() {
        let compose = ComposeCommand {
            words: vec!["docker-compose".into()],
            generation: Generation::V1,
            version: "1.29.2".into(),
        };
        let dir = Path::new("/srv/mitigator");
        assert_eq!(compose.down(dir).to_string(), "docker-compose down");
        assert_eq!(compose.up(dir).to_string(), "docker-compose up -d");
        assert_eq!(
            compose.exec_gateway(dir, ["reconfigure"]).to_string(),
            "docker-compose exec -T gateway reconfigure"
        );
    }
}
