//! The image, loaded into a real Docker daemon, with the two ways a stack can expose the port: published by Docker on
//! a bridge, and the host's own network. The other member is an instance outside Docker, as on another host.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use mitigator_vpn::gateway::image::{self, Image, Ingredients};
use mitigator_vpn::gateway::stack;
use mitigator_vpn::host::Host;
use mitigator_vpn::resource::{GatewayImage, Presence, Resource};
use mitigator_vpn::wireguard::PrivateKey;
use serde_json::Value;

use super::wire::{BINARY, Instance, Wire, must, possible, said, wait_until};
use crate::support::{has_program, skip};

/// A port that nobody uses on the machine that runs the tests: theirs is the host's own network.
const PORT: u16 = 24567;

/// This machine's address on the wire, from a network for documentation.
const HOST: &str = "198.51.100.1";

/// The tests share the host's network, and its port.
static HOST_NETWORK: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    HOST_NETWORK.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn docker(arguments: &[&str]) -> Output {
    Command::new("docker").args(arguments).output().unwrap()
}

fn docker_answers() -> bool {
    if !possible() || !has_program("docker") {
        return false;
    }
    let answers = docker(&["info"]).status.success();
    if !answers {
        skip("no Docker daemon answers");
    }
    answers
}

/// The image of the binary under test, in the daemon for as long as this lives.
struct Loaded(String);

impl Loaded {
    fn new() -> Self {
        let executable = std::env::var_os("MITIGATOR_VPN_TEST_BIN").map_or(PathBuf::from(BINARY), PathBuf::from);
        let host = Host::live();
        let ingredients = Ingredients { executable, userspace: host.program("wireguard-go").unwrap() };
        let image = Image::new(&host, &ingredients).unwrap();
        let mut load = Command::new("docker").arg("load").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        image.write(&mut load.stdin.take().unwrap(), image.reference()).unwrap();
        let output = load.wait_with_output().unwrap();
        assert!(said(&output).contains(image.reference()), "{}", said(&output));
        Loaded(image.reference().to_owned())
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        docker(&["image", "rm", &self.0]);
    }
}

/// A gateway in a container of its own.
struct Container {
    name: String,
    dir: tempfile::TempDir,
}

impl Container {
    fn start(image: &Loaded, key: &PrivateKey, list: &str, options: &[&str]) -> Self {
        let container =
            Container { name: format!("mvpn-gateway-{}", std::process::id()), dir: tempfile::tempdir().unwrap() };
        let private = format!("[Interface]\nListenPort = {PORT}\nPrivateKey = {}\n", &*key.expose());
        fs::write(container.dir.path().join("private.conf"), private).unwrap();
        fs::write(container.dir.path().join("public.conf"), list).unwrap();
        let mut run = Command::new("docker");
        run.args(["run", "--detach", "--name", &container.name, "--cap-add", "NET_ADMIN", "--device", "/dev/net/tun"]);
        for file in ["public.conf", "private.conf"] {
            run.arg("--volume").arg(format!("{}:/srv/{file}:ro", container.dir.path().join(file).display()));
        }
        must(run.args(["--env", "GATEWAY_ADDRESS=10.8.3.1/24"]).args(options).arg(&image.0));
        wait_until("the gateway is up", || {
            let log = container.log();
            assert!(!log.contains("error:"), "{log}");
            log.contains("is up")
        });
        container
    }

    fn log(&self) -> String {
        said(&docker(&["logs", &self.name]))
    }

    fn exec(&self, words: &str) -> Output {
        let words: Vec<&str> = ["exec", &self.name].into_iter().chain(words.split(' ')).collect();
        docker(&words)
    }

    fn status(&self) -> Value {
        let output = self.exec("gateway status --json");
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn state(&self, what: &str) -> String {
        must(Command::new("docker").args(["inspect", "--format", &format!("{{{{.State.{what}}}}}"), &self.name]))
            .trim()
            .to_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the container:\n{}", self.log());
        }
        docker(&["rm", "--force", &self.name]);
    }
}

/// A member on another host, and the list of the two. The other one is not the first to speak: its way to us has to
/// be open by itself.
fn other_host(wire: &Wire, key: &PrivateKey) -> (Instance, String) {
    wire.plug_in_this_machine(&format!("{HOST}/24"));
    let mut other = Instance::new(2);
    let list = format!(
        "[Peer]\nPublicKey = {}\nAllowedIPs = 10.8.3.1/32\nEndpoint = {HOST}:{PORT}\n\n{}",
        key.public(),
        other.section().replace("192.0.2.2", "198.51.100.2")
    );
    other.write_public(&list);
    other.up(wire);
    must(other.inside("ip").args(["addr", "add", "198.51.100.2/24", "dev", "eth0"]));
    (other, list)
}

fn reach_each_other(container: &Container, other: &Instance) {
    // Far less than the 15 seconds after which a member doubts the session it had before a restart.
    let deadline = Instant::now() + Duration::from_secs(5);
    while !other.pings("10.8.3.1") {
        assert!(Instant::now() < deadline, "no ping comes back: {}", container.status());
    }
    let peer = &container.status()["peers"][0];
    assert!(peer["handshake_age"].as_u64().is_some_and(|age| age < 60), "{peer}");
    assert_eq!(peer["address"], "10.8.3.2");
}

#[test]
fn a_gateway_with_a_published_port_reaches_another_host() {
    if !docker_answers() {
        return;
    }
    let _alone = alone();
    let (image, wire, key) = (Loaded::new(), Wire::new(), PrivateKey::generate());
    let (other, list) = other_host(&wire, &key);
    let container = Container::start(&image, &key, &list, &["--publish", &format!("{PORT}:{PORT}/udp")]);
    reach_each_other(&container, &other);

    // The contract's own command, and a list that grew in place.
    let third = Instance::new(3);
    let public = container.dir.path().join("public.conf");
    fs::write(&public, format!("{list}\n{}", third.section())).unwrap();
    let output = container.exec("reconfigure");
    assert!(output.status.success() && said(&output).contains("1 peer added"), "{}", said(&output));
    assert_eq!(container.status()["peers"].as_array().unwrap().len(), 2);

    // A list that was replaced: seen as stale, and mended by the restart that is advised (FN-40).
    let beside = container.dir.path().join("new");
    fs::write(&beside, &list).unwrap();
    fs::rename(&beside, &public).unwrap();
    let output = container.exec("reconfigure");
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    let restarts = container.log().matches("is up").count();
    must(Command::new("docker").args(["restart", &container.name]));
    wait_until("the gateway is up again", || container.log().matches("is up").count() > restarts);
    assert_eq!(container.status()["peers"].as_array().unwrap().len(), 1);
    reach_each_other(&container, &other);
}

#[test]
fn a_gateway_on_the_hosts_own_network_reaches_another_host() {
    if !docker_answers() {
        return;
    }
    let _alone = alone();
    let (image, wire, key) = (Loaded::new(), Wire::new(), PrivateKey::generate());
    let (other, list) = other_host(&wire, &key);
    let interface = format!("mvpn{}", std::process::id() % 100_000);
    let environment = format!("GATEWAY_INTERFACE={interface}");
    let container = Container::start(&image, &key, &list, &["--network", "host", "--env", &environment]);
    reach_each_other(&container, &other);
    assert!(must(Command::new("ip").args(["-br", "addr"])).contains(&interface));

    // The host's network outlives the container: what it made has to go with it, also after a kill and a restart.
    must(Command::new("docker").args(["kill", &container.name]));
    must(Command::new("docker").args(["start", &container.name]));
    wait_until("the gateway is up again", || container.log().matches("is up").count() == 2);
    reach_each_other(&container, &other);
    let begin = Instant::now();
    must(Command::new("docker").args(["stop", &container.name]));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(container.state("ExitCode"), "0");
    assert!(!must(Command::new("ip").args(["-br", "addr"])).contains(&interface));
}

#[test]
fn the_image_stands_as_it_was_set() {
    if !docker_answers() {
        return;
    }
    let _alone = alone();
    let mut host = Host::live();
    // The running executable: here it is the test.
    let digest = image::digest(&host, &image::executable().unwrap()).unwrap();
    let resource = GatewayImage::of_executable(&digest, true);
    for state in [Presence::Present, Presence::Present, Presence::Absent, Presence::Absent] {
        resource.set(&mut host, &state).unwrap();
        assert_eq!(resource.observe(&host).unwrap(), state);
    }
    let other = GatewayImage::of_executable(&"0".repeat(64), true);
    let error = other.set(&mut host, &Presence::Present).unwrap_err();
    assert!(error.to_string().contains("replaced since the plan was made"), "{error}");
}

#[test]
fn without_the_capability_it_says_what_is_missing() {
    if !docker_answers() {
        return;
    }
    let _alone = alone();
    let image = Loaded::new();
    let instance = Instance::cluster(1).remove(0);
    let mut run = Command::new("docker");
    run.args(["run", "--rm", "--env", "GATEWAY_ADDRESS=10.8.3.1/24"]);
    for file in ["public", "private"] {
        run.arg("--volume").arg(format!("{}/vpn-{file}.conf:/srv/{file}.conf:ro", instance.dir.path().display()));
    }
    let output = run.arg(&image.0).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("cap_add: [NET_ADMIN]"), "{}", said(&output));
}

#[test]
fn compose_v1_takes_the_default_stack() {
    let variable = std::env::var("MITIGATOR_VPN_TEST_IMAGE").ok().filter(|image| !image.is_empty());
    let Some(image) = variable else { return skip("MITIGATOR_VPN_TEST_IMAGE is not set; scripts/test sets it") };
    takes_the_default_stack(Command::new("docker").args(["run", "--rm", "-i", &image, "docker-compose"]));
}

#[test]
fn compose_v2_takes_the_default_stack() {
    let variable = std::env::var("MITIGATOR_VPN_TEST_COMPOSE_V2").ok().filter(|dir| !dir.is_empty());
    let Some(dir) = variable else { return skip("MITIGATOR_VPN_TEST_COMPOSE_V2 is not set; scripts/test sets it") };
    takes_the_default_stack(&mut Command::new(PathBuf::from(dir).join("docker-compose")));
}

fn takes_the_default_stack(compose: &mut Command) {
    let compose = compose.args(["-f", "-", "config"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = compose.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stack::compose_file("mitigator-vpn-gateway:1", true).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    for words in
        ["network_mode: host", "- NET_ADMIN", "/dev/net/tun", "GATEWAY_MTU: ", "1420", "restart: unless-stopped"]
    {
        assert!(said(&output).contains(words), "{}", said(&output));
    }
}
