//! The installations of compose on this host: how each is called, and its file (FN-35).

use std::path::{Path, PathBuf};

use super::command::{parse_version, pinned_version};
use super::{ComposeCommand, GatewayContainer, Generation};
use crate::error::Result;
use crate::host::{Cmd, Host, Kind};

/// As a plugin of Docker's client, and as a program.
const PLUGIN: &[&str] = &["docker", "compose"];
const PROGRAM: &[&str] = &["docker-compose"];

/// Where Docker's client finds its plugins.
const PLUGIN_DIRS: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// In bytes. A file that is larger is no script.
const MAX_SCRIPT: u64 = 1 << 14;

/// An installation of compose, its version not known yet.
#[derive(Debug)]
pub(crate) struct InstalledCompose {
    words: &'static [&'static str],
    /// The file that runs; `None` when only Docker's client knows.
    file: Option<PathBuf>,
}

impl InstalledCompose {
    /// All of them. Where both calls run the same file, only the one without Docker's client is listed. Docker's client
    /// isn't started only to find that it has no such plugin.
    pub(crate) fn all(host: &Host) -> Result<Vec<InstalledCompose>> {
        let is_file = |path: &Path| host.stat(path).is_ok_and(|stat| stat.is_some_and(|stat| stat.kind == Kind::File));
        let id = |path: &Path| host.stat(path).ok().flatten().map(|stat| stat.id);
        let program = host.program("docker-compose")?;
        let plugin = PLUGIN_DIRS.iter().map(|dir| Path::new(dir).join("docker-compose")).find(|path| is_file(path));
        let both = program.as_deref().zip(plugin.as_deref());
        let asked = match (host.program("docker")?, &plugin) {
            (None, _) => false,
            (Some(_), Some(_)) => both.is_none_or(|(program, plugin)| id(program) != id(plugin)),
            (Some(client), None) => has_other_plugins(host, &client)?,
        };
        let plugin = asked.then_some(InstalledCompose { words: PLUGIN, file: plugin });
        let program = program.map(|file| InstalledCompose { words: PROGRAM, file: Some(file) });
        Ok(plugin.into_iter().chain(program).collect())
    }

    pub(crate) fn call(&self, arg: &str) -> Cmd {
        Cmd::new(self.words[0]).args(self.words[1..].iter().copied()).arg(arg)
    }

    pub(crate) fn into_command(self, (generation, version): (Generation, String)) -> ComposeCommand {
        let words = self.words.iter().map(|word| (*word).to_owned()).collect();
        ComposeCommand { words, generation, version }
    }

    /// Asks it for its version.
    pub(crate) fn version(&self, host: &Host) -> Option<(Generation, String)> {
        version(host, &self.call("version"))
    }

    /// The version of the file, without Docker's client; a Python script is read, not started. The caller has to prove
    /// that the call really runs this file.
    pub(crate) fn version_of_file(&self, host: &Host) -> Option<(Generation, String)> {
        let file = self.file.as_deref()?;
        let script = host.read_database(file, MAX_SCRIPT).ok().flatten();
        let pinned = script.and_then(|script| pinned_version(&script));
        pinned.or_else(|| version(host, &Cmd::new(file.to_str()?).arg("version")))
    }
}

fn version(host: &Host, cmd: &Cmd) -> Option<(Generation, String)> {
    let out = host.query(cmd).ok()?;
    parse_version(&out.stdout).filter(|_| out.ok())
}

/// Whether this client may find plugins elsewhere: it comes from a snap, or its user has a configuration.
fn has_other_plugins(host: &Host, client: &Path) -> Result<bool> {
    let of_user = std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker"));
    let of_user = of_user.map(|dir| host.list(&dir)).transpose()?;
    Ok(client.starts_with("/snap") || of_user.is_some_and(|names| !names.is_empty()))
}

/// The compose to call for this gateway, found without resolving a configuration: a Python script is read for its
/// version, not started.
pub(crate) fn command_for(host: &Host, gateway: &GatewayContainer) -> Result<Option<ComposeCommand>> {
    let found = InstalledCompose::all(host)?.into_iter().filter_map(|installed| {
        let version = installed.version_of_file(host).or_else(|| installed.version(host))?;
        Some(installed.into_command(version))
    });
    Ok(found.min_by_key(|command| command.generation.rank(gateway.made_by())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A tree with these programs, and a link from the second name to the first where there is a pair.
    fn calls(programs: &[&str], link: Option<(&str, &str)>) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = |path: &str| {
            let path = dir.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        programs.iter().for_each(|program| fs::write(path(program), "").unwrap());
        if let Some((target, name)) = link {
            symlink(target, path(name)).unwrap();
        }
        InstalledCompose::all(&Host::at(dir.path()).unwrap())
            .unwrap()
            .iter()
            .map(|installed| installed.words.join(" "))
            .collect()
    }

    #[test]
    fn only_calls_that_run_a_program_are_asked_and_each_program_once() {
        let (client, command) = ("/usr/bin/docker", "/usr/bin/docker-compose");
        let plugin = "/usr/libexec/docker/cli-plugins/docker-compose";
        assert_eq!(calls(&[client, command], None), ["docker-compose"]);
        assert_eq!(calls(&[client, plugin], None), ["docker compose"]);
        assert_eq!(calls(&[client, plugin, command], None), ["docker compose", "docker-compose"]);
        assert_eq!(calls(&[client, plugin], Some((plugin, command))), ["docker-compose"]);
        assert_eq!(calls(&["/snap/bin/docker"], None), ["docker compose"]);
        assert!(calls(&[client], None).is_empty());
    }
}
