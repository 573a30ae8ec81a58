//! Installed packages, in one transaction of apt's.
//!
//! The law of this kind is about presence: after `set(s)` each package that has a version in `s` is installed, in
//! whatever version apt gives it, and each that has none is gone. A version in a wanted state is therefore only a
//! witness of what was seen; an empty one stands for any. What is there is never upgraded or downgraded.

pub(super) mod apt;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{State, mismatch};
use crate::error::{Error, Result};
use crate::facts::kernel;
use crate::facts::packages::candidates;
use crate::facts::packages::dpkg::{DpkgRecord, PackageStage};
use crate::host::Host;
use apt::Transaction;

/// Packages that are installed in one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packages {
    /// Those that are asked for.
    pub names: Vec<String>,
    /// Those that come along because the asked ones need them, known once [`Packages::expand`] has asked apt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub brings: Vec<String>,
    /// Of both, those whose configuration files were here already, left from an earlier installation. Removing such a
    /// package leaves them again; any other is purged, so that nothing of it stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leftovers: Vec<String>,
}

impl Packages {
    /// These packages; what they bring along isn't known yet.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Packages { names: names.into_iter().collect(), brings: Vec::new(), leftovers: Vec::new() }
    }

    /// All installed, in any version.
    pub fn wanted(&self) -> State {
        State::Packages(self.all().map(|name| (name.clone(), Some(String::new()))).collect())
    }

    /// Names every package that will be newly installed, so that a journal written before the installation knows what
    /// undo has to remove. Asks apt; fetches its lists first where it doesn't know a package.
    pub fn expand(&self, host: &mut Host) -> Result<Packages> {
        let missing = self.missing(&DpkgRecord::read(host)?);
        if missing.is_empty() {
            return Ok(self.clone());
        }
        if !unknown(host, &missing)?.is_empty() {
            let complaints = apt::update(host)?;
            for complaint in &complaints {
                tracing::warn!("apt: {complaint}");
            }
            let unknown = unknown(host, &missing)?;
            if !unknown.is_empty() {
                let reason = complaints.first().map_or(String::new(), |words| format!(": {words}"));
                return Err(Error::unexpected(format!("apt knows no package {}{reason}", unknown.join(", ")))
                    .hint(format!("apt-get update; apt-cache policy {}", unknown.join(" "))));
            }
        }
        self.simulated(host, &missing)
    }

    /// As [`Packages::expand`], without touching anything: where apt's lists don't know the packages, what they would
    /// bring along stays unknown.
    pub fn preview(&self, host: &Host) -> Result<Packages> {
        let missing = self.missing(&DpkgRecord::read(host)?);
        if missing.is_empty() || !host.is_live() || !unknown(host, &missing)?.is_empty() {
            return Ok(self.clone());
        }
        self.simulated(host, &missing)
    }

    /// `State::Packages` with the installed version of each; `None` for one that isn't completely installed.
    pub fn observe(&self, host: &Host) -> Result<State> {
        let status = DpkgRecord::read(host)?;
        let version = |name: &String| (name.clone(), status.version(name).map(str::to_owned));
        Ok(State::Packages(self.all().map(version).collect()))
    }

    /// Installs those that have a version in `state` and are missing, removes those that have none and are there.
    pub fn set(&self, host: &mut Host, state: &State) -> Result<()> {
        let State::Packages(wanted) = state else { return Err(mismatch(self, state)) };
        let status = DpkgRecord::read(host)?;
        let install: Vec<&String> = self
            .all()
            .filter(|name| matches!(wanted.get(*name), Some(Some(_))) && status.version(name).is_none())
            .collect();
        let remove: Vec<&String> =
            self.all().filter(|name| matches!(wanted.get(*name), Some(None)) && self.is_there(&status, name)).collect();
        if !install.is_empty() {
            self.install(host, &install)?;
        }
        if !remove.is_empty() {
            self.remove(host, &remove)?;
        }
        Ok(())
    }

    /// Why they can't be taken away: the running kernel came with them.
    pub fn must_stay(&self) -> Option<String> {
        let running = format!("linux-image-{}", kernel::release());
        self.all().any(|name| *name == running).then(|| format!("{running} is running"))
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        self.names.iter().chain(&self.brings)
    }

    fn missing<'a>(&'a self, status: &DpkgRecord) -> Vec<&'a str> {
        self.names.iter().map(String::as_str).filter(|name| status.version(name).is_none()).collect()
    }

    /// Whether there is anything of a package that removing it would have to take away.
    fn is_there(&self, status: &DpkgRecord, name: &String) -> bool {
        match status.entry(name).map(|entry| entry.progress) {
            None | Some(PackageStage::NotInstalled) => false,
            Some(PackageStage::ConfigFiles) => !self.leftovers.contains(name),
            Some(_) => true,
        }
    }

    fn simulated(&self, host: &Host, missing: &[&str]) -> Result<Packages> {
        let transaction = apt::simulate_install(host, missing)?;
        self.allow(&transaction)?;
        let status = DpkgRecord::read(host)?;
        let left = |name: &String| status.entry(name).is_some_and(|entry| entry.progress == PackageStage::ConfigFiles);
        let mut brings: BTreeSet<String> = transaction.new.into_keys().collect();
        brings.extend(self.brings.iter().cloned());
        brings.retain(|name| !self.names.contains(name));
        let expanded = Packages { brings: brings.into_iter().collect(), ..self.clone() };
        Ok(Packages { leftovers: expanded.all().filter(|name| left(name)).cloned().collect(), ..expanded })
    }

    /// Refuses what nobody asked for: another kernel (FN-15), the loss of a package.
    fn allow(&self, transaction: &Transaction) -> Result<()> {
        let asked = self.names.join(", ");
        let hint = || format!("apt-get -s --no-install-recommends install {}", self.names.join(" "));
        if let Some(name) = transaction.removed.first() {
            return Err(Error::unexpected(format!("apt would remove {name} for {asked}")).hint(hint()));
        }
        let is_kernel = |name: &String| name.starts_with("linux-image-");
        let asked_for_one = self.names.iter().any(is_kernel);
        let kernel = |name: &&String| is_kernel(name) && !asked_for_one;
        if let Some(name) = transaction.new.keys().find(kernel) {
            return Err(
                Error::unexpected(format!("apt would install another kernel, {name}, for {asked}")).hint(hint())
            );
        }
        for name in &transaction.upgraded {
            tracing::warn!("{asked} needs a newer {name}; undo leaves it");
        }
        Ok(())
    }

    fn install(&self, host: &mut Host, names: &[&String]) -> Result<()> {
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        self.still_as_planned(host, &names)?;
        if let Err(error) = apt::install(host, &names) {
            if !apt::lists_are_stale(&error) {
                return Err(error);
            }
            tracing::info!("{error}; trying again with new lists");
            apt::update(host)?;
            self.still_as_planned(host, &names)?;
            apt::install(host, &names)?;
        }
        // An exit code of 0 is no proof.
        let status = DpkgRecord::read(host)?;
        if let Some(name) = names.iter().find(|name| status.version(name).is_none()) {
            let letters = status.entry(name).map_or("not there", |entry| entry.letters.as_str());
            return Err(Error::unexpected(format!("apt says it installed {name}, and dpkg says it is {letters}"))
                .hint(format!("dpkg --audit; dpkg -l {name}")));
        }
        let brought: Vec<&str> = names.into_iter().filter(|name| self.brings.iter().any(|b| b == name)).collect();
        if brought.is_empty() { Ok(()) } else { apt::mark_auto(host, &brought) }
    }

    /// The journal knows the packages by name. If apt has changed its mind since, it would bring some that nobody would
    /// ever remove.
    fn still_as_planned(&self, host: &Host, names: &[&str]) -> Result<()> {
        let transaction = apt::simulate_install(host, names)?;
        self.allow(&transaction)?;
        match transaction.new.keys().find(|name| self.all().all(|known| known != *name)) {
            None => Ok(()),
            Some(name) => Err(Error::unexpected(format!("apt would now install {name} as well, which wasn't planned"))
                .hint("run it again: it makes a new plan")),
        }
    }

    fn remove(&self, host: &mut Host, names: &[&String]) -> Result<()> {
        let all: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        let removed = apt::simulate_remove(host, &all)?;
        if let Some(other) = removed.removed.iter().find(|name| !all.contains(&name.as_str())) {
            return Err(Error::unexpected(format!("{} stays, because {other} needs it by now", all.join(", ")))
                .hint(format!("apt-get -s remove {}", all.join(" "))));
        }
        if let Some(other) = removed.new.keys().next() {
            return Err(Error::unexpected(format!(
                "{} stays, because apt would replace it by {other}",
                all.join(", ")
            ))
            .hint(format!("apt-get -s remove {}", all.join(" "))));
        }
        let (keep, purge): (Vec<&str>, Vec<&str>) =
            all.into_iter().partition(|name| self.leftovers.iter().any(|left| left == name));
        for (names, purge) in [(keep, false), (purge, true)] {
            if !names.is_empty() {
                apt::remove(host, &names, purge)?;
            }
        }
        let status = DpkgRecord::read(host)?;
        match names.iter().find(|name| self.is_there(&status, name)) {
            None => Ok(()),
            Some(name) => Err(Error::unexpected(format!("apt says it removed {name}, and dpkg still knows it"))
                .hint(format!("dpkg --audit; dpkg -l {name}"))),
        }
    }
}

/// Which of these apt could not install, as far as its lists go.
fn unknown<'a>(host: &Host, names: &[&'a str]) -> Result<Vec<&'a str>> {
    let known: BTreeMap<String, String> = candidates(host, names).map_err(|words| {
        Error::unexpected(format!("apt can't read its sources: {words}")).hint("mend the file it names: apt-get update")
    })?;
    Ok(names.iter().copied().filter(|name| !known.contains_key(*name)).collect())
}

impl fmt::Display for Packages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.names.len() == 1 { "package" } else { "packages" };
        write!(f, "{noun} {}", self.names.join(", "))?;
        match self.brings.len() {
            0 => Ok(()),
            1..=4 => write!(f, " (with {})", self.brings.join(", ")),
            more => write!(f, " (with {more} packages they need)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_that_brought_the_running_kernel_stay() {
        let mut packages = Packages::new(["linux-image-amd64".to_owned()]);
        assert_eq!(packages.must_stay(), None);
        packages.brings = vec![format!("linux-image-{}", kernel::release())];
        assert!(packages.must_stay().is_some_and(|reason| reason.ends_with("is running")));
    }

    #[test]
    fn an_unasked_kernel_and_a_lost_package_are_refused() {
        let packages = Packages::new(["wireguard-tools".to_owned()]);
        let kernel =
            |name: &str| Transaction { new: [(name.to_owned(), "1".to_owned())].into(), ..Transaction::default() };
        let error = packages.allow(&kernel("linux-image-6.12-rt-amd64")).unwrap_err();
        assert!(error.to_string().contains("another kernel, linux-image-6.12-rt-amd64"), "{error}");
        packages.allow(&kernel("linux-headers-6.12-rt-amd64")).unwrap();
        Packages::new(["linux-image-amd64".to_owned()]).allow(&kernel("linux-image-4.19.0-27-amd64")).unwrap();
        let loss = Transaction { removed: ["docker.io".to_owned()].into(), ..Transaction::default() };
        assert!(packages.allow(&loss).unwrap_err().to_string().contains("would remove docker.io"));
    }

    #[test]
    fn a_journal_of_names_alone_is_still_read() {
        let packages: Packages = serde_json::from_str(r#"{"names":["wireguard-tools"]}"#).unwrap();
        assert_eq!(packages, Packages::new(["wireguard-tools".to_owned()]));
        assert_eq!(serde_json::to_string(&packages).unwrap(), r#"{"names":["wireguard-tools"]}"#);
    }

    #[test]
    fn a_half_configured_package_counts_as_missing_and_as_there() {
        let dir = tempfile::tempdir().unwrap();
        let dpkg = dir.path().join("var/lib/dpkg");
        std::fs::create_dir_all(&dpkg).unwrap();
        let record = "Package: a\nStatus: install ok half-configured\nVersion: 1\n\n\
                      Package: b\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                      Package: c\nStatus: install ok installed\nVersion: 2\n";
        std::fs::write(dpkg.join("status"), record).unwrap();
        let host = Host::at(dir.path()).unwrap();
        let mut packages = Packages::new(["a", "b", "c", "d"].map(str::to_owned));
        let State::Packages(seen) = packages.observe(&host).unwrap() else { panic!("another kind of state") };
        let versions: Vec<_> = seen.values().map(Option::as_deref).collect();
        assert_eq!(versions, [None, None, Some("2"), None]);
        let status = DpkgRecord::read(&host).unwrap();
        let there = |p: &Packages| p.names.iter().map(|n| p.is_there(&status, n)).collect::<Vec<_>>();
        assert_eq!(there(&packages), [true, true, true, false]);
        packages.leftovers = vec!["b".to_owned()];
        assert_eq!(there(&packages), [true, false, true, false]);
    }
}
