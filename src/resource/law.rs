//! The law of every kind: after `set(s)`, `observe()` meets `s`. What needs a daemon or a kernel to be set is held to it by
//! the tests on hosts; here it is held to what needs neither.

use std::fs;
use std::path::Path;

use super::*;
use crate::compose::{ComposeCommand, Generation};
use crate::facts::Backend;
use crate::wireguard::{PrivateConf, PrivateKey};

/// Sets each of these states in turn, twice.
fn holds<K: Resource>(host: &mut Host, resource: &K, states: &[K::State]) {
    for state in states {
        for _ in 0..2 {
            resource.set(host, state).unwrap_or_else(|error| panic!("{}: {error}", resource.noun()));
            let observed = resource.observe(host).unwrap();
            assert!(state.is_met_by(&observed), "{}: {state:?} is not met by {observed:?}", resource.noun());
        }
    }
}

/// A tree with the record of an installed package.
fn tree() -> (tempfile::TempDir, Host) {
    let dir = tempfile::tempdir().unwrap();
    let dpkg = dir.path().join("var/lib/dpkg");
    fs::create_dir_all(&dpkg).unwrap();
    fs::write(dpkg.join("status"), "Package: here\nStatus: install ok installed\nVersion: 2\n").unwrap();
    let host = Host::at(dir.path()).unwrap();
    (dir, host)
}

fn compose() -> ComposeCommand {
    ComposeCommand { words: vec!["docker-compose".into()], generation: Generation::V1, version: "1.29.2".into() }
}

fn private_file() -> (PrivateFile, PrivateContent) {
    let key = PrivateKey::generate();
    let state = PrivateContent::Private { template: PrivateConf::fresh_template(4567), public: key.public() };
    (PrivateFile { path: "/private.conf".into(), fresh: Some(key) }, state)
}

#[test]
fn every_kind_obeys_the_law() {
    for kind in ResourceKind::ALL {
        let (dir, mut host) = tree();
        let host = &mut host;
        match kind {
            ResourceKind::AptSource => {
                let source = AptSource {
                    path: "/x.list".into(),
                    suite: "x".into(),
                    beside: Vec::new(),
                    mirror: None,
                    archive: None,
                };
                holds(host, &source, &[SourceFile::Absent]);
                let theirs = "deb http://mirror.example/debian x main\n";
                fs::write(dir.path().join("x.list"), theirs).unwrap();
                holds(host, &source, &[SourceFile::Text(theirs.into())]);
            }
            ResourceKind::Packages => {
                let packages = Packages::new(["here".to_owned(), "elsewhere".to_owned()]);
                let any = |there: bool| there.then(String::new);
                let versions = [("here".to_owned(), any(true)), ("elsewhere".to_owned(), any(false))].into();
                holds(host, &packages, &[Versions { packages: versions }]);
            }
            ResourceKind::Module => holds(host, &Module { name: "wireguard".into() }, &[Presence::Absent]),
            ResourceKind::Directory => {
                let directory = Directory { path: "/directory".into() };
                holds(host, &directory, &[Presence::Present, Presence::Absent]);
            }
            ResourceKind::File => {
                let text = |text: &str| Content::Text(text.to_owned());
                let file = File { path: "/file".into() };
                holds(host, &file, &[text("one\n"), text(""), text("two"), Content::Absent]);
            }
            ResourceKind::PrivateFile => {
                let (file, state) = private_file();
                holds(host, &file, &[state, PrivateContent::Absent]);
            }
            ResourceKind::EnvKey => {
                let line = |value: &str| EnvLine::Line(format!("COMPOSE_FILE={value}"));
                let key = EnvKey { path: "/.env".into(), key: "COMPOSE_FILE".into() };
                holds(host, &key, &[line("a.yml"), line("'b.yml' # ours"), EnvLine::Absent]);
                fs::write(dir.path().join(".env"), "OTHER=1\n").unwrap();
                holds(host, &key, &[line("a.yml"), EnvLine::Empty]);
                assert_eq!(fs::read_to_string(dir.path().join(".env")).unwrap(), "OTHER=1\n");
            }
            // They need a packet filter, a Docker daemon or a gateway.
            ResourceKind::FirewallRule | ResourceKind::GatewayImage | ResourceKind::Stack | ResourceKind::Tunnel => {}
        }
    }
}

/// One step of each kind.
fn steps() -> Vec<Step> {
    let (dir, compose) = (Path::new("/srv/mitigator"), compose());
    let present = |kind: &str| format!(r#"{{"resource":{{{kind}}},"before":"absent","after":"present"}}"#);
    let of_text = |text: String| serde_json::from_str(&text).unwrap();
    let rule = FirewallRule { backend: Backend::Ufw, place: String::new(), port: 4567 };
    let (private, state) = private_file();
    ResourceKind::ALL
        .iter()
        .map(|kind| match kind {
            ResourceKind::AptSource => {
                of_text(present(r#""apt-source":{"path":"/x","suite":"x","mirror":null,"archive":null}"#))
            }
            ResourceKind::Packages => {
                let resource = Packages::new(["x".to_owned()]);
                let before = Versions { packages: [("x".to_owned(), None)].into() };
                Transition { after: resource.wanted(), before, resource }.into()
            }
            ResourceKind::Module => of_text(present(r#""module":{"name":"wireguard"}"#)),
            ResourceKind::FirewallRule => {
                Transition { resource: rule.clone(), before: Opening::Absent, after: Opening::Present }.into()
            }
            ResourceKind::Directory => of_text(present(r#""directory":{"path":"/d"}"#)),
            ResourceKind::File => {
                let (before, after) = (Content::Text("a\n".into()), Content::Text("b\n".into()));
                Transition { resource: File { path: "/f".into() }, before, after }.into()
            }
            ResourceKind::PrivateFile => {
                Transition { resource: private.clone(), before: PrivateContent::Absent, after: state.clone() }.into()
            }
            ResourceKind::EnvKey => {
                let resource = EnvKey { path: dir.join(".env"), key: "K".into() };
                Transition { resource, before: EnvLine::Empty, after: EnvLine::Line("K=v".into()) }.into()
            }
            ResourceKind::GatewayImage => of_text(present(r#""gateway-image":{"reference":"x:1","userspace":false}"#)),
            ResourceKind::Stack => {
                let resource = Stack { dir: dir.into(), compose: compose.clone(), restart: StackRestart::Gateway };
                Transition { resource, before: Liveness::Outdated, after: Liveness::Running }.into()
            }
            ResourceKind::Tunnel => {
                let public_conf = dir.join("vpn-public.conf");
                let resource = Tunnel { dir: dir.into(), public_conf, compose: compose.clone() };
                Transition { resource, before: Liveness::Outdated, after: Liveness::Running }.into()
            }
        })
        .collect()
}

#[test]
fn every_kind_is_announced_with_its_verb() {
    let words: Vec<String> = steps().iter().map(Step::to_string).collect();
    assert_eq!(
        words,
        [
            "create apt source x in /x",
            "install package x",
            "load kernel module wireguard",
            "open UDP port 4567 in ufw",
            "create directory /d",
            "change file /f",
            "create file /private.conf",
            "create K in /srv/mitigator/.env",
            "create image x:1",
            "restart compose stack in /srv/mitigator",
            "reconfigure live tunnel",
        ]
    );
}

#[test]
fn a_step_of_every_kind_is_read_as_it_was_written_and_holds_no_secret() {
    for step in steps() {
        let text = serde_json::to_string(&step).unwrap();
        let read: Step = serde_json::from_str(&text).unwrap();
        assert_eq!((read.kind(), &read), (step.kind(), &step), "{text}");
        assert!(text.contains(&format!(r#""resource":{{"{}":{{"#, step.kind().word())), "{text}");
        if let Step::PrivateFile(step) = step {
            let secret = step.resource.fresh.as_ref().unwrap().expose();
            assert!(!text.contains(secret.as_str()), "the key itself is in memory only");
        }
    }
}
