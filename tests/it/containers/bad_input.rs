//! Bad input that needs root to set up: other users, read-only and full disks.

use crate::support::private_mounts::{Mount, with_private_mounts};
use crate::support::tree::TreeHost;
use crate::support::{Host, is_root};
use crate::unit::bad_input::{ENV, INSTANCE, KEY_A, PUBLIC, section};

#[test]
fn another_user_than_root_changes_nothing() {
    if !is_root() {
        return;
    }
    let tree = TreeHost::with_vendor_stack();
    let before = tree.snapshot();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    tree.vpn(&format!("install {INSTANCE} --yes")).under(nobody).run().exits_with_one_of(&[2, 3]).says("root");
    before.is_untouched_in(&tree.snapshot());
    // A list can be looked at by anybody.
    let list = TreeHost::bare().file("/list", section(KEY_A, "10.8.3.7/32", "192.0.2.7:4567")).mode("/list", 0o644);
    let file = list.at("/list").display().to_string();
    list.vpn(&format!("peers list {file}")).under(nobody).run().exits(0).says("10.8.3.7");
}

#[test]
fn a_file_of_another_user_is_refused_by_name() {
    if !is_root() {
        return;
    }
    let tree = TreeHost::bare().file("/list", section(KEY_A, "10.8.3.7/32", "192.0.2.7:4567")).mode("/list", 0o600);
    let file = tree.at("/list").display().to_string();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    tree.vpn(&format!("peers list {file}")).under(nobody).run().exits(2).says(&file).says("ermission denied");
}

#[test]
fn a_read_only_file_system_is_reported_before_anything_changes() {
    if !is_root() {
        return;
    }
    with_private_mounts(|| {
        let tree = TreeHost::with_vendor_stack();
        let before = tree.snapshot();
        let _read_only = Mount::read_only(&tree.at(""));
        let ran = tree.vpn(&format!("install {INSTANCE} --yes")).run();
        let ran = ran.exits_with_one_of(&[1, 2, 3, 6]).says("ead-only file system");
        assert!(ran.out().contains("→ ") || ran.err().contains("→ "), "no way out\n{ran}");
        tree.vpn(&format!("plan {INSTANCE}")).run().exits_with_one_of(&[0, 3]);
        before.is_untouched_in(&tree.snapshot());
    });
}

/// Fills a tree's disk by `/filler`, up to so many pages.
fn fill_up(tree: &TreeHost, pages: usize) {
    tree.shell("dd if=/dev/zero of=\"$0/filler\" bs=4k status=none; truncate -s -$(($1 * 4096)) \"$0/filler\"; true")
        .arg(tree.at("").display().to_string())
        .arg(pages.to_string())
        .run()
        .exits(0);
}

#[test]
fn a_full_disk_leaves_old_files_whole_and_the_error_has_a_hint() {
    if !is_root() {
        return;
    }
    with_private_mounts(|| {
        // From no free space up to enough for everything, so that each step runs out of space once.
        let mut installed = false;
        for pages in 0..40 {
            let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
            let _disk = Mount::tmpfs(dir.path(), "512k");
            let tree = TreeHost::bare_at(dir.path()).file("/srv/mitigator/docker-compose.yml", "services: {}\n");
            let tree = tree.file(ENV, "A=1\n").file(PUBLIC, section(KEY_A, "10.8.3.7/32", "192.0.2.7:4567"));
            let before = tree.snapshot();
            fill_up(&tree, pages);
            let ran = tree.vpn(&format!("install {INSTANCE} --yes --ignore disk-space")).run();
            if ran.code == Some(0) {
                installed = true;
            } else {
                let ran = ran.exits_with_one_of(&[1, 2, 3, 6]).says("No space left on device").says("df ");
                assert!(!installed, "more space, yet not enough\n{ran}");
                for path in [ENV, PUBLIC] {
                    let text = tree.text(path);
                    assert!(text.starts_with("A=1\n") || text.starts_with("[Peer]"), "{path} is torn: {text}");
                }
                // With free space again, the run can be completed or undone.
                tree.remove("/filler");
                if pages % 2 == 0 {
                    tree.vpn(&format!("install {INSTANCE} --yes --ignore disk-space")).run().exits(0);
                }
                tree.vpn("undo --yes").run().exits(0);
                before.is_given_back_in(&tree.snapshot());
            }
        }
        assert!(installed, "it never had enough space");
    });
}

/// The names of `COMPOSE_FILE` in `.env` of which there are no files.
fn missing_files(tree: &TreeHost) -> Vec<String> {
    let env = tree.text(ENV);
    let line = env.lines().find_map(|line| line.strip_prefix("COMPOSE_FILE="));
    let names = line.into_iter().flat_map(|names| names.split(':'));
    names.filter(|name| !tree.has(&format!("/srv/mitigator/{name}"))).map(str::to_owned).collect()
}

/// The disk is really full: nothing but what undo removes makes room on it.
#[test]
fn undo_on_a_full_disk_leaves_no_env_that_names_a_missing_file_and_says_what_to_do() {
    if !is_root() {
        return;
    }
    with_private_mounts(|| {
        let mut undone = 0;
        let mut refused = 0;
        for pages in 0..12 {
            let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
            let _disk = Mount::tmpfs(dir.path(), "512k");
            let tree = TreeHost::bare_at(dir.path()).file("/srv/mitigator/docker-compose.yml", "services: {}\n");
            let tree = tree.file(ENV, "A=1\n").file(PUBLIC, section(KEY_A, "10.8.3.7/32", "192.0.2.7:4567"));
            let before = tree.snapshot();
            tree.vpn(&format!("install {INSTANCE} --yes --ignore disk-space")).run().exits(0);
            assert!(tree.text(ENV).contains("COMPOSE_FILE=") && missing_files(&tree).is_empty());
            fill_up(&tree, pages);
            let ran = tree.vpn("undo --yes").run();
            assert_eq!(missing_files(&tree), [""; 0], "with {pages} pages left\n{ran}");
            if ran.code == Some(0) {
                undone += 1;
                tree.remove("/filler");
            } else {
                refused += 1;
                let ran = ran.exits_with_one_of(&[1, 6]).says("No space left on device");
                let ran = ran.says("→ make room, then run it again; see: df -h ");
                // What one could do: the same on a disk that is still full changes nothing for the worse.
                tree.vpn("undo --yes").run();
                assert_eq!(missing_files(&tree), [""; 0], "the second time\n{ran}");
                tree.remove("/filler");
                tree.vpn("undo --yes").run().exits(0);
            }
            before.is_given_back_in(&tree.snapshot());
        }
        assert!(undone >= 1 && refused >= 1, "{undone} undone, {refused} refused");
    });
}
