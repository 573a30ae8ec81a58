//! The configuration that compose resolves an instance's files to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{ComposeCommand, InstalledCompose};
use crate::error::{Error, Result};
use crate::host::{Cmd, Host};
use crate::message;
use crate::message::Message;
use crate::product::{InstanceLayout, PRODUCT};

/// What compose resolves the instance to, as far as the VPN is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolvedConfig {
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
    /// The image.
    pub image: String,
    /// `GATEWAY_ADDRESS` in its environment.
    pub address: Option<String>,
    /// Whether it has the host's network (`network_mode: host`).
    pub host_network: bool,
    /// Published UDP ports: host port to container port.
    pub published: BTreeMap<u16, u16>,
}

/// What the `config` command of a compose makes of the instance in `dir`. The reason of a failure quotes no value of
/// `.env`.
pub(crate) fn resolve(host: &Host, compose: &InstalledCompose, dir: &Path) -> Result<ResolvedConfig, Message> {
    let yaml = printed_by(host, &compose.call("config").dir(dir), dir).map_err(|error| Message::from(&error))?;
    parse_config(&yaml).map_err(|error| {
        let reason = without_values(&error.to_string(), &env_of(host, dir));
        message!("the resolved compose configuration can't be read: {reason}", reason)
    })
}

/// The gateway's hash of the configuration as the files are now (FN-57).
pub(crate) fn config_hash(host: &Host, compose: &ComposeCommand, dir: &Path) -> Result<String> {
    let cmd = compose.call(dir, ["config", "--hash", PRODUCT.gateway.name]);
    let printed = printed_by(host, &cmd, dir)?;
    printed
        .lines()
        .find_map(|line| line.trim().strip_prefix(PRODUCT.gateway.name)?.strip_prefix(' '))
        .map(|hash| hash.trim().to_owned())
        .ok_or_else(|| Error::unexpected(message!("'{command}' printed no hash", command = &cmd)))
}

fn printed_by(host: &Host, cmd: &Cmd, dir: &Path) -> Result<String> {
    let mut out = host.query(cmd)?;
    if !out.ok() {
        let env = env_of(host, dir);
        out.stdout = without_values(&out.stdout, &env);
        out.stderr = without_values(&out.stderr, &env);
    }
    Ok(out.success(format!("'{cmd}'"))?.stdout)
}

fn env_of(host: &Host, dir: &Path) -> Vec<u8> {
    host.read(&InstanceLayout::new(dir).env()).ok().flatten().unwrap_or_default()
}

/// What compose printed, without the values of `.env`: v2 quotes a line it can't read, and a failed interpolation shows
/// the value.
pub(crate) fn without_values(printed: &str, env: &[u8]) -> String {
    let env = String::from_utf8_lossy(env);
    let pieces = env.split(|c: char| c.is_whitespace() || "\"'=$#{}".contains(c));
    let mut pieces: Vec<&str> = pieces.filter(|piece| piece.len() >= 4 && !is_public_word(piece)).collect();
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
    pieces.into_iter().fold(printed.to_owned(), |printed, piece| printed.replace(piece, "…"))
}

/// Names of variables and of compose files are no secrets.
fn is_public_word(piece: &str) -> bool {
    piece.chars().all(|c| c.is_ascii_uppercase() || c == '_') || piece.contains(".yml") || piece.contains(".yaml")
}

/// Reads the part of a resolved configuration that matters to the VPN. Both generations print YAML.
pub(crate) fn parse_config(yaml: &str) -> Result<ResolvedConfig, serde_saphyr::Error> {
    let config: Config = serde_saphyr::from_str(yaml)?;
    let services: BTreeSet<String> = config.services.keys().cloned().collect();
    let gateway = config.services.get(PRODUCT.gateway.name).map(|service| GatewayService {
        image: service.image.clone().unwrap_or_default(),
        address: service.environment.as_ref().and_then(|env| env.get(PRODUCT.address_variable)),
        host_network: service.network_mode.as_deref() == Some("host"),
        published: service.ports.iter().filter_map(Port::udp).collect(),
    });
    Ok(ResolvedConfig { dataplane: services.contains(PRODUCT.dataplane.name), services, gateway })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_both_generations_is_read() {
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
        let env = b"TOKEN=\"s3cr3t-of-ours\nCOMPOSE_FILE=docker-compose.yml\n";
        let said = "failed to read /srv/mitigator/.env: line 1: unterminated quoted value \"s3cr3t-of-ours for TOKEN";
        let shown = without_values(said, env);
        assert!(shown.contains("line 1: unterminated quoted value") && shown.contains("TOKEN"), "{shown}");
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }

    #[test]
    fn a_configuration_without_a_gateway_has_none() {
        assert_eq!(parse_config("services:\n  web:\n    image: x\n").unwrap().gateway, None);
        assert!(parse_config("services: [").is_err());
    }
}
