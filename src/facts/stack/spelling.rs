//! Which ways there are on this host to call compose, and what stands behind each (FN-35).

use std::path::{Path, PathBuf};

use crate::compose;
use crate::facts::{ComposeCommand, Generation};
use crate::host::{Cmd, Host, Kind};

/// As a plugin of Docker's client, and as a program of its own.
const PLUGIN: &[&str] = &["docker", "compose"];
const PROGRAM: &[&str] = &["docker-compose"];

/// Where Docker's client finds its plugins.
const PLUGIN_DIRS: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// Programs that are scripts are smaller than this.
const MAX_SCRIPT: u64 = 1 << 14;

/// A way to call compose that is worth a question.
#[derive(Debug)]
pub struct Spelling {
    words: &'static [&'static str],
    /// What stands behind the words; `None` when only Docker's client knows.
    file: Option<PathBuf>,
}

impl Spelling {
    /// The ways there are. Of two to the same program it is the one that starts without Docker's client; and the client
    /// isn't started only to hear that it has no such plugin.
    pub fn all(host: &Host) -> Vec<Spelling> {
        let is_file = |path: &Path| host.stat(path).is_ok_and(|stat| stat.is_some_and(|stat| stat.kind == Kind::File));
        let id = |path: &Path| host.stat(path).ok().flatten().map(|stat| stat.id);
        let program = host.program("docker-compose");
        let plugin = PLUGIN_DIRS.iter().map(|dir| Path::new(dir).join("docker-compose")).find(|path| is_file(path));
        let both = program.as_deref().zip(plugin.as_deref());
        let asked = match (host.program("docker"), &plugin) {
            (None, _) => false,
            (Some(_), Some(_)) => both.is_none_or(|(program, plugin)| id(program) != id(plugin)),
            (Some(client), None) => has_other_plugins(host, &client),
        };
        let plugin = asked.then_some(Spelling { words: PLUGIN, file: plugin });
        let program = program.map(|file| Spelling { words: PROGRAM, file: Some(file) });
        plugin.into_iter().chain(program).collect()
    }

    /// A call of it.
    pub fn call(&self, arg: &str) -> Cmd {
        Cmd::new(self.words[0]).args(self.words[1..].iter().copied()).arg(arg)
    }

    /// The command that it is, once its version is known.
    pub fn into_command(self, (generation, version): (Generation, String)) -> ComposeCommand {
        let words = self.words.iter().map(|word| (*word).to_owned()).collect();
        ComposeCommand { words, generation, version }
    }

    /// What `version` prints.
    pub fn version(&self, host: &Host) -> Option<(Generation, String)> {
        version(host, &self.call("version"))
    }

    /// What the file behind it says, without Docker's client; Python's is read, not started. That the words lead to it
    /// is for something else to prove.
    pub fn version_of_file(&self, host: &Host) -> Option<(Generation, String)> {
        let file = self.file.as_deref()?;
        let script = host.read_database(file, MAX_SCRIPT).ok().flatten();
        let pinned = script.and_then(|script| compose::pinned_version(&script));
        pinned.or_else(|| version(host, &Cmd::new(file.to_str()?).arg("version")))
    }
}

fn version(host: &Host, cmd: &Cmd) -> Option<(Generation, String)> {
    let out = host.query(cmd).ok()?;
    compose::parse_version(&out.stdout).filter(|_| out.ok())
}

/// Whether this client may find plugins elsewhere: it is a snap's, or its user has set it up.
fn has_other_plugins(host: &Host, client: &Path) -> bool {
    let of_user = std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker"));
    client.starts_with("/snap") || of_user.is_some_and(|dir| !host.list(&dir).is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A tree with these programs, and a link from the second name to the first where there is a pair.
    fn spelled(programs: &[&str], link: Option<(&str, &str)>) -> Vec<String> {
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
        Spelling::all(&Host::at(dir.path()).unwrap()).iter().map(|spelling| spelling.words.join(" ")).collect()
    }

    #[test]
    fn only_spellings_with_a_program_behind_them_are_asked_and_each_program_once() {
        let (client, command) = ("/usr/bin/docker", "/usr/bin/docker-compose");
        let plugin = "/usr/libexec/docker/cli-plugins/docker-compose";
        assert_eq!(spelled(&[client, command], None), ["docker-compose"]);
        assert_eq!(spelled(&[client, plugin], None), ["docker compose"]);
        assert_eq!(spelled(&[client, plugin, command], None), ["docker compose", "docker-compose"]);
        assert_eq!(spelled(&[client, plugin], Some((plugin, command))), ["docker-compose"]);
        assert_eq!(spelled(&["/snap/bin/docker"], None), ["docker compose"]);
        assert!(spelled(&[client], None).is_empty());
    }
}
