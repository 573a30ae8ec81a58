//! Journals of each format, in `tests/journals/`: undo takes back what they record, and journals of live hosts still parse.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mitigator_vpn::converge::journal::Receipt;

use crate::support::Host;
use crate::support::tree::TreeHost;

const JOURNAL: &str = "/var/lib/mitigator-vpn/journal.ndjson";

fn recorded(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journals").join(below)
}

/// The directories below one in `tests/journals/`.
fn names_in(below: &str) -> Vec<String> {
    let entries = fs::read_dir(recorded(below)).expect("recorded journals").map(|entry| entry.expect("an entry"));
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().expect("a name is text"))
        .collect();
    names.sort();
    names
}

/// The trees of every format, each with its journal.
fn trees() -> Vec<String> {
    let formats = names_in("");
    assert_eq!(formats, ["0.1.0", "format-2"]);
    let of_format = |format: &String| {
        let trees = names_in(format).into_iter().filter(|tree| tree != "hosts");
        trees.map(|tree| format!("{format}/{tree}")).collect::<Vec<_>>()
    };
    let trees: Vec<String> = formats.iter().flat_map(of_format).collect();
    assert!(trees.len() >= 5, "{trees:?}");
    trees
}

fn journal(tree: &str) -> String {
    fs::read_to_string(recorded(tree).join("journal.ndjson")).expect("a recorded journal")
}

/// The files below a directory, by their paths in it; none where it isn't there.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![dir.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(dir).expect("it is below").display().to_string();
                found.insert(name, fs::read(path).expect("a file"));
            }
        }
    }
    found
}

/// The files that an install may write.
fn instance(tree: &TreeHost) -> BTreeMap<String, Vec<u8>> {
    let below =
        |dir: &'static str| files(&tree.at(dir)).into_iter().map(move |(name, bytes)| (format!("{dir}/{name}"), bytes));
    below("srv")
        .chain(below("etc/modules-load.d"))
        .filter(|(name, _)| name != "etc/modules-load.d/modules.conf")
        .collect()
}

#[test]
fn what_an_earlier_version_has_installed_is_taken_back_byte_for_byte() {
    for name in trees() {
        let tree = TreeHost::bare();
        let (before, after) = (files(&recorded(&name).join("before")), files(&recorded(&name).join("after")));
        assert_ne!(before, after);
        for (path, bytes) in &after {
            tree.write(&format!("/{path}"), bytes);
        }
        assert_eq!(instance(&tree), after);
        tree.write(JOURNAL, journal(&name));

        let undone = tree.vpn("undo --yes --json").run().exits(0);
        assert_eq!(undone.json()["outcome"], "pass", "{name}: {undone}");
        assert_eq!(instance(&tree), before, "{name}");
        assert!(!tree.has(JOURNAL), "{name}");
    }
}

/// What an instance was installed with isn't all in its files: its endpoint, and whose stack it has.
#[test]
fn the_next_run_after_an_earlier_version_finds_nothing_to_do() {
    for name in trees().iter().filter(|name| !name.ends_with("/own-stack")) {
        let tree = TreeHost::with_vendor_stack();
        for (path, bytes) in files(&recorded(name).join("after")) {
            tree.write(&format!("/{path}"), bytes);
        }
        tree.write(JOURNAL, journal(name));
        let again = tree.vpn("install --json").run().exits(0);
        assert_eq!(again.json()["steps"], serde_json::json!([]), "{name}: {again}");
        tree.vpn("status").run().exits(0);
    }
}

#[test]
fn recorded_journals_of_format_2_have_what_is_new_in_it() {
    let all: String = trees().iter().filter(|tree| tree.starts_with("format-2/")).map(|tree| journal(tree)).collect();
    for new in
        ["\"format\":2", "\"id\":", "\"run\":\"", "{\"text\":{\"sha256\"", "\"like\":", "$text", "\"merged\":true"]
    {
        assert!(all.contains(new), "no {new}");
    }
}

#[test]
fn every_change_of_a_live_host_that_an_earlier_version_noted_is_understood() {
    let mut kinds = BTreeMap::new();
    let of_format = |format: &String| {
        let recordings = fs::read_dir(recorded(format).join("hosts")).expect("recorded journals");
        recordings.map(|entry| entry.expect("an entry").path()).collect::<Vec<_>>()
    };
    for path in names_in("").iter().flat_map(of_format) {
        let text = fs::read_to_string(&path).expect("a recorded journal");
        let tree = TreeHost::bare().file(JOURNAL, &text);
        let host = mitigator_vpn::host::Host::at(&tree.at("")).expect("a tree");
        let receipt = Receipt::load(&host).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let begun: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .filter(|record: &serde_json::Value| record["begin"].is_object())
            .collect();
        assert_eq!(receipt.changes.len(), begun.len(), "{}", path.display());
        assert!(receipt.changes.iter().all(|change| change.done), "{}", path.display());
        for record in &begun {
            let kind = record["begin"]["resource"].as_object().and_then(|kind| kind.keys().next().cloned());
            kinds.insert(kind.expect("a resource is an object of one kind"), path.clone());
        }
    }
    let kinds: Vec<&str> = kinds.keys().map(String::as_str).collect();
    let expected = [
        "directory",
        "env-key",
        "file",
        "firewall-rule",
        "gateway-image",
        "module",
        "packages",
        "private-file",
        "stack",
        "tunnel",
    ];
    assert_eq!(kinds, expected, "recorded journals have each kind of change that a Debian 12 needs");
}
