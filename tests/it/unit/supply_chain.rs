//! What the program is made of: where it comes from, under which licences, and what is known against it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use semver::{Version, VersionReq};
use serde_json::Value;

use crate::support::golden::REWRITE;

/// What may be linked into the file that is handed out.
const LICENCES: [&str; 6] = ["MIT", "Apache-2.0", "BSD-3-Clause", "Unicode-3.0", "Unlicense", "LGPL-2.1-or-later"];
/// Crates that are there in two versions, and who needs the older one.
const TWICE: [(&str, &str); 5] = [
    ("base64", "wireguard-control"),
    ("bitflags", "wireguard-control, by nix"),
    ("memoffset", "wireguard-control, by nix"),
    ("nix", "wireguard-control"),
    ("syn", "macros of two generations, at build time alone"),
];
/// What is known and accepted, and why.
const ACCEPTED: [(&str, &str); 1] = [(
    "RUSTSEC-2024-0436",
    "unmaintained: a macro of wireguard-control's netlink crates, finished and without code at run time",
)];
const ADVISORIES: &str = include_str!("../../supply-chain/advisories.tsv");
/// What stands above this line in NOTICE is written by hand.
const GENERATED: &str = "What follows is generated (scripts/notice); a test compares it with Cargo.lock.\n";

struct Package {
    name: String,
    version: String,
    source: String,
    licence: String,
    authors: Vec<String>,
    dir: PathBuf,
}

/// The crates that are linked into the program for Linux, without those that only build or test it.
fn linked() -> Vec<Package> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let words =
        ["metadata", "--offline", "--locked", "--format-version=1", "--filter-platform=x86_64-unknown-linux-gnu"];
    let said = Command::new(cargo).args(words).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let metadata: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let nodes: BTreeMap<String, Value> =
        list(&metadata["resolve"]["nodes"]).into_iter().map(|node| (text(&node["id"]), node)).collect();
    let mut reached = BTreeSet::new();
    let mut ahead = vec![text(&metadata["resolve"]["root"])];
    while let Some(id) = ahead.pop() {
        for dependency in list(&nodes[&id]["deps"]) {
            if list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null()) {
                let id = text(&dependency["pkg"]);
                if reached.insert(id.clone()) {
                    ahead.push(id);
                }
            }
        }
    }
    let packages = list(&metadata["packages"]).into_iter().filter(|package| reached.contains(&text(&package["id"])));
    let mut packages: Vec<Package> = packages
        .map(|package| Package {
            name: text(&package["name"]),
            version: text(&package["version"]),
            source: text(&package["source"]),
            licence: text(&package["license"]),
            authors: list(&package["authors"]).iter().map(text).collect(),
            dir: Path::new(&text(&package["manifest_path"])).parent().expect("a directory").to_owned(),
        })
        .collect();
    packages.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    assert!(packages.len() > 50, "an empty list proves nothing");
    packages
}

/// Every crate of Cargo.lock, with those that only build and test.
fn locked() -> Vec<(String, Version, toml_edit::Table)> {
    let lock: toml_edit::DocumentMut = include_str!("../../../Cargo.lock").parse().expect("TOML");
    let packages = lock["package"].as_array_of_tables().expect("packages");
    let text = |table: &toml_edit::Table, key: &str| table[key].as_str().expect(key).to_owned();
    packages.iter().map(|p| (text(p, "name"), text(p, "version").parse().expect("a version"), p.clone())).collect()
}

#[test]
fn every_crate_is_from_the_one_registry_with_its_checksum() {
    for (name, _, package) in locked().iter().filter(|(name, ..)| name != env!("CARGO_PKG_NAME")) {
        let source = package.get("source").and_then(|source| source.as_str());
        assert_eq!(source, Some("registry+https://github.com/rust-lang/crates.io-index"), "{name}");
        assert!(package.contains_key("checksum"), "{name}");
    }
    assert!(linked().iter().all(|package| package.source.starts_with("registry+")));
}

#[test]
fn every_linked_crate_has_a_licence_that_may_be_handed_out() {
    for Package { name, licence, .. } in linked() {
        let words = licence.replace(['(', ')'], "").replace('/', " OR ");
        // `(A OR B) AND C`: one of each group.
        let allowed = |group: &str| group.split(" OR ").any(|one| LICENCES.contains(&one.trim()));
        assert!(words.split(" AND ").all(allowed), "{name}: {licence}");
    }
}

#[test]
fn no_crate_is_linked_twice_but_those_that_are_known() {
    let mut versions: BTreeMap<String, usize> = BTreeMap::new();
    linked().into_iter().for_each(|package| *versions.entry(package.name).or_default() += 1);
    let twice: Vec<&str> = versions.iter().filter(|(_, count)| **count > 1).map(|(name, _)| name.as_str()).collect();
    assert_eq!(twice, TWICE.map(|(name, _)| name));
}

#[test]
fn nothing_is_known_against_any_crate() {
    let requirement = |text: &str| VersionReq::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let meets = |ranges: &str, version: &Version| {
        ranges.split("; ").filter(|range| !range.is_empty()).any(|range| requirement(range).matches(version))
    };
    let mut found = Vec::new();
    let mut advisories = 0;
    let locked = locked();
    for line in ADVISORIES.lines().filter(|line| !line.starts_with('#')) {
        let [name, id, kind, patched, unaffected] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        advisories += 1;
        let hits = locked
            .iter()
            .filter(|(locked, version, _)| locked == name && !meets(patched, version) && !meets(unaffected, version));
        found.extend(hits.map(|(name, version, _)| format!("{id} {kind}: {name} {version}")));
    }
    assert!(advisories > 1000, "an empty snapshot proves nothing");
    let ids: BTreeSet<&str> = found.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(ids, ACCEPTED.iter().map(|(id, _)| *id).collect(), "{found:?}");
}

#[test]
fn the_notice_names_every_licence_of_what_is_linked() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("NOTICE");
    let notice = std::fs::read_to_string(&path).expect("NOTICE");
    let (by_hand, there) = notice.split_once(GENERATED).expect("the line above the generated part");
    for file in ["LGPL-2.1", "glibc"] {
        assert!(by_hand.contains(&format!("licenses/{file}")), "{file}");
        assert!(path.with_file_name("licenses").join(file).exists(), "{file}");
    }
    let generated = generated();
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(&path, format!("{by_hand}{GENERATED}{generated}")).expect("NOTICE");
    } else {
        assert!(there == generated, "NOTICE is out of date: scripts/notice");
    }
}

/// Crates with one text of licence together: their copyright lines, then the text.
fn generated() -> String {
    let mut groups: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
    for package in linked() {
        let mut texts = licence_texts(&package);
        if texts.is_empty() {
            // Its file of the licence isn't in the crate.
            texts.push(format!("Copyright {}", package.authors.join(", ")));
        }
        for text in texts {
            let marks = |line: &str| line.contains(|c: char| c.is_ascii_digit() || c == '©') || line.contains("(c)");
            let is_copyright = |line: &&str| line.trim().starts_with("Copyright ") && marks(line);
            let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
            let copyrights: Vec<&str> = lines.iter().copied().filter(is_copyright).collect();
            let body: Vec<&str> = lines.iter().copied().filter(|line| !is_copyright(line)).collect();
            let key = body.join(" ").split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
            let (_, members) = groups.entry(key).or_insert_with(|| (body.join("\n").trim().to_owned(), Vec::new()));
            let mut member = format!("{} {} ({})", package.name, package.version, package.licence);
            copyrights.iter().for_each(|line| write!(member, "\n    {}", line.trim()).expect("a string"));
            members.push(member);
        }
    }
    let mut out = String::new();
    for (body, members) in groups.into_values() {
        let body = if body.is_empty() {
            "Under the licence that is named, whose text the crate doesn't bring."
        } else {
            &body
        };
        write!(out, "\n{}\n{}\n\n{body}\n", "=".repeat(100), members.join("\n")).expect("a string");
    }
    out
}

/// The licence files of a crate. Where MIT is a choice, it is taken.
fn licence_texts(package: &Package) -> Vec<String> {
    let names = std::fs::read_dir(&package.dir).expect("the source of a crate").flatten();
    let mut files: Vec<String> = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    files.retain(|name| ["LICENSE", "LICENCE", "COPYING"].iter().any(|word| name.to_uppercase().starts_with(word)));
    files.retain(|name| package.dir.join(name).is_file());
    files.sort();
    let other = |name: &String| {
        let name = name.to_uppercase();
        name.contains("APACHE") || (name == "COPYING" && package.licence.contains("Unlicense"))
    };
    if package.licence.contains("MIT") && files.iter().any(|name| !other(name)) {
        files.retain(|name| !other(name));
    }
    files
        .iter()
        .map(|name| String::from_utf8_lossy(&std::fs::read(package.dir.join(name)).expect(name)).into_owned())
        .collect()
}
