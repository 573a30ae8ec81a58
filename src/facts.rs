//! What there is to know about a host, read once, before anything is decided.
//!
//! [`Facts::gather`] does all the reading, side by side; everything after it is a pure function of the result. Facts
//! are plain data: a host can be recorded as JSON and replayed in a test. They never hold a secret; of a private key
//! they know the public half, of `.env` the keys this program owns.
//!
//! `Result<T, String>` in here means: either known, or the reason why it can't be known. Each room fills one part:
//! `pub fn gather(host: &Host, …) -> Part`, with pure parsers beside it.

pub mod clock;
pub mod docker;
pub mod firewall;
#[cfg(test)]
mod healthy;
pub mod instance;
pub mod kernel;
pub mod machine;
pub mod net;
pub mod os;
pub mod packages;
pub mod stack;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::thread;

use serde::{Deserialize, Serialize};

use crate::compose::dotenv::Oddity;
use crate::distro::Distro;
use crate::host::Host;
use crate::settings::Settings;
use crate::wireguard::PublicKey;

/// Everything that was read from one host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Whether this is a running host; a mounted tree has files only.
    pub live: bool,
    /// The release, as os-release names it.
    pub os: Os,
    /// The machine and who we are on it.
    pub machine: Machine,
    /// The kernel and what it can do.
    pub kernel: Kernel,
    /// apt and dpkg.
    pub packages: Packages,
    /// The Docker daemon.
    pub docker: Docker,
    /// The compose command and what it makes of this instance.
    pub stack: Stack,
    /// The files in the instance's directory.
    pub instance: Instance,
    /// Addresses, routes, ports.
    pub net: Net,
    /// The live packet filter.
    pub firewall: Firewall,
    /// The clock.
    pub clock: Clock,
}

impl Facts {
    /// Reads everything, side by side; nothing here fails, what can't be known says so. The release comes first, for
    /// it names the packages to ask about.
    pub fn gather(host: &Host, settings: &Settings) -> (Facts, Result<Distro, String>) {
        let os = os::gather(host);
        let distro = os.as_ref().map_err(ToString::to_string).and_then(Distro::detect);
        let known = distro.as_ref().ok();
        let facts = thread::scope(|scope| {
            let stack = scope.spawn(|| stack::gather(host, settings));
            let packages = scope.spawn(|| packages::gather(host, known));
            let docker = scope.spawn(|| docker::gather(host));
            let firewall = scope.spawn(|| firewall::gather(host, settings));
            let clock = scope.spawn(|| clock::gather(host));
            let kernel = scope.spawn(|| kernel::gather(host));
            let machine = scope.spawn(|| machine::gather(host, settings));
            Facts {
                live: host.is_live(),
                os: os.unwrap_or_default(),
                instance: instance::gather(host, settings),
                net: net::gather(host),
                machine: joined(machine),
                kernel: joined(kernel),
                clock: joined(clock),
                firewall: joined(firewall),
                docker: joined(docker),
                packages: joined(packages),
                stack: joined(stack),
            }
        });
        (facts, distro)
    }
}

/// What a reader found; its panic is ours.
fn joined<T>(reader: thread::ScopedJoinHandle<'_, T>) -> T {
    reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// os-release, cleaned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Os {
    /// `ID`, lower case: `debian`.
    pub id: String,
    /// `ID_LIKE`, split at spaces.
    pub id_like: Vec<String>,
    /// `VERSION_ID`; empty on rolling releases.
    pub version_id: String,
    /// `VERSION_CODENAME`.
    pub codename: String,
    /// `UBUNTU_CODENAME` or `DEBIAN_CODENAME` of a derivative.
    pub parent_codename: Option<String>,
    /// `PRETTY_NAME`.
    pub pretty_name: String,
}

/// The machine and who we are on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// `uname -m`.
    pub arch: String,
    /// Whether the effective user is root.
    pub is_root: bool,
    /// Memory in bytes; `None` where it can't be known (a chroot without /proc).
    pub memory: Option<u64>,
    /// Memory available now, in bytes.
    pub memory_available: Option<u64>,
    /// Free bytes by mount of interest: the instance's directory, `/var`, `/boot`, `/usr`.
    pub free_space: BTreeMap<String, u64>,
    /// `systemd-detect-virt --container`: `lxc`, `docker`, `openvz`, `wsl`; `None` on metal and in VMs.
    pub container: Option<String>,
    /// Whether systemd runs as pid 1.
    pub systemd: bool,
    /// A reboot the packages already ask for (`/run/reboot-required`).
    pub reboot_required: bool,
}

/// The kernel and what it can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// `uname -r`; empty in a mounted tree, which has no running kernel.
    pub release: String,
    /// What the running kernel says about WireGuard; of a mounted tree, what its newest kernel will.
    pub wireguard: WireGuardSupport,
    /// The newest installed kernel, which the next boot takes, and whether it has a wireguard module or built-in.
    pub next: Option<NextKernel>,
    /// Whether the kernel takes signed modules only, because UEFI Secure Boot is on; `None` where it can't be read.
    pub secure_boot: Option<bool>,
    /// Whether `modules-load.d` or `/etc/modules` already names wireguard.
    pub autoload: bool,
    /// Whether this kernel has /dev/net/tun, which a userspace WireGuard needs.
    pub tun: bool,
}

/// How the running kernel stands to WireGuard: capability, never version (FN-14, FN-16).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WireGuardSupport {
    /// Compiled in (`modules.builtin`), or a probe link came up without any module.
    BuiltIn,
    /// The module is loaded (`/sys/module/wireguard`).
    Loaded,
    /// A module for this kernel is there, not loaded yet (`modinfo -k`).
    Loadable,
    /// No module for this kernel.
    #[default]
    Missing,
    /// A module is there, loading it is refused; the kernel's words.
    Refused(String),
}

impl WireGuardSupport {
    /// Whether a link of type wireguard can be made now or after `modprobe`.
    pub fn usable(&self) -> bool {
        matches!(self, Self::BuiltIn | Self::Loaded | Self::Loadable)
    }
}

/// The kernel the next boot takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextKernel {
    /// Its release.
    pub release: String,
    /// Whether it has WireGuard as module or built in.
    pub wireguard: bool,
}

/// apt and dpkg.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    /// Whether apt-get and dpkg are there at all.
    pub apt: bool,
    /// apt's version, for features it lacks.
    pub apt_version: String,
    /// The state of every package the release's data names.
    pub known: BTreeMap<String, Package>,
    /// Who holds the dpkg or apt lock: `unattended-upgr (pid 812)`.
    pub lock_holder: Option<String>,
    /// Packages that are half-installed or half-configured, and their state: `wireguard-dkms`, `iF`.
    pub broken: BTreeMap<String, String>,
    /// Whether dpkg was cut off in the middle of a run; apt then refuses to work.
    pub interrupted: bool,
    /// Where packages come from, in the order apt reads it; or apt's words about why it can't read it.
    pub sources: Result<Vec<Source>, String>,
    /// The mirror the host's own configuration uses: the address of its first source of this release.
    pub mirror: Option<String>,
    /// Seconds since package lists were last fetched; `None` when there are none.
    pub lists_age: Option<u64>,
}

impl Default for Packages {
    fn default() -> Self {
        Packages {
            apt: false,
            apt_version: String::new(),
            known: BTreeMap::new(),
            lock_holder: None,
            broken: BTreeMap::new(),
            interrupted: false,
            sources: Ok(Vec::new()),
            mirror: None,
            lists_age: None,
        }
    }
}

impl Packages {
    /// Whether a package is installed.
    pub fn installed(&self, name: &str) -> bool {
        self.known.get(name).is_some_and(|p| p.installed.is_some())
    }

    /// Whether a package is installed or apt knows where to get it.
    pub fn obtainable(&self, name: &str) -> bool {
        self.known.get(name).is_some_and(|p| p.installed.is_some() || p.candidate.is_some())
    }
}

/// One suite of one archive among apt's sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The archive's address, without a user or password that may stand in it.
    pub uri: String,
    /// The suite, `bookworm-updates`.
    pub suite: String,
    /// Whether apt has fetched its lists.
    pub fetched: bool,
}

/// One package as dpkg and apt see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// The installed version, if it is installed and configured.
    pub installed: Option<String>,
    /// The version apt would install; not asked for where nothing needs the package.
    pub candidate: Option<String>,
}

/// The Docker daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Docker {
    /// Whether a `docker` program is there.
    pub present: bool,
    /// Whether it comes from snap, which can't bind /srv (FN-39).
    pub snap: bool,
    /// The daemon's version, or why it doesn't answer.
    pub daemon: Result<String, String>,
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
            daemon: Err("no docker program".into()),
            networks: BTreeMap::new(),
            pools: Vec::new(),
        }
    }
}

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

/// The files in the instance's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Whether the directory exists.
    pub dir_exists: bool,
    /// vpn-public.conf.
    pub public_conf: TextFile,
    /// vpn-private.conf, without its secret.
    pub private_conf: PrivateFile,
    /// `.env`.
    pub env: EnvFile,
    /// docker-compose.vpn.yml.
    pub overlay: TextFile,
    /// Whether docker-compose.yml is the default stack's own. The text of a vendor's is none of our business.
    pub default_stack: bool,
    /// Which `docker-compose*.yml`/`compose*.yaml` names exist in the directory, and which of the names in COMPOSE_FILE.
    pub compose_files: BTreeSet<String>,
    /// Files whose last write was cut off and waits for completion.
    pub interrupted: Vec<String>,
    /// Why the directory can't be written (a read-only file system, say); `None` when it can.
    pub unwritable: Option<String>,
}

/// A text file, or why it isn't one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextFile {
    /// Nothing there.
    #[default]
    Absent,
    /// Its content.
    Text(String),
    /// It can't be used: the reason, and whether it is a directory (FN-38).
    Unusable {
        /// The reason.
        reason: String,
        /// Docker makes a directory where a mount source is missing.
        directory: bool,
    },
}

/// vpn-private.conf, without its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrivateFile {
    /// Nothing there.
    #[default]
    Absent,
    /// A usable key.
    Present {
        /// The public half of the key in it.
        public: PublicKey,
        /// `ListenPort`, if the file names one.
        port: Option<u16>,
        /// Permission bits.
        mode: u32,
        /// The file's text with the private key cut out (see `wireguard::PrivateConf`).
        template: String,
    },
    /// It can't be used.
    Unusable {
        /// The reason, which never quotes the file.
        reason: String,
        /// Docker makes a directory where a mount source is missing.
        directory: bool,
    },
}

/// `.env`, as far as this program owns it. Other keys are never read into facts: they may be secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvFile {
    /// Whether the file exists.
    pub exists: bool,
    /// Why it can't be read at all.
    pub problem: Option<String>,
    /// What compose refuses in it, skips, or reads differently in v1 and v2.
    #[serde(default)]
    pub oddities: Vec<Oddity>,
    /// The raw lines of the same keys as `values`.
    pub lines: BTreeMap<String, String>,
    /// Values of `COMPOSE_FILE`, `COMPOSE_PATH_SEPARATOR`, `COMPOSE_PROJECT_NAME` and every `MITIGATOR_VPN_*`.
    pub values: BTreeMap<String, String>,
}

/// Addresses, routes, ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Net {
    /// Interface addresses: interface name, address, prefix length.
    pub addresses: Vec<InterfaceAddress>,
    /// IPv4 routes: destination as CIDR (`default` is `0.0.0.0/0`), and device.
    pub routes: Vec<Route>,
    /// Who listens on which UDP port.
    pub udp: Vec<UdpListener>,
}

/// One address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterfaceAddress {
    /// The interface.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// Its prefix length.
    pub prefix: u8,
}

/// One IPv4 route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Network address.
    pub network: Ipv4Addr,
    /// Prefix length.
    pub prefix: u8,
    /// Outgoing interface.
    pub device: String,
}

/// A bound UDP port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UdpListener {
    /// The local address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The process, `galera (pid 812)`; `None` for the kernel's own sockets, such as WireGuard's.
    pub process: Option<String>,
}

/// The live packet filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firewall {
    /// Every place that drops packets to a port of the VPN, or would without a rule of ours. Usually none or one.
    pub filters: Vec<Filter>,
    /// Native nftables chains that drop forwarded packets, and with them what Docker publishes: `inet filter forward`.
    pub forward: Vec<String>,
    /// Front ends that are installed and switched off.
    pub inactive: Vec<Backend>,
    /// Oddities worth a warning: legacy and nft tables both in use, say (FN-24).
    pub notes: Vec<String>,
    /// Why the packet filter can't be read in full.
    pub unknown: Option<String>,
}

/// One place that drops packets to a port of the VPN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// What it belongs to.
    pub backend: Backend,
    /// Where a rule of ours has to stand: `inet filter input` for nftables, `iptables-nft INPUT` for iptables, a zone
    /// for firewalld; ufw knows by itself.
    pub place: String,
    /// The interfaces it is about; none named means all, or all that no other zone names.
    pub interfaces: BTreeSet<String>,
    /// The VPN's ports that it drops for IPv4, rules of ours left out of account.
    pub drops_ipv4: BTreeSet<u16>,
    /// The same for IPv6.
    pub drops_ipv6: BTreeSet<u16>,
    /// Rules that carry our tag: port, and how many.
    pub ours: BTreeMap<u16, usize>,
}

/// What filters incoming packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// ufw.
    Ufw,
    /// firewalld.
    Firewalld,
    /// A native nftables base chain on the input hook.
    Nftables,
    /// The INPUT chain of iptables' nft variant.
    IptablesNft,
    /// The INPUT chain of iptables-legacy.
    IptablesLegacy,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::Ufw => "ufw",
            Backend::Firewalld => "firewalld",
            Backend::Nftables => "nftables",
            Backend::IptablesNft => "iptables (nft)",
            Backend::IptablesLegacy => "iptables (legacy)",
        })
    }
}

/// The clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// Whether something keeps the kernel's clock right (`adjtimex`); `None` where unknown.
    pub synchronised: Option<bool>,
    /// Today by this clock, `2026-11-22`; empty where unknown.
    pub today: String,
}
