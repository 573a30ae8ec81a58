//! The Docker daemon.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::Docker;
use crate::host::{Cmd, Host};

/// A daemon that needs longer than this is as good as none.
const PATIENCE: Duration = Duration::from_secs(15);

/// Reads this part of the facts. Of a mounted tree that is the files alone.
pub fn gather(host: &Host) -> Docker {
    let program = host.program("docker");
    let mut docker = Docker {
        present: program.is_some(),
        snap: is_snap(host, program.as_deref()),
        pools: pools(host),
        ..Docker::default()
    };
    if !host.is_live() {
        docker.daemon = Err("a mounted tree runs no daemon".into());
    } else if docker.present {
        docker.daemon = version(host);
        if docker.daemon.is_ok() {
            docker.networks = networks(host);
        }
    }
    docker
}

/// Whether the daemon is the snap's (FN-39): the client is, or the snap's data is there and no other daemon program.
fn is_snap(host: &Host, client: Option<&Path>) -> bool {
    let data = || host.stat(Path::new("/var/snap/docker")).is_ok_and(|stat| stat.is_some());
    client.is_some_and(|path| path.starts_with("/snap")) || (data() && host.program("dockerd").is_none())
}

fn version(host: &Host) -> Result<String, String> {
    let cmd = Cmd::new("docker").args(["version", "--format", "{{.Server.Version}}"]).deadline(PATIENCE);
    let out = host.query(&cmd).map_err(|error| error.to_string())?;
    match out.stdout.trim() {
        version if out.ok() && !version.is_empty() => Ok(version.to_owned()),
        _ => Err(out.stderr.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("no answer").to_owned()),
    }
}

fn networks(host: &Host) -> BTreeMap<String, Vec<String>> {
    let list = Cmd::new("docker").args(["network", "ls", "--quiet"]).deadline(PATIENCE);
    let Ok(list) = host.query(&list) else { return BTreeMap::new() };
    let format = "{{.Name}}{{range .IPAM.Config}} {{.Subnet}}{{end}}";
    let inspect = Cmd::new("docker")
        .args(["network", "inspect", "--format", format])
        .args(list.stdout.split_whitespace())
        .deadline(PATIENCE);
    // The exit code is of no use: a network that went away in between fails it, and the others are printed.
    host.query(&inspect).map(|out| parse_networks(&out.stdout)).unwrap_or_default()
}

/// One network a line: its name, then its subnets.
fn parse_networks(text: &str) -> BTreeMap<String, Vec<String>> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            Some((words.next()?, words.collect()))
        })
        .collect()
}

#[derive(Default, Deserialize)]
struct DaemonJson {
    bip: Option<String>,
    #[serde(default, rename = "default-address-pools")]
    pools: Vec<Pool>,
}

#[derive(Deserialize)]
struct Pool {
    base: String,
}

fn pools(host: &Host) -> Vec<String> {
    ["/etc/docker/daemon.json", "/var/snap/docker/current/config/daemon.json"]
        .iter()
        .filter_map(|path| host.read_text(Path::new(path)).ok().flatten())
        .flat_map(|text| parse_daemon_json(&text))
        .collect()
}

/// A file that can't be read as JSON gives no pools: the daemon doesn't start with it, and that is found elsewhere.
fn parse_daemon_json(text: &str) -> Vec<String> {
    let json: DaemonJson = serde_json::from_str(text).unwrap_or_default();
    json.bip.into_iter().chain(json.pools.into_iter().map(|pool| pool.base)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn a_snap_is_known_by_its_path_though_the_link_leads_to_snap_itself() {
        let dir = tree(&[("usr/bin/snap", "")]);
        fs::create_dir_all(dir.path().join("snap/bin")).unwrap();
        symlink("/usr/bin/snap", dir.path().join("snap/bin/docker")).unwrap();
        let docker = gather(&Host::at(dir.path()).unwrap());
        assert!(docker.present && docker.snap);
    }

    #[test]
    fn a_client_of_debian_with_the_daemon_of_a_snap_is_a_snap() {
        let dir = tree(&[("usr/bin/docker", ""), ("var/snap/docker/current/x", "")]);
        assert!(gather(&Host::at(dir.path()).unwrap()).snap);
        fs::write(dir.path().join("usr/bin/dockerd"), "").unwrap();
        assert!(!gather(&Host::at(dir.path()).unwrap()).snap);
    }

    #[test]
    fn pools_are_what_docker_may_hand_out() {
        let dir = tree(&[(
            "etc/docker/daemon.json",
            r#"{"log-driver": "local", "bip": "10.200.0.1/24",
                "default-address-pools": [{"base": "10.8.0.0/14", "size": 24}, {"base": "172.80.0.0/16", "size": 24}]}"#,
        )]);
        let docker = gather(&Host::at(dir.path()).unwrap());
        assert_eq!(docker.pools, ["10.200.0.1/24", "10.8.0.0/14", "172.80.0.0/16"]);
        assert!(!docker.present && docker.daemon.is_err());
        assert!(parse_daemon_json("{not json").is_empty());
    }

    #[test]
    fn networks_with_none_one_and_two_subnets() {
        let networks = parse_networks("bridge 172.17.0.0/16\nhost\nmitigator_default 172.18.0.0/16 fd00::/64\n");
        assert_eq!(networks["bridge"], ["172.17.0.0/16"]);
        assert!(networks["host"].is_empty());
        assert_eq!(networks["mitigator_default"], ["172.18.0.0/16", "fd00::/64"]);
    }
}
