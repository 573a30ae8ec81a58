//! The kernel and what it can do, by capability and never by version (FN-14).
//!
//! The files that `modinfo` and `depmod` use are read directly, which is faster and works in a mounted tree. What no file
//! shows is tried: a link of type wireguard in a network namespace that ends with the process (FN-16).

mod refusal;

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Reading;
use crate::error::Result;
use crate::host::{Cmd, Host};
use refusal::refusal;

pub use refusal::ModuleRefusal;

/// The kernel and what it can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// `uname -r`; empty in a mounted tree, which has no running kernel.
    pub release: String,
    /// Whether the running kernel has WireGuard; in a mounted tree, whether its newest kernel has.
    pub wireguard: WireGuardSupport,
    /// The newest installed kernel, which the next boot takes, and whether it has a wireguard module or built-in.
    pub next: Option<NextKernel>,
    /// Whether the kernel takes signed modules only, because UEFI Secure Boot is on; `None` where it can't be read.
    pub secure_boot: Option<bool>,
    /// Whether `modules-load.d` or `/etc/modules` already names wireguard.
    pub autoload: bool,
    /// Whether this kernel has /dev/net/tun, which a userspace WireGuard needs.
    pub tun: bool,
}

impl Kernel {
    /// Whether the next boot takes another kernel, which has WireGuard.
    pub(crate) fn next_has_it(&self) -> bool {
        self.next.as_ref().is_some_and(|next| next.wireguard && next.release != self.release)
    }
}

/// Whether the running kernel has WireGuard (FN-14, FN-16).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WireGuardSupport {
    /// Compiled in (`modules.builtin`), or a probe link came up without any module.
    BuiltIn,
    /// The module is loaded (`/sys/module/wireguard`).
    Loaded,
    /// A module for this kernel is there, not loaded yet (`modinfo -k`).
    Loadable,
    /// No module for this kernel.
    #[default]
    Missing,
    /// A module is there, and loading it is refused.
    Refused(ModuleRefusal),
}

impl WireGuardSupport {
    /// Whether a link of type wireguard can be made now or after `modprobe`.
    pub(crate) fn usable(&self) -> bool {
        matches!(self, Self::BuiltIn | Self::Loaded | Self::Loadable)
    }
}

/// The kernel the next boot takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextKernel {
    /// Its release.
    pub release: String,
    /// Whether it has WireGuard as module or built in.
    pub wireguard: bool,
}

/// Where the modules to load at boot are named.
const MODULES_LOAD_D: [&str; 4] =
    ["/etc/modules-load.d", "/run/modules-load.d", "/usr/local/lib/modules-load.d", "/usr/lib/modules-load.d"];

/// Whether a kernel's files have the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shipped {
    BuiltIn,
    Module,
    No,
}

/// Reads this part of the facts.
pub(crate) fn gather(reading: &Reading) -> Kernel {
    let host = reading.host;
    let next = newest(reading).map(|release| {
        let wireguard = shipped(reading, &release, "wireguard") != Shipped::No;
        NextKernel { release, wireguard }
    });
    if !host.is_live() {
        let wireguard = match next.as_ref().map_or(Shipped::No, |n| shipped(reading, &n.release, "wireguard")) {
            Shipped::BuiltIn => WireGuardSupport::BuiltIn,
            Shipped::Module => WireGuardSupport::Loadable,
            Shipped::No => WireGuardSupport::Missing,
        };
        return Kernel { wireguard, next, autoload: autoload(reading), ..Kernel::default() };
    }
    let release = release();
    Kernel {
        wireguard: support(reading, &release),
        next,
        secure_boot: secure_boot(reading),
        autoload: autoload(reading),
        tun: reading.exists("/dev/net/tun"),
        release,
    }
}

/// `uname -r`.
pub(crate) fn release() -> String {
    nix::sys::utsname::uname().map(|u| u.release().to_string_lossy().into_owned()).unwrap_or_default()
}

/// `uname -r` of a live host; a mounted tree has no running kernel.
pub(super) fn running(host: &Host) -> String {
    if host.is_live() { release() } else { String::new() }
}

/// Whether this kernel has the module or needs none, as far as files tell.
pub(super) fn has_module(reading: &Reading, release: &str) -> bool {
    reading.exists("/sys/module/wireguard") || shipped(reading, release, "wireguard") != Shipped::No
}

/// Whether a module is in the running kernel: loaded, or built in.
pub(crate) fn in_kernel(host: &Host, module: &str) -> Result<bool> {
    Reading::sure(host, |reading| {
        reading.exists(&format!("/sys/module/{module}")) || shipped(reading, &release(), module) == Shipped::BuiltIn
    })
}

/// The kernel the next boot takes, where it is another one and has this module.
pub(crate) fn next_with(host: &Host, module: &str) -> Result<Option<String>> {
    Reading::sure(host, |reading| {
        newest(reading).filter(|next| *next != release() && shipped(reading, next, module) != Shipped::No)
    })
}

fn support(reading: &Reading, release: &str) -> WireGuardSupport {
    let known = match (shipped(reading, release, "wireguard"), reading.exists("/sys/module/wireguard")) {
        (Shipped::BuiltIn, _) => WireGuardSupport::BuiltIn,
        (Shipped::Module | Shipped::No, true) => WireGuardSupport::Loaded,
        (Shipped::Module, false) => {
            return refusal(reading).map_or(WireGuardSupport::Loadable, WireGuardSupport::Refused);
        }
        (Shipped::No, false) => WireGuardSupport::Missing,
    };
    // The attempt makes the kernel ask for the module, and loading one would be a change. At this point none can be loaded
    // from this host's files: it is loaded already, or there is none. In a container the kernel may still load one from
    // the files of the container's host, and only the attempt shows that (FN-19).
    match (probe(reading), known) {
        (LinkAttempt::Works, WireGuardSupport::Missing) if reading.exists("/sys/module/wireguard") => {
            WireGuardSupport::Loaded
        }
        (LinkAttempt::Works, WireGuardSupport::Missing) => WireGuardSupport::BuiltIn,
        (LinkAttempt::Fails(words), WireGuardSupport::BuiltIn | WireGuardSupport::Loaded) => {
            WireGuardSupport::Refused(ModuleRefusal::Kernel(words))
        }
        (_, known) => known,
    }
}

/// The result of creating a temporary link.
#[derive(Debug, PartialEq, Eq)]
enum LinkAttempt {
    Works,
    Fails(String),
    /// No namespace to try it in, or no `ip` to try it with.
    Untried,
}

fn probe(reading: &Reading) -> LinkAttempt {
    if !nix::unistd::geteuid().is_root() || !reading.has_program("ip") || !reading.has_program("unshare") {
        return LinkAttempt::Untried;
    }
    let link = Cmd::new("unshare").args(["--net", "ip", "link", "add", "wgprobe", "type", "wireguard"]);
    match reading.host.query(&link.deadline(Duration::from_secs(5))) {
        Ok(said) if said.ok() => LinkAttempt::Works,
        Ok(said) => failed_probe(&said.stderr),
        Err(_) => LinkAttempt::Untried,
    }
}

fn failed_probe(stderr: &str) -> LinkAttempt {
    let words = stderr.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    if words.is_empty() || words.starts_with("unshare:") {
        return LinkAttempt::Untried;
    }
    LinkAttempt::Fails(words.trim_start_matches("RTNETLINK answers: ").trim_start_matches("Error: ").to_owned())
}

fn shipped(reading: &Reading, release: &str, module: &str) -> Shipped {
    let dir = format!("/lib/modules/{release}");
    let is_ours = |path: &str| path.rsplit('/').next().is_some_and(|file| file.split(".ko").next() == Some(module));
    if reading.text(&format!("{dir}/modules.builtin")).lines().any(is_ours) {
        return Shipped::BuiltIn;
    }
    let dependencies = reading.text(&format!("{dir}/modules.dep"));
    let module = dependencies.lines().filter_map(|line| line.split(':').next()).find(|path| is_ours(path));
    match module {
        // The list may name a file that has been removed.
        Some(path) if reading.exists(&format!("{dir}/{path}")) => Shipped::Module,
        _ => Shipped::No,
    }
}

/// The newest kernel that can be booted. Directories of modules whose kernel is gone don't count.
fn newest(reading: &Reading) -> Option<String> {
    reading
        .list(Path::new("/lib/modules"))
        .into_iter()
        .filter(|release| reading.exists(&format!("/boot/vmlinuz-{release}")))
        .max_by(|a, b| parts(a).cmp(&parts(b)))
}

/// A sort key in the order of boot loaders: numbers by value, release candidates first.
fn parts(release: &str) -> Vec<(String, u64)> {
    let release = release.replace("-rc", " rc");
    let mut parts = Vec::new();
    let mut rest = release.as_str();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (word, number) = rest.split_at(digits);
        let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
        parts.push((word.to_owned(), number[..end].parse().unwrap_or(0)));
        rest = &number[end..];
    }
    parts
}

/// Whether unsigned modules are refused. With shim's own validation off, the kernel accepts them (FN-17).
fn secure_boot(reading: &Reading) -> Option<bool> {
    if !reading.exists("/sys/firmware/efi") {
        return Some(false);
    }
    let dir = Path::new("/sys/firmware/efi/efivars");
    // Firmware has variables that nobody can read; without these two, nothing is known.
    let names = reading.list(dir);
    // Four bytes of attributes, then the value.
    let value = |prefix: &str| {
        let name = names.iter().find(|n| n.starts_with(prefix))?;
        reading.host.read(&dir.join(name)).ok().flatten()?.get(4).copied()
    };
    let on = value("SecureBoot-")? == 1;
    Some(on && value("MokSBStateRT-") != Some(1))
}

fn autoload(reading: &Reading) -> bool {
    let names_it = |text: &str| text.lines().any(|line| line.trim() == "wireguard");
    names_it(&reading.text("/etc/modules"))
        || MODULES_LOAD_D.iter().any(|dir| {
            let names = reading.list(Path::new(dir)).into_iter().filter(|n| n.ends_with(".conf"));
            names.map(|name| reading.text(&format!("{dir}/{name}"))).any(|t| names_it(&t))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let host = Host::at(dir.path()).unwrap();
        (dir, host)
    }

    #[test]
    fn the_newest_kernel_that_can_boot_is_the_next_one() {
        let (_dir, host) = tree(&[
            ("boot/vmlinuz-6.1.0-9-amd64", ""),
            ("boot/vmlinuz-6.1.0-13-amd64", ""),
            ("lib/modules/6.1.0-9-amd64/modules.builtin", "kernel/drivers/net/wireguard/wireguard.ko\n"),
            ("lib/modules/6.1.0-13-amd64/modules.dep", "kernel/drivers/net/wireguard/wireguard.ko.xz: kernel/a.ko\n"),
            ("lib/modules/6.1.0-13-amd64/kernel/drivers/net/wireguard/wireguard.ko.xz", ""),
            ("lib/modules/6.9.0-leftover/modules.dep", ""),
        ]);
        let kernel = gather(&Reading::of(&host));
        assert_eq!(kernel.next, Some(NextKernel { release: "6.1.0-13-amd64".into(), wireguard: true }));
        assert_eq!(kernel.wireguard, WireGuardSupport::Loadable);
        assert_eq!(kernel.release, "");
        assert_eq!(shipped(&Reading::of(&host), "6.1.0-9-amd64", "wireguard"), Shipped::BuiltIn);
    }

    #[test]
    fn a_listed_module_whose_file_is_gone_is_missing() {
        let (_dir, host) = tree(&[
            ("boot/vmlinuz-5.4.0-1103-kvm", ""),
            ("lib/modules/5.4.0-1103-kvm/modules.dep", "kernel/wireguard.ko:\nkernel/drivers/notwireguard.ko:\n"),
        ]);
        assert_eq!(gather(&Reading::of(&host)).wireguard, WireGuardSupport::Missing);
    }

    #[test]
    fn releases_sort_by_their_numbers() {
        let mut releases = ["5.10.0-8-amd64", "6.1.0-rc3", "6.1.0-9-amd64", "6.1.0-10-amd64", "5.4.0-42-generic"];
        releases.sort_by_key(|r| parts(r));
        assert_eq!(releases, ["5.4.0-42-generic", "5.10.0-8-amd64", "6.1.0-rc3", "6.1.0-9-amd64", "6.1.0-10-amd64"]);
    }

    #[test]
    fn autoload_is_seen_wherever_boot_looks() {
        for path in ["etc/modules", "etc/modules-load.d/mitigator.conf", "usr/lib/modules-load.d/x.conf"] {
            let (_dir, host) = tree(&[(path, "# a comment\nwireguard\n")]);
            assert!(gather(&Reading::of(&host)).autoload, "{path}");
        }
        let (_dir, host) =
            tree(&[("etc/modules", "#wireguard\n"), ("etc/modules-load.d/x.conf.dpkg-old", "wireguard\n")]);
        assert!(!gather(&Reading::of(&host)).autoload);
    }

    #[test]
    fn the_kernels_words_are_taken_from_what_ip_prints() {
        assert_eq!(failed_probe("Error: Unknown device type.\n"), LinkAttempt::Fails("Unknown device type.".into()));
        assert_eq!(
            failed_probe("RTNETLINK answers: Operation not supported\n"),
            LinkAttempt::Fails("Operation not supported".into())
        );
        assert_eq!(failed_probe("unshare: unshare failed: Operation not permitted\n"), LinkAttempt::Untried);
    }

    #[test]
    fn secure_boot_follows_the_firmware_unless_shims_validation_is_off() {
        let variable = |on: u8| String::from_utf8(vec![6, 0, 0, 0, on]).unwrap();
        let (on, off) = (variable(1), variable(0));
        let sb = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
        let mok = "sys/firmware/efi/efivars/MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23";
        for (files, expected) in [
            (vec![], Some(false)),
            (vec![("sys/firmware/efi/efivars/OsIndications", "")], None),
            (vec![(sb, on.as_str())], Some(true)),
            (vec![(sb, off.as_str())], Some(false)),
            (vec![(sb, on.as_str()), (mok, on.as_str())], Some(false)),
        ] {
            let (_dir, host) = tree(&files);
            assert_eq!(secure_boot(&Reading::of(&host)), expected, "{files:?}");
        }
    }
}
