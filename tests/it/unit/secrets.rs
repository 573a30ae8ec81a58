//! A private key never leaves its file in any form. (The search for it is tested in `harness.rs`.)

use crate::support::Host;
use crate::support::call::{Call, Ran};
use crate::support::secret::Canary;
use crate::support::tree::TreeHost;

pub const PRIVATE: &str = "/srv/mitigator/vpn-private.conf";
pub const INSTANCE: &str = "--vpn-address 10.8.3.1 --endpoint 192.0.2.1";
const OTHER_KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

/// Calls with all logging switched on.
pub fn loud(call: Call<'_>) -> Call<'_> {
    call.env("MITIGATOR_VPN_LOG", "trace").env("RUST_BACKTRACE", "full")
}

pub fn assert_silent(canary: &Canary, ran: &Ran) {
    canary.is_not_in("standard output", &ran.stdout);
    canary.is_not_in("standard error", &ran.stderr);
}

/// Everything that can be called with a tree.
fn commands(tree: &TreeHost) -> Vec<String> {
    let [private, other] =
        ["/srv/mitigator/vpn-private.conf", "/root/other.conf"].map(|path| tree.at(path).display().to_string());
    let mut commands = Vec::new();
    for json in ["", " --json", " --json=events"] {
        commands.extend([
            format!("preflight {INSTANCE}{json}"),
            format!("plan {INSTANCE}{json}"),
            format!("install {INSTANCE} --yes{json}"),
            format!("install {INSTANCE} --port 4568 --yes{json}"),
            format!("install {INSTANCE} --port 4567 --yes{json}"),
            format!("status{json}"),
            format!("peers list{json}"),
            format!("peers check{json}"),
            format!("peers add --public-key {OTHER_KEY} --vpn-address 10.8.3.9 --endpoint 192.0.2.9:4567{json}"),
            format!("peers diff {other}{json}"),
            format!("peers remove 10.8.3.9{json}"),
            // The private file given by mistake.
            format!("peers list {private}{json}"),
            format!("peers check {private}{json}"),
            format!("peers diff {private}{json}"),
            format!("install {INSTANCE} --peers {private} --yes{json}"),
            format!("undo --yes{json}"),
        ]);
    }
    commands
}

#[test]
fn no_command_prints_logs_or_writes_the_key_of_a_tree() {
    let canary = Canary::new();
    let tree = TreeHost::with_vendor_stack().file(PRIVATE, canary.private_conf());
    for command in commands(&tree) {
        assert_silent(&canary, &loud(tree.vpn(&command)).run());
        assert_only_in_its_file(&canary, &tree);
    }
    assert!(tree.text(PRIVATE).contains(&canary.text), "it was there all the time");
}

/// No file of the tree has it but its own.
fn assert_only_in_its_file(canary: &Canary, tree: &TreeHost) {
    let root = tree.at("").display().to_string();
    let files = tree.call("find").arg(root).arg("-type").arg("f").run();
    for file in files.out().lines().filter(|file| !file.ends_with(PRIVATE)) {
        let bytes = tree.call("cat").arg(file).run().exits(0).stdout;
        canary.is_not_in(file, &bytes);
    }
}

#[test]
fn a_damaged_private_file_is_not_quoted() {
    let canary = Canary::new();
    let key = &canary.text;
    for text in [
        format!("PrivateKey = {key}\n"),
        format!("[Interface]\nPrivateKey = {key}=\n"),
        format!("[Interface]\nPrivateKey {key}\n"),
        format!("[Interface]\n{key}\n"),
        format!("[Interface]\nPrivateKey = {key}\nPrivateKey = {key}\n"),
        format!("[Interface]\nPrivateKey = {key}\nListenPort = {key}\n"),
        format!("[{key}]\n"),
        format!("[Interface]\n{key} = 1\n"),
        format!("[Interface]\nPrivateKey = {key}\u{0}\n"),
        format!("# {key}\n[Interface]\nPrivateKey = {key}\n"),
        format!("[Peer]\nPublicKey = {OTHER_KEY}\nPresharedKey = {key}\n"),
    ] {
        let tree = TreeHost::with_vendor_stack().file(PRIVATE, &text);
        for command in commands(&tree) {
            assert_silent(&canary, &loud(tree.vpn(&command)).run());
        }
        assert_only_in_its_file(&canary, &tree);
    }
}

#[test]
fn a_key_in_the_wrong_file_is_not_quoted() {
    let canary = Canary::new();
    let key = &canary.text;
    for (path, text) in [
        ("/srv/mitigator/vpn-public.conf", format!("[Interface]\nPrivateKey = {key}\n")),
        ("/srv/mitigator/vpn-public.conf", format!("[Peer]\nPublicKey = {OTHER_KEY}\nPresharedKey = {key}\n")),
        ("/srv/mitigator/.env", format!("A=\"{key}\nCOMPOSE_FILE=x\n")),
        ("/srv/mitigator/.env", format!("{key}\nMITIGATOR_VPN_KEY={key}\n")),
    ] {
        let tree = TreeHost::with_vendor_stack().file(path, &text);
        for command in commands(&tree).iter().filter(|command| !command.starts_with("peers add")) {
            assert_silent(&canary, &loud(tree.vpn(command)).run());
        }
    }
}
