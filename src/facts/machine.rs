//! The machine, and whether we are root on it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use super::Reading;
use crate::host::{Cmd, Host};
use crate::settings::Settings;

/// The machine, and whether we are root on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// `uname -m`.
    pub arch: String,
    /// Whether the effective user is root.
    pub is_root: bool,
    /// Memory in bytes; `None` where it can't be known (a chroot without /proc).
    pub memory: Option<u64>,
    /// Memory available now, in bytes.
    pub memory_available: Option<u64>,
    /// Free bytes by mount of interest: the instance's directory, `/var`, `/boot`, `/usr`.
    pub free_space: BTreeMap<String, u64>,
    /// `systemd-detect-virt --container`: `lxc`, `docker`, `openvz`, `wsl`; `None` on metal and in VMs.
    pub container: Option<String>,
    /// Whether systemd runs as pid 1.
    pub systemd: bool,
    /// A reboot the packages already ask for (`/run/reboot-required`).
    pub reboot_required: bool,
}

/// Reads this part of the facts.
pub(crate) fn gather(reading: &Reading, settings: &Settings) -> Machine {
    let host = reading.host;
    let (memory, memory_available) = memory(host);
    Machine {
        arch: arch(host),
        is_root: nix::unistd::geteuid().is_root(),
        memory,
        memory_available,
        free_space: free_space(reading, settings),
        container: container(reading),
        systemd: host.is_live() && reading.exists("/run/systemd/system"),
        reboot_required: reading.exists("/run/reboot-required"),
    }
}

/// `uname -m`; empty for a mounted tree, which may be another machine's.
pub(super) fn arch(host: &Host) -> String {
    if !host.is_live() {
        return String::new();
    }
    nix::sys::utsname::uname().map(|u| u.machine().to_string_lossy().into_owned()).unwrap_or_default()
}

/// Total and available bytes. Without /proc the crate returns 0.
fn memory(host: &Host) -> (Option<u64>, Option<u64>) {
    if !host.is_live() {
        return (None, None);
    }
    let only_memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    match System::new_with_specifics(only_memory) {
        Ok(system) if system.total_memory() > 0 => (Some(system.total_memory()), Some(system.available_memory())),
        _ => (None, None),
    }
}

fn free_space(reading: &Reading, settings: &Settings) -> BTreeMap<String, u64> {
    [settings.dir.as_path(), Path::new("/var"), Path::new("/usr"), Path::new("/boot")]
        .into_iter()
        .filter_map(|path| {
            let free = reading.known(reading.host.free_space(path).map(Some))?;
            Some((path.display().to_string(), free))
        })
        .collect()
}

/// The kind of container. systemd's detection is used; where it isn't installed, the marks that it looks at.
fn container(reading: &Reading) -> Option<String> {
    if !reading.host.is_live() {
        return None;
    }
    if reading.has_program("systemd-detect-virt") {
        let ask = Cmd::new("systemd-detect-virt").arg("--container").deadline(Duration::from_secs(5));
        // Where it gives no answer, its marks do.
        if let Ok(said) = reading.host.query(&ask) {
            // It exits with 1 when it prints none.
            let kind = said.stdout.trim();
            if !kind.is_empty() {
                return (kind != "none").then(|| kind.to_owned());
            }
        }
    }
    marks(
        &reading.text("/run/systemd/container"),
        &reading.text("/proc/1/environ"),
        &reading.text("/proc/sys/kernel/osrelease"),
        reading.exists("/proc/vz") && !reading.exists("/proc/bc"),
        reading.exists("/.dockerenv"),
    )
}

fn marks(systemd: &str, environ: &str, osrelease: &str, openvz: bool, dockerenv: bool) -> Option<String> {
    let said = |kind: &str| Some(kind.trim().to_owned()).filter(|k| !k.is_empty());
    let osrelease = osrelease.to_lowercase();
    if openvz {
        said("openvz")
    } else if osrelease.contains("microsoft") || osrelease.contains("wsl") {
        said("wsl")
    } else {
        said(systemd)
            .or_else(|| environ.split('\0').find_map(|pair| said(pair.strip_prefix("container=")?)))
            .or_else(|| dockerenv.then(|| "docker".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_recognised_by_their_marks() {
        let metal = "6.1.0-13-amd64";
        assert_eq!(marks("", "HOME=/\0TERM=linux\0", metal, false, false), None);
        assert_eq!(marks("lxc\n", "", metal, false, false).as_deref(), Some("lxc"));
        assert_eq!(marks("", "A=b\0container=podman\0", metal, false, false).as_deref(), Some("podman"));
        assert_eq!(marks("", "", "5.15.90.1-microsoft-standard-WSL2", false, false).as_deref(), Some("wsl"));
        assert_eq!(marks("", "", metal, true, false).as_deref(), Some("openvz"));
        assert_eq!(marks("", "", metal, false, true).as_deref(), Some("docker"));
    }

    #[test]
    fn a_live_machine_has_memory_and_space() {
        let machine = gather(&Reading::of(&Host::live()), &Settings::default());
        assert!(machine.memory.is_some_and(|m| m > 1 << 24), "{machine:?}");
        assert!(machine.memory_available <= machine.memory);
        assert!(machine.free_space.contains_key("/srv/mitigator") && machine.free_space.contains_key("/var"));
        assert!(!machine.arch.is_empty());
    }

    #[test]
    fn of_a_mounted_tree_no_machine_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let machine = gather(&Reading::of(&Host::at(dir.path()).unwrap()), &Settings::default());
        assert_eq!((machine.arch.as_str(), machine.memory, machine.container), ("", None, None));
        assert!(!machine.systemd && !machine.reboot_required);
    }
}
