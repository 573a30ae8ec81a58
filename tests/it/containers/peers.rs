//! Lists that need root to set up: owned by another user, mounted in a container, on full and read-only disks.

use std::os::unix::fs::MetadataExt;

use crate::support::private_mounts::{Mount, with_private_mounts};
use crate::support::tree::TreeHost;
use crate::support::{Host, is_root};
use crate::unit::peers::{add, section, two};

#[test]
fn an_unreadable_list_is_bad_input() {
    if !is_root() {
        return;
    }
    let tree = TreeHost::bare().file("/closed.conf", two()).mode("/closed.conf", 0o600);
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    // The repository has to be in a directory that other users may enter.
    tree.vpn("--version").under(nobody).run().exits(0);
    let file = tree.at("/closed.conf").display().to_string();
    for command in ["list", "check"] {
        let call = tree.call(env!("CARGO_BIN_EXE_mitigator-vpn")).arg("peers").arg(command).arg(&file);
        call.under(nobody).run().exits(2).says("ermission denied");
    }
}

#[test]
fn a_list_that_a_container_holds_is_written_in_place() {
    if !is_root() {
        return;
    }
    let tree = TreeHost::bare().file("/list.conf", two()).file("/held", "");
    let (list, held) = (tree.at("/list.conf").display().to_string(), tree.at("/held").display().to_string());
    let inode = std::fs::metadata(&list).expect("our own file").ino();
    // What a container does: another mount namespace, in which the file is mounted by its inode.
    let hold = format!("mount --bind {list} {held} && echo mounted && exec sleep 300");
    let mut holder = std::process::Command::new("unshare");
    holder.args(["--mount", "sh", "-c", &hold]).stdout(std::process::Stdio::piped());
    let mut holder = holder.spawn().expect("unshare is there");
    let mut line = [0; 8];
    std::io::Read::read_exact(holder.stdout.as_mut().expect("it is piped"), &mut line).expect("it mounts");
    let ran = tree.vpn(&format!("{} {list}", add(3))).run();
    let seen = std::fs::read_to_string(format!("/proc/{}/root{held}", holder.id()));
    holder.kill().expect("our own child");
    holder.wait().expect("our own child");
    ran.exits(0);
    assert_eq!(std::fs::metadata(&list).expect("our own file").ino(), inode);
    assert_eq!(seen.expect("the holder sees it"), format!("{}\n{}", two(), section(3)));
    // It is no longer mounted anywhere.
    tree.vpn(&format!("peers remove 10.8.3.3 {list}")).run().exits(0);
    assert_ne!(std::fs::metadata(&list).expect("our own file").ino(), inode);
}

#[test]
fn a_full_or_read_only_disk_leaves_the_list_as_it_was() {
    if !is_root() {
        return;
    }
    with_private_mounts(|| {
        let tree = TreeHost::bare().directory("/full").directory("/closed").file("/closed/list.conf", two());
        let _full = Mount::tmpfs(&tree.at("/full"), "64k");
        tree.write("/full/list.conf", two());
        let rest = std::fs::write(tree.at("/full/rest"), vec![0; 1 << 20]);
        assert!(rest.is_err(), "the disk is full now");
        let _closed = Mount::read_only(&tree.at("/closed"));
        for (file, reason, way_out) in [
            ("/full/list.conf", "No space left on device", "make room"),
            ("/closed/list.conf", "Read-only file system", "remount it writable"),
        ] {
            let path = tree.at(file).display().to_string();
            tree.vpn(&format!("{} {path}", add(3))).run().exits_with_one_of(&[1, 2, 6]).says(reason).says(way_out);
            assert_eq!(tree.text(file), two());
        }
    });
}
