//! Instances on a wire, without containers: namespaces stand in for them.

use std::fs::{self, File};
use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mitigator_vpn::wireguard::PrivateKey;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{has_program, is_root};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_mitigator-vpn");

/// What a container's start does before it runs the gateway: directories of its own, and each file bound by itself,
/// as Docker binds it. `$1` is the instance's directory.
const CONTAINER: &str = r#"
set -e
mount -t tmpfs none /run
mount -t tmpfs none /srv
for file in public private; do
  if [ -e "$1/vpn-$file.conf" ]; then
    : >/srv/$file.conf
    mount --bind "$1/vpn-$file.conf" /srv/$file.conf
  fi
done
ip link set lo up
shift
exec "$@"
"#;

/// Whether this machine can do it; says that the test is skipped if not.
pub fn possible() -> bool {
    is_root() && ["ip", "unshare", "nsenter", "ping", "wireguard-go"].into_iter().all(has_program)
}

/// Runs a command to its end, which must be a good one.
pub fn must(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Everything a process wrote.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Waits until `what` holds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A switch that instances are plugged into.
pub struct Wire {
    name: String,
    plugs: AtomicU32,
}

impl Wire {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("mvpn-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        must(Command::new("ip").args(["netns", "add", &name]));
        let wire = Wire { name, plugs: AtomicU32::new(0) };
        wire.ip("link add br0 type bridge");
        wire.ip("link set br0 up");
        wire
    }

    /// Gives the process a network card `eth0` with the instance's outer address. It knows the others' cards: a first
    /// packet that waits for ARP crosses the other's, and WireGuard then waits 5 seconds for its second try.
    fn plug_in(&self, pid: Pid, number: u8) {
        let plug = format!("plug{}", self.plugs.fetch_add(1, Ordering::Relaxed));
        let card = |number| format!("02:00:00:00:00:{number:02x}");
        self.ip(&format!("link add {plug} type veth peer name eth0 address {} netns {pid}", card(number)));
        self.ip(&format!("link set {plug} master br0 up"));
        let mut commands = format!("addr add 192.0.2.{number}/24 dev eth0\nlink set eth0 up\n");
        for other in (1..=9).filter(|other| *other != number) {
            commands += &format!("neigh add 192.0.2.{other} lladdr {} dev eth0\n", card(other));
        }
        let batch = tempfile::NamedTempFile::new().unwrap();
        fs::write(&batch, commands).unwrap();
        let inside = ["--target", &pid.to_string(), "--net", "ip", "-batch"];
        must(Command::new("nsenter").args(inside).arg(batch.path()));
    }

    /// Plugs this machine's own network in, until the wire goes.
    pub fn plug_in_this_machine(&self, address: &str) {
        let plug = format!("mvpn-h{}", std::process::id() % 100_000);
        self.ip(&format!("link add host type veth peer name {plug} netns {}", std::process::id()));
        self.ip("link set host master br0 up");
        must(Command::new("ip").args(["addr", "add", address, "dev", &plug]));
        must(Command::new("ip").args(["link", "set", &plug, "up"]));
    }

    fn ip(&self, words: &str) {
        must(Command::new("ip").args(["-n", &self.name]).args(words.split(' ')));
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// One instance: its two files, and the gateway when it runs.
pub struct Instance {
    pub number: u8,
    pub key: PrivateKey,
    pub dir: tempfile::TempDir,
    gateway: Option<Gateway>,
}

struct Gateway {
    /// unshare(1), which ends with the gateway's exit code.
    outer: Child,
    /// The gateway itself, the first process of its own process namespace.
    inner: Pid,
}

impl Instance {
    pub fn new(number: u8) -> Self {
        Self::with_key(number, PrivateKey::generate())
    }

    pub fn with_key(number: u8, key: PrivateKey) -> Self {
        let instance = Instance { number, key, dir: tempfile::tempdir().unwrap(), gateway: None };
        instance.write_private(4567);
        instance
    }

    /// As many as are asked for, each with the list of all.
    pub fn cluster(count: u8) -> Vec<Instance> {
        let instances: Vec<Instance> = (1..=count).map(Instance::new).collect();
        instances.iter().for_each(|instance| instance.write_public(&list(&instances)));
        instances
    }

    pub fn vpn_address(&self) -> String {
        format!("10.8.3.{}", self.number)
    }

    pub fn section(&self) -> String {
        let Instance { number, key, .. } = self;
        format!(
            "[Peer]\nPublicKey = {}\nAllowedIPs = 10.8.3.{number}/32\nEndpoint = 192.0.2.{number}:4567\n",
            key.public()
        )
    }

    pub fn public_conf(&self) -> PathBuf {
        self.dir.path().join("vpn-public.conf")
    }

    /// In place, as the installer writes a file that a gateway holds (FN-40).
    pub fn write_public(&self, text: &str) {
        fs::write(self.public_conf(), text).unwrap();
    }

    pub fn write_private(&self, port: u16) {
        let text = format!("[Interface]\nListenPort = {port}\nPrivateKey = {}\n", &*self.key.expose());
        fs::write(self.dir.path().join("vpn-private.conf"), text).unwrap();
    }

    /// Starts the gateway and waits until it is up.
    pub fn up(&mut self, wire: &Wire) {
        self.start(wire, Some(&format!("10.8.3.{}/24", self.number)));
        wait_until("the gateway is up", || {
            assert!(self.alive(), "the gateway has ended: {}", self.log());
            self.log().contains("is up")
        });
    }

    /// Starts the gateway and plugs it in.
    pub fn start(&mut self, wire: &Wire, address: Option<&str>) {
        assert!(self.gateway.is_none());
        let log = File::create(self.dir.path().join("log")).unwrap();
        let mut outer = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", &format!("read -r plugged_in\n{CONTAINER}"), "container"])
            .arg(self.dir.path())
            .args([BINARY, "gateway", "run"])
            .envs(address.map(|address| ("GATEWAY_ADDRESS", address)))
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut inner = None;
        let children = format!("/proc/{0}/task/{0}/children", outer.id());
        wait_until("unshare has forked", || {
            inner = fs::read_to_string(&children).ok().and_then(|pids| pids.trim().parse().ok());
            inner.is_some()
        });
        let inner = Pid::from_raw(inner.unwrap());
        wire.plug_in(inner, self.number);
        outer.stdin.take().unwrap().write_all(b"now\n").unwrap();
        self.gateway = Some(Gateway { outer, inner });
    }

    /// A command in the instance's namespaces, the way `docker exec` runs one.
    pub fn inside(&self, program: &str) -> Command {
        let inner = self.gateway.as_ref().expect("the gateway runs").inner;
        let mut command = Command::new("nsenter");
        command.args(["--target", &inner.to_string(), "--net", "--mount", "--pid", "--", program]);
        command.env("LC_ALL", "C.UTF-8");
        command
    }

    /// The instance's network, which stays as long as this does.
    pub fn network(&self) -> File {
        File::open(format!("/proc/{}/ns/net", self.pid())).unwrap()
    }

    /// A plain socket in the instance's network.
    pub fn bind_udp(&self, port: u16) -> UdpSocket {
        let network = self.network();
        // A thread goes into that network and ends there; its socket stays.
        let bind = move || {
            setns(network, CloneFlags::CLONE_NEWNET).unwrap();
            UdpSocket::bind(("0.0.0.0", port)).unwrap()
        };
        std::thread::spawn(bind).join().unwrap()
    }

    pub fn reconfigure(&self) -> Output {
        self.inside(BINARY).args(["gateway", "reconfigure"]).output().unwrap()
    }

    pub fn status(&self) -> serde_json::Value {
        let text = must(self.inside(BINARY).args(["gateway", "status", "--json"]));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// The VPN addresses of its live peers.
    pub fn peers(&self) -> Vec<String> {
        let status = self.status();
        let peers = status["peers"].as_array().unwrap().iter();
        peers.map(|peer| peer["address"].as_str().unwrap_or("none").to_owned()).collect()
    }

    /// Whether pings over the tunnel come back, WireGuard's second try at a handshake included.
    pub fn reaches(&self, other: &Instance) -> bool {
        (0..10).any(|_| self.pings(&other.vpn_address()))
    }

    /// Whether a single ping comes back.
    pub fn pings(&self, address: &str) -> bool {
        let mut ping = self.inside("ping");
        ping.args(["-c", "1", "-W", "1", "-q", address]).output().unwrap().status.success()
    }

    /// Fifty pings a second, for so long.
    pub fn ping_steadily(&self, other: &Instance, seconds: u32) -> Child {
        let count = (seconds * 50).to_string();
        let mut ping = self.inside("ping");
        ping.args(["-i", "0.02", "-c", &count, "-q", &other.vpn_address()]).stdout(Stdio::piped()).spawn().unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    pub fn pid(&self) -> Pid {
        self.gateway.as_ref().expect("the gateway runs").inner
    }

    fn alive(&mut self) -> bool {
        let gateway = self.gateway.as_mut().expect("the gateway runs");
        gateway.outer.try_wait().unwrap().is_none()
    }

    /// Sends the gateway a signal and waits for its end: the exit code, and how long it took.
    pub fn stop(&mut self, signal: Signal) -> (i32, Duration) {
        let begin = Instant::now();
        kill(self.pid(), signal).unwrap();
        let code = self.ended();
        (code, begin.elapsed())
    }

    /// Waits for the gateway's end: its exit code, or the negative number of the signal that ended it.
    pub fn ended(&mut self) -> i32 {
        let mut status = None;
        wait_until("the gateway has ended", || {
            status = self.gateway.as_mut().expect("the gateway runs").outer.try_wait().unwrap();
            status.is_some()
        });
        self.gateway = None;
        let status = status.unwrap();
        status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(mut gateway) = self.gateway.take() {
            // --kill-child takes the whole process namespace along.
            let _ = gateway.outer.kill();
            let _ = gateway.outer.wait();
            if std::thread::panicking() {
                eprintln!("--- log of instance {}:\n{}", self.number, self.log());
            }
        }
    }
}

/// The public list with these members.
pub fn list<'a>(members: impl IntoIterator<Item = &'a Instance>) -> String {
    members.into_iter().map(Instance::section).collect::<Vec<_>>().join("\n")
}

/// The processes of this program name whose network is the gateway's.
pub fn neighbours(gateway: Pid, name: &str) -> Vec<Pid> {
    let network = |pid: &str| fs::read_link(Path::new("/proc").join(pid).join("ns/net")).ok();
    let own = network(&gateway.to_string());
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    pids.filter(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name))
        .filter(|pid| own.is_some() && network(pid) == own)
        .filter_map(|pid| pid.parse().ok().map(Pid::from_raw))
        .collect()
}
