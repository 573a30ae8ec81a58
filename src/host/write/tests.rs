//! Writing files: whole, in place, cut off, with their attributes.

use std::path::PathBuf;

use super::*;

fn host(dir: &Path) -> Host {
    Host::at(dir).unwrap()
}

fn redo_of(file: &Path) -> PathBuf {
    file.with_file_name(hidden(file.file_name().unwrap(), "redo"))
}

/// A write in place that was cut off before it touched the file.
fn cut_off(root: &Path, file: &Path, text: &str) {
    plant(&redo_of(file), text);
    fs::create_dir_all(root.join("var/lib")).unwrap();
    let host = host(root);
    let target = host.target_to_make(&Path::new("/").join(file.strip_prefix(root).unwrap())).unwrap();
    host.announce(&announcement(&target, text.as_bytes())).unwrap();
}

/// A file that only its owner can read.
fn plant(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_redo_copy_that_is_not_ours_is_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (file, secret) = (dir.path().join("f"), dir.path().join("secret"));
    fs::write(&file, "content").unwrap();
    plant(&secret, "a key");
    let redo = redo_of(&file);
    let hostile: [&dyn Fn(); 4] = [
        &|| std::os::unix::fs::symlink(&secret, &redo).unwrap(),
        &|| fs::hard_link(&secret, &redo).unwrap(),
        &|| nix::unistd::mkfifo(&redo, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap(),
        &|| fs::write(&redo, "for all to read").unwrap(),
    ];
    let mut host = host(dir.path());
    for make in hostile {
        make();
        assert_eq!(host.read(Path::new("/f")).unwrap().unwrap(), b"content");
        assert!(!host.is_interrupted(Path::new("/f")).unwrap() && !host.recover(Path::new("/f")).unwrap());
        assert_eq!(fs::read(&file).unwrap(), b"content");
        fs::remove_file(&redo).unwrap();
    }
}

#[test]
fn extended_attributes_survive_a_rewrite() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let path = dir.path().join("f");
    fs::write(&path, "old").unwrap();
    fsetxattr(File::open(&path).unwrap(), "user.label", b"kept", XattrFlags::empty()).unwrap();
    host(dir.path()).write(Path::new("/f"), b"new", Mode::PUBLIC).unwrap();
    let mut value = [0; 16];
    let length = fgetxattr(File::open(&path).unwrap(), "user.label", &mut value).unwrap();
    assert_eq!(&value[..length], b"kept");
}

#[test]
fn a_rewrite_keeps_mode_owner_and_links() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().join("real");
    fs::write(&real, "old").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
    host(dir.path()).write(Path::new("/link"), b"new", Mode::PUBLIC).unwrap();
    assert_eq!(fs::read(&real).unwrap(), b"new");
    assert_eq!(fs::metadata(&real).unwrap().mode() & 0o7777, 0o640);
    assert!(fs::symlink_metadata(dir.path().join("link")).unwrap().is_symlink());
}

#[test]
fn a_cut_off_write_in_place_reads_as_done_and_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    fs::write(&file, "new contold content").unwrap();
    cut_off(dir.path(), &file, "new content");
    let inode = fs::metadata(&file).unwrap().ino();
    let mut host = host(dir.path());
    assert_eq!(host.read(Path::new("/f")).unwrap().unwrap(), b"new content");
    assert!(host.recover(Path::new("/f")).unwrap());
    assert_eq!(fs::read(&file).unwrap(), b"new content");
    assert_eq!(fs::metadata(&file).unwrap().ino(), inode);
    assert!(!host.recover(Path::new("/f")).unwrap());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "it and /var");
    assert_eq!(fs::read_dir(dir.path().join(&STATE_DIR[1..])).unwrap().count(), 0);
}

#[test]
fn a_cut_off_write_through_a_link_reads_as_done_as_well() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    fs::write(dir.path().join("real/f"), "torn").unwrap();
    cut_off(dir.path(), &dir.path().join("real/f"), "whole");
    std::os::unix::fs::symlink("/real/f", dir.path().join("link")).unwrap();
    let mut host = host(dir.path());
    assert!(host.is_interrupted(Path::new("/link")).unwrap());
    assert_eq!(host.read(Path::new("/link")).unwrap().unwrap(), b"whole");
    assert!(host.recover(Path::new("/link")).unwrap());
    assert!(!host.is_interrupted(Path::new("/link")).unwrap());
    assert_eq!(fs::read(dir.path().join("real/f")).unwrap(), b"whole");
}

#[test]
fn in_place_keeps_the_inode_and_shortens() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    fs::write(&file, "something long").unwrap();
    let inode = fs::metadata(&file).unwrap().ino();
    fs::create_dir_all(dir.path().join("var/lib")).unwrap();
    let host = host(dir.path());
    host.redo_in_place(&host.target_to_make(Path::new("/f")).unwrap(), b"short").unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left beside it");
    assert!(!dir.path().join(&STATE_DIR[1..]).exists(), "and no directory that was made for it");
    assert_eq!(fs::read(&file).unwrap(), b"short");
    assert_eq!(fs::metadata(&file).unwrap().ino(), inode);
}

#[test]
fn a_planted_link_at_the_temporary_name_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, dir.path().join(".f.mitigator-vpn-tmp")).unwrap();
    host(dir.path()).write(Path::new("/f"), b"new", Mode::PUBLIC).unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
}

#[test]
fn a_full_disk_names_the_way_out_and_leaves_the_old_content() {
    let dir = tempfile::tempdir().unwrap();
    let error = host(dir.path()).write(Path::new("/no/such/f"), b"x", Mode::PUBLIC).unwrap_err();
    assert!(error.way_out().unwrap().starts_with("make the directory first"), "{error}");
}

/// Somebody who may write the directory moves the key file to where the list's redo copy would be.
#[test]
fn a_file_of_ours_that_was_moved_there_is_no_redo_copy() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("vpn-public.conf");
    fs::write(&list, "list").unwrap();
    plant(&dir.path().join("vpn-private.conf"), "a key");
    fs::rename(dir.path().join("vpn-private.conf"), redo_of(&list)).unwrap();
    let mut host = host(dir.path());
    assert_eq!(host.read(Path::new("/vpn-public.conf")).unwrap().unwrap(), b"list");
    assert!(!host.recover(Path::new("/vpn-public.conf")).unwrap());
    assert_eq!(fs::read(&list).unwrap(), b"list");
}

/// An access list as the kernel has it: the owner, user 12345 with `perms`, the group, the mask, others.
fn access_list(perms: u16) -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, perms, 12345), (4, 4, u32::MAX), (16, 6, u32::MAX), (32, 4, u32::MAX)];
    let bytes = entries.iter().flat_map(|(tag, perms, id)| {
        [&tag.to_le_bytes()[..], &perms.to_le_bytes()[..], &id.to_le_bytes()[..]].concat()
    });
    2_u32.to_le_bytes().into_iter().chain(bytes).collect()
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = [0; 256];
    let length = fgetxattr(File::open(path).unwrap(), name, &mut value[..]).ok()?;
    Some(value[..length].to_vec())
}

#[test]
fn access_lists_and_labels_survive_a_rewrite_and_a_new_content_gets_no_others() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let (listed, plain) = (dir.path().join("listed"), dir.path().join("plain"));
    for path in [&listed, &plain] {
        fs::write(path, "old").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
    }
    let set = |path: &Path, name: &str, value: &[u8]| {
        fsetxattr(File::open(path).unwrap(), name, value, XattrFlags::empty()).unwrap();
    };
    let mut attributes = vec![("user.label", b"kept".to_vec()), ("system.posix_acl_access", access_list(4))];
    if geteuid().is_root() {
        attributes.extend([("trusted.label", b"kept".to_vec()), ("security.label", b"kept".to_vec())]);
    }
    attributes.iter().for_each(|(name, value)| set(&listed, name, value));
    // From here on, what is made in the directory would be that user's to read and write.
    set(dir.path(), "system.posix_acl_default", &access_list(6));
    for name in ["/listed", "/plain"] {
        host(dir.path()).write(Path::new(name), b"new", Mode::PUBLIC).unwrap();
    }
    for (name, value) in &attributes {
        assert_eq!(attribute(&listed, name).as_ref(), Some(value), "{name}");
        assert_eq!(attribute(&plain, name), None, "{name}");
    }
    assert_eq!(fs::metadata(&plain).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(fs::read(&plain).unwrap(), b"new");
    // A new secret is its owner's alone.
    host(dir.path()).write(Path::new("/secret"), b"new", Mode::SECRET).unwrap();
    assert_eq!(attribute(&dir.path().join("secret"), "system.posix_acl_access"), None);
}
