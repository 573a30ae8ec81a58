//! No private key leaks from a gateway.

use std::fs;

use nix::sys::signal::Signal;

use super::wire::{BINARY, Instance, Wire, list, possible, said};
use crate::support::secret::Canary;

#[test]
fn a_private_key_is_in_no_output_log_note_or_process_list() {
    if !possible() {
        return;
    }
    let wire = Wire::new();
    let canary = Canary::new();
    let mut gateway = Instance::with_key(1, canary.text.parse().unwrap());
    let all = list([&gateway, &Instance::new(2)]);
    gateway.write_public(&all);
    gateway.up(&wire);
    let mut seen = vec![("reconfigure".to_owned(), said(&gateway.reconfigure()))];
    for words in [
        "gateway status",
        "gateway status --json",
        "gateway reconfigure --json",
        "gateway run --address 10.8.3.1",
        "gateway run --address 10.8.3.1/24 --interface lo",
        "gateway run --address 10.8.3.1/24 --public /srv/private.conf",
    ] {
        let mut command = gateway.inside(BINARY);
        command.args(words.split(' ')).env("MITIGATOR_VPN_LOG", "trace").env("RUST_BACKTRACE", "1");
        seen.push((words.to_owned(), said(&command.output().unwrap())));
    }
    // Files that are wrong in the very line of the key.
    let private = gateway.dir.path().join("vpn-private.conf");
    let right = fs::read_to_string(&private).unwrap();
    for wrong in [right.replace("PrivateKey =", "PrivateKey = x"), right.replace("PrivateKey", "PublicKey")] {
        fs::write(&private, wrong).unwrap();
        let output = gateway.reconfigure();
        assert_eq!(output.status.code(), Some(2));
        seen.push(("reconfigure with a broken key".to_owned(), said(&output)));
    }

    let mut files = vec![gateway.dir.path().join("log")];
    let notes = format!("/proc/{}/root/run/mitigator-vpn", gateway.pid());
    files.extend(fs::read_dir(notes).unwrap().map(|note| note.unwrap().path()));
    for process in fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()) {
        files.extend(["cmdline", "environ"].map(|what| process.path().join(what)));
    }
    for file in files {
        // A process that has ended since has nothing to tell.
        canary.is_not_in(&file.display().to_string(), &fs::read(&file).unwrap_or_default());
    }
    assert_eq!(gateway.stop(Signal::SIGTERM).0, 0);
    seen.push(("the log".to_owned(), gateway.log()));
    for (place, text) in seen {
        canary.is_not_in(&place, text.as_bytes());
    }
}
