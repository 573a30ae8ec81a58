//! apt and dpkg.

pub mod dpkg;
pub(crate) mod sources;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{Reading, kernel, machine};
use crate::distro::Distro;
use crate::error::Result;
use crate::host::{Cmd, Host, LockHolder};
use crate::message::Message;
use dpkg::DpkgRecord;
use sources::LISTS;

/// apt and dpkg.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageFacts {
    /// Whether apt-get and dpkg are there at all.
    pub apt: bool,
    /// apt's version, for features it lacks.
    pub apt_version: String,
    /// The state of every package the release's data names.
    pub known: BTreeMap<String, Package>,
    /// The package that a metapackage of the newest kernel depends on: `linux-image-amd64` to
    /// `linux-image-4.19.0-21-amd64`. Known where the running kernel's headers are gone.
    #[serde(default)]
    pub newest: BTreeMap<String, String>,
    /// Who holds the dpkg or apt lock.
    pub lock_holder: Option<LockHolder>,
    /// Packages that are half-installed or half-configured, and their state: `wireguard-dkms`, `iF`.
    pub broken: BTreeMap<String, String>,
    /// Whether a run of dpkg was interrupted; apt then refuses to work.
    pub interrupted: bool,
    /// Where packages come from, in the order apt reads it; or why apt can't read it.
    pub sources: Result<Vec<ListedSuite>, Message>,
    /// The mirror the host's own configuration uses: the address of its first source of this release.
    pub mirror: Option<String>,
    /// Seconds since package lists were last fetched; `None` when there are none.
    pub lists_age: Option<u64>,
}

impl Default for PackageFacts {
    fn default() -> Self {
        PackageFacts {
            apt: false,
            apt_version: String::new(),
            known: BTreeMap::new(),
            newest: BTreeMap::new(),
            lock_holder: None,
            broken: BTreeMap::new(),
            interrupted: false,
            sources: Ok(Vec::new()),
            mirror: None,
            lists_age: None,
        }
    }
}

impl PackageFacts {
    /// Whether a package is installed.
    pub(crate) fn installed(&self, name: &str) -> bool {
        self.known.get(name).is_some_and(|p| p.installed.is_some())
    }

    /// Whether a package is installed or apt knows where to get it.
    pub(crate) fn obtainable(&self, name: &str) -> bool {
        self.known.get(name).is_some_and(Package::is_obtainable)
    }
}

/// One suite of one archive among apt's sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedSuite {
    /// The archive's address, without user and password.
    pub uri: String,
    /// The suite, `bookworm-updates`.
    pub suite: String,
    /// Whether apt has fetched its lists.
    pub fetched: bool,
}

/// One package as dpkg and apt see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// The installed version, if it is installed and configured.
    pub installed: Option<String>,
    /// The version apt would install; not asked for where nothing needs the package.
    pub candidate: Option<String>,
}

impl Package {
    /// Whether it is installed or apt knows where to get it.
    pub(crate) fn is_obtainable(&self) -> bool {
        self.installed.is_some() || self.candidate.is_some()
    }
}

/// What apt and dpkg lock while they work (FN-20).
pub(crate) const LOCKS: [&str; 4] =
    ["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock", "/var/cache/apt/archives/lock"];

/// How long apt may take to answer: without its cache it reads all of its lists, which takes long on a slow machine.
pub(crate) const ASKING: Duration = Duration::from_secs(300);

/// Reads this part of the facts, on a host that runs this kernel.
pub fn gather(reading: &Reading, distro: Option<&Distro>, release: &str) -> PackageFacts {
    let host = reading.host;
    let status = reading.known(DpkgRecord::read(host));
    let arch = machine::arch(host);
    let seen = |name: String| {
        let installed = status.version(&name).map(str::to_owned);
        (name, Package { installed, candidate: None })
    };
    let names = distro.map(|d| d.named_packages(release, &arch)).unwrap_or_default();
    let mut known: BTreeMap<String, Package> = names.into_iter().map(seen).collect();
    let mut newest = BTreeMap::new();
    let mut found = Ok(sources::gather(reading));
    let module = host.is_live() && kernel::has_module(reading, release);
    let mut ask = |known: &mut BTreeMap<String, Package>, names: &[&str]| match candidates(host, names) {
        Ok(candidates) => {
            for (name, candidate) in candidates {
                known.entry(name).and_modify(|package| package.candidate = Some(candidate));
            }
        }
        Err(reason) => found = Err(reason),
    };
    let asked: Vec<String> = worth_asking(&known, distro, module).into_iter().map(str::to_owned).collect();
    ask(&mut known, &asked.iter().map(String::as_str).collect::<Vec<_>>());
    let lacks_headers = |distro: &Distro| {
        let headers = distro.headers(release, &arch).unwrap_or_default();
        !headers.iter().all(|name| known.get(name).is_some_and(Package::is_obtainable))
    };
    if let Some(distro) = distro.filter(|distro| !module && lacks_headers(distro)) {
        newest = dependencies_of(reading, &distro.next_kernel(release, &arch).unwrap_or_default());
        known.extend(newest.values().cloned().map(seen));
        ask(&mut known, &newest.values().map(String::as_str).collect::<Vec<_>>());
    }
    let lists_age = lists_age(reading);
    PackageFacts {
        apt: reading.has_program("apt-get") && reading.has_program("dpkg"),
        apt_version: status.version("apt").unwrap_or_default().to_owned(),
        known,
        newest,
        lock_holder: reading.known(lock_holder(host)),
        broken: status.broken().map(|e| (e.name.clone(), e.letters.clone())).collect(),
        interrupted: status.interrupted,
        mirror: found.as_ref().ok().and_then(|sources| mirror(sources, distro)),
        sources: found,
        lists_age,
    }
}

/// The packages to ask apt about: those that are missing, and those for the module only where the kernel has none. Asking
/// apt is the slowest part of a preflight, so it is left out on a host that has everything.
fn worth_asking<'a>(known: &'a BTreeMap<String, Package>, distro: Option<&Distro>, module: bool) -> Vec<&'a str> {
    let tool = |name: &String| distro.is_some_and(|d| d.packages.tools.contains(name));
    let missing = known.iter().filter(|(_, package)| package.installed.is_none());
    missing.filter(|(name, _)| !module || tool(name)).map(|(name, _)| name.as_str()).collect()
}

/// Who holds one of apt's locks.
pub fn lock_holder(host: &Host) -> Result<Option<LockHolder>> {
    LOCKS.iter().find_map(|path| host.locked_by(Path::new(path)).transpose()).transpose()
}

/// The versions apt would install, by name, or why apt can't answer. Names without a candidate are left out.
pub(crate) fn candidates(host: &Host, names: &[&str]) -> Result<BTreeMap<String, String>, Message> {
    if names.is_empty() || !host.is_live() || !host.has_program("apt-cache").map_err(|e| Message::from(&e))? {
        return Ok(BTreeMap::new());
    }
    let ask = Cmd::new("apt-cache").args(cacheless(host).iter().copied()).arg("policy").args(names.iter().copied());
    let said = host.query(&ask.deadline(ASKING)).map_err(|e| Message::from(&e))?;
    if said.ok() { Ok(policy(&said.stdout)) } else { Err(Message::foreign(complaint(&said.stderr))) }
}

/// What these metapackages depend on now.
fn dependencies_of(reading: &Reading, names: &[String]) -> BTreeMap<String, String> {
    let host = reading.host;
    if names.is_empty() || !host.is_live() || !reading.has_program("apt-cache") {
        return BTreeMap::new();
    }
    let ask = Cmd::new("apt-cache").args(cacheless(host).iter().copied()).arg("depends").args(names.iter().cloned());
    reading.known(host.query(&ask.deadline(ASKING)).map(|said| first_needs(&said.stdout)))
}

/// `apt-cache depends`: name to the first package it depends on.
fn first_needs(text: &str) -> BTreeMap<String, String> {
    let mut name = "";
    let mut needs = BTreeMap::new();
    for line in text.lines() {
        if !line.starts_with([' ', '|']) {
            name = line;
        } else if let Some(need) = line.trim().strip_prefix("Depends: ") {
            needs.entry(name.to_owned()).or_insert_with(|| need.to_owned());
        }
    }
    needs
}

/// Options that keep apt from writing its cache. Without its cache apt needs half a second, so there are none where the
/// cache is newer than everything it was made from, and apt wouldn't write it.
pub(crate) fn cacheless(host: &Host) -> &'static [&'static str] {
    // What can't be looked at may be newer.
    if Reading::sure(host, is_stale).unwrap_or(true) { NO_CACHE } else { &[] }
}

const NO_CACHE: &[&str] = &["-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="];

/// Whether apt would make its cache anew.
fn is_stale(reading: &Reading) -> bool {
    let modified = |path: &str| reading.known(reading.host.stat(Path::new(path))).map(|stat| stat.modified);
    let Some(cache) = modified("/var/cache/apt/pkgcache.bin") else { return true };
    let made_of = ["/var/lib/dpkg/status", "/etc/apt/sources.list.d", "/etc/apt/apt.conf.d", LISTS]
        .into_iter()
        .map(str::to_owned)
        .chain(sources::files(reading))
        .chain(reading.list(Path::new(LISTS)).into_iter().map(|name| format!("{LISTS}/{name}")));
    made_of.into_iter().filter_map(|path| modified(&path)).any(|changed| changed >= cache)
}

/// `apt-cache policy`: name to candidate.
fn policy(text: &str) -> BTreeMap<String, String> {
    let mut name = "";
    let mut candidates = BTreeMap::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_suffix(':').filter(|h| !h.starts_with(' ')) {
            name = heading;
        } else if let Some(candidate) = line.trim().strip_prefix("Candidate: ").filter(|c| *c != "(none)") {
            candidates.insert(name.to_owned(), candidate.to_owned());
        }
    }
    candidates
}

/// apt's first error, without the `E:`.
fn complaint(stderr: &str) -> String {
    let error = stderr.lines().find_map(|line| line.strip_prefix("E: "));
    error.or_else(|| stderr.lines().next()).unwrap_or("apt-cache gave no reason").trim().to_owned()
}

/// The address that the release itself comes from, where its other suites are as well.
fn mirror(sources: &[ListedSuite], distro: Option<&Distro>) -> Option<String> {
    let codename = &distro?.codename;
    sources.iter().find(|s| s.suite == *codename).map(|s| s.uri.clone())
}

/// Time since apt last fetched lists. Lists have the mirror's times, their directories the time of the fetch.
fn lists_age(reading: &Reading) -> Option<u64> {
    let names = reading.list(Path::new(LISTS));
    if !names.iter().any(|name| name.contains("_Packages")) {
        return None;
    }
    let modified = |path: &str| reading.known(reading.host.stat(Path::new(path))).map(|stat| stat.modified);
    let visited = modified(LISTS).max(modified("/var/lib/apt/lists/partial"))?;
    Some(SystemTime::now().duration_since(visited).unwrap_or_default().as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distro::OsRelease;
    use std::fs;

    #[test]
    fn policy_knows_candidates_and_leaves_out_what_has_none() {
        let text = "wireguard-tools:\n  Installed: (none)\n  Candidate: 1.0.20210914-1+b1\n  Version table:\n     \
                    1.0.20210914-1+b1 500\n        500 http://mirror.example/debian bookworm/main amd64 Packages\n\
                    wireguard-dkms:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n";
        let expected = BTreeMap::from([("wireguard-tools".to_owned(), "1.0.20210914-1+b1".to_owned())]);
        assert_eq!(policy(text), expected);
    }

    #[test]
    fn a_metapackage_of_the_newest_kernel_leads_to_its_first_dependency() {
        // of apt 2.6
        let text = "linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\nlinux-headers-amd64\n  \
                    Depends: linux-headers-6.1.0-56-amd64\n  Breaks: <linux-headers-generic>\n";
        let expected = [
            ("linux-headers-amd64", "linux-headers-6.1.0-56-amd64"),
            ("linux-image-amd64", "linux-image-6.1.0-56-amd64"),
        ];
        assert_eq!(first_needs(text), expected.map(|(name, need)| (name.to_owned(), need.to_owned())).into());
    }

    #[test]
    fn the_reason_why_sources_cant_be_read_is_apts_first_error() {
        let stderr = "W: something\nE: Malformed entry 1 in list file /etc/apt/sources.list (Suite)\n\
                      E: The list of sources could not be read.\n";
        assert_eq!(complaint(stderr), "Malformed entry 1 in list file /etc/apt/sources.list (Suite)");
    }

    #[test]
    fn a_mounted_tree_shows_what_is_installed_and_its_sources() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "etc/apt/sources.list",
            "deb http://other.example/x y main\ndeb http://mirror.example/debian bookworm main\n",
        );
        write(
            "var/lib/dpkg/status",
            "Package: wireguard-tools\nStatus: install ok installed\nVersion: 1.0\n\n\
             Package: apt\nStatus: install ok installed\nVersion: 2.6.1\n\n\
             Package: dkms\nStatus: install ok half-configured\nVersion: 3\n",
        );
        let os = OsRelease { id: "debian".into(), version_id: "12".into(), ..OsRelease::default() };
        let packages = gather(&Reading::of(&Host::at(dir.path()).unwrap()), Distro::detect(&os).ok().as_ref(), "");
        assert_eq!(packages.known["wireguard-tools"].installed.as_deref(), Some("1.0"));
        assert_eq!(packages.known["wireguard-go"], Package::default());
        assert_eq!(packages.apt_version, "2.6.1");
        assert_eq!(packages.broken, BTreeMap::from([("dkms".to_owned(), "iF".to_owned())]));
        assert_eq!(packages.mirror.as_deref(), Some("http://mirror.example/debian"));
        assert_eq!((packages.lists_age, packages.lock_holder), (None, None));
    }

    #[test]
    fn apt_is_asked_only_about_what_is_missing_and_needed() {
        let os = OsRelease { id: "debian".into(), version_id: "12".into(), ..OsRelease::default() };
        let distro = Distro::detect(&os).ok();
        let mut known: BTreeMap<String, Package> =
            ["wireguard-tools", "wireguard-go"].map(|n| (n.to_owned(), Package::default())).into();
        assert_eq!(worth_asking(&known, distro.as_ref(), false), ["wireguard-go", "wireguard-tools"]);
        assert_eq!(worth_asking(&known, distro.as_ref(), true), ["wireguard-tools"]);
        known.entry("wireguard-tools".to_owned()).and_modify(|p| p.installed = Some("1".into()));
        assert!(worth_asking(&known, distro.as_ref(), true).is_empty());
    }

    #[test]
    fn lists_are_as_old_as_apts_last_visit_not_as_the_mirrors_files() {
        let dir = tempfile::tempdir().unwrap();
        let lists = dir.path().join("var/lib/apt/lists");
        fs::create_dir_all(&lists).unwrap();
        let list =
            fs::File::create(lists.join("mirror.example_debian_dists_buster_main_binary-amd64_Packages")).unwrap();
        list.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(lists_age(&Reading::of(&Host::at(dir.path()).unwrap())).is_some_and(|age| age < 60));
    }

    #[test]
    fn apt_may_read_its_cache_only_while_nothing_it_was_made_of_is_newer() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path()).unwrap();
        let at = |path: &str, seconds: u64| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .open(path)
                .unwrap()
                .set_modified(time)
                .unwrap();
        };
        at("var/lib/dpkg/status", 100);
        assert_eq!(cacheless(&host), NO_CACHE);
        at("var/cache/apt/pkgcache.bin", 200);
        assert!(cacheless(&host).is_empty());
        at("var/lib/dpkg/status", 300);
        assert_eq!(cacheless(&host), NO_CACHE);
    }
}
