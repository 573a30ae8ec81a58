//! A private key leaves its file in no form and by no way. (What the search itself can see is tested in `harness.rs`.)

mod support;

use support::call::{Call, Ran};
use support::container::{ContainerHost, NO_MODULES_HERE};
use support::machine::Machine;
use support::processes::seen_during;
use support::secret::Canary;
use support::strace::Trace;
use support::tree::TreeHost;
use support::{Host, has_program};

const PRIVATE: &str = "/srv/mitigator/vpn-private.conf";
const INSTANCE: &str = "--vpn-address 10.8.3.1 --endpoint 192.0.2.1";
const OTHER_KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

/// Calls that say as much as they can.
fn loud(call: Call<'_>) -> Call<'_> {
    call.env("MITIGATOR_VPN_LOG", "trace").env("RUST_BACKTRACE", "full")
}

fn assert_silent(canary: &Canary, ran: &Ran) {
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
            // The wrong file by a slip of the hand.
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

/// Every string that a run hands to the kernel, in arguments, environments and writes: the key may only go into its file.
#[test]
fn no_process_is_given_the_key_and_nothing_but_its_file_is_written_with_it() {
    if !has_program("strace") {
        return;
    }
    let canary = Canary::new();
    let tree = TreeHost::with_vendor_stack().file(PRIVATE, canary.private_conf());
    for command in [format!("install {INSTANCE} --port 4568 --yes"), "status --json".into(), "undo --yes".into()] {
        let calls = "execve,write,pwrite64,writev,pwritev,sendto,sendmsg";
        let (_, trace) = Trace::of(&tree, calls, loud(tree.vpn(&command)));
        for line in trace.lines.iter().filter(|line| canary.leaks_in(line.as_bytes()).is_some()) {
            let file = line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(file, _)| file);
            let name = file.rsplit('/').next().unwrap_or_default();
            assert!(name.contains("vpn-private.conf"), "{command}: {line}");
        }
    }
}

#[test]
fn the_key_of_a_live_host_is_in_no_process_log_container_or_file() {
    let Some(host) = ContainerHost::up("secret") else { return };
    let canary = Canary::new();
    host.write(PRIVATE, canary.private_conf());

    let seen = seen_during(|| {
        let (ran, trace) = Trace::of(&host, "execve", loud(host.install(1)));
        assert_silent(&canary, &ran.exits(0));
        canary.is_not_in("an argument or an environment", trace.lines.join("\n").as_bytes());
        for command in
            ["preflight", "plan", "status", "status --json", "install --yes --json", "install --port 4568 --yes"]
        {
            assert_silent(&canary, &loud(host.vpn(&format!("{command} {NO_MODULES_HERE}"))).run());
        }
        for words in
            ["exec -T gateway reconfigure", "exec -T gateway mitigator-vpn gateway status --json", "logs", "config"]
        {
            assert_silent(&canary, &host.shell(&format!("cd /srv/mitigator && docker-compose {words}")).run());
        }
    });
    assert!(seen.iter().any(|line| line.starts_with(b"/usr/local/bin/mitigator-vpn\0")), "the watcher saw nothing");
    for bytes in &seen {
        canary.is_not_in("a process", bytes);
    }
    for script in
        ["docker ps -aq | xargs docker inspect", "docker ps -q | xargs -n1 docker logs", "journalctl -b -a --no-pager"]
    {
        let ran = host.shell(script).run().exits(0);
        assert_silent(&canary, &ran);
    }
    // The whole disk, the daemon's and the journals' part of it as well.
    let files = host
        .shell("grep -rlaF -D skip -e \"$0\" /etc /home /opt /root /run /srv /tmp /usr /var")
        .arg(&canary.text)
        .run();
    assert_eq!(files.out().trim(), PRIVATE);
}
