//! No key gets out.

use std::fs;

use mitigator_vpn::wireguard::PrivateKey;
use nix::sys::signal::Signal;

use crate::wire::{BINARY, Instance, Wire, possible, said};

/// Whether a private key is in a text, in base64 or hexadecimal, or as numbers that somebody debugs.
fn leaks(text: &str, key: &PrivateKey) -> bool {
    let hex: String = key.expose_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers = format!("{:?}", &key.expose_bytes()[..8]);
    let numbers = numbers.trim_matches(['[', ']']);
    text.contains(&*key.expose()) || text.to_lowercase().contains(&hex) || text.contains(numbers)
}

#[test]
fn a_planted_leak_is_caught() {
    let key = PrivateKey::generate();
    for leak in [key.expose().to_string(), format!("{:?}", wireguard_control::Key(*key.expose_bytes()).0)] {
        assert!(leaks(&format!("a log line with {leak} in it"), &key));
    }
    assert!(!leaks(&key.public().to_string(), &key));
}

#[test]
fn a_private_key_is_in_no_output_log_note_or_process_list() {
    if !possible("a_private_key_is_in_no_output_log_note_or_process_list") {
        return;
    }
    let wire = Wire::new();
    let mut all = Instance::cluster(2);
    all.iter_mut().for_each(|instance| instance.up(&wire));
    let gateway = &all[0];
    let mut seen = vec![said(&gateway.reconfigure())];
    for words in [
        &["gateway", "status"][..],
        &["gateway", "status", "--json"],
        &["gateway", "reconfigure", "--json"],
        &["gateway", "run", "--address", "10.8.3.1/24", "--interface", "lo"],
        &["gateway", "run", "--address", "10.8.3.1"],
    ] {
        let mut command = gateway.inside(BINARY);
        seen.push(said(&command.args(words).env("RUST_LOG", "trace").env("RUST_BACKTRACE", "1").output().unwrap()));
    }
    // Files that are wrong in the very line of the key.
    let private = gateway.dir.path().join("vpn-private.conf");
    let right = fs::read_to_string(&private).unwrap();
    for wrong in [right.replace("PrivateKey =", "PrivateKey = x"), right.replace("PrivateKey", "PublicKey")] {
        fs::write(&private, wrong).unwrap();
        let output = gateway.reconfigure();
        assert_eq!(output.status.code(), Some(2));
        seen.push(said(&output));
    }
    fs::write(gateway.public_conf(), &right).unwrap();
    seen.push(said(&gateway.reconfigure()));

    let notes = format!("/proc/{}/root/run/mitigator-vpn", gateway.pid());
    for note in fs::read_dir(notes).unwrap() {
        seen.push(fs::read_to_string(note.unwrap().path()).unwrap());
    }
    for process in fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()) {
        for what in ["cmdline", "environ"] {
            seen.push(String::from_utf8_lossy(&fs::read(process.path().join(what)).unwrap_or_default()).into_owned());
        }
    }
    assert_eq!(all[0].stop(Signal::SIGTERM).0, 0);
    seen.push(all[0].log());
    for text in seen {
        assert!(!leaks(&text, &all[0].key), "a key has got out");
    }
}
