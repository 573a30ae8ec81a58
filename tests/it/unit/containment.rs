//! A mounted tree may lie: whatever its links and its journal say, nothing outside of it is written, removed or read.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use mitigator_vpn::host::{Host as Files, Mode};
use proptest::prelude::*;

use crate::support::Host;
use crate::support::tree::TreeHost;

const INSTALL: &str = "install --vpn-address 10.8.3.1 --endpoint 192.0.2.1 --yes";
const JOURNAL: &str = "/var/lib/mitigator-vpn/journal.ndjson";

/// A directory outside of the tree, with a file that only root may read.
struct Outside {
    dir: tempfile::TempDir,
}

impl Outside {
    fn new() -> Outside {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        fs::write(dir.path().join("secret"), "nobody else's business").expect("our own file");
        Outside { dir }
    }

    fn path(&self) -> &str {
        self.dir.path().to_str().expect("a path of ours")
    }

    /// Names and contents, links not followed.
    fn content(&self) -> Vec<(PathBuf, Vec<u8>)> {
        content(self.dir.path())
    }
}

fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("our own directory") {
        let path = entry.expect("an entry").path();
        match path.symlink_metadata().expect("an entry").file_type() {
            kind if kind.is_dir() => {
                found.push((path.clone(), Vec::new()));
                found.extend(content(&path));
            }
            kind if kind.is_file() => found.push((path.clone(), fs::read(&path).expect("our own file"))),
            _ => found.push((path, Vec::new())),
        }
    }
    found.sort();
    found
}

/// A journal that says that this file was removed, and what was in it.
fn journal(path: &str) -> String {
    format!(
        "{{\"run\":{{\"format\":1,\"version\":\"0.1.0\",\"at\":1,\"ignored\":[]}}}}\n\
         {{\"begin\":{{\"step\":0,\"resource\":{{\"file\":{{\"path\":\"{path}\"}}}},\
         \"before\":{{\"text\":\"planted\"}},\"after\":\"absent\"}}}}\n{{\"done\":{{\"step\":0}}}}\n"
    )
}

#[test]
fn a_journal_of_an_image_writes_nothing_outside_of_it() {
    let outside = Outside::new();
    let before = outside.content();
    let up = "../".repeat(20) + outside.path().trim_start_matches('/');
    for (target, path) in
        [(outside.path(), "/x/pwned"), (up.as_str(), "/x/pwned"), ("/nowhere", &format!("/{up}/pwned") as &str)]
    {
        let tree = TreeHost::bare().link("/x", target).directory("/var/lib/mitigator-vpn").file(JOURNAL, journal(path));
        let ran = tree.vpn("undo --yes").run();
        assert_eq!(outside.content(), before, "{path} by {target}\n{ran}");
        assert_ne!(ran.code, Some(0), "it says that it could not be done\n{ran}");
    }
}

#[test]
fn an_install_into_an_image_writes_nothing_outside_of_it() {
    for link in ["/etc/modules-load.d", "/var/lib", "/var/lib/mitigator-vpn", "/srv", "/srv/mitigator"] {
        for gone in [false, true] {
            let outside = Outside::new();
            let before = outside.content();
            let target = format!("{}{}", outside.path(), if gone { "/gone" } else { "" });
            let tree = TreeHost::with_vendor_stack();
            let at = tree.at(link);
            if at.is_dir() {
                fs::remove_dir_all(&at).expect("our own directory");
            }
            let tree = tree.link(link, &target);
            let ran = tree.vpn(INSTALL).run();
            assert_eq!(outside.content(), before, "{link}\n{ran}");
        }
    }
}

#[test]
fn nothing_outside_is_read_through_a_file_of_an_image() {
    let outside = Outside::new();
    let secret = format!("{}/secret", outside.path());
    for name in ["vpn-public.conf", ".vpn-public.conf.mitigator-vpn-redo", ".env", "vpn-private.conf"] {
        let tree = TreeHost::with_vendor_stack().link(&format!("/srv/mitigator/{name}"), &secret);
        for words in ["preflight", "status", "facts", INSTALL] {
            let ran = tree.vpn(words).run();
            let said = format!("{}{}", ran.out(), ran.err());
            assert!(!said.contains("nobody else's"), "{name}: {words}\n{ran}");
        }
        let inside = content(&tree.at("/srv"));
        assert!(!inside.iter().any(|(_, bytes)| bytes.starts_with(b"nobody else's")), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Over random trees of links, every operation of a host on random paths.
    #[test]
    fn no_operation_leads_out(
        links in prop::collection::vec(
            ("[abc]{1,2}(/[abc]{1,2})?", "(\\.\\./){0,6}(OUT|[abc]{1,2})(/(\\.\\.|[abc]|secret)){0,3}|OUT/gone|OUT"), 1..10),
        paths in prop::collection::vec("(/(\\.\\.|[abc]{1,2}|secret)){1,5}", 1..12),
    ) {
        let outside = Outside::new();
        let before = outside.content();
        let tree = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        for dir in ["a/b", "b/c", "c"] {
            fs::create_dir_all(tree.path().join(dir)).expect("our own tree");
        }
        for (name, target) in &links {
            let up = target.starts_with("../");
            let absolute = outside.path();
            let target = target.replace("OUT", if up { absolute.trim_start_matches('/') } else { absolute });
            let at = tree.path().join(name);
            // A link made before may stand in the way of this one's directory.
            if at.parent().is_some_and(|parent| parent.canonicalize().is_ok_and(|real| real == parent)) {
                let _ = symlink(target, at);
            }
        }
        let mut host = Files::at(tree.path()).expect("our own tree");
        for path in paths.iter().map(Path::new) {
            if let Ok(Some(bytes)) = host.read(path) {
                prop_assert!(!bytes.starts_with(b"nobody else's"), "{} is read", path.display());
            }
            prop_assert!(!host.list(path).unwrap_or_default().iter().any(|name| name == "secret"), "{} is listed", path.display());
            let _ = host.stat(path);
            let _ = host.recover(path);
            let _ = host.create_dir(path, Mode::DIRECTORY);
            let _ = host.write(path, b"written", Mode::PUBLIC);
            let _ = host.append(path, Mode::SECRET).and_then(|mut file| file.add(b"more"));
            let _ = host.remove(path);
            let _ = host.remove_dir(path);
            prop_assert_eq!(&outside.content(), &before, "{}", path.display());
        }
    }
}
