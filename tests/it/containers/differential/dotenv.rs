//! `.env`, against python-dotenv and against compose v2.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use serde_json::Value;

use crate::support::tree::TreeHost;
use crate::support::{Host, skip};

/// Keys of ours: facts have their values.
const KEYS: [&str; 2] = ["MITIGATOR_VPN_ADDRESS", "MITIGATOR_VPN_MTU"];

fn files() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "\n",
        "\n",
        "\n",
        "\r\n",
        "\r",
        " ",
        "\t",
        "=",
        "#",
        " #",
        "'",
        "\"",
        "\\",
        "$",
        "${",
        "}",
        ":",
        "A",
        "b c",
        "export ",
        "\u{feff}",
        "\u{a0}",
        "\u{85}",
        "\u{2003}",
        "\x0b",
        "\x1f",
        "\\n",
        "\\'",
        "\\\"",
        "\u{44f}",
        "A=1\n",
        "B='",
        "C=\"x\ny\"\n",
        "MITIGATOR_VPN_ADDRESS=10.8.3.1\n",
        "MITIGATOR_VPN_ADDRESS=",
        "MITIGATOR_VPN_MTU = \"1400\" # c\n",
        "MITIGATOR_VPN_MTU=",
        "export MITIGATOR_VPN_ADDRESS='1'",
        "MITIGATOR_VPN_ADDRESS\n",
        "MITIGATOR_VPN_MTU: 1\n",
        "'MITIGATOR_VPN_MTU'=",
    ]);
    prop::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat())
}

/// What this program reads: the values of our keys, the keys that are told to be read differently, and who refuses the file.
struct Read {
    values: BTreeMap<String, String>,
    told: Vec<String>,
    stops: Vec<String>,
}

fn read(tree: &TreeHost, text: &str) -> Read {
    tree.write("/srv/mitigator/.env", text);
    let env = tree.vpn("facts").run().exits(0).json()["instance"]["env"].clone();
    let odd = env["oddities"].as_array().cloned().unwrap_or_default();
    let word = |value: &Value| value.as_str().map(str::to_owned);
    Read {
        values: serde_json::from_value(env["values"].clone()).expect("texts"),
        told: odd.iter().filter_map(|one| word(&one["reason"]["arguments"][0][1]["text"])).collect(),
        stops: odd.iter().filter_map(|one| word(&one["stops"])).collect(),
    }
}

fn directory(variable: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    if found.is_none() {
        skip(&format!("{variable} is not set; scripts/test sets it"));
    }
    found
}

/// Every file in a directory, as docker-compose 1.29 has it read.
const PYTHON: &str = "
import json, os, sys, dotenv, logging
logging.disable(logging.CRITICAL)
names = sorted(os.listdir(sys.argv[1]))
values = {name: dotenv.dotenv_values(os.path.join(sys.argv[1], name), encoding='utf-8-sig', interpolate=False) for name in names}
print(json.dumps(values))
";

pub(super) fn against_python(count: usize, seed: Option<u64>) {
    let Some(venv) = directory("MITIGATOR_VPN_TEST_DOTENV") else { return };
    let (tree, dir) = (TreeHost::with_vendor_stack(), tempfile::tempdir().expect("a directory"));
    let texts = super::generated(files(), count, seed);
    for (number, text) in texts.iter().enumerate() {
        fs::write(dir.path().join(number.to_string()), text).expect("our own file");
    }
    let ran =
        Command::new(venv.join("bin/python")).args(["-c", PYTHON]).arg(dir.path()).output().expect("Python is there");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let theirs: BTreeMap<String, BTreeMap<String, Option<String>>> = serde_json::from_slice(&ran.stdout).expect("JSON");
    for (number, text) in texts.iter().enumerate() {
        let theirs = theirs[&number.to_string()].iter().filter(|(key, _)| key.starts_with("MITIGATOR_VPN_"));
        let theirs: BTreeMap<String, String> =
            theirs.filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect();
        assert_eq!(read(&tree, text).values, theirs, "{text:?}");
    }
}

/// What compose v2 puts in place of our keys; `None` where it refuses the file.
fn compose(program: &Path, dir: &Path) -> Option<BTreeMap<String, String>> {
    let mut command = Command::new(program);
    command
        .args(["-p", "x", "-f", "x.yml", "config", "--format", "json"])
        .current_dir(dir)
        .env_clear()
        .env("HOME", dir);
    let ran = command.output().expect("compose is there");
    if !ran.status.success() {
        return None;
    }
    let config: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    let environment = config["services"]["x"]["environment"].as_object().expect("the variables").clone();
    let shown = environment.into_iter().filter_map(|(key, value)| {
        // In what it prints, a `$` is two.
        let value = value.as_str().unwrap_or_default().replace("$$", "$");
        (value != UNSET).then_some((key, value))
    });
    Some(shown.collect())
}

const UNSET: &str = "it is not set";

pub(super) fn against_compose(count: usize, seed: Option<u64>) {
    let Some(program) = directory("MITIGATOR_VPN_TEST_COMPOSE_V2").map(|dir| dir.join("docker-compose")) else {
        return;
    };
    let (tree, dir) = (TreeHost::with_vendor_stack(), tempfile::tempdir().expect("a directory"));
    let variables: String = KEYS.map(|key| format!("      {key}: \"${{{key}-{UNSET}}}\"\n")).concat();
    fs::write(dir.path().join("x.yml"), format!("services:\n  x:\n    image: x\n    environment:\n{variables}"))
        .expect("ours");
    let (mut refused, mut told, mut same) = (0, 0, 0);
    for text in super::generated(files(), count, seed) {
        let ours = read(&tree, &text);
        fs::write(dir.path().join(".env"), &text).expect("our own file");
        let theirs = compose(&program, dir.path());
        let stops = ours.stops.iter().any(|generation| generation == "V2");
        assert_eq!(theirs.is_none(), stops, "whether compose v2 refuses the file: {text:?}");
        let Some(theirs) = theirs else {
            refused += 1;
            continue;
        };
        for key in KEYS {
            if ours.told.iter().any(|told| told == key) {
                told += 1;
            } else {
                assert_eq!(theirs.get(key), ours.values.get(key), "{key}: {text:?}");
                same += 1;
            }
        }
    }
    println!("{refused} files are refused, {same} values are the same, {told} are told to differ");
    assert!(same * 6 > count, "only {same} values were compared");
}
