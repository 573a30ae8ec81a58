//! dpkg's record of installed packages. Reading the file is faster than asking dpkg-query, needs no running host, and shows
//! what an interrupted run has left.

use std::path::Path;

use crate::error::Result;
use crate::host::Host;

/// In bytes. dpkg's database grows with the host; some thousand packages exceed [`crate::host::MAX_FILE`].
const LIMIT: u64 = 64 << 20;
/// Where dpkg records what isn't in its database yet.
const JOURNAL: &str = "/var/lib/dpkg/updates";

/// How far dpkg has got with a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PackageStage {
    /// Not there at all.
    NotInstalled,
    /// Removed; its configuration files are left.
    ConfigFiles,
    /// Unpacking or removing it was interrupted.
    HalfInstalled,
    /// Unpacked, not configured.
    Unpacked,
    /// Its configuration failed or was interrupted.
    HalfConfigured,
    /// Installed and configured.
    Installed,
}

/// One package of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How far dpkg has got.
    pub progress: PackageStage,
    /// The two or three letters `dpkg -l` shows: `ii`, `iF`, `iHR`.
    pub letters: String,
}

impl RecordedPackage {
    /// Whether dpkg has left it unfinished.
    pub(crate) fn broken(&self) -> bool {
        self.letters.ends_with('R')
            || matches!(
                self.progress,
                PackageStage::HalfInstalled | PackageStage::Unpacked | PackageStage::HalfConfigured
            )
    }
}

/// All that dpkg has a record of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DpkgRecord {
    entries: Vec<RecordedPackage>,
    /// Whether a run of dpkg was interrupted; apt then refuses to work.
    pub interrupted: bool,
}

impl DpkgRecord {
    /// Reads the record; an empty one where there is no dpkg.
    pub fn read(host: &Host) -> Result<DpkgRecord> {
        let text = host.read_database(Path::new("/var/lib/dpkg/status"), LIMIT)?.unwrap_or_default();
        let mut entries = parse(&text);
        // While dpkg works, its journal has numbered files, one per package; afterwards there are none.
        let journal =
            host.list(Path::new(JOURNAL))?.into_iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit()));
        let mut interrupted = false;
        for name in journal {
            interrupted = true;
            let text = host.read_database(&Path::new(JOURNAL).join(name), LIMIT)?.unwrap_or_default();
            for newer in parse(&text) {
                entries.retain(|entry| entry.name != newer.name);
                entries.push(newer);
            }
        }
        Ok(DpkgRecord { entries, interrupted })
    }

    /// The package of this name; of several architectures the one with the furthest stage.
    pub fn entry(&self, name: &str) -> Option<&RecordedPackage> {
        self.entries.iter().filter(|e| e.name == name).max_by_key(|e| e.progress)
    }

    /// The version of a package that is installed and configured.
    pub fn version(&self, name: &str) -> Option<&str> {
        self.entry(name).filter(|e| e.progress == PackageStage::Installed).map(|e| e.version.as_str())
    }

    /// Packages that dpkg has left unfinished.
    pub(crate) fn broken(&self) -> impl Iterator<Item = &RecordedPackage> {
        self.entries.iter().filter(|e| e.broken())
    }
}

pub(crate) fn parse(text: &str) -> Vec<RecordedPackage> {
    text.split("\n\n").filter_map(stanza).collect()
}

fn stanza(text: &str) -> Option<RecordedPackage> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let status = field("Status:")?;
    let [want, flag, progress] = status.split_whitespace().collect::<Vec<_>>()[..] else { return None };
    let (progress, letter) = match progress {
        "not-installed" => (PackageStage::NotInstalled, 'n'),
        "config-files" => (PackageStage::ConfigFiles, 'c'),
        "half-installed" => (PackageStage::HalfInstalled, 'H'),
        "unpacked" => (PackageStage::Unpacked, 'U'),
        "half-configured" => (PackageStage::HalfConfigured, 'F'),
        // Triggers of other packages, which the next run of dpkg processes.
        "triggers-awaited" => (PackageStage::Installed, 'W'),
        "triggers-pending" => (PackageStage::Installed, 't'),
        _ => (PackageStage::Installed, 'i'),
    };
    let want = match want {
        "install" => 'i',
        "hold" => 'h',
        "deinstall" => 'r',
        "purge" => 'p',
        _ => 'u',
    };
    let reinstall = if flag == "reinstreq" { "R" } else { "" };
    Some(RecordedPackage {
        name: field("Package:")?.to_owned(),
        version: field("Version:").unwrap_or_default().to_owned(),
        progress,
        letters: format!("{want}{letter}{reinstall}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "\
Package: wireguard-tools
Status: install ok installed
Architecture: amd64
Version: 1.0.20210914-1+b1
Description: fast, modern, secure kernel VPN tunnel
 Status: install ok half-configured

Package: wireguard-dkms
Status: install ok half-configured
Version: 1.0.20210219-1~bpo10+1

Package: dkms
Status: deinstall ok config-files
Version: 2.6.1-4

Package: torn
Status: install reinstreq half-installed
Version: 1

Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36

Package: libc6
Status: deinstall ok config-files
Architecture: i386
Version: 2.35

Package: man-db
Status: install ok triggers-pending
Version: 2.11
";

    fn status() -> DpkgRecord {
        DpkgRecord { entries: parse(STATUS), interrupted: false }
    }

    #[test]
    fn only_a_configured_package_counts_as_installed() {
        let status = status();
        assert_eq!(status.version("wireguard-tools"), Some("1.0.20210914-1+b1"));
        assert_eq!(status.version("libc6"), Some("2.36"));
        assert_eq!(status.version("man-db"), Some("2.11"));
        for name in ["wireguard-dkms", "dkms", "torn", "unheard-of"] {
            assert_eq!(status.version(name), None, "{name}");
        }
        assert_eq!(status.entry("dkms").unwrap().progress, PackageStage::ConfigFiles);
    }

    #[test]
    fn half_done_packages_are_broken_with_dpkgs_letters() {
        let status = status();
        let broken: Vec<_> = status.broken().map(|e| (e.name.as_str(), e.letters.as_str())).collect();
        assert_eq!(broken, [("wireguard-dkms", "iF"), ("torn", "iHR")]);
    }

    #[test]
    fn a_journal_means_that_dpkg_was_interrupted() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path()).unwrap();
        let updates = dir.path().join("var/lib/dpkg/updates");
        std::fs::create_dir_all(&updates).unwrap();
        std::fs::write(updates.join("tmp.i"), "").unwrap();
        assert_eq!(DpkgRecord::read(&host).unwrap(), DpkgRecord::default());
        std::fs::write(updates.join("0001"), "").unwrap();
        assert!(DpkgRecord::read(&host).unwrap().interrupted);
    }

    #[test]
    fn the_journal_is_newer_than_the_database() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path()).unwrap();
        let updates = dir.path().join("var/lib/dpkg/updates");
        std::fs::create_dir_all(&updates).unwrap();
        std::fs::write(dir.path().join("var/lib/dpkg/status"), STATUS).unwrap();
        let entry = |progress: &str| format!("Package: wireguard-tools\nStatus: install {progress}\nVersion: 2\n");
        std::fs::write(updates.join("0000"), entry("reinstreq half-installed")).unwrap();
        std::fs::write(updates.join("0001"), entry("ok unpacked")).unwrap();
        let status = DpkgRecord::read(&host).unwrap();
        let letters = |name: &str| status.entry(name).map(|entry| entry.letters.clone());
        assert_eq!(letters("wireguard-tools").as_deref(), Some("iU"));
        assert_eq!(letters("man-db").as_deref(), Some("it"));
    }
}
