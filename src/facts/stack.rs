//! The compose command and what it makes of this instance.
//!
//! Starting docker-compose 1.x costs a quarter of a second each time, more than everything else a preflight does; so it
//! is started once, and all that is to be asked is asked at once.

mod spelling;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::thread;

use serde::{Deserialize, Serialize};

use crate::compose;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::docker::encoded;
use crate::settings::Settings;
use spelling::Spelling;

/// A generation of compose; their hashes and container names differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Generation {
    /// Python's docker-compose 1.x.
    V1,
    /// Go's docker compose, 2.x and later.
    V2,
}

/// One way to call compose on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComposeCommand {
    /// The words: `["docker-compose"]` or `["docker", "compose"]`.
    pub words: Vec<String>,
    /// The generation, judged by what `version` printed.
    pub generation: Generation,
    /// The version it printed.
    pub version: String,
}

/// The compose command and what it makes of this instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stack {
    /// The compose commands found, the preferred one first: the generation that made the running containers, else
    /// the newest.
    pub commands: Vec<ComposeCommand>,
    /// The resolved configuration's part that matters; `Err` holds compose's words; `None` without a compose file.
    pub config: Option<Result<Resolved, String>>,
    /// The running gateway container.
    pub gateway: Option<Container>,
    /// How many containers of this project run.
    pub running: usize,
}

impl Stack {
    /// How compose is called here.
    pub fn spelling(&self) -> String {
        self.commands.first().map_or("docker-compose".to_owned(), ComposeCommand::spelling)
    }
}

/// What compose resolves the instance to, as far as the VPN is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolved {
    /// All services.
    pub services: BTreeSet<String>,
    /// The gateway service.
    pub gateway: Option<GatewayService>,
    /// Whether there is a `gateway-dataplane` service (v23.12 and later).
    pub dataplane: bool,
}

/// The resolved gateway service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayService {
    /// Its image.
    pub image: String,
    /// `GATEWAY_ADDRESS` in its environment.
    pub address: Option<String>,
    /// Whether it lives in the host's own network.
    pub host_network: bool,
    /// Published UDP ports: host port to container port.
    pub published: BTreeMap<u16, u16>,
}

/// A running gateway container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// The container's id.
    pub id: String,
    /// The pid of its first process.
    pub pid: u32,
    /// The compose version that made it (label `com.docker.compose.version`).
    pub compose_version: String,
    /// The configuration hash it was made from (label `com.docker.compose.config-hash`).
    pub config_hash: String,
    /// Whether it is still under a `created` or `restarting` state instead of `running`.
    pub state: String,
    /// Files of this instance that the container sees in an outdated copy (FN-40).
    pub stale: Vec<String>,
}

/// Reads this part of the facts.
pub fn gather(host: &Host, settings: &Settings) -> Stack {
    if !host.is_live() {
        return Stack::default();
    }
    let dir = settings.dir.as_path();
    let configured = compose::has_base(&host.list(dir));
    thread::scope(|scope| {
        let containers = scope.spawn(|| containers(host, dir));
        let answers = Spelling::all(host).into_iter();
        let answers: Vec<_> =
            answers.map(|spelling| scope.spawn(move || ask(host, spelling, dir, configured))).collect();
        let mut found: Vec<(ComposeCommand, Option<Result<Resolved, String>>)> =
            answers.into_iter().filter_map(|answer| answer.join().expect("a reader doesn't panic")).collect();
        let (gateway, running) = containers.join().expect("a reader doesn't panic");
        // The generation that made the running containers knows them by its own hashes and names (FN-35, FN-57).
        let made_by = gateway.as_ref().and_then(|c| generation_of(&c.compose_version));
        found.sort_by_key(|(command, _)| (made_by != Some(command.generation), command.generation == Generation::V1));
        Stack {
            config: found.first().and_then(|(_, config)| config.clone()),
            commands: found.into_iter().map(|(command, _)| command).collect(),
            gateway,
            running,
        }
    })
}

/// The compose to speak to this gateway with, found without resolving a configuration; a script of Python's is read for
/// that, not started.
pub fn command(host: &Host, gateway: &Container) -> Option<ComposeCommand> {
    let made_by = generation_of(&gateway.compose_version);
    let found = Spelling::all(host).into_iter().filter_map(|spelling| {
        let version = spelling.version_of_file(host).or_else(|| spelling.version(host))?;
        Some(spelling.into_command(version))
    });
    found.min_by_key(|command| (made_by != Some(command.generation), command.generation == Generation::V1))
}

/// The running gateway of the instance in `dir`, if any, and how many containers of the stack run. Asks Docker alone:
/// compose labels what it makes, whatever generation it is.
pub fn containers(host: &Host, dir: &Path) -> (Option<Container>, usize) {
    let label = format!("com.docker.compose.project.working_dir={}", dir.display());
    let filters = serde_json::json!({ "label": [label] }).to_string();
    let listed = host.ask_docker(&format!("/containers/json?filters={}", encoded(&filters)));
    let listed: Vec<Listed> = listed.ok().and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
    let gateway = listed.iter().find(|container| label_of(&container.labels, "service") == "gateway");
    let inspected = gateway.and_then(|gateway| host.ask_docker(&format!("/containers/{}/json", gateway.id)).ok());
    let inspected = inspected.and_then(|json| serde_json::from_str::<Inspected>(&json).ok());
    (inspected.map(|inspected| inspected.into_container(host)), listed.len())
}

/// Asks one spelling for its version and, where there is one, for the configuration; `None` when it doesn't work.
fn ask(
    host: &Host,
    spelling: Spelling,
    dir: &Path,
    configured: bool,
) -> Option<(ComposeCommand, Option<Result<Resolved, String>>)> {
    let (config, of_file) = thread::scope(|scope| {
        let config = configured.then(|| scope.spawn(|| config(host, &spelling, dir)));
        let of_file = if configured { spelling.version_of_file(host) } else { None };
        (config.map(|config| config.join().expect("a reader doesn't panic")), of_file)
    });
    // What has resolved a configuration works, and is the program whose version is known.
    let proven = of_file.filter(|_| matches!(config, Some(Ok(_))));
    let version = proven.or_else(|| spelling.version(host))?;
    Some((spelling.into_command(version), config))
}

fn config(host: &Host, spelling: &Spelling, dir: &Path) -> Result<Resolved, String> {
    let cmd = spelling.call("config").dir(dir);
    host.query(&cmd)
        .and_then(|out| out.success(format!("'{cmd}'")))
        .and_then(|out| parse_config(&out.stdout))
        .map_err(|error| without_secrets(error.to_string(), host.read(&dir.join(".env")).ok().flatten()))
}

/// What compose said, without what stands in `.env`: v2 quotes the line it can't read, and an interpolation that fails
/// shows the value.
fn without_secrets(words: String, env: Option<Vec<u8>>) -> String {
    let env = String::from_utf8_lossy(&env.unwrap_or_default()).into_owned();
    let pieces = env.split(|c: char| c.is_whitespace() || "\"'=$#{}".contains(c));
    let mut pieces: Vec<&str> = pieces.filter(|piece| piece.len() >= 4 && !is_public_word(piece)).collect();
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
    pieces.into_iter().fold(words, |words, piece| words.replace(piece, "…"))
}

/// Names are no secrets: of variables, and of compose files.
fn is_public_word(piece: &str) -> bool {
    piece.chars().all(|c| c.is_ascii_uppercase() || c == '_') || piece.contains(".yml") || piece.contains(".yaml")
}

fn generation_of(version: &str) -> Option<Generation> {
    match version.trim_start_matches('v').split('.').next()? {
        "" => None,
        "1" => Some(Generation::V1),
        _ => Some(Generation::V2),
    }
}

/// Reads the part of a resolved configuration that matters to the VPN. Both generations print YAML.
pub fn parse_config(yaml: &str) -> Result<Resolved> {
    let config: Config = serde_saphyr::from_str(yaml)
        .map_err(|e| Error::unexpected(format!("the resolved compose configuration can't be read: {e}")))?;
    let services: BTreeSet<String> = config.services.keys().cloned().collect();
    let gateway = config.services.get("gateway").map(|service| GatewayService {
        image: service.image.clone().unwrap_or_default(),
        address: service.environment.as_ref().and_then(|env| env.get("GATEWAY_ADDRESS")),
        host_network: service.network_mode.as_deref() == Some("host"),
        published: service.ports.iter().filter_map(Port::udp).collect(),
    });
    Ok(Resolved { dataplane: services.contains("gateway-dataplane"), services, gateway })
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    services: BTreeMap<String, Service>,
}

#[derive(Deserialize)]
struct Service {
    image: Option<String>,
    environment: Option<Environment>,
    network_mode: Option<String>,
    #[serde(default)]
    ports: Vec<Port>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Environment {
    Map(BTreeMap<String, Option<Scalar>>),
    List(Vec<String>),
}

impl Environment {
    fn get(&self, name: &str) -> Option<String> {
        match self {
            Environment::Map(map) => map.get(name)?.as_ref().map(Scalar::text),
            Environment::List(list) => {
                list.iter().find_map(|item| item.split_once('=').filter(|(n, _)| *n == name)).map(|(_, v)| v.to_owned())
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Bool(bool),
    Number(i64),
    Float(f64),
    Text(String),
}

impl Scalar {
    fn text(&self) -> String {
        match self {
            Scalar::Bool(b) => b.to_string(),
            Scalar::Number(n) => n.to_string(),
            Scalar::Float(f) => f.to_string(),
            Scalar::Text(t) => t.clone(),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Port {
    Long { target: Scalar, published: Option<Scalar>, protocol: Option<String> },
    Short(Scalar),
}

impl Port {
    /// Host port and container port, if it is a UDP port published under a fixed number.
    fn udp(&self) -> Option<(u16, u16)> {
        match self {
            Port::Long { target, published, protocol } if protocol.as_deref() == Some("udp") => {
                Some((published.as_ref()?.text().parse().ok()?, target.text().parse().ok()?))
            }
            Port::Long { .. } => None,
            Port::Short(text) => {
                let text = text.text();
                let (ports, "udp") = text.rsplit_once('/')? else { return None };
                let mut parts = ports.rsplit(':');
                let target = parts.next()?.parse().ok()?;
                Some((parts.next()?.parse().ok()?, target))
            }
        }
    }
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
    fn into_container(self, host: &Host) -> Container {
        let stale = self.mounts.iter().filter(|mount| mount.source.ends_with(".conf"));
        let stale = stale.filter(|mount| {
            let inside = host.seen_by(self.state.pid, Path::new(&mount.destination));
            let outside = host.stat(Path::new(&mount.source)).ok().flatten().map(|stat| stat.id);
            inside.is_some() && inside != outside
        });
        Container {
            stale: stale.map(|mount| mount.source.clone()).collect(),
            compose_version: label_of(&self.config.labels, "version").to_owned(),
            config_hash: label_of(&self.config.labels, "config-hash").to_owned(),
            pid: self.state.pid,
            state: self.state.status,
            id: self.id,
        }
    }
}

/// The gateway's hash of the configuration as the files are now (FN-57).
pub fn config_hash(host: &Host, compose: &ComposeCommand, dir: &Path) -> Result<String> {
    let cmd = compose.call(dir, ["config", "--hash", "gateway"]);
    let out = host.query(&cmd)?.success(format!("'{cmd}'"))?;
    out.stdout
        .lines()
        .find_map(|line| line.trim().strip_prefix("gateway "))
        .map(|hash| hash.trim().to_owned())
        .ok_or_else(|| Error::unexpected(format!("'{cmd}' printed no hash")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generations_forms_of_a_configuration_are_read() {
        let v1 = "services:\n  gateway:\n    cap_add:\n    - NET_ADMIN\n    environment:\n      GATEWAY_ADDRESS: 10.8.3.2/24\n    image: gw:1\n    ports:\n    - 4567:4567/udp\n    - published: 8080\n      target: 80\nversion: '2.2'\n";
        let v2 = "name: mitigator\nservices:\n  gateway:\n    environment:\n      GATEWAY_ADDRESS: 10.8.3.2/24\n    image: gw:1\n    ports:\n      - mode: ingress\n        target: 4567\n        published: \"4567\"\n        protocol: udp\n  gateway-dataplane:\n    network_mode: host\nnetworks:\n  default:\n    name: x\n";
        for (yaml, dataplane) in [(v1, false), (v2, true)] {
            let resolved = parse_config(yaml).unwrap();
            let gateway = resolved.gateway.unwrap();
            assert_eq!(gateway.address.as_deref(), Some("10.8.3.2/24"));
            assert_eq!(gateway.published, BTreeMap::from([(4567, 4567)]));
            assert!(!gateway.host_network);
            assert_eq!(resolved.dataplane, dataplane);
        }
    }

    #[test]
    fn what_compose_quotes_from_env_is_left_out() {
        let env = b"TOKEN=\"s3cr3t-of-ours\nCOMPOSE_FILE=docker-compose.yml\n".to_vec();
        let said = "failed to read /srv/mitigator/.env: line 1: unterminated quoted value \"s3cr3t-of-ours for TOKEN";
        let told = without_secrets(said.into(), Some(env));
        assert!(told.contains("line 1: unterminated quoted value") && told.contains("TOKEN"), "{told}");
        assert!(!told.contains("s3cr3t"), "{told}");
    }

    #[test]
    fn a_configuration_without_a_gateway_says_so() {
        assert_eq!(parse_config("services:\n  web:\n    image: x\n").unwrap().gateway, None);
        assert!(parse_config("services: [").is_err());
    }
}
