//! A host as a directory of files, for `--root`.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Host;
use super::call::Call;
use super::evidence::Evidence;
use super::snapshot::Snapshot;

/// A minimal stack of the vendor.
pub const VENDOR_STACK: &str = "version: \"2.2\"\nservices:\n  gateway:\n    image: vendor/gateway:21\n";

/// A directory that holds the files of a host.
pub struct TreeHost {
    root: PathBuf,
    evidence: Evidence,
    // Removes the directory when it is dropped.
    _dir: Option<tempfile::TempDir>,
}

impl TreeHost {
    /// Debian 12 with a kernel that has WireGuard, and nothing of Mitigator yet.
    pub fn bare() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("tree-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a temporary directory");
        let root = dir.path().to_owned();
        Self::fill(root, Some(dir))
    }

    /// As [`TreeHost::bare`], in a directory that exists: a mount, say.
    pub fn bare_at(root: &Path) -> Self {
        Self::fill(root.to_owned(), None)
    }

    /// Debian 12 with the vendor's stack in `/srv/mitigator`.
    pub fn with_vendor_stack() -> Self {
        Self::bare().file("/srv/mitigator/docker-compose.yml", VENDOR_STACK)
    }

    /// The files of a host that runs somewhere else, as they are.
    pub fn of(root: &Path, evidence: Evidence) -> Self {
        TreeHost { root: root.to_owned(), evidence, _dir: None }
    }

    fn fill(root: PathBuf, dir: Option<tempfile::TempDir>) -> Self {
        let evidence = Evidence::of(&root.file_name().expect("it has a name").to_string_lossy());
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).expect("our own directory");
        let tree = TreeHost { root, evidence, _dir: dir };
        let modules = "/lib/modules/6.1.0-44-amd64";
        let module = "kernel/drivers/net/wireguard/wireguard.ko";
        tree.file("/etc/os-release", include_str!("../../hosts/os-release/debian-12"))
            .file("/etc/hostname", "mitigator-1\n")
            .file("/etc/modules-load.d/modules.conf", "# /etc/modules is obsolete\n")
            .file("/boot/vmlinuz-6.1.0-44-amd64", "")
            .file(&format!("{modules}/modules.dep"), format!("{module}: kernel/net/ipv4/udp_tunnel.ko\n"))
            .file(&format!("{modules}/{module}"), "")
            .directory("/var/lib")
            .directory("/srv")
    }

    /// With this file, as its builder.
    pub fn file(self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.write(path, bytes);
        self
    }

    /// With this directory.
    pub fn directory(self, path: &str) -> Self {
        std::fs::create_dir_all(self.at(path)).expect("a directory in our own tree");
        self
    }

    /// With a link at `path` that leads to `target`.
    pub fn link(self, path: &str, target: &str) -> Self {
        std::os::unix::fs::symlink(target, self.at(path)).expect("a link in our own tree");
        self
    }

    /// With these permission bits on a file that is there.
    pub fn mode(self, path: &str, mode: u32) -> Self {
        std::fs::set_permissions(self.at(path), std::fs::Permissions::from_mode(mode)).expect("our own file");
        self
    }

    /// With this owner and group of a file that is there. Needs root.
    pub fn owner(self, path: &str, owner: u32, group: u32) -> Self {
        chown(self.at(path), Some(owner), Some(group)).expect("root may give files away");
        self
    }

    /// Where a path of the host is on this machine.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Whether anything is at a path.
    pub fn has(&self, path: &str) -> bool {
        self.at(path).symlink_metadata().is_ok()
    }

    /// Permission bits.
    pub fn mode_of(&self, path: &str) -> u32 {
        self.at(path).metadata().expect("it is there").permissions().mode() & 0o7777
    }

    /// Removes a file.
    pub fn remove(&self, path: &str) {
        std::fs::remove_file(self.at(path)).expect("our own file");
    }
}

impl Host for TreeHost {
    fn program(&self) -> Vec<String> {
        vec![env!("CARGO_BIN_EXE_mitigator-vpn").to_owned(), "--root".to_owned(), self.root.display().to_string()]
    }

    fn command(&self, call: &Call) -> Command {
        let mut command = Command::new(&call.words[0]);
        command.args(&call.words[1..]).env_clear();
        // The developer's own environment is no part of a scenario.
        for name in ["PATH", "HOME", "TMPDIR", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(call.env.iter().map(|(name, value)| (name, value)));
        command
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        std::fs::read(self.at(path)).ok()
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().expect("a file has a directory")).expect("our own tree");
        std::fs::write(path, bytes).expect("our own tree");
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::take(self, &self.root.display().to_string(), &[], &Snapshot::default())
    }

    fn evidence(&self) -> &Evidence {
        &self.evidence
    }
}

impl Drop for TreeHost {
    fn drop(&mut self) {
        self.evidence.keep_on_failure(|dir| {
            let copy = dir.join("tree");
            let _ = Command::new("cp").arg("-a").arg(&self.root).arg(copy).status();
        });
    }
}
