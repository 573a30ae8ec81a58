//! The documents, exit codes, ids, files and journal records of one host are those recorded in `tests/documents/`.

use std::fmt::Write;

use serde_json::Value;

use crate::support::Host;
use crate::support::golden::Golden;
use crate::support::tree::TreeHost;

const PUBLIC: &str = "/srv/mitigator/vpn-public.conf";
const PRIVATE: &str = "/srv/mitigator/vpn-private.conf";
const ENV: &str = "/srv/mitigator/.env";
const JOURNAL: &str = "/var/lib/mitigator-vpn/journal.ndjson";
const INSTANCE: &str = "--vpn-address 10.8.3.1 --endpoint 192.0.2.1";
const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

fn golden(file: &'static str, tree: &TreeHost) -> Golden {
    Golden::of(file).mask(tree.at("").display().to_string().trim_end_matches('/'), "(the tree)")
}

fn section(n: u8) -> String {
    let key = KEY.replacen('x', char::from(b'a' + n).encode_utf8(&mut [0; 4]), 1);
    format!("[Peer]\nPublicKey = {key}\nAllowedIPs = 10.8.3.{n}/32\nEndpoint = 192.0.2.{n}:4567\n")
}

fn lives(golden: &mut Golden, tree: &TreeHost, commands: &[&str]) {
    for command in commands {
        let words = command
            .replace("{instance}", INSTANCE)
            .replace("{tree}", tree.at("").display().to_string().trim_end_matches('/'));
        golden.note(command, &tree.vpn(&words).run());
    }
}

/// Every file with its mode and its bytes.
fn files(tree: &TreeHost, golden: &mut Golden) {
    for path in [
        PUBLIC,
        PRIVATE,
        ENV,
        "/srv/mitigator/docker-compose.vpn.yml",
        "/srv/mitigator/docker-compose.yml",
        "/etc/modules-load.d/mitigator.conf",
    ] {
        let text = tree.read(path).map_or_else(
            || "(none)\n".to_owned(),
            |bytes| format!("mode {:o}\n{}", tree.mode_of(path), String::from_utf8_lossy(&bytes)),
        );
        golden.text(&format!("# {path}\n{text}"));
    }
}

/// The records of the journal, with time, program version and the run's name masked.
fn journal(tree: &TreeHost, golden: &mut Golden) {
    let mut text = format!("# {JOURNAL}\n");
    for line in tree.text(JOURNAL).lines() {
        let mut record: Value = serde_json::from_str(line).expect("a record");
        if let Some(run) = record.get_mut("run") {
            run["at"] = "(a time)".into();
            run["version"] = "(a version)".into();
            run["id"] = "(a run)".into();
        }
        if let Some(begin) = record.get_mut("begin") {
            begin["run"] = "(a run)".into();
        }
        writeln!(text, "{record}").expect("a string takes all");
    }
    golden.text(&text);
}

#[test]
fn an_instance_beside_the_vendors_stack_is_as_recorded() {
    let tree = TreeHost::with_vendor_stack();
    let mut golden = golden("tree-vendor-stack.txt", &tree);
    lives(
        &mut golden,
        &tree,
        &["preflight {instance} --json", "status --json", "plan {instance} --json", "install {instance} --yes --json"],
    );
    files(&tree, &mut golden);
    journal(&tree, &mut golden);
    lives(&mut golden, &tree, &["install --json", "status --json", "install --port 4568 --yes --json=events"]);
    tree.write("/srv/mitigator/other.conf", section(1).replace("Peer]\n", "Peer]\n# Kazan\n") + "\n" + &section(2));
    lives(
        &mut golden,
        &tree,
        &["plan --peers {tree}/srv/mitigator/other.conf --json", "install --endpoint 192.0.2.9 --yes --json"],
    );
    tree.remove(ENV);
    lives(
        &mut golden,
        &tree,
        &["status --json", "install --yes --json", "undo --yes --json=events", "undo --yes --json"],
    );
    files(&tree, &mut golden);
    golden.assert_as_recorded();
}

#[test]
fn an_instance_with_the_projects_own_stack_is_as_recorded() {
    let tree = TreeHost::bare();
    let mut golden = golden("tree-own-stack.txt", &tree);
    lives(
        &mut golden,
        &tree,
        &[
            "preflight {instance} --stack default --json",
            "plan {instance} --stack default --json",
            "install {instance} --stack default --yes --json",
        ],
    );
    journal(&tree, &mut golden);
    lives(&mut golden, &tree, &["status --json", "undo --yes --json"]);
    golden.assert_as_recorded();
}

#[test]
fn refusals_have_the_recorded_exit_codes_and_ids() {
    let tree = TreeHost::with_vendor_stack().file("/etc/os-release", "ID=arch\n");
    let mut golden = golden("tree-refused.txt", &tree);
    lives(
        &mut golden,
        &tree,
        &[
            "preflight {instance} --json",
            "install {instance} --yes --json",
            "preflight {instance} --ignore supported-release --json",
            "preflight {instance} --ignore no-such-check --json",
        ],
    );
    tree.write("/etc/os-release", include_str!("../../hosts/os-release/debian-12"));
    lives(
        &mut golden,
        &tree,
        &[
            "install {instance} --json",
            "install --yes --json",
            "install --vpn-address 10.8.3.0 --endpoint 192.0.2.1 --yes --json",
            "install --vpn-address 10.8.3.1 --endpoint gw.example --yes --json",
            "install {instance} --port 0 --yes --json",
            "install {instance} --peers {tree}/nowhere --yes --json",
            "install {instance} --dir /nowhere --yes --json",
            "explain no-such-check",
            "--no-such-option",
            "undo --json",
        ],
    );
    for (path, text) in [
        (PUBLIC, "nonsense\n"),
        (PRIVATE, "[Interface]\nPrivateKey = none\n"),
        (ENV, "A=\"\n"),
        (JOURNAL, "{\"run\":{\"format\":2}}\n"),
    ] {
        let tree = TreeHost::with_vendor_stack().file(path, text);
        golden.text(&format!("# with another {path}\n"));
        for command in
            ["preflight {instance} --json", "install {instance} --yes --json", "status --json", "undo --yes --json"]
        {
            let ran = tree.vpn(&command.replace("{instance}", INSTANCE)).run();
            golden.note(command, &ran);
        }
    }
    golden.assert_as_recorded();
}

#[test]
fn the_documents_of_peers_are_as_recorded() {
    let tree = TreeHost::bare()
        .file("/two.conf", section(1) + "\n" + &section(2))
        .file(
            "/three.conf",
            section(1).replace("192.0.2.1:", "192.0.2.11:")
                + "\n"
                + &section(2)
                + "PersistentKeepalive = 25\n\n"
                + &section(3),
        )
        .file("/wide.conf", section(1) + &section(2).replace("10.8.3.2/32", "10.9.3.2/32"))
        .file("/bad.conf", section(1) + &section(1) + "Nonsense\n[Peer]\nPublicKey = none\n");
    let mut golden = golden("peers.txt", &tree).with_fixed_keys();
    let mut commands = Vec::new();
    for file in ["two", "three", "wide", "bad", "missing"] {
        commands.extend(["list", "check"].map(|command| format!("peers {command} {{tree}}/{file}.conf --json")));
    }
    for edit in [
        "add --public-key KEY --vpn-address 10.8.3.9 --endpoint 192.0.2.9:4567 {tree}/two.conf",
        "add --public-key KEY --vpn-address 10.8.3.9 --endpoint 192.0.2.9:4567 {tree}/two.conf",
        "add --public-key KEY --vpn-address 10.8.3.10 --endpoint 192.0.2.10:4567 {tree}/two.conf",
        "add --public-key KEY --vpn-address 10.8.3.11 --endpoint 192.0.2.11:4567 {tree}/bad.conf",
        "remove 10.8.3.9 {tree}/two.conf",
        "remove 10.8.3.9 {tree}/two.conf",
        "diff {tree}/two.conf {tree}/two.conf",
        "diff {tree}/two.conf {tree}/three.conf",
        "diff {tree}/three.conf {tree}/two.conf",
        "diff {tree}/two.conf {tree}/bad.conf",
    ] {
        commands.push(format!("peers {edit} --json").replace("KEY", KEY));
    }
    lives(&mut golden, &tree, &commands.iter().map(String::as_str).collect::<Vec<_>>());
    let imported = tree.vpn(&format!("peers import {}", tree.at("/three.conf").display())).run().exits(0);
    golden.text(&format!("$ peers import\n{}", imported.out()));
    golden.assert_as_recorded();
}

#[test]
fn the_published_schema_has_the_recorded_fields_and_types() {
    let tree = TreeHost::bare();
    let schemas = tree.vpn("schema").run().exits(0).json();
    let mut golden = Golden::of("schema.txt");
    for (name, schema) in schemas.as_object().expect("an object") {
        let mut lines = Vec::new();
        fields(schema, schema, "", &mut lines);
        golden.text(&format!("# {name}\n{}", lines.concat()));
    }
    golden.assert_as_recorded();
}

/// A line for each field: its path, its types, and whether it may be missing.
fn fields(root: &Value, schema: &Value, path: &str, lines: &mut Vec<String>) {
    let schema = resolved(root, schema);
    if let Some(properties) = schema["properties"].as_object() {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, field) in properties {
            let path = format!("{path}.{name}");
            let mut types = types(root, field);
            types.sort();
            types.dedup();
            let optional = if required.contains(&name.as_str()) { "" } else { ", may be missing" };
            lines.push(format!("{path}: {}{optional}\n", types.join(" or ")));
            fields(root, field, &path, lines);
        }
    }
    if !schema["items"].is_null() {
        fields(root, &schema["items"], &format!("{path}[]"), lines);
    }
    for alternative in ["anyOf", "oneOf"].iter().flat_map(|word| schema[*word].as_array().into_iter().flatten()) {
        fields(root, alternative, path, lines);
    }
}

fn resolved<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let to = schema["$ref"].as_str().and_then(|reference| root.pointer(reference.trim_start_matches('#')));
    to.unwrap_or(schema)
}

fn types(root: &Value, schema: &Value) -> Vec<String> {
    let schema = resolved(root, schema);
    let named = match &schema["type"] {
        Value::String(name) => vec![name.clone()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    let alternatives = ["anyOf", "oneOf"].iter().flat_map(|word| schema[*word].as_array().into_iter().flatten());
    named.into_iter().chain(alternatives.flat_map(|alternative| types(root, alternative))).collect()
}
