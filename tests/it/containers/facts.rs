//! Facts of a live Docker daemon are those that its own client prints.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::machine::{output, run};
use crate::support::{has_program, skip};

#[test]
fn a_running_docker_daemon_is_read_over_its_socket_as_its_client_reads_it() {
    if !has_program("docker") || !Command::new("docker").arg("info").output().is_ok_and(|out| out.status.success()) {
        return skip("no Docker daemon answers");
    }
    let facts: Value =
        serde_json::from_slice(&output(env!("CARGO_BIN_EXE_mitigator-vpn"), &["facts"])).expect("facts are JSON");
    let version = run("docker", &["version", "--format", "{{.Server.Version}}"]);
    assert_eq!(facts["docker"]["daemon"], json!({ "Ok": version.trim() }));
    // Other tests make and remove networks meanwhile; this one is always there.
    assert!(run("docker", &["network", "ls", "--format", "{{.Name}}"]).contains("host\n"));
    assert_eq!(facts["docker"]["networks"]["host"], json!([]));
}
