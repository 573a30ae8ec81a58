//! Each command prints one JSON document of the published shape, and nothing else, on standard output; exit codes agree
//! with it.

use crate::support::Host;
use crate::support::call::Ran;
use crate::support::tree::TreeHost;
use serde_json::Value;

const INSTANCE: &str = "--vpn-address 10.8.3.1 --endpoint 192.0.2.1";

/// The tree's commands in the order of a life, with the document each prints and the exit code it ends with.
const LIFE: [(&str, &str, i32); 10] = [
    ("preflight", "preflight", 0),
    ("status", "status", 5),
    ("plan {instance}", "plan", 0),
    ("install {instance} --yes", "install", 0),
    ("install", "install", 0),
    ("status", "status", 0),
    ("peers list", "peers list", 0),
    ("peers check", "peers check", 0),
    ("undo --yes", "undo", 0),
    ("undo --yes", "undo", 0),
];

fn command(words: &str) -> String {
    words.replace("{instance}", INSTANCE)
}

/// The properties that a schema has, and those that a document must have.
fn properties(schema: &Value) -> (Vec<&str>, Vec<&str>) {
    let all = schema["properties"].as_object().map(|o| o.keys().map(String::as_str).collect()).unwrap_or_default();
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    (all, required)
}

#[track_caller]
fn assert_of_shape(document: &Value, schema: &Value) {
    let (all, required) = properties(schema);
    let keys: Vec<&str> = document.as_object().expect("an object").keys().map(String::as_str).collect();
    assert!(!all.is_empty() && keys.iter().all(|key| all.contains(key)), "{keys:?} are not all in the schema: {all:?}");
    assert!(required.iter().all(|key| keys.contains(key)), "{required:?} are not all there: {keys:?}");
}

#[test]
fn every_command_prints_one_document_of_the_published_shape() {
    let tree = TreeHost::with_vendor_stack();
    let schemas = tree.vpn("schema").run().exits(0).json();
    for (words, name, code) in LIFE {
        let document = tree.vpn(&command(words)).arg("--json").run().exits(code).json();
        assert_eq!(document["schema"], schemas["schema"], "{words}");
        assert_of_shape(&document, &schemas[name]);
    }
}

#[test]
fn a_preflight_names_each_check_once_with_its_verdict_and_a_hint_for_each_that_fails() {
    let tree = TreeHost::with_vendor_stack().file("/etc/os-release", "ID=arch\n");
    let document = tree.vpn(&format!("preflight {INSTANCE} --json")).run().exits(3).json();
    assert_eq!(document["outcome"], "fail");
    let mut ids = std::collections::BTreeSet::new();
    for finding in document["findings"].as_array().expect("a list") {
        let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        assert!(ids.insert(text("id")), "twice: {finding}");
        assert!(["pass", "warn", "fail", "unknown"].contains(&text("outcome").as_str()), "{finding}");
        assert!(!text("title").is_empty() && !text("detail").is_empty(), "{finding}");
        assert!(!["warn", "fail"].contains(&text("outcome").as_str()) || !text("hint").is_empty(), "{finding}");
    }
    // Scripts use these ids with --ignore.
    for id in
        "supported-release root disk-space memory kernel-wireguard secure-boot virtualization dpkg-lock dpkg-healthy \
               apt-sources docker docker-not-snap compose conf-is-file mount-fresh env-file compose-files vpn-address \
               address-unique subnet-free endpoint udp-port-free key-pair sample-key clock"
            .split_whitespace()
    {
        assert!(ids.contains(id), "{id} is promised");
        tree.vpn(&format!("explain {id}")).run().exits(0).says(id);
    }
    let ignored = tree.vpn(&format!("preflight {INSTANCE} --ignore supported-release --json")).run().exits(0).json();
    let findings = ignored["findings"].as_array().expect("a list").clone();
    let ignored = findings.iter().find(|finding| finding["id"] == "supported-release").expect("it is still there");
    assert_eq!((&ignored["outcome"], &ignored["ignored"]), (&"warn".into(), &true.into()), "visibly");
}

#[test]
fn events_are_one_object_a_line_and_end_with_the_result() {
    let tree = TreeHost::with_vendor_stack();
    let events = |ran: Ran| -> Vec<Value> {
        ran.out().lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    };
    let install = events(tree.vpn(&format!("install {INSTANCE} --yes --json=events")).run().exits(0));
    assert!(install.len() > 10, "{install:#?}");
    assert!(install.iter().all(|event| event["event"].is_string()));
    let result = install.last().expect("events");
    assert_eq!((&result["event"], &result["result"]["outcome"]), (&"result".into(), &"pass".into()));
    let undo = events(tree.vpn("undo --yes --json=events").run().exits(0));
    assert_eq!(undo.last().expect("events")["event"], "result");
}

#[test]
fn an_error_leaves_standard_output_empty_and_has_a_document_for_programs() {
    let tree = TreeHost::with_vendor_stack().file("/srv/mitigator/vpn-public.conf", "nonsense\n");
    for words in ["plan {instance}", "install {instance} --yes", "peers list", "explain nothing", "--nonsense", "peers"]
    {
        let ran = tree.vpn(&command(words)).run().exits(2);
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{words}\n{ran}");
        let ran = tree.vpn(&command(words)).arg("--json").run().exits(2);
        let document = ran.json();
        assert_eq!((&document["error"]["exit"], &document["outcome"]), (&2.into(), &"fail".into()), "{ran}");
        let message = document["error"]["message"].as_str().unwrap_or_default();
        assert!(!message.is_empty() && ran.err().contains(message.lines().next().unwrap_or_default()), "{ran}");
        let ran = tree.vpn(&command(words)).arg("--json=events").run().exits(2);
        let last: Value = serde_json::from_str(ran.out().lines().last().unwrap_or_default()).expect("an object");
        assert_eq!((&last["event"], &last["result"]), (&"result".into(), &document), "{ran}");
    }
}

#[test]
fn a_question_that_nobody_can_answer_has_its_document() {
    let tree = TreeHost::with_vendor_stack();
    let install = tree.vpn(&command("install {instance}")).arg("--json").run().exits(2).json();
    tree.vpn(&command("install {instance} --yes")).run().exits(0);
    let undo = tree.vpn("undo --json").run().exits(2).json();
    assert_eq!(
        undo["error"]["hints"],
        serde_json::json!(["to take it back without a question: mitigator-vpn undo --yes"])
    );
    for document in [install, undo] {
        assert!(document["error"]["hints"][0].as_str().unwrap_or_default().contains("--yes"), "{document}");
    }
}

#[test]
fn nothing_is_coloured_without_a_terminal_and_everything_on_demand() {
    let tree = TreeHost::with_vendor_stack();
    let escape = "\u{1b}[";
    for words in ["preflight", "plan {instance}", "status", "--help", "install --help"] {
        tree.vpn(&command(words)).run().does_not_say(escape);
    }
    tree.vpn("preflight --color always").run().says(escape);
    tree.vpn("preflight --color never").env("CLICOLOR_FORCE", "1").run().does_not_say(escape);
    tree.vpn("preflight").env("NO_COLOR", "1").env("CLICOLOR_FORCE", "1").run().does_not_say(escape);
}

#[test]
fn a_closed_output_pipe_is_no_failure() {
    let tree = TreeHost::with_vendor_stack();
    let words: Vec<String> = tree.program();
    let script = r#"set -o pipefail; "$@" | true"#;
    for arguments in ["preflight", "man", "schema", "--help", "completions bash", "explain"] {
        let call = words.iter().map(String::as_str).chain(arguments.split(' '));
        let ran = crate::support::call::Call::new(&tree, ["bash", "-c", script, "bash"].into_iter().chain(call))
            .run()
            .exits(0);
        assert!(ran.stderr.is_empty(), "{arguments}\n{ran}");
    }
}

#[test]
fn a_journal_of_a_newer_version_is_refused() {
    let tree = TreeHost::with_vendor_stack();
    tree.vpn(&format!("install {INSTANCE} --yes")).run().exits(0);
    let journal = "/var/lib/mitigator-vpn/journal.ndjson";
    tree.write(journal, tree.text(journal).replacen("\"format\":2", "\"format\":3", 1));
    let before = tree.snapshot();
    for words in ["undo --yes", "install --endpoint 192.0.2.9 --yes"] {
        tree.vpn(words).run().exits(2).says("a newer mitigator-vpn");
    }
    before.is_untouched_in(&tree.snapshot());
}
