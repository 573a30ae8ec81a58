//! Recorded hosts: what preflight finds on each, and what install would make of it, word for word.
//!
//! `tests/hosts/README.md` says how a host is recorded, or derived from a recorded one, and how the expectations are
//! written anew. These tests prove what is decided; that the facts are read right is for the tests of their parsers and
//! of real hosts.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use mitigator_vpn::desired::{self, Generated};
use mitigator_vpn::distro::Distro;
use mitigator_vpn::facts::{Facts, os};
use mitigator_vpn::message::Message;
use mitigator_vpn::preflight::{self, Finding, Inputs, Severity};
use mitigator_vpn::settings::Settings;
use mitigator_vpn::wireguard::PrivateKey;
use serde_json::{Value, json};

/// Set, the expectations are written instead of compared.
const REWRITE: &str = "MITIGATOR_VPN_TEST_REWRITE";

fn hosts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// One directory of `tests/hosts`.
pub struct Recorded {
    name: String,
    facts: Facts,
    settings: Settings,
}

impl Recorded {
    fn load(name: &str) -> Recorded {
        let (facts, settings) = read_host(name);
        let facts = serde_json::from_value(facts).unwrap_or_else(|e| panic!("{name}: the facts: {e}"));
        let settings = serde_json::from_value(settings).unwrap_or_else(|e| panic!("{name}: the settings: {e}"));
        Recorded { name: name.to_owned(), facts, settings }
    }

    pub fn all() -> Vec<Recorded> {
        let mut names: Vec<String> = fs::read_dir(hosts())
            .expect("tests/hosts")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.join("facts.json").exists() || path.join("derived.toml").exists())
            .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
            .collect();
        names.sort();
        names.iter().map(|name| Recorded::load(name)).collect()
    }

    fn distro(&self) -> Result<Distro, Message> {
        Distro::detect(&self.facts.os)
    }

    pub fn findings(&self) -> Vec<Finding> {
        let distro = self.distro();
        preflight::run(&Inputs { facts: &self.facts, distro: distro.as_ref(), settings: &self.settings })
    }

    /// What install would make of this host, in its order; nothing where preflight forbids it.
    fn plan(&self) -> String {
        let failed: Vec<String> =
            self.findings().into_iter().filter(|f| f.outcome == Severity::Fail).map(|f| f.id).collect();
        if !failed.is_empty() {
            return format!("refused: {}\n", failed.join(", "));
        }
        let generated = Generated { key: PrivateKey::from_bytes([7; 32]), executable: "0123456789ab".to_owned() };
        let wanted = desired::resources(&self.facts, self.distro().as_ref().ok(), &self.settings, &generated);
        let wanted = wanted.unwrap_or_else(|e| panic!("{}: {e}", self.name));
        let mut plan = String::new();
        for (number, wanted) in wanted.iter().enumerate() {
            writeln!(plan, "{:>2}. {}", number + 1, wanted.noun()).expect("a string takes all");
            wanted.text().lines().for_each(|line| writeln!(plan, "    {line}").expect("a string takes all"));
        }
        plan
    }

    /// Compares with the file of this name beside the facts, or writes it.
    fn is_as_expected(&self, file: &str, found: &str) -> Result<(), String> {
        let path = hosts().join(&self.name).join(file);
        if std::env::var_os(REWRITE).is_some() {
            fs::write(&path, found).expect("tests/hosts can be written");
            return Ok(());
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        let differs = |(was, is): (Option<&str>, Option<&str>)| was != is;
        let (mut was, mut is) = (expected.lines(), found.lines());
        let first = std::iter::from_fn(|| Some((was.next(), is.next())).filter(|pair| *pair != (None, None)))
            .find(|pair| differs(*pair));
        match first {
            None => Ok(()),
            Some((was, is)) => Err(format!(
                "{}/{file}:\n  expected: {}\n  found:    {}\n",
                self.name,
                was.unwrap_or("(no more)"),
                is.unwrap_or("(no more)")
            )),
        }
    }
}

/// The facts and settings of a host: those that were recorded, or those of the host it is like with what differs.
fn read_host(name: &str) -> (Value, Value) {
    let dir = hosts().join(name);
    let derived = dir.join("derived.toml");
    if !derived.exists() {
        let facts = read(&dir.join("facts.json"));
        let facts = serde_json::from_str(&facts).unwrap_or_else(|e| panic!("{name}: {e}"));
        let asked = json!({ "vpn_address": "10.8.3.1", "endpoint": "192.0.2.1:4567" });
        let settings = serde_json::to_value(Settings::default()).expect("settings are plain data");
        return (facts, merge(settings, asked));
    }
    let mut derived: toml::Table = read(&derived).parse().unwrap_or_else(|e| panic!("{name}: {e}"));
    let word = |value: &toml::Value| value.as_str().unwrap_or_else(|| panic!("{name}: a word, not {value}")).to_owned();
    let like = derived.remove("like").unwrap_or_else(|| panic!("{name} is like no other host"));
    let (mut facts, mut settings) = read_host(&word(&like));
    if let Some(file) = derived.remove("os-release") {
        let release = os::parse(&read(&hosts().join("os-release").join(word(&file))));
        facts["os"] = serde_json::to_value(release).expect("facts are plain data");
    }
    for pointer in derived.remove("without").and_then(|list| list.as_array().cloned()).unwrap_or_default() {
        assert!(remove(&mut facts, &word(&pointer)), "{name} is without {pointer}, and so is what it is like");
    }
    if let Some(changed) = derived.remove("settings") {
        settings = merge(settings, serde_json::to_value(changed).expect("TOML is JSON"));
    }
    (merge(facts, serde_json::to_value(derived).expect("TOML is JSON")), settings)
}

/// `over` on top of `base`: objects are merged, everything else is replaced.
fn merge(base: Value, over: Value) -> Value {
    match (base, over) {
        (Value::Object(mut base), Value::Object(over)) => {
            for (key, value) in over {
                let under = base.remove(&key).unwrap_or_default();
                base.insert(key, merge(under, value));
            }
            Value::Object(base)
        }
        (_, over) => over,
    }
}

/// Takes out what a JSON pointer points at; whether there was anything.
fn remove(value: &mut Value, pointer: &str) -> bool {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer begins with a slash");
    let parent = value.pointer_mut(parent).and_then(Value::as_object_mut);
    parent.is_some_and(|parent| parent.remove(&key.replace("~1", "/")).is_some())
}

/// A finding as one line: verdict, id, what was seen, what to type.
fn line(finding: &Finding) -> String {
    let verdict = format!("{:?}", finding.outcome).to_lowercase();
    let hint = finding.way_out().lines().map(|hint| format!(" → {hint}")).collect::<String>();
    format!("{verdict:<8}{}: {}{hint}\n", finding.id, finding.detail)
}

#[test]
fn every_recorded_host_gets_the_findings_and_the_plan_that_were_reviewed() {
    let mut differences = Vec::new();
    for host in Recorded::all() {
        let findings: String = host.findings().iter().map(line).collect();
        differences.extend(host.is_as_expected("findings.txt", &findings).err());
        differences.extend(host.is_as_expected("plan.txt", &host.plan()).err());
    }
    assert!(
        differences.is_empty(),
        "{}if this is what was meant: {REWRITE}=1 cargo test --test it recorded::, and read the difference",
        differences.concat()
    );
}

#[test]
fn every_release_has_a_fresh_recorded_host_that_install_is_willing_to_work_on() {
    let hosts = Recorded::all();
    for distro in Distro::all() {
        let name = format!("{}-{}-fresh", distro.id, distro.version);
        let host = hosts.iter().find(|host| host.name == name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(host.distro().as_ref(), Ok(distro), "{name}");
        let failed: Vec<Finding> = host.findings().into_iter().filter(|f| f.outcome == Severity::Fail).collect();
        assert!(failed.is_empty(), "{name}: {failed:#?}");
    }
}

#[test]
fn every_warning_and_failure_on_a_recorded_host_says_what_to_type() {
    for host in Recorded::all() {
        for finding in host.findings() {
            let silent = matches!(finding.outcome, Severity::Pass | Severity::Unknown);
            assert!(silent || !finding.way_out().trim().is_empty(), "{}: {finding:?}", host.name);
        }
    }
}

#[test]
fn no_host_is_recorded_twice() {
    let mut seen = BTreeSet::new();
    for host in Recorded::all() {
        let facts = serde_json::to_string(&(&host.facts, &host.settings)).expect("plain data");
        assert!(seen.insert(facts), "{} has the facts of another host", host.name);
    }
}
