//! Why a module that is there isn't loaded.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::facts::Reading;
use crate::message;
use crate::message::Message;

/// Why the module isn't loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModuleRefusal {
    /// A line of modprobe's configuration replaces loading by another program.
    Configured {
        /// The file.
        file: String,
        /// The line.
        line: String,
    },
    /// The kernel takes no more modules until it reboots.
    ModulesDisabled,
    /// The system lacks CAP_SYS_MODULE, as a container does (FN-19).
    NoCapability,
    /// What the kernel said to an attempt.
    #[serde(untagged)]
    Kernel(String),
}

impl From<&ModuleRefusal> for Message {
    fn from(refusal: &ModuleRefusal) -> Self {
        match refusal {
            ModuleRefusal::Configured { file, line } => message!("{file} says: {line}", file, line),
            ModuleRefusal::ModulesDisabled => {
                message!("this kernel takes no more modules until it reboots (kernel.modules_disabled)")
            }
            ModuleRefusal::NoCapability => message!("this system may not load modules (no CAP_SYS_MODULE)"),
            ModuleRefusal::Kernel(words) => Message::foreign(words),
        }
    }
}

/// Where modprobe reads its configuration.
const MODPROBE_D: [&str; 4] = ["/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/lib/modprobe.d"];
/// Why modprobe or the kernel wouldn't load a module that is there.
pub(super) fn refusal(reading: &Reading) -> Option<ModuleRefusal> {
    for dir in MODPROBE_D {
        for name in reading.list(Path::new(dir)).into_iter().filter(|n| n.ends_with(".conf")) {
            let text = reading.text(&format!("{dir}/{name}"));
            if let Some(line) = text.lines().find(|line| is_disabled(line)) {
                return Some(ModuleRefusal::Configured { file: format!("{dir}/{name}"), line: line.trim().to_owned() });
            }
        }
    }
    if reading.text("/proc/sys/kernel/modules_disabled").trim() == "1" {
        return Some(ModuleRefusal::ModulesDisabled);
    }
    // Root in a container usually lacks it (FN-19); another user always does.
    let root = nix::unistd::geteuid().is_root();
    (root && may_load(&reading.text("/proc/self/status")) == Some(false)).then_some(ModuleRefusal::NoCapability)
}

/// Whether a line of modprobe.d runs `true` or `false` in place of loading; modprobe then prints nothing (FN-16).
fn is_disabled(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    matches!(words[..], ["install", "wireguard", program, ..] if program.ends_with("true") || program.ends_with("false"))
}

/// CAP_SYS_MODULE among the effective capabilities.
fn may_load(status: &str) -> Option<bool> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    Some(u64::from_str_radix(line.trim(), 16).ok()? >> 16 & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;

    #[test]
    fn a_module_that_modprobe_is_told_to_skip_is_refused_with_the_line() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc/modprobe.d")).unwrap();
        let file = dir.path().join("etc/modprobe.d/hardening.conf");
        std::fs::write(file, "blacklist floppy\ninstall wireguard /bin/true\n").unwrap();
        let host = Host::at(dir.path()).unwrap();
        let refusal = Message::from(&refusal(&Reading::of(&host)).unwrap());
        assert_eq!(refusal.to_string(), "/etc/modprobe.d/hardening.conf says: install wireguard /bin/true");
        assert!(!is_disabled("install wireguard /sbin/modprobe --ignore-install wireguard"));
        assert!(!is_disabled("install wireguard_old /bin/false"));
    }

    #[test]
    fn the_capability_to_load_modules_is_read_from_the_effective_set() {
        assert_eq!(may_load("Name:\tx\nCapEff:\t000001ffffffffff\n"), Some(true));
        assert_eq!(may_load("CapEff:\t00000000a80425fb\n"), Some(false));
        assert_eq!(may_load(""), None);
    }
}
