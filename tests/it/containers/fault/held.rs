//! Faults where a gateway holds the list: it is written in place, behind a redo copy, and taken over into the live tunnel.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use super::{Errors, last_reply_in, requests};
use crate::containers::fleet::cluster::{Cluster, PUBLIC, members};
use crate::containers::gateway::wire::{BINARY, Instance, Wire, list, possible};
use crate::support::call::Call;
use crate::support::fault::{each_fault, is_honest, moments, moments_of};
use crate::support::tree::TreeHost;
use crate::support::{Host, has_program, is_root};
use crate::unit::peers::{add, section, two};
use mitigator_vpn::wireguard::ListDigest;

/// A mount namespace in which a list is mounted by its inode, as in a container.
struct Holder(Child);

impl Holder {
    fn of(tree: &TreeHost) -> Self {
        let (list, held) = (tree.at("/list.conf").display().to_string(), tree.at("/held").display().to_string());
        let hold = format!("mount --bind {list} {held} && echo mounted && exec sleep 300");
        let mut holder = Command::new("unshare");
        holder.args(["--mount", "sh", "-c", &hold]).stdout(Stdio::piped());
        let mut holder = Holder(holder.spawn().expect("unshare is there"));
        let mut line = [0; 8];
        holder.0.stdout.as_mut().expect("it is piped").read_exact(&mut line).expect("it mounts");
        holder
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `peers add` to a list that is mounted somewhere.
pub(super) fn edit(errors: Errors) {
    if !is_root() || !has_program("strace") {
        return;
    }
    let fresh = || TreeHost::bare().file("/list.conf", two()).file("/held", "");
    let new = format!("{}\n{}", two(), section(3));
    let call = |tree: &TreeHost| format!("{} {}", add(3), tree.at("/list.conf").display());
    let traced = fresh();
    let holder = Holder::of(&traced);
    let place = traced.at("/").display().to_string();
    let moments = moments(
        traced.vpn(&call(&traced)),
        &[place.trim_end_matches('/'), "/run/mitigator-vpn", "/var/lib/mitigator-vpn"],
    );
    assert_eq!(traced.text("/list.conf"), new);
    assert!(moments.len() >= 10, "in place, behind a copy: {moments:?}");
    drop(holder);
    each_fault(&moments, errors, |_, fault| {
        let tree = fresh();
        let _holder = Holder::of(&tree);
        let ran = fault.strike(tree.vpn(&call(&tree)));
        is_honest(&ran);
        if ran.code == Some(0) {
            assert_eq!(tree.text("/list.conf"), new, "{ran}");
        }
        // What was made durable beside the file counts: the member may be there already.
        let again = tree.vpn(&call(&tree)).run().exits_with_one_of(&[0, 2]);
        assert_eq!(tree.text("/list.conf"), new, "{again}");
        let left = std::fs::read_dir(tree.at("/")).expect("our own tree").filter_map(|entry| entry.ok());
        let left: Vec<_> =
            left.map(|entry| entry.file_name()).filter(|n| n.to_string_lossy().contains("mitigator")).collect();
        assert!(left.is_empty(), "{left:?}");
        ran.code
    });
}

/// `gateway reconfigure`, between a list of two and one of three members.
pub(super) fn reconfigure(errors: Errors) {
    if !possible() || !has_program("strace") {
        return;
    }
    let wire = Wire::new();
    let mut all = Instance::cluster(3);
    let lists = [list(&all[..2]), list(&all)];
    let peers = [vec!["10.8.3.2"], vec!["10.8.3.2", "10.8.3.3"]];
    let first = &mut all[0];
    first.write_public(&lists[0]);
    first.up(&wire);
    let first = &all[0];
    let command = |program: &str| {
        let mut command = first.inside(program);
        command.args(["gateway", "reconfigure"]);
        command
    };
    first.write_public(&lists[1]);
    let moments = moments_of(&command(BINARY), &["/run/mitigator-vpn"]);
    assert_eq!(first.peers(), peers[1]);
    each_fault(&moments, errors, |number, fault| {
        let (old, new) = (&peers[(number + 1) % 2], &peers[number % 2]);
        first.write_public(&lists[number % 2]);
        let ran = fault.strike_command(&command(BINARY));
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.code().is_some_and(|code| (0..=7).contains(&code)), "no exit code of ours: {said}");
        let live = first.peers();
        assert!(live == *new || (!ran.status.success() && live == *old), "{live:?}: {said}");
        let again = first.reconfigure();
        assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
        assert_eq!(first.peers(), *new);
        ran.status.code()
    });
}

/// The agent on a host whose gateway runs, where the list changes and nothing else.
pub(super) fn agent() {
    if !has_program("strace") {
        return;
    }
    let Some(cluster) = Cluster::up("fault", 2, 2) else { return };
    cluster.call("apply").run().exits(0);
    let host = cluster.host(1);
    let two = host.text(PUBLIC);
    let lists = [two.clone(), format!("{two}\n{}", section(9))];
    let session = |list: &str| {
        let here = cluster.list(1).map(|text| ListDigest::of(&text));
        let requests = requests(here, list, host.address(), "full");
        // strace runs on this machine, and its child goes into the host: there is no strace there.
        host.command(
            &Call::new(host, ["sh", "-c", "printf %s \"$0\" | exec \"$1\" session"])
                .arg(requests)
                .arg(&host.program()[0]),
        )
    };
    let moments = moments_of(&session(&lists[1]), &["/srv/mitigator", "/var/lib/mitigator-vpn", "/run/mitigator-vpn"]);
    assert_eq!(host.text(PUBLIC), lists[1]);
    each_fault(&moments, Errors::All, |number, fault| {
        let (old, new) = (&lists[(number + 1) % 2], &lists[number % 2]);
        let ran = fault.strike_command(&session(new));
        let applied = last_reply_in(&String::from_utf8_lossy(&ran.stdout)).get("applied").is_some();
        let list = cluster.list(1).expect("nobody removes it");
        assert!(list == *new || (!applied && list == *old), "neither the old list nor the new one:\n{list}");
        if applied {
            assert_eq!(cluster.live(1).len(), members(new) - 1);
        }
        let again = session(new).output().expect("nsenter is there");
        let said = String::from_utf8_lossy(&again.stdout).into_owned();
        assert!(last_reply_in(&said).get("applied").is_some(), "{said}{}", String::from_utf8_lossy(&again.stderr));
        assert_eq!(host.text(PUBLIC), *new);
        assert_eq!(cluster.live(1).len(), members(new) - 1);
        Some(i32::from(!applied))
    });
}
