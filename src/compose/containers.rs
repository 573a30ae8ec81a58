//! The running containers of an instance, as Docker lists them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Generation;
use crate::error::{Context, Result};
use crate::host::Host;
use crate::host::docker::encoded;
use crate::message;
use crate::product::PRODUCT;

/// A running gateway container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayContainer {
    /// The container's id.
    pub id: String,
    /// The pid of its first process.
    pub pid: u32,
    /// The compose version that made it (label `com.docker.compose.version`).
    pub compose_version: String,
    /// The configuration hash it was made from (label `com.docker.compose.config-hash`).
    pub config_hash: String,
    /// Docker's word for its state: `running`, `created`, `restarting`.
    pub state: String,
    /// Mounted files that have been replaced on the host, so that the container sees an old copy (FN-40).
    pub stale: Vec<String>,
}

impl GatewayContainer {
    /// The generation of compose that made it, if its label says so.
    pub(crate) fn made_by(&self) -> Option<Generation> {
        Generation::of_version(&self.compose_version)
    }
}

/// The running gateway of the instance in `dir`, if any, and how many containers of the stack run. Only
/// Docker is asked: both generations of compose label their containers. A question that Docker doesn't answer is an error;
/// without any Docker, and in a mounted tree, none runs.
pub(crate) fn containers(host: &Host, dir: &Path) -> Result<(Option<GatewayContainer>, usize)> {
    if !host.is_live() || !host.has_program("docker")? && !host.has_program("dockerd")? {
        return Ok((None, 0));
    }
    containers_of(host, dir).context(message!("asking Docker for the stack's containers"))
}

fn containers_of(host: &Host, dir: &Path) -> Result<(Option<GatewayContainer>, usize)> {
    let label = format!("com.docker.compose.project.working_dir={}", dir.display());
    let filters = serde_json::json!({ "label": [label] }).to_string();
    let list = || answer::<Vec<Listed>>(host, &format!("/containers/json?filters={}", encoded(&filters)));
    let inspect = |listed: &[Listed]| {
        let gateway = listed.iter().find(|container| label_of(&container.labels, "service") == PRODUCT.gateway.name);
        gateway.map(|gateway| answer::<Inspected>(host, &format!("/containers/{}/json", gateway.id))).transpose()
    };
    let mut listed = list()?;
    let mut inspected = inspect(&listed);
    if inspected.is_err() {
        // It may have gone between the two questions.
        listed = list()?;
        inspected = inspect(&listed);
    }
    Ok((inspected?.map(|inspected| inspected.into_container(host)), listed.len()))
}

fn answer<T: DeserializeOwned>(host: &Host, path: &str) -> Result<T> {
    serde_json::from_str(&host.ask_docker(path)?).context(message!("reading the answer of the Docker daemon"))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

fn label_of<'a>(labels: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    labels.get(&format!("com.docker.compose.{name}")).map_or("", String::as_str)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    state: InspectedState,
    config: InspectedConfig,
    #[serde(default)]
    mounts: Vec<Mount>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedState {
    pid: u32,
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedConfig {
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mount {
    source: String,
    destination: String,
}

impl Inspected {
    fn into_container(self, host: &Host) -> GatewayContainer {
        let stale = self.mounts.iter().filter(|mount| mount.source.ends_with(".conf"));
        let stale = stale.filter(|mount| {
            let inside = host.seen_by(self.state.pid, Path::new(&mount.destination));
            let outside = host.stat(Path::new(&mount.source)).ok().flatten().map(|stat| stat.id);
            inside.is_some() && inside != outside
        });
        GatewayContainer {
            stale: stale.map(|mount| mount.source.clone()).collect(),
            compose_version: label_of(&self.config.labels, "version").to_owned(),
            config_hash: label_of(&self.config.labels, "config-hash").to_owned(),
            pid: self.state.pid,
            state: self.state.status,
            id: self.id,
        }
    }
}
