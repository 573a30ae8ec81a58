//! The Docker daemon.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Reading;
use crate::error::{Context, Result};
use crate::message;
use crate::message::Message;

/// The Docker daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Docker {
    /// Whether a `docker` program is there.
    pub present: bool,
    /// Whether it comes from snap, which can't bind /srv (FN-39).
    pub snap: bool,
    /// The daemon's version, or why it doesn't answer.
    pub daemon: Result<String, Message>,
    /// Networks: name and subnets.
    pub networks: BTreeMap<String, Vec<String>>,
    /// `default-address-pools` and `bip` of daemon.json: networks that Docker may hand out.
    pub pools: Vec<String>,
}

impl Default for Docker {
    fn default() -> Self {
        Docker {
            present: false,
            snap: false,
            daemon: Err(message!("no docker program")),
            networks: BTreeMap::new(),
            pools: Vec::new(),
        }
    }
}

/// Reads this part of the facts; of a mounted tree only the files.
pub(crate) fn gather(reading: &Reading) -> Docker {
    let host = reading.host;
    let program = reading.known(host.program("docker"));
    let mut docker = Docker {
        present: program.is_some(),
        snap: is_snap(reading, program.as_deref()),
        pools: pools(reading),
        ..Docker::default()
    };
    if !host.is_live() {
        docker.daemon = Err(message!("a mounted tree runs no daemon"));
    } else if docker.present {
        docker.daemon =
            host.ask_docker("/version").and_then(|json| parse_version(&json)).map_err(|e| Message::from(&e));
        if docker.daemon.is_ok() {
            docker.networks = reading.known(host.ask_docker("/networks").and_then(|json| parse_networks(&json)));
        }
    }
    docker
}

/// Whether the daemon comes from the snap (FN-39): the client does, or the snap has data and there is no other daemon.
fn is_snap(reading: &Reading, client: Option<&Path>) -> bool {
    client.is_some_and(|path| path.starts_with("/snap"))
        || (reading.exists("/var/snap/docker") && !reading.has_program("dockerd"))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    version: String,
}

fn parse_version(json: &str) -> Result<String> {
    Ok(serde_json::from_str::<Version>(json).context(message!("reading the version of the Docker daemon"))?.version)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedNetwork {
    name: String,
    #[serde(rename = "IPAM")]
    ipam: Ipam,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ipam {
    config: Option<Vec<Subnet>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Subnet {
    subnet: String,
}

/// Networks and their subnets.
fn parse_networks(json: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let networks: Vec<ListedNetwork> =
        serde_json::from_str(json).context(message!("reading the networks of the Docker daemon"))?;
    let subnets = |ipam: Ipam| ipam.config.into_iter().flatten().map(|config| config.subnet).collect();
    Ok(networks.into_iter().map(|network| (network.name, subnets(network.ipam))).collect())
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

fn pools(reading: &Reading) -> Vec<String> {
    ["/etc/docker/daemon.json", "/var/snap/docker/current/config/daemon.json"]
        .iter()
        .flat_map(|path| parse_daemon_json(&reading.text(path)))
        .collect()
}

/// A file that isn't JSON gives no pools: the daemon doesn't start with it, which another check finds.
fn parse_daemon_json(text: &str) -> Vec<String> {
    let json: DaemonJson = serde_json::from_str(text).unwrap_or_default();
    json.bip.into_iter().chain(json.pools.into_iter().map(|pool| pool.base)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;
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
    fn a_snap_is_recognised_by_its_path_although_the_link_leads_to_snap_itself() {
        let dir = tree(&[("usr/bin/snap", "")]);
        fs::create_dir_all(dir.path().join("snap/bin")).unwrap();
        symlink("/usr/bin/snap", dir.path().join("snap/bin/docker")).unwrap();
        let docker = gather(&Reading::of(&Host::at(dir.path()).unwrap()));
        assert!(docker.present && docker.snap);
    }

    #[test]
    fn a_client_of_debian_with_the_daemon_of_a_snap_is_a_snap() {
        let dir = tree(&[("usr/bin/docker", ""), ("var/snap/docker/current/x", "")]);
        assert!(gather(&Reading::of(&Host::at(dir.path()).unwrap())).snap);
        fs::write(dir.path().join("usr/bin/dockerd"), "").unwrap();
        assert!(!gather(&Reading::of(&Host::at(dir.path()).unwrap())).snap);
    }

    #[test]
    fn pools_are_what_docker_may_hand_out() {
        let dir = tree(&[(
            "etc/docker/daemon.json",
            r#"{"log-driver": "local", "bip": "10.200.0.1/24",
                "default-address-pools": [{"base": "10.8.0.0/14", "size": 24}, {"base": "172.80.0.0/16", "size": 24}]}"#,
        )]);
        let docker = gather(&Reading::of(&Host::at(dir.path()).unwrap()));
        assert_eq!(docker.pools, ["10.200.0.1/24", "10.8.0.0/14", "172.80.0.0/16"]);
        assert!(!docker.present && docker.daemon.is_err());
        assert!(parse_daemon_json("{not json").is_empty());
    }

    #[test]
    fn networks_with_none_one_and_two_subnets() {
        // of Docker 20.10, shortened
        let json = r#"[
            {"Name":"bridge","Driver":"bridge","IPAM":{"Driver":"default","Config":[{"Subnet":"172.17.0.0/16"}]}},
            {"Name":"none","Driver":"null","IPAM":{"Driver":"default","Config":[]}},
            {"Name":"host","Driver":"host","IPAM":{"Driver":"default","Config":null}},
            {"Name":"mitigator_default","IPAM":{"Config":[
                {"Subnet":"172.18.0.0/16","Gateway":"172.18.0.1"},{"Subnet":"fd00::/64"}]}}]"#;
        let networks = parse_networks(json).unwrap();
        assert_eq!(networks["bridge"], ["172.17.0.0/16"]);
        assert!(networks["host"].is_empty() && networks["none"].is_empty());
        assert_eq!(networks["mitigator_default"], ["172.18.0.0/16", "fd00::/64"]);
    }
}
