//! The host that tests start from.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Clock, Docker, EnvFile, Facts, Firewall, InstanceFacts, InterfaceAddress, Kernel, ListedSuite, Machine, Net,
    NextKernel, Package, PackageFacts, Route, StackFacts, WireGuardSupport,
};
use crate::compose::{ComposeCommand, GatewayService, Generation, ResolvedConfig};
use crate::distro::OsRelease;
use crate::product::PRODUCT;

impl Facts {
    /// A fresh Debian 12 with the vendor's stack running and nothing of ours: every check passes.
    pub(crate) fn healthy() -> Facts {
        let gib = 1 << 30;
        let kernel = "6.1.0-13-amd64";
        let services = ["backend", PRODUCT.gateway.name].map(str::to_owned);
        let source = |suite: &str| ListedSuite {
            uri: "http://mirror.example/debian".into(),
            suite: suite.into(),
            fetched: true,
        };
        Facts {
            journal: None,
            live: true,
            os: OsRelease {
                id: "debian".into(),
                id_like: Vec::new(),
                version_id: "12".into(),
                codename: "bookworm".into(),
                parent_codename: None,
                pretty_name: "Debian GNU/Linux 12 (bookworm)".into(),
            },
            machine: Machine {
                arch: "x86_64".into(),
                is_root: true,
                memory: Some(16 * gib),
                memory_available: Some(8 * gib),
                free_space: ["/srv/mitigator", "/var", "/usr", "/boot"].map(|p| (p.to_owned(), 20 * gib)).into(),
                container: None,
                systemd: true,
                reboot_required: false,
            },
            kernel: Kernel {
                release: kernel.into(),
                wireguard: WireGuardSupport::Loadable,
                next: Some(NextKernel { release: kernel.into(), wireguard: true }),
                secure_boot: Some(false),
                autoload: false,
                tun: true,
            },
            packages: PackageFacts {
                apt: true,
                apt_version: "2.6.1".into(),
                known: BTreeMap::from([
                    (
                        "wireguard-tools".into(),
                        Package { installed: None, candidate: Some("1.0.20210914-1+b1".into()) },
                    ),
                    ("wireguard-go".into(), Package::default()),
                ]),
                sources: Ok(vec![source("bookworm"), source("bookworm-updates")]),
                mirror: Some("http://mirror.example/debian".into()),
                lists_age: Some(3600),
                ..PackageFacts::default()
            },
            docker: Docker {
                present: true,
                daemon: Ok("20.10.24".into()),
                networks: BTreeMap::from([("bridge".into(), vec!["172.17.0.0/16".into()])]),
                ..Docker::default()
            },
            stack: StackFacts {
                commands: vec![ComposeCommand {
                    words: vec!["docker".into(), "compose".into()],
                    generation: Generation::V2,
                    version: "2.26.1".into(),
                }],
                config: Some(Ok(ResolvedConfig {
                    services: BTreeSet::from(services),
                    gateway: Some(GatewayService {
                        image: "registry.example/gateway:v21".into(),
                        published: BTreeMap::from([(4567, 4567)]),
                        ..GatewayService::default()
                    }),
                    ..ResolvedConfig::default()
                })),
                ..StackFacts::default()
            },
            instance: InstanceFacts {
                dir_exists: true,
                env: EnvFile { exists: true, ..EnvFile::default() },
                compose_files: BTreeSet::from([PRODUCT.files.base.to_owned()]),
                ..InstanceFacts::default()
            },
            net: Net {
                down: BTreeSet::new(),
                addresses: vec![InterfaceAddress {
                    interface: "eth0".into(),
                    address: [192, 0, 2, 1].into(),
                    prefix: 24,
                }],
                routes: vec![
                    Route { network: [0, 0, 0, 0].into(), prefix: 0, device: "eth0".into() },
                    Route { network: [192, 0, 2, 0].into(), prefix: 24, device: "eth0".into() },
                ],
                udp: Vec::new(),
            },
            firewall: Firewall::default(),
            clock: Clock { synchronised: Some(true), today: "2026-11-22".into() },
            unread: Vec::new(),
        }
    }
}
